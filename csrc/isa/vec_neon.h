/* vec_neon.h - AArch64 NEON: 4 floats or integers, or 2 doubles. The meaning of each word: vec_portable.h. */
#include <arm_neon.h>
#include <stdint.h>

#include "names.h"

#if DW_INTEGER

typedef int32_t real;
typedef int32x4_t vec;
typedef uint8x16_t vec_indices; /* bytes: TBL is the only permutation by a variable */
enum { LANES = 4 };

DW_INLINE vec vec_set1(real x) { return vdupq_n_s32(x); }
DW_INLINE vec vec_load(const real *p) { return vld1q_s32(p); }
DW_INLINE void vec_store(real *p, vec v) { vst1q_s32(p, v); }
DW_INLINE vec vec_fma(vec a, vec b, vec c) { return vmlaq_s32(c, a, b); }

DW_INLINE vec vec_load_n(const real *p, int n) {
    vec v = vdupq_n_s32(0);
    if (n >= 4) return vld1q_s32(p);
    if (n >= 1) v = vld1q_lane_s32(p, v, 0);
    if (n >= 2) v = vld1q_lane_s32(p + 1, v, 1);
    if (n >= 3) v = vld1q_lane_s32(p + 2, v, 2);
    return v;
}

DW_INLINE void vec_store_n(real *p, vec v, int n) {
    if (n >= 4) {
        vst1q_s32(p, v);
        return;
    }
    if (n >= 1) vst1q_lane_s32(p, v, 0);
    if (n >= 2) vst1q_lane_s32(p + 1, v, 1);
    if (n >= 3) vst1q_lane_s32(p + 2, v, 2);
}

typedef struct {
    int begin, end;
} vec_mask;

DW_INLINE vec_mask vec_mask_range(int begin, int end) { return (vec_mask){begin, end}; }

DW_INLINE vec vec_masked_load(const real *p, vec_mask mask) {
    if (mask.begin <= 0 && mask.end >= LANES) return vec_load(p);
    real lane[LANES] = {0};
    for (int i = mask.begin; i < mask.end; i++) lane[i] = p[i];
    return vec_load(lane);
}

DW_INLINE vec vec_select(vec_mask mask, vec a, vec b) {
    const uint32_t lanes[4] = {0, 1, 2, 3};
    const uint32x4_t lane = vld1q_u32(lanes);
    const uint32x4_t from = vcgeq_u32(lane, vdupq_n_u32((uint32_t)mask.begin));
    return vbslq_s32(vandq_u32(from, vcltq_u32(lane, vdupq_n_u32((uint32_t)mask.end))), a, b);
}

DW_INLINE void vec_load_deinterleave2(const real *p, vec *even, vec *odd) {
    const int32x4x2_t pairs = vld2q_s32(p);
    *even = pairs.val[0];
    *odd = pairs.val[1];
}

DW_INLINE void vec_masked_load_deinterleave2(const real *p, vec_mask low, vec_mask high, vec *even, vec *odd) {
    real element[2 * LANES];
    vec_store(element, vec_masked_load(p, low));
    vec_store(element + LANES, vec_masked_load(p + LANES, high));
    vec_load_deinterleave2(element, even, odd);
}

DW_INLINE vec vec_slide_in(vec v, real next) { return vextq_s32(v, vec_set1(next), 1); }

DW_INLINE vec vec_clamp(vec x, vec low, vec high) { return vminq_s32(high, vmaxq_s32(low, x)); }

/* 32-bit lane i -> bytes 4i .. 4i + 3. */
DW_INLINE vec_indices vec_load_indices(const real *p) {
    uint32x4_t lanes = vld1q_u32((const uint32_t *)p);
    return vreinterpretq_u8_u32(vmlaq_n_u32(vdupq_n_u32(0x03020100), lanes, 0x04040404));
}

DW_INLINE vec vec_permute(vec x, vec_indices indices) {
    return vreinterpretq_s32_u8(vqtbl1q_u8(vreinterpretq_u8_s32(x), indices));
}

#elif DW_BITS == 32

typedef float real;
typedef float32x4_t vec;
typedef uint8x16_t vec_indices; /* bytes: TBL is the only permutation by a variable */
enum { LANES = 4 };

