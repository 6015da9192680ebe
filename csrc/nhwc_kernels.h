/* nhwc_kernels.h - channels last: the waist between the plan, which knows no vector, and the kernels, which know no
 * plan. It has the arguments of one kernel call, the table of one instruction set and dtype, and the vocabulary of
 * the lists of tiles in isa/.
 *
 * Height never reaches a kernel: vertical stride, dilation and padding are in its row pointers. Dilation in width
 * does not reach a tile kernel either. The columns of one dilation phase are a dense problem of their own, whose
 * columns lie `x_col` elements apart. */
#ifndef DW_NHWC_KERNELS_H
#define DW_NHWC_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "activations.h"
#include "blocks.h"

/* ---- the arguments of a call ----------------------------------------------------------------------- */

/* A strip of y: `cols` output columns from column `col` on, of the channel blocks [block, block_end). All kernels
 * take one. Offsets and steps count elements. Column q of x lies x_first + q * x_col elements into a row of x; the
 * first tap of output column o is the column o * stride - pad. */
typedef struct dw_strip {
    ptrdiff_t x_first, x_col;
    int64_t pad;
    void *y; /* output column 0, channel 0 of the first output row */
    ptrdiff_t y_col;
    int64_t col, cols;
    const dw_block *blocks;
    int64_t block, block_end;
    const void *weights; /* [block][(M > 1: input lane of each output lane), bias, taps][lanes];
                            DW_SUMS: [block][bias, taps][M][lanes] */
    double clamp_min, clamp_max;
} dw_strip;

/* What tile kernels prefetch: nothing; the inputs of the next blocks, into L2; the outputs of the next block, into L1. */
enum { DW_PREFETCH_NONE, DW_PREFETCH_BLOCKS, DW_PREFETCH_OUTPUTS };

/* A tile kernel: a strip of `out_rows` output rows, as many as a tile is high, or any number for one that rolls.
 * x_step is what one output column is ahead of the one before: stride * x_col, or more where several pixels of few
 * channels are folded into one column of many. */
typedef struct dw_tile_args {
    dw_strip strip;
    const void *const *rows; /* (out_rows - 1) * stride + kh input rows; NULL for a row in the padding */
    int64_t out_rows;
    ptrdiff_t x_step, y_row;
    int prefetch; /* one of the above */
} dw_tile_args;

/* The lanes of a block whose tap in some kernel column is not in the padding: from one to before another, of x and of
 * y. */
typedef struct dw_valid_lanes {
    unsigned char x, x_end, y, y_end;
} dw_valid_lanes;

/* A masked tile kernel: one column of folded pixels, some of whose taps lie in the padding. */
typedef struct dw_masked_args {
    dw_tile_args tile;
    const dw_valid_lanes *valid; /* [block][kernel column] */
} dw_masked_args;

/* Kernels of any size. Column q of x is valid for 0 <= q < width.
 * The general kernel makes one output row of any convolution; a wide one as many as it is high, of any convolution
 * without multiplier whose channels fill a vector. */
typedef struct dw_general_args {
    dw_strip strip;
    const void *row;          /* the first valid input row */
    ptrdiff_t row_step;       /* from there to the row of the next kernel row */
    int64_t ki_begin, ki_end; /* the kernel rows that are valid; of several output rows: of the first, on and on */
    int64_t width;
    int64_t kernel_h, kernel_w, stride, dilation; /* stride and dilation: in width */
    int64_t multiplier;
    int64_t row_stride; /* kernel rows from one output row to the next; wide kernels only, as is: */
    ptrdiff_t y_row;
} dw_general_args;

typedef void dw_tile_fn(const dw_tile_args *);
typedef void dw_masked_fn(const dw_masked_args *);
typedef void dw_general_fn(const dw_general_args *);

/* ---- the table of one instruction set -------------------------------------------------------------- */

/* Which columns of a tile's window lie in the padding: none, those of SAME on the left, on the right, on both sides. */
enum { DW_INNER, DW_LEFT, DW_RIGHT, DW_BOTH, DW_EDGES };

