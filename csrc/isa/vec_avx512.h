/* vec_avx512.h - AVX-512 F/VL/BW/DQ: 16 floats or integers, or 8 doubles. The meaning of
 * each word: vec_portable.h. */
#include <immintrin.h>
#include <stdint.h>

#include "names.h"

#if DW_INTEGER

typedef int32_t real;
typedef __m512i vec;
typedef __m512i vec_map;
enum { LANES = 16 };

DW_INLINE vec vec_set1(real x) { return _mm512_set1_epi32(x); }
DW_INLINE vec vec_load(const real *p) { return _mm512_loadu_si512(p); }
DW_INLINE void vec_store(real *p, vec v) { _mm512_storeu_si512(p, v); }
DW_INLINE vec vec_fma(vec a, vec b, vec c) { return _mm512_add_epi32(_mm512_mullo_epi32(a, b), c); }

DW_INLINE vec vec_load_part(const real *p, int n) {
    return _mm512_maskz_loadu_epi32((__mmask16)((1u << n) - 1), p);
}

DW_INLINE void vec_store_part(real *p, vec v, int n) {
    _mm512_mask_storeu_epi32(p, (__mmask16)((1u << n) - 1), v);
}

DW_INLINE vec vec_clamp(vec x, vec low, vec high) {
    return _mm512_min_epi32(high, _mm512_max_epi32(low, x));
}

DW_INLINE vec_map vec_map_load(const real *p) { return _mm512_loadu_si512(p); }
DW_INLINE vec vec_spread(vec x, vec_map map) { return _mm512_permutexvar_epi32(map, x); }

#elif DW_BITS == 32

typedef float real;
typedef __m512 vec;
typedef __m512i vec_map;
enum { LANES = 16 };

DW_INLINE vec vec_set1(real x) { return _mm512_set1_ps(x); }
DW_INLINE vec vec_load(const real *p) { return _mm512_loadu_ps(p); }
DW_INLINE void vec_store(real *p, vec v) { _mm512_storeu_ps(p, v); }
DW_INLINE vec vec_fma(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }

DW_INLINE vec vec_load_part(const real *p, int n) {
    return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
}

DW_INLINE void vec_store_part(real *p, vec v, int n) {
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), v);
}

/* The second operand is what max and min return for NaN and for equal zeros. */
DW_INLINE vec vec_clamp(vec x, vec low, vec high) {
    return _mm512_min_ps(high, _mm512_max_ps(low, x));
}

DW_INLINE vec vec_add(vec a, vec b) { return _mm512_add_ps(a, b); }

DW_INLINE vec_map vec_map_load(const real *p) { return _mm512_loadu_si512(p); }
DW_INLINE vec vec_spread(vec x, vec_map map) { return _mm512_permutexvar_ps(map, x); }

#else

typedef double real;
typedef __m512d vec;
typedef __m512i vec_map;
enum { LANES = 8 };

DW_INLINE vec vec_set1(real x) { return _mm512_set1_pd(x); }
DW_INLINE vec vec_load(const real *p) { return _mm512_loadu_pd(p); }
DW_INLINE void vec_store(real *p, vec v) { _mm512_storeu_pd(p, v); }
DW_INLINE vec vec_fma(vec a, vec b, vec c) { return _mm512_fmadd_pd(a, b, c); }

DW_INLINE vec vec_load_part(const real *p, int n) {
    return _mm512_maskz_loadu_pd((__mmask8)((1u << n) - 1), p);
}

DW_INLINE void vec_store_part(real *p, vec v, int n) {
    _mm512_mask_storeu_pd(p, (__mmask8)((1u << n) - 1), v);
}

DW_INLINE vec vec_clamp(vec x, vec low, vec high) {
    return _mm512_min_pd(high, _mm512_max_pd(low, x));
}

DW_INLINE vec vec_add(vec a, vec b) { return _mm512_add_pd(a, b); }

DW_INLINE vec_map vec_map_load(const real *p) { return _mm512_loadu_si512(p); }
DW_INLINE vec vec_spread(vec x, vec_map map) { return _mm512_permutexvar_pd(map, x); }

#endif