DW_INLINE vec vec_set1(real x) { return vdupq_n_f32(x); }
DW_INLINE vec vec_load(const real *p) { return vld1q_f32(p); }
DW_INLINE void vec_store(real *p, vec v) { vst1q_f32(p, v); }
DW_INLINE vec vec_fma(vec a, vec b, vec c) { return vfmaq_f32(c, a, b); }

DW_INLINE vec vec_load_n(const real *p, int n) {
    vec v = vdupq_n_f32(0);
    if (n >= 4) return vld1q_f32(p);
    if (n >= 1) v = vld1q_lane_f32(p, v, 0);
    if (n >= 2) v = vld1q_lane_f32(p + 1, v, 1);
    if (n >= 3) v = vld1q_lane_f32(p + 2, v, 2);
    return v;
}

DW_INLINE void vec_store_n(real *p, vec v, int n) {
    if (n >= 4) {
        vst1q_f32(p, v);
        return;
    }
    if (n >= 1) vst1q_lane_f32(p, v, 0);
    if (n >= 2) vst1q_lane_f32(p + 1, v, 1);
    if (n >= 3) vst1q_lane_f32(p + 2, v, 2);
}

typedef struct {
    int begin, end;
} vec_mask;

DW_INLINE vec_mask vec_mask_range(int begin, int end) { return (vec_mask){begin, end}; }

DW_INLINE vec vec_masked_load(const real *p, vec_mask mask) {
    if (mask.begin <= 0 && mask.end >= LANES) return vec_load(p);
    real lane[LANES] = {0};
    for (int i = mask.begin; i < mask.end; i++) lane[i] = p[i];
    return vec_load(lane);
}

DW_INLINE vec vec_select(vec_mask mask, vec a, vec b) {
    const uint32_t lanes[4] = {0, 1, 2, 3};
    const uint32x4_t lane = vld1q_u32(lanes);
    const uint32x4_t from = vcgeq_u32(lane, vdupq_n_u32((uint32_t)mask.begin));
    return vbslq_f32(vandq_u32(from, vcltq_u32(lane, vdupq_n_u32((uint32_t)mask.end))), a, b);
}

DW_INLINE void vec_load_deinterleave2(const real *p, vec *even, vec *odd) {
    const float32x4x2_t pairs = vld2q_f32(p);
    *even = pairs.val[0];
    *odd = pairs.val[1];
}

DW_INLINE void vec_masked_load_deinterleave2(const real *p, vec_mask low, vec_mask high, vec *even, vec *odd) {
    real element[2 * LANES];
    vec_store(element, vec_masked_load(p, low));
    vec_store(element + LANES, vec_masked_load(p + LANES, high));
    vec_load_deinterleave2(element, even, odd);
}

DW_INLINE vec vec_slide_in(vec v, real next) { return vextq_f32(v, vec_set1(next), 1); }

/* A select, not FMAX: that gives +0 for max(-0, +0), where x86 and vec_portable.h keep -0. FMIN does as a select
 * would, since no upper bound is -0. */
DW_INLINE vec vec_clamp(vec x, vec low, vec high) { return vminq_f32(vbslq_f32(vcltq_f32(x, low), low, x), high); }

DW_INLINE vec vec_add(vec a, vec b) { return vaddq_f32(a, b); }
DW_INLINE vec vec_sub(vec a, vec b) { return vsubq_f32(a, b); }
DW_INLINE vec vec_mul(vec a, vec b) { return vmulq_f32(a, b); }
DW_INLINE vec vec_div(vec a, vec b) { return vdivq_f32(a, b); }
DW_INLINE vec vec_fnma(vec a, vec b, vec c) { return vfmsq_f32(c, a, b); }
DW_INLINE vec vec_max(vec x, vec low) { return vbslq_f32(vcltq_f32(x, low), low, x); }
DW_INLINE vec vec_abs(vec x) { return vabsq_f32(x); }

DW_INLINE vec vec_copysign(vec x, vec sign) { return vbslq_f32(vdupq_n_u32(0x80000000), sign, x); }

DW_INLINE vec vec_select_lt(vec a, vec b, vec yes, vec no) { return vbslq_f32(vcltq_f32(a, b), yes, no); }