/* The padding of SAME on the left (at stride 2: for an even width); the rest, kernel_w - stride - left, is on the
 * right. A macro, because kernels need it as a constant. */
#define DW_SAME_LEFT(kernel_w, stride) (((kernel_w) - (stride)) / 2)
#define DW_SAME_RIGHT(kernel_w, stride) ((kernel_w) - (stride) - DW_SAME_LEFT(kernel_w, stride))

/* Whether a tile kernel goes through the inputs of a row one by one: at stride 2, where its sums, the weights of a
 * kernel row for each of its rows and an input fit 16 registers. */
#define DW_LOADS_IN_ORDER(kernel_w, stride, tile_h, tile_w, flavour) \
    ((stride) > 1 && (tile_h) > 0 && (tile_h) <= 2 && (flavour) == 0 && (tile_h) * ((kernel_w) + (tile_w)) < 16)

/* What a tile kernel is made for.
 * DW_MULTIPLIER: M > 1, input lanes are permuted.
 * DW_FOLDED: a column is several pixels, whose channels together fill vectors.
 * DW_MASKED: a folded column at an edge: lanes whose tap lies in the padding are left out.
 * DW_CROSS_PIXEL: the first block of a line-aligned packing, at stride 2. It spans two pixels: its first -block->y
 *   lanes are the last channels of output column o - 1, the others the first channels of column o. So its window
 *   begins stride - 1 columns earlier.
 * DW_INTERLEAVED: rolls down two blocks of channels at a time, row by row.
 * DW_SUMS, times M: made for a multiplier M of 2, 3, 4 or 8. Lanes are input channels: each input vector serves M sums,
 *   whose lanes are brought into order when they are stored. */
enum { DW_MULTIPLIER = 1, DW_FOLDED = 2, DW_CROSS_PIXEL = 4, DW_MASKED = 8, DW_INTERLEAVED = 16, DW_SUMS = 32 };

/* Sums per input vector. A macro, because kernels need it as a constant. */
#define DW_SUMS_OF(flavour) ((flavour) < DW_SUMS ? 1 : (flavour) / DW_SUMS)

/* A kernel with compile-time sizes, for at least `lanes` output channels: tiles of tile_h x tile_w outputs, or, if
 * tile_h is 0, columns of tile_w outputs that roll down any number of rows. */
typedef struct dw_tile {
    const char *name;
    int kernel_h, kernel_w, stride, tile_h, tile_w;
    int flavour;               /* a sum of the above */
    dw_tile_fn *run[DW_EDGES]; /* DW_FOLDED and DW_CROSS_PIXEL: the first only; DW_MASKED: none */
    dw_masked_fn *run_masked;  /* DW_MASKED */
    dw_general_fn *run_wide;   /* of wide kernels, which are for any size: kernel_h, kernel_w and stride are 0 */
} dw_tile;

/* Whether it is a wide kernel. */
static inline int dw_is_wide(const dw_tile *tile) { return tile && tile->kernel_h == 0; }

typedef struct dw_nhwc_table {
    int lanes;
    const char *general_name;
    dw_general_fn *general;          /* any size, stride, dilation, multiplier, channels, padding */
    const dw_tile *tiles;            /* the preferred one of a size first; ends with a NULL name */
    dw_activate_fn *const *activate; /* by dw_activation; NULL for linear. Integers have none: NULL */
} dw_nhwc_table;

/* ---- the lists of tiles ---------------------------------------------------------------------------- */

/* Each instruction set has one list, DW_TILES(X), in its file in isa/: X(kh, kw, stride, tile_h, tile_w, variant),
 * tile_h 0 for a kernel that rolls. A new tile: a line there. The preferred tile of a size comes first. What must fit
 * the registers: the sums (rolling: tile_w for each of the ceil(kh / stride) output rows that an input row belongs to;
 * twice that for two interleaved blocks), the inputs of one row, and one weight. `make shape` checks.
 *
 * A variant is a tag in kernels' names, a flavour, and what is compiled of it: one function for each edge of SAME
 * padding, one for inner columns, or one that masks. FOLDED variants need a tile one column wide of each size. */
