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
    const void *dy;       /* column 0 of the first output row that the row of x leads to, ... */
    ptrdiff_t dy_row;     /* ... elements from there to the next such row, ... */
    int64_t rows;         /* ... and how many there are */
    int64_t ki, ki_step;  /* kernel row of the first; each next one is ki_step before it */
    void *dx;             /* column 0 */
    ptrdiff_t col_size;   /* elements of a column, of dy and dx */
    int64_t width, out_w; /* columns of dx and dy */
    int64_t kernel_h, kernel_w;
    const dw_block *blocks; /* y and y_count: channels of dy and dx alike */
    int64_t block, block_end;
    const void *weights;      /* [block][taps][lanes] */
    int64_t begin, end;       /* general: columns of dx; tile: cells, see dw_grad_tile */
    int64_t pad;              /* tile: on the left */
    const dw_reach *columns;  /* general: [width], ... */
    int64_t out_step, k_step; /* ... and its steps */
} dw_grad_row;

/* One row of x of the channel blocks [block, block_end), a vector for each output vector that it meets:
 * the channels repeated for M > 1, zeros where there are no more. */
typedef struct dw_grad_copy {
    const void *x;   /* column 0 of the row */
    ptrdiff_t x_col; /* elements of a column */
    int64_t width;
    const dw_block *blocks;
    int64_t block, block_end;
    const void *maps;   /* M > 1: [block][lanes], the input lane of each output lane */
    void *to;           /* [column][lanes] of the first block */
    ptrdiff_t to_block; /* elements from there to those of the next */
    ptrdiff_t ahead;    /* elements to what will be copied later and is to be prefetched */
} dw_grad_copy;

/* Sums of a band of rows of dy with one to `kr` kernel rows, added to `sums`. */
typedef struct dw_grad_taps {
    const void *dy;           /* column 0 of the first row */
    ptrdiff_t dy_row, dy_col; /* elements from a row and a column to the next */
    int64_t band;             /* rows */
    const void *const *rows;  /* [band][kr]: what dw_grad_copy made of each kernel row's row of x, first block;
                                   NULL in the padding */
    ptrdiff_t x_block;        /* elements from there to the next block's */
    int64_t width, out_w;
    int64_t stride, dilation, pad; /* in width; the pad on the left */
    int64_t kj;                    /* general: the first of the taps */
    int with_bias;                 /* sum dy itself, too */
    ptrdiff_t ahead;               /* then: elements to what is to be prefetched */
    const dw_block *blocks;
    int64_t block, block_end;
    void *sums;        /* [block][bias, taps][lanes] */
    int64_t tap, taps; /* number of the first tap, in rows of kernel_w; of all taps */
    int64_t kernel_w;
} dw_grad_taps;

typedef void dw_grad_row_fn(const dw_grad_row *);
typedef void dw_grad_copy_fn(const dw_grad_copy *);
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
    dw_grad_taps_fn *taps;
} dw_grad_window;

enum { DW_GRAD_MOST_TAPS = 4, DW_GRAD_MOST_ROWS = 3, DW_GRAD_BAND = 64 };

typedef struct dw_grad_kernels {
    int lanes;
    int chunk; /* most blocks that are gone through before the next row */
    const char *general_name;
    dw_grad_row_fn *row; /* any size */
    dw_grad_copy_fn *copy;
    dw_grad_taps_fn *taps[DW_GRAD_MOST_TAPS]; /* [n - 1]: n taps of one kernel row, any size */
    const dw_grad_tile *tiles;                /* end with a NULL name */
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
    X(3, 1, 3, 7)                       \
    X(3, 2, 3, 7)                       \
    X(5, 1, 3, 7)                       \
    X(5, 2, 3, 7)                       \
    X(7, 1, 3, 4)                       \
    X(7, 2, 3, 4)

/* One of each per instruction set in this build and float dtype; NULL where it is not part of it. */
const dw_grad_kernels *dw_grad_kernels_of(dw_isa isa, dw_dtype dtype);

/* ---- the gradient of one wish ---------------------------------------------------------------------- */

/* What both parts need: a checked wish, its sizes, the kernels to use for its channels. */
typedef struct dw_grad_base {
    dw_desc desc;
    dw_isa isa;
    const dw_grad_kernels *kernels;
    int64_t out_h, out_w, out_channels, item;
    dw_block *blocks; /* of output channels */
    int64_t block_count;
} dw_grad_base;

/* grad_input.c */
typedef struct dw_grad_input {
    dw_plan *plan;            /* not NULL: makes one image */
    const dw_grad_tile *tile; /* NULL: the general kernel makes the rows */
    int64_t workspace;
    void *weights, *weights_memory; /* [block][taps][lanes] */
    dw_reach *rows, *columns;       /* of the rows and columns of x */
    int64_t row_out_step, row_k_step, column_out_step, column_k_step;
    int64_t cells;            /* all cells are [0, cells); ... */
    int64_t inner, inner_end; /* ... these lead to outputs only and lie in dx */
} dw_grad_input;

/* kernel (kh, kw, C, M) is packed. What a failure leaves is for dw_grad_input_free. */
dw_status dw_grad_input_init(dw_grad_input *input, const dw_grad_base *base, const void *kernel);
void dw_grad_input_free(dw_grad_input *input);
/* One image: dy (OH, OW, OC) -> dx (H, W, C). The workspace is aligned to 64 bytes. */
void dw_grad_input_image(const dw_grad_input *input, const dw_grad_base *base, const void *dy, void *dx,
                         void *workspace);

/* grad_weights.c */
typedef struct dw_grad_weights {
    const dw_grad_window *window; /* NULL: the general kernels */
    int64_t band;                 /* rows of dy whose sums stay in registers */
    int64_t chunk;                /* blocks that are gone through before the next band */
    int64_t slots;                /* rows of x that are held at a time: row h in slot h % slots */
    int64_t sums_bytes;           /* of the sums of one block */
    int64_t ring_bytes;           /* of the rows of x of one block */
    int64_t dy_bytes;             /* of the rows of dy of a band, if they fill no vector and so are copied, else 0 */
    int64_t workspace;
    void *maps; /* M > 1: [block][lanes]: the input lane of each output lane, integers as wide as an element */
} dw_grad_weights;

dw_status dw_grad_weights_init(dw_grad_weights *weights, const dw_grad_base *base);
void dw_grad_weights_free(dw_grad_weights *weights);
/* begin, then image by image, then end; the workspace is aligned to 64 bytes and keeps the sums. */
void dw_grad_weights_begin(const dw_grad_weights *weights, const dw_grad_base *base, void *workspace);
void dw_grad_weights_image(const dw_grad_weights *weights, const dw_grad_base *base, const void *dy, const void *x,
                           void *workspace);
void dw_grad_weights_end(const dw_grad_weights *weights, const dw_grad_base *base, void *dkernel, void *dbias,
                         const void *workspace);

struct dw_grad {
    dw_grad_base base;
    int has_input;
    dw_grad_input input;
    dw_grad_weights weights;
    int64_t workspace; /* with room to align it */
};

#endif
