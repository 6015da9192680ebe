/* nhwc_parts.c - channels last: what each of several threads makes of a run. No two parts write the same byte.
 *
 * A run can be cut in three ways, and which is best depends on the shape:
 * - rows of all images: the rule. No part needs to know of the others.
 * - columns, where images are so low that a part would have too few rows to roll down.
 * - channels, where they can be divided more evenly than rows.
 * tuning.c has the evidence for the thresholds. */
#include <math.h>

#include "nhwc.h"

/* ---- channels -------------------------------------------------------------------------------------- */

/* Whether parts of channels are of more similar size than parts of rows. Blocks must have no columns in common. And not
 * where kernels roll down rows: the channels of two parts meet in each pixel, and cores take lines from each other.
 * Zen 4, two threads: 7x7x1024 then takes 8 to 27 us. */
static int divides_channels(const dw_nhwc *nhwc, const dw_problem *problem, const dw_packing *packing, int64_t units,
                            int parts) {
    if (nhwc->fold > 1 || nhwc->one_pixel.blocks || (nhwc->aligned.cross_pixel && packing != nhwc->packings)) return 0;
    if (nhwc->tile && nhwc->tile->tile_h == 0 && units >= parts) return 0;
    /* Nor where small tiles of whole lines do: two threads take 27 us for 14x14x512 so, one 20 (Emerald Rapids). */
    if (nhwc->tile && nhwc->tile->kernel_h == 3 && !dw_is_narrow(nhwc, problem) && units >= parts) return 0;
    return dw_imbalance(packing->count, parts) < dw_imbalance(units, parts);
}

/* ---- columns --------------------------------------------------------------------------------------- */

/* The best width for the edge tile of a part of `cols` columns; inner tiles cover the rest. With `cross_pixel` at least
 * one inner tile must remain, which ends, or begins, in the middle of a pixel. 0 if no division is known. */
static int edge_width(const dw_nhwc *nhwc, const dw_problem *problem, int64_t cols, int cross_pixel) {
    const dw_desc *d = &problem->desc;
    double least = INFINITY;
    int best = 0;
    if (cols > DW_MAX_DIVIDED) return 0;
    /* Wider than the columns that have a tap in the padding; so must be the column where a pixel is divided. */
    const int64_t padded = (d->kernel_w - 1) / d->stride_w + (cross_pixel && d->stride_w > 1);
    for (int width = padded > 0 ? (int)padded : 1; width <= DW_MAX_TILE_W && width <= cols - cross_pixel; width++) {
        if (nhwc->divisions[width].width != width || !dw_divisible(nhwc, cols - width)) continue;
        if ((width - 1) * d->stride_w + d->kernel_w > d->width) continue;
        const double cost = nhwc->divisions[width].cost + nhwc->divisions[cols - width].cost;
        if (cost >= least) continue;
        least = cost;
        best = width;
    }
    return best;
}

/* Whether to divide columns: where kernels roll down rows and a part would have few of them. No cut may touch a kernel
 * at an edge that nothing can replace: the general one, and those beside a block that spans two pixels, with which they
 * have outputs in common. */
static int divides_columns(const dw_nhwc *nhwc, const dw_problem *problem, int64_t batch, const dw_segments *segments,
                           int parts) {
    const int64_t each = problem->out_w / parts, rows = dw_div_up(problem->out_h, parts);
    if (!nhwc->tile || nhwc->tile->tile_h > 0 || nhwc->fold > 1 || nhwc->phase_step > 1) return 0;
    if (batch % parts == 0 || rows >= problem->tuning->divided_rows) return 0;
    if (each < problem->tuning->divided_columns) return 0;
    if (dw_divisible(nhwc, 1) && each > segments->inner && problem->out_w - each < segments->inner_end) return 1;
    if (segments->cross_pixel) return 0;
    for (int64_t cols = each; cols <= each + 1; cols++)
        if (!dw_divisible(nhwc, cols) || !edge_width(nhwc, problem, cols, 0)) return 0;
    for (const dw_segment *s = segments->at; s < segments->at + segments->count; s++)
        if (!s->tile || s->cols == problem->out_w) return 0;
    return 1;
}

/* The edge tile for a part of `cols` columns, in place of `edge`. */
static dw_segment edge_of(const dw_nhwc *nhwc, const dw_problem *problem, const dw_segment *edge, int64_t cols,
                          int cross_pixel) {
    dw_segment best = *edge;
    const int width = edge_width(nhwc, problem, cols, cross_pixel);
    const dw_tile *now = edge->tile && edge->cols <= DW_MAX_TILE_W ? dw_tile_of_width(nhwc, (int)edge->cols) : NULL;
    int side = DW_INNER;
    while (now && side < DW_EDGES && now->run[side] != edge->tile) side++;
    if (!now || side == DW_EDGES || width == 0) return best;
    best.tile = dw_tile_of_width(nhwc, width)->run[side];
    best.cols = width;
    if (edge->col > 0) best.col = problem->out_w - width;
    return best;
}

/* The segments for the columns [begin, end), from `all`: edges that are among them, and inner tiles divided anew. */
static void divide_anew(const dw_nhwc *nhwc, const dw_problem *problem, const dw_segments *all, dw_range columns,
                        dw_segments *to) {
    const int cross_pixel = all->cross_pixel;
    dw_segment *next = to->at;
    int64_t col = columns.begin, end = columns.end;
    for (const dw_segment *s = all->at; s < all->at + all->count; s++) {
        if (s->inner) continue;
        if (s->col == 0 && columns.begin == 0) {
            *next = edge_of(nhwc, problem, s, columns.end, cross_pixel);
            col = next++->cols;
        } else if (s->col > 0 && columns.end == problem->out_w) {
            *next = *s;
            if (all->inner_end == 0 || s->col == all->inner_end - cross_pixel)
                *next = edge_of(nhwc, problem, s, problem->out_w - columns.begin + cross_pixel, cross_pixel);
            end = dw_min(end, next->col + cross_pixel);
            next++;
        }
    }
    while (col < end) { /* as many of one width as follow each other, then of the next */
        const int width = dw_first_width(nhwc, end - col);
        *next = (dw_segment){.tile = dw_tile_of_width(nhwc, width)->run[DW_INNER], .col = col, .inner = 1};
        do col += width;
        while (col < end && dw_first_width(nhwc, end - col) == width);
        next->cols = col - next->col;
        next++;
    }
    to->count = (int)(next - to->at);
    to->cross_pixel = cross_pixel;
}

/* ---- the choice ------------------------------------------------------------------------------------ */

void dw_nhwc_part_of(const dw_nhwc *nhwc, const dw_problem *problem, int64_t batch, const dw_packing *packing, int part,
                     int parts, dw_part *to) {
    const int64_t units = batch * nhwc->image_units;
    to->units = (dw_range){0, units};
    to->blocks = (dw_range){0, packing->count};
    to->segments = packing != nhwc->packings && nhwc->aligned.cross_pixel ? &nhwc->aligned : &nhwc->segments;
    if (parts == 1) return;
    if (divides_columns(nhwc, problem, batch, to->segments, parts)) {
        divide_anew(nhwc, problem, to->segments, dw_range_of(problem->out_w, part, parts), &to->own);
        to->segments = &to->own;
    } else if (divides_channels(nhwc, problem, packing, units, parts)) {
        const dw_range range = dw_range_of(packing->count, part, parts);
        to->blocks = (dw_range){dw_clean_cut(packing->blocks, packing->count, range.begin),
                                dw_clean_cut(packing->blocks, packing->count, range.end)};
    } else {
        to->units = dw_range_of(units, part, parts);
    }
}