/* n + 1.5 * 2**23 + 127 has n + 127 in its last bits; the shift makes it the exponent. */
DW_INLINE vec vec_exp2_int(vec n) {
    const vec biased = vec_add(n, vec_set1((real)(0x1.8p23 + 127)));
    return vreinterpretq_f32_u32(vshlq_n_u32(vreinterpretq_u32_f32(biased), 23));
}

/* In two steps, the first of which is exact. */
DW_INLINE vec vec_scale(vec x, vec n) {
    const vec first = vec_max(n, vec_set1(-64));
    return vec_mul(vec_mul(x, vec_exp2_int(first)), vec_exp2_int(vec_sub(n, first)));
}

DW_INLINE void vec_store_interleaved(real *p, const vec *v, const int m) {
    if (m == 2) vst2q_f32(p, ((float32x4x2_t){{v[0], v[1]}}));
    if (m == 3) vst3q_f32(p, ((float32x4x3_t){{v[0], v[1], v[2]}}));
    if (m == 4) vst4q_f32(p, ((float32x4x4_t){{v[0], v[1], v[2], v[3]}}));
    if (m != 8) return;
    /* Vectors i and i + 4 lane by lane; so four sequences of two vectors each are left to interleave. */
    vec low[4], high[4];
    DW_UNROLL for (int i = 0; i < 4; i++) {
        low[i] = vzip1q_f32(v[i], v[i + 4]);
        high[i] = vzip2q_f32(v[i], v[i + 4]);
    }
    vst4q_f32(p, ((float32x4x4_t){{low[0], low[1], low[2], low[3]}}));
    vst4q_f32(p + 4 * LANES, ((float32x4x4_t){{high[0], high[1], high[2], high[3]}}));
}

/* 32-bit lane i -> bytes 4i .. 4i + 3. */
DW_INLINE vec_indices vec_load_indices(const real *p) {
    uint32x4_t lanes = vld1q_u32((const uint32_t *)p);
    return vreinterpretq_u8_u32(vmlaq_n_u32(vdupq_n_u32(0x03020100), lanes, 0x04040404));
}

DW_INLINE vec vec_permute(vec x, vec_indices indices) {
    return vreinterpretq_f32_u8(vqtbl1q_u8(vreinterpretq_u8_f32(x), indices));
}

/* Numbers of 16 bits in memory, see vec_portable.h. The first n of 4. */
DW_INLINE uint16x4_t DW_NAME(dw_load_halves)(const uint16_t *p, int n) {
    uint16x4_t v = vdup_n_u16(0);
    if (n >= 4) return vld1_u16(p);
    if (n >= 1) v = vld1_lane_u16(p, v, 0);
    if (n >= 2) v = vld1_lane_u16(p + 1, v, 1);
    if (n >= 3) v = vld1_lane_u16(p + 2, v, 2);
    return v;
}

DW_INLINE uint16x4_t DW_NAME(dw_masked_halves)(const uint16_t *p, vec_mask mask) {
    if (mask.begin <= 0 && mask.end >= LANES) return vld1_u16(p);
    uint16_t lane[LANES] = {0};
    for (int i = mask.begin; i < mask.end; i++) lane[i] = p[i];
    return vld1_u16(lane);
}

DW_INLINE void DW_NAME(dw_store_halves)(uint16_t *p, uint16x4_t v, int n) {
    if (n >= 4) {
        vst1_u16(p, v);
        return;
    }
    if (n >= 1) vst1_lane_u16(p, v, 0);
    if (n >= 2) vst1_lane_u16(p + 1, v, 1);
    if (n >= 3) vst1_lane_u16(p + 2, v, 2);
}

