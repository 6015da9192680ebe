/* nhwc_tiles.c - chooses the kernel of a plan for channels_last, by what each would cost. */
#include <math.h>

#include "plan.h"

static int tile_fits(const dw_tile *tile, const dw_plan *plan, int flavour, int64_t cols) {
    const dw_desc *d = &plan->desc;
    if (tile->kernel_h != d->kernel_h || tile->kernel_w != d->kernel_w) return 0;
    if (tile->stride != d->stride_h || tile->stride != d->stride_w) return 0;
    if (tile->flavour != flavour || tile->tile_h > plan->out_h / d->dilation_h) return 0;
    /* A dilated kernel is dense within a phase only if outputs next to each other in the phase are one
     * dilation apart: at stride 1. */
    if (tile->stride != 1 && (d->dilation_h != 1 || d->dilation_w != 1)) return 0;
    return tile->tile_w <= cols;
}

/* What `rows` output rows under one tile, or one column of a rolling kernel, cost, in multiply-adds of vectors: of
 * these, the loads, and the latency of a chain of multiply-adds the largest, since a CPU does as many of each at a
 * time; and what starts or ends a row. Fitted to measurements on Zen 4. */
double dw_column_cost(const dw_plan *plan, const dw_tile *tile, double rows) {
    enum { START = 8, PER_ROW = 3, LATENCY = 4, SPILLS = 8 };
    const int w = tile->tile_w, taps = tile->kernel_h * tile->kernel_w;
    const int inputs = tile->flavour & DW_FOLDED ? w * tile->kernel_w : (w - 1) * tile->stride + tile->kernel_w;
    const int h = tile->tile_h > 0 ? tile->tile_h : 1;
    const int in_rows = tile->tile_h > 0 ? (h - 1) * tile->stride + tile->kernel_h : tile->stride;
    const double chained = h * w < LATENCY ? (h * w + LATENCY) / 2.0 : h * w; /* few sums wait for each other */
    double work = larger(chained * taps, in_rows * inputs + h * taps) + h * PER_ROW;
    if (tile->tile_h == 0 && !(tile->flavour & DW_FOLDED))
        work += inputs; /* which come from L2: few tiles in a column find them in L1 */
    const int sums = tile->tile_h > 0 ? h * w : w * ((tile->kernel_h - 1) / tile->stride + 1);
    if (sums + inputs + 2 > plan->kernels->registers) work += SPILLS;
    return ceil(rows / h) * work + START;
}

int dw_alike(const dw_tile *a, const dw_tile *b) {
    return a->kernel_h == b->kernel_h && a->kernel_w == b->kernel_w && a->stride == b->stride && a->tile_h == b->tile_h;
}

/* The kernel for `cols` columns, fewer than `tile` is wide: as narrow as does, of the same height; or `tile`. */
const dw_tile *dw_narrower_tile(const dw_plan *plan, const dw_tile *tile, int64_t cols) {
    const dw_tile *best = tile;
    for (const dw_tile *other = plan->kernels->tiles; other->name; other++) {
        if (!dw_alike(other, tile) || other->flavour != tile->flavour) continue;
        if (other->tile_w >= cols && other->tile_w < best->tile_w) best = other;
    }
    return best;
}

/* What `cols` columns cost: a tile at each edge, unless one is both, and what lies between them. */
static double tile_cost(const dw_plan *plan, const dw_tile *tile, double rows, int64_t cols) {
    const int64_t w = tile->tile_w, edges = tile->flavour & DW_FOLDED ? 0 : cols > w ? 2 : 1;
    const int64_t whole = cols >= edges * w ? cols / w : 1, rest = cols > whole * w ? cols - whole * w : 0;
    double cost = (double)whole * dw_column_cost(plan, tile, rows);
    if (rest) cost += dw_column_cost(plan, dw_narrower_tile(plan, tile, rest), rows);
    return cost;
}

