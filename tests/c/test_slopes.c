/* test_slopes.c - dw_activation_gradient, from C and from C++ (this file is both): statuses, kinks, nothing written
 * outside of the array, and the same bits on every instruction set, in every build: a hash of results for numbers of all
 * sizes, infinities and NaN. tests/core/test_slopes.py compares the results with formulas.
 *
 *   cc -std=c11 -Icsrc tests/c/test_slopes.c $(find csrc -name '*.c') -lm -o test_slopes && ./test_slopes */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "dwconv.h"

enum { COUNT = 4099 }; /* whole vectors and a rest */

/* By activation: hashes of float32 and float64. */
static const uint64_t golden[DW_ACTIVATION_COUNT][2] = {
#include "slopes.txt"
};

static double alpha_of(int activation) { return activation == DW_LEAKY_RELU ? 0.3 : 1.7; }

static const char *name_of(dw_isa isa) { return dw_isa_name(isa); }

/* SplitMix64: Steele, Lea and Flood, 'Fast splittable pseudorandom number generators', 2014. */
static uint64_t mix(uint64_t z) {
    z += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* Numbers up to 2**7 in steps that a float32 has exactly, then the powers of two of float32, infinities, NaN. */
static double number(int i) {
    const uint64_t bits = mix((uint64_t)i);
    const double sign = bits >> 63 ? -1 : 1;
    if (i < 7) {
        static const double special[] = {0, -0.0, 3, -3, 6, HUGE_VAL, -HUGE_VAL};
        return special[i];
    }
    if (i < 8) return NAN;
    if (i < 8 + 270) return sign * ldexp(1, (i - 8) - 148);
    return sign * ldexp((double)(bits & 0xffffff), -24 + (int)(bits >> 40 & 7));
}

static uint64_t bits_of(const void *array, int wide, int i) {
    uint32_t narrow;
    uint64_t bits;
    if (wide) {
        memcpy(&bits, (const char *)array + 8 * i, 8);
        return (bits & ~(UINT64_C(1) << 63)) > UINT64_C(0x7ff) << 52 ? 1 : bits; /* NaN payloads aside */
    }
    memcpy(&narrow, (const char *)array + 4 * i, 4);
    return (narrow & 0x7fffffff) > 0x7f800000 ? 1 : narrow;
}

static double get(const void *array, int wide, int i) {
    return wide ? ((const double *)array)[i] : (double)((const float *)array)[i];
}

static void put(void *array, int wide, int i, double value) {
    if (wide) ((double *)array)[i] = value;
    else ((float *)array)[i] = (float)value;
}

static double z[COUNT], dy[COUNT], dz[COUNT + 1]; /* floats, too */

static void fill(int wide) {
    for (int i = 0; i < COUNT; i++) {
        put(z, wide, i, number(i));
        put(dy, wide, i, ldexp((double)(mix((uint64_t)(i + COUNT)) >> 40), -23) - 1);
    }
}

static dw_status pull(dw_isa isa, int activation, int wide, int count) {
    return dw_activation_gradient(wide ? DW_F64 : DW_F32, (dw_activation)activation, alpha_of(activation),
                                  DW_DENORMALS_IEEE, isa, count, z, dy, dz);
}

static void test_bits(dw_isa isa, int activation, int wide) {
    uint64_t hash = UINT64_C(14695981039346656037); /* FNV-1a */
    fill(wide);
    CHECK(pull(isa, activation, wide, COUNT) == DW_OK);
    for (int i = 0; i < COUNT; i++) {
        const uint64_t bits = bits_of(dz, wide, i);
        for (int byte = 0; byte < 8; byte++) hash = (hash ^ (bits >> 8 * byte & 255)) * UINT64_C(1099511628211);
    }
    CHECK(hash == golden[activation][wide]);
    if (hash != golden[activation][wide])
        fprintf(stderr, "%s, activation %d, %d bits: %#018" PRIx64 "\n", name_of(isa), activation, wide ? 64 : 32,
                hash);
}

/* Each count up to two vectors and one more: no element beyond it is written, those before are the same. */
static void test_tails(dw_isa isa, int activation, int wide) {
    static double all[COUNT + 1];
    fill(wide);
    CHECK(pull(isa, activation, wide, COUNT) == DW_OK);
    memcpy(all, dz, sizeof all);
    for (int count = 0; count <= 33; count++) {
        memset(dz, 0xa5, sizeof dz);
        CHECK(pull(isa, activation, wide, count) == DW_OK);
        const unsigned char *after = (const unsigned char *)dz + (wide ? 8 : 4) * count;
        CHECK(after[0] == 0xa5 && after[1] == 0xa5 && after[7] == 0xa5);
        for (int i = 0; i < count; i++) CHECK(bits_of(dz, wide, i) == bits_of(all, wide, i));
    }
    /* In place of either. */
    memcpy(dz, z, sizeof z);
    CHECK(dw_activation_gradient(wide ? DW_F64 : DW_F32, (dw_activation)activation, alpha_of(activation),
                                 DW_DENORMALS_IEEE, isa, COUNT, dz, dy, dz) == DW_OK);
    for (int i = 0; i < COUNT; i++) CHECK(bits_of(dz, wide, i) == bits_of(all, wide, i));
    memcpy(dz, dy, sizeof dy);
    CHECK(dw_activation_gradient(wide ? DW_F64 : DW_F32, (dw_activation)activation, alpha_of(activation),
                                 DW_DENORMALS_IEEE, isa, COUNT, z, dz, dz) == DW_OK);
    for (int i = 0; i < COUNT; i++) CHECK(bits_of(dz, wide, i) == bits_of(all, wide, i));
}

static void test_kinks(dw_isa isa, int wide) {
    static const struct {
        int activation;
        double z, slope;
    } kinks[] = {{DW_RELU, 0, 0},          {DW_RELU, -0.0, 0},
                 {DW_RELU6, 0, 0},         {DW_RELU6, 6, 0},
                 {DW_LEAKY_RELU, 0, 0.3},  {DW_ELU, 0, 1},
                 {DW_HARD_SIGMOID, -3, 0}, {DW_HARD_SIGMOID, 3, 0},
                 {DW_HARD_SILU, -3, 0},    {DW_HARD_SILU, 3, 1},
                 {DW_SILU, 0, 0.5},        {DW_GELU, 0, 0.5},
                 {DW_GELU_TANH, 0, 0.5},   {DW_SIGMOID, 0, 0.25},
                 {DW_TANH, 0, 1},          {DW_SILU, HUGE_VAL, 1},
                 {DW_GELU, HUGE_VAL, 1},   {DW_SILU, -HUGE_VAL, 0},
                 {DW_GELU, -HUGE_VAL, 0},  {DW_ELU, -HUGE_VAL, 0},
                 {DW_RELU, HUGE_VAL, 1},   {DW_HARD_SILU, HUGE_VAL, 1}};
    for (size_t i = 0; i < sizeof kinks / sizeof *kinks; i++) {
        put(z, wide, 0, kinks[i].z);
        put(dy, wide, 0, 1);
        CHECK(pull(isa, kinks[i].activation, wide, 1) == DW_OK);
        CHECK(get(dz, wide, 0) == (wide ? kinks[i].slope : (double)(float)kinks[i].slope));
    }
    for (int activation = DW_RELU; activation < DW_ACTIVATION_COUNT; activation++) {
        put(z, wide, 0, NAN);
        CHECK(pull(isa, activation, wide, 1) == DW_OK && isnan(get(dz, wide, 0)));
    }
}

static dw_status status_of(dw_dtype dtype, int activation, double alpha, int denormals, int isa, int64_t count,
                           const void *from) {
    return dw_activation_gradient(dtype, (dw_activation)activation, alpha, (dw_denormals)denormals, (dw_isa)isa, count,
                                  from, dy, dz);
}

int main(void) {
    CHECK(status_of(DW_F32, DW_ACTIVATION_COUNT, 0, 1, DW_ISA_AUTO, 1, z) == DW_ERR_ACTIVATION);
    CHECK(status_of(DW_F32, DW_ELU, NAN, 1, DW_ISA_AUTO, 1, z) == DW_ERR_ACTIVATION);
    CHECK(status_of(DW_I32, DW_RELU, 0, 1, DW_ISA_AUTO, 1, z) == DW_ERR_DTYPE);
    CHECK(status_of(DW_F32, DW_RELU, 0, 2, DW_ISA_AUTO, 1, z) == DW_ERR_DENORMALS);
    CHECK(status_of(DW_F32, DW_RELU, 0, 1, 99, 1, z) == DW_ERR_ISA);
    CHECK(status_of(DW_F32, DW_RELU, 0, 1, DW_ISA_AUTO, -1, z) == DW_ERR_SHAPE);
    CHECK(status_of(DW_F32, DW_RELU, 0, 1, DW_ISA_AUTO, 1, NULL) == DW_ERR_NULL);
    CHECK(status_of(DW_F32, DW_RELU, 0, 1, DW_ISA_AUTO, 0, NULL) == DW_OK);
    for (int isa = 0; isa < DW_ISA_COUNT; isa++) {
        if (!dw_isa_available((dw_isa)isa)) continue;
        for (int wide = 0; wide < 2; wide++) {
            for (int activation = 0; activation < DW_ACTIVATION_COUNT; activation++) {
                test_bits((dw_isa)isa, activation, wide);
                test_tails((dw_isa)isa, activation, wide);
            }
            test_kinks((dw_isa)isa, wide);
        }
    }
    return report();
}
