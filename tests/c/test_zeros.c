/* test_zeros.c - zeros keep their sign through each activation that is 0 at 0, as an optimizing compiler makes it:
 * clang 14 turns `x < 0 ? -0 : x` into `x <= 0 ? -0 : x`, which cost gelu its +0.
 *
 *   cc -O3 -mavx2 -mfma -Icsrc -Icsrc/isa -DTEST_ISA=avx2 -DTEST_HEADER='"vec_avx2.h"' tests/c/test_zeros.c -lm */
#include <math.h>
#include <stdio.h>

#include "dwconv.h"
#include "activations.h"

#define DW_ISA TEST_ISA
#define DW_KIND f
#define DW_BITS 32
#include TEST_HEADER
#include "activations.inc"

int main(void) {
    long checks = 0, failures = 0;
    for (int activation = DW_RELU; activation < DW_ACTIVATION_COUNT; activation++) {
        if (activation == DW_SIGMOID || activation == DW_HARD_SIGMOID || !DW_NAME(dw_activations)[activation]) continue;
        float y[19]; /* whole vectors and a rest */
        for (int i = 0; i < 19; i++) y[i] = i % 2 ? -0.0f : 0.0f;
        const dw_activate_args all = {.y = y, .rows = 1, .cols = 1, .count = 19, .alpha = 0.25};
        DW_NAME(dw_activations)[activation](&all);
        for (int i = 0; i < 19; i++, checks++) {
            if (y[i] == 0 && !signbit(y[i]) == !(i % 2)) continue;
            failures++;
            fprintf(stderr, "activation %d of %s gave %a\n", activation, i % 2 ? "-0" : "0", (double)y[i]);
        }
    }
    if (failures) return 1;
    printf("%ld checks passed\n", checks);
    return 0;
}
