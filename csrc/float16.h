/* float16.h - float32 to float16 and bfloat16 and back, in plain C: rounded to nearest, ties to even. The time is the same
 * for all values: no branch, no flag of the CPU but `inexact`, no denormal operand. Flushing denormal numbers changes
 * nothing. A NaN keeps the upper bits of its payload in float16; in bfloat16 it becomes 0xffff. */
#ifndef DW_FLOAT16_H
#define DW_FLOAT16_H

#include <stdint.h>
#include <string.h>

/* a where `is`, else b. Not ?:, of which compilers make a branch, and then no vectors. */
static inline uint32_t dw_either(int is, uint32_t a, uint32_t b) { return b ^ ((a ^ b) & (0 - (uint32_t)is)); }

/* The rounding mode must be to nearest. */
static inline uint16_t dw_float16_of(uint32_t bits) {
    const uint32_t sign = bits >> 16 & 0x8000, size = bits & 0x7fffffff;
    /* From 2**-14 on: another bias of the exponent, 13 bits less. A carry out of the significand is one of the exponent. */
    const uint32_t normal = (size - (UINT32_C(112) << 23) + 0xfff + (size >> 13 & 1)) >> 13;
    /* Below: between 0.5 and 1 floats are 2**-24 apart, as float16's denormal numbers. What is 2**-25 at most is 0. */
    const uint32_t operand = dw_either(size > UINT32_C(0x33000000), size, 0);
    float sum;
    memcpy(&sum, &operand, sizeof sum);
    sum += 0.5f;
    uint32_t denormal;
    memcpy(&denormal, &sum, sizeof denormal);
    denormal -= UINT32_C(0x3f000000);
    const uint32_t payload = size >> 13 & 0x3ff, nan = 0x7c00 | payload | (payload == 0);
    uint32_t found = dw_either(size < UINT32_C(0x38800000), denormal, normal);
    found = dw_either(size >= UINT32_C(0x477ff000), 0x7c00, found); /* 65520 is the first that rounds to infinity */
    found = dw_either(size > UINT32_C(0x7f800000), nan, found);
    return (uint16_t)(sign | found);
}

static inline uint32_t dw_bits_of_float16(uint16_t bits) {
    const uint32_t sign = (uint32_t)(bits & 0x8000) << 16, size = bits & 0x7fff;
    const uint32_t normal = (size << 13) + (UINT32_C(112) << 23), infinite = (size << 13) | UINT32_C(0x7f800000);
    const float value = (float)(int32_t)size * 0x1p-24f;
    uint32_t denormal;
    memcpy(&denormal, &value, sizeof denormal);
    return sign | dw_either(size >= 0x7c00, infinite, dw_either(size < 0x400, denormal, normal));
}

static inline uint16_t dw_bfloat16_of(uint32_t bits) {
    const uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    return (uint16_t)dw_either((bits & 0x7fffffff) > UINT32_C(0x7f800000), 0xffff, rounded);
}

static inline uint32_t dw_bits_of_bfloat16(uint16_t bits) { return (uint32_t)bits << 16; }

#endif
