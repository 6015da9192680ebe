/* vec_portable.h - the vector vocabulary in plain C. It defines what every other vec_*.h must do, to the bit.
 *
 * Included once per dtype, see names.h. The loops use no other words than these. None of them reads or writes a byte
 * beyond the lanes it names. */
#include <math.h>
#include <stdint.h>

#include "../float16.h"
#include "names.h"

/* Vectors are structs here, which no register holds. */
#undef DW_IN_REGISTER
#define DW_IN_REGISTER(v) (void)(v)

/* Four lanes, so that the tails, overlaps and permutations of the other instruction sets exist here, too. */
#if DW_INTEGER
typedef int32_t real;
/* Unsigned, which wraps; signed overflow would be undefined. */
#define DW_PORTABLE_FMA(a, b, c) (int32_t)((uint32_t)(a) * (uint32_t)(b) + (uint32_t)(c))
#elif DW_BITS == 32
typedef float real;
#define DW_PORTABLE_FMA(a, b, c) fmaf(a, b, c)
#else
typedef double real;
/* Where c is 0, the product, which is rounded once, too, is the same by IEEE 754. musl's fma() adds +0 to it afterwards
 * and so loses the sign of a product that underflows: of 416,677 of 10 million products near 2**-1074. */
DW_INLINE double dw_portable_fma(double a, double b, double c) {
    return c == 0 && a != 0 && b != 0 ? a * b : fma(a, b, c);
}
#define DW_PORTABLE_FMA(a, b, c) dw_portable_fma(a, b, c)
#endif
enum { LANES = 4 };

typedef struct {
    real lane[LANES];
} vec;

/* Indices: for each lane of a result the lane that it comes from. */
typedef struct {
    int lane[LANES];
} vec_indices;

DW_INLINE vec vec_set1(real x) {
    vec v;
    for (int i = 0; i < LANES; i++) v.lane[i] = x;
    return v;
}

DW_INLINE vec vec_load(const real *p) {
    vec v;
    for (int i = 0; i < LANES; i++) v.lane[i] = p[i];
    return v;
}

DW_INLINE void vec_store(real *p, vec v) {
    for (int i = 0; i < LANES; i++) p[i] = v.lane[i];
}

/* The first n lanes, 0 <= n <= LANES; the others are zero. */
DW_INLINE vec vec_load_n(const real *p, int n) {
    vec v = vec_set1(0);
    for (int i = 0; i < n; i++) v.lane[i] = p[i];
    return v;
}

/* The first n lanes, 0 <= n <= LANES. */
DW_INLINE void vec_store_n(real *p, vec v, int n) {
    for (int i = 0; i < n; i++) p[i] = v.lane[i];
}

/* A mask is a range of lanes: [begin, end), 0 <= begin, end <= LANES; none if begin >= end. */
typedef struct {
    int begin, end;
} vec_mask;

DW_INLINE vec_mask vec_mask_range(int begin, int end) { return (vec_mask){begin, end}; }

/* The lanes of the mask; the others are +0 and their memory is not touched. */
DW_INLINE vec vec_masked_load(const real *p, vec_mask mask) {
    vec v = vec_set1(0);
    for (int i = mask.begin; i < mask.end; i++) v.lane[i] = p[i];
    return v;
}

#if DW_BITS == 32 && !DW_INTEGER
/* Numbers of 16 bits in memory, float16 and bfloat16, whose lanes are floats: exact when loaded, rounded to nearest when
 * stored, ties to even, whether or not denormal numbers are flushed. A denormal bfloat16 is a denormal float. NaN stays
 * NaN; stored as bfloat16 it is 0xffff. The first n lanes and those of a mask: as above.
 * Most are called: inlined everywhere they were 70 KB. */
