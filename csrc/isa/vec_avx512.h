/* vec_avx512.h - AVX-512 F/VL/BW/DQ: 16 floats or integers, or 8 doubles. The meaning of
 * each word: vec_portable.h. */
#include <immintrin.h>
#include <stdint.h>

#include "names.h"

#if DW_INTEGER

typedef int32_t real;
typedef __m512i vec;
typedef __m512i vec_indices;
enum { LANES = 16 };

DW_INLINE vec vec_set1(real x) { return _mm512_set1_epi32(x); }
DW_INLINE vec vec_load(const real *p) { return _mm512_loadu_si512(p); }
DW_INLINE void vec_store(real *p, vec v) { _mm512_storeu_si512(p, v); }
DW_INLINE vec vec_fma(vec a, vec b, vec c) { return _mm512_add_epi32(_mm512_mullo_epi32(a, b), c); }

DW_INLINE vec vec_load_n(const real *p, int n) { return _mm512_maskz_loadu_epi32((__mmask16)((1u << n) - 1), p); }

DW_INLINE void vec_store_n(real *p, vec v, int n) { _mm512_mask_storeu_epi32(p, (__mmask16)((1u << n) - 1), v); }

typedef __mmask16 vec_mask;

DW_INLINE vec_mask vec_mask_range(int begin, int end) { return (vec_mask)(((1u << end) - 1) & ~((1u << begin) - 1)); }

DW_INLINE vec vec_masked_load(const real *p, vec_mask mask) { return _mm512_maskz_loadu_epi32(mask, p); }
DW_INLINE vec vec_select(vec_mask mask, vec a, vec b) { return _mm512_mask_blend_epi32(mask, b, a); }

DW_INLINE void vec_deinterleave2(vec a, vec b, vec *even, vec *odd) {
    DW_IN_REGISTERS(a, b);
    const __m512i evens = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    *even = _mm512_permutex2var_epi32(a, evens, b);
    *odd = _mm512_permutex2var_epi32(a, _mm512_add_epi32(evens, _mm512_set1_epi32(1)), b);
}

DW_INLINE void vec_load_deinterleave2(const real *p, vec *even, vec *odd) {
    vec_deinterleave2(vec_load(p), vec_load(p + LANES), even, odd);
}

DW_INLINE void vec_masked_load_deinterleave2(const real *p, vec_mask low, vec_mask high, vec *even, vec *odd) {
    vec_deinterleave2(vec_masked_load(p, low), vec_masked_load(p + LANES, high), even, odd);
}

DW_INLINE vec vec_slide_in(vec v, real next) { return _mm512_alignr_epi32(vec_set1(next), v, 1); }

DW_INLINE vec vec_clamp(vec x, vec low, vec high) { return _mm512_min_epi32(high, _mm512_max_epi32(low, x)); }

DW_INLINE vec_indices vec_load_indices(const real *p) { return _mm512_loadu_si512(p); }
DW_INLINE vec vec_permute(vec x, vec_indices indices) { return _mm512_permutexvar_epi32(indices, x); }

#elif DW_BITS == 32

typedef float real;
typedef __m512 vec;
typedef __m512i vec_indices;
enum { LANES = 16 };

DW_INLINE vec vec_set1(real x) { return _mm512_set1_ps(x); }
DW_INLINE vec vec_load(const real *p) { return _mm512_loadu_ps(p); }
DW_INLINE void vec_store(real *p, vec v) { _mm512_storeu_ps(p, v); }
DW_INLINE vec vec_fma(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }

DW_INLINE vec vec_load_n(const real *p, int n) { return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p); }

DW_INLINE void vec_store_n(real *p, vec v, int n) { _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), v); }

typedef __mmask16 vec_mask;

DW_INLINE vec_mask vec_mask_range(int begin, int end) { return (vec_mask)(((1u << end) - 1) & ~((1u << begin) - 1)); }

DW_INLINE vec vec_masked_load(const real *p, vec_mask mask) { return _mm512_maskz_loadu_ps(mask, p); }
DW_INLINE vec vec_select(vec_mask mask, vec a, vec b) { return _mm512_mask_blend_ps(mask, b, a); }

