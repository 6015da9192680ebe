/* nhwc_columns.c - divides the output columns of a plan for channels_last among the variants of its kernel. */
#include <math.h>
#include <stdlib.h>

#include "desc.h"
#include "plan.h"

/* Vertical phases need no table: their rows are row pointers. */
static int64_t phase_cols(int64_t total, int64_t step, int64_t phase) { return (total - phase - 1) / step + 1; }

static void add_segment(dw_segments *to, int64_t phase, dw_strip_fn *tile, int64_t begin, int64_t end, int shifted) {
    if (begin < end) to->at[to->count++] = (dw_segment){phase, tile, begin, end - begin, shifted, 0, 0};
}

/* Tiles for the columns [begin, end), none of which touches the padding, nor do those from `first` to `last`. What is
 * left over is for a narrower tile, which may overlap its neighbour. */
static void add_inner(dw_plan *plan, dw_segments *to, int64_t phase, int64_t begin, int64_t end, int64_t first,
                      int64_t last) {
    const dw_tile *tile = plan->tile;
    if (begin >= end) return;
    const int64_t rest = begin + (end - begin) / tile->tile_w * tile->tile_w;
    to->inner = begin;
    to->inner_end = end;
    add_segment(to, phase, tile->strip[DW_INNER], begin, rest, 1);
    if (begin < rest) to->at[to->count - 1].inner = 1;
    if (rest == end) return;
    tile = dw_narrower_tile(plan, tile, end - rest);
    const int64_t place = rest + tile->tile_w <= last ? rest : last - tile->tile_w;
    if (place >= first) {
        add_segment(to, phase, tile->strip[DW_INNER], place, place + tile->tile_w, 1);
        to->at[to->count - 1].inner = 1;
        return;
    }
    add_segment(to, phase, NULL, rest, end, 1);
    to->inner_end = rest;
}

/* Columns of one phase: a tile at each edge whose padding is known at compile time, tiles between them, the
 * last of which may overlap its neighbour, and the general kernel for what is left. At most four segments. */
static void divide_columns(dw_plan *plan, int64_t index) {
    const dw_tile *tile = plan->tile;
    const dw_phase *phase = plan->phases + index;
    if (!tile) {
        add_segment(&plan->segments, index, NULL, 0, phase->cols, 1);
        return;
    }
    const int64_t stride = tile->stride, width = tile->tile_w, cols = phase->cols;
    const int64_t window = (width - 1) * stride + tile->kernel_w; /* columns of x under a tile */
    /* Outputs [inner, inner_end) have no tap in the padding. */
    int64_t inner = div_up(phase->pad + 1, stride) - (phase->pad % stride == 0);
    int64_t inner_end =
        phase->width + phase->pad < tile->kernel_w ? 0 : (phase->width + phase->pad - tile->kernel_w) / stride + 1;
    if (phase->pad == 0) inner = 0;
    if (inner_end > cols) inner_end = cols;
    if (inner > inner_end) inner = inner_end;

    /* Where the tiles at the edges leave no room between them, the right one is as narrow as does. */
    const int64_t least = cols - (width < inner_end ? width : inner_end);
    const dw_tile *right = cols > width && cols < 2 * width ? dw_narrower_tile(plan, tile, least) : tile;
    const int64_t last = cols - right->tile_w; /* a tile at the right edge begins here */
    const int64_t over_right = (cols - 1) * stride - phase->pad + tile->kernel_w - phase->width;
    const int left_fits = phase->pad == tile->pad_left && phase->pad > 0 && width >= inner;
    const int right_fits = over_right == tile->pad_right && over_right > 0 && cols - inner_end <= right->tile_w;
    if (last == 0 && left_fits && right_fits) {
        add_segment(&plan->segments, index, tile->strip[DW_BOTH], 0, cols, 1);
        return;
    }
    int64_t begin = inner, end = inner_end; /* what is left for inner tiles to cover */
    if (left_fits && window - phase->pad <= phase->width) {
        add_segment(&plan->segments, index, tile->strip[DW_LEFT], 0, width, 1);
        begin = width;
    } else {
        add_segment(&plan->segments, index, NULL, 0, inner, 1);
    }
    if (right_fits && last * stride - phase->pad >= 0) {
        add_segment(&plan->segments, index, right->strip[DW_RIGHT], last, cols, 1);
        end = last;
    } else {
        add_segment(&plan->segments, index, NULL, inner_end, cols, 1);
    }
    add_inner(plan, &plan->segments, index, begin, end, inner, inner_end);
}