DW_INLINE vec dw_portable_load_16(const uint16_t *p, int begin, int end, const int brain) {
    vec v = vec_set1(0);
    for (int i = begin; i < end; i++) {
        const uint32_t bits = brain ? dw_bits_of_bfloat16(p[i]) : dw_bits_of_float16(p[i]);
        memcpy(v.lane + i, &bits, sizeof bits);
    }
    return v;
}
DW_INLINE void dw_portable_store_16(uint16_t *p, vec v, int n, const int brain) {
    for (int i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, v.lane + i, sizeof bits);
        p[i] = brain ? dw_bfloat16_of(bits) : dw_float16_of(bits);
    }
}
DW_CALLED vec vec_load_f16(const uint16_t *p) { return dw_portable_load_16(p, 0, LANES, 0); }
DW_CALLED vec vec_load_f16_n(const uint16_t *p, int n) { return dw_portable_load_16(p, 0, n, 0); }
DW_CALLED vec vec_masked_load_f16(const uint16_t *p, vec_mask mask) {
    return dw_portable_load_16(p, mask.begin, mask.end, 0);
}
DW_CALLED void vec_store_f16(uint16_t *p, vec v) { dw_portable_store_16(p, v, LANES, 0); }
DW_CALLED void vec_store_f16_n(uint16_t *p, vec v, int n) { dw_portable_store_16(p, v, n, 0); }
DW_INLINE vec vec_load_bf16(const uint16_t *p) { return dw_portable_load_16(p, 0, LANES, 1); }
DW_CALLED vec vec_load_bf16_n(const uint16_t *p, int n) { return dw_portable_load_16(p, 0, n, 1); }
DW_CALLED vec vec_masked_load_bf16(const uint16_t *p, vec_mask mask) {
    return dw_portable_load_16(p, mask.begin, mask.end, 1);
}
DW_CALLED void vec_store_bf16(uint16_t *p, vec v) { dw_portable_store_16(p, v, LANES, 1); }
DW_CALLED void vec_store_bf16_n(uint16_t *p, vec v, int n) { dw_portable_store_16(p, v, n, 1); }
#endif

/* a in the lanes of the mask, b in the others. */
DW_INLINE vec vec_select(vec_mask mask, vec a, vec b) {
    for (int i = mask.begin; i < mask.end; i++) b.lane[i] = a.lane[i];
    return b;
}

/* 2 * LANES elements: the even ones p[0], p[2], ... and the odd ones. */
DW_INLINE void vec_load_deinterleave2(const real *p, vec *even, vec *odd) {
    for (int i = 0; i < LANES; i++) {
        even->lane[i] = p[2 * i];
        odd->lane[i] = p[2 * i + 1];
    }
}

/* The same where `low` has the first LANES elements and `high` the second; the others are +0, not touched. */
DW_INLINE void vec_masked_load_deinterleave2(const real *p, vec_mask low, vec_mask high, vec *even, vec *odd) {
    real element[2 * LANES] = {0};
    for (int i = low.begin; i < low.end; i++) element[i] = p[i];
    for (int i = high.begin; i < high.end; i++) element[LANES + i] = p[LANES + i];
    vec_load_deinterleave2(element, even, odd);
}

/* Lanes 1, 2, ... of v, then `next`. */
DW_INLINE vec vec_slide_in(vec v, real next) {
    for (int i = 0; i + 1 < LANES; i++) v.lane[i] = v.lane[i + 1];
    v.lane[LANES - 1] = next;
    return v;
}

/* a * b + c: floats rounded once, integers modulo 2**32. */
DW_INLINE vec vec_fma(vec a, vec b, vec c) {
    for (int i = 0; i < LANES; i++) c.lane[i] = DW_PORTABLE_FMA(a.lane[i], b.lane[i], c.lane[i]);
    return c;
}

/* x < low ? low : x, then > high ? high: NaN stays NaN and -0 stays -0 where low is 0. */
DW_INLINE vec vec_clamp(vec x, vec low, vec high) {
    for (int i = 0; i < LANES; i++) {
        real y = x.lane[i] < low.lane[i] ? low.lane[i] : x.lane[i];
        x.lane[i] = y > high.lane[i] ? high.lane[i] : y;
    }
    return x;
}

#if !DW_INTEGER /* what activations.inc and grad_kernels.inc need, hence of floats alone */

/* Each rounded once. */
DW_INLINE vec vec_add(vec a, vec b) {
    for (int i = 0; i < LANES; i++) a.lane[i] += b.lane[i];
    return a;
}

