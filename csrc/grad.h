/* grad.h - the waist of the gradients: the arguments of one kernel call, the table of one instruction set,
 * the lists of compile-time sizes. Internal; dwconv.h has the order in which each gradient is summed.
 *
 * Height never reaches a kernel but as row pointers: a call is for one row of the result or of dy. */
#ifndef DW_GRAD_H
#define DW_GRAD_H

#include "kernels.h"

/* The taps that lead from one position of x, along one dimension, to outputs: output `first` by kernel
 * element `k`, the next output `out_step` further by the one `k_step` before, `count` in all. */
typedef struct dw_reach {
    int64_t first, k, count;
} dw_reach;

/* One row of the input gradient, columns and channel blocks as named; M = 1. */
typedef struct dw_grad_row {
    const void *dy;             /* column 0 of the first output row that the row of x leads to, ... */
    ptrdiff_t dy_row;           /* ... elements from there to the next such row, ... */
    int64_t rows;               /* ... and how many there are */
    int64_t ki, ki_step;        /* kernel row of the first; each next one is ki_step before it */
    void *dx;                   /* column 0 */
    ptrdiff_t col_size;         /* elements of a column, of dy and dx */
    int64_t width, out_w;       /* columns of dx and dy */
    int64_t kernel_h, kernel_w;
    const dw_block *blocks;     /* y and y_count: channels of dy and dx alike */
    int64_t block, block_end;
    const void *weights;        /* [block][taps][lanes] */
    int64_t begin, end;         /* general: columns of dx; tile: cells, see dw_grad_tile */
    int64_t pad;                /* tile: on the left */
    const dw_reach *columns;    /* general: [width], ... */
    int64_t out_step, k_step;   /* ... and its steps */
} dw_grad_row;

/* Sums of one row of dy with one to `kr` kernel rows, added to `sums`. */
typedef struct dw_grad_taps {
    const void *dy;             /* column 0 of the row */
    const void *const *rows;    /* [kr]: column 0 of the row of x of each kernel row; NULL in the padding */
    ptrdiff_t dy_col, x_col;    /* elements of a column */
    int64_t width, out_w;
    int64_t stride, dilation, pad; /* in width; the pad on the left */
    int64_t inner, inner_end;   /* output columns [inner, inner_end) have no tap in the padding */
    int64_t kj;                 /* general: the first of the taps, which are as many as the kernel has columns */
    int with_bias;              /* sum dy itself, too */
    const dw_block *blocks;
    int64_t block, block_end;
    const void *maps;           /* M > 1: [block][lanes], the input lane of each output lane */
    void *sums;                 /* [block][bias, taps][lanes] */
    int64_t tap, taps;          /* number of the first tap, in rows of kernel_w; of all taps */
    int64_t kernel_w;
} dw_grad_taps;

typedef void dw_grad_row_fn(const dw_grad_row *);
typedef void dw_grad_taps_fn(const dw_grad_taps *);

/* The input gradient at a compile-time stride. Columns of dx that lead to outputs through the same kernel
 * columns lie a stride apart: `stride` columns in a row, beginning at cell * stride - pad, are a cell. */
typedef struct dw_grad_tile {
    const char *name;
    int kernel_w, stride, cells; /* cells of a tile */
    dw_grad_row_fn *inner;       /* whole tiles that lead to outputs only and lie in dx */
    dw_grad_row_fn *edge;        /* one tile that may not */
} dw_grad_tile;

/* The kernel gradient at a compile-time kernel width and stride, kr kernel rows at a time. */
typedef struct dw_grad_window {
    const char *name;
    int kernel_w, stride, kr;
    int spread; /* 0: for M = 1; 1: for M > 1 */
    dw_grad_taps_fn *taps;
} dw_grad_window;

enum { DW_GRAD_MOST_TAPS = 4, DW_GRAD_MOST_ROWS = 3 };

typedef struct dw_grad_kernels {
    int lanes;
    int chunk; /* blocks that are gone through before the next row */
    const char *general_name;
    dw_grad_row_fn *row;                       /* any size */
    dw_grad_taps_fn *taps[DW_GRAD_MOST_TAPS];  /* [n - 1]: n taps of one kernel row, any size */
    const dw_grad_tile *tiles;                 /* end with a NULL name */
    const dw_grad_window *windows;
    /* sums [pixel][channel][m] -> dx [pixel][channel]: m = 0 first */
    void (*add_multiplier)(const void *sums, int64_t count, int64_t multiplier, void *dx);
    /* total[i] += part[i]; count is a multiple of lanes */
    void (*add)(const void *part, int64_t count, void *total);
} dw_grad_kernels;

/* X(kernel_w, stride, cells). A tile's cells * stride sums, its cells + kernel_w / stride inputs and one
 * weight must fit the registers. Stride 1 is dw_plan's. */
#define DW_GRAD_TILES_16_REGISTERS(X) \
    X(3, 2, 4)                        \
    X(5, 2, 4)                        \
    X(7, 2, 4)
#define DW_GRAD_TILES_32_REGISTERS(X) \
    X(3, 2, 7)                        \
    X(5, 2, 8)                        \
    X(7, 2, 8)

/* X(kernel_w, stride, kr, outputs). kr * kernel_w sums, the bias' one, `outputs` of dy and one input must fit
 * the registers. */
#define DW_GRAD_WINDOWS_16_REGISTERS(X) \
    X(3, 1, 3, 4)                       \
    X(3, 2, 3, 4)                       \
    X(5, 1, 2, 4)                       \
    X(5, 2, 2, 4)                       \
    X(7, 1, 1, 4)                       \
    X(7, 2, 1, 4)
#define DW_GRAD_WINDOWS_32_REGISTERS(X) \
    X(3, 1, 3, 4)                       \
    X(3, 2, 3, 4)                       \
    X(5, 1, 3, 4)                       \
    X(5, 2, 3, 4)                       \
    X(7, 1, 3, 4)                       \
    X(7, 2, 3, 4)

/* One of each per instruction set in this build and float dtype; NULL where it is not part of it. */
const dw_grad_kernels *dw_grad_kernels_of(dw_isa isa, dw_dtype dtype);

/* What both gradients begin with (grad.c): a checked wish, its sizes, the kernels to use for its channels. */
typedef struct dw_grad_base {
    dw_desc desc;
    const dw_grad_kernels *kernels;
    int64_t out_h, out_w, out_channels, item;
    dw_block *blocks;
    int64_t block_count;
} dw_grad_base;

dw_status dw_grad_base_init(dw_grad_base *base, const dw_desc *desc, dw_isa isa, dw_isa *chosen);

/* bytes + 63, and the first address in such memory that is a multiple of 64. */
int dw_grad_aligned_bytes(int64_t item, const int64_t *sizes, int count, int64_t *bytes);
void *dw_grad_align(void *memory);

#endif
