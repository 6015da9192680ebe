/* grad.h - the waist of the gradients: the arguments of one kernel call, the table of one instruction set,
 * the lists of compile-time sizes. Internal; dwconv.h has the order in which each gradient is summed.
 *
 * Height never reaches a kernel but as row pointers: a call is for one row of the result or of dy. */
#ifndef DW_GRAD_H
#define DW_GRAD_H

#include "nhwc_kernels.h"

/* The taps that lead from one position of x, along one dimension, to outputs: output `first` by kernel
 * element `k`, the next output `out_step` further by the one `k_step` before, `count` in all. */
typedef struct dw_tap_range {
    int64_t first, k, count;
} dw_tap_range;

/* What is to be asked for while something else is computed, in the order in which it lies in memory: pieces of so
 * many bytes, so far apart. A processor has some 20 lines under way that a program asks for, and from memory each
 * takes a tenth of a microsecond and more; but it prefetches on by itself what is asked for line by line. On Zen 4,
 * from memory, in lines of pixels 512 bytes apart: loads 8 GB/s, stores 7; asked for like this 20 and 14. */
typedef struct dw_prefetcher {
    const char *at;
    ptrdiff_t left, piece, gap; /* bytes left of this piece; of each; from the end of one to the next */
} dw_prefetcher;

/* One row of dx, and the rows of dy that it leads to, as vectors of one block of channels. */
typedef struct dw_grad_line {
    const void *dy; /* column 0 of the first, ... */
    int64_t rows;   /* ... and how many there are */
    int64_t ki;     /* kernel row of the first */
    void *dx;       /* column 0 */
} dw_grad_line;

/* Rows of the input gradient, columns as named, of one block of channels, or, general, more; M = 1. */
typedef struct dw_grad_rows {
    const dw_grad_line *lines;
    int64_t count;
    ptrdiff_t dy_row;   /* elements from a row of dy to the next that a row of dx leads to, ... */
    const void *dy_end; /* ... but where that is dy_end or more, dy_ring less */
    ptrdiff_t dy_ring;
    int64_t ki_step;      /* each next row of dy belongs to the kernel row so far before */
    ptrdiff_t col_size;   /* elements from a column of dx to the next */
    int64_t width, out_w; /* columns of dx and dy */
    int64_t kernel_w;
    const void *weights;                      /* [taps][lanes] */
    int64_t begin, end;                       /* general: columns of dx; tile: cells, see dw_grad_tile */
    int64_t pad;                              /* tile: on the left */
    dw_prefetcher *prefetch_dx, *prefetch_dy; /* tile: a line for each vector of dx; for each cell, or NULL */
    const dw_tap_range *columns;              /* general: [width], ... */
    int64_t out_step, k_step;                 /* ... and its steps; */
    const dw_block *blocks;                   /* the first has what is above, the others */
    int64_t block_count;                      /* lie in dx as y says, ... */
    ptrdiff_t dy_block, weights_block;        /* ... and so many elements further each */
} dw_grad_rows;

/* One row of x or dy of the channel blocks [block, block_end), as a vector for each output vector that it meets:
 * the channels repeated for M > 1, zeros where there are no more. */
typedef struct dw_grad_copy {
    const void *from;                 /* column 0 of the row */
    ptrdiff_t col_size, channel_size; /* elements from a column to the next, from a channel; one of them 1 */
    int64_t width;
    int of_dy; /* else of x */
    const dw_block *blocks;
    int64_t block, block_end;
    const void *maps;   /* x, M > 1: [block][lanes], the input lane of each output lane */
    void *to;           /* [column][lanes] of the first block */
    ptrdiff_t to_block; /* elements from there to those of the next */
} dw_grad_copy;

/* What the input gradient gives: rows of sums to columns of dx. The sizes are elements from a column to the next,
 * and from a channel. M = 1: of one block, whose sums are vectors. */
typedef struct dw_grad_scatter {
    const void *sums;
    ptrdiff_t sums_col, sums_channel; /* M > 1; of the C*M channels */
    int64_t width, channels, multiplier;
    void *dx;
    ptrdiff_t col_size, channel_size; /* one of them 1 */
} dw_grad_scatter;

/* Sums of a band of rows of dy with one to `kr` kernel rows, added to `sums`. Rows are what dw_grad_copy made of them,
 * of the first block. */