/* One column of merged pixels, phase `index`, beginning with output column `at`. */
static void add_folded_column(dw_plan *plan, int64_t index, const dw_tile *tile, int64_t at) {
    const dw_desc *d = &plan->desc;
    plan->phases[index] = (dw_phase){at - d->pad_left, d->width, 0, at, 1};
    add_segment(&plan->segments, index, tile->strip[DW_INNER], 0, 1, 1);
}

/* Merged pixels: columns of `merged` of them between the edges, the last of which may overlap its neighbour. The edges
 * are a column each for a masked kernel; if there is none, their pixels in the padding are for the general kernel. */
static void divide_folded_columns(dw_plan *plan) {
    const dw_desc *d = &plan->desc;
    const int64_t merged = plan->merged;
    int64_t first, end, begin;
    dw_inner_columns(d, plan->out_w, &first, &end);
    const dw_tile *single = dw_narrower_tile(plan, plan->tile, 1), *edge = plan->masked;
    plan->phases[0] = (dw_phase){0, d->width, d->pad_left, 0, plan->out_w};
    if (edge) {
        begin = merged;
        end = plan->out_w - merged;
        add_folded_column(plan, 2, edge, 0);
    } else {
        begin = first;
        add_segment(&plan->segments, 0, NULL, 0, begin, 1);
    }
    const int64_t whole = (end - begin) / merged;
    plan->phases[1] = (dw_phase){begin - d->pad_left, d->width, 0, begin, whole};
    add_inner(plan, &plan->segments, 1, 0, whole, 0, whole);
    if (whole * merged < end - begin) add_folded_column(plan, 3, end - merged < first ? edge : single, end - merged);
    if (edge) add_folded_column(plan, 4, edge, end);
    else add_segment(&plan->segments, 0, NULL, end, plan->out_w, 1);
}

/* A division for blocks that begin in the pixel before: they make column q of their first channels, and q - 1 of their
 * last. So they take one column more than those away from the edges, which stay as they are, and must not be the
 * first or last of a row. Returns whether that pays. */
static int straddle_columns(dw_plan *plan) {
    const dw_tile *tile = plan->tile;
    if (!tile || tile->flavour & ~DW_INTERLEAVED || plan->phase_count > 1) return 0;
    for (int64_t i = 0; i < plan->segments.count; i++)
        if (!plan->segments.at[i].tile) return 0; /* padding that no tile is made for */
    int64_t inner, inner_end;
    dw_inner_columns(&plan->desc, plan->out_w, &inner, &inner_end);
    const int left = inner > 0 ? DW_LEFT : DW_INNER, right = inner_end < plan->out_w ? DW_RIGHT : DW_INNER;
    /* At stride 2 the edges, whose loads cross lines, are as narrow as does: 112x112x64 68 -> 62 us on Zen 4. */
    const int64_t needed = 1 + larger_of(inner, plan->out_w - inner_end);
    const dw_tile *edge = tile->stride > 1 ? dw_narrower_tile(plan, tile, needed) : tile;
    const int64_t width = edge->tile_w, last = plan->out_w - width; /* where the last tile begins */
    if (width - 1 < inner || last >= inner_end || last + 1 < dw_least_tiles(plan) * tile->tile_w) return 0;
    dw_segments *to = &plan->straddling;
    add_segment(to, 0, edge->strip[left], 0, width, 0);
    add_inner(plan, to, 0, width, last + 1, inner + 1, last + 1);
    add_segment(to, 0, edge->strip[right], last, last + width, 0);
    for (dw_segment *s = to->at; s < to->at + to->count; s++) {
        if (!s->tile) return 0;                      /* too narrow a place for one */
        s->astride = s->shifted && tile->stride > 1; /* at stride 1 a pixel is a column: any kernel does */
    }
    return tile->stride == 1 || dw_find_astride(plan);
}

