/* nhwc.h - what a plan for channels last holds, and the functions of its files.
 *
 * A plan is made once, in this order: a strategy is chosen (nhwc_strategies.c), of which the kernel (nhwc_tiles.c) is
 * the greater part; the output columns are divided among the kernel's variants (nhwc_columns.c), the channels are
 * divided into blocks and the weights packed for them (nhwc_pack.c); for columns of several pixels, the lanes in the
 * padding are found (nhwc_masks.c). A run then takes one of the packings, by where the arrays lie, and its part of the
 * work (nhwc_parts.c), and goes through it (nhwc_run.c). */
#ifndef DW_NHWC_H
#define DW_NHWC_H

#include "problem.h"
#include "sizes.h"
#include "strategy.h"

/* ---- options --------------------------------------------------------------------------------------- */

/* The axes of a strategy and their options; nhwc_strategies.c says what each is called and where it applies. */
enum { DW_AXIS_PACKING, DW_AXIS_PREFETCH, DW_AXIS_ROWS, DW_AXIS_CHUNK, DW_NHWC_AXES };

/* Where blocks begin: at channel 0; at boundaries of vectors, with one more block for the channels before the first; or
 * there, with a first block that spans two pixels. */
enum { DW_PACKING_PLAIN, DW_PACKING_ALIGNED, DW_PACKING_CROSS_PIXEL };
/* What kernels prefetch: nhwc_kernels.h. */
/* Rows that roll down at a time: as many as may, or DW_FEW_ROWS. */
enum { DW_ROWS_MOST, DW_ROWS_FEW, DW_FEW_ROWS = 8 };
/* Channels that a strip goes through before the next ones: those whose inputs stay in L1, or all; or few, in all rows
 * before the next ones. */
enum { DW_CHUNK_L1, DW_CHUNK_ALL, DW_CHUNK_FEW, DW_FEW_BLOCKS = 8 };

/* ---- columns --------------------------------------------------------------------------------------- */

/* Dilation phases. Outputs that are one dilation apart form a phase: a dense problem of its own for the tile kernels.
 * These are `count` phases of the same sizes; each begins one column after the one before, in x and in y. Without
 * dilation there is one phase of all columns. Of many phases there are at most four such groups, however large the
 * dilation is. */
typedef struct dw_phases {
    int64_t count;
    int64_t x_first; /* first column of x in the first phase */
    int64_t width;   /* columns of x in each phase; 0: all of it is padding */
    int64_t pad;     /* columns of padding on the left in each phase */
    int64_t y_first; /* first output column of the first phase */
    int64_t cols;    /* output columns of each phase */
} dw_phases;

/* A run of output columns of each phase of a group, and the kernel that makes them: a tile, or a masked one, or, if
 * both are NULL, the general kernel. */
typedef struct dw_segment {
    int phases; /* index of the group */
    dw_tile_fn *tile;
    dw_masked_fn *masked;
    const dw_valid_lanes *valid; /* masked: its lanes, of the plan's */
    int64_t col, cols;
    int inner; /* by tiles away from the edges: may be divided otherwise */
} dw_segment;

enum { DW_MAX_PHASES = 5, DW_MAX_SEGMENTS = 4 * DW_MAX_PHASES };

typedef struct dw_segments {
    dw_segment at[DW_MAX_SEGMENTS];
    int count;
    int64_t inner, inner_end; /* columns for tiles away from the edges, if there is one phase */
    /* For line-aligned packings whose first block spans two pixels. Only inner segments can use such a block; the
     * others use the first packing. */
    int cross_pixel;
} dw_segments;

/* How a run of columns is best divided among kernels of the kind of the plan's tile: the width of the first of them,
 * and what they cost, in dw_column_cost's unit. Width 0: it cannot be divided. */
enum { DW_MAX_DIVIDED = 32 };
typedef struct dw_division {
    double cost;
    int width;
} dw_division;

/* ---- channels -------------------------------------------------------------------------------------- */

/* Channel blocks and their weights. */
typedef struct dw_packing {
    dw_block *blocks; /* this and the weights: dw_shared memory */
    int64_t count;
    void *weights;             /* NULL: not packed, there being another packing that is */
    int64_t bytes;             /* of the weights */
    void *cross_pixel_weights; /* of the first block, for kernels of that flavour; behind the others, or NULL */
} dw_packing;

/* Arrays as NumPy makes them begin at a multiple of 16 bytes: at one of four offsets within a vector of 64. */
enum { DW_X_ALIGNMENT = 16, DW_MAX_PACKINGS = 4, DW_EVERY_PACKING = (1 << DW_MAX_PACKINGS) - 1 };

/* ---- the plan -------------------------------------------------------------------------------------- */