typedef struct dw_grad_taps {
    const void *const *dy;       /* [band] */
    int64_t band;                /* rows */
    const void *const *x;        /* [band][kr]: of each kernel row; NULL in the padding */
    ptrdiff_t dy_block, x_block; /* elements from a block's rows to the next's */
    int64_t width, out_w;
    int64_t stride, dilation, pad;           /* in width; the pad on the left */
    int64_t kj;                              /* general: the first of the taps */
    int with_bias;                           /* sum dy itself, too, ... */
    dw_prefetcher *prefetch_dy, *prefetch_x; /* ... and meanwhile ask for a line for each vector, for as many of x */
    int64_t block, block_end;
    void *sums;        /* [block][bias, taps][lanes] */
    int64_t tap, taps; /* number of the first tap, in rows of kernel_w; of all taps */
    int64_t kernel_w;
} dw_grad_taps;

typedef void dw_grad_rows_fn(const dw_grad_rows *);
typedef void dw_grad_copy_fn(const dw_grad_copy *);
typedef void dw_grad_scatter_fn(const dw_grad_scatter *);
typedef void dw_grad_taps_fn(const dw_grad_taps *);

/* The input gradient at a compile-time stride. Columns of dx that lead to outputs through the same kernel
 * columns lie a stride apart: `stride` columns in a row, beginning at cell * stride - pad, are a cell. */
typedef struct dw_grad_tile {
    const char *name;
    int kernel_w, stride, cells; /* cells of a tile */
    dw_grad_rows_fn *inner;      /* whole tiles that lead to outputs only and lie in dx */
    dw_grad_rows_fn *edge;       /* one tile that may not */
} dw_grad_tile;

/* The kernel gradient at a compile-time kernel width and stride, kr kernel rows at a time. */
typedef struct dw_grad_window {
    const char *name;
    int kernel_w, stride, kr;
    dw_grad_taps_fn *taps;
} dw_grad_window;

enum { DW_GRAD_MAX_TAPS = 4, DW_GRAD_MAX_ROWS = 3, DW_GRAD_BAND = 64 };

typedef struct dw_grad_kernels {
    int lanes;
    dw_grad_rows_fn *rows; /* any size */
    dw_grad_copy_fn *copy;
    dw_grad_scatter_fn *scatter;             /* sums of each m: m = 0 first */
    dw_grad_taps_fn *taps[DW_GRAD_MAX_TAPS]; /* [n - 1]: n taps of one kernel row, any size */
    const dw_grad_tile *tiles;               /* end with a NULL name */
    const dw_grad_window *windows;
    /* total[i] += part[i]; count is a multiple of lanes */
    void (*add)(const void *part, int64_t count, void *total);
} dw_grad_kernels;

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

/* How x and dx, or dy, lie in memory: elements from a column to the next, and so on. */
typedef struct dw_grad_array {
    int64_t height, width, channels;
    ptrdiff_t column, row, channel, image;
} dw_grad_array;

/* What both parts need: a checked wish, its sizes, the kernels to use for its channels. */
typedef struct dw_grad_base {
    dw_desc desc;
    dw_isa isa;
    const dw_grad_kernels *kernels;
    int64_t out_h, out_w, out_channels, element_size;
    dw_grad_array x, dy;
    dw_block *blocks; /* of output channels */
    int64_t block_count;
} dw_grad_base;

/* grad_ring.c: rows of x or dy, row h in slot h % slots, [block of a chunk][slot][column][lanes]. */
typedef struct dw_row_ring {
    int of_dy;
    int64_t slots;
    int64_t row_bytes, block_bytes;
} dw_row_ring;

/* A ring in use. */
typedef struct dw_ring_state {
    const dw_row_ring *ring;
    const char *array; /* x or dy, an image */
    char *rows;
    int64_t *row_of_slot;     /* [slot]: the row that it holds, or -1 */
    int64_t block, block_end; /* the chunk */
    const void *maps;         /* see dw_grad_copy */
} dw_ring_state;

dw_status dw_ring_init(dw_row_ring *ring, const dw_grad_base *base, int of_dy, int64_t slots);
void dw_ring_begin(dw_ring_state *held, const dw_row_ring *ring, const void *array, char *rows, int64_t *row_of_slot);
/* Row h as the first block has it; it stays until that of h + slots or h - slots is asked for. */
const void *dw_ring_row(const dw_ring_state *held, const dw_grad_base *base, int64_t h);

