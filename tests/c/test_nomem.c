/* test_nomem.c - every allocation of the core fails once: DW_ERR_NOMEM, and nothing is leaked. And a run allocates
 * nothing.
 *
 *   cc -std=c11 -Icsrc tests/c/test_nomem.c $(find csrc -name '*.c') -lm -o test_nomem \
 *       -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=aligned_alloc,--wrap=posix_memalign,--wrap=free
 *
 * The linker sends the calls to the functions here; those of the C library's own inside are not among them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "dwconv.h"

/* ---- counting and failing -------------------------------------------------------------------------- */

static long allocations, fails_at, live; /* fails_at: the number of the one that fails, from 1; 0: none */

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void __real_free(void *memory);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *memory, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes);
int __wrap_posix_memalign(void **memory, size_t alignment, size_t bytes);
void __wrap_free(void *memory);

static void *counted(void *memory) {
    live += memory != NULL;
    return memory;
}

static int fails(void) { return ++allocations == fails_at; }

void *__wrap_malloc(size_t bytes) { return fails() ? NULL : counted(__real_malloc(bytes)); }

void *__wrap_calloc(size_t count, size_t bytes) { return fails() ? NULL : counted(__real_calloc(count, bytes)); }

void __wrap_free(void *memory) {
    live -= memory != NULL;
    __real_free(memory);
}

/* The core has none of these; who adds one adds it here, too. */
void *__wrap_realloc(void *memory, size_t bytes) {
    (void)memory, (void)bytes;
    abort();
}

void *__wrap_aligned_alloc(size_t alignment, size_t bytes) {
    (void)alignment, (void)bytes;
    abort();
}

int __wrap_posix_memalign(void **memory, size_t alignment, size_t bytes) {
    (void)memory, (void)alignment, (void)bytes;
    abort();
}

/* ---- cases ----------------------------------------------------------------------------------------- */

enum { MOST = 1 << 14 }; /* elements of an array */

static float x[MOST], kernel[MOST], bias[MOST], y[MOST], dx[MOST], dkernel[MOST];

static dw_desc descriptor(int64_t size, int64_t channels, int64_t multiplier, int64_t kernel_size) {
    dw_desc d;
    memset(&d, 0, sizeof d);
    d.batch = 1, d.height = d.width = size, d.channels = channels, d.multiplier = multiplier;
    d.kernel_h = d.kernel_w = kernel_size;
    d.stride_h = d.stride_w = d.dilation_h = d.dilation_w = 1;
    d.pad_top = d.pad_bottom = d.pad_left = d.pad_right = kernel_size / 2;
    d.dtype = DW_F32;
    return d;
}

/* Plans of a plan: it is as before. */
static void try_copies(const dw_plan *plan) {
    const long before = live;
    for (int weights = 0; weights < 2; weights++) {
        dw_status status = DW_ERR_NOMEM;
        for (long n = 1; status != DW_OK; n++) {
            dw_plan *copy = NULL;
            allocations = 0, fails_at = n;
            status = weights ? dw_plan_with_weights(plan, kernel, bias, &copy) : dw_plan_with_batch(plan, 1, &copy);
            fails_at = 0;
            CHECK(status == DW_OK ? allocations == n - 1 : status == DW_ERR_NOMEM && !copy);
            dw_plan_destroy(copy);
            CHECK(live == before);
        }
    }
}

/* Plans, and gradients if `kernel` is given, with each of their allocations failing in turn; returns how many. */
static long try_plan(const dw_desc *d, dw_isa isa) {
    for (long n = 1;; n++) {
        dw_plan *plan = (dw_plan *)(void *)x;
        allocations = 0, fails_at = n;
        const dw_status status = dw_plan_create(d, isa, kernel, bias, &plan);
        fails_at = 0;
        if (allocations < n) { /* none was left to fail */
            CHECK(status == DW_OK && live > 0);
            allocations = 0;
            dw_plan_run(plan, x, y);
            CHECK(allocations == 0);
            try_copies(plan);
            dw_plan_destroy(plan);
            CHECK(live == 0);
            return n - 1;
        }
        CHECK(status == DW_ERR_NOMEM && !plan);
        CHECK(live == 0);
    }
}

/* Other weights for gradients: each allocation failing in turn. */
static void try_grad_copies(const dw_grad *grad) {
    const long before = live;
    for (long n = 1;; n++) {
        dw_grad *copy = (dw_grad *)(void *)x;
        allocations = 0, fails_at = n;
        const dw_status status = dw_grad_with_weights(grad, kernel, bias, NULL, NULL, &copy);
        fails_at = 0;
        if (allocations < n) {
            CHECK(status == DW_OK);
            dw_grad_destroy(copy);
            CHECK(live == before);
            return;
        }
        CHECK(status == DW_ERR_NOMEM && !copy);
        CHECK(live == before);
    }
}

