/* test_api.c - the public header, from C and from C++ (this file is both).
 *
 *   cc -std=c11 -Icsrc tests/c/test_api.c $(find csrc -name '*.c') -lm -o test_api && ./test_api
 *
 * Every status code, the life of a plan, and small convolutions against a naive loop, to the bit. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "dwconv.h"

/* x (1, 5, 6, 3), kernel (3, 3, 3, 1), nothing special. */
static dw_desc ordinary(void) {
    dw_desc d;
    memset(&d, 0, sizeof d);
    d.batch = 1, d.height = 5, d.width = 6, d.channels = 3, d.multiplier = 1;
    d.kernel_h = d.kernel_w = 3;
    d.stride_h = d.stride_w = d.dilation_h = d.dilation_w = 1;
    d.dtype = DW_F32;
    d.activation = DW_LINEAR;
    return d;
}

/* ---- statuses -------------------------------------------------------------------------------------- */

/* Both entrances refuse `d` with the same status; nothing is left behind. */
static void expect(const dw_desc *d, dw_status status) {
    static const float kernel[64] = {0};
    int64_t oh = -1, ow = -1;
    int marker;
    dw_plan *plan = (dw_plan *)(void *)&marker;
    CHECK(dw_output_size(d, &oh, &ow) == status);
    CHECK(dw_plan_create(d, DW_ISA_AUTO, kernel, NULL, &plan) == status);
    CHECK((plan != NULL) == (status == DW_OK));
    dw_plan_destroy(plan);
}

