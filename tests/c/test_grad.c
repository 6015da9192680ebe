/* test_grad.c - dw_grad_*, from C and from C++ (this file is both): statuses, NULL for what is not wanted,
 * results against sums in double, nothing written outside of the arrays and the workspace.
 *
 *   cc -std=c11 -Icsrc tests/c/test_grad.c $(find csrc -name '*.c') -lm -o test_grad && ./test_grad */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "dwconv.h"

enum { MARGIN = 64, POISON = 0xa5 };

/* What C++ shows is that the header works there: one number of channels, no threads. All of it takes minutes of a core
 * that is not optimized. */
#ifdef __cplusplus
enum { IN_CPP = 1 };
#else
enum { IN_CPP = 0 };
#endif

/* Without instructions of its own the portable kernels call fma() of the C library for each product: of 145 s they took
 * 136 (Emerald Rapids). They have one lane, so few channels show as much; how work is divided is common to all. */
static int slow(int isa) { return isa == DW_ISA_PORTABLE; }

/* `count` elements between two margins of poison. */
typedef struct room {
    unsigned char *memory;
    void *at;
    size_t bytes;
} room;

static room make_room(size_t bytes) {
    room r;
    r.bytes = bytes;
    r.memory = (unsigned char *)malloc(bytes + 2 * MARGIN);
    if (!r.memory) exit(2);
    memset(r.memory, POISON, bytes + 2 * MARGIN);
    r.at = r.memory + MARGIN;
    return r;
}

/* Whether the margins are untouched; frees it. */
static int leave(room r) {
    int clean = 1;
    for (size_t i = 0; i < MARGIN; i++) clean &= r.memory[i] == POISON && r.memory[MARGIN + r.bytes + i] == POISON;
    free(r.memory);
    return clean;
}

static double get(const void *array, dw_dtype dtype, int64_t i) {
    return dtype == DW_F32 ? (double)((const float *)array)[i] : ((const double *)array)[i];
}

static room noise(int64_t count, dw_dtype dtype) {
    static unsigned state = 1;
    room r = make_room((size_t)count * (dtype == DW_F32 ? 4 : 8));
    for (int64_t i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        const double x = (double)(state >> 8) / (1 << 23) - 1;
        if (dtype == DW_F32) ((float *)r.at)[i] = (float)x;
        else ((double *)r.at)[i] = x;
    }
    return r;
}

static dw_desc ordinary(void) {
    dw_desc d;
    memset(&d, 0, sizeof d);
    d.batch = 2, d.height = 7, d.width = 9, d.channels = 3, d.multiplier = 1;
    d.kernel_h = d.kernel_w = 3;
    d.stride_h = d.stride_w = d.dilation_h = d.dilation_w = 1;
    d.dtype = DW_F32;
    d.activation = DW_LINEAR;
    return d;
}

static void expect(const dw_desc *d, dw_isa isa, dw_status status) {
    static const float kernel[64] = {0};
    int marker;
    dw_grad *grad = (dw_grad *)(void *)&marker;
    CHECK(dw_grad_create(d, isa, kernel, &grad) == status);
    CHECK((grad != NULL) == (status == DW_OK));
    dw_grad_destroy(grad);
}

static void test_statuses(void) {
    dw_desc d = ordinary();
    expect(&d, DW_ISA_AUTO, DW_OK);
    expect(NULL, DW_ISA_AUTO, DW_ERR_NULL);
    expect(&d, DW_ISA_COUNT, DW_ERR_ISA);
    CHECK(dw_grad_create(&d, DW_ISA_AUTO, NULL, NULL) == DW_ERR_NULL);
    d.activation = DW_RELU;
    expect(&d, DW_ISA_AUTO, DW_ERR_ACTIVATION);
    d = ordinary(), d.layout = (dw_layout)2;
    expect(&d, DW_ISA_AUTO, DW_ERR_LAYOUT);
    d = ordinary(), d.dtype = DW_I32;
    expect(&d, DW_ISA_AUTO, DW_ERR_DTYPE);
    d = ordinary(), d.dtype = DW_DTYPE_COUNT;
    expect(&d, DW_ISA_AUTO, DW_ERR_DTYPE);
    d = ordinary(), d.stride_w = 0;
    expect(&d, DW_ISA_AUTO, DW_ERR_STRIDE);
    d = ordinary(), d.kernel_h = 8;
    expect(&d, DW_ISA_AUTO, DW_ERR_OUTPUT);
    d = ordinary(), d.width = INT64_MAX / 8;
    expect(&d, DW_ISA_AUTO, DW_ERR_OVERFLOW);
    /* Steps that no sum of two may be made of. */
    d = ordinary(), d.stride_h = d.stride_w = INT64_MAX;
    expect(&d, DW_ISA_AUTO, DW_OK);
    d = ordinary(), d.kernel_h = d.kernel_w = 1, d.dilation_h = d.dilation_w = INT64_MAX;
    expect(&d, DW_ISA_AUTO, DW_OK);
    dw_grad_destroy(NULL);
}

