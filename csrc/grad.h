/* grad.h - what a gradient holds, and the functions of its files. dwconv.h has the order in which each gradient is
 * summed. */
#ifndef DW_GRAD_H
#define DW_GRAD_H

#include "problem.h"

/* How x and dx, or dy, lie in memory: elements from a column to the next, and so on. */
typedef struct dw_grad_array {
    int64_t height, width, channels;
    ptrdiff_t column, row, channel, image;
} dw_grad_array;

/* What both gradients need. */
typedef struct dw_grad_base {
    dw_problem problem;
    const dw_grad_table *table; /* of the problem's instruction set, or of a narrower one */
    dw_grad_array x, dy;
    dw_block *blocks; /* of output channels */
    int64_t block_count;
} dw_grad_base;

/* ---- grad_ring.c: rows of x or dy ------------------------------------------------------------------ */

/* A row ring holds row h in slot h % slots: [block of a chunk][slot][column][lanes]. */
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
    const void *indices;      /* see dw_grad_copy */
} dw_ring_state;

dw_status dw_ring_init(dw_row_ring *ring, const dw_grad_base *base, int of_dy, int64_t slots);
void dw_ring_begin(dw_ring_state *state, const dw_row_ring *ring, const void *array, char *rows, int64_t *row_of_slot);
/* Row h of the first block; it stays until row h + slots or h - slots is asked for. */
const void *dw_ring_row(const dw_ring_state *state, const dw_grad_base *base, int64_t h);

/* ---- grad_input.c: the gradient of x --------------------------------------------------------------- */

typedef struct dw_grad_input {
    dw_plan *plan; /* not NULL: makes one image at a time, and nothing below is used */

    /* Else rows of dx are made as soon as their rows of dy are in the ring. */
    const dw_grad_tile *tile;     /* NULL: the general kernel */
    int direct;                   /* kernels store their rows in dx, not in the workspace */
    int64_t lookback_rows;        /* rows of dy before a band that are needed along with it */
    int64_t lines;                /* rows of dx that are made at a time */
    int64_t workspace;            /* bytes */
    void *weights;                /* [block][taps][lanes]; this and the next two in dw_shared memory */
    dw_tap_range *rows, *columns; /* of the rows and columns of x */
    int64_t row_out_step, row_k_step, column_out_step, column_k_step;
    int64_t cells;            /* tile: all are [0, cells); ... */
    int64_t inner, inner_end; /* ... all columns of these lie in dy and dx */
} dw_grad_input;

enum { DW_GRAD_MAX_LINES = 8 };

/* Packs kernel (kh, kw, C, M). `band` rows of dy will be in the ring at a time, and those before. by_rows: no plan, which
 * reads dy from its array. What a failure leaves is for dw_grad_input_free. */
dw_status dw_grad_input_init(dw_grad_input *input, const dw_grad_base *base, const void *kernel, int64_t band,
                             int by_rows);
/* Other weights for a copy of `from`, which shares all else. */
dw_status dw_grad_input_repack(dw_grad_input *input, const dw_grad_input *from, const dw_grad_base *base,
                               const void *kernel);
void dw_grad_input_free(dw_grad_input *input);

/* Without a plan: the first row of dx from `row` on that needs a row of dy from `dy_rows` on. All before it may be made
 * when only dy_rows are there. */
int64_t dw_grad_input_ready(const dw_grad_input *input, const dw_grad_base *base, int64_t row, int64_t dy_rows);
/* Without a plan: rows [row, end) of dx of one image, the channels of the chunk that `dy` holds; with a multiplier,
 * that is all of them. The prefetchers: see dw_grad_tile_args. The workspace is aligned. */
void dw_grad_input_band(const dw_grad_input *input, const dw_grad_base *base, const dw_ring_state *dy, void *dx,
                        int64_t row, int64_t end, dw_prefetcher *prefetch_dx, dw_prefetcher *prefetch_dy,
                        void *workspace);
/* With a plan: one image, part `part` of `parts`; some may be empty. The workspace is aligned, and each part's own. */
void dw_grad_input_part(const dw_grad_input *input, const dw_grad_base *base, const void *dy, void *dx, void *workspace,
                        int part, int parts);

/* ---- grad_weights.c: the gradients of kernel and bias ---------------------------------------------- */

typedef struct dw_grad_weights {
    const dw_grad_window *window; /* NULL: the general kernels */
    int64_t sums_bytes;           /* of the sums of one block: [bias, taps][lanes] */
    int64_t x_rows;               /* rows of x that a band reads, at most */
    void *
        indices; /* dw_shared memory; M > 1: [block][lanes]: the input lane of each output lane, integers as wide as an element */
} dw_grad_weights;

/* Rows of dy whose sums stay in registers. */
int64_t dw_grad_band(const dw_grad_base *base);
dw_status dw_grad_weights_init(dw_grad_weights *weights, const dw_grad_base *base);
void dw_grad_weights_free(dw_grad_weights *weights);
/* Adds what the band of dy from row `row` on contributes to the sums of the image, [block][bias, taps][lanes], of the
 * chunk that `dy` and `x` hold. */
void dw_grad_weights_band(const dw_grad_weights *weights, const dw_grad_base *base, const dw_ring_state *dy,
                          const dw_ring_state *x, int64_t row, void *sums, dw_prefetcher *prefetch_dy,
                          dw_prefetcher *prefetch_x);
/* Sums as kernel (kh, kw, C, M) and bias (OC), either may be NULL. */
void dw_grad_weights_end(const dw_grad_base *base, void *dkernel, void *dbias, const void *sums);

/* ---- grad_activation.c: dy to dz --------------------------------------------------------------------- */

typedef struct dw_grad_activation {
    dw_slope_fn *slope; /* NULL: linear, and nothing below is used */
    double alpha;
    dw_grad_z_fn *z;
    void *weights;      /* dw_shared memory: [block][bias, taps][lanes] */
    int64_t line_bytes; /* of a row of z */
} dw_grad_activation;

/* What a failure leaves is for dw_grad_activation_free. */
dw_status dw_grad_activation_init(dw_grad_activation *to, const dw_grad_base *base, const dw_grad_weights *weights,
                                  dw_activation activation, double alpha, const void *kernel, const void *bias);
/* The weights alone, for a copy that has none. */
dw_status dw_grad_activation_pack(dw_grad_activation *to, const dw_grad_base *base, const void *kernel,
                                  const void *bias);
void dw_grad_activation_free(dw_grad_activation *activation);
/* Makes dz of rows [row, end) of dy, which are in the ring and have not been dz yet; `x` is of the same chunk and has room
 * for the rows that these need. line: memory for a row of z. */
void dw_grad_activation_rows(const dw_grad_activation *activation, const dw_grad_base *base, const dw_ring_state *dy,
                             const dw_ring_state *x, void *line, int64_t row, int64_t end);

/* ---- grad.c ---------------------------------------------------------------------------------------- */

struct dw_grad {
    dw_grad_base base;
    int has_input;
    dw_grad_input input;
    dw_grad_weights weights;
    dw_grad_activation activation;
    int64_t band, chunk; /* rows of dy, and blocks, that are gone through before the next ones */
    int64_t group;       /* blocks of a chunk that go through all gradients before the next ones */
    dw_row_ring dy, x;   /* of a chunk */
    int64_t dy_bytes, x_bytes, row_of_slot_bytes; /* of these in a workspace */
    int64_t part_bytes;                           /* of the workspace of one part, aligned */
    int64_t image_bytes;                          /* of the sums of an image, aligned */
    int64_t nanoseconds;                          /* that a run takes on one thread, roughly */
};

#endif
