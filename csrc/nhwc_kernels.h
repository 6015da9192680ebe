/* nhwc_kernels.h - the waist between the plan, which knows no vector, and the kernels, which know no plan:
 * the arguments of one kernel call, the lists of compile-time sizes, and the table of one instruction set.
 *
 * Vertical stride, dilation and padding never reach a kernel: they are in its row pointers. Dilation does
 * not reach a tile kernel in width either: the columns of one dilation phase are a dense problem whose
 * columns lie `x_col` elements apart.
 */
#ifndef DW_KERNELS_H
#define DW_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "blocks.h"
#include "dwconv.h"

/* One kernel call: `cols` output columns, beginning at column `col`, of the channel blocks
 * [block, block_end), for `out_rows` output rows (a tile: as many as it is high; the general kernel: one).
 * Steps and offsets count elements. Column q of x lies at row + x_first + q * x_col and is valid for
 * 0 <= q < width; the taps of output column o are the columns o * stride - pad + j * dilation, 0 <= j < kw.
 * To a sized kernel, `x_step` is what one output column is ahead of the one before: stride * x_col, or more
 * where several pixels of few channels count as one column of many. */
typedef struct dw_strip {
    const void *const *rows;  /* sized: (out_rows - 1) * stride + kh input rows; NULL for one in the padding */
    const void *row;          /* general: the first valid input row, ... */
    ptrdiff_t row_step;       /* ... the step to that of the next kernel row, ... */
    int64_t ki_begin, ki_end; /* ... and the kernel rows that are valid */
    ptrdiff_t x_first, x_col, x_step;
    int prefetch; /* sized: whether to ask for the inputs of the next blocks early */
    int64_t width, pad;
    void *y; /* output column 0, channel 0 of the first output row */
    ptrdiff_t y_row, y_col;
    int64_t out_rows, col, cols;
    const dw_block *blocks;
    int64_t block, block_end;
    const void *weights; /* [block][(M > 1: input lane of each output lane), bias, taps][lanes] */
    int64_t kernel_h, kernel_w, stride, dilation; /* general, masked: in width */
    int64_t first_tap;          /* masked: that of the first pixel, a column of x or of the padding before it; ... */
    ptrdiff_t x_pixel, y_pixel; /* ... channels of a pixel */
    int64_t multiplier;
    double low, high; /* activation: clamp to [low, high] */
} dw_strip;

typedef void dw_strip_fn(const dw_strip *);

/* Which columns of a tile's window lie in the padding: none, the first pad_left, the last pad_right, both. */
enum { DW_INNER, DW_LEFT, DW_RIGHT, DW_BOTH, DW_EDGES };

/* What a sized kernel is for.
 * DW_MULTIPLIER: M > 1. DW_FOLDED: columns of several pixels; DW_MASKED: of which some have taps in the padding, too.
 * DW_CROSS_PIXEL: the first block of a packing that begins in the column before, at stride 2. Its first -block->y lanes are
 * channels of output column o - 1, the others of column o, so its window begins stride - 1 columns earlier.
 * DW_INTERLEAVED: rolls down two blocks at a time. */
enum { DW_MULTIPLIER = 1, DW_FOLDED = 2, DW_CROSS_PIXEL = 4, DW_MASKED = 8, DW_INTERLEAVED = 16 };

/* A kernel with compile-time sizes, for at least `lanes` output channels: tiles of tile_h x tile_w outputs, or, if
 * tile_h is 0, columns of tile_w outputs that roll down any number of rows. */
typedef struct dw_tile {
    const char *name;
    int kernel_h, kernel_w, stride, tile_h, tile_w;
    int flavour; /* of DW_MULTIPLIER, DW_FOLDED, DW_MASKED, DW_CROSS_PIXEL, DW_INTERLEAVED */
    int pad_left, pad_right;
    dw_strip_fn *strip[DW_EDGES]; /* of DW_FOLDED and DW_CROSS_PIXEL the first only */
} dw_tile;

/* What an activation is applied to, in place: `count` elements at each of rows x cols places. */
typedef struct dw_runs {
    void *y;
    int64_t rows, cols, count;
    ptrdiff_t y_row, y_col; /* elements */
    double alpha;
} dw_runs;

typedef void dw_activate_fn(const dw_runs *);

