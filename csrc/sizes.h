/* sizes.h - arithmetic on counts. */
#ifndef DW_SIZES_H
#define DW_SIZES_H

#include <stdint.h>

static inline int64_t div_up(int64_t a, int64_t b) { return (a - 1) / b + 1; }

static inline int64_t gcd(int64_t a, int64_t b) { return b ? gcd(b, a % b) : a; }

static inline int64_t larger_of(int64_t a, int64_t b) { return a > b ? a : b; }

static inline double larger(double a, double b) { return a > b ? a : b; }

/* [begin, end) of some units of work. */
typedef struct dw_range {
    int64_t begin, end;
} dw_range;

/* The share of part `part` of `parts` in `count` units. */
static inline dw_range dw_range_of(int64_t count, int part, int parts) {
    const int64_t each = count / parts, rest = count % parts; /* no product that could overflow */
    return (dw_range){each * part + rest * part / parts, each * (part + 1) + rest * (part + 1) / parts};
}

/* How many times as long as the mean the longest of the parts is. */
static inline double dw_imbalance(int64_t count, int parts) {
    return count > 0 ? (double)((count - 1) / parts + 1) * (double)parts / (double)count : 1;
}

#endif
