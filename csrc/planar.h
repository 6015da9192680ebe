/* planar.h - the waist of channels_first: between planar.c, which knows no vector, and planar.inc, which knows no
 * plan. A plane is the (H, W) of one channel of one image; the lanes of a vector are columns of a row. */
#ifndef DW_PLANAR_H
#define DW_PLANAR_H

#include "dwconv.h"

/* Lanes [begin, end). */
typedef struct dw_span {
    int32_t begin, end;
} dw_span;

/* The output columns of one vector. The last one of a row begins a vector before the end of the row, over columns
 * that its neighbour has, too; a row of fewer columns than a vector has lanes is one vector of `count` lanes. */
typedef struct dw_column {
    int64_t col;
    int32_t count;
    /* NULL: no tap of these lanes is in the padding. Else for each kj the lanes whose tap is in the row (also
     * those from `count` on, which are never stored), then, at stride 2, for kj = 0, 2, ..., kw - 3 the elements,
     * of the 2 * lanes from there on, that are in the row. */
    const dw_span *spans;
} dw_column;

/* One kernel call: the output planes [plane, plane_end) of all images, (n * C + c) * M + m. */
typedef struct dw_planes {
    const void *x; /* (N, C, H, W) */
    void *y;       /* (N, C*M, OH, OW) */
    int64_t plane, plane_end;
    int64_t out_channels, multiplier;
    int64_t height, width, out_h, out_w;
    int64_t kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left;
    int64_t band;        /* output rows that are made column by column: their inputs should stay in L1 */
    const dw_column *columns;
    int64_t column_count;
    const void *weights; /* [output channel][bias, taps] */
    double low, high;    /* activation: clamp to [low, high] */
} dw_planes;

typedef void dw_planes_fn(const dw_planes *);

/* A kernel with compile-time sizes, for stride = stride_h = stride_w, no dilation in width where it is 2, and
 * out_h / dilation_h >= (kernel_h - 1) / stride. */
typedef struct dw_planar_kernel {
    const char *name;
    int kernel_h, kernel_w, stride;
    dw_planes_fn *run;
} dw_planar_kernel;

typedef struct dw_planar_table {
    int lanes;
    const char *general_name;
    dw_planes_fn *general;           /* any size, stride, dilation, padding */
    const dw_planar_kernel *kernels; /* ends with a NULL name */
} dw_planar_table;

/* The lists of compile-time sizes: X(kh, kw, stride). kw is odd where the stride is 2. New size: a line here. */
#define DW_PLANAR_SIZES(X) \
    X(3, 3, 1)             \
    X(3, 3, 2)             \
    X(5, 5, 1)             \
    X(5, 5, 2)             \
    X(7, 7, 1)             \
    X(7, 7, 2)
#define DW_PLANAR_NONE(X)

#endif