/* grad_input.c */
typedef struct dw_grad_input {
    dw_plan *plan; /* not NULL: makes one image; else rows of dx are made as soon as their rows of dy are held, ... */
    const dw_grad_tile *tile;       /* ... by this, or, NULL, by the general kernel; ... */
    int direct;                     /* ... which store them in dx, else in the workspace */
    int64_t back;                   /* rows of dy before a band that are needed along with it */
    int64_t lines;                  /* rows of dx that are made at a time */
    int64_t workspace;              /* bytes */
    void *weights, *weights_memory; /* [block][taps][lanes] */
    dw_tap_range *rows, *columns;   /* of the rows and columns of x */
    int64_t row_out_step, row_k_step, column_out_step, column_k_step;
    int64_t cells;            /* tile: all are [0, cells); ... */
    int64_t inner, inner_end; /* ... these lead to outputs only and lie in dx */
} dw_grad_input;

enum { DW_GRAD_MAX_LINES = 8 };

/* kernel (kh, kw, C, M) is packed; `band` rows of dy will be held at a time, and those before. What a failure leaves is
 * for dw_grad_input_free. */
dw_status dw_grad_input_init(dw_grad_input *input, const dw_grad_base *base, const void *kernel, int64_t band);
void dw_grad_input_free(dw_grad_input *input);

/* Without a plan: the first row of dx from `row` on that leads to a row of dy from `dy_rows` on; all before it may be
 * made when only dy_rows are there. */
int64_t dw_grad_input_ready(const dw_grad_input *input, const dw_grad_base *base, int64_t row, int64_t dy_rows);
/* Without a plan: rows [row, end) of dx of one image, the channels of the chunk that `dy` holds; with a multiplier,
 * that is all of them. What to ask for meanwhile: dw_grad_rows. The workspace is aligned to 64 bytes. */
void dw_grad_input_band(const dw_grad_input *input, const dw_grad_base *base, const dw_ring_state *dy, void *dx,
                        int64_t row, int64_t end, dw_prefetcher *prefetch_dx, dw_prefetcher *prefetch_dy,
                        void *workspace);
/* With one: one image, part `part` of `parts`; some may be empty. The workspace is aligned, and each part's own. */
void dw_grad_input_part(const dw_grad_input *input, const dw_grad_base *base, const void *dy, void *dx, void *workspace,
                        int part, int parts);

/* grad_weights.c */
typedef struct dw_grad_weights {
    const dw_grad_window *window; /* NULL: the general kernels */
    int64_t sums_bytes;           /* of the sums of one block: [bias, taps][lanes] */
    int64_t reach;                /* rows of x that a band leads to, at most */
    void *maps; /* M > 1: [block][lanes]: the input lane of each output lane, integers as wide as an element */
} dw_grad_weights;

/* Rows of dy whose sums stay in registers. */
int64_t dw_grad_band(const dw_grad_base *base);
dw_status dw_grad_weights_init(dw_grad_weights *weights, const dw_grad_base *base);
void dw_grad_weights_free(dw_grad_weights *weights);
/* Adds what the band of dy from row `row` on gives to the image's sums, [block][bias, taps][lanes], of the chunk that
 * `dy` and `x` hold. */
void dw_grad_weights_band(const dw_grad_weights *weights, const dw_grad_base *base, const dw_ring_state *dy,
                          const dw_ring_state *x, int64_t row, void *sums, dw_prefetcher *prefetch_dy,
                          dw_prefetcher *prefetch_x);
/* Sums as kernel (kh, kw, C, M) and bias (OC), either may be NULL. */
void dw_grad_weights_end(const dw_grad_base *base, void *dkernel, void *dbias, const void *sums);

struct dw_grad {
    dw_grad_base base;
    int has_input;
    dw_grad_input input;
    dw_grad_weights weights;
    int64_t band, chunk; /* rows of dy, and blocks, that are gone through before the next ones */
    dw_row_ring dy, x;   /* of a chunk */
    int64_t dy_bytes, x_bytes, row_of_slot_bytes; /* of these in a workspace */
    int64_t part_bytes;                           /* of the workspace of one part, a multiple of 64 */
    int64_t image_bytes;                          /* of an image's sums, a multiple of 64 */
    int64_t nanoseconds;                          /* that a run takes on one thread, roughly */
};

#endif