/* The tile of a flavour that costs least for `cols` columns of each output row, or NULL; and what it costs. */
static const dw_tile *cheapest(const dw_plan *plan, int flavour, int64_t cols, double *cost) {
    const dw_desc *d = &plan->desc;
    /* Where columns are merged, only the step between taps knows of the dilation in width. */
    const int64_t phases = flavour & DW_FOLDED ? 1 : d->dilation_w;
    const dw_tile *best = NULL;
    for (const dw_tile *tile = plan->kernels->tiles; tile->name; tile++) {
        if (!tile_fits(tile, plan, flavour, cols / phases)) continue;
        const double rows = (double)div_up(plan->out_h, d->dilation_h);
        const double this_cost =
            (double)phases * (double)d->dilation_h * tile_cost(plan, tile, rows, div_up(cols, phases));
        if (best && this_cost >= *cost) continue;
        best = tile;
        *cost = this_cost;
    }
    return best;
}

/* Outputs [*first, *end) of a row have no tap in the padding; none if *first == *end. */
void dw_inner_columns(const dw_desc *d, int64_t out_w, int64_t *first, int64_t *end) {
    const int64_t reach = (d->kernel_w - 1) * d->dilation_w, room = d->width + d->pad_left - reach;
    *first = d->pad_left > 0 ? div_up(d->pad_left, d->stride_w) : 0;
    *end = room > 0 ? (room - 1) / d->stride_w + 1 : 0;
    if (*end > out_w) *end = out_w;
    if (*first > *end) *first = *end;
}

/* The kernel for a column of merged pixels at an edge; NULL if there is none of that size. */
static const dw_tile *masked_tile(const dw_plan *plan, const dw_tile *merged) {
    for (const dw_tile *other = plan->kernels->tiles; other->name; other++)
        if (dw_alike(other, merged) && other->flavour == (merged->flavour | DW_MASKED)) return other;
    return NULL;
}

/* The tile for merged columns, if it costs less than `cost`; sets plan->merged to the pixels of a column, as many as
 * fill whole vectors, and plan->masked. */
static const dw_tile *choose_folded(dw_plan *plan, double cost) {
    enum { MOST_LANES = 1024, GENERAL = 4 }; /* GENERAL: times as long as a tile takes the general kernel */
    const dw_desc *d = &plan->desc;
    const int64_t lanes = plan->kernels->lanes, channels = plan->out_channels, pixels = lanes / gcd(channels, lanes);
    plan->merged = 1;
    if (d->stride_h != 1 || d->stride_w != 1 || pixels == 1 || channels > MOST_LANES / pixels) return NULL;
    int64_t first, end;
    dw_inner_columns(d, plan->out_w, &first, &end);
    const int64_t edges = plan->out_w - end + first;
    const int flavour = DW_FOLDED | (d->multiplier > 1 ? DW_MULTIPLIER : 0);
    const double blocks = (double)(channels * pixels / lanes), rows = (double)div_up(plan->out_h, d->dilation_h);
    const dw_tile *tile = NULL;
    double merged_cost = 0;
    if (edges > 0 && plan->out_w >= 2 * pixels && first <= pixels && plan->out_w - end <= pixels) {
        const int64_t inner = (plan->out_w - 2 * pixels) / pixels;
        tile = cheapest(plan, flavour, inner > 0 ? inner : 1, &merged_cost);
        plan->masked = tile ? masked_tile(plan, tile) : NULL;
        if (plan->masked) merged_cost += 2 * (double)d->dilation_h * dw_column_cost(plan, plan->masked, rows);
    }
    if (!plan->masked) {
        if (end - first < pixels) return NULL;
        tile = cheapest(plan, flavour, (end - first) / pixels, &merged_cost);
        const double taps = (double)d->kernel_h * (double)d->kernel_w;
        merged_cost += GENERAL * (double)edges * (double)plan->out_h * taps * (double)div_up(channels, lanes) / blocks;
    }
    if (!tile || merged_cost * blocks >= cost) return NULL;
    plan->merged = pixels;
    return tile;
}

/* The tile for pairs of blocks, where it is faster than `tile`: if pixels are so far apart that their lines fall
 * into few sets of L1. On Zen 4, at stride 2 a multiple of 1024 bytes (14x14x512 13 -> 9 us), at stride 1 of 4096,
 * in rows of more than 7 (33x33x512, dilation 2: 154 -> 138). Blocks of AVX2 are half a line, which is gone when the
 * next one needs the other half, with tiles of four columns later than with those of seven: 28x28x512 at stride 2
 * 102 -> 59 us, 14x14x512 22 -> 16, 14x14x1024 at stride 1 148 -> 92, 33x33x512 351 -> 223; but 56x56x256 at stride
 * 2 94 -> 106. */
