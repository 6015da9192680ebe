/* half.h - float32 to float16 and back, in a time that no value changes: no branch, no flag of the CPU but `inexact`, no
 * denormal operand. NumPy's casts branch, and set a flag for each denormal or infinite result, a hundred cycles each. The
 * bits are NumPy's: nearest, ties to even; NaN keeps the upper bits of its payload. Compilers make vectors of the loops. */
#ifndef DWCONV_HALF_H
#define DWCONV_HALF_H

#include <fenv.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* A where `is`, else b. Not ?:, of which compilers make a branch, and then no vectors. */
static inline uint32_t either(int is, uint32_t a, uint32_t b) { return b ^ ((a ^ b) & (0 - (uint32_t)is)); }

static inline uint16_t half_of(uint32_t bits) {
    const uint32_t sign = bits >> 16 & 0x8000, size = bits & 0x7fffffff;
    /* From 2**-14 on: another bias of the exponent, 13 bits less. A carry out of the significand is one of the exponent. */
    const uint32_t normal = (size - (UINT32_C(112) << 23) + 0xfff + (size >> 13 & 1)) >> 13;
    /* Below: between 0.5 and 1 floats are 2**-24 apart, as float16's denormal numbers. What is 2**-25 at most is 0. */
    const uint32_t operand = either(size > UINT32_C(0x33000000), size, 0);
    float sum;
    memcpy(&sum, &operand, sizeof sum);
    sum += 0.5f;
    uint32_t denormal;
    memcpy(&denormal, &sum, sizeof denormal);
    denormal -= UINT32_C(0x3f000000);
    const uint32_t payload = size >> 13 & 0x3ff, nan = 0x7c00 | payload | (payload == 0);
    uint32_t found = either(size < UINT32_C(0x38800000), denormal, normal);
    found = either(size >= UINT32_C(0x477ff000), 0x7c00, found); /* 65520 is the first that rounds to infinity */
    found = either(size > UINT32_C(0x7f800000), nan, found);
    return (uint16_t)(sign | found);
}

static inline uint32_t float_of(uint16_t bits) {
    const uint32_t sign = (uint32_t)(bits & 0x8000) << 16, size = bits & 0x7fff;
    const uint32_t normal = (size << 13) + (UINT32_C(112) << 23), infinite = (size << 13) | UINT32_C(0x7f800000);
    const float value = (float)(int32_t)size * 0x1p-24f;
    uint32_t denormal;
    memcpy(&denormal, &value, sizeof denormal);
    return sign | either(size >= 0x7c00, infinite, either(size < 0x400, denormal, normal));
}

/* Both for aligned arrays that do not overlap, whatever the rounding mode of the caller. */
static void halfs_of_floats(const void *from, void *to, size_t count) {
    const uint32_t *restrict x = (const uint32_t *)from;
    uint16_t *restrict y = (uint16_t *)to;
    const int mode = fegetround();
    if (mode != FE_TONEAREST) fesetround(FE_TONEAREST);
    for (size_t i = 0; i < count; i++) y[i] = half_of(x[i]);
    if (mode != FE_TONEAREST) fesetround(mode);
}

static void floats_of_halfs(const void *from, void *to, size_t count) {
    const uint16_t *restrict x = (const uint16_t *)from;
    uint32_t *restrict y = (uint32_t *)to;
    for (size_t i = 0; i < count; i++) y[i] = float_of(x[i]);
}

#endif
