/* plan.h - what a plan holds. Internal: plan.c makes it, nhwc_pack.c fills in the weights, nhwc_run.c reads it. */
#ifndef DW_PLAN_H
#define DW_PLAN_H

#include "nhwc_kernels.h"
#include "sizes.h"
#include "nchw_kernels.h"

/* The columns of one dilation phase, or all of them: a dense problem of its own for the tile kernels. */
typedef struct dw_phase {
    int64_t x_first; /* first column of x in this phase */
    int64_t width;   /* columns of x in this phase */
    int64_t pad;     /* columns of padding on the left in this phase */
    int64_t y_first; /* first output column of this phase */
    int64_t cols;    /* output columns of this phase */
} dw_phase;

/* A run of output columns of one phase, and who makes them. */
typedef struct dw_segment {
    int64_t phase;
    dw_strip_fn *tile; /* NULL: the general kernel */
    int64_t col, cols;
    int shifted; /* uses a shifted packing, if the call has one */
    int inner;   /* away from the edges, by a tile: another division will do */
    int astride; /* the first block of that is for kernels of plan->astride */
} dw_segment;

typedef struct dw_segments {
    dw_segment *at;
    int64_t count;
    int64_t inner, inner_end; /* columns for kernels away from the edges, of the last phase */
} dw_segments;

/* Channel blocks and their weights. */
typedef struct dw_packing {
    dw_block *blocks;
    int64_t count;
    void *weights, *memory; /* 64-byte aligned, and what to free */
    void *astride; /* weights of the first block for a kernel DW_CROSS_PIXEL, if the plan has one; after the others */
} dw_packing;

/* Arrays as NumPy makes them begin at a multiple of 16 bytes: at one of four places within a vector of 64. */
enum { DW_X_ALIGNMENT = 16, DW_MAX_PACKINGS = 4 };

/* So many blocks at stride 2, and one more costs less than to cross boundaries; at stride 1 twice as many. */
enum { DW_BLOCKS_FOR_HEAD = 6 };

/* Of a plan for channels_first: nchw.c. */
typedef struct dw_planar {
    const dw_planar_table *table;
    const dw_planar_kernel *kernel; /* NULL: the general kernel of the table */
    int lanes;
    int64_t band, chunk; /* output rows, and planes, that are made column by column */
    dw_colvec *columns;
    int64_t column_count;
    dw_lane_range *spans; /* of the columns at the edges */
    void *weights;        /* [output channel][bias, taps] */
} dw_planar;

/* How a run of columns is best divided among kernels of the kind of the plan's tile: the width of the first of them,
 * and what they cost, in dw_column_cost's unit. */
enum { DW_MAX_DIVIDED = 32 };
typedef struct dw_division {
    double cost;
    int width;
} dw_division;

struct dw_plan {
    dw_desc desc;
    dw_isa isa;
    const dw_kernels *kernels;
    const dw_tile *tile; /* NULL: the general kernel makes everything */
    int64_t group_rows;  /* output rows of a strip: of the tile, or as many as roll at most */
    int64_t out_h, out_w, out_channels;
    int64_t element_size; /* bytes of an element */
    int64_t image_units;  /* of rows, of an image: into so many parts it can be divided that share no output */
    int64_t nanoseconds;  /* that a run takes on one thread, roughly */
    double low, high;
    int prefetch;             /* x and y do not fit into L2: kernels ask for inputs early */
    dw_activate_fn *activate; /* what follows the clamp; NULL: nothing */

    /* At stride 1 `merged` pixels are one column to the tile kernels, with merged * C channels whose weights
     * repeat: C = 3 or 24 fills no whole number of vectors, 16 or 2 pixels do. 1: off. */
    int64_t merged;
    const dw_tile *masked; /* makes the columns at the edges then; NULL: the general kernel makes the pixels there */
    dw_packing single; /* of one pixel, for the general kernel, if pixels are merged; with the weights of the others */