/* through: an activation, too. */
static long try_grad(const dw_desc *linear, dw_isa isa, const float *with_kernel, int through) {
    dw_desc of_y = *linear;
    of_y.activation = through ? DW_SILU : DW_LINEAR;
    const dw_desc *const d = &of_y;
    for (long n = 1;; n++) {
        dw_grad *grad = (dw_grad *)(void *)x;
        allocations = 0, fails_at = n;
        const dw_status status =
            through ? dw_grad_create_through(d, isa, kernel, bias, with_kernel != NULL, NULL, NULL, &grad)
                    : dw_grad_create(d, isa, with_kernel, &grad);
        fails_at = 0;
        if (allocations < n) {
            CHECK(status == DW_OK && live > 0);
            void *workspace = __real_malloc((size_t)dw_grad_workspace(grad, 1));
            allocations = 0;
            dw_grad_run(grad, y, x, with_kernel ? dx : NULL, dkernel, NULL, workspace);
            CHECK(allocations == 0);
            __real_free(workspace);
            try_grad_copies(grad);
            dw_grad_destroy(grad);
            CHECK(live == 0);
            return n - 1;
        }
        CHECK(status == DW_ERR_NOMEM && !grad);
        CHECK(live == 0);
    }
}

/* Measuring makes many; a plan comes of it without those that only it needs. */
static void try_measured(const dw_desc *d, dw_isa isa) {
    dw_measuring how;
    memset(&how, 0, sizeof how);
    how.nanoseconds = 200000, how.num_threads = 1, how.scratch_bytes = 1 << 20, how.x_place = -1;
    long without = 0;
    for (long n = 1; n <= 24; n++) { /* beyond the scratch arrays, into the candidates */
        dw_plan *plan = (dw_plan *)(void *)x;
        allocations = 0, fails_at = n;
        const dw_status status = dw_plan_create_measured(d, isa, kernel, bias, &how, &plan);
        fails_at = 0;
        CHECK(status == DW_OK ? plan != NULL : status == DW_ERR_NOMEM && !plan);
        without += status != DW_OK;
        dw_plan_destroy(plan);
        CHECK(live == 0);
    }
    CHECK(without >= 3 && without < 12);
}

static void try_quantized(const dw_desc *floats, dw_isa isa) {
    static int8_t weights[MOST], from[MOST], to[MOST];
    dw_desc d = *floats;
    d.dtype = DW_I32;
    const dw_quantization quantization = {DW_INT8, DW_INT8, 0, 0, -128, 127};
    dw_status status = DW_ERR_NOMEM;
    long n = 1;
    for (; status != DW_OK; n++) {
        dw_quantized *plan = (dw_quantized *)(void *)x;
        allocations = 0, fails_at = n;
        status = dw_quantized_create(&d, isa, &quantization, weights, NULL, bias, &plan);
        fails_at = 0;
        CHECK(status == DW_OK ? allocations == n - 1 : status == DW_ERR_NOMEM && !plan);
        allocations = 0;
        if (plan) dw_quantized_run(plan, 1, from, to, 1, NULL, NULL);
        CHECK(allocations == 0);
        dw_quantized_destroy(plan);
        CHECK(live == 0);
    }
    CHECK(n > 3); /* the plan and its blocks have failed */
}

static void try_all(const char *name, const dw_desc *d, dw_isa isa, long least) {
    const long plan = try_plan(d, isa);
    CHECK(plan >= least);
    try_measured(d, isa);
    long grad = 0;
    if (d->layout == DW_NHWC) {
        try_quantized(d, isa);
        grad = try_grad(d, isa, kernel, 0) + try_grad(d, isa, NULL, 0);
        CHECK(try_grad(d, isa, kernel, 1) > 3 && try_grad(d, isa, NULL, 1) > 2);
        CHECK(grad >= 6);
    }
    printf("%-8s %-28s allocations of the plan %2ld, of the gradients %2ld\n", dw_isa_name(isa), name, plan, grad);
}

int main(void) {
    for (int isa = 0; isa < DW_ISA_COUNT; isa++) {
        if (!dw_isa_available((dw_isa)isa)) continue;
        /* Each way in which plans allocate: the plan, and for each packing its blocks and weights. */
        dw_desc d = descriptor(9, 32, 1, 3);
        try_all("tiles", &d, (dw_isa)isa, 3);
        d = descriptor(7, 256, 1, 3);
        try_all("packings by alignment", &d, (dw_isa)isa, isa == DW_ISA_AVX512 ? 9 : 3);
        d = descriptor(9, 3, 1, 3);
        try_all("merged pixels", &d, (dw_isa)isa, 3);
        d = descriptor(9, 5, 4, 3);
        try_all("multiplier", &d, (dw_isa)isa, 3);
        d = descriptor(9, 32, 1, 3);
        d.dilation_h = d.dilation_w = 2;
        try_all("phases of dilation", &d, (dw_isa)isa, 3);
        d = descriptor(9, 7, 1, 4);
        try_all("general", &d, (dw_isa)isa, 3);
        d = descriptor(9, 7, 1, 3);
        d.layout = DW_NCHW;
        try_all("planar with edges", &d, (dw_isa)isa, 4); /* plan, columns, valid lanes, weights */
        d.width = 48, d.pad_left = d.pad_right = 0;
        try_all("planar without", &d, (dw_isa)isa, 3);
    }
    return report();
}