DW_INLINE vec DW_NAME(dw_widen_f16)(uint16x4_t halves) { return vcvt_f32_f16(vreinterpret_f16_u16(halves)); }
DW_INLINE uint16x4_t DW_NAME(dw_round_f16)(vec v) { return vreinterpret_u16_f16(vcvt_f16_f32(v)); }
DW_INLINE vec vec_load_f16(const uint16_t *p) { return DW_NAME(dw_widen_f16)(vld1_u16(p)); }
DW_INLINE vec vec_load_f16_n(const uint16_t *p, int n) { return DW_NAME(dw_widen_f16)(DW_NAME(dw_load_halves)(p, n)); }
DW_INLINE vec vec_masked_load_f16(const uint16_t *p, vec_mask mask) {
    return DW_NAME(dw_widen_f16)(DW_NAME(dw_masked_halves)(p, mask));
}
DW_INLINE void vec_store_f16(uint16_t *p, vec v) { vst1_u16(p, DW_NAME(dw_round_f16)(v)); }
DW_INLINE void vec_store_f16_n(uint16_t *p, vec v, int n) { DW_NAME(dw_store_halves)(p, DW_NAME(dw_round_f16)(v), n); }

DW_INLINE vec DW_NAME(dw_widen_bf16)(uint16x4_t halves) { return vreinterpretq_f32_u32(vshll_n_u16(halves, 16)); }
DW_INLINE uint16x4_t DW_NAME(dw_round_bf16)(vec v) {
    const uint32x4_t bits = vreinterpretq_u32_f32(v), last = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
    const uint32x4_t rounded = vaddq_u32(bits, vaddq_u32(last, vdupq_n_u32(0x7fff)));
    return vshrn_n_u32(vornq_u32(rounded, vceqq_f32(v, v)), 16);
}
DW_INLINE vec vec_load_bf16(const uint16_t *p) { return DW_NAME(dw_widen_bf16)(vld1_u16(p)); }
DW_INLINE vec vec_load_bf16_n(const uint16_t *p, int n) {
    return DW_NAME(dw_widen_bf16)(DW_NAME(dw_load_halves)(p, n));
}
DW_INLINE vec vec_masked_load_bf16(const uint16_t *p, vec_mask mask) {
    return DW_NAME(dw_widen_bf16)(DW_NAME(dw_masked_halves)(p, mask));
}
DW_INLINE void vec_store_bf16(uint16_t *p, vec v) { vst1_u16(p, DW_NAME(dw_round_bf16)(v)); }
DW_INLINE void vec_store_bf16_n(uint16_t *p, vec v, int n) {
    DW_NAME(dw_store_halves)(p, DW_NAME(dw_round_bf16)(v), n);
}

#else

typedef double real;
typedef float64x2_t vec;
typedef uint8x16_t vec_indices;
enum { LANES = 2 };

DW_INLINE vec vec_set1(real x) { return vdupq_n_f64(x); }
DW_INLINE vec vec_load(const real *p) { return vld1q_f64(p); }
DW_INLINE void vec_store(real *p, vec v) { vst1q_f64(p, v); }
DW_INLINE vec vec_fma(vec a, vec b, vec c) { return vfmaq_f64(c, a, b); }

DW_INLINE vec vec_load_n(const real *p, int n) {
    if (n >= 2) return vld1q_f64(p);
    return n == 1 ? vld1q_lane_f64(p, vdupq_n_f64(0), 0) : vdupq_n_f64(0);
}

DW_INLINE void vec_store_n(real *p, vec v, int n) {
    if (n >= 2) vst1q_f64(p, v);
    else if (n == 1) vst1q_lane_f64(p, v, 0);
}

typedef struct {
    int begin, end;
} vec_mask;

DW_INLINE vec_mask vec_mask_range(int begin, int end) { return (vec_mask){begin, end}; }

DW_INLINE vec vec_masked_load(const real *p, vec_mask mask) {
    if (mask.begin <= 0 && mask.end >= LANES) return vec_load(p);
    real lane[LANES] = {0};
    for (int i = mask.begin; i < mask.end; i++) lane[i] = p[i];
    return vec_load(lane);
}

DW_INLINE vec vec_select(vec_mask mask, vec a, vec b) {
    const uint64x2_t lane = vcombine_u64(vcreate_u64(0), vcreate_u64(1));
    const uint64x2_t from = vcgeq_u64(lane, vdupq_n_u64((uint64_t)mask.begin));
    return vbslq_f64(vandq_u64(from, vcltq_u64(lane, vdupq_n_u64((uint64_t)mask.end))), a, b);
}

DW_INLINE void vec_load_deinterleave2(const real *p, vec *even, vec *odd) {
    const float64x2x2_t pairs = vld2q_f64(p);
    *even = pairs.val[0];
    *odd = pairs.val[1];
}

