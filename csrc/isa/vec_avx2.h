/* vec_avx2.h - AVX2 and FMA: 8 floats or integers, or 4 doubles. The meaning of each word: vec_portable.h.
 * Where DW_K_MASKS is 1, with the mask registers of AVX-512 VL. */
#include <immintrin.h>
#include <stdint.h>

#include "names.h"

#ifndef DW_AVX2_MASKS
#define DW_AVX2_MASKS
/* The mask of the first n 32-bit lanes begins 8 - n before the zeros. */
static const int32_t dw_avx2_masks[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};
#endif

#if DW_INTEGER

typedef int32_t real;
typedef __m256i vec;
typedef __m256i vec_indices;
enum { LANES = 8 };

DW_INLINE vec vec_set1(real x) { return _mm256_set1_epi32(x); }
DW_INLINE vec vec_load(const real *p) { return _mm256_loadu_si256((const __m256i *)p); }
DW_INLINE void vec_store(real *p, vec v) { _mm256_storeu_si256((__m256i *)p, v); }
DW_INLINE vec vec_fma(vec a, vec b, vec c) { return _mm256_add_epi32(_mm256_mullo_epi32(a, b), c); }

#if DW_K_MASKS
DW_INLINE vec vec_load_n(const real *p, int n) { return _mm256_maskz_loadu_epi32((__mmask8)((1u << n) - 1), p); }

DW_INLINE void vec_store_n(real *p, vec v, int n) { _mm256_mask_storeu_epi32(p, (__mmask8)((1u << n) - 1), v); }
#else
DW_INLINE vec vec_load_n(const real *p, int n) {
    return _mm256_maskload_epi32(p, _mm256_loadu_si256((const __m256i *)(dw_avx2_masks + 8 - n)));
}

/* In pieces of 4, 2 and 1: a masked store takes 42 micro-operations on Zen 3. */
DW_INLINE void vec_store_n(real *p, vec v, int n) {
    if (n >= LANES) {
        vec_store(p, v);
        return;
    }
    __m128i piece = _mm256_castsi256_si128(v);
    if (n & 4) {
        _mm_storeu_si128((__m128i *)p, piece);
        piece = _mm256_extracti128_si256(v, 1);
        p += 4;
    }
    if (n & 2) {
        _mm_storel_epi64((__m128i *)p, piece);
        piece = _mm_unpackhi_epi64(piece, piece);
        p += 2;
    }
    if (n & 1) *p = _mm_cvtsi128_si32(piece);
}
#endif

#if DW_K_MASKS
typedef __mmask8 vec_mask;
DW_INLINE vec_mask vec_mask_range(int begin, int end) { return (vec_mask)(((1u << end) - 1) & ~((1u << begin) - 1)); }
DW_INLINE vec vec_masked_load(const real *p, vec_mask mask) { return _mm256_maskz_loadu_epi32(mask, p); }
DW_INLINE vec vec_select(vec_mask mask, vec a, vec b) { return _mm256_mask_blend_epi32(mask, b, a); }
#else
typedef __m256i vec_mask;
DW_INLINE vec_mask vec_mask_range(int begin, int end) {
    return _mm256_andnot_si256(_mm256_loadu_si256((const __m256i *)(dw_avx2_masks + 8 - begin)),
                               _mm256_loadu_si256((const __m256i *)(dw_avx2_masks + 8 - end)));
}
DW_INLINE vec vec_masked_load(const real *p, vec_mask mask) { return _mm256_maskload_epi32(p, mask); }
DW_INLINE vec vec_select(vec_mask mask, vec a, vec b) { return _mm256_blendv_epi8(b, a, mask); }
#endif

#if DW_K_MASKS
DW_INLINE void vec_deinterleave2(vec a, vec b, vec *even, vec *odd) {
    DW_IN_REGISTERS(a, b);
    const __m256i evens = _mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14);
    *even = _mm256_permutex2var_epi32(a, evens, b);
    *odd = _mm256_permutex2var_epi32(a, _mm256_add_epi32(evens, _mm256_set1_epi32(1)), b);
}

DW_INLINE void vec_load_deinterleave2(const real *p, vec *even, vec *odd) {
    vec_deinterleave2(vec_load(p), vec_load(p + LANES), even, odd);
}

