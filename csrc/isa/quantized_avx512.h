/* quantized_avx512.h - AVX-512 F/BW: 64 channels. The meaning of each word: quantized_portable.h. Where DW_Q_VNNI is 1,
 * with its instruction for four products of bytes. */
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "names.h"

enum { Q_BYTES = 64, Q_WEIGHT_BYTES = (DW_Q_VNNI ? 4 : 8) * Q_BYTES };

typedef __m512i q_bytes;
typedef __m512i q_words;

typedef struct q_sums {
    __m512i at[4];
} q_sums;

DW_INLINE q_bytes q_load(const uint8_t *p) { return _mm512_loadu_si512(p); }
DW_INLINE void q_store(uint8_t *p, q_bytes x) { _mm512_storeu_si512(p, x); }

DW_INLINE __mmask64 q_mask(int n) { return ~UINT64_C(0) >> (64 - n); }
DW_INLINE q_bytes q_load_n(const uint8_t *p, int n) { return _mm512_maskz_loadu_epi8(q_mask(n), p); }
DW_INLINE void q_store_n(uint8_t *p, q_bytes x, int n) { _mm512_mask_storeu_epi8(p, q_mask(n), x); }

DW_INLINE q_bytes q_set1(uint8_t value) { return _mm512_set1_epi8((char)value); }
DW_INLINE q_words q_set1_word(int16_t value) { return _mm512_set1_epi16(value); }
DW_INLINE q_bytes q_xor(q_bytes a, q_bytes b) { return _mm512_xor_si512(a, b); }
DW_INLINE q_bytes q_max(q_bytes a, q_bytes b) { return _mm512_max_epu8(a, b); }
DW_INLINE q_bytes q_min(q_bytes a, q_bytes b) { return _mm512_min_epu8(a, b); }

DW_INLINE q_sums q_load_sums(const int32_t *p) {
    return (q_sums){
        {_mm512_loadu_si512(p), _mm512_loadu_si512(p + 16), _mm512_loadu_si512(p + 32), _mm512_loadu_si512(p + 48)}};
}

/* Of the four rows each channel's bytes, one beside the other. */
DW_INLINE void q_transpose(const q_bytes *rows, q_bytes *quads) {
    const q_bytes a = _mm512_unpacklo_epi8(rows[0], rows[1]), b = _mm512_unpackhi_epi8(rows[0], rows[1]);
    const q_bytes c = _mm512_unpacklo_epi8(rows[2], rows[3]), d = _mm512_unpackhi_epi8(rows[2], rows[3]);
    quads[0] = _mm512_unpacklo_epi16(a, c);
    quads[1] = _mm512_unpackhi_epi16(a, c);
    quads[2] = _mm512_unpacklo_epi16(b, d);
    quads[3] = _mm512_unpackhi_epi16(b, d);
}

#if DW_Q_VNNI

typedef struct q_column {
    __m512i quads[4];
} q_column;

DW_INLINE q_column q_interleave(const q_bytes *rows) {
    q_column column;
    q_transpose(rows, column.quads);
    return column;
}

DW_INLINE void q_add_taps(q_sums *sums, const q_column *column, const uint8_t *weights) {
    DW_UNROLL for (int k = 0; k < 4; k++) sums->at[k] =
        _mm512_dpbusd_epi32(sums->at[k], column->quads[k], _mm512_load_si512(weights + k * Q_BYTES));
}

#else

/* Pairs of 16-bit integers: rows 0 and 2, rows 1 and 3. */
typedef struct q_column {
    __m512i even[4], odd[4];
} q_column;

DW_INLINE q_column q_interleave(const q_bytes *rows) {
    q_column column;
    q_bytes quads[4];
    q_transpose(rows, quads);
    DW_UNROLL for (int k = 0; k < 4; k++) {
        column.even[k] = _mm512_and_si512(quads[k], _mm512_set1_epi16(0xff));
        column.odd[k] = _mm512_srli_epi16(quads[k], 8);
    }
    return column;
}

DW_INLINE void q_add_taps(q_sums *sums, const q_column *column, const uint8_t *weights) {
    DW_UNROLL for (int k = 0; k < 4; k++) {
        const __m512i even = _mm512_load_si512(weights + 2 * k * Q_BYTES);
        const __m512i odd = _mm512_load_si512(weights + (2 * k + 1) * Q_BYTES);
        sums->at[k] = _mm512_add_epi32(sums->at[k], _mm512_madd_epi16(column->even[k], even));
        sums->at[k] = _mm512_add_epi32(sums->at[k], _mm512_madd_epi16(column->odd[k], odd));
    }
}

#endif

#include "quantized_pack_x86.inc"

/* A conversion gives INT32_MIN for what is beyond int32, so too large results are clamped before it. */
DW_INLINE q_bytes q_requantize(const q_sums *sums, const float *multipliers, q_words zero, int beyond) {
    __m512 product[4];
    __m512i rounded[4];
    DW_UNROLL for (int k = 0; k < 4; k++) product[k] =
        _mm512_mul_ps(_mm512_cvtepi32_ps(sums->at[k]), _mm512_load_ps(multipliers + 16 * k));
    if (beyond) {
        DW_UNROLL for (int k = 0; k < 4; k++) product[k] = _mm512_min_ps(product[k], _mm512_set1_ps(1024));
    }
    DW_UNROLL for (int k = 0; k < 4; k++) rounded[k] = _mm512_cvtps_epi32(product[k]);
    const __m512i low = _mm512_adds_epi16(_mm512_packs_epi32(rounded[0], rounded[1]), zero);
    const __m512i high = _mm512_adds_epi16(_mm512_packs_epi32(rounded[2], rounded[3]), zero);
    return _mm512_packus_epi16(low, high);
}