static void test_statuses(void) {
    dw_desc d = ordinary();
    expect(&d, DW_OK);
#define REFUSED(change, status) \
    do {                        \
        d = ordinary();         \
        change;                 \
        expect(&d, status);     \
    } while (0)
    REFUSED(d.dtype = DW_DTYPE_COUNT, DW_ERR_DTYPE);
    REFUSED(d.activation = DW_ACTIVATION_COUNT, DW_ERR_ACTIVATION);
    REFUSED((d.activation = DW_SIGMOID, d.dtype = DW_I32), DW_ERR_ACTIVATION);
    REFUSED((d.activation = DW_ELU, d.activation_alpha = INFINITY), DW_ERR_ACTIVATION);
    REFUSED((d.activation = DW_LEAKY_RELU, d.activation_alpha = NAN), DW_ERR_ACTIVATION);
    REFUSED(d.layout = (dw_layout)2, DW_ERR_LAYOUT);
    REFUSED(d.denormals = (dw_denormals)2, DW_ERR_DENORMALS);
    REFUSED(d.batch = -1, DW_ERR_SHAPE);
    REFUSED(d.height = 0, DW_ERR_SHAPE);
    REFUSED(d.width = -5, DW_ERR_SHAPE);
    REFUSED(d.channels = 0, DW_ERR_SHAPE);
    REFUSED(d.multiplier = 0, DW_ERR_SHAPE);
    REFUSED(d.kernel_h = 0, DW_ERR_KERNEL);
    REFUSED(d.kernel_w = -1, DW_ERR_KERNEL);
    REFUSED(d.stride_h = 0, DW_ERR_STRIDE);
    REFUSED(d.stride_w = -2, DW_ERR_STRIDE);
    REFUSED(d.dilation_h = 0, DW_ERR_DILATION);
    REFUSED(d.dilation_w = -1, DW_ERR_DILATION);
    REFUSED(d.pad_top = -1, DW_ERR_PADDING);
    REFUSED(d.pad_bottom = -1, DW_ERR_PADDING);
    REFUSED(d.pad_left = -1, DW_ERR_PADDING);
    REFUSED(d.pad_right = INT64_MIN, DW_ERR_PADDING);
    REFUSED(d.kernel_h = 6, DW_ERR_OUTPUT);
    REFUSED(d.dilation_w = 3, DW_ERR_OUTPUT);
    REFUSED(d.dilation_h = INT64_MAX, DW_ERR_OUTPUT);
    REFUSED(d.pad_top = INT64_MAX, DW_ERR_OVERFLOW);
    REFUSED(d.pad_left = d.pad_right = INT64_MAX / 2, DW_ERR_OVERFLOW);
    REFUSED(d.batch = INT64_MAX / 4, DW_ERR_OVERFLOW);
    REFUSED(d.height = d.width = (int64_t)1 << 31, DW_ERR_OVERFLOW);
    REFUSED(d.multiplier = (int64_t)1 << 60, DW_ERR_OVERFLOW);
#undef REFUSED

    float kernel[27] = {0};
    CHECK(dw_activate(DW_F32, DW_ACTIVATION_COUNT, 0, DW_DENORMALS_IEEE, DW_ISA_AUTO, 1, kernel) == DW_ERR_ACTIVATION);
    CHECK(dw_activate(DW_F64, DW_ELU, NAN, DW_DENORMALS_IEEE, DW_ISA_AUTO, 1, kernel) == DW_ERR_ACTIVATION);
    CHECK(dw_activate(DW_I32, DW_RELU, 0, DW_DENORMALS_IEEE, DW_ISA_AUTO, 1, kernel) == DW_ERR_DTYPE);
    CHECK(dw_activate(DW_F32, DW_SILU, 0, DW_DENORMALS_IEEE, (dw_isa)99, 1, kernel) == DW_ERR_ISA);
    CHECK(dw_activate(DW_F32, DW_SILU, 0, DW_DENORMALS_IEEE, DW_ISA_AUTO, -1, kernel) == DW_ERR_SHAPE);
    CHECK(dw_activate(DW_F32, DW_SILU, 0, DW_DENORMALS_IEEE, DW_ISA_AUTO, 1, NULL) == DW_ERR_NULL);
    CHECK(dw_activate(DW_F32, DW_SILU, 0, DW_DENORMALS_IEEE, DW_ISA_AUTO, 0, NULL) == DW_OK);
    int64_t oh, ow;
    dw_plan *plan = NULL;
    d = ordinary();
    CHECK(dw_output_size(NULL, &oh, &ow) == DW_ERR_NULL);
    CHECK(dw_output_size(&d, NULL, &ow) == DW_ERR_NULL);
    CHECK(dw_output_size(&d, &oh, NULL) == DW_ERR_NULL);
    CHECK(dw_plan_create(NULL, DW_ISA_AUTO, kernel, NULL, &plan) == DW_ERR_NULL && !plan);
    CHECK(dw_plan_create(&d, DW_ISA_AUTO, NULL, NULL, &plan) == DW_ERR_NULL && !plan);
    CHECK(dw_plan_create(&d, DW_ISA_AUTO, kernel, NULL, NULL) == DW_ERR_NULL);
    CHECK(dw_plan_create(&d, (dw_isa)99, kernel, NULL, &plan) == DW_ERR_ISA && !plan);
    CHECK(dw_plan_create(&d, (dw_isa)-2, kernel, NULL, &plan) == DW_ERR_ISA && !plan);
    for (int isa = 0; isa < DW_ISA_COUNT; isa++)
        if (!dw_isa_available((dw_isa)isa))
            CHECK(dw_plan_create(&d, (dw_isa)isa, kernel, NULL, &plan) == DW_ERR_ISA && !plan);

    /* Fits the address space, but no machine: 2**59 bytes of weights. The kernel is never read. */
    d.height = d.width = d.kernel_h = d.kernel_w = 1;
    d.channels = (int64_t)1 << 57;
    CHECK(dw_plan_create(&d, DW_ISA_AUTO, kernel, NULL, &plan) == DW_ERR_NOMEM && !plan);

    dw_plan_destroy(NULL);
}