#define DW_VARIANT_PLAIN(F, kh, kw, s, th, tw) F(kh, kw, s, th, tw, , 0, SAME)
#define DW_VARIANT_MULTIPLIER(F, kh, kw, s, th, tw) F(kh, kw, s, th, tw, m, DW_MULTIPLIER, SAME)
#define DW_VARIANT_FOLDED(F, kh, kw, s, th, tw) F(kh, kw, s, th, tw, p, DW_FOLDED, INNER)
#define DW_VARIANT_FOLDED_M(F, kh, kw, s, th, tw) F(kh, kw, s, th, tw, mp, DW_FOLDED | DW_MULTIPLIER, INNER)
#define DW_VARIANT_MASKED(F, kh, kw, s, th, tw) F(kh, kw, s, th, tw, pe, DW_FOLDED | DW_MASKED, MASKED)
#define DW_VARIANT_MASKED_M(F, kh, kw, s, th, tw) \
    F(kh, kw, s, th, tw, mpe, DW_FOLDED | DW_MASKED | DW_MULTIPLIER, MASKED)
#define DW_VARIANT_INTERLEAVED(F, kh, kw, s, th, tw) F(kh, kw, s, th, tw, d, DW_INTERLEAVED, SAME)
#define DW_VARIANT_SUMS2(F, kh, kw, s, th, tw) F(kh, kw, s, th, tw, m2, DW_SUMS * 2, SAME)
#define DW_VARIANT_SUMS3(F, kh, kw, s, th, tw) F(kh, kw, s, th, tw, m3, DW_SUMS * 3, SAME)
#define DW_VARIANT_SUMS4(F, kh, kw, s, th, tw) F(kh, kw, s, th, tw, m4, DW_SUMS * 4, SAME)
#define DW_VARIANT_SUMS8(F, kh, kw, s, th, tw) F(kh, kw, s, th, tw, m8, DW_SUMS * 8, SAME)
#define DW_VARIANT_CROSS_PIXEL(F, kh, kw, s, th, tw) F(kh, kw, s, th, tw, a, DW_CROSS_PIXEL, INNER)

/* Wide kernels: X(tile_h, tile_w), tile_h 1 or 2. Their sums and the weights of a tap fit the registers, with one
 * vector to spare. */
#define DW_WIDE_TILES_16_REGISTERS(X) DW_OF_ANY_SIZE(X(2, 5) X(2, 4) X(1, 7) X(1, 4) X(1, 2))
#define DW_WIDE_TILES_32_REGISTERS(X) DW_OF_ANY_SIZE(X(2, 7) X(2, 4) X(1, 7) X(1, 4) X(1, 2))
#define DW_WIDE_TILES_FEW(X) DW_OF_ANY_SIZE(X(2, 4) X(1, 4)) /* of dtypes that few use */
#define DW_WIDE_NAME(th, tw) "wide_t" #th "x" #tw "_" DW_STRING(DW_ISA)

/* "k3x3s1_t0x7_avx512" */
#define DW_TILE_NAME(kh, kw, stride, th, tw, tag) \
    "k" #kh "x" #kw "s" #stride #tag "_t" #th "x" #tw "_" DW_STRING(DW_ISA)

/* Bounds of these lists, for arrays. */
enum {
    DW_MAX_TILE_H = 7, /* tile_h, or output rows that an input row belongs to */
    DW_MAX_TILE_W = 7,
    DW_MAX_WIDE_W = 7,                               /* tile_w of wide kernels */
    DW_MAX_ROW_SUMS = 9,                             /* of a row of a tile: tile_w, or M times that */
    DW_MAX_INPUTS = 17,                              /* vectors of a row under tile_w outputs */
    DW_MAX_OUT_ROWS = 64,                            /* that a plan has rolled down at a time */
    DW_MAX_TILE_ROWS = (DW_MAX_OUT_ROWS - 1) * 2 + 7 /* input rows of them */
};

#endif
