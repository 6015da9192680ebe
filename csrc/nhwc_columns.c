/* nhwc_columns.c - channels last: divides the output columns of a plan among the variants of its kernel.
 *
 * A tile is compiled for four kinds of edges: no padding, the padding of SAME on the left, on the right, or on both
 * sides. So a row is an edge tile, inner tiles, and another edge tile; where the columns are no multiple of the width,
 * the last inner tile overlaps its neighbour and stores the same values again. Columns that fit none of these are for
 * the general kernel. Under dilation this holds for each phase by itself, and folded pixels have edges of their own.
 *
 * Line-aligned packings may have a first block that spans two pixels (see nhwc.h). Such a block makes column q of its
 * first channels, and q - 1 of its last ones, so it cannot be the first or the last of a row: a second list of segments,
 * `aligned`, gives the inner tiles one column more.
 *
 * Threads that divide columns need a third answer: how to divide any number of them. `divisions` has it, by dynamic
 * programming over the widths there are.
 *
 * What must not be broken: together the segments of a list store every column, and no segment reads a column that its
 * kernel takes for valid and that is not. Time and memory must not grow with dilation or padding. */
#include <math.h>

#include "nhwc.h"

static void add_segment(dw_segments *to, int phases, dw_tile_fn *tile, int64_t begin, int64_t end) {
    if (begin < end)
        to->at[to->count++] = (dw_segment){.phases = phases, .tile = tile, .col = begin, .cols = end - begin};
}

/* Inner tiles for the columns [begin, end), none of which touches the padding, nor do those from `first` to `last`.
 * What is left over is for a narrower tile, which may overlap its neighbour. */
static void add_inner(const dw_nhwc *nhwc, dw_segments *to, int phases, int64_t begin, int64_t end, int64_t first,
                      int64_t last) {
    const dw_tile *tile = nhwc->tile;
    if (begin >= end) return;
    const int64_t rest = begin + (end - begin) / tile->tile_w * tile->tile_w;
    to->inner = begin;
    to->inner_end = end;
    add_segment(to, phases, tile->run[DW_INNER], begin, rest);
    if (begin < rest) to->at[to->count - 1].inner = 1;
    if (rest == end) return;
    tile = dw_narrower_tile(nhwc, tile, end - rest);
    const int64_t col = rest + tile->tile_w <= last ? rest : last - tile->tile_w;
    if (col >= first) {
        add_segment(to, phases, tile->run[DW_INNER], col, col + tile->tile_w);
        to->at[to->count - 1].inner = 1;
        return;
    }
    add_segment(to, phases, NULL, rest, end);
    to->inner_end = rest;
}

/* The columns of one group of phases: at most four segments. */
static void divide_phases(dw_nhwc *nhwc, int index) {
    const dw_tile *tile = nhwc->tile;
    const dw_phases *phases = nhwc->phases + index;
    dw_segments *to = &nhwc->segments;
    if (!tile || dw_is_wide(tile)) {
        add_segment(to, index, NULL, 0, phases->cols);
        return;
    }
    const int64_t stride = tile->stride, width = tile->tile_w, cols = phases->cols;
    const int64_t window = (width - 1) * stride + tile->kernel_w; /* columns of x under a tile */
    /* Outputs [inner, inner_end) have no tap in the padding. */
    const int64_t padded = phases->width + phases->pad;
    int64_t inner = phases->pad > 0 ? dw_div_up(phases->pad, stride) : 0;
    int64_t inner_end = padded < tile->kernel_w ? 0 : (padded - tile->kernel_w) / stride + 1;
    if (inner_end > cols) inner_end = cols;
    if (inner > inner_end) inner = inner_end;

    /* Where the edge tiles leave no room between them, the right one is the narrowest that reaches the left one. */
    const int64_t least = cols - dw_min(width, inner_end);
    const dw_tile *right = cols > width && cols < 2 * width ? dw_narrower_tile(nhwc, tile, least) : tile;
    const int64_t last = cols - right->tile_w; /* a tile at the right edge begins here */
    const int64_t over_right = (cols - 1) * stride - phases->pad + tile->kernel_w - phases->width;
    const int same_left = DW_SAME_LEFT(tile->kernel_w, tile->stride);
    const int same_right = DW_SAME_RIGHT(tile->kernel_w, tile->stride);
    const int left_fits = phases->pad == same_left && phases->pad > 0 && width >= inner;
    const int right_fits = over_right == same_right && over_right > 0 && cols - inner_end <= right->tile_w;
    if (last == 0 && left_fits && right_fits) {
        add_segment(to, index, tile->run[DW_BOTH], 0, cols);
        return;
    }
    int64_t begin = inner, end = inner_end; /* what is left for inner tiles */
    if (left_fits && window - phases->pad <= phases->width) {
        add_segment(to, index, tile->run[DW_LEFT], 0, width);
        begin = width;
    } else {
        add_segment(to, index, NULL, 0, inner);
    }
    if (right_fits && last * stride - phases->pad >= 0) {
        add_segment(to, index, right->run[DW_RIGHT], last, cols);
        end = last;
    } else {
        add_segment(to, index, NULL, inner_end, cols);
    }
    add_inner(nhwc, to, index, begin, end, inner, inner_end);
}