DW_INLINE void vec_masked_load_deinterleave2(const real *p, vec_mask low, vec_mask high, vec *even, vec *odd) {
    vec_deinterleave2(vec_masked_load(p, low), vec_masked_load(p + LANES, high), even, odd);
}
#else
/* Of each half of the elements the first and the second half, so that no lane has to change its half. */
DW_INLINE void vec_deinterleave2(vec front, vec back, vec *even, vec *odd) {
    const __m256 a = _mm256_castsi256_ps(front), b = _mm256_castsi256_ps(back);
    *even = _mm256_castps_si256(_mm256_shuffle_ps(a, b, 0x88));
    *odd = _mm256_castps_si256(_mm256_shuffle_ps(a, b, 0xdd));
}

DW_INLINE void vec_load_deinterleave2(const real *p, vec *even, vec *odd) {
    const __m128i *quarters = (const __m128i *)p;
    vec_deinterleave2(_mm256_loadu2_m128i(quarters + 2, quarters), _mm256_loadu2_m128i(quarters + 3, quarters + 1),
                      even, odd);
}

DW_INLINE void vec_masked_load_deinterleave2(const real *p, vec_mask low, vec_mask high, vec *even, vec *odd) {
    const vec a = vec_masked_load(p, low), b = vec_masked_load(p + LANES, high);
    vec_deinterleave2(_mm256_permute2x128_si256(a, b, 0x20), _mm256_permute2x128_si256(a, b, 0x31), even, odd);
}
#endif

DW_INLINE vec vec_slide_in(vec v, real next) {
    const vec shifted = _mm256_permutevar8x32_epi32(v, _mm256_setr_epi32(1, 2, 3, 4, 5, 6, 7, 0));
    return _mm256_blend_epi32(shifted, vec_set1(next), 0x80);
}

DW_INLINE vec vec_clamp(vec x, vec low, vec high) { return _mm256_min_epi32(high, _mm256_max_epi32(low, x)); }

DW_INLINE vec_indices vec_load_indices(const real *p) { return _mm256_loadu_si256((const __m256i *)p); }
DW_INLINE vec vec_permute(vec x, vec_indices indices) { return _mm256_permutevar8x32_epi32(x, indices); }

#elif DW_BITS == 32

typedef float real;
typedef __m256 vec;
typedef __m256i vec_indices;
enum { LANES = 8 };

DW_INLINE vec vec_set1(real x) { return _mm256_set1_ps(x); }
DW_INLINE vec vec_load(const real *p) { return _mm256_loadu_ps(p); }
DW_INLINE void vec_store(real *p, vec v) { _mm256_storeu_ps(p, v); }
DW_INLINE vec vec_fma(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }

#if DW_K_MASKS
DW_INLINE vec vec_load_n(const real *p, int n) { return _mm256_maskz_loadu_ps((__mmask8)((1u << n) - 1), p); }

DW_INLINE void vec_store_n(real *p, vec v, int n) { _mm256_mask_storeu_ps(p, (__mmask8)((1u << n) - 1), v); }
#else
DW_INLINE vec vec_load_n(const real *p, int n) {
    return _mm256_maskload_ps(p, _mm256_loadu_si256((const __m256i *)(dw_avx2_masks + 8 - n)));
}

/* In pieces of 4, 2 and 1: a masked store takes 42 micro-operations on Zen 3. */
DW_INLINE void vec_store_n(real *p, vec v, int n) {
    if (n >= LANES) {
        vec_store(p, v);
        return;
    }
    __m128 piece = _mm256_castps256_ps128(v);
    if (n & 4) {
        _mm_storeu_ps(p, piece);
        piece = _mm256_extractf128_ps(v, 1);
        p += 4;
    }
    if (n & 2) {
        _mm_storel_pi((__m64 *)p, piece);
        piece = _mm_movehl_ps(piece, piece);
        p += 2;
    }
    if (n & 1) _mm_store_ss(p, piece);
}
#endif

