/* grad_kernels.h - gradients: the waist between grad*.c, which know no vector, and grad_kernels.inc, which knows no
 * plan. It has the arguments of one kernel call, the table of one instruction set and dtype, and the lists of
 * compile-time sizes.
 *
 * Height never reaches a kernel except as row pointers. Kernels read rows that grad_copy.inc has copied: one vector for
 * each column of a block of channels. */
#ifndef DW_GRAD_KERNELS_H
#define DW_GRAD_KERNELS_H

#include "activations.h"
#include "blocks.h"

/* All (output, tap) pairs that read one input position, in one dimension: pair i is output `first + i * out_step`
 * through tap `k - i * k_step`, for i < count. The steps are the same for all positions. */
typedef struct dw_tap_range {
    int64_t first, k, count;
} dw_tap_range;

/* Prefetches memory that is needed next, in address order, while something else is computed: pieces of `piece` bytes,
 * `gap` bytes between them. A core has some 20 requested lines in flight, and each takes 100 ns or more from memory;
 * but requests line by line also start the hardware prefetcher. Zen 4, from memory, pixels 512 bytes apart: plain
 * loads reach 8 GB/s and stores 7; prefetched like this they reach 20 and 14. */
typedef struct dw_prefetcher {
    const char *at;
    ptrdiff_t left, piece, gap; /* left: bytes of this piece */
} dw_prefetcher;

/* ---- the input gradient ---------------------------------------------------------------------------- */

/* One row of dx, and the rows of dy that it gets its sums from, of one block of channels. */
typedef struct dw_grad_line {
    const void *dy; /* column 0 of the first of them */
    int64_t rows;   /* how many there are */
    int64_t ki;     /* kernel row of the first */
    void *dx;       /* column 0 */
} dw_grad_line;

/* Rows of dx for M = 1. Both kernels take them; steps count elements. The next row of dy is dy_row further; where that
 * is dy_end or more, it is dy_ring before that, since rows of dy lie in a ring. */
typedef struct dw_grad_rows {
    const dw_grad_line *lines;
    int64_t count;
    ptrdiff_t dy_row, dy_ring;
    const void *dy_end;
    int64_t ki_step;    /* the next row of dy belongs to the kernel row ki_step before */
    ptrdiff_t col_size; /* from a column of dx to the next */
    int64_t kernel_w;
    const void *weights; /* [taps][lanes] of the first block */
} dw_grad_rows;

/* The general kernel: all columns of dx, several blocks. The first block is what `rows` says; each next one lies in dx
 * as its y says, and dy_block and weights_block elements further in the others. */
typedef struct dw_grad_row_args {
    dw_grad_rows rows;
    const dw_tap_range *columns; /* [width] */
    int64_t width, out_step, k_step;
    const dw_block *blocks;
    int64_t block_count;
    ptrdiff_t dy_block, weights_block;
} dw_grad_row_args;

/* A tile kernel: the cells [begin, end) of one block. Columns of dx that get their sums through the same kernel columns
 * lie a stride apart: `stride` columns in a row, beginning at cell * stride - pad, are a cell. */
typedef struct dw_grad_tile_args {
    dw_grad_rows rows;
    int64_t width, out_w; /* columns of dx and dy */
    int64_t pad;          /* on the left */
    int64_t begin, end;
    dw_prefetcher *prefetch_dx, *prefetch_dy; /* a line for each vector of dx; for each cell, or NULL */
} dw_grad_tile_args;

/* ---- the kernel gradient --------------------------------------------------------------------------- */

/* Sums of a band of rows of dy through one or several kernel rows, added to `sums`. Both kernels take them. */
typedef struct dw_grad_taps {
    const void *const *dy;       /* [band]: rows, of the first block */
    int64_t band;                /* rows */
    const void *const *x;        /* [band][kernel rows of the kernel]; NULL in the padding */
    ptrdiff_t dy_block, x_block; /* elements from a block's rows to the next's */
    int64_t width, out_w;
    int64_t pad;                             /* on the left */
    int with_bias;                           /* sum dy itself, too, ... */
    dw_prefetcher *prefetch_dy, *prefetch_x; /* ... and prefetch a line for each vector, as many of x */
    int64_t block, block_end;
    void *sums;        /* [block][bias, taps][lanes] */
    int64_t tap, taps; /* index of the first tap; how many there are in all */
    int64_t kernel_w;
} dw_grad_taps;

/* The general kernel: some taps of one kernel row, the first of which is kj. */
typedef struct dw_grad_tap_args {
    dw_grad_taps taps;
    int64_t stride, dilation, kj; /* in width */
} dw_grad_tap_args;

/* ---- the convolution again --------------------------------------------------------------------------- */

enum { DW_GRAD_MAX_Z_ROWS = 8 };

/* A row of z of one block, or what some kernel rows add to it. */
typedef struct dw_grad_z {
    const void *rows[DW_GRAD_MAX_Z_ROWS];    /* of x, column 0; none in the padding */
    const void *weights[DW_GRAD_MAX_Z_ROWS]; /* [kernel_w][lanes] of each */
    int count;
    const void *bias;                                      /* [lanes], what sums begin with; NULL: with z */
    int64_t width, out_w, kernel_w, stride, dilation, pad; /* of the width */
    void *z;                                               /* [out_w][lanes] */
} dw_grad_z;