DW_INLINE vec vec_sub(vec a, vec b) {
    for (int i = 0; i < LANES; i++) a.lane[i] -= b.lane[i];
    return a;
}

DW_INLINE vec vec_mul(vec a, vec b) {
    for (int i = 0; i < LANES; i++) a.lane[i] *= b.lane[i];
    return a;
}

DW_INLINE vec vec_div(vec a, vec b) {
    for (int i = 0; i < LANES; i++) a.lane[i] /= b.lane[i];
    return a;
}

/* c - a * b */
DW_INLINE vec vec_fnma(vec a, vec b, vec c) {
    for (int i = 0; i < LANES; i++) c.lane[i] = DW_PORTABLE_FMA(-a.lane[i], b.lane[i], c.lane[i]);
    return c;
}

/* x < low ? low : x: NaN stays NaN, and -0 stays -0 where low is 0. */
DW_INLINE vec vec_max(vec x, vec low) {
    for (int i = 0; i < LANES; i++) x.lane[i] = x.lane[i] < low.lane[i] ? low.lane[i] : x.lane[i];
    return x;
}

DW_INLINE vec vec_abs(vec x) {
    for (int i = 0; i < LANES; i++) x.lane[i] = (real)fabs(x.lane[i]);
    return x;
}

/* |x| with the sign of `sign`. */
DW_INLINE vec vec_copysign(vec x, vec sign) {
    for (int i = 0; i < LANES; i++) x.lane[i] = (real)copysign(x.lane[i], sign.lane[i]);
    return x;
}

/* a < b ? yes : no, a lane that may be anything; `no` where a or b is NaN. */
DW_INLINE vec vec_select_lt(vec a, vec b, vec yes, vec no) {
    for (int i = 0; i < LANES; i++) no.lane[i] = a.lane[i] < b.lane[i] ? yes.lane[i] : no.lane[i];
    return no;
}

/* m vectors, 2, 3, 4 or 8: lane 0 of each, then lane 1 of each, ... */
DW_INLINE void vec_store_interleaved(real *p, const vec *v, const int m) {
    for (int i = 0; i < m * LANES; i++) p[i] = v[i % m].lane[i / m];
}

/* 2**n for whole n in [-126, 127], doubles [-1022, 1023]; any bits for others, NaN included. */
DW_INLINE vec vec_exp2_int(vec n) {
    for (int i = 0; i < LANES; i++) {
        /* The sum has n + bias in its last bits; the shift makes it the exponent. */
#if DW_BITS == 32
        union {
            float number;
            uint32_t bits;
        } power = {n.lane[i] + (0x1.8p23f + 127)};
        power.bits <<= 23;
#else
        union {
            double number;
            uint64_t bits;
        } power = {n.lane[i] + (0x1.8p52 + 1023)};
        power.bits <<= 52;
#endif
        n.lane[i] = power.number;
    }
    return n;
}

/* x * 2**n for whole n in [-190, 0], doubles [-1534, 0], rounded once: for n below -64 (-512) x is at least 2**-62
 * (2**-510), so that the first step is exact. NaN where x is. */
DW_INLINE vec vec_scale(vec x, vec n) {
    const vec first = vec_max(n, vec_set1(DW_BITS == 32 ? -64 : -512));
    return vec_mul(vec_mul(x, vec_exp2_int(first)), vec_exp2_int(vec_sub(n, first)));
}

#endif

/* Indices are stored as LANES integers as wide as `real`, each in [0, LANES). */
DW_INLINE vec_indices vec_load_indices(const real *p) {
    vec_indices indices;
    for (int i = 0; i < LANES; i++) {
#if DW_BITS == 32
        indices.lane[i] = (int)((const int32_t *)p)[i];
#else
        indices.lane[i] = (int)((const int64_t *)p)[i];
#endif
    }
    return indices;
}

/* Lane i of the result is lane indices[i] of x. */
DW_INLINE vec vec_permute(vec x, vec_indices indices) {
    vec v;
    for (int i = 0; i < LANES; i++) v.lane[i] = x.lane[indices.lane[i]];
    return v;
}

#undef DW_PORTABLE_FMA
