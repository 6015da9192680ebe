/* vec_neon.h - AArch64 NEON: 4 floats or integers, or 2 doubles. The meaning of each word: vec_portable.h. */
#include <arm_neon.h>
#include <stdint.h>

#include "names.h"

#if DW_INTEGER

typedef int32_t real;
typedef int32x4_t vec;
typedef uint8x16_t vec_map; /* bytes: TBL is the only permutation by a variable */
enum { LANES = 4 };

DW_INLINE vec vec_set1(real x) { return vdupq_n_s32(x); }
DW_INLINE vec vec_load(const real *p) { return vld1q_s32(p); }
DW_INLINE void vec_store(real *p, vec v) { vst1q_s32(p, v); }
DW_INLINE vec vec_fma(vec a, vec b, vec c) { return vmlaq_s32(c, a, b); }

DW_INLINE vec vec_load_part(const real *p, int n) {
    vec v = vdupq_n_s32(0);
    if (n >= 4) return vld1q_s32(p);
    if (n >= 1) v = vld1q_lane_s32(p, v, 0);
    if (n >= 2) v = vld1q_lane_s32(p + 1, v, 1);
    if (n >= 3) v = vld1q_lane_s32(p + 2, v, 2);
    return v;
}

DW_INLINE void vec_store_part(real *p, vec v, int n) {
    if (n >= 4) {
        vst1q_s32(p, v);
        return;
    }
    if (n >= 1) vst1q_lane_s32(p, v, 0);
    if (n >= 2) vst1q_lane_s32(p + 1, v, 1);
    if (n >= 3) vst1q_lane_s32(p + 2, v, 2);
}

DW_INLINE vec vec_clamp(vec x, vec low, vec high) { return vminq_s32(high, vmaxq_s32(low, x)); }

/* 32-bit lane i -> bytes 4i .. 4i + 3. */
DW_INLINE vec_map vec_map_load(const real *p) {
    uint32x4_t lanes = vld1q_u32((const uint32_t *)p);
    return vreinterpretq_u8_u32(vmlaq_n_u32(vdupq_n_u32(0x03020100), lanes, 0x04040404));
}

DW_INLINE vec vec_spread(vec x, vec_map map) {
    return vreinterpretq_s32_u8(vqtbl1q_u8(vreinterpretq_u8_s32(x), map));
}

#elif DW_BITS == 32

typedef float real;
typedef float32x4_t vec;
typedef uint8x16_t vec_map; /* bytes: TBL is the only permutation by a variable */
enum { LANES = 4 };

DW_INLINE vec vec_set1(real x) { return vdupq_n_f32(x); }
DW_INLINE vec vec_load(const real *p) { return vld1q_f32(p); }
DW_INLINE void vec_store(real *p, vec v) { vst1q_f32(p, v); }
DW_INLINE vec vec_fma(vec a, vec b, vec c) { return vfmaq_f32(c, a, b); }

DW_INLINE vec vec_load_part(const real *p, int n) {
    vec v = vdupq_n_f32(0);
    if (n >= 4) return vld1q_f32(p);
    if (n >= 1) v = vld1q_lane_f32(p, v, 0);
    if (n >= 2) v = vld1q_lane_f32(p + 1, v, 1);
    if (n >= 3) v = vld1q_lane_f32(p + 2, v, 2);
    return v;
}

DW_INLINE void vec_store_part(real *p, vec v, int n) {
    if (n >= 4) {
        vst1q_f32(p, v);
        return;
    }
    if (n >= 1) vst1q_lane_f32(p, v, 0);
    if (n >= 2) vst1q_lane_f32(p + 1, v, 1);
    if (n >= 3) vst1q_lane_f32(p + 2, v, 2);
}

/* Selects, not FMAX and FMIN: those give +0 for max(-0, +0), where x86 and vec_portable.h keep -0. */
DW_INLINE vec vec_clamp(vec x, vec low, vec high) {
    x = vbslq_f32(vcltq_f32(x, low), low, x);
    return vbslq_f32(vcgtq_f32(x, high), high, x);
}

DW_INLINE vec vec_add(vec a, vec b) { return vaddq_f32(a, b); }

/* 32-bit lane i -> bytes 4i .. 4i + 3. */
DW_INLINE vec_map vec_map_load(const real *p) {
    uint32x4_t lanes = vld1q_u32((const uint32_t *)p);
    return vreinterpretq_u8_u32(vmlaq_n_u32(vdupq_n_u32(0x03020100), lanes, 0x04040404));
}

DW_INLINE vec vec_spread(vec x, vec_map map) {
    return vreinterpretq_f32_u8(vqtbl1q_u8(vreinterpretq_u8_f32(x), map));
}

#else

typedef double real;
typedef float64x2_t vec;
typedef uint8x16_t vec_map;
enum { LANES = 2 };

DW_INLINE vec vec_set1(real x) { return vdupq_n_f64(x); }
DW_INLINE vec vec_load(const real *p) { return vld1q_f64(p); }
DW_INLINE void vec_store(real *p, vec v) { vst1q_f64(p, v); }
DW_INLINE vec vec_fma(vec a, vec b, vec c) { return vfmaq_f64(c, a, b); }

DW_INLINE vec vec_load_part(const real *p, int n) {
    if (n >= 2) return vld1q_f64(p);
    return n == 1 ? vld1q_lane_f64(p, vdupq_n_f64(0), 0) : vdupq_n_f64(0);
}

DW_INLINE void vec_store_part(real *p, vec v, int n) {
    if (n >= 2) vst1q_f64(p, v);
    else if (n == 1) vst1q_lane_f64(p, v, 0);
}

DW_INLINE vec vec_clamp(vec x, vec low, vec high) {
    x = vbslq_f64(vcltq_f64(x, low), low, x);
    return vbslq_f64(vcgtq_f64(x, high), high, x);
}

DW_INLINE vec vec_add(vec a, vec b) { return vaddq_f64(a, b); }

/* 64-bit lane i (0 or 1) -> bytes 8i .. 8i + 7. */
DW_INLINE vec_map vec_map_load(const real *p) {
    uint64x2_t is_one = vcgtq_u64(vld1q_u64((const uint64_t *)p), vdupq_n_u64(0));
    uint64x2_t eights = vandq_u64(is_one, vdupq_n_u64(0x0808080808080808));
    return vreinterpretq_u8_u64(vaddq_u64(vdupq_n_u64(0x0706050403020100), eights));
}

DW_INLINE vec vec_spread(vec x, vec_map map) {
    return vreinterpretq_f64_u8(vqtbl1q_u8(vreinterpretq_u8_f64(x), map));
}

#endif