/* ---- between arrays and rows of vectors ------------------------------------------------------------ */

/* Copies one row of x or dy: for each column and each of the channel blocks [block, block_end) a vector, as the output
 * channels need it. For M > 1 the channels of x repeat. Lanes without a channel are zero. */
typedef struct dw_grad_copy {
    const void *from;                 /* column 0 of the row */
    ptrdiff_t col_size, channel_size; /* elements from a column to the next, from a channel; one of them 1 */
    int64_t width;
    int of_dy; /* else of x */
    const dw_block *blocks;
    int64_t block, block_end;
    const void *indices; /* x, M > 1: [block][lanes], the input lane of each output lane */
    void *to;            /* [column][lanes] of the first block */
    ptrdiff_t to_block;  /* elements from there to those of the next */
} dw_grad_copy;

/* Writes rows of sums to columns of dx; for M > 1 it adds the sums of m = 0, 1, ... in that order. Sizes are elements
 * from a column to the next, and from a channel. M = 1: sums of one block, a vector for each column. */
typedef struct dw_grad_scatter {
    const void *sums;
    ptrdiff_t sums_col, sums_channel; /* M > 1; of the C*M channels */
    int64_t width, channels, multiplier;
    void *dx;
    ptrdiff_t col_size, channel_size; /* one of them 1 */
} dw_grad_scatter;

/* ---- the table of one instruction set -------------------------------------------------------------- */

typedef void dw_grad_row_fn(const dw_grad_row_args *);
typedef void dw_grad_tile_fn(const dw_grad_tile_args *);
typedef void dw_grad_tap_fn(const dw_grad_tap_args *);
typedef void dw_grad_window_fn(const dw_grad_taps *);
typedef void dw_grad_z_fn(const dw_grad_z *);
typedef void dw_grad_copy_fn(const dw_grad_copy *);
typedef void dw_grad_scatter_fn(const dw_grad_scatter *);

/* The input gradient at a compile-time stride and kernel width. */
typedef struct dw_grad_tile {
    const char *name;
    int kernel_w, stride, cells; /* cells of a tile */
    dw_grad_tile_fn *inner;      /* whole tiles all of whose columns lie in dy and dx */
    dw_grad_tile_fn *edge;       /* one tile, some of whose columns may not */
} dw_grad_tile;

/* The kernel gradient at a compile-time stride and kernel width, `rows` kernel rows and `outputs` outputs at a time. */
typedef struct dw_grad_window {
    const char *name;
    int kernel_w, stride, rows, outputs;
    dw_grad_window_fn *run;
    dw_grad_z_fn *z; /* the convolution itself */
} dw_grad_window;

/* DW_GRAD_BAND is part of the order of the sums, which dwconv.h promises: it must not be tuned. */
enum { DW_GRAD_MAX_TAPS = 4, DW_GRAD_MAX_ROWS = 3, DW_GRAD_BAND = 64 };

typedef struct dw_grad_table {
    int lanes;
    dw_grad_row_fn *rows; /* any size */
    dw_grad_copy_fn *copy;
    dw_grad_scatter_fn *scatter;
    dw_grad_tap_fn *taps[DW_GRAD_MAX_TAPS]; /* [n - 1]: n taps of one kernel row, any size */
    const dw_grad_tile *tiles;              /* end with a NULL name */
    const dw_grad_window *windows;
    /* total[i] += addend[i]; count is a multiple of lanes */
    void (*add)(const void *addend, int64_t count, void *total);
    dw_grad_z_fn *z;            /* any size */
    dw_slope_fn *const *slopes; /* [dw_activation]; NULL: linear */
} dw_grad_table;

/* ---- the lists, by the registers of an instruction set --------------------------------------------- */

/* X(kernel_w, stride, cells). A tile's cells * stride sums, its cells + kernel_w / stride inputs and one
 * weight must fit the registers. */
#define DW_GRAD_TILES_16_REGISTERS(X) \
    X(3, 1, 7)                        \
    X(5, 1, 7)                        \
    X(7, 1, 7)                        \
    X(3, 2, 4)                        \
    X(5, 2, 4)                        \
    X(7, 2, 4)
#define DW_GRAD_TILES_32_REGISTERS(X) \
    X(3, 1, 7)                        \
    X(5, 1, 7)                        \
    X(7, 1, 7)                        \
    X(3, 2, 7)                        \
    X(5, 2, 8)                        \
    X(7, 2, 8)

/* X(kernel_w, stride, rows, outputs). rows * kernel_w sums, that of the bias, `outputs` of dy and one input must fit
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

/* "input_w3s1_t7_avx2", "weights_w3s1_r3t4_avx2" */
#define DW_GRAD_TILE_NAME(kw, s, cells) "input_w" #kw "s" #s "_t" #cells "_" DW_STRING(DW_ISA)
#define DW_GRAD_WINDOW_NAME(kw, s, kr, outputs) "weights_w" #kw "s" #s "_r" #kr "t" #outputs "_" DW_STRING(DW_ISA)

#endif
