/* test_half.c - x and y of 16 bits: each instruction set to the bit as a float32 plan between casts, which are written out
 * here from the definitions of the formats; every tail of channels, sizes with and without a kernel of their own, parts.
 *
 *   cc -std=c11 -Icsrc tests/c/test_half.c $(find csrc -name '*.c') -lm -o test_half && ./test_half [seed [ieee]]
 *
 * "ieee": denormal numbers are never flushed. Emulators of x86 need it: QEMU (7.2) flushes those of float16, too, as CPUs
 * do not (Intel's manual, VCVTPH2PS: MXCSR.DAZ is ignored).
 *
 * This file is C and C++. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "dwconv.h"
#include "half_formats.h"

static uint64_t state = 1;
static int only_ieee;
static uint64_t random64(void) { /* xorshift64*, Marsaglia 2003 and Vigna 2016 */
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * UINT64_C(0x2545F4914F6CDD1D);
}

/* Numbers of every size now and then, small ones mostly. */
static uint16_t random_half(format f) {
    const uint64_t r = random64();
    if (r % 16 == 0) return (uint16_t)(r >> 16);
    return nearest(f, ldexp((double)(int)(r >> 16 & 0xffff) - 32768, -14));
}

/* ---- plans ------------------------------------------------------------------------------------------- */

static int same(format f, uint16_t a, uint16_t b) { return a == b || (isnan(value_of(f, a)) && isnan(value_of(f, b))); }

static void *allocate(int64_t bytes) {
    void *p = malloc((size_t)bytes + 1);
    if (!p) exit(2);
    return p;
}

/* By `parts` parts, or by `every` strategy, too; into an array whose surroundings must stay as they are. */
static void compare(dw_desc d, dw_isa isa, int parts, int every) {
    enum { AROUND = 64, FILL = 0xa5 };
    const format f = d.dtype == DW_F16 ? FLOAT16 : BFLOAT16;
    if (only_ieee) d.denormals = DW_DENORMALS_IEEE;
    int64_t oh, ow;
    CHECK(dw_output_size(&d, &oh, &ow) == DW_OK);
    const int64_t outputs = d.channels * d.multiplier, taps = d.kernel_h * d.kernel_w;
    const int64_t xs = d.batch * d.height * d.width * d.channels, ys = d.batch * oh * ow * outputs;
    /* Anywhere in a vector, x and y alike or not: plans have weights for several places. */
    const int64_t x_shift = (int64_t)(random64() % 32), y_shift = random64() % 2 ? x_shift : (int64_t)(random64() % 32);
    uint16_t *all_x = (uint16_t *)allocate(2 * (xs + x_shift)), *x = all_x + x_shift,
             *half = (uint16_t *)allocate(2 * (ys + y_shift) + 2 * AROUND);
    float *wide = (float *)allocate(4 * xs), *y = (float *)allocate(4 * ys);
    float *kernel = (float *)allocate(4 * taps * outputs), *bias = (float *)allocate(4 * outputs);
    for (int64_t i = 0; i < xs; i++) x[i] = random_half(f), wide[i] = (float)value_of(f, x[i]);
    for (int64_t i = 0; i < taps * outputs; i++) kernel[i] = (float)((double)(int)(random64() % 65536) / 32768 - 1);
    for (int64_t i = 0; i < outputs; i++) bias[i] = (float)ldexp(1, (int)(random64() % 40) - 30);
    memset(half, FILL, (size_t)(2 * (ys + y_shift) + 2 * AROUND));

    dw_plan *plan = NULL, *reference = NULL;
    CHECK(dw_plan_create(&d, isa, kernel, bias, &plan) == DW_OK);
    dw_desc floats = d;
    floats.dtype = DW_F32;
    CHECK(dw_plan_create(&floats, isa, kernel, bias, &reference) == DW_OK);
    if (plan && reference) {
        uint16_t *const at = half + AROUND / 2 + y_shift;
        for (int part = 0; part < parts; part++) dw_plan_run_part(plan, x, at, part, parts);
        dw_plan_run(reference, wide, y);
        int64_t wrong = 0;
        for (int64_t i = 0; i < ys; i++) wrong += !same(f, at[i], nearest(f, y[i]));
        for (int i = 0; i < AROUND / 2; i++) wrong += half[i] != 0xa5a5 || at[ys + i] != 0xa5a5;
        /* All the ways there are, so that each kernel runs. */
        int count = 0;
        CHECK(dw_strategies_of(&d, isa, NULL, 0, &count) == DW_OK);
        for (int index = every ? 1 : count; index < count; index++) {
            dw_plan *other = NULL;
            CHECK(dw_plan_create_strategy(&d, isa, index, kernel, bias, &other) == DW_OK);
            memset(at, FILL, (size_t)(2 * ys));
            if (other) dw_plan_run(other, x, at);
            for (int64_t i = 0; i < ys; i++) wrong += !same(f, at[i], nearest(f, y[i]));
            dw_plan_destroy(other);
        }
        CHECK(wrong == 0);
        if (wrong) {
            dw_plan_info info;
            dw_plan_describe(plan, &info);
            fprintf(stderr, "%s %s: %ldx%ldx%ld kernel %ldx%ld stride %ld dilation %ld multiplier %ld: %ld wrong\n",
                    dw_isa_name(isa), info.strategy, (long)d.height, (long)d.width, (long)d.channels, (long)d.kernel_h,
                    (long)d.kernel_w, (long)d.stride_w, (long)d.dilation_w, (long)d.multiplier, (long)wrong);
        }
    }
    dw_plan_destroy(plan);
    dw_plan_destroy(reference);
    free(all_x), free(half), free(wide), free(y), free(kernel), free(bias);
}