typedef struct dw_kernels {
    int lanes;
    int registers; /* that the sums, the inputs of a row, a weight and a bias may fill before a kernel gets slow */
    int chunk;     /* blocks that a strip goes through before the next ones: their inputs should stay in L1 */
    const char *general_name;
    dw_strip_fn *general;            /* any size, stride, dilation, multiplier, channels, padding */
    const dw_tile *tiles;            /* the preferred one of a size first; ends with a NULL name */
    dw_activate_fn *const *activate; /* by dw_activation; NULL for linear. Integers have none: NULL */
} dw_kernels;

/* The lists of compile-time sizes: X(kh, kw, stride, tile_h, tile_w, pad_left, pad_right), tile_h 0 for rolling.
 * pad_*: the padding of SAME (at stride 2: for an even width).
 * New size: a line here. The sums (rolling: tile_w for each of the ceil(kh / stride) output rows that an input
 * row belongs to), the inputs of one row and one weight must fit the registers; `make shape` checks. */

/* AVX2. */
#define DW_TILES_16_REGISTERS(X) \
    X(3, 3, 1, 2, 4, 1, 1)       \
    X(3, 3, 1, 0, 3, 1, 1)       \
    X(3, 3, 1, 1, 7, 1, 1)       \
    X(3, 3, 1, 0, 1, 1, 1)       \
    X(3, 3, 2, 2, 4, 0, 1)       \
    X(3, 3, 2, 1, 4, 0, 1)       \
    X(3, 3, 2, 1, 7, 0, 1)       \
    X(3, 3, 2, 2, 2, 0, 1)       \
    X(3, 3, 2, 0, 1, 0, 1)       \
    X(5, 5, 1, 2, 4, 2, 2)       \
    X(5, 5, 1, 1, 7, 2, 2)       \
    X(5, 5, 1, 0, 1, 2, 2)       \
    X(5, 5, 2, 2, 4, 1, 2)       \
    X(5, 5, 2, 1, 7, 1, 2)       \
    X(5, 5, 2, 0, 1, 1, 2)       \
    X(7, 7, 1, 2, 4, 3, 3)       \
    X(7, 7, 1, 1, 7, 3, 3)       \
    X(7, 7, 1, 0, 1, 3, 3)       \
    X(7, 7, 2, 1, 4, 2, 3)       \
    X(7, 7, 2, 0, 1, 2, 3)

/* AVX-512. */
#define DW_TILES_32_REGISTERS(X) \
    X(3, 3, 1, 0, 7, 1, 1)       \
    X(3, 3, 1, 0, 5, 1, 1)       \
    X(3, 3, 1, 0, 4, 1, 1)       \
    X(3, 3, 1, 0, 3, 1, 1)       \
    X(3, 3, 1, 0, 2, 1, 1)       \
    X(3, 3, 1, 0, 1, 1, 1)       \
    X(3, 3, 2, 0, 7, 0, 1)       \
    X(3, 3, 2, 0, 5, 0, 1)       \
    X(3, 3, 2, 0, 4, 0, 1)       \
    X(3, 3, 2, 0, 2, 0, 1)       \
    X(3, 3, 2, 0, 1, 0, 1)       \
    X(5, 5, 1, 0, 4, 2, 2)       \
    X(5, 5, 1, 0, 3, 2, 2)       \
    X(5, 5, 1, 0, 1, 2, 2)       \
    X(5, 5, 2, 0, 7, 1, 2)       \
    X(5, 5, 2, 0, 5, 1, 2)       \
    X(5, 5, 2, 0, 4, 1, 2)       \
    X(5, 5, 2, 0, 2, 1, 2)       \
    X(5, 5, 2, 0, 1, 1, 2)       \
    X(7, 7, 1, 2, 7, 3, 3)       \
    X(7, 7, 1, 2, 4, 3, 3)       \
    X(7, 7, 1, 0, 3, 3, 3)       \
    X(7, 7, 1, 0, 1, 3, 3)       \
    X(7, 7, 2, 0, 4, 2, 3)       \
    X(7, 7, 2, 0, 1, 2, 3)

/* NEON: as many registers, but FMLA takes no operand from memory, so that all inputs of a row, a weight, the bias and
 * the bounds of the activation are in registers beside the sums. No rolling: each step moves the sums, and moves take
 * the pipes that multiply; tools/neon_mca.py has 9.0 cycles per output for k3x3s1_t0x5, 7.7 for t2x7. */