#if DW_K_MASKS
typedef __mmask8 vec_mask;
DW_INLINE vec_mask vec_mask_range(int begin, int end) { return (vec_mask)(((1u << end) - 1) & ~((1u << begin) - 1)); }
DW_INLINE vec vec_masked_load(const real *p, vec_mask mask) { return _mm256_maskz_loadu_ps(mask, p); }
DW_INLINE vec vec_select(vec_mask mask, vec a, vec b) { return _mm256_mask_blend_ps(mask, b, a); }
#else
typedef __m256i vec_mask;
DW_INLINE vec_mask vec_mask_range(int begin, int end) {
    return _mm256_andnot_si256(_mm256_loadu_si256((const __m256i *)(dw_avx2_masks + 8 - begin)),
                               _mm256_loadu_si256((const __m256i *)(dw_avx2_masks + 8 - end)));
}
DW_INLINE vec vec_masked_load(const real *p, vec_mask mask) { return _mm256_maskload_ps(p, mask); }
DW_INLINE vec vec_select(vec_mask mask, vec a, vec b) { return _mm256_blendv_ps(b, a, _mm256_castsi256_ps(mask)); }
#endif

#if DW_K_MASKS
DW_INLINE void vec_deinterleave2(vec a, vec b, vec *even, vec *odd) {
    DW_IN_REGISTERS(a, b);
    const __m256i evens = _mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14);
    *even = _mm256_permutex2var_ps(a, evens, b);
    *odd = _mm256_permutex2var_ps(a, _mm256_add_epi32(evens, _mm256_set1_epi32(1)), b);
}

DW_INLINE void vec_load_deinterleave2(const real *p, vec *even, vec *odd) {
    vec_deinterleave2(vec_load(p), vec_load(p + LANES), even, odd);
}

DW_INLINE void vec_masked_load_deinterleave2(const real *p, vec_mask low, vec_mask high, vec *even, vec *odd) {
    vec_deinterleave2(vec_masked_load(p, low), vec_masked_load(p + LANES, high), even, odd);
}
#else
/* Of each half of the elements the first and the second half, so that no lane has to change its half. */
DW_INLINE void vec_deinterleave2(vec front, vec back, vec *even, vec *odd) {
    *even = _mm256_shuffle_ps(front, back, 0x88);
    *odd = _mm256_shuffle_ps(front, back, 0xdd);
}

DW_INLINE void vec_load_deinterleave2(const real *p, vec *even, vec *odd) {
    vec_deinterleave2(_mm256_loadu2_m128(p + 8, p), _mm256_loadu2_m128(p + 12, p + 4), even, odd);
}

DW_INLINE void vec_masked_load_deinterleave2(const real *p, vec_mask low, vec_mask high, vec *even, vec *odd) {
    const vec a = vec_masked_load(p, low), b = vec_masked_load(p + LANES, high);
    vec_deinterleave2(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31), even, odd);
}
#endif

DW_INLINE vec vec_slide_in(vec v, real next) {
    const vec shifted = _mm256_permutevar8x32_ps(v, _mm256_setr_epi32(1, 2, 3, 4, 5, 6, 7, 0));
    return _mm256_blend_ps(shifted, vec_set1(next), 0x80);
}

/* The second operand is what max and min return for NaN and for equal zeros. */
DW_INLINE vec vec_clamp(vec x, vec low, vec high) { return _mm256_min_ps(high, _mm256_max_ps(low, x)); }

DW_INLINE vec vec_add(vec a, vec b) { return _mm256_add_ps(a, b); }
DW_INLINE vec vec_sub(vec a, vec b) { return _mm256_sub_ps(a, b); }
DW_INLINE vec vec_mul(vec a, vec b) { return _mm256_mul_ps(a, b); }
DW_INLINE vec vec_div(vec a, vec b) { return _mm256_div_ps(a, b); }
DW_INLINE vec vec_fnma(vec a, vec b, vec c) { return _mm256_fnmadd_ps(a, b, c); }
DW_INLINE vec vec_max(vec x, vec low) { return _mm256_max_ps(low, x); }
DW_INLINE vec vec_abs(vec x) { return _mm256_andnot_ps(vec_set1((real)-0.0), x); }

DW_INLINE vec vec_copysign(vec x, vec sign) {
    return _mm256_or_ps(vec_abs(x), _mm256_and_ps(vec_set1((real)-0.0), sign));
}

