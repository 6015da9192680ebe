/* nhwc_strategies.c - channels last: the ways to compute a problem.
 *
 * A strategy is a kernel of the list of an instruction set, or the general kernel, and one option of each axis below.
 * An axis is a question that the planner decides: its options with their names, when an option can be used at all, and
 * the rule by which the estimate decides. Rules and costs never change a result, so every strategy that applies may be
 * chosen: by the estimate, by measurement (measure.c), by a name that somebody kept.
 *
 * A new kernel is a candidate as soon as dw_tile_cost knows it. A new option: its number in nhwc.h, its name here, and
 * what reads it. A new axis: a row of `axes`.
 *
 * What must not be broken: names are kept in files, so one that has been released keeps its meaning. */
#include <math.h>

#include "desc.h"
#include "nhwc.h"

/* ---- the axes -------------------------------------------------------------------------------------- */

typedef struct axis {
    const char *const *names; /* by option */
    int count;
    int (*applies)(const dw_nhwc *nhwc, const dw_problem *problem, int option);
    int (*rule)(const dw_nhwc *nhwc, const dw_problem *problem); /* the option that the estimate takes */
} axis;

/* Where blocks begin. */
static const char *const packing_names[] = {"", "aligned", "cross_pixel"};

static int packing_applies(const dw_nhwc *nhwc, const dw_problem *problem, int option) {
    if (option == DW_PACKING_PLAIN) return 1;
    if (option == DW_PACKING_CROSS_PIXEL && !nhwc->aligned.cross_pixel) return 0;
    return dw_nhwc_can_align(nhwc, problem);
}

/* Whether the column more that blocks that span two pixels need costs less than what else there is against crossing
 * lines: one more block, or to cross them. */
static int column_pays(const dw_nhwc *nhwc, const dw_problem *problem, int64_t blocks) {
    const dw_tuning *tuning = problem->tuning;
    const int narrow = dw_is_narrow(nhwc, problem);
    /* At stride 2 that block is made by kernels of its own; rolling kernels have narrow ones for what is left over. Zen 3,
     * AVX2: 7x7x1024 nevertheless takes 0.85 of the time with one block more. */
    if (nhwc->tile->stride > 1) return 1;
    if (nhwc->tile->tile_h == 0) return !narrow || blocks < tuning->aligned_blocks[0];
    const double one_more = (double)(blocks + 1) / (double)blocks, crossing = tuning->crossing[narrow];
    return dw_extra_column(nhwc, problem) <= (blocks >= tuning->aligned_blocks[0] ? one_more : crossing);
}

static int packing_rule(const dw_nhwc *nhwc, const dw_problem *problem) {
    const dw_tuning *tuning = problem->tuning;
    if (!dw_nhwc_can_align(nhwc, problem)) return DW_PACKING_PLAIN;
    const int64_t pixel = problem->desc.channels * problem->element_size;
    if (dw_is_narrow(nhwc, problem) && pixel < tuning->aligned_pitch) return DW_PACKING_PLAIN;
    const int64_t blocks = problem->out_channels / nhwc->table->lanes;
    const int rolls = nhwc->tile->tile_h == 0 && nhwc->tile->stride == 1;
    if (nhwc->aligned.cross_pixel && (!rolls || tuning->rolls_cross_pixel)) {
        /* Tiles of a row, with the column more that such blocks need. */
        const int64_t tiles =
            (problem->out_w - nhwc->aligned.at[nhwc->aligned.count - 1].cols + 1) / nhwc->tile->tile_w;
        if (tiles >= dw_cross_pixel_tiles(nhwc, problem) && column_pays(nhwc, problem, blocks))
            return DW_PACKING_CROSS_PIXEL;
    }
    return blocks >= tuning->aligned_blocks[nhwc->tile->stride > 1] ? DW_PACKING_ALIGNED : DW_PACKING_PLAIN;
}

/* What kernels prefetch. Not the next rows of x, in the order of memory: on Emerald Rapids (AVX-512, 260 MB of L3) tiles
 * with it take 1.03 to 1.25 times as long at stride 1, 1.03 to 1.4 at stride 2, from L2 as from L3. */
static const char *const prefetch_names[] = {"", "prefetch", "outputs"};