/* Where an element lies in an array of either layout. */
static int64_t place(const dw_desc *d, int64_t n, int64_t pixel, int64_t c, int64_t pixels, int64_t channels) {
    return d->layout == DW_NHWC ? (n * pixels + pixel) * channels + c : (n * channels + c) * pixels + pixel;
}

/* All gradients in double, and the sums of magnitudes, which bound the errors. */
static void in_double(const dw_desc *d, int64_t oh, int64_t ow, const void *dy, const void *x, const void *kernel,
                      double *sums[3], double *sizes[3]) {
    for (int64_t n = 0; n < d->batch; n++)
        for (int64_t i = 0; i < oh * ow; i++)
            for (int64_t c = 0; c < d->channels * d->multiplier; c++) {
                const int64_t outputs = d->channels * d->multiplier, in = c / d->multiplier;
                const double g = get(dy, d->dtype, place(d, n, i, c, oh * ow, outputs));
                sums[2][c] += g, sizes[2][c] += fabs(g);
                for (int64_t tap = 0; tap < d->kernel_h * d->kernel_w; tap++) {
                    const int64_t h = i / ow * d->stride_h - d->pad_top + tap / d->kernel_w * d->dilation_h;
                    const int64_t w = i % ow * d->stride_w - d->pad_left + tap % d->kernel_w * d->dilation_w;
                    if (h < 0 || h >= d->height || w < 0 || w >= d->width) continue;
                    const int64_t at = place(d, n, h * d->width + w, in, d->height * d->width, d->channels);
                    const double k = get(kernel, d->dtype, tap * outputs + c), v = get(x, d->dtype, at);
                    sums[0][at] += g * k, sizes[0][at] += fabs(g * k);
                    sums[1][tap * outputs + c] += g * v, sizes[1][tap * outputs + c] += fabs(g * v);
                }
            }
}

/* A descriptor with the arrays that it reads; elements of dx, dkernel and dbias. */
typedef struct problem {
    int64_t oh, ow, counts[3];
    size_t item;
    room dy, x, kernel;
    dw_grad *grad;
} problem;

static problem make_problem(const dw_desc *d, dw_isa isa) {
    problem p;
    memset(&p, 0, sizeof p);
    if (dw_output_size(d, &p.oh, &p.ow) != DW_OK) exit(2);
    const int64_t outputs = d->channels * d->multiplier;
    p.counts[0] = d->batch * d->height * d->width * d->channels;
    p.counts[1] = d->kernel_h * d->kernel_w * outputs;
    p.counts[2] = outputs;
    p.item = d->dtype == DW_F32 ? 4 : 8;
    p.dy = noise(d->batch * p.oh * p.ow * outputs, d->dtype);
    p.x = noise(p.counts[0], d->dtype);
    p.kernel = noise(p.counts[1], d->dtype);
    CHECK(dw_grad_create(d, isa, p.kernel.at, &p.grad) == DW_OK);
    return p;
}

/* Whether nothing was written beside its arrays; frees it. */
static int leave_problem(problem *p) {
    dw_grad_destroy(p->grad);
    return leave(p->dy) & leave(p->x) & leave(p->kernel);
}