/* All memory that it owns is dw_shared memory: dw_nhwc_keep and dw_nhwc_destroy name each piece. */
typedef struct dw_nhwc {
    dw_strategy strategy;
    const dw_instruction_set *isa; /* whose kernels are used: the problem's, or a narrower one */
    const dw_nhwc_table *table;
    int64_t chunk;            /* blocks that a strip goes through before the next ones */
    const dw_tile *tile;      /* NULL: the general kernel makes everything */
    dw_activate_fn *activate; /* what follows the clamp; NULL: nothing */

    /* Folded pixels. At stride 1 `fold` pixels are one column to the tile kernels, with fold * C channels whose weights
     * repeat: C = 3 or 24 fills no whole number of vectors, 16 or 2 pixels do. 1: not folded. */
    int64_t fold;
    const dw_tile *masked; /* makes the folded columns at the edges; NULL: the general kernel makes the pixels there */
    dw_valid_lanes *valid; /* of these columns: [column][block][kernel column]; valid_count of them */
    int64_t valid_count;
    /* For the general kernel, where packings[0] is not: of folded pixels, with the weights of packings[0]; beside kernels
     * with M sums per input, with weights of its own, whose bytes it counts. Else it has no
     * blocks. */
    dw_packing one_pixel;

    /* [0] has its blocks from channel 0 on. [i] is line-aligned for arrays that begin i * DW_X_ALIGNMENT bytes before a
     * vector's boundary: no load or store touches two cache lines. Either it has one more block, for the channels before
     * the first boundary; or, if aligned.cross_pixel, its first block spans two pixels. */
    dw_packing packings[DW_MAX_PACKINGS];
    int packing_count;
    dw_tile_fn *cross_pixel[DW_MAX_TILE_W + 1]; /* by tile width: kernels for such a block at stride 2; NULL: none */

    dw_phases phases[DW_MAX_PHASES];
    int phases_count;
    int64_t phase_step;                        /* columns from one of a phase to the next */
    dw_segments segments, aligned;             /* aligned: if its cross_pixel, for packings other than the first */
    dw_division divisions[DW_MAX_DIVIDED + 1]; /* by the number of columns; all of width 0: columns are not divided */

    /* What all calls have in common: made once. */
    dw_tile_args tile_args;
    dw_general_args general_args;

    /* Rows. Those of one vertical phase lie row_step apart. */
    int64_t row_step;
    int64_t group_rows;  /* output rows that a tile makes, or that roll down at a time */
    int64_t image_units; /* of rows, in an image: a unit shares no output with another one */
} dw_nhwc;

/* nhwc.c. strategy: one of dw_nhwc_strategies, or NULL for the estimate's choice. */
dw_status dw_nhwc_create(dw_nhwc *nhwc, const dw_problem *problem, const dw_strategy *strategy, const void *kernel,
                         const void *bias);
void dw_nhwc_destroy(dw_nhwc *nhwc);
/* A bitwise copy of a plan becomes an owner of the same memory. */
void dw_nhwc_keep(dw_nhwc *copy);
void dw_nhwc_describe(const dw_nhwc *nhwc, const dw_problem *problem, dw_plan_info *info);

/* nhwc_run.c: part `part` of `parts` of a run for `batch` images; where an output for x should begin, see
 * dw_plan_place. */
void dw_nhwc_run(const dw_nhwc *nhwc, const dw_problem *problem, int64_t batch, const void *x, void *y, int part,
                 int parts);
int dw_nhwc_page_offset(const dw_nhwc *nhwc, const dw_problem *problem, int64_t batch, const void *x);
/* Those packings that a run for x and y reads if they are packed. (A run takes another one if they are not.) */
unsigned dw_nhwc_packings_for(const dw_nhwc *nhwc, const dw_problem *problem, const void *x, const void *y);
/* Fills tile_args and general_args. */
void dw_nhwc_make_args(dw_nhwc *nhwc, const dw_problem *problem);
/* Fills row_step, group_rows, image_units. */
void dw_nhwc_divide_rows(dw_nhwc *nhwc, const dw_problem *problem);

/* nhwc_parts.c: what one of several parts makes. Of units of rows (those of all images), blocks and columns it has a
 * range of one and the whole of the others. */
typedef struct dw_part {
    dw_range units, blocks;
    const dw_segments *segments;
    dw_segments own; /* if they are not the plan's */
} dw_part;
void dw_nhwc_part_of(const dw_nhwc *nhwc, const dw_problem *problem, int64_t batch, const dw_packing *packing, int part,
                     int parts, dw_part *to);

