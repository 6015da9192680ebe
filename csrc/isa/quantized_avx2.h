/* quantized_avx2.h - AVX2: 32 channels. The meaning of each word: quantized_portable.h. Where DW_Q_VNNI is 1, with
 * AVX-VNNI's instruction for four products of bytes; where DW_K_MASKS is 1, with AVX-512's masks, and its own VNNI. */
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "names.h"

enum { Q_BYTES = 32, Q_WEIGHT_BYTES = (DW_Q_VNNI ? 4 : 8) * Q_BYTES };

typedef __m256i q_bytes;
typedef __m256i q_words;

typedef struct q_sums {
    __m256i at[4];
} q_sums;

DW_INLINE q_bytes q_load(const uint8_t *p) { return _mm256_loadu_si256((const __m256i *)p); }
DW_INLINE void q_store(uint8_t *p, q_bytes x) { _mm256_storeu_si256((__m256i *)p, x); }

#if DW_K_MASKS
DW_INLINE __mmask32 q_mask(int n) { return ~UINT32_C(0) >> (32 - n); }
DW_INLINE q_bytes q_load_n(const uint8_t *p, int n) { return _mm256_maskz_loadu_epi8(q_mask(n), p); }
DW_INLINE void q_store_n(uint8_t *p, q_bytes x, int n) { _mm256_mask_storeu_epi8(p, q_mask(n), x); }
#define DW_Q_DPBUSD _mm256_dpbusd_epi32
#else
DW_INLINE q_bytes q_load_n(const uint8_t *p, int n) {
    uint8_t bytes[Q_BYTES] = {0};
    memcpy(bytes, p, (size_t)n);
    return q_load(bytes);
}

DW_INLINE void q_store_n(uint8_t *p, q_bytes x, int n) {
    uint8_t bytes[Q_BYTES];
    q_store(bytes, x);
    memcpy(p, bytes, (size_t)n);
}
#define DW_Q_DPBUSD _mm256_dpbusd_avx_epi32
#endif

DW_INLINE q_bytes q_set1(uint8_t value) { return _mm256_set1_epi8((char)value); }
DW_INLINE q_words q_set1_word(int16_t value) { return _mm256_set1_epi16(value); }
DW_INLINE q_bytes q_xor(q_bytes a, q_bytes b) { return _mm256_xor_si256(a, b); }
DW_INLINE q_bytes q_max(q_bytes a, q_bytes b) { return _mm256_max_epu8(a, b); }
DW_INLINE q_bytes q_min(q_bytes a, q_bytes b) { return _mm256_min_epu8(a, b); }

DW_INLINE q_sums q_load_sums(const int32_t *p) {
    const __m256i *at = (const __m256i *)p;
    return (q_sums){
        {_mm256_loadu_si256(at), _mm256_loadu_si256(at + 1), _mm256_loadu_si256(at + 2), _mm256_loadu_si256(at + 3)}};
}

/* Of the four rows each channel's bytes, one beside the other. */
DW_INLINE void q_transpose(const q_bytes *rows, q_bytes *quads) {
    const q_bytes a = _mm256_unpacklo_epi8(rows[0], rows[1]), b = _mm256_unpackhi_epi8(rows[0], rows[1]);
    const q_bytes c = _mm256_unpacklo_epi8(rows[2], rows[3]), d = _mm256_unpackhi_epi8(rows[2], rows[3]);
    quads[0] = _mm256_unpacklo_epi16(a, c);
    quads[1] = _mm256_unpackhi_epi16(a, c);
    quads[2] = _mm256_unpacklo_epi16(b, d);
    quads[3] = _mm256_unpackhi_epi16(b, d);
}

#if DW_Q_VNNI

typedef struct q_column {
    __m256i quads[4];
} q_column;

DW_INLINE q_column q_interleave(const q_bytes *rows) {
    q_column column;
    q_transpose(rows, column.quads);
    return column;
}

DW_INLINE void q_add_taps(q_sums *sums, const q_column *column, const uint8_t *weights) {
    DW_UNROLL for (int k = 0; k < 4; k++) sums->at[k] = DW_Q_DPBUSD(
        sums->at[k], column->quads[k], _mm256_load_si256((const __m256i *)(const void *)(weights + k * Q_BYTES)));
}

#else

/* Pairs of 16-bit integers: rows 0 and 2, rows 1 and 3. */
typedef struct q_column {
    __m256i even[4], odd[4];
} q_column;

DW_INLINE q_column q_interleave(const q_bytes *rows) {
    q_column column;
    q_bytes quads[4];
    q_transpose(rows, quads);
    DW_UNROLL for (int k = 0; k < 4; k++) {
        column.even[k] = _mm256_and_si256(quads[k], _mm256_set1_epi16(0xff));
        column.odd[k] = _mm256_srli_epi16(quads[k], 8);
    }
    return column;
}

DW_INLINE void q_add_taps(q_sums *sums, const q_column *column, const uint8_t *weights) {
    DW_UNROLL for (int k = 0; k < 4; k++) {
        const __m256i even = _mm256_load_si256((const __m256i *)(const void *)(weights + 2 * k * Q_BYTES));
        const __m256i odd = _mm256_load_si256((const __m256i *)(const void *)(weights + (2 * k + 1) * Q_BYTES));
        sums->at[k] = _mm256_add_epi32(sums->at[k], _mm256_madd_epi16(column->even[k], even));
        sums->at[k] = _mm256_add_epi32(sums->at[k], _mm256_madd_epi16(column->odd[k], odd));
    }
}

#endif

#include "quantized_pack_x86.inc"

/* A conversion gives INT32_MIN for what is beyond int32, so too large results are clamped before it. */
DW_INLINE q_bytes q_requantize(const q_sums *sums, const float *multipliers, q_words zero, int beyond) {
    __m256 product[4];
    __m256i rounded[4];
    DW_UNROLL for (int k = 0; k < 4; k++) product[k] =
        _mm256_mul_ps(_mm256_cvtepi32_ps(sums->at[k]), _mm256_load_ps(multipliers + 8 * k));
    if (beyond) {
        DW_UNROLL for (int k = 0; k < 4; k++) product[k] = _mm256_min_ps(product[k], _mm256_set1_ps(1024));
    }
    DW_UNROLL for (int k = 0; k < 4; k++) rounded[k] = _mm256_cvtps_epi32(product[k]);
    const __m256i low = _mm256_adds_epi16(_mm256_packs_epi32(rounded[0], rounded[1]), zero);
    const __m256i high = _mm256_adds_epi16(_mm256_packs_epi32(rounded[2], rounded[3]), zero);
    return _mm256_packus_epi16(low, high);
}