static void check_run(const dw_desc *d, dw_isa isa) {
    problem p = make_problem(d, isa);
    room workspace = make_room((size_t)dw_grad_workspace(p.grad, 1));
    room all[3], alone[3];
    double *sums[3], *sizes[3];
    for (int i = 0; i < 3; i++) {
        all[i] = make_room((size_t)p.counts[i] * p.item);
        alone[i] = make_room((size_t)p.counts[i] * p.item);
        sums[i] = (double *)calloc((size_t)p.counts[i] + 1, sizeof(double));
        sizes[i] = (double *)calloc((size_t)p.counts[i] + 1, sizeof(double));
    }
    dw_grad_run(p.grad, p.dy.at, p.x.at, all[0].at, all[1].at, all[2].at, workspace.at);
    dw_grad_run(p.grad, p.dy.at, NULL, alone[0].at, NULL, NULL, workspace.at);
    dw_grad_run(p.grad, p.dy.at, p.x.at, NULL, alone[1].at, NULL, workspace.at);
    dw_grad_run(p.grad, p.dy.at, p.x.at, NULL, NULL, alone[2].at, workspace.at);
    in_double(d, p.oh, p.ow, p.dy.at, p.x.at, p.kernel.at, sums, sizes);
    const double eps = d->dtype == DW_F32 ? FLT_EPSILON : DBL_EPSILON;
    /* The most roundings that a term passes through; twice, for the sums in double. */
    const double depth = 2 * (double)(d->kernel_h * d->kernel_w + d->multiplier + d->batch + p.oh + p.ow + 64);
    for (int i = 0; i < 3; i++) {
        int close = 1;
        for (int64_t j = 0; j < p.counts[i]; j++)
            close &= fabs(get(all[i].at, d->dtype, j) - sums[i][j]) <= depth * eps * sizes[i][j];
        CHECK(close);
        CHECK(memcmp(all[i].at, alone[i].at, all[i].bytes) == 0);
        CHECK(leave(all[i]) & leave(alone[i]));
        free(sums[i]);
        free(sizes[i]);
    }
    CHECK(leave(workspace) & leave_problem(&p));
}

/* Through an activation: the bits of z from a plan, dz from dw_activation_gradient, and the gradients of that. Then the
 * same after other weights. `threads`: of the runs. */
static void check_through(const dw_desc *linear, dw_isa isa, int activation, int with_bias, int threads) {
    dw_desc d = *linear;
    problem p = make_problem(&d, isa);
    const int64_t outputs = p.counts[2], count = d.batch * p.oh * p.ow * outputs;
    room dz = make_room((size_t)count * p.item), bias = noise(outputs, d.dtype);
    room workspace = make_room((size_t)dw_grad_workspace(p.grad, threads)), expected[3], found[3];
    const void *bias_at = with_bias ? bias.at : NULL;
    dw_plan *plan = NULL;
    dw_grad *through[3] = {NULL, NULL, NULL};
    CHECK(dw_plan_create(&d, isa, p.kernel.at, bias_at, &plan) == DW_OK);
    dw_plan_run(plan, p.x.at, dz.at);
    d.activation = (dw_activation)activation;
    d.activation_alpha = 0.3;
    CHECK(dw_activation_gradient(d.dtype, d.activation, 0.3, d.denormals, isa, count, dz.at, p.dy.at, dz.at) == DW_OK);
    room other = noise(p.counts[1], d.dtype);
    CHECK(dw_grad_create_through(&d, isa, other.at, NULL, 1, NULL, NULL, &through[0]) == DW_OK);
    CHECK(dw_grad_with_weights(through[0], p.kernel.at, bias_at, NULL, NULL, &through[1]) == DW_OK);
    CHECK(dw_grad_create_through(&d, isa, p.kernel.at, bias_at, 0, NULL, NULL, &through[2]) == DW_OK);
    dw_grad_destroy(through[0]);
    for (int i = 0; i < 3; i++) {
        expected[i] = make_room((size_t)p.counts[i] * p.item);
        found[i] = make_room((size_t)p.counts[i] * p.item);
    }
    dw_grad_run_threads(p.grad, dz.at, p.x.at, expected[0].at, expected[1].at, expected[2].at, workspace.at, threads);
    for (int form = 1; form < 3; form++) { /* 1: all, and dx alone; 2: without dx */
        room own = make_room((size_t)dw_grad_workspace(through[form], threads));
        dw_grad_run_threads(through[form], p.dy.at, p.x.at, form == 1 ? found[0].at : NULL, found[1].at, found[2].at,
                            own.at, threads);
        for (int i = form == 1 ? 0 : 1; i < 3; i++) CHECK(memcmp(expected[i].at, found[i].at, found[i].bytes) == 0);
        if (form == 1) {
            memset(found[0].at, POISON, found[0].bytes);
            dw_grad_run_threads(through[form], p.dy.at, p.x.at, found[0].at, NULL, NULL, own.at, threads);
            CHECK(memcmp(expected[0].at, found[0].at, found[0].bytes) == 0);
        }
        CHECK(leave(own));
        dw_grad_destroy(through[form]);
    }
    for (int i = 0; i < 3; i++) CHECK(leave(expected[i]) & leave(found[i]));
    dw_plan_destroy(plan);
    CHECK(leave(dz) & leave(bias) & leave(other) & leave(workspace) & leave_problem(&p));
}