/* What golden.c does not see of strategies: wrong arguments, and that the first is the estimate's. */
static void test_strategies(void) {
    enum { CAPACITY = 4 };
    float kernel[27] = {0};
    dw_desc d = ordinary();
    dw_strategy_info found[CAPACITY];
    dw_plan *plan = NULL;
    int count = -1, again = -1;
    for (int isa = 0; isa < DW_ISA_COUNT; isa++) {
        if (!dw_isa_available((dw_isa)isa)) continue;
        for (int layout = DW_NHWC; layout <= DW_NCHW; layout++) {
            d.layout = (dw_layout)layout;
            CHECK(dw_strategies_of(&d, (dw_isa)isa, NULL, 0, &count) == DW_OK && count >= 1);
            found[1].name[0] = '?';
            CHECK(dw_strategies_of(&d, (dw_isa)isa, found, 1, &again) == DW_OK && again == count);
            CHECK(found[1].name[0] == '?'); /* no more than `capacity` */
            dw_plan_info info;
            CHECK(dw_plan_create(&d, (dw_isa)isa, kernel, NULL, &plan) == DW_OK);
            dw_plan_describe(plan, &info);
            dw_plan_destroy(plan);
            CHECK(strcmp(info.strategy, found[0].name) == 0);
            CHECK(strncmp(info.strategy, info.kernel, strlen(info.kernel)) == 0);
            CHECK(dw_plan_create_strategy(&d, (dw_isa)isa, count, kernel, NULL, &plan) == DW_ERR_STRATEGY && !plan);
            CHECK(dw_plan_create_strategy(&d, (dw_isa)isa, -1, kernel, NULL, &plan) == DW_ERR_STRATEGY && !plan);
        }
    }
    CHECK(dw_strategies_of(NULL, DW_ISA_AUTO, found, CAPACITY, &count) == DW_ERR_NULL);
    CHECK(dw_strategies_of(&d, DW_ISA_AUTO, NULL, 1, &count) == DW_ERR_NULL);
    CHECK(dw_strategies_of(&d, DW_ISA_AUTO, found, CAPACITY, NULL) == DW_ERR_NULL);
    CHECK(dw_strategies_of(&d, (dw_isa)99, found, CAPACITY, &count) == DW_ERR_ISA);
    CHECK(dw_plan_create_strategy(&d, DW_ISA_AUTO, 0, NULL, NULL, &plan) == DW_ERR_NULL && !plan);
    d.stride_h = 0;
    CHECK(dw_strategies_of(&d, DW_ISA_AUTO, found, CAPACITY, &count) == DW_ERR_STRIDE);
}

/* 'same' by its definition: ceil(in / stride) outputs, no more padding than that takes, the odd pixel at the end. */
static void test_pad_same(void) {
    for (int in = 1; in <= 12; in++)
        for (int kernel = 1; kernel <= 7; kernel++)
            for (int stride = 1; stride <= 5; stride++)
                for (int dilation = 1; dilation <= 3; dilation++) {
                    dw_desc d = ordinary();
                    d.height = in, d.kernel_h = kernel, d.stride_h = stride, d.dilation_h = dilation;
                    d.width = in + 1, d.kernel_w = kernel, d.stride_w = stride, d.dilation_w = dilation;
                    d.pad_top = d.pad_bottom = d.pad_left = d.pad_right = 9;
                    CHECK(dw_pad_same(&d) == DW_OK);
                    int64_t oh = 0, ow = 0;
                    CHECK(dw_output_size(&d, &oh, &ow) == DW_OK);
                    CHECK(oh == (in + stride - 1) / stride && ow == (in + stride) / stride);
                    const int64_t needed = (oh - 1) * stride + (kernel - 1) * dilation + 1 - in;
                    CHECK(d.pad_top + d.pad_bottom == (needed > 0 ? needed : 0));
                    CHECK(d.pad_bottom - d.pad_top == (d.pad_top + d.pad_bottom) % 2);
                    CHECK(d.pad_right - d.pad_left == (d.pad_left + d.pad_right) % 2);
                }
    dw_desc d = ordinary();
    CHECK(dw_pad_same(NULL) == DW_ERR_NULL);
    d.pad_top = 9, d.stride_w = 0;
    CHECK(dw_pad_same(&d) == DW_ERR_STRIDE && d.pad_top == 9);
    d = ordinary(), d.height = 0;
    CHECK(dw_pad_same(&d) == DW_ERR_SHAPE);
    d = ordinary(), d.kernel_w = 0;
    CHECK(dw_pad_same(&d) == DW_ERR_KERNEL);
    d = ordinary(), d.dilation_h = -1;
    CHECK(dw_pad_same(&d) == DW_ERR_DILATION);
    d = ordinary(), d.kernel_h = d.dilation_h = INT64_MAX;
    CHECK(dw_pad_same(&d) == DW_ERR_OVERFLOW);
    d = ordinary(), d.height = d.stride_h = d.kernel_h = INT64_MAX;
    CHECK(dw_pad_same(&d) == DW_OK && d.pad_top == 0 && d.pad_bottom == 0);
}