#define DW_TILES_NEON(X)   \
    X(3, 3, 1, 2, 7, 1, 1) \
    X(3, 3, 1, 2, 4, 1, 1) \
    X(3, 3, 1, 1, 7, 1, 1) \
    X(3, 3, 1, 0, 1, 1, 1) \
    X(3, 3, 2, 4, 4, 0, 1) \
    X(3, 3, 2, 2, 4, 0, 1) \
    X(3, 3, 2, 1, 7, 0, 1) \
    X(3, 3, 2, 0, 1, 0, 1) \
    X(5, 5, 1, 2, 7, 2, 2) \
    X(5, 5, 1, 2, 4, 2, 2) \
    X(5, 5, 1, 1, 7, 2, 2) \
    X(5, 5, 1, 0, 1, 2, 2) \
    X(5, 5, 2, 2, 5, 1, 2) \
    X(5, 5, 2, 2, 4, 1, 2) \
    X(5, 5, 2, 1, 7, 1, 2) \
    X(5, 5, 2, 0, 1, 1, 2) \
    X(7, 7, 1, 2, 7, 3, 3) \
    X(7, 7, 1, 2, 4, 3, 3) \
    X(7, 7, 1, 1, 7, 3, 3) \
    X(7, 7, 1, 0, 1, 3, 3) \
    X(7, 7, 2, 2, 4, 2, 3) \
    X(7, 7, 2, 1, 4, 2, 3) \
    X(7, 7, 2, 0, 1, 2, 3)

/* The same for M > 1, where a map and a mask or a count take registers, too. */
#define DW_SPREAD_TILES_16_REGISTERS(X) \
    X(3, 3, 1, 2, 4, 1, 1)              \
    X(3, 3, 1, 0, 3, 1, 1)              \
    X(3, 3, 1, 0, 1, 1, 1)              \
    X(3, 3, 2, 2, 2, 0, 1)              \
    X(3, 3, 2, 1, 4, 0, 1)              \
    X(3, 3, 2, 0, 1, 0, 1)              \
    X(5, 5, 1, 2, 4, 2, 2)              \
    X(5, 5, 1, 0, 1, 2, 2)              \
    X(5, 5, 2, 1, 4, 1, 2)              \
    X(5, 5, 2, 0, 1, 1, 2)              \
    X(7, 7, 1, 1, 7, 3, 3)              \
    X(7, 7, 1, 1, 4, 3, 3)              \
    X(7, 7, 1, 0, 1, 3, 3)

#define DW_SPREAD_TILES_32_REGISTERS(X) \
    X(3, 3, 1, 0, 7, 1, 1)              \
    X(3, 3, 1, 0, 4, 1, 1)              \
    X(3, 3, 1, 0, 1, 1, 1)              \
    X(3, 3, 2, 0, 7, 0, 1)              \
    X(3, 3, 2, 0, 4, 0, 1)              \
    X(3, 3, 2, 0, 1, 0, 1)              \
    X(5, 5, 1, 0, 4, 2, 2)              \
    X(5, 5, 1, 0, 1, 2, 2)              \
    X(5, 5, 2, 0, 4, 1, 2)              \
    X(5, 5, 2, 0, 1, 1, 2)              \
    X(7, 7, 1, 2, 7, 3, 3)              \
    X(7, 7, 1, 0, 3, 3, 3)              \
    X(7, 7, 1, 0, 1, 3, 3)

#define DW_SPREAD_TILES_NEON(X) \
    X(3, 3, 1, 2, 6, 1, 1)      \
    X(3, 3, 1, 2, 4, 1, 1)      \
    X(3, 3, 1, 0, 1, 1, 1)      \
    X(3, 3, 2, 2, 4, 0, 1)      \
    X(3, 3, 2, 1, 4, 0, 1)      \
    X(3, 3, 2, 0, 1, 0, 1)      \
    X(5, 5, 1, 2, 5, 2, 2)      \
    X(5, 5, 1, 2, 4, 2, 2)      \
    X(5, 5, 1, 0, 1, 2, 2)      \
    X(5, 5, 2, 1, 5, 1, 2)      \
    X(5, 5, 2, 0, 1, 1, 2)      \
    X(7, 7, 1, 2, 5, 3, 3)      \
    X(7, 7, 1, 1, 5, 3, 3)      \
    X(7, 7, 1, 0, 1, 3, 3)

