/* activations.h - the arguments of an activation that is applied after the sums, not as a clamp of them. */
#ifndef DW_ACTIVATIONS_H
#define DW_ACTIVATIONS_H

#include <stddef.h>
#include <stdint.h>

/* In place: `count` elements at each of rows x cols positions, y_row and y_col elements apart. */
typedef struct dw_activate_args {
    void *y;
    int64_t rows, cols, count;
    ptrdiff_t y_row, y_col;
    double alpha;
} dw_activate_args;

typedef void dw_activate_fn(const dw_activate_args *);

/* dz = dy * f'(z) for `count` elements; dz may be z or dy. */
typedef struct dw_slope_args {
    const void *z, *dy;
    void *dz;
    int64_t count;
    double alpha;
} dw_slope_args;

typedef void dw_slope_fn(const dw_slope_args *);

#endif