static void test_texts(void) {
    for (int a = DW_OK; a <= DW_ERR_QUANTIZATION; a++) {
        CHECK(strcmp(dw_status_text((dw_status)a), "unknown status") != 0);
        for (int b = DW_OK; b < a; b++) CHECK(strcmp(dw_status_text((dw_status)a), dw_status_text((dw_status)b)) != 0);
    }
    CHECK(strcmp(dw_status_text((dw_status)(DW_ERR_QUANTIZATION + 1)), "unknown status") == 0);
    CHECK(strlen(dw_compiler()) > 0);
    CHECK(strcmp(dw_version(), DW_VERSION) == 0);
}

/* ---- instruction sets ------------------------------------------------------------------------------ */

static void test_isas(void) {
    static const char *const names[] = {"portable", "neon", "avx2", "avx512"};
    for (int isa = 0; isa < DW_ISA_COUNT; isa++) {
        CHECK(strcmp(dw_isa_name((dw_isa)isa), names[isa]) == 0);
        CHECK(!dw_isa_available((dw_isa)isa) || dw_isa_compiled((dw_isa)isa));
        CHECK(!dw_isa_available((dw_isa)isa) || isa <= (int)dw_isa_best());
    }
    CHECK(dw_isa_available(DW_ISA_PORTABLE));
    CHECK(dw_isa_available(dw_isa_best()));
    CHECK(!dw_isa_name(DW_ISA_COUNT) && !dw_isa_name(DW_ISA_AUTO));
    CHECK(!dw_isa_available(DW_ISA_COUNT) && !dw_isa_compiled((dw_isa)-1));

    const char *name = NULL;
    int count = 0;
    while (dw_cpu_feature(count, &name) >= 0 && name) count++;
    CHECK(count > 0);
    CHECK(dw_cpu_feature(-1, &name) == 0 && !name);
}

/* ---- plans ----------------------------------------------------------------------------------------- */

static uint64_t random64(void) { /* Knuth's MMIX generator */
    static uint64_t state = 1;
    return state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
}

static size_t item_size(dw_dtype dtype) { return dtype == DW_F64 ? 8 : 4; }

/* An element of an array of `dtype`, as a double, which holds each of them exactly. */
static double element(const void *array, dw_dtype dtype, int64_t at) {
    if (dtype == DW_F32) return (double)((const float *)array)[at];
    if (dtype == DW_F64) return ((const double *)array)[at];
    return (double)((const int32_t *)array)[at];
}

static double activate(double sum, dw_activation activation) {
    if (activation != DW_LINEAR && sum < 0) return 0;
    if (activation == DW_RELU6 && sum > 6) return 6;
    return sum;
}

static double multiply_add(dw_dtype dtype, double a, double w, double sum) {
    if (dtype == DW_F32) return (double)fmaf((float)a, (float)w, (float)sum);
    if (dtype == DW_F64) return fma(a, w, sum);
    return (double)(int32_t)(uint32_t)((int64_t)a * (int64_t)w + (int64_t)sum); /* modulo 2**32 */
}

/* One output element by the documented order: bias, then the valid taps row by row, one multiply-add each. */
static double naive(const dw_desc *d, const void *x, const void *kernel, const void *bias, int64_t n, int64_t oy,
                    int64_t ox, int64_t oc) {
    const int64_t c = oc / d->multiplier, m = oc % d->multiplier;
    double sum = bias ? element(bias, d->dtype, oc) : 0;
    for (int64_t ki = 0; ki < d->kernel_h; ki++) {
        for (int64_t kj = 0; kj < d->kernel_w; kj++) {
            const int64_t row = oy * d->stride_h - d->pad_top + ki * d->dilation_h;
            const int64_t col = ox * d->stride_w - d->pad_left + kj * d->dilation_w;
            if (row < 0 || row >= d->height || col < 0 || col >= d->width) continue;
            const int64_t x_at = ((n * d->height + row) * d->width + col) * d->channels + c;
            const int64_t kernel_at = ((ki * d->kernel_w + kj) * d->channels + c) * d->multiplier + m;
            sum = multiply_add(d->dtype, element(x, d->dtype, x_at), element(kernel, d->dtype, kernel_at), sum);
        }
    }
    return activate(sum, d->activation);
}