/* Other weights for gradients without an activation: the bits of new ones. */
static void check_with_weights(const dw_desc *d, dw_isa isa) {
    problem p = make_problem(d, isa);
    room other = noise(p.counts[1], d->dtype), workspace = make_room((size_t)dw_grad_workspace(p.grad, 1)), dx[2];
    dw_grad *first = NULL, *again = NULL;
    CHECK(dw_grad_create(d, isa, other.at, &first) == DW_OK);
    CHECK(dw_grad_with_weights(first, p.kernel.at, NULL, NULL, NULL, &again) == DW_OK);
    dw_grad_destroy(first);
    for (int i = 0; i < 2; i++) {
        dx[i] = make_room((size_t)p.counts[0] * p.item);
        dw_grad_run(i ? again : p.grad, p.dy.at, NULL, dx[i].at, NULL, NULL, workspace.at);
    }
    CHECK(memcmp(dx[0].at, dx[1].at, dx[0].bytes) == 0);
    dw_grad_destroy(again);
    CHECK(leave(other) & leave(workspace) & leave(dx[0]) & leave(dx[1]) & leave_problem(&p));
}

static void test_through(void) {
    static const int64_t channels[] = {33, 1, 5, 19};
    dw_desc d = ordinary();
    dw_grad *grad = NULL;
    float kernel[64] = {0};
    d.activation = DW_RELU;
    CHECK(dw_grad_create_through(&d, DW_ISA_AUTO, NULL, NULL, 0, NULL, NULL, &grad) == DW_ERR_NULL && !grad);
    CHECK(dw_grad_create_through(&d, DW_ISA_AUTO, kernel, NULL, 0, NULL, NULL, &grad) == DW_OK);
    dw_grad *none = grad;
    CHECK(dw_grad_with_weights(grad, NULL, NULL, NULL, NULL, &none) == DW_ERR_NULL && !none);
    dw_grad_destroy(grad);
    d.activation = DW_ACTIVATION_COUNT;
    CHECK(dw_grad_create_through(&d, DW_ISA_AUTO, kernel, NULL, 0, NULL, NULL, &grad) == DW_ERR_ACTIVATION && !grad);
    for (int isa = 0; isa < DW_ISA_COUNT; isa++) {
        if (!dw_isa_available((dw_isa)isa)) continue;
        for (int c = slow(isa); c < (slow(isa) ? 3 : IN_CPP ? 1 : 4); c++)
            for (int number = 0; number < 48; number++) {
                const int form = number / 2;
                d = ordinary();
                d.layout = number % 2 ? DW_NCHW : DW_NHWC;
                d.dtype = form % 2 ? DW_F64 : DW_F32;
                d.channels = channels[c];
                d.width = 9 + form % 5 * 8;
                d.multiplier = form % 3 == 2 ? 3 : 1;
                d.stride_h = 1 + form / 2 % 3, d.stride_w = 1 + form / 3 % 2;
                d.kernel_h = form % 4 == 3 ? 9 : 1 + form % 7; /* more rows than one call takes */
                d.kernel_w = form < 12 ? 3 + form / 4 * 2 : 2 + form % 3;
                d.dilation_w = form < 12 ? 1 : 1 + form % 2;
                d.pad_top = 2 + form % 4, d.pad_bottom = 1, d.pad_left = form / 4 % 4, d.pad_right = 2;
                check_through(&d, (dw_isa)isa, 1 + form % 11, form % 2, 1);
                if (number % 4 == 0) check_with_weights(&d, (dw_isa)isa);
            }
        d = ordinary(), d.batch = 0;
        check_through(&d, (dw_isa)isa, DW_SILU, 1, 1);
        d = ordinary(), d.stride_h = d.stride_w = INT64_MAX;
        check_through(&d, (dw_isa)isa, DW_RELU, 1, 1);
        d = ordinary(), d.kernel_h = d.kernel_w = 1, d.dilation_h = d.dilation_w = INT64_MAX;
        check_through(&d, (dw_isa)isa, DW_RELU6, 0, 1);
        for (int layout = 0; layout < 2; layout++) {
            d = ordinary(), d.layout = layout ? DW_NCHW : DW_NHWC;
            d.height = d.width = 52, d.channels = 37, d.batch = !layout ? 1 : slow(isa) ? 2 : 5;
            d.pad_top = d.pad_left = d.pad_bottom = d.pad_right = 1;
            check_through(&d, (dw_isa)isa, DW_GELU, 1, 3);
        }
    }
    dw_threads_stop();
}

