/* half_formats.h - float16 and bfloat16 by their definitions, in double arithmetic: for tests. C and C++. */
#ifndef DW_HALF_FORMATS_H
#define DW_HALF_FORMATS_H

#include <math.h>
#include <stdint.h>

/* Bits of the exponent and of the fraction. */
typedef struct format {
    int exponent, fraction;
} format;
static const format FLOAT16 = {5, 10}, BFLOAT16 = {8, 7};

static inline double value_of(format f, uint16_t bits) {
    const int bias = (1 << (f.exponent - 1)) - 1, most = (1 << f.exponent) - 1;
    const int exponent = bits >> f.fraction & most, fraction = bits & ((1 << f.fraction) - 1);
    const double sign = bits >> 15 ? -1 : 1;
    if (exponent == most) return fraction ? (double)NAN : sign * (double)INFINITY;
    if (exponent == 0) return sign * ldexp(fraction, 1 - bias - f.fraction);
    return sign * ldexp((1 << f.fraction) + fraction, exponent - bias - f.fraction);
}

/* The nearest; of two the even one. NaN for NaN. */
static inline uint16_t nearest(format f, double value) {
    const int bias = (1 << (f.exponent - 1)) - 1, most = (1 << f.exponent) - 1;
    const uint16_t sign = (uint16_t)(signbit(value) ? 0x8000 : 0);
    if (isnan(value)) return (uint16_t)(most << f.fraction | 1 << (f.fraction - 1));
    value = fabs(value);
    if (isinf(value)) return (uint16_t)(sign | most << f.fraction);
    int exponent;
    frexp(value, &exponent); /* value < 2**exponent */
    if (value == 0 || exponent - 1 < 1 - bias) exponent = 2 - bias;
    const double steps = nearbyint(ldexp(value, f.fraction + 1 - exponent));          /* to even */
    const double bits = steps + ldexp((double)(exponent - 1 + bias - 1), f.fraction); /* a carry goes to the exponent */
    const double infinite = ldexp(most, f.fraction);
    return (uint16_t)(sign | (int)(bits < infinite ? bits : infinite));
}

#endif