static const dw_tile *paired_tile(const dw_plan *plan, const dw_tile *tile) {
    enum { LINE = 64 };
    const dw_desc *d = &plan->desc;
    const int64_t lanes = plan->kernels->lanes, cols = plan->out_w / d->dilation_w;
    const int halves = lanes * plan->element_size < LINE;
    int64_t apart = tile->stride > 1 ? 1024 : 4096;
    if (halves) apart = (tile->stride > 1 ? 2048 : 4096) / (tile->tile_w == 7 && cols > 7 ? 2 : 1);
    const int64_t pitch = d->dilation_w % apart * (d->channels % apart) * plan->element_size;
    if (tile->flavour || plan->out_channels < 2 * lanes || pitch % apart != 0) return tile;
    for (const dw_tile *other = plan->kernels->tiles; other->name; other++)
        if (tile_fits(other, plan, DW_INTERLEAVED, cols)) return other;
    return tile;
}

void dw_choose_kernel(dw_plan *plan) {
    const dw_desc *d = &plan->desc;
    /* Channels that fill no AVX-512 vector may fill one of AVX2, if not several pixels do. */
    for (int narrower = 0; narrower < 2; narrower++) {
        const int64_t lanes = plan->kernels->lanes;
        double cost = INFINITY, single = INFINITY;
        if (plan->out_channels >= lanes)
            plan->tile = cheapest(plan, d->multiplier > 1 ? DW_MULTIPLIER : 0, plan->out_w, &single);
        if (plan->tile) cost = single * (double)div_up(plan->out_channels, lanes);
        const dw_tile *tile = choose_folded(plan, cost);
        if (tile) {
            plan->tile = tile;
            return;
        }
        plan->masked = NULL;
        if (plan->tile) plan->tile = paired_tile(plan, plan->tile);
        if (plan->tile || plan->isa != DW_ISA_AVX512 || plan->out_channels >= lanes) return;
        plan->kernels = dw_kernels_of(DW_ISA_AVX2, d->dtype);
    }
}

/* Output rows of a strip: of the tile, or as many as may roll, divided evenly. */
int64_t dw_rows_of_groups(const dw_plan *plan) {
    if (!plan->tile) return 1;
    if (plan->tile->tile_h > 0) return plan->tile->tile_h;
    const int64_t rows = div_up(plan->out_h, plan->desc.dilation_h);
    return div_up(rows, div_up(rows, DW_MAX_OUT_ROWS));
}

int64_t dw_astride_cols(const dw_plan *plan, int64_t cols, dw_strip_fn **astride) {
    int64_t width = cols < DW_MAX_TILE_W ? cols : DW_MAX_TILE_W;
    while (!plan->astride[width]) width--; /* there is one for a single column */
    *astride = plan->astride[width];
    return cols / width * width;
}

/* Fills plan->astride; returns whether there are any. */
int dw_find_astride(dw_plan *plan) {
    for (const dw_tile *other = plan->kernels->tiles; other->name; other++)
        if (dw_alike(other, plan->tile) && other->flavour == DW_CROSS_PIXEL)
            plan->astride[other->tile_w] = other->strip[DW_INNER];
    return plan->astride[1] != NULL;
}

/* Tiles that a row must have, or blocks astride cost more than they save. At stride 2 they are more work than
 * others; and pairs of blocks, which they break up, are better off without. */
int64_t dw_least_tiles(const dw_plan *plan) {
    if (plan->tile->stride == 1) return 3;
    if (plan->tile->flavour) return 6;
    return plan->out_channels / plan->kernels->lanes >= DW_BLOCKS_FOR_HEAD ? 2 : 1;
}

/* The kernel of the kind of the plan's tile that is so wide; NULL if there is none. */
const dw_tile *dw_tile_of_width(const dw_plan *plan, int width) {
    const dw_tile *tile = plan->tile;
    for (const dw_tile *other = plan->kernels->tiles; other->name; other++)
        if (dw_alike(other, tile) && other->flavour == tile->flavour && other->tile_w == width) return other;
    return NULL;
}