/* ---- dilation phases ------------------------------------------------------------------------------- */

/* Items phase, phase + step, ... of `total`. */
static int64_t items_of_phase(int64_t total, int64_t step, int64_t phase) {
    return phase < total ? (total - phase - 1) / step + 1 : 0;
}

/* The phases from number `first` on, to which `count` phases are alike. Output first + j * step of the row reads the
 * columns first - pad_left + (j + kj) * step of x: at stride 1, since no other has tiles for dilation. */
static void add_phases(dw_nhwc *nhwc, const dw_problem *problem, int64_t first, int64_t count) {
    const dw_desc *d = &problem->desc;
    const int64_t step = nhwc->phase_step, left = d->pad_left - first; /* columns of padding before the first tap */
    dw_phases *phases = nhwc->phases + nhwc->phases_count;
    phases->count = count;
    phases->pad = left > 0 ? dw_div_up(left, step) : 0;
    phases->x_first = phases->pad * step - left;
    phases->width = items_of_phase(d->width, step, phases->x_first);
    if (phases->width == 0) phases->x_first = 0;
    phases->y_first = first;
    phases->cols = items_of_phase(problem->out_w, step, first);
    divide_phases(nhwc, nhwc->phases_count++);
}

/* All phases, in groups of the same sizes. Padding and width change by one column at most: from phase r on, where the
 * first column of x is in the next period of the padding; from where that column leaves the last partial period of x;
 * and from where the outputs leave theirs. */
static void divide_dilated(dw_nhwc *nhwc, const dw_problem *problem) {
    const dw_desc *d = &problem->desc;
    const int64_t step = nhwc->phase_step, all = dw_min(step, problem->out_w), r = d->pad_left % step;
    const int64_t x_rest = d->width % step, x_end = x_rest < step - r ? r + x_rest : x_rest - (step - r);
    const int64_t changes[] = {r, x_end, problem->out_w % step, all};
    for (int64_t first = 0; first < all;) {
        int64_t next = all;
        for (int i = 0; i < 4; i++)
            if (changes[i] > first && changes[i] < next) next = changes[i];
        add_phases(nhwc, problem, first, next - first);
        first = next;
    }
}

/* ---- folded pixels --------------------------------------------------------------------------------- */

/* One folded column, which begins with output column `col`: a group of its own. */
static void add_folded_column(dw_nhwc *nhwc, const dw_problem *problem, const dw_tile *tile, int64_t col) {
    const dw_desc *d = &problem->desc;
    const int index = nhwc->phases_count++;
    dw_segments *to = &nhwc->segments;
    nhwc->phases[index] =
        (dw_phases){.count = 1, .x_first = col - d->pad_left, .width = d->width, .y_first = col, .cols = 1};
    add_segment(to, index, tile->run[DW_INNER], 0, 1);
    to->at[to->count - 1].masked = tile->run_masked;
}

/* Columns of `fold` pixels between the edges, the last of which may overlap its neighbour. Each edge is one column for
 * a masked kernel; if there is none, its pixels in the padding are for the general kernel. */
static void divide_folded(dw_nhwc *nhwc, const dw_problem *problem) {
    enum { PIXELS, COLUMNS }; /* the first two groups */
    const dw_desc *d = &problem->desc;
    const int64_t fold = nhwc->fold, out_w = problem->out_w;
    int64_t first, end, begin;
    dw_inner_columns(problem, &first, &end);
    const dw_tile *one = dw_narrower_tile(nhwc, nhwc->tile, 1), *edge = nhwc->masked;
    nhwc->phases[PIXELS] = (dw_phases){.count = 1, .width = d->width, .pad = d->pad_left, .cols = out_w};
    nhwc->phases_count = COLUMNS + 1;
    if (edge) {
        begin = fold;
        end = out_w - fold;
        add_folded_column(nhwc, problem, edge, 0);
    } else {
        begin = first;
        add_segment(&nhwc->segments, PIXELS, NULL, 0, begin);
    }
    const int64_t whole = (end - begin) / fold;
    nhwc->phases[COLUMNS] =
        (dw_phases){.count = 1, .x_first = begin - d->pad_left, .width = d->width, .y_first = begin, .cols = whole};
    add_inner(nhwc, &nhwc->segments, COLUMNS, 0, whole, 0, whole);
    if (whole * fold < end - begin) add_folded_column(nhwc, problem, end - fold < first ? edge : one, end - fold);
    if (edge) add_folded_column(nhwc, problem, edge, end);
    else add_segment(&nhwc->segments, PIXELS, NULL, end, out_w);
}

/* ---- blocks that span two pixels ------------------------------------------------------------------- */

