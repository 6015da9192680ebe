/* nchw_kernels.h - the waist of channels_first: between nchw.c, which knows no vector, and nchw_kernels.inc, which knows no
 * plan. A plane is the (H, W) of one channel of one image; the lanes of a vector are columns of a row. */
#ifndef DW_PLANAR_H
#define DW_PLANAR_H

#include "dwconv.h"

/* Lanes [begin, end). */
typedef struct dw_lane_range {
    int32_t begin, end;
} dw_lane_range;

/* The output columns of one vector. The last one of a row begins a vector before the end of the row, over columns
 * that its neighbour has, too; a row of fewer columns than a vector has lanes is one vector of `count` lanes. */
typedef struct dw_colvec {
    int64_t col;
    int64_t run;   /* this and so many - 1 after it are inner vectors side by side */
    int32_t count; /* columns, <= lanes */
    /* NULL: no tap of these lanes is in the padding. Else for each kj the lanes whose tap is in the row (also
     * those from `count` on, which are never stored); then, for a kernel of stride 2 and kj = 0, 2, ..., kw - 1,
     * which of the `lanes` elements from that tap on are in the row, and which of the next `lanes`. */
    const dw_lane_range *spans;
} dw_colvec;

/* One kernel call: one vector of columns, or several inner ones, of `planes` consecutive output planes of an image. */
typedef struct dw_planes {
    const void *x; /* the input plane of the first output plane */
    void *y;
    const void *weights; /* [output plane][bias, taps] */
    int64_t planes;
    int64_t multiplier, m; /* output planes per input plane, and which of them the first is */
    int64_t height, width, out_h, out_w;
    int64_t kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left;
    int64_t first, rows; /* compile-time sizes: output rows, dilation_h apart; the general kernel makes all */
    const dw_colvec *columns;
    int64_t column_count;
    double low, high; /* activation: clamp to [low, high] */
} dw_planes;

typedef void dw_planes_fn(const dw_planes *);

/* A kernel with compile-time sizes, for stride = stride_h = stride_w, no dilation in width where that is 2, and
 * rows >= (kernel_h - 1) / stride. `inner` takes columns without spans, `edge` one column with spans. */
typedef struct dw_planar_kernel {
    const char *name;
    int kernel_h, kernel_w, stride;
    dw_planes_fn *inner, *edge;
} dw_planar_kernel;

typedef struct dw_planar_table {
    int lanes;
    const char *general_name;
    dw_planes_fn *general;           /* any size, stride, dilation, padding, columns */
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