DW_INLINE void vec_deinterleave2(vec a, vec b, vec *even, vec *odd) {
    DW_IN_REGISTERS(a, b);
    const __m512i evens = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    *even = _mm512_permutex2var_ps(a, evens, b);
    *odd = _mm512_permutex2var_ps(a, _mm512_add_epi32(evens, _mm512_set1_epi32(1)), b);
}

DW_INLINE void vec_load_deinterleave2(const real *p, vec *even, vec *odd) {
    vec_deinterleave2(vec_load(p), vec_load(p + LANES), even, odd);
}

DW_INLINE void vec_masked_load_deinterleave2(const real *p, vec_mask low, vec_mask high, vec *even, vec *odd) {
    vec_deinterleave2(vec_masked_load(p, low), vec_masked_load(p + LANES, high), even, odd);
}

DW_INLINE vec vec_slide_in(vec v, real next) {
    return _mm512_castsi512_ps(_mm512_alignr_epi32(_mm512_castps_si512(vec_set1(next)), _mm512_castps_si512(v), 1));
}

/* The second operand is what max and min return for NaN and for equal zeros. */
DW_INLINE vec vec_clamp(vec x, vec low, vec high) { return _mm512_min_ps(high, _mm512_max_ps(low, x)); }

DW_INLINE vec vec_add(vec a, vec b) { return _mm512_add_ps(a, b); }
DW_INLINE vec vec_sub(vec a, vec b) { return _mm512_sub_ps(a, b); }
DW_INLINE vec vec_mul(vec a, vec b) { return _mm512_mul_ps(a, b); }
DW_INLINE vec vec_div(vec a, vec b) { return _mm512_div_ps(a, b); }
DW_INLINE vec vec_fnma(vec a, vec b, vec c) { return _mm512_fnmadd_ps(a, b, c); }
DW_INLINE vec vec_max(vec x, vec low) { return _mm512_max_ps(low, x); }
DW_INLINE vec vec_abs(vec x) { return _mm512_andnot_ps(vec_set1((real)-0.0), x); }

DW_INLINE vec vec_copysign(vec x, vec sign) {
    return _mm512_or_ps(vec_abs(x), _mm512_and_ps(vec_set1((real)-0.0), sign));
}

DW_INLINE vec vec_select_lt(vec a, vec b, vec yes, vec no) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), no, yes);
}

/* n + 1.5 * 2**23 + 127 has n + 127 in its last bits; the shift makes it the exponent. */
DW_INLINE vec vec_exp2_int(vec n) {
    const vec biased = vec_add(n, vec_set1((real)(0x1.8p23 + 127)));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(biased), 23));
}

DW_INLINE vec vec_scale(vec x, vec n) { return _mm512_scalef_ps(x, n); }

/* Of the sequence of all m vectors the first half and the second take turns; log2(m) times. m = 3: lane by lane. */
DW_INLINE void vec_store_interleaved(real *p, const vec *v, const int m) {
    vec from[8], to[8];
    DW_UNROLL for (int i = 0; i < m; i++) to[i] = v[i];
    if (m == 3) {
        real lanes[3][LANES];
        for (int i = 0; i < m; i++) vec_store(lanes[i], v[i]);
        for (int i = 0; i < m * LANES; i++) p[i] = lanes[i % m][i / m];
        return;
    }
    const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(LANES / 2));
    DW_UNROLL for (int step = 1; step < m; step *= 2) {
        DW_UNROLL for (int i = 0; i < m; i++) from[i] = to[i];
        DW_UNROLL for (int i = 0; i < m / 2; i++) {
            to[2 * i] = _mm512_permutex2var_ps(from[i], low, from[i + m / 2]);
            to[2 * i + 1] = _mm512_permutex2var_ps(from[i], high, from[i + m / 2]);
        }
    }
    DW_UNROLL for (int i = 0; i < m; i++) vec_store(p + i * LANES, to[i]);
}

DW_INLINE vec_indices vec_load_indices(const real *p) { return _mm512_loadu_si512(p); }
DW_INLINE vec vec_permute(vec x, vec_indices indices) { return _mm512_permutexvar_ps(indices, x); }

/* Numbers of 16 bits in memory, see vec_portable.h. */
#define dw_half_mask(n) ((__mmask16)((1u << (n)) - 1))

