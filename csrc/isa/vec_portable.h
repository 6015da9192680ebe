/* vec_portable.h - the vector vocabulary in plain C: what every other vec_*.h must do, to the bit.
 *
 * Included once per dtype, see names.h. The words below are all that kernels.inc may use; none reads or
 * writes a byte beyond the lanes it names. */
#include <math.h>
#include <stdint.h>

#include "names.h"

/* Four lanes, so that the tails, overlaps and maps of the other instruction sets exist here, too. */
#if DW_INTEGER
typedef int32_t real;
/* Unsigned, which wraps; signed overflow would be undefined. */
#define DW_PORTABLE_FMA(a, b, c) (int32_t)((uint32_t)(a) * (uint32_t)(b) + (uint32_t)(c))
#elif DW_BITS == 32
typedef float real;
#define DW_PORTABLE_FMA(a, b, c) fmaf(a, b, c)
#else
typedef double real;
#define DW_PORTABLE_FMA(a, b, c) fma(a, b, c)
#endif
enum { LANES = 4 };

typedef struct {
    real lane[LANES];
} vec;

/* A map names for each lane of a result the lane of its source. */
typedef struct {
    int lane[LANES];
} vec_map;

DW_INLINE vec vec_set1(real x) {
    vec v;
    for (int i = 0; i < LANES; i++) v.lane[i] = x;
    return v;
}

DW_INLINE vec vec_load(const real *p) {
    vec v;
    for (int i = 0; i < LANES; i++) v.lane[i] = p[i];
    return v;
}

DW_INLINE void vec_store(real *p, vec v) {
    for (int i = 0; i < LANES; i++) p[i] = v.lane[i];
}

/* The first n lanes, 0 <= n <= LANES; the others are zero. */
DW_INLINE vec vec_load_part(const real *p, int n) {
    vec v = vec_set1(0);
    for (int i = 0; i < n; i++) v.lane[i] = p[i];
    return v;
}

/* The first n lanes, 0 <= n <= LANES. */
DW_INLINE void vec_store_part(real *p, vec v, int n) {
    for (int i = 0; i < n; i++) p[i] = v.lane[i];
}

/* a * b + c: floats rounded once, integers modulo 2**32. */
DW_INLINE vec vec_fma(vec a, vec b, vec c) {
    for (int i = 0; i < LANES; i++) c.lane[i] = DW_PORTABLE_FMA(a.lane[i], b.lane[i], c.lane[i]);
    return c;
}

/* x < low ? low : x, then > high ? high: NaN stays NaN and -0 stays -0 where low is 0. */
DW_INLINE vec vec_clamp(vec x, vec low, vec high) {
    for (int i = 0; i < LANES; i++) {
        real y = x.lane[i] < low.lane[i] ? low.lane[i] : x.lane[i];
        x.lane[i] = y > high.lane[i] ? high.lane[i] : y;
    }
    return x;
}

#if !DW_INTEGER
/* Rounded once. */
DW_INLINE vec vec_add(vec a, vec b) {
    for (int i = 0; i < LANES; i++) a.lane[i] += b.lane[i];
    return a;
}
#endif

/* A map is stored as LANES integers as wide as `real`, each in [0, LANES). */
DW_INLINE vec_map vec_map_load(const real *p) {
    vec_map map;
    for (int i = 0; i < LANES; i++) {
#if DW_BITS == 32
        map.lane[i] = (int)((const int32_t *)p)[i];
#else
        map.lane[i] = (int)((const int64_t *)p)[i];
#endif
    }
    return map;
}

/* Lane i of the result is lane map[i] of x. */
DW_INLINE vec vec_spread(vec x, vec_map map) {
    vec v;
    for (int i = 0; i < LANES; i++) v.lane[i] = x.lane[map.lane[i]];
    return v;
}

#undef DW_PORTABLE_FMA
