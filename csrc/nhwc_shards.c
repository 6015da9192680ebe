/* nhwc_shards.c - divides a run into parts that write no byte of each other: by rows of all images, columns or channels. */
#include <math.h>

#include "plan.h"

/* ---- channels -------------------------------------------------------------------------------------- */

/* Whether parts of channels are more alike than parts of rows. Blocks must have no columns in common; and where kernels
 * roll down rows, channels meet in each pixel, where processors take lines from each other: 7x7x1024 in 8 to 27 us. */
static int divides_channels(const dw_plan *plan, const dw_packing *packing, int64_t units, int parts) {
    if (plan->merged > 1 || (plan->straddle && packing != plan->packings)) return 0;
    if (plan->tile && plan->tile->tile_h == 0 && units >= parts) return 0;
    return dw_imbalance(packing->count, parts) < dw_imbalance(units, parts);
}

/* ---- columns --------------------------------------------------------------------------------------- */

/* How wide the kernel at an edge had best be where `cols` columns are to be made by it and those away from the
 * edges: it alone, or, if `straddling`, beside at least one of these, which ends, or begins, in the middle of a
 * pixel. 0: no division is known. */
static int edge_width(const dw_plan *plan, int64_t cols, int straddling) {
    const dw_desc *d = &plan->desc;
    double least = INFINITY;
    int best = 0;
    if (cols > DW_MAX_DIVIDED) return 0;
    /* More columns than these have no tap in the padding, as must the one where a pixel is divided. */
    const int64_t reach = (d->kernel_w - 1) / d->stride_w + (straddling && d->stride_w > 1);
    for (int width = reach > 0 ? (int)reach : 1; width <= DW_MAX_TILE_W && width <= cols - straddling; width++) {
        if (plan->divisions[width].width != width || !dw_divisible(plan, cols - width)) continue;
        if ((width - 1) * d->stride_w + d->kernel_w > d->width) continue;
        const double cost = plan->divisions[width].cost + plan->divisions[cols - width].cost;
        if (cost >= least) continue;
        least = cost;
        best = width;
    }
    return best;
}

/* Whether to divide columns: where kernels roll down rows, and a part would have too few for its last ones to be rolled
 * down by themselves, see DW_FEW_ROWS; 8x8x960 in halves of 4 rows takes 16 us on Zen 4, of 4 columns 7. A cut is away
 * from kernels at an edge that nothing can replace: the general one, and those beside a block that begins in the pixel
 * before, with which they have outputs in common. */
static int divides_columns(const dw_plan *plan, const dw_segments *segments, int parts) {
    enum { ENOUGH_ROWS = 5 * DW_FEW_ROWS, LEAST_COLUMNS = 3 };
    const int64_t each = plan->out_w / parts, rows = (plan->out_h - 1) / parts + 1;
    if (!plan->tile || plan->tile->tile_h > 0 || plan->merged > 1 || plan->phase_count > 1) return 0;
    if (plan->desc.batch % parts == 0 || rows >= ENOUGH_ROWS || each < LEAST_COLUMNS) return 0;
    if (dw_divisible(plan, 1) && each > segments->inner && plan->out_w - each < segments->inner_end) return 1;
    if (segments->at == plan->straddling.at) return 0;
    for (int64_t cols = each; cols <= each + 1; cols++)
        if (!dw_divisible(plan, cols) || !edge_width(plan, cols, 0)) return 0;
    for (const dw_segment *s = segments->at; s < segments->at + segments->count; s++)
        if (!s->tile || s->cols == plan->out_w) return 0;
    return 1;
}

/* `edge`, of `segments`, as is best where `cols` columns are to be made. */
static dw_segment edge_of(const dw_plan *plan, const dw_segment *edge, int64_t cols, int straddling) {
    dw_segment best = *edge;
    const int width = edge_width(plan, cols, straddling);
    const dw_tile *now = edge->tile && edge->cols <= DW_MAX_TILE_W ? dw_tile_of_width(plan, (int)edge->cols) : NULL;
    int side = DW_INNER;
    while (now && side < DW_EDGES && now->strip[side] != edge->tile) side++;
    if (!now || side == DW_EDGES || width == 0) return best;
    best.tile = dw_tile_of_width(plan, width)->strip[side];
    best.cols = width;
    if (edge->col > 0) best.col = plan->out_w - width;
    return best;
}

/* Of `segments` those that make the columns [begin, end), those away from the edges divided anew. */
static void take_columns(const dw_plan *plan, const dw_segments *segments, dw_range columns, dw_part *to) {
    const int straddling = segments->at == plan->straddling.at;
    dw_segment *next = to->own;
    int64_t col = columns.begin, end = columns.end;
    for (const dw_segment *s = segments->at; s < segments->at + segments->count; s++) {
        if (s->inner) continue;
        if (s->col == 0 && columns.begin == 0) {
            *next = edge_of(plan, s, columns.end, straddling);
            col = next++->cols;
        } else if (s->col > 0 && columns.end == plan->out_w) {
            *next = *s;
            if (segments->inner_end == 0 || s->col == segments->inner_end - straddling)
                *next = edge_of(plan, s, plan->out_w - columns.begin + straddling, straddling);
            if (next->col + straddling < end) end = next->col + straddling;
            next++;
        }
    }
    while (col < end) { /* as many of a width that come one after the other, then of the next */
        const int width = dw_first_width(plan, end - col);
        *next =
            (dw_segment){.tile = dw_tile_of_width(plan, width)->strip[DW_INNER], .col = col, .shifted = 1, .inner = 1};
        next->astride = straddling && plan->tile->stride > 1;
        do col += width;
        while (col < end && dw_first_width(plan, end - col) == width);
        next->cols = col - next->col;
        next++;
    }
    to->segments = (dw_segments){.at = to->own, .count = next - to->own};
}

void dw_part_of(const dw_plan *plan, const dw_packing *packing, int64_t units, int part, int parts, dw_part *to) {
    to->units = (dw_range){0, units};
    to->blocks = (dw_range){0, packing->count};
    to->segments = packing != plan->packings && plan->straddle ? plan->straddling : plan->segments;
    if (parts == 1) return;
    if (divides_columns(plan, &to->segments, parts)) {
        const dw_segments all = to->segments;
        take_columns(plan, &all, dw_range_of(plan->out_w, part, parts), to);
    } else if (divides_channels(plan, packing, units, parts)) {
        const dw_range share = dw_range_of(packing->count, part, parts);
        to->blocks = (dw_range){dw_clean_cut(packing->blocks, packing->count, share.begin),
                                dw_clean_cut(packing->blocks, packing->count, share.end)};
    } else {
        to->units = dw_range_of(units, part, parts);
    }
}