/* Columns of several pixels, each for M = 1 and M > 1, where every output has inputs of its own. A list has one
 * column wide what it has of a size. */
#define DW_MERGED_TILES_16_REGISTERS(X) \
    X(3, 3, 1, 0, 2, 0, 0)              \
    X(3, 3, 1, 0, 1, 0, 0)              \
    X(5, 5, 1, 0, 1, 0, 0)              \
    X(7, 7, 1, 0, 1, 0, 0)

#define DW_MERGED_TILES_32_REGISTERS(X) \
    X(3, 3, 1, 0, 4, 0, 0)              \
    X(3, 3, 1, 0, 2, 0, 0)              \
    X(3, 3, 1, 0, 1, 0, 0)              \
    X(5, 5, 1, 0, 2, 0, 0)              \
    X(5, 5, 1, 0, 1, 0, 0)              \
    X(7, 7, 1, 0, 2, 0, 0)              \
    X(7, 7, 1, 0, 1, 0, 0)

#define DW_MERGED_TILES_NEON(X) \
    X(3, 3, 1, 0, 4, 0, 0)      \
    X(3, 3, 1, 0, 2, 0, 0)      \
    X(3, 3, 1, 0, 1, 0, 0)      \
    X(5, 5, 1, 0, 2, 0, 0)      \
    X(5, 5, 1, 0, 1, 0, 0)      \
    X(7, 7, 1, 0, 1, 0, 0)

/* The columns at the edges of those, each for M = 1 and M > 1; with other sizes they go to the general kernel. */
#define DW_MASKED_TILES_16_REGISTERS(X) \
    X(3, 3, 1, 0, 1, 0, 0)              \
    X(5, 5, 1, 0, 1, 0, 0)

#define DW_MASKED_TILES_32_REGISTERS(X) \
    X(3, 3, 1, 0, 1, 0, 0)              \
    X(5, 5, 1, 0, 1, 0, 0)              \
    X(7, 7, 1, 0, 1, 0, 0)

/* Pairs of blocks, for pixels that are a power of two apart: the sums of both must fit. */
#define DW_PAIRED_TILES_16_REGISTERS(X) \
    X(3, 3, 1, 0, 2, 1, 1)              \
    X(3, 3, 1, 0, 1, 1, 1)              \
    X(3, 3, 2, 0, 3, 0, 1)              \
    X(3, 3, 2, 0, 2, 0, 1)              \
    X(3, 3, 2, 0, 1, 0, 1)

#define DW_PAIRED_TILES_32_REGISTERS(X) \
    X(3, 3, 1, 0, 4, 1, 1)              \
    X(3, 3, 1, 0, 3, 1, 1)              \
    X(3, 3, 1, 0, 2, 1, 1)              \
    X(3, 3, 2, 0, 4, 0, 1)              \
    X(3, 3, 2, 0, 3, 0, 1)              \
    X(3, 3, 2, 0, 2, 0, 1)

/* Blocks astride: for the sizes of the second list that have stride 2. With AVX2, where a block is half a cache line,
 * they cost 10 % instead of saving 25. */
#define DW_ASTRIDE_TILES_32_REGISTERS(X) \
    X(3, 3, 2, 0, 5, 0, 0)               \
    X(3, 3, 2, 0, 4, 0, 0)               \
    X(3, 3, 2, 0, 2, 0, 0)               \
    X(3, 3, 2, 0, 1, 0, 0)

/* Bounds of these lists, for arrays. */
enum {
    DW_MAX_TILE_H = 7, /* tile_h, or output rows that an input row belongs to */
    DW_MAX_TILE_W = 7,
    DW_MAX_INPUTS = 17,                              /* vectors of a row under tile_w outputs */
    DW_MAX_OUT_ROWS = 64,                            /* that a plan has rolled down at a time */
    DW_MAX_TILE_ROWS = (DW_MAX_OUT_ROWS - 1) * 2 + 7 /* input rows of them */
};

/* One of each per instruction set in this build; NULL where it is not part of it. */
const dw_kernels *dw_kernels_of(dw_isa isa, dw_dtype dtype);

#endif