dw_status dw_make_columns(dw_plan *plan) {
    enum { SEGMENTS_PER_PHASE = 4, PHASES_IF_MERGED = 5, STRADDLING = 4 };
    const dw_desc *d = &plan->desc;
    const int64_t step = plan->tile && plan->merged == 1 ? d->dilation_w : 1;
    const int64_t count = plan->merged > 1 ? PHASES_IF_MERGED : step < plan->out_w ? step : plan->out_w;
    const int64_t sizes[] = {count, SEGMENTS_PER_PHASE};
    int64_t bytes;
    if (!dw_bytes(sizeof(dw_phase) + sizeof(dw_segment), sizes, 2, &bytes)) return DW_ERR_OVERFLOW;
    plan->phases = malloc((size_t)count * sizeof(dw_phase));
    plan->segments.at = malloc((size_t)count * SEGMENTS_PER_PHASE * sizeof(dw_segment));
    plan->straddling.at = malloc(STRADDLING * sizeof(dw_segment));
    if (!plan->phases || !plan->segments.at || !plan->straddling.at) return DW_ERR_NOMEM;
    plan->phase_step = step;
    plan->phase_count = count;
    if (plan->merged > 1) {
        divide_folded_columns(plan);
        return DW_OK;
    }
    for (int64_t p = 0; p < count; p++) {
        dw_phase *phase = plan->phases + p;
        if (step == 1) {
            *phase = (dw_phase){0, d->width, d->pad_left, 0, plan->out_w};
        } else { /* stride 1: output p + j * step reads the columns p - pad_left + (j + kj) * step */
            const int64_t first = p - d->pad_left;
            phase->pad = first < 0 ? div_up(-first, step) : 0;
            phase->x_first = first + phase->pad * step;
            phase->width = 0;
            if (phase->x_first < d->width) phase->width = phase_cols(d->width, step, phase->x_first);
            else phase->x_first = 0; /* all of it is padding */
            phase->y_first = p;
            phase->cols = phase_cols(plan->out_w, step, p);
        }
        divide_columns(plan, p);
    }
    plan->straddle = straddle_columns(plan);
    return DW_OK;
}

/* Whether kernels side by side make so many columns. */
int dw_divisible(const dw_plan *plan, int64_t cols) {
    return cols > DW_MAX_DIVIDED ? plan->divisions[1].width > 0 : cols == 0 || plan->divisions[cols].width > 0;
}

void dw_plan_divide_columns(dw_plan *plan) {
    if (!plan->tile || plan->tile->tile_h > 0 || plan->merged > 1) return;
    const double rows = (double)((plan->out_h - 1) / plan->desc.dilation_h + 1);
    double costs[DW_MAX_TILE_W + 1] = {0}, least = INFINITY; /* of a column */
    for (int width = 1; width <= DW_MAX_TILE_W; width++) {
        const dw_tile *tile = dw_tile_of_width(plan, width);
        const double cost = tile ? dw_column_cost(plan, tile, rows) : INFINITY;
        /* One that costs more than a narrower one has not enough registers: 14x14x512 in halves of 7 columns takes 12.9
         * us with one kernel for these on Zen 4, 11.6 with two. */
        if (cost / width >= least) continue;
        least = cost / width;
        costs[width] = cost;
    }
    for (int cols = 1; cols <= DW_MAX_DIVIDED; cols++) {
        dw_division *best = plan->divisions + cols;
        for (int width = 1; width <= DW_MAX_TILE_W && width <= cols; width++) {
            if (costs[width] == 0 || !dw_divisible(plan, cols - width)) continue;
            const double cost = costs[width] + plan->divisions[cols - width].cost;
            if (best->width == 0 || cost <= best->cost) *best = (dw_division){cost, width};
        }
    }
}

/* The width of the first of the kernels that make `cols` columns best. */
int dw_first_width(const dw_plan *plan, int64_t cols) {
    return cols <= DW_MAX_DIVIDED ? plan->divisions[cols].width : plan->tile->tile_w;
}
