/* sizes.h - arithmetic on counts, ranges and addresses that every part of the core shares. */
#ifndef DW_SIZES_H
#define DW_SIZES_H

#include <stdint.h>
#include <stdlib.h>

static inline int64_t dw_min(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t dw_max(int64_t a, int64_t b) { return a > b ? a : b; }

/* a / b rounded up, for a >= 1 and b >= 1; no sum that could overflow. */
static inline int64_t dw_div_up(int64_t a, int64_t b) { return (a - 1) / b + 1; }

static inline int64_t dw_gcd(int64_t a, int64_t b) { return b ? dw_gcd(b, a % b) : a; }

/* ---- ranges ---------------------------------------------------------------------------------------- */

/* [begin, end) */
typedef struct dw_range {
    int64_t begin, end;
} dw_range;

/* The range of part `part` when [0, count) is divided into `parts` parts of nearly the same length. */
static inline dw_range dw_range_of(int64_t count, int part, int parts) {
    const int64_t each = count / parts, rest = count % parts; /* no product that could overflow */
    return (dw_range){each * part + rest * part / parts, each * (part + 1) + rest * (part + 1) / parts};
}

/* The longest part divided by the mean part: 1 if all parts have the same length. */
static inline double dw_imbalance(int64_t count, int parts) {
    return count > 0 ? (double)dw_div_up(count, parts) * (double)parts / (double)count : 1;
}

/* ---- memory ---------------------------------------------------------------------------------------- */

/* Packed weights and workspaces begin at a cache line, so that no vector of them crosses one. */
enum { DW_ALIGNMENT = 64 };

static inline int64_t dw_align_up(int64_t bytes) { return (bytes + DW_ALIGNMENT - 1) / DW_ALIGNMENT * DW_ALIGNMENT; }

static inline void *dw_align(void *memory) {
    return (void *)(((uintptr_t)memory + DW_ALIGNMENT - 1) & ~(uintptr_t)(DW_ALIGNMENT - 1));
}

/* Zeroed, aligned memory; NULL if there is none. *memory is what free() takes. */
static inline void *dw_calloc_aligned(int64_t bytes, void **memory) {
    *memory = bytes <= PTRDIFF_MAX - DW_ALIGNMENT ? calloc(1, (size_t)bytes + DW_ALIGNMENT) : NULL;
    return *memory ? dw_align(*memory) : NULL;
}

#endif
