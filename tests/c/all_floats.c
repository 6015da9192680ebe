/* all_floats.c - the activations of the C core on all 2**32 float32 numbers, or every step-th of them, against the
 * formulas in double precision.
 *
 *   cc -std=c11 -O2 -ffp-contract=off -Icsrc tests/c/all_floats.c $(find csrc -name '*.c') -lm -o all_floats
 *   ./all_floats [auto | portable | neon | avx2 | avx512] [step] [flush]
 *
 * `flush` flushes denormal numbers to zero while the core computes. For each activation prints the largest error in
 * units in the last place, where it is, and a hash of the results, which must be the same for all instruction sets.
 * Exit status: 0 all within 2 ulp, 1 not, 2 wrong usage, 77 this CPU or build lacks the instruction set. */
#if !defined(_DEFAULT_SOURCE)
#define _DEFAULT_SOURCE /* M_PI and its kin */
#endif
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dwconv.h"

/* ---- the formulas; for an infinity the limit -------------------------------------------------------- */

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double times(double x, double factor) { return factor == 0 ? copysign(0, x) : x * factor; } /* x: infinite? */
static double clip(double x, double low, double high) { return x < low ? low : x > high ? high : x; }

static double alpha = 0.3f;

static double exact(dw_activation activation, double x) {
    if (isnan(x)) return x;
    switch (activation) {
    case DW_RELU: return x < 0 ? 0 : x;
    case DW_RELU6: return x < 0 ? 0 : x > 6 ? 6 : x;
    case DW_LEAKY_RELU: return x > 0 ? x : alpha * x;
    case DW_HARD_SIGMOID: return clip(x + 3, 0, 6) / 6;
    case DW_HARD_SILU: return times(x, clip(x + 3, 0, 6) / 6);
    case DW_SIGMOID: return sigmoid(x);
    case DW_TANH: return tanh(x);
    case DW_SILU: return times(x, sigmoid(x));
    case DW_GELU: return times(x, erfc(-x * M_SQRT1_2) / 2);
    case DW_GELU_TANH: return times(x, sigmoid(sqrt(8 / M_PI) * x * (1 + 0.044715 * x * x)));
    case DW_ELU: return x > 0 ? x : alpha * expm1(x);
    default: return x;
    }
}

static const char *const names[DW_ACTIVATION_COUNT] = {"linear",       "relu",      "relu6",     "leaky_relu",
                                                       "hard_sigmoid", "hard_silu", "sigmoid",   "tanh",
                                                       "silu",         "gelu",      "gelu_tanh", "elu"};

/* ---- one number ------------------------------------------------------------------------------------- */

/* |y - expected| in ulp of `expected` as a float32; infinite where a NaN, an infinity or a sign is wrong. */
static double error_in_ulp(float y, double expected) {
    if (isnan(expected) || isnan(y)) return isnan(expected) && isnan(y) ? 0 : INFINITY;
    if (!signbit(y) != !signbit(expected)) return INFINITY;
    if (isinf(y) || isinf(expected)) return isinf(y) && fabs(expected) > FLT_MAX ? 0 : INFINITY;
    int exponent = -125;
    if (fabs(expected) >= FLT_MIN) frexp(expected, &exponent); /* in [2**(exponent - 1), 2**exponent) */
    return fabs(y - expected) * ldexp(1, 24 - exponent);
}

/* With flushing, numbers below the least normal one may become zero, as x, on the way and as the result. */
static double error_if_flushed(float y, double expected) {
    return fabs(y - expected) <= FLT_MIN ? 0 : error_in_ulp(y, expected);
}

/* ---- all -------------------------------------------------------------------------------------------- */

enum { BLOCK = 4099 }; /* no multiple of any number of lanes */

static int test(dw_activation activation, dw_isa isa, uint64_t step, int flush) {
    static float x[BLOCK], y[BLOCK];
    uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a, a number at a time */
    double worst = 0;
    float worst_x = 0, worst_y = 0;
    for (uint64_t next = 0; next <= UINT32_MAX;) {
        int count = 0;
        for (; count < BLOCK && next <= UINT32_MAX; count++, next += step) {
            const uint32_t bits = (uint32_t)next;
            memcpy(x + count, &bits, sizeof bits);
        }
        memcpy(y, x, sizeof x);
        const dw_denormals denormals = flush ? DW_DENORMALS_FLUSH : DW_DENORMALS_IEEE;
        const dw_status status = dw_activate(DW_F32, activation, alpha, denormals, isa, count, y);
        if (status != DW_OK) {
            printf("%-12s FAILED: %s\n", names[activation], dw_status_text(status));
            return 0;
        }
        for (int i = 0; i < count; i++) {
            const double expected = exact(activation, x[i]);
            const double error = flush ? error_if_flushed(y[i], expected) : error_in_ulp(y[i], expected);
            if (error > worst) worst = error, worst_x = x[i], worst_y = y[i];
            uint32_t bits;
            memcpy(&bits, y + i, sizeof bits);
            if (isnan(y[i])) bits = 0x7fc00000; /* payloads may differ */
            hash = (hash ^ bits) * UINT64_C(0x100000001b3);
        }
    }
    const int passed = worst <= 2;
    printf("%-12s %.4f ulp at %.9g: %.9g, not %.12g  %016" PRIx64 "%s\n", names[activation], worst, (double)worst_x,
           (double)worst_y, exact(activation, worst_x), hash, passed ? "" : "  FAILED");
    fflush(stdout);
    return passed;
}

int main(int argc, char **argv) {
    dw_isa isa = DW_ISA_AUTO;
    uint64_t step = 1;
    int flush = 0, only = -1;
    for (int i = 1; i < argc; i++) {
        int known = strcmp(argv[i], "auto") == 0;
        if (strcmp(argv[i], "flush") == 0) flush = known = 1;
        for (int a = 0; a < DW_ISA_COUNT; a++)
            if (strcmp(argv[i], dw_isa_name((dw_isa)a)) == 0) isa = (dw_isa)a, known = 1;
        for (int a = 0; a < DW_ACTIVATION_COUNT; a++)
            if (strcmp(argv[i], names[a]) == 0) only = a, known = 1;
        if (!known) step = strtoull(argv[i], NULL, 10);
        if (step == 0) {
            fprintf(stderr, "expected an instruction set, an activation, a step or flush; received %s\n", argv[i]);
            return 2;
        }
    }
    if (isa != DW_ISA_AUTO && !dw_isa_available(isa)) {
        printf("skipped: this CPU or build lacks %s\n", dw_isa_name(isa));
        return 77;
    }
    int failed = 0;
    for (int a = 0; a < DW_ACTIVATION_COUNT; a++)
        if (only < 0 || only == a) failed += !test((dw_activation)a, isa, step, flush);
    return failed > 0;
}