DW_INLINE vec vec_select_lt(vec a, vec b, vec yes, vec no) {
    return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
}

/* n + 1.5 * 2**23 + 127 has n + 127 in its last bits; the shift makes it the exponent. */
DW_INLINE vec vec_exp2_int(vec n) {
    const vec biased = vec_add(n, vec_set1((real)(0x1.8p23 + 127)));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(biased), 23));
}

/* In two steps, the first of which is exact. */
DW_INLINE vec vec_scale(vec x, vec n) {
    const vec first = vec_max(n, vec_set1(-64));
    return vec_mul(vec_mul(x, vec_exp2_int(first)), vec_exp2_int(vec_sub(n, first)));
}

/* In halves of four lanes, which need not change their places: 16 bytes at a time. */
DW_INLINE void vec_store_interleaved(real *p, const vec *v, const int m) {
    vec from[8], to[8];
    DW_UNROLL for (int i = 0; i < m; i++) to[i] = v[i];
    if (m == 3) {
        const vec ab = _mm256_shuffle_ps(v[0], v[1], 0x88), bc = _mm256_shuffle_ps(v[1], v[2], 0xdd);
        const vec ca = _mm256_shuffle_ps(v[2], v[0], 0xd8);
        to[0] = _mm256_shuffle_ps(ab, ca, 0x88);
        to[1] = _mm256_shuffle_ps(bc, ab, 0xd8);
        to[2] = _mm256_shuffle_ps(ca, bc, 0xdd);
    } else {
        DW_UNROLL for (int step = 1; step < m; step *= 2) {
            DW_UNROLL for (int i = 0; i < m; i++) from[i] = to[i];
            DW_UNROLL for (int i = 0; i < m / 2; i++) {
                to[2 * i] = _mm256_unpacklo_ps(from[i], from[i + m / 2]);
                to[2 * i + 1] = _mm256_unpackhi_ps(from[i], from[i + m / 2]);
            }
        }
    }
    DW_UNROLL for (int i = 0; i < m; i++) {
        _mm_storeu_ps(p + 4 * i, _mm256_castps256_ps128(to[i]));
        _mm_storeu_ps(p + 4 * (m + i), _mm256_extractf128_ps(to[i], 1));
    }
}

DW_INLINE vec_indices vec_load_indices(const real *p) { return _mm256_loadu_si256((const __m256i *)p); }
DW_INLINE vec vec_permute(vec x, vec_indices indices) { return _mm256_permutevar8x32_ps(x, indices); }

/* Numbers of 16 bits in memory, see vec_portable.h. The first n of 8, ... */
DW_INLINE __m128i DW_NAME(dw_load_halves)(const uint16_t *p, int n) {
    if (n >= LANES) return _mm_loadu_si128((const __m128i *)p);
    const int rest = n & 3;
    const uint16_t *last = p + (n & 4);
    uint64_t lanes = 0;
    for (int i = 0; i < rest; i++) lanes |= (uint64_t)last[i] << 16 * i;
    const __m128i v = _mm_cvtsi64_si128((int64_t)lanes);
    return n & 4 ? _mm_unpacklo_epi64(_mm_loadl_epi64((const __m128i *)p), v) : v;
}

#if DW_K_MASKS
DW_INLINE __m128i DW_NAME(dw_masked_halves)(const uint16_t *p, vec_mask mask) { return _mm_maskz_loadu_epi16(mask, p); }
#else
DW_INLINE __m128i DW_NAME(dw_masked_halves)(const uint16_t *p, vec_mask mask) {
    const int lanes = _mm256_movemask_ps(_mm256_castsi256_ps(mask));
    uint16_t halves[LANES] = {0};
    for (int i = 0; i < LANES; i++)
        if (lanes >> i & 1) halves[i] = p[i];
    return _mm_loadu_si128((const __m128i *)halves);
}
#endif