DW_INLINE vec vec_load_f16(const uint16_t *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p)); }
DW_INLINE vec vec_load_f16_n(const uint16_t *p, int n) {
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(dw_half_mask(n), p));
}
DW_INLINE vec vec_masked_load_f16(const uint16_t *p, vec_mask mask) {
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, p));
}
DW_INLINE void vec_store_f16(uint16_t *p, vec v) {
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}
DW_INLINE void vec_store_f16_n(uint16_t *p, vec v, int n) {
    _mm256_mask_storeu_epi16(p, dw_half_mask(n), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}

/* The upper 16 bits of a lane; VPERMW brings them there in one instruction. */
DW_INLINE vec dw_widen_bf16_avx512(__m256i halves) {
    const __m512i twice = _mm512_set_epi16(15, 15, 14, 14, 13, 13, 12, 12, 11, 11, 10, 10, 9, 9, 8, 8, 7, 7, 6, 6, 5, 5,
                                           4, 4, 3, 3, 2, 2, 1, 1, 0, 0);
    return _mm512_castsi512_ps(_mm512_maskz_permutexvar_epi16(0xaaaaaaaa, twice, _mm512_castsi256_si512(halves)));
}
DW_INLINE __m256i dw_round_bf16_avx512(vec v) {
    const __m512i uppers = _mm512_set_epi16(31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1, 31, 29, 27, 25,
                                            23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
    const __m512i bits = _mm512_castps_si512(v),
                  last = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __mmask16 numbers = _mm512_cmp_ps_mask(v, v, _CMP_ORD_Q);
    const __m512i rounded =
        _mm512_mask_add_epi32(_mm512_set1_epi32(-1), numbers, bits, _mm512_add_epi32(last, _mm512_set1_epi32(0x7fff)));
    return _mm512_castsi512_si256(_mm512_permutexvar_epi16(uppers, rounded));
}
DW_INLINE vec vec_load_bf16(const uint16_t *p) { return dw_widen_bf16_avx512(_mm256_loadu_si256((const __m256i *)p)); }
DW_INLINE vec vec_load_bf16_n(const uint16_t *p, int n) {
    return dw_widen_bf16_avx512(_mm256_maskz_loadu_epi16(dw_half_mask(n), p));
}
DW_INLINE vec vec_masked_load_bf16(const uint16_t *p, vec_mask mask) {
    return dw_widen_bf16_avx512(_mm256_maskz_loadu_epi16(mask, p));
}
DW_INLINE void vec_store_bf16(uint16_t *p, vec v) { _mm256_storeu_si256((__m256i *)p, dw_round_bf16_avx512(v)); }
DW_INLINE void vec_store_bf16_n(uint16_t *p, vec v, int n) {
    _mm256_mask_storeu_epi16(p, dw_half_mask(n), dw_round_bf16_avx512(v));
}

#else

typedef double real;
typedef __m512d vec;
typedef __m512i vec_indices;
enum { LANES = 8 };

DW_INLINE vec vec_set1(real x) { return _mm512_set1_pd(x); }
DW_INLINE vec vec_load(const real *p) { return _mm512_loadu_pd(p); }
DW_INLINE void vec_store(real *p, vec v) { _mm512_storeu_pd(p, v); }
DW_INLINE vec vec_fma(vec a, vec b, vec c) { return _mm512_fmadd_pd(a, b, c); }

DW_INLINE vec vec_load_n(const real *p, int n) { return _mm512_maskz_loadu_pd((__mmask8)((1u << n) - 1), p); }

DW_INLINE void vec_store_n(real *p, vec v, int n) { _mm512_mask_storeu_pd(p, (__mmask8)((1u << n) - 1), v); }

typedef __mmask8 vec_mask;

DW_INLINE vec_mask vec_mask_range(int begin, int end) { return (vec_mask)(((1u << end) - 1) & ~((1u << begin) - 1)); }

DW_INLINE vec vec_masked_load(const real *p, vec_mask mask) { return _mm512_maskz_loadu_pd(mask, p); }
DW_INLINE vec vec_select(vec_mask mask, vec a, vec b) { return _mm512_mask_blend_pd(mask, b, a); }

DW_INLINE void vec_deinterleave2(vec a, vec b, vec *even, vec *odd) {
    DW_IN_REGISTERS(a, b);
    const __m512i evens = _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14);
    *even = _mm512_permutex2var_pd(a, evens, b);
    *odd = _mm512_permutex2var_pd(a, _mm512_add_epi64(evens, _mm512_set1_epi64(1)), b);
}

DW_INLINE void vec_load_deinterleave2(const real *p, vec *even, vec *odd) {
    vec_deinterleave2(vec_load(p), vec_load(p + LANES), even, odd);
}

DW_INLINE void vec_masked_load_deinterleave2(const real *p, vec_mask low, vec_mask high, vec *even, vec *odd) {
    vec_deinterleave2(vec_masked_load(p, low), vec_masked_load(p + LANES, high), even, odd);
}

DW_INLINE vec vec_slide_in(vec v, real next) {
    return _mm512_castsi512_pd(_mm512_alignr_epi64(_mm512_castpd_si512(vec_set1(next)), _mm512_castpd_si512(v), 1));
}

DW_INLINE vec vec_clamp(vec x, vec low, vec high) { return _mm512_min_pd(high, _mm512_max_pd(low, x)); }

DW_INLINE vec vec_add(vec a, vec b) { return _mm512_add_pd(a, b); }
DW_INLINE vec vec_sub(vec a, vec b) { return _mm512_sub_pd(a, b); }
DW_INLINE vec vec_mul(vec a, vec b) { return _mm512_mul_pd(a, b); }
DW_INLINE vec vec_div(vec a, vec b) { return _mm512_div_pd(a, b); }
DW_INLINE vec vec_fnma(vec a, vec b, vec c) { return _mm512_fnmadd_pd(a, b, c); }
DW_INLINE vec vec_max(vec x, vec low) { return _mm512_max_pd(low, x); }
DW_INLINE vec vec_abs(vec x) { return _mm512_andnot_pd(vec_set1((real)-0.0), x); }

DW_INLINE vec vec_copysign(vec x, vec sign) {
    return _mm512_or_pd(vec_abs(x), _mm512_and_pd(vec_set1((real)-0.0), sign));
}

DW_INLINE vec vec_select_lt(vec a, vec b, vec yes, vec no) {
    return _mm512_mask_blend_pd(_mm512_cmp_pd_mask(a, b, _CMP_LT_OQ), no, yes);
}

/* n + 1.5 * 2**52 + 1023 has n + 1023 in its last bits; the shift makes it the exponent. */
DW_INLINE vec vec_exp2_int(vec n) {
    const vec biased = vec_add(n, vec_set1((real)(0x1.8p52 + 1023)));
    return _mm512_castsi512_pd(_mm512_slli_epi64(_mm512_castpd_si512(biased), 52));
}

DW_INLINE vec vec_scale(vec x, vec n) { return _mm512_scalef_pd(x, n); }

/* Of the sequence of all m vectors the first half and the second take turns; log2(m) times. m = 3: lane by lane. */
DW_INLINE void vec_store_interleaved(real *p, const vec *v, const int m) {
    vec from[8], to[8];
    DW_UNROLL for (int i = 0; i < m; i++) to[i] = v[i];
    if (m == 3) {
        real lanes[3][LANES];
        for (int i = 0; i < m; i++) vec_store(lanes[i], v[i]);
        for (int i = 0; i < m * LANES; i++) p[i] = lanes[i % m][i / m];
        return;
    }
    const __m512i low = _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11);
    const __m512i high = _mm512_add_epi64(low, _mm512_set1_epi64(LANES / 2));
    DW_UNROLL for (int step = 1; step < m; step *= 2) {
        DW_UNROLL for (int i = 0; i < m; i++) from[i] = to[i];
        DW_UNROLL for (int i = 0; i < m / 2; i++) {
            to[2 * i] = _mm512_permutex2var_pd(from[i], low, from[i + m / 2]);
            to[2 * i + 1] = _mm512_permutex2var_pd(from[i], high, from[i + m / 2]);
        }
    }
    DW_UNROLL for (int i = 0; i < m; i++) vec_store(p + i * LANES, to[i]);
}

DW_INLINE vec_indices vec_load_indices(const real *p) { return _mm512_loadu_si512(p); }
DW_INLINE vec vec_permute(vec x, vec_indices indices) { return _mm512_permutexvar_pd(indices, x); }

#endif