static int prefetch_applies(const dw_nhwc *nhwc, const dw_problem *problem, int option) {
    const dw_tile *tile = nhwc->tile;
    (void)problem;
    if (option == DW_PREFETCH_NONE) return 1;
    /* Others do not look at it: nhwc_kernels.inc, `prefetches`, `prefetches_outputs`. */
    if (!tile || dw_is_wide(tile) || tile->kernel_h > 3 || tile->flavour & ~DW_INTERLEAVED) return 0;
    return option == DW_PREFETCH_BLOCKS ? tile->tile_h == 0 : tile->tile_h > 0 && tile->stride == 1;
}

static int prefetch_rule(const dw_nhwc *nhwc, const dw_problem *problem) {
    enum { LINE = 64 };
    const dw_tuning *tuning = problem->tuning;
    const int64_t pixel = problem->out_channels * problem->element_size;
    const int splits = pixel % LINE != 0 && pixel >= tuning->split_outputs;
    if (prefetch_applies(nhwc, problem, DW_PREFETCH_OUTPUTS) && (splits || dw_exceeds(problem, tuning->outputs_bytes)))
        return DW_PREFETCH_OUTPUTS;
    const int pays = tuning->prefetches && dw_exceeds_l2(problem);
    return pays && prefetch_applies(nhwc, problem, DW_PREFETCH_BLOCKS) ? DW_PREFETCH_BLOCKS : DW_PREFETCH_NONE;
}

/* How many rows roll down at a time. */
static const char *const rows_names[] = {"", "rows8"};

static int rows_applies(const dw_nhwc *nhwc, const dw_problem *problem, int option) {
    return option == DW_ROWS_MOST ||
           (nhwc->tile && nhwc->tile->tile_h == 0 && dw_div_up(problem->out_h, problem->desc.dilation_h) > DW_FEW_ROWS);
}

/* Of 16 bits two vectors of AVX-512 share a line, which is to be in L1 when the second comes. Ice Lake-SP, float16:
 * 56x56x128 takes 0.81 of the time; 28x28 the same, 14x14 1.03. */
static int rows_rule(const dw_nhwc *nhwc, const dw_problem *problem) {
    enum { MANY_ROWS = 28 };
    /* Folded columns are narrow: 224x224x3 takes 82 us as a whole, 92 so (Ice Lake). */
    const int folded = nhwc->tile && nhwc->tile->flavour & DW_FOLDED;
    const int64_t rows = dw_div_up(problem->out_h, problem->desc.dilation_h);
    const int shared = dw_is_half(problem->desc.dtype) && dw_is_narrow(nhwc, problem) && rows > MANY_ROWS;
    const int pays = !folded && (shared || dw_exceeds(problem, problem->tuning->few_rows_bytes));
    return pays && rows_applies(nhwc, problem, DW_ROWS_FEW) ? DW_ROWS_FEW : DW_ROWS_MOST;
}

/* How many channels are finished before the next ones. No rule takes few: where it pays depends on how lines fall into
 * sets. Emerald Rapids, AVX2: 14x14x576 takes 0.87 of the time, 5x5 at stride 2 of 14x14x672 0.87, 14x14x512 1.02, 28x28x192
 * 1.05; AVX-512 14x14x576 0.93, 14x14x384 0.93, 14x14x256 1.04. */
static const char *const chunk_names[] = {"", "all_channels", "few_channels"};

static int chunk_applies(const dw_nhwc *nhwc, const dw_problem *problem, int option) {
    const int64_t blocks = dw_div_up(problem->out_channels, nhwc->table->lanes) * nhwc->fold;
    /* What rolls has its rows in registers, not in L1. */
    if (option == DW_CHUNK_FEW)
        return nhwc->tile && nhwc->tile->tile_h > 0 && !dw_is_wide(nhwc->tile) && blocks > DW_FEW_BLOCKS;
    return option == DW_CHUNK_L1 || blocks > nhwc->chunk;
}

static int chunk_rule(const dw_nhwc *nhwc, const dw_problem *problem) {
    (void)nhwc, (void)problem;
    return DW_CHUNK_L1;
}