static void test_runs(void) {
    static const int64_t channels[] = {33, 1, 5, 16, 19};
    for (int isa = 0; isa < DW_ISA_COUNT; isa++) {
        if (!dw_isa_available((dw_isa)isa)) continue;
        for (int c = 0; c < (IN_CPP ? 1 : 5); c++)
            for (int number = 0; number < 24; number++) {
                const int form = number / 2;
                dw_desc d = ordinary();
                d.layout = number % 2 ? DW_NCHW : DW_NHWC;
                d.dtype = form % 2 ? DW_F64 : DW_F32;
                d.channels = channels[c];
                d.multiplier = form % 3 == 2 ? 3 : 1;
                d.stride_h = 1 + form / 2 % 3, d.stride_w = 1 + form / 3 % 3;
                d.kernel_w = 2 + form / 4;
                d.dilation_w = 1 + form % 2;
                d.pad_top = form % 4, d.pad_left = form / 4, d.pad_right = 2;
                check_run(&d, (dw_isa)isa);
            }
        dw_desc d = ordinary();
        d.batch = 0; /* zeros */
        check_run(&d, (dw_isa)isa);
        d = ordinary(), d.stride_h = d.stride_w = INT64_MAX;
        check_run(&d, (dw_isa)isa);
        d = ordinary(), d.stride_h = INT64_MAX, d.channels = 33; /* for kernels that know stride_w only */
        check_run(&d, (dw_isa)isa);
        d.layout = DW_NCHW;
        check_run(&d, (dw_isa)isa);
    }
}

/* Rounds of any number of parts, the last part first: the bits in `expected`, and nothing outside of the workspace. Each
 * part by itself writes what no other one does, so their order does not count. few: the first two of the list, for large
 * problems: the core that most tests of C take is not optimized. */
static void check_parts(const problem *p, const room expected[3], int64_t batch, int few) {
    static const struct {
        int parts, all; /* all gradients, or dx alone */
    } RUNS[] = {{3, 1}, {64, 0}, {1, 0}, {1, 1}, {2, 0}, {2, 1}, {3, 0}, {7, 0}, {7, 1}, {64, 1}};
    const int runs =
        few ? 2 : (int)(sizeof RUNS / sizeof *RUNS); /* fewer parts than images, as many, more than units */
    for (int run = 0; run < runs; run++) {
        const int parts = RUNS[run].parts, all = RUNS[run].all;
        const int64_t rounds = dw_grad_rounds(p->grad, parts);
        CHECK(rounds >= 1 && rounds <= (batch > 1 ? batch : 1));
        room workspace = make_room((size_t)dw_grad_parts_workspace(p->grad, parts)), found[3];
        memset(workspace.at, 0xff, workspace.bytes); /* NaN */
        for (int i = 0; i < 3; i++) found[i] = make_room((size_t)p->counts[i] * p->item);
        for (int64_t round = 0; round < rounds; round++) {
            for (int part = parts - 1; part >= 0; part--)
                dw_grad_run_part(p->grad, p->dy.at, all ? p->x.at : NULL, found[0].at, all, workspace.at, round, part,
                                 parts);
            dw_grad_end_round(p->grad, all ? found[1].at : NULL, all ? found[2].at : NULL, workspace.at, round, parts);
        }
        CHECK(leave(workspace));
        for (int i = 0; i < 3; i++) {
            if (all || i == 0) CHECK(memcmp(expected[i].at, found[i].at, found[i].bytes) == 0);
            CHECK(leave(found[i]));
        }
    }
}