/* ... which are stored in pieces, too. */
DW_INLINE void DW_NAME(dw_store_halves)(uint16_t *p, __m128i v, int n) {
    if (n >= LANES) {
        _mm_storeu_si128((__m128i *)p, v);
        return;
    }
    if (n & 4) {
        _mm_storel_epi64((__m128i *)p, v);
        v = _mm_unpackhi_epi64(v, v);
        p += 4;
    }
    uint64_t lanes = (uint64_t)_mm_cvtsi128_si64(v);
    for (int i = 0; i < (n & 3); i++, lanes >>= 16) p[i] = (uint16_t)lanes;
}

DW_INLINE __m128i DW_NAME(dw_round_f16)(vec v) { return _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT); }
DW_INLINE vec vec_load_f16(const uint16_t *p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)); }
DW_INLINE vec vec_load_f16_n(const uint16_t *p, int n) { return _mm256_cvtph_ps(DW_NAME(dw_load_halves)(p, n)); }
DW_INLINE vec vec_masked_load_f16(const uint16_t *p, vec_mask mask) {
    return _mm256_cvtph_ps(DW_NAME(dw_masked_halves)(p, mask));
}
DW_INLINE void vec_store_f16(uint16_t *p, vec v) { _mm_storeu_si128((__m128i *)p, DW_NAME(dw_round_f16)(v)); }
DW_INLINE void vec_store_f16_n(uint16_t *p, vec v, int n) { DW_NAME(dw_store_halves)(p, DW_NAME(dw_round_f16)(v), n); }

/* To the upper half of each lane, from both halves of a vector at once: VPSHUFB takes no port that multiplies. */
DW_INLINE vec DW_NAME(dw_widen_bf16)(__m128i halves) {
    const __m256i places = _mm256_setr_epi8(-1, -1, 0, 1, -1, -1, 2, 3, -1, -1, 4, 5, -1, -1, 6, 7, /**/
                                            -1, -1, 8, 9, -1, -1, 10, 11, -1, -1, 12, 13, -1, -1, 14, 15);
    return _mm256_castsi256_ps(_mm256_shuffle_epi8(_mm256_broadcastsi128_si256(halves), places));
}
DW_INLINE __m128i DW_NAME(dw_round_bf16)(vec v) {
    const __m256i uppers = _mm256_setr_epi8(2, 3, 6, 7, 10, 11, 14, 15, -1, -1, -1, -1, -1, -1, -1, -1, /**/
                                            2, 3, 6, 7, 10, 11, 14, 15, -1, -1, -1, -1, -1, -1, -1, -1);
    const __m256i bits = _mm256_castps_si256(v);
    const __m256i last = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(last, _mm256_set1_epi32(0x7fff)));
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q)); /* all ones: a NaN, too */
    const __m256i halves = _mm256_shuffle_epi8(_mm256_or_si256(rounded, nan), uppers);
    return _mm256_castsi256_si128(_mm256_permute4x64_epi64(halves, 0x08));
}
DW_INLINE vec vec_load_bf16(const uint16_t *p) { return DW_NAME(dw_widen_bf16)(_mm_loadu_si128((const __m128i *)p)); }
DW_INLINE vec vec_load_bf16_n(const uint16_t *p, int n) {
    return DW_NAME(dw_widen_bf16)(DW_NAME(dw_load_halves)(p, n));
}
DW_INLINE vec vec_masked_load_bf16(const uint16_t *p, vec_mask mask) {
    return DW_NAME(dw_widen_bf16)(DW_NAME(dw_masked_halves)(p, mask));
}
DW_INLINE void vec_store_bf16(uint16_t *p, vec v) { _mm_storeu_si128((__m128i *)p, DW_NAME(dw_round_bf16)(v)); }
DW_INLINE void vec_store_bf16_n(uint16_t *p, vec v, int n) {
    DW_NAME(dw_store_halves)(p, DW_NAME(dw_round_bf16)(v), n);
}

#else

typedef double real;
typedef __m256d vec;
typedef __m256i vec_indices; /* pairs of 32-bit lanes: AVX2 has no permutation of 64-bit lanes by a variable */
enum { LANES = 4 };

DW_INLINE vec vec_set1(real x) { return _mm256_set1_pd(x); }
DW_INLINE vec vec_load(const real *p) { return _mm256_loadu_pd(p); }
DW_INLINE void vec_store(real *p, vec v) { _mm256_storeu_pd(p, v); }
DW_INLINE vec vec_fma(vec a, vec b, vec c) { return _mm256_fmadd_pd(a, b, c); }

