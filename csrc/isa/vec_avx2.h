/* vec_avx2.h - AVX2 and FMA: 8 floats or integers, or 4 doubles. The meaning of each word: vec_portable.h. */
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
typedef __m256i vec_map;
enum { LANES = 8 };

DW_INLINE vec vec_set1(real x) { return _mm256_set1_epi32(x); }
DW_INLINE vec vec_load(const real *p) { return _mm256_loadu_si256((const __m256i *)p); }
DW_INLINE void vec_store(real *p, vec v) { _mm256_storeu_si256((__m256i *)p, v); }
DW_INLINE vec vec_fma(vec a, vec b, vec c) { return _mm256_add_epi32(_mm256_mullo_epi32(a, b), c); }

DW_INLINE vec vec_load_part(const real *p, int n) {
    return _mm256_maskload_epi32(p, _mm256_loadu_si256((const __m256i *)(dw_avx2_masks + 8 - n)));
}

/* In pieces of 4, 2 and 1: a masked store takes 42 micro-operations on Zen 3. */
DW_INLINE void vec_store_part(real *p, vec v, int n) {
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

DW_INLINE vec vec_clamp(vec x, vec low, vec high) {
    return _mm256_min_epi32(high, _mm256_max_epi32(low, x));
}

DW_INLINE vec_map vec_map_load(const real *p) { return _mm256_loadu_si256((const __m256i *)p); }
DW_INLINE vec vec_spread(vec x, vec_map map) { return _mm256_permutevar8x32_epi32(x, map); }

#elif DW_BITS == 32

typedef float real;
typedef __m256 vec;
typedef __m256i vec_map;
enum { LANES = 8 };

DW_INLINE vec vec_set1(real x) { return _mm256_set1_ps(x); }
DW_INLINE vec vec_load(const real *p) { return _mm256_loadu_ps(p); }
DW_INLINE void vec_store(real *p, vec v) { _mm256_storeu_ps(p, v); }
DW_INLINE vec vec_fma(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }

DW_INLINE vec vec_load_part(const real *p, int n) {
    return _mm256_maskload_ps(p, _mm256_loadu_si256((const __m256i *)(dw_avx2_masks + 8 - n)));
}

/* In pieces of 4, 2 and 1: a masked store takes 42 micro-operations on Zen 3. */
DW_INLINE void vec_store_part(real *p, vec v, int n) {
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

/* The second operand is what max and min return for NaN and for equal zeros. */
DW_INLINE vec vec_clamp(vec x, vec low, vec high) {
    return _mm256_min_ps(high, _mm256_max_ps(low, x));
}

DW_INLINE vec vec_add(vec a, vec b) { return _mm256_add_ps(a, b); }

DW_INLINE vec_map vec_map_load(const real *p) { return _mm256_loadu_si256((const __m256i *)p); }
DW_INLINE vec vec_spread(vec x, vec_map map) { return _mm256_permutevar8x32_ps(x, map); }

#else

typedef double real;
typedef __m256d vec;
typedef __m256i vec_map; /* pairs of 32-bit lanes: AVX2 has no permutation of 64-bit lanes by a variable */
enum { LANES = 4 };

DW_INLINE vec vec_set1(real x) { return _mm256_set1_pd(x); }
DW_INLINE vec vec_load(const real *p) { return _mm256_loadu_pd(p); }
DW_INLINE void vec_store(real *p, vec v) { _mm256_storeu_pd(p, v); }
DW_INLINE vec vec_fma(vec a, vec b, vec c) { return _mm256_fmadd_pd(a, b, c); }

DW_INLINE vec vec_load_part(const real *p, int n) {
    return _mm256_maskload_pd(p, _mm256_loadu_si256((const __m256i *)(dw_avx2_masks + 8 - 2 * n)));
}

DW_INLINE void vec_store_part(real *p, vec v, int n) {
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

DW_INLINE vec vec_clamp(vec x, vec low, vec high) {
    return _mm256_min_pd(high, _mm256_max_pd(low, x));
}

DW_INLINE vec vec_add(vec a, vec b) { return _mm256_add_pd(a, b); }

/* 64-bit lane i -> 32-bit lanes 2i and 2i + 1. */
DW_INLINE vec_map vec_map_load(const real *p) {
    __m256i twice = _mm256_slli_epi64(_mm256_loadu_si256((const __m256i *)p), 1);
    return _mm256_or_si256(twice, _mm256_slli_epi64(_mm256_add_epi64(twice, _mm256_set1_epi64x(1)), 32));
}

DW_INLINE vec vec_spread(vec x, vec_map map) {
    return _mm256_castps_pd(_mm256_permutevar8x32_ps(_mm256_castpd_ps(x), map));
}

#endif