/* Floats in [-1, 1); integers that overflow, among small ones. */
static void *random_array(int64_t count, dw_dtype dtype) {
    void *array = malloc((size_t)count * item_size(dtype));
    for (int64_t i = 0; i < count; i++) {
        const int64_t bits = (int64_t)random64();
        const double number = (double)bits / 9223372036854775808.0;
        if (dtype == DW_F32) ((float *)array)[i] = (float)number;
        else if (dtype == DW_F64) ((double *)array)[i] = number;
        else ((int32_t *)array)[i] = (int32_t)(bits >> (bits & (1 << 20) ? 32 : 60));
    }
    return array;
}

/* "general_avx2" and the like: the plan's instruction set, or for few channels a narrower one. */
static int names_its_isa(const dw_plan_info *info) {
    for (int isa = 0; isa <= (int)info->isa; isa++) {
        const char *isa_name = dw_isa_name((dw_isa)isa), *end = strrchr(info->kernel, '_');
        if (end && strcmp(end + 1, isa_name) == 0) return dw_isa_available((dw_isa)isa);
    }
    return 0;
}

static void check_run(const dw_desc *d, dw_isa isa, int with_bias) {
    int64_t oh = 0, ow = 0;
    CHECK(dw_output_size(d, &oh, &ow) == DW_OK);
    const int64_t channels = d->channels * d->multiplier, count = d->batch * oh * ow * channels;
    const int64_t weights = d->kernel_h * d->kernel_w * channels;
    const size_t item = item_size(d->dtype);
    void *x = random_array(d->batch * d->height * d->width * d->channels, d->dtype);
    void *kernel = random_array(weights, d->dtype), *given_kernel = malloc((size_t)weights * item);
    void *bias = random_array(channels, d->dtype), *given_bias = malloc((size_t)channels * item);
    void *y = malloc((size_t)count * item);
    memcpy(given_kernel, kernel, (size_t)weights * item);
    memcpy(given_bias, bias, (size_t)channels * item);

    dw_plan *plan = NULL;
    CHECK(dw_plan_create(d, isa, given_kernel, with_bias ? given_bias : NULL, &plan) == DW_OK);
    if (plan) {
        dw_plan_info info;
        dw_plan_describe(plan, &info);
        CHECK(info.isa == (isa == DW_ISA_AUTO ? dw_isa_best() : isa));
        CHECK(names_its_isa(&info));
        /* The plan has copied what it needs. */
        memset(given_kernel, 0xff, (size_t)weights * item);
        memset(given_bias, 0xff, (size_t)channels * item);
        dw_plan_run(plan, x, y);
        int64_t at = 0, wrong = 0;
        for (int64_t n = 0; n < d->batch; n++)
            for (int64_t oy = 0; oy < oh; oy++)
                for (int64_t ox = 0; ox < ow; ox++)
                    for (int64_t oc = 0; oc < channels; oc++, at++)
                        wrong +=
                            element(y, d->dtype, at) != naive(d, x, kernel, with_bias ? bias : NULL, n, oy, ox, oc);
        if (wrong) fprintf(stderr, "%s: %ld of %ld elements differ\n", info.kernel, (long)wrong, (long)count);
        CHECK(wrong == 0);
    }
    dw_plan_destroy(plan);
    free(x), free(kernel), free(bias), free(given_kernel), free(given_bias), free(y);
}

static void test_runs(void) {
    for (int isa = DW_ISA_AUTO; isa < DW_ISA_COUNT; isa++) {
        if (isa != DW_ISA_AUTO && !dw_isa_available((dw_isa)isa)) continue;
        for (int dtype = 0; dtype <= DW_I32; dtype++) { /* of 16 bits: test_half.c */
            for (int activation = DW_LINEAR; activation <= DW_RELU6; activation++) {
                for (int with_bias = 0; with_bias < 2; with_bias++) {
                    dw_desc d = ordinary();
                    d.dtype = (dw_dtype)dtype;
                    d.activation = (dw_activation)activation;
                    check_run(&d, (dw_isa)isa, with_bias);
                    d.batch = 2, d.channels = 19, d.height = 9, d.width = 11;
                    d.pad_top = d.pad_bottom = d.pad_left = d.pad_right = 1;
                    check_run(&d, (dw_isa)isa, with_bias);
                    d.stride_h = d.stride_w = 2;
                    check_run(&d, (dw_isa)isa, with_bias);
                    d.stride_w = 3, d.dilation_h = 2, d.kernel_w = 2, d.multiplier = 3, d.pad_bottom = 4;
                    check_run(&d, (dw_isa)isa, with_bias);
                }
            }
        }
    }
    /* An empty batch: nothing to do, and the arrays may be missing. */
    dw_desc d = ordinary();
    d.batch = 0;
    float kernel[27] = {0};
    dw_plan *plan = NULL;
    CHECK(dw_plan_create(&d, DW_ISA_AUTO, kernel, NULL, &plan) == DW_OK && plan);
    dw_plan_run(plan, NULL, NULL);
    dw_plan_destroy(plan);
}