#if DW_K_MASKS
DW_INLINE vec vec_load_n(const real *p, int n) { return _mm256_maskz_loadu_pd((__mmask8)((1u << n) - 1), p); }

DW_INLINE void vec_store_n(real *p, vec v, int n) { _mm256_mask_storeu_pd(p, (__mmask8)((1u << n) - 1), v); }
#else
DW_INLINE vec vec_load_n(const real *p, int n) {
    return _mm256_maskload_pd(p, _mm256_loadu_si256((const __m256i *)(dw_avx2_masks + 8 - 2 * n)));
}

DW_INLINE void vec_store_n(real *p, vec v, int n) {
    if (n >= LANES) {
        vec_store(p, v);
        return;
    }
    __m128d piece = _mm256_castpd256_pd128(v);
    if (n & 2) {
        _mm_storeu_pd(p, piece);
        piece = _mm256_extractf128_pd(v, 1);
        p += 2;
    }
    if (n & 1) _mm_store_sd(p, piece);
}
#endif

#if DW_K_MASKS
typedef __mmask8 vec_mask;
DW_INLINE vec_mask vec_mask_range(int begin, int end) { return (vec_mask)(((1u << end) - 1) & ~((1u << begin) - 1)); }
DW_INLINE vec vec_masked_load(const real *p, vec_mask mask) { return _mm256_maskz_loadu_pd(mask, p); }
DW_INLINE vec vec_select(vec_mask mask, vec a, vec b) { return _mm256_mask_blend_pd(mask, b, a); }
#else
typedef __m256i vec_mask;
DW_INLINE vec_mask vec_mask_range(int begin, int end) {
    return _mm256_andnot_si256(_mm256_loadu_si256((const __m256i *)(dw_avx2_masks + 8 - 2 * begin)),
                               _mm256_loadu_si256((const __m256i *)(dw_avx2_masks + 8 - 2 * end)));
}
DW_INLINE vec vec_masked_load(const real *p, vec_mask mask) { return _mm256_maskload_pd(p, mask); }
DW_INLINE vec vec_select(vec_mask mask, vec a, vec b) { return _mm256_blendv_pd(b, a, _mm256_castsi256_pd(mask)); }
#endif

#if DW_K_MASKS
DW_INLINE void vec_deinterleave2(vec a, vec b, vec *even, vec *odd) {
    DW_IN_REGISTERS(a, b);
    const __m256i evens = _mm256_set_epi64x(6, 4, 2, 0);
    *even = _mm256_permutex2var_pd(a, evens, b);
    *odd = _mm256_permutex2var_pd(a, _mm256_add_epi64(evens, _mm256_set1_epi64x(1)), b);
}

DW_INLINE void vec_load_deinterleave2(const real *p, vec *even, vec *odd) {
    vec_deinterleave2(vec_load(p), vec_load(p + LANES), even, odd);
}

DW_INLINE void vec_masked_load_deinterleave2(const real *p, vec_mask low, vec_mask high, vec *even, vec *odd) {
    vec_deinterleave2(vec_masked_load(p, low), vec_masked_load(p + LANES, high), even, odd);
}
#else
/* Of each half of the elements the first and the second half, so that no lane has to change its half. */
DW_INLINE void vec_deinterleave2(vec front, vec back, vec *even, vec *odd) {
    *even = _mm256_unpacklo_pd(front, back);
    *odd = _mm256_unpackhi_pd(front, back);
}

DW_INLINE void vec_load_deinterleave2(const real *p, vec *even, vec *odd) {
    vec_deinterleave2(_mm256_loadu2_m128d(p + 4, p), _mm256_loadu2_m128d(p + 6, p + 2), even, odd);
}

DW_INLINE void vec_masked_load_deinterleave2(const real *p, vec_mask low, vec_mask high, vec *even, vec *odd) {
    const vec a = vec_masked_load(p, low), b = vec_masked_load(p + LANES, high);
    vec_deinterleave2(_mm256_permute2f128_pd(a, b, 0x20), _mm256_permute2f128_pd(a, b, 0x31), even, odd);
}
#endif