#define DW_COUNT(names) ((int)(sizeof(names) / sizeof *(names)))
static const axis axes[DW_NHWC_AXES] = {
    [DW_AXIS_PACKING] = {packing_names, DW_COUNT(packing_names), packing_applies, packing_rule},
    [DW_AXIS_PREFETCH] = {prefetch_names, DW_COUNT(prefetch_names), prefetch_applies, prefetch_rule},
    [DW_AXIS_ROWS] = {rows_names, DW_COUNT(rows_names), rows_applies, rows_rule},
    [DW_AXIS_CHUNK] = {chunk_names, DW_COUNT(chunk_names), chunk_applies, chunk_rule},
};

/* ---- one strategy ---------------------------------------------------------------------------------- */

/* The options that the rules choose for the tile that nhwc has. */
static void take_rules(dw_nhwc *nhwc, const dw_problem *problem) {
    for (int i = 0; i < DW_NHWC_AXES; i++) nhwc->strategy.option[i] = (signed char)axes[i].rule(nhwc, problem);
    nhwc->strategy.isa = nhwc->isa;
    nhwc->strategy.tile = nhwc->tile;
}

void dw_nhwc_estimate(dw_nhwc *nhwc, const dw_problem *problem) {
    dw_choose_tile(nhwc, problem);
    dw_nhwc_divide_columns(nhwc, problem);
    take_rules(nhwc, problem);
}

void dw_nhwc_use(dw_nhwc *nhwc, const dw_problem *problem, const dw_strategy *strategy) {
    dw_use_tile(nhwc, problem, strategy->isa, strategy->tile);
    dw_nhwc_divide_columns(nhwc, problem);
    nhwc->strategy = *strategy;
}

void dw_nhwc_strategy_name(const dw_nhwc_table *table, const dw_strategy *strategy, char *to, int size) {
    const char *const *names[DW_NHWC_AXES];
    for (int i = 0; i < DW_NHWC_AXES; i++) names[i] = axes[i].names;
    const char *kernel = strategy->tile ? strategy->tile->name : table->general_name;
    dw_strategy_write_name(kernel, names, DW_NHWC_AXES, strategy->option, to, size);
}

/* ---- all of them ----------------------------------------------------------------------------------- */

/* The tile of nhwc with every combination of options. What the rules choose costs what the tile costs; another option
 * costs a little more, so that it is tried after it. */
static void add_options(const dw_nhwc *nhwc, const dw_problem *problem, double cost, dw_strategies *to) {
    dw_strategy one = nhwc->strategy;
    int at[DW_NHWC_AXES] = {0};
    for (int axis = 0; axis < DW_NHWC_AXES;) {
        int applies = 1;
        one.cost = cost;
        for (int i = 0; i < DW_NHWC_AXES && applies; i++) {
            one.option[i] = (signed char)at[i];
            applies = axes[i].applies(nhwc, problem, at[i]);
            if (at[i] != nhwc->strategy.option[i]) one.cost *= problem->tuning->other_option[i];
        }
        if (applies) dw_strategies_add(to, &one);
        for (axis = 0; axis < DW_NHWC_AXES && ++at[axis] == axes[axis].count; axis++) at[axis] = 0;
    }
}

static void add_tile(const dw_problem *problem, const dw_instruction_set *isa, const dw_tile *tile, dw_strategies *to) {
    dw_nhwc nhwc = {.isa = isa, .table = isa->nhwc[problem->desc.dtype]};
    const double cost = dw_tile_cost(&nhwc, problem, tile);
    if (cost == (double)INFINITY) return;
    dw_use_tile(&nhwc, problem, isa, tile);
    dw_nhwc_divide_columns(&nhwc, problem);
    take_rules(&nhwc, problem);
    add_options(&nhwc, problem, cost, to);
}

void dw_nhwc_strategies(const dw_problem *problem, dw_strategies *to) {
    for (const dw_instruction_set *isa = problem->isa; isa; isa = isa->narrower) {
        const dw_nhwc_table *table = isa->nhwc[problem->desc.dtype];
        /* Narrower vectors are worth a look where channels do not fill those of the problem's. */
        if (isa != problem->isa && problem->out_channels % problem->isa->nhwc[problem->desc.dtype]->lanes == 0) break;
        for (const dw_tile *tile = table->tiles; tile->name; tile++) add_tile(problem, isa, tile, to);
        add_tile(problem, isa, NULL, to);
    }
    dw_nhwc chosen = {0};
    dw_nhwc_estimate(&chosen, problem);
    dw_strategies_rank(to, &chosen.strategy);
}