DW_INLINE void vec_masked_load_deinterleave2(const real *p, vec_mask low, vec_mask high, vec *even, vec *odd) {
    real element[2 * LANES];
    vec_store(element, vec_masked_load(p, low));
    vec_store(element + LANES, vec_masked_load(p + LANES, high));
    vec_load_deinterleave2(element, even, odd);
}

DW_INLINE vec vec_slide_in(vec v, real next) { return vextq_f64(v, vec_set1(next), 1); }

DW_INLINE vec vec_clamp(vec x, vec low, vec high) { return vminq_f64(vbslq_f64(vcltq_f64(x, low), low, x), high); }

DW_INLINE vec vec_add(vec a, vec b) { return vaddq_f64(a, b); }
DW_INLINE vec vec_sub(vec a, vec b) { return vsubq_f64(a, b); }
DW_INLINE vec vec_mul(vec a, vec b) { return vmulq_f64(a, b); }
DW_INLINE vec vec_div(vec a, vec b) { return vdivq_f64(a, b); }
DW_INLINE vec vec_fnma(vec a, vec b, vec c) { return vfmsq_f64(c, a, b); }
DW_INLINE vec vec_max(vec x, vec low) { return vbslq_f64(vcltq_f64(x, low), low, x); }
DW_INLINE vec vec_abs(vec x) { return vabsq_f64(x); }

DW_INLINE vec vec_copysign(vec x, vec sign) { return vbslq_f64(vdupq_n_u64(UINT64_C(1) << 63), sign, x); }

DW_INLINE vec vec_select_lt(vec a, vec b, vec yes, vec no) { return vbslq_f64(vcltq_f64(a, b), yes, no); }

/* n + 1.5 * 2**52 + 1023 has n + 1023 in its last bits; the shift makes it the exponent. */
DW_INLINE vec vec_exp2_int(vec n) {
    const vec biased = vec_add(n, vec_set1((real)(0x1.8p52 + 1023)));
    return vreinterpretq_f64_u64(vshlq_n_u64(vreinterpretq_u64_f64(biased), 52));
}

/* In two steps, the first of which is exact. */
DW_INLINE vec vec_scale(vec x, vec n) {
    const vec first = vec_max(n, vec_set1(-512));
    return vec_mul(vec_mul(x, vec_exp2_int(first)), vec_exp2_int(vec_sub(n, first)));
}

DW_INLINE void vec_store_interleaved(real *p, const vec *v, const int m) {
    if (m == 2) vst2q_f64(p, ((float64x2x2_t){{v[0], v[1]}}));
    if (m == 3) vst3q_f64(p, ((float64x2x3_t){{v[0], v[1], v[2]}}));
    if (m == 4) vst4q_f64(p, ((float64x2x4_t){{v[0], v[1], v[2], v[3]}}));
    if (m != 8) return;
    /* Vectors i and i + 4 lane by lane; so four sequences of two vectors each are left to interleave. */
    vec low[4], high[4];
    DW_UNROLL for (int i = 0; i < 4; i++) {
        low[i] = vzip1q_f64(v[i], v[i + 4]);
        high[i] = vzip2q_f64(v[i], v[i + 4]);
    }
    vst4q_f64(p, ((float64x2x4_t){{low[0], low[1], low[2], low[3]}}));
    vst4q_f64(p + 4 * LANES, ((float64x2x4_t){{high[0], high[1], high[2], high[3]}}));
}

/* 64-bit lane i (0 or 1) -> bytes 8i .. 8i + 7. */
DW_INLINE vec_indices vec_load_indices(const real *p) {
    uint64x2_t is_one = vcgtq_u64(vld1q_u64((const uint64_t *)p), vdupq_n_u64(0));
    uint64x2_t eights = vandq_u64(is_one, vdupq_n_u64(0x0808080808080808));
    return vreinterpretq_u8_u64(vaddq_u64(vdupq_n_u64(0x0706050403020100), eights));
}

DW_INLINE vec vec_permute(vec x, vec_indices indices) {
    return vreinterpretq_f64_u8(vqtbl1q_u8(vreinterpretq_u8_f64(x), indices));
}

#endif
