/* half.h - float32 to float16 and back, in a time that no value changes: no branch, no flag of the CPU but `inexact`, no
 * denormal operand. NumPy's casts branch, and set a flag for each denormal or infinite result, a hundred cycles each. The
 * bits are NumPy's: nearest, ties to even; NaN keeps the upper bits of its payload. Compilers make vectors of the loops. */
#ifndef DWCONV_HALF_H
#define DWCONV_HALF_H

#include <fenv.h>
#include <stddef.h>
#include <stdint.h>

#include "float16.h"

/* Both for aligned arrays that do not overlap, whatever the rounding mode of the caller. */
static void halfs_of_floats(const void *from, void *to, size_t count) {
    const uint32_t *restrict x = (const uint32_t *)from;
    uint16_t *restrict y = (uint16_t *)to;
    const int mode = fegetround();
    if (mode != FE_TONEAREST) fesetround(FE_TONEAREST);
    for (size_t i = 0; i < count; i++) y[i] = dw_float16_of(x[i]);
    if (mode != FE_TONEAREST) fesetround(mode);
}

static void floats_of_halfs(const void *from, void *to, size_t count) {
    const uint16_t *restrict x = (const uint16_t *)from;
    uint32_t *restrict y = (uint32_t *)to;
    for (size_t i = 0; i < count; i++) y[i] = dw_bits_of_float16(x[i]);
}

#endif
