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
DW_INLINE vec vec_sub(vec a, vec b) { return _mm512_sub_ps(a, b); }
DW_INLINE vec vec_mul(vec a, vec b) { return _mm512_mul_ps(a, b); }
DW_INLINE vec vec_div(vec a, vec b) { return _mm512_div_ps(a, b); }
DW_INLINE vec vec_fnma(vec a, vec b, vec c) { return _mm512_fnmadd_ps(a, b, c); }
DW_INLINE vec vec_max(vec x, vec low) { return _mm512_max_ps(low, x); }
DW_INLINE vec vec_abs(vec x) { return _mm512_andnot_ps(vec_set1((real)-0.0), x); }

DW_INLINE vec vec_copysign(vec x, vec sign) {
    return _mm512_or_ps(vec_abs(x), _mm512_and_ps(vec_set1((real)-0.0), sign));
}

DW_INLINE vec vec_select_less(vec a, vec b, vec yes, vec no) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), no, yes);
}

/* n + 1.5 * 2**23 + 127 has n + 127 in its last bits; the shift makes it the exponent. */
DW_INLINE vec vec_pow2(vec n) {
    const vec biased = vec_add(n, vec_set1((real)(0x1.8p23 + 127)));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(biased), 23));
}

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
DW_INLINE vec vec_sub(vec a, vec b) { return _mm512_sub_pd(a, b); }
DW_INLINE vec vec_mul(vec a, vec b) { return _mm512_mul_pd(a, b); }
DW_INLINE vec vec_div(vec a, vec b) { return _mm512_div_pd(a, b); }
DW_INLINE vec vec_fnma(vec a, vec b, vec c) { return _mm512_fnmadd_pd(a, b, c); }
DW_INLINE vec vec_max(vec x, vec low) { return _mm512_max_pd(low, x); }
DW_INLINE vec vec_abs(vec x) { return _mm512_andnot_pd(vec_set1((real)-0.0), x); }

DW_INLINE vec vec_copysign(vec x, vec sign) {
    return _mm512_or_pd(vec_abs(x), _mm512_and_pd(vec_set1((real)-0.0), sign));
}

DW_INLINE vec vec_select_less(vec a, vec b, vec yes, vec no) {
    return _mm512_mask_blend_pd(_mm512_cmp_pd_mask(a, b, _CMP_LT_OQ), no, yes);
}

/* n + 1.5 * 2**52 + 1023 has n + 1023 in its last bits; the shift makes it the exponent. */
DW_INLINE vec vec_pow2(vec n) {
    const vec biased = vec_add(n, vec_set1((real)(0x1.8p52 + 1023)));
    return _mm512_castsi512_pd(_mm512_slli_epi64(_mm512_castpd_si512(biased), 52));
}

DW_INLINE vec_map vec_map_load(const real *p) { return _mm512_loadu_si512(p); }
DW_INLINE vec vec_spread(vec x, vec_map map) { return _mm512_permutexvar_pd(map, x); }

#endif