/* Any number of threads: the same bits, and nothing outside of the arrays and the workspace for that number. */
static void check_threads(const dw_desc *d, dw_isa isa) {
    problem p = make_problem(d, isa);
    room first[3];
    const int whole = d->batch == 1 && d->multiplier > 1; /* an image whose channels cannot be divided is one unit */
    CHECK(dw_grad_threads(p.grad, 1) == 1 && dw_grad_threads(p.grad, 4) == (whole ? 1 : 4));
    for (int threads = 1; threads <= 4; threads++) {
        room workspace = make_room((size_t)dw_grad_workspace(p.grad, threads)), found[3];
        for (int i = 0; i < 3; i++) found[i] = make_room((size_t)p.counts[i] * p.item);
        dw_grad_run_threads(p.grad, p.dy.at, p.x.at, found[0].at, found[1].at, found[2].at, workspace.at, threads);
        CHECK(leave(workspace));
        for (int i = 0; i < 3; i++) {
            if (threads == 1) {
                first[i] = found[i];
                continue;
            }
            CHECK(memcmp(first[i].at, found[i].at, found[i].bytes) == 0);
            CHECK(leave(found[i]));
        }
    }
    check_parts(&p, first, d->batch, 1);
    for (int i = 0; i < 3; i++) CHECK(leave(first[i]));
    CHECK(leave_problem(&p));
}

static void test_threads(void) {
    for (int isa = 0; isa < DW_ISA_COUNT; isa++) {
        if (!dw_isa_available((dw_isa)isa)) continue;
        for (int form = 0; form < 16; form += slow(isa) ? 5 : 1) {
            dw_desc d = ordinary();
            d.layout = form % 2 == form / 2 % 2 ? DW_NHWC : DW_NCHW;
            d.dtype = form % 2 ? DW_F64 : DW_F32;
            d.batch = form / 2 % 2 ? 5 : 1; /* divided by images; by channels or rows */
            d.stride_h = d.stride_w = 1 + form / 4 % 2;
            d.multiplier = form % 8 == 5 ? 2 : 1;
            d.kernel_h = d.kernel_w = form / 8 ? 4 : 3; /* without a tile; with one */
            d.height = d.width = 52, d.channels = 37;
            d.pad_top = d.pad_left = d.pad_bottom = d.pad_right = 1;
            check_threads(&d, (dw_isa)isa);
        }
        dw_desc d = ordinary();
        for (d.batch = 0; d.batch < 14; d.batch += 13) { /* zeros; more images than a round has */
            problem p = make_problem(&d, (dw_isa)isa);
            room workspace = make_room((size_t)dw_grad_workspace(p.grad, 1)), expected[3];
            for (int i = 0; i < 3; i++) expected[i] = make_room((size_t)p.counts[i] * p.item);
            dw_grad_run(p.grad, p.dy.at, p.x.at, expected[0].at, expected[1].at, expected[2].at, workspace.at);
            CHECK(dw_grad_rounds(p.grad, 1) == (d.batch ? 4 : 1));
            check_parts(&p, expected, d.batch, 0);
            CHECK(leave(workspace) & leave(expected[0]) & leave(expected[1]) & leave(expected[2]));
            CHECK(leave_problem(&p));
        }
    }
    dw_threads_stop();
}

int main(void) {
    test_statuses();
    test_runs();
    test_through();
    if (!IN_CPP) test_threads();
    return report();
}