/* nhwc_strategies.c: adds the strategies of a problem, ranked, the estimate's choice first; the name of one. */
void dw_nhwc_strategies(const dw_problem *problem, dw_strategies *to);
void dw_nhwc_strategy_name(const dw_nhwc_table *table, const dw_strategy *strategy, char *to, int size);
/* Take the estimate's choice, or another one: fill strategy, what the tile decides, and columns. */
void dw_nhwc_estimate(dw_nhwc *nhwc, const dw_problem *problem);
void dw_nhwc_use(dw_nhwc *nhwc, const dw_problem *problem, const dw_strategy *strategy);

/* nhwc_pack.c: fills packings and one_pixel. */
dw_status dw_nhwc_pack(dw_nhwc *nhwc, const dw_problem *problem, const void *kernel, const void *bias);
/* Replaces the weights; what they were is still there for its other owners. On failure some are replaced. which: a bit
 * for each packing that is wanted, one at least; the others lose their weights. */
dw_status dw_nhwc_repack(dw_nhwc *nhwc, const dw_problem *problem, unsigned which, const void *kernel,
                         const void *bias);
int dw_nhwc_is_packed(const dw_nhwc *nhwc, unsigned which); /* all of these */
void dw_nhwc_forget(dw_nhwc *nhwc, unsigned which);         /* drops the weights of these */
/* Takes over blocks and weights of `other` where they have the same bytes. */
void dw_nhwc_merge(dw_nhwc *nhwc, const dw_nhwc *other);
/* Whether blocks can begin at boundaries of vectors, wherever x begins: each pixel then begins there, too. */
int dw_nhwc_can_align(const dw_nhwc *nhwc, const dw_problem *problem);

/* nhwc_masks.c: fills valid, once there are columns and blocks. */
dw_status dw_nhwc_make_masks(dw_nhwc *nhwc, const dw_problem *problem);

/* nhwc_columns.c: fills phases, segments, aligned and divisions. */
void dw_nhwc_divide_columns(dw_nhwc *nhwc, const dw_problem *problem);
/* Whether kernels side by side can make this many columns; the width of the first of those that do it best. */
int dw_divisible(const dw_nhwc *nhwc, int64_t cols);
int dw_first_width(const dw_nhwc *nhwc, int64_t cols);

/* nhwc_tiles.c: fill isa, table, chunk, tile, fold and masked: with the tile that the model prefers, or a given one. */
void dw_choose_tile(dw_nhwc *nhwc, const dw_problem *problem);
void dw_use_tile(dw_nhwc *nhwc, const dw_problem *problem, const dw_instruction_set *isa, const dw_tile *tile);
/* What an image costs with a tile of nhwc's table (NULL: the general kernel), in multiply-adds of vectors; infinite if
 * the tile cannot compute the problem. */
double dw_tile_cost(const dw_nhwc *nhwc, const dw_problem *problem, const dw_tile *tile);
/* The kernel for `cols` columns, fewer than `tile` is wide: the narrowest that is wide enough, of the same height and
 * flavour; or `tile`. */
const dw_tile *dw_narrower_tile(const dw_nhwc *nhwc, const dw_tile *tile, int64_t cols);
/* The kernel like the plan's tile that is `width` columns wide; NULL if there is none. */
const dw_tile *dw_tile_of_width(const dw_nhwc *nhwc, int width);
/* Whether x and y of an image have more bytes than that; whether they do not stay in L2. */
int dw_exceeds(const dw_problem *problem, int64_t bytes);
int dw_exceeds_l2(const dw_problem *problem);
/* Whether vectors are narrower than a cache line. */
int dw_is_narrow(const dw_nhwc *nhwc, const dw_problem *problem);
/* What `rows` output rows under one tile, or of one column of a rolling kernel, cost. */
double dw_column_cost(const dw_nhwc *nhwc, const dw_problem *problem, const dw_tile *tile, double rows);
/* What a row of one column more costs, with the plan's tile, / what it costs. */
double dw_extra_column(const dw_nhwc *nhwc, const dw_problem *problem);
/* Outputs [*first, *end) of a row have no tap in the padding; none if *first == *end. */
void dw_inner_columns(const dw_problem *problem, int64_t *first, int64_t *end);
/* Fills cross_pixel; returns whether there are such kernels. */
int dw_find_cross_pixel(dw_nhwc *nhwc);
/* The columns, of `cols`, that the widest kernel of cross_pixel takes, and that kernel. */
int64_t dw_cross_pixel_cols(const dw_nhwc *nhwc, int64_t cols, dw_tile_fn **kernel);
/* Tiles that a row must have, or blocks that span two pixels cost more than they save. */
int64_t dw_cross_pixel_tiles(const dw_nhwc *nhwc, const dw_problem *problem);

#endif