    /* [0] has its blocks from channel 0 on. [i] is for arrays that begin i * DW_X_ALIGNMENT bytes before a vector's
     * boundary: its blocks lie between boundaries, so that no load or store touches two cache lines. Either it has
     * one more block for the channels before the first boundary; or, if `straddle`, its first block holds the last
     * channels of one pixel and the first ones of the next, which only columns away from the edges can do. */
    dw_packing packings[DW_MAX_PACKINGS];
    int packing_count, straddle;
    dw_strip_fn *astride[DW_MAX_TILE_W + 1]; /* by columns, for blocks of two pixels at stride 2; NULL: none */

    dw_phase *phases;
    int64_t phase_count, phase_step;  /* phase_step: columns from one of a phase to the next */
    dw_segments segments, straddling; /* straddling: for packings other than the first, if `straddle` */

    dw_division
        divisions[DW_MAX_DIVIDED + 1]; /* by the number of columns; width 0: nhwc_shards.c does not divide columns */

    dw_planar *planar; /* NULL: channels_last. Else only the sizes and bounds above count */
};

/* Fills plan->packings and plan->single. */
dw_status dw_pack(dw_plan *plan, const void *kernel, const void *bias);

/* Whether two kernels differ in nothing but the columns of a tile and the flavour. */
int dw_alike(const dw_tile *a, const dw_tile *b);

/* The columns, of `cols`, that the widest kernel of plan->astride takes, and that kernel. */
int64_t dw_astride_cols(const dw_plan *plan, int64_t cols, dw_strip_fn **astride);

/* What `rows` output rows under one tile, or one column of a rolling kernel, cost. */
double dw_column_cost(const dw_plan *plan, const dw_tile *tile, double rows);

/* Fills plan->divisions. */
void dw_plan_divide_columns(dw_plan *plan);

/* Down so few rows, a processor does not prefetch the lines of y below before they are stored to. It does below more:
 * then it takes them from the processor that stores to them. Two threads with seven rows of 14x14x512 each take 17
 * to 60 us on Zen 4, with seven columns each 10; those with 56 rows of 112x112x32 each take 37 to 50, 37 if the last
 * four rows of the upper part are rolled down by themselves. */
enum { DW_FEW_ROWS = 4 };

/* What one of several parts makes: of all units, blocks and columns a share of one and the whole of the others. */
enum { DW_PART_SEGMENTS = 12 };
typedef struct dw_part {
    dw_range units; /* of rows: those of all images, which nhwc_run.c counts */
    dw_range blocks;
    dw_segments segments;
    dw_segment own[DW_PART_SEGMENTS];
} dw_part;
void dw_part_of(const dw_plan *plan, const dw_packing *packing, int64_t units, int part, int parts, dw_part *to);

/* What plan->nanoseconds is to be. */
int64_t dw_plan_nanoseconds(const dw_plan *plan);

/* nhwc_tiles.c */
void dw_choose_kernel(dw_plan *plan);
int64_t dw_rows_of_groups(const dw_plan *plan);
const dw_tile *dw_narrower_tile(const dw_plan *plan, const dw_tile *tile, int64_t cols);
const dw_tile *dw_tile_of_width(const dw_plan *plan, int width);
void dw_inner_columns(const dw_desc *d, int64_t out_w, int64_t *first, int64_t *end);
int dw_find_astride(dw_plan *plan);
int64_t dw_least_tiles(const dw_plan *plan);

/* nhwc_columns.c */
dw_status dw_make_columns(dw_plan *plan);
int dw_divisible(const dw_plan *plan, int64_t cols);
int dw_first_width(const dw_plan *plan, int64_t cols);

/* nhwc_run.c: a part of channels_last. */
void dw_nhwc_run_part(const dw_plan *plan, const void *x, void *y, int part, int parts);

/* channels_first: fills plan->planar; runs a part, frees. */
dw_status dw_planar_create(dw_plan *plan, const void *kernel, const void *bias);
void dw_planar_run(const dw_plan *plan, const void *x, void *y, int part, int parts);
void dw_planar_destroy(dw_planar *planar);

#endif