/* ---- the floating-point environment ---------------------------------------------------------------- */

#if defined(__x86_64__)
#include <immintrin.h>
/* Rounding up, down, to zero; with and without flushing; some or all flags raised. */
static const uint64_t environments[] = {0x1f80, 0x5f80 | 0x8040, 0x3fbf, 0x7f80 | 0x21, 0x9fc0};
static void set_environment(uint64_t value) { _mm_setcsr((unsigned)value); }
static uint64_t environment(void) { return _mm_getcsr(); }
#elif defined(__aarch64__)
static const uint64_t environments[] = {0, 1u << 24, 1u << 22 | 1u << 24, 2u << 22, 3u << 22 | 1u << 25};
static void set_environment(uint64_t value) { __asm__ volatile("msr fpcr, %0" : : "r"(value) : "memory"); }
static uint64_t environment(void) {
    uint64_t value;
    __asm__ volatile("mrs %0, fpcr" : "=r"(value) : : "memory");
    return value;
}
#else
static const uint64_t environments[] = {0};
static void set_environment(uint64_t value) { (void)value; }
static uint64_t environment(void) { return 0; }
#endif

/* Runs change nothing of their caller's environment, and nothing of it changes their results. */
static void test_environment(void) {
    enum { SIZE = 6 * 7 * 19, TAPS = 9 * 19 };
    float x[SIZE], kernel[TAPS], bias[19], expected[SIZE], y[SIZE];
    for (int i = 0; i < SIZE; i++) x[i] = i % 3 ? 1e-39f * (float)i : (float)i / 7;
    for (int i = 0; i < TAPS; i++) kernel[i] = i % 5 ? (float)i / 9 : 1e-40f;
    for (int i = 0; i < 19; i++) bias[i] = i % 2 ? 1e-39f : -1e-39f;
    for (int isa = 0; isa < DW_ISA_COUNT; isa++) {
        if (!dw_isa_available((dw_isa)isa)) continue;
        for (int denormals = DW_DENORMALS_FLUSH; denormals <= DW_DENORMALS_IEEE; denormals++) {
            dw_desc d = ordinary();
            d.batch = 1, d.height = 6, d.width = 7, d.channels = 19, d.kernel_h = d.kernel_w = 3;
            d.pad_top = d.pad_bottom = d.pad_left = d.pad_right = 1;
            d.activation = DW_SILU, d.denormals = (dw_denormals)denormals;
            dw_plan *plan = NULL;
            dw_grad *grad = NULL;
            CHECK(dw_plan_create(&d, (dw_isa)isa, kernel, bias, &plan) == DW_OK);
            d.activation = DW_LINEAR;
            CHECK(dw_grad_create(&d, (dw_isa)isa, kernel, &grad) == DW_OK);
            void *workspace = malloc((size_t)dw_grad_workspace(grad, 1));
            dw_plan_run(plan, x, expected);
            for (size_t e = 0; e < sizeof environments / sizeof *environments; e++) {
                const uint64_t wanted = environments[e];
                uint64_t after[3];
                set_environment(wanted);
                dw_plan_run(plan, x, y);
                after[0] = environment();
                dw_activate(DW_F32, DW_TANH, 0, d.denormals, (dw_isa)isa, TAPS, kernel);
                after[1] = environment();
                dw_grad_run(grad, x, x, NULL, kernel, bias, workspace);
                after[2] = environment();
                set_environment(environments[0]);
                for (int i = 0; i < 3; i++) CHECK(after[i] == wanted);
                CHECK(memcmp(y, expected, sizeof y) == 0);
            }
            free(workspace);
            dw_grad_destroy(grad);
            dw_plan_destroy(plan);
        }
    }
}

int main(void) {
    test_statuses();
    test_strategies();
    test_pad_same();
    test_texts();
    test_isas();
    test_runs();
    test_environment();
    return report();
}