static dw_desc problem(dw_dtype dtype, int64_t size, int64_t channels, int64_t kernel, int64_t stride) {
    dw_desc d;
    memset(&d, 0, sizeof d);
    d.batch = 1, d.height = size, d.width = size + 2, d.channels = channels, d.multiplier = 1;
    d.kernel_h = d.kernel_w = kernel;
    d.stride_h = d.stride_w = stride;
    d.dilation_h = d.dilation_w = 1;
    d.dtype = dtype;
    CHECK(dw_pad_same(&d) == DW_OK);
    return d;
}

static void test_isa(dw_dtype dtype, dw_isa isa) {
    /* 33: two vectors of the widest instruction set, and one channel; so every tail occurs. */
    for (int64_t channels = 1; channels <= 33; channels++)
        compare(problem(dtype, 7, channels, 3, 1), isa, 1, channels % 4 == 3);
    static const int64_t kernels[] = {1, 2, 3, 4, 5, 7}, sizes[] = {7, 14, 20}, channels[] = {16, 40};
    for (int k = 0; k < 6; k++)
        for (int64_t stride = 1; stride <= 2; stride++)
            for (int s = 0; s < 3; s++)
                for (int c = 0; c < 2; c++)
                    compare(problem(dtype, sizes[s], channels[c], kernels[k], stride), isa, 1 + s, c);
    for (int i = 0; i < 40; i++) {
        dw_desc d = problem(dtype, 3 + (int64_t)(random64() % 9), 1 + (int64_t)(random64() % 40),
                            1 + (int64_t)(random64() % 4), 1 + (int64_t)(random64() % 2));
        d.batch = 1 + (int64_t)(random64() % 2);
        d.multiplier = random64() % 3 ? 1 : 1 + (int64_t)(random64() % 4);
        d.dilation_h = d.dilation_w = d.stride_h == 1 ? 1 + (int64_t)(random64() % 2) : 1;
        d.activation = (dw_activation)(random64() % 3);
        d.denormals = (dw_denormals)(random64() % 2);
        CHECK(dw_pad_same(&d) == DW_OK);
        compare(d, isa, 1 + (int)(random64() % 4), 0);
    }
}

static void test_refused(dw_dtype dtype) {
    dw_desc d = problem(dtype, 5, 4, 3, 1);
    int64_t oh, ow;
    d.layout = DW_NCHW;
    CHECK(dw_output_size(&d, &oh, &ow) == DW_ERR_LAYOUT);
    d.layout = DW_NHWC;
    d.activation = DW_SILU;
    CHECK(dw_output_size(&d, &oh, &ow) == DW_ERR_ACTIVATION);
    uint16_t y = 0;
    CHECK(dw_activate(dtype, DW_RELU, 0, DW_DENORMALS_IEEE, DW_ISA_AUTO, 1, &y) == DW_ERR_DTYPE);
}

int main(int argc, char **argv) {
    const uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    static const dw_dtype dtypes[] = {DW_F16, DW_BF16};
    only_ieee = argc > 2 && !strcmp(argv[2], "ieee");
    state = seed * UINT64_C(0x9E3779B97F4A7C15) | 1;
    for (int i = 0; i < 2; i++) {
        test_refused(dtypes[i]);
        for (int isa = 0; isa < DW_ISA_COUNT; isa++)
            if (dw_isa_available((dw_isa)isa)) test_isa(dtypes[i], (dw_isa)isa);
    }
    if (failures) fprintf(stderr, "seed %lu\n", (unsigned long)seed);
    return report();
}
