/* quantized_neon.h - AArch64 NEON: 16 channels. The meaning of each word: quantized_portable.h. */
#include <arm_neon.h>
#include <stdint.h>
#include <string.h>

#include "names.h"

enum { Q_BYTES = 16, Q_WEIGHT_BYTES = 8 * Q_BYTES };

typedef uint8x16_t q_bytes;
typedef int16x8_t q_words;

typedef struct q_column {
    int16x8_t low[4], high[4]; /* of each row */
} q_column;

typedef struct q_sums {
    int32x4_t at[4];
} q_sums;

DW_INLINE q_bytes q_load(const uint8_t *p) { return vld1q_u8(p); }
DW_INLINE void q_store(uint8_t *p, q_bytes x) { vst1q_u8(p, x); }

DW_INLINE q_bytes q_load_n(const uint8_t *p, int n) {
    uint8_t bytes[Q_BYTES] = {0};
    memcpy(bytes, p, (size_t)n);
    return vld1q_u8(bytes);
}

DW_INLINE void q_store_n(uint8_t *p, q_bytes x, int n) {
    uint8_t bytes[Q_BYTES];
    vst1q_u8(bytes, x);
    memcpy(p, bytes, (size_t)n);
}

DW_INLINE q_bytes q_set1(uint8_t value) { return vdupq_n_u8(value); }
DW_INLINE q_words q_set1_word(int16_t value) { return vdupq_n_s16(value); }
DW_INLINE q_bytes q_xor(q_bytes a, q_bytes b) { return veorq_u8(a, b); }
DW_INLINE q_bytes q_max(q_bytes a, q_bytes b) { return vmaxq_u8(a, b); }
DW_INLINE q_bytes q_min(q_bytes a, q_bytes b) { return vminq_u8(a, b); }

DW_INLINE q_column q_interleave(const q_bytes *rows) {
    q_column column;
    DW_UNROLL for (int r = 0; r < 4; r++) {
        column.low[r] = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(rows[r])));
        column.high[r] = vreinterpretq_s16_u16(vmovl_high_u8(rows[r]));
    }
    return column;
}

DW_INLINE q_sums q_load_sums(const int32_t *p) {
    return (q_sums){{vld1q_s32(p), vld1q_s32(p + 4), vld1q_s32(p + 8), vld1q_s32(p + 12)}};
}

/* As 16-bit integers, row by row. */
static void q_pack(const int8_t *weights, void *to) {
    int16_t *wide = to;
    for (int i = 0; i < 4 * Q_BYTES; i++) wide[i] = weights[i];
}

DW_INLINE void q_add_taps(q_sums *sums, const q_column *column, const uint8_t *weights) {
    DW_UNROLL for (int r = 0; r < 4; r++) {
        const int16_t *at = (const int16_t *)(const void *)weights + r * Q_BYTES;
        const int16x8_t low = vld1q_s16(at), high = vld1q_s16(at + 8);
        sums->at[0] = vmlal_s16(sums->at[0], vget_low_s16(column->low[r]), vget_low_s16(low));
        sums->at[1] = vmlal_high_s16(sums->at[1], column->low[r], low);
        sums->at[2] = vmlal_s16(sums->at[2], vget_low_s16(column->high[r]), vget_low_s16(high));
        sums->at[3] = vmlal_high_s16(sums->at[3], column->high[r], high);
    }
}

/* Conversions saturate by themselves. */
DW_INLINE q_bytes q_requantize(const q_sums *sums, const float *multipliers, q_words zero, int beyond) {
    (void)beyond;
    int32x4_t rounded[4];
    DW_UNROLL for (int k = 0; k < 4; k++) rounded[k] =
        vcvtnq_s32_f32(vmulq_f32(vcvtq_f32_s32(sums->at[k]), vld1q_f32(multipliers + 4 * k)));
    const int16x8_t low = vqaddq_s16(vcombine_s16(vqmovn_s32(rounded[0]), vqmovn_s32(rounded[1])), zero);
    const int16x8_t high = vqaddq_s16(vcombine_s16(vqmovn_s32(rounded[2]), vqmovn_s32(rounded[3])), zero);
    return vcombine_u8(vqmovun_s16(low), vqmovun_s16(high));
}
