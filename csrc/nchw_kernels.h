/* nchw_kernels.h - channels first: the waist between nchw.c, which knows no vector, and nchw_kernels.inc, which knows
 * no plan. A plane is the (H, W) of one channel of one image; the lanes of a vector are columns of a row. */
#ifndef DW_NCHW_KERNELS_H
#define DW_NCHW_KERNELS_H

#include <stdint.h>

/* Lanes [begin, end). */
typedef struct dw_lane_range {
    int32_t begin, end;
} dw_lane_range;

/* A vector of output columns. The last one of a row begins a vector before the end of the row and overlaps its
 * neighbour; a row of fewer columns than a vector has lanes is one vector of `count` lanes. */
typedef struct dw_colvec {
    int64_t col;
    int64_t run;   /* this one and the run - 1 after it are inner vectors side by side */
    int32_t count; /* columns, <= lanes */
    /* NULL: an inner vector, no tap of these lanes is in the padding. Else for each kj the lanes whose tap is in the
     * row (also those from `count` on, which are never stored); then, for a kernel of stride 2 and kj = 0, 2, ...,
     * kw - 1, which of the `lanes` elements from that tap on are in the row, and which of the next `lanes`. */
    const dw_lane_range *valid;
} dw_colvec;

/* Consecutive output planes of one image. All kernels take them; strides, dilations and paddings are the problem's. */
typedef struct dw_planes {
    const void *x; /* the input plane of the first output plane */
    void *y;
    const void *weights; /* [output plane][bias, taps] */
    int64_t planes;
    int64_t multiplier, m; /* output planes per input plane, and which of them the first is */
    int64_t height, width, out_h, out_w;
    int64_t stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left;
    const dw_colvec *columns;
    int64_t column_count;
    double clamp_min, clamp_max;
} dw_planes;

/* A kernel of compile-time size: `rows` output rows, dilation_h apart, of either one edge vector or several inner ones
 * side by side. */
typedef struct dw_bands {
    dw_planes planes;
    int64_t first_row, rows;
} dw_bands;

/* The general kernel: all rows and columns. */
typedef struct dw_general_planes {
    dw_planes planes;
    int64_t kernel_h, kernel_w;
} dw_general_planes;

typedef void dw_bands_fn(const dw_bands *);
typedef void dw_general_planes_fn(const dw_general_planes *);

/* A kernel with compile-time sizes, for stride = stride_h = stride_w, no dilation in width where that is 2, and
 * rows >= (kernel_h - 1) / stride. */
typedef struct dw_nchw_kernel {
    const char *name;
    int kernel_h, kernel_w, stride;
    dw_bands_fn *inner, *edge; /* columns whose `valid` is NULL; one whose is not */
} dw_nchw_kernel;

typedef struct dw_nchw_table {
    int lanes;
    const char *general_name;
    dw_general_planes_fn *general; /* any size, stride, dilation, padding, columns */
    const dw_nchw_kernel *kernels; /* ends with a NULL name */
} dw_nchw_table;

/* The list of compile-time sizes, for all instruction sets with vectors: X(kh, kw, stride). kw is odd where the stride
 * is 2. A new size: a line here. */
#define DW_NCHW_SIZES(X) \
    X(3, 3, 1)           \
    X(3, 3, 2)           \
    X(5, 5, 1)           \
    X(5, 5, 2)           \
    X(7, 7, 1)           \
    X(7, 7, 2)

/* "planar_k3x3s1_avx512" */
#define DW_NCHW_NAME(kh, kw, s) "planar_k" #kh "x" #kw "s" #s "_" DW_STRING(DW_ISA)

#endif