DW_INLINE vec vec_slide_in(vec v, real next) {
    return _mm256_blend_pd(_mm256_permute4x64_pd(v, 0x39), vec_set1(next), 8);
}

DW_INLINE vec vec_clamp(vec x, vec low, vec high) { return _mm256_min_pd(high, _mm256_max_pd(low, x)); }

DW_INLINE vec vec_add(vec a, vec b) { return _mm256_add_pd(a, b); }
DW_INLINE vec vec_sub(vec a, vec b) { return _mm256_sub_pd(a, b); }
DW_INLINE vec vec_mul(vec a, vec b) { return _mm256_mul_pd(a, b); }
DW_INLINE vec vec_div(vec a, vec b) { return _mm256_div_pd(a, b); }
DW_INLINE vec vec_fnma(vec a, vec b, vec c) { return _mm256_fnmadd_pd(a, b, c); }
DW_INLINE vec vec_max(vec x, vec low) { return _mm256_max_pd(low, x); }
DW_INLINE vec vec_abs(vec x) { return _mm256_andnot_pd(vec_set1((real)-0.0), x); }

DW_INLINE vec vec_copysign(vec x, vec sign) {
    return _mm256_or_pd(vec_abs(x), _mm256_and_pd(vec_set1((real)-0.0), sign));
}

DW_INLINE vec vec_select_lt(vec a, vec b, vec yes, vec no) {
    return _mm256_blendv_pd(no, yes, _mm256_cmp_pd(a, b, _CMP_LT_OQ));
}

/* n + 1.5 * 2**52 + 1023 has n + 1023 in its last bits; the shift makes it the exponent. */
DW_INLINE vec vec_exp2_int(vec n) {
    const vec biased = vec_add(n, vec_set1((real)(0x1.8p52 + 1023)));
    return _mm256_castsi256_pd(_mm256_slli_epi64(_mm256_castpd_si256(biased), 52));
}

/* In two steps, the first of which is exact. */
DW_INLINE vec vec_scale(vec x, vec n) {
    const vec first = vec_max(n, vec_set1(-512));
    return vec_mul(vec_mul(x, vec_exp2_int(first)), vec_exp2_int(vec_sub(n, first)));
}

/* In halves of two lanes, which need not change their places: 16 bytes at a time. */
DW_INLINE void vec_store_interleaved(real *p, const vec *v, const int m) {
    vec from[8], to[8];
    DW_UNROLL for (int i = 0; i < m; i++) to[i] = v[i];
    if (m == 3) {
        to[0] = _mm256_unpacklo_pd(v[0], v[1]);
        to[1] = _mm256_shuffle_pd(v[2], v[0], 10);
        to[2] = _mm256_unpackhi_pd(v[1], v[2]);
    } else {
        DW_UNROLL for (int step = 1; step < m; step *= 2) {
            DW_UNROLL for (int i = 0; i < m; i++) from[i] = to[i];
            DW_UNROLL for (int i = 0; i < m / 2; i++) {
                to[2 * i] = _mm256_unpacklo_pd(from[i], from[i + m / 2]);
                to[2 * i + 1] = _mm256_unpackhi_pd(from[i], from[i + m / 2]);
            }
        }
    }
    DW_UNROLL for (int i = 0; i < m; i++) {
        _mm_storeu_pd(p + 2 * i, _mm256_castpd256_pd128(to[i]));
        _mm_storeu_pd(p + 2 * (m + i), _mm256_extractf128_pd(to[i], 1));
    }
}

/* 64-bit lane i -> 32-bit lanes 2i and 2i + 1. */
DW_INLINE vec_indices vec_load_indices(const real *p) {
    __m256i twice = _mm256_slli_epi64(_mm256_loadu_si256((const __m256i *)p), 1);
    return _mm256_or_si256(twice, _mm256_slli_epi64(_mm256_add_epi64(twice, _mm256_set1_epi64x(1)), 32));
}

DW_INLINE vec vec_permute(vec x, vec_indices indices) {
    return _mm256_castps_pd(_mm256_permutevar8x32_ps(_mm256_castpd_ps(x), indices));
}

#endif