/* Columns for line-aligned packings, whose first block spans two pixels: its leading lanes are the last channels of
 * column q - 1, its other lanes the first channels of column q. So inner tiles take one column more. Returns whether
 * there is such a division. */
static int divide_cross_pixel(dw_nhwc *nhwc, const dw_problem *problem) {
    const dw_tile *tile = nhwc->tile;
    const int64_t out_w = problem->out_w;
    if (!tile || tile->flavour & ~DW_INTERLEAVED || nhwc->phase_step > 1) return 0;
    for (int i = 0; i < nhwc->segments.count; i++)
        if (!nhwc->segments.at[i].tile) return 0; /* padding that no tile is made for */
    int64_t inner, inner_end;
    dw_inner_columns(problem, &inner, &inner_end);
    const int left = inner > 0 ? DW_LEFT : DW_INNER, right = inner_end < out_w ? DW_RIGHT : DW_INNER;
    /* At stride 2 the loads of edge tiles cross lines, so these tiles are as narrow as possible: 112x112x64 takes 62 us
     * instead of 68 on Zen 4. */
    const int64_t needed = 1 + dw_max(inner, out_w - inner_end);
    const dw_tile *edge = tile->stride > 1 ? dw_narrower_tile(nhwc, tile, needed) : tile;
    const int64_t width = edge->tile_w, last = out_w - width; /* where the last tile begins */
    if (width - 1 < inner || last >= inner_end) return 0;
    if (width > inner_end || last < inner) return 0; /* a tile of either edge would touch the other's padding */
    dw_segments *to = &nhwc->aligned;
    add_segment(to, 0, edge->run[left], 0, width);
    add_inner(nhwc, to, 0, width, last + 1, inner + 1, last + 1);
    add_segment(to, 0, edge->run[right], last, last + width);
    for (int i = 0; i < to->count; i++)
        if (!to->at[i].tile) return 0; /* too narrow a gap for a tile */
    /* At stride 1 a pixel is a column, and any kernel can use such a block. */
    return tile->stride == 1 || dw_find_cross_pixel(nhwc);
}

/* ---- columns for threads --------------------------------------------------------------------------- */

int dw_divisible(const dw_nhwc *nhwc, int64_t cols) {
    return cols > DW_MAX_DIVIDED ? nhwc->divisions[1].width > 0 : cols == 0 || nhwc->divisions[cols].width > 0;
}

int dw_first_width(const dw_nhwc *nhwc, int64_t cols) {
    return cols <= DW_MAX_DIVIDED ? nhwc->divisions[cols].width : nhwc->tile->tile_w;
}

static void find_divisions(dw_nhwc *nhwc, const dw_problem *problem) {
    if (!nhwc->tile || nhwc->tile->tile_h > 0 || nhwc->fold > 1) return;
    const double rows = (double)dw_div_up(problem->out_h, problem->desc.dilation_h);
    double costs[DW_MAX_TILE_W + 1] = {0}, least = INFINITY; /* of a column */
    for (int width = 1; width <= DW_MAX_TILE_W; width++) {
        const dw_tile *tile = dw_tile_of_width(nhwc, width);
        const double cost = tile ? dw_column_cost(nhwc, problem, tile, rows) : INFINITY;
        /* A tile that costs more per column than a narrower one has not enough registers. Zen 4: 14x14x512 in halves of
         * 7 columns takes 12.9 us with one kernel for these, 11.6 with two. */
        if (cost / width >= least) continue;
        least = cost / width;
        costs[width] = cost;
    }
    for (int cols = 1; cols <= DW_MAX_DIVIDED; cols++) {
        dw_division *best = nhwc->divisions + cols;
        for (int width = 1; width <= DW_MAX_TILE_W && width <= cols; width++) {
            if (costs[width] == 0 || !dw_divisible(nhwc, cols - width)) continue;
            const double cost = costs[width] + nhwc->divisions[cols - width].cost;
            if (best->width == 0 || cost <= best->cost) *best = (dw_division){cost, width};
        }
    }
}

/* ---- all of it ------------------------------------------------------------------------------------- */

void dw_nhwc_divide_columns(dw_nhwc *nhwc, const dw_problem *problem) {
    const dw_desc *d = &problem->desc;
    nhwc->phase_step = nhwc->tile && nhwc->fold == 1 && !dw_is_wide(nhwc->tile) ? d->dilation_w : 1;
    if (nhwc->fold > 1) {
        divide_folded(nhwc, problem);
    } else if (nhwc->phase_step > 1) {
        divide_dilated(nhwc, problem);
    } else {
        nhwc->phases[0] = (dw_phases){.count = 1, .width = d->width, .pad = d->pad_left, .cols = problem->out_w};
        nhwc->phases_count = 1;
        divide_phases(nhwc, 0);
    }
    nhwc->aligned.cross_pixel = divide_cross_pixel(nhwc, problem);
    find_divisions(nhwc, problem);
}
