/* plan.c - makes a plan: checks the wish, chooses the kernel, divides the columns among its variants. */
#include "plan.h"

#include <math.h>
#include <stdlib.h>

#include "desc.h"
#include "float_env.h"

/* Vertical phases need no table: their rows are row pointers. */
static int64_t phase_cols(int64_t total, int64_t step, int64_t phase) { return (total - phase - 1) / step + 1; }

/* ---- choosing a tile ------------------------------------------------------------------------------- */

static int64_t div_up(int64_t a, int64_t b) { return (a - 1) / b + 1; }

static int64_t gcd(int64_t a, int64_t b) { return b ? gcd(b, a % b) : a; }

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

static int64_t larger_of(int64_t a, int64_t b) { return a > b ? a : b; }

static double larger(double a, double b) { return a > b ? a : b; }

/* What `rows` output rows under one tile, or one column of a rolling kernel, cost, in multiply-adds of vectors: of
 * these, the loads, and the latency of a chain of multiply-adds the largest, since a CPU does as many of each at a
 * time; and what starts or ends a row. Fitted to measurements on Zen 4. */
double dw_column_cost(const dw_plan *plan, const dw_tile *tile, double rows) {
    enum { START = 8, PER_ROW = 3, LATENCY = 4, SPILLS = 8 };
    const int w = tile->tile_w, taps = tile->kernel_h * tile->kernel_w;
    const int inputs = tile->flavour & DW_MERGED ? w * tile->kernel_w : (w - 1) * tile->stride + tile->kernel_w;
    const int h = tile->tile_h > 0 ? tile->tile_h : 1;
    const int in_rows = tile->tile_h > 0 ? (h - 1) * tile->stride + tile->kernel_h : tile->stride;
    const double chained = h * w < LATENCY ? (h * w + LATENCY) / 2.0 : h * w; /* few sums wait for each other */
    double work = larger(chained * taps, in_rows * inputs + h * taps) + h * PER_ROW;
    if (tile->tile_h == 0 && !(tile->flavour & DW_MERGED))
        work += inputs; /* which come from L2: few tiles in a column find them in L1 */
    const int sums = tile->tile_h > 0 ? h * w : w * ((tile->kernel_h - 1) / tile->stride + 1);
    if (sums + inputs + 2 > plan->kernels->registers) work += SPILLS;
    return ceil(rows / h) * work + START;
}

int dw_alike(const dw_tile *a, const dw_tile *b) {
    return a->kernel_h == b->kernel_h && a->kernel_w == b->kernel_w && a->stride == b->stride && a->tile_h == b->tile_h;
}

/* The kernel for `cols` columns, fewer than `tile` is wide: as narrow as does, of the same height; or `tile`. */
static const dw_tile *narrower_tile(const dw_plan *plan, const dw_tile *tile, int64_t cols) {
    const dw_tile *best = tile;
    for (const dw_tile *other = plan->kernels->tiles; other->name; other++) {
        if (!dw_alike(other, tile) || other->flavour != tile->flavour) continue;
        if (other->tile_w >= cols && other->tile_w < best->tile_w) best = other;
    }
    return best;
}

/* What `cols` columns cost: a tile at each edge, unless one is both, and what lies between them. */
static double tile_cost(const dw_plan *plan, const dw_tile *tile, double rows, int64_t cols) {
    const int64_t w = tile->tile_w, edges = tile->flavour & DW_MERGED ? 0 : cols > w ? 2 : 1;
    const int64_t whole = cols >= edges * w ? cols / w : 1, rest = cols > whole * w ? cols - whole * w : 0;
    double cost = (double)whole * dw_column_cost(plan, tile, rows);
    if (rest) cost += dw_column_cost(plan, narrower_tile(plan, tile, rest), rows);
    return cost;
}

/* The tile of a flavour that costs least for `cols` columns of each output row, or NULL; and what it costs. */
static const dw_tile *cheapest(const dw_plan *plan, int flavour, int64_t cols, double *cost) {
    const dw_desc *d = &plan->desc;
    /* Where columns are merged, only the step between taps knows of the dilation in width. */
    const int64_t phases = flavour & DW_MERGED ? 1 : d->dilation_w;
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
static void inner_columns(const dw_desc *d, int64_t out_w, int64_t *first, int64_t *end) {
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
static const dw_tile *choose_merged(dw_plan *plan, double cost) {
    enum { MOST_LANES = 1024, GENERAL = 4 }; /* GENERAL: times as long as a tile takes the general kernel */
    const dw_desc *d = &plan->desc;
    const int64_t lanes = plan->kernels->lanes, channels = plan->out_channels, pixels = lanes / gcd(channels, lanes);
    plan->merged = 1;
    if (d->stride_h != 1 || d->stride_w != 1 || pixels == 1 || channels > MOST_LANES / pixels) return NULL;
    int64_t first, end;
    inner_columns(d, plan->out_w, &first, &end);
    const int64_t edges = plan->out_w - end + first;
    const int flavour = DW_MERGED | (d->multiplier > 1 ? DW_SPREAD : 0);
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
    const int halves = lanes * plan->item < LINE;
    int64_t apart = tile->stride > 1 ? 1024 : 4096;
    if (halves) apart = (tile->stride > 1 ? 2048 : 4096) / (tile->tile_w == 7 && cols > 7 ? 2 : 1);
    const int64_t pitch = d->dilation_w % apart * (d->channels % apart) * plan->item;
    if (tile->flavour || plan->out_channels < 2 * lanes || pitch % apart != 0) return tile;
    for (const dw_tile *other = plan->kernels->tiles; other->name; other++)
        if (tile_fits(other, plan, DW_PAIRED, cols)) return other;
    return tile;
}

static void choose_kernel(dw_plan *plan) {
    const dw_desc *d = &plan->desc;
    /* Channels that fill no AVX-512 vector may fill one of AVX2, if not several pixels do. */
    for (int narrower = 0; narrower < 2; narrower++) {
        const int64_t lanes = plan->kernels->lanes;
        double cost = INFINITY, single = INFINITY;
        if (plan->out_channels >= lanes)
            plan->tile = cheapest(plan, d->multiplier > 1 ? DW_SPREAD : 0, plan->out_w, &single);
        if (plan->tile) cost = single * (double)div_up(plan->out_channels, lanes);
        const dw_tile *tile = choose_merged(plan, cost);
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
static int64_t rows_of_groups(const dw_plan *plan) {
    if (!plan->tile) return 1;
    if (plan->tile->tile_h > 0) return plan->tile->tile_h;
    const int64_t rows = div_up(plan->out_h, plan->desc.dilation_h);
    return div_up(rows, div_up(rows, DW_MAX_OUT_ROWS));
}

/* Most CPUs of today have 1 or 2 MB per core. */
static int exceeds_l2(const dw_plan *plan) {
    enum { L2_BYTES = 1 << 20 };
    const dw_desc *d = &plan->desc;
    const double x = (double)d->height * (double)d->width * (double)d->channels;
    const double y = (double)plan->out_h * (double)plan->out_w * (double)plan->out_channels;
    return (x + y) * (double)plan->item > L2_BYTES;
}

/* ---- columns --------------------------------------------------------------------------------------- */

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
    tile = narrower_tile(plan, tile, end - rest);
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
    const dw_tile *right = cols > width && cols < 2 * width ? narrower_tile(plan, tile, least) : tile;
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
static void add_merged_column(dw_plan *plan, int64_t index, const dw_tile *tile, int64_t at) {
    const dw_desc *d = &plan->desc;
    plan->phases[index] = (dw_phase){at - d->pad_left, d->width, 0, at, 1};
    add_segment(&plan->segments, index, tile->strip[DW_INNER], 0, 1, 1);
}

/* Merged pixels: columns of `merged` of them between the edges, the last of which may overlap its neighbour. The edges
 * are a column each for a masked kernel; if there is none, their pixels in the padding are for the general kernel. */
static void divide_merged_columns(dw_plan *plan) {
    const dw_desc *d = &plan->desc;
    const int64_t merged = plan->merged;
    int64_t first, end, begin;
    inner_columns(d, plan->out_w, &first, &end);
    const dw_tile *single = narrower_tile(plan, plan->tile, 1), *edge = plan->masked;
    plan->phases[0] = (dw_phase){0, d->width, d->pad_left, 0, plan->out_w};
    if (edge) {
        begin = merged;
        end = plan->out_w - merged;
        add_merged_column(plan, 2, edge, 0);
    } else {
        begin = first;
        add_segment(&plan->segments, 0, NULL, 0, begin, 1);
    }
    const int64_t whole = (end - begin) / merged;
    plan->phases[1] = (dw_phase){begin - d->pad_left, d->width, 0, begin, whole};
    add_inner(plan, &plan->segments, 1, 0, whole, 0, whole);
    if (whole * merged < end - begin) add_merged_column(plan, 3, end - merged < first ? edge : single, end - merged);
    if (edge) add_merged_column(plan, 4, edge, end);
    else add_segment(&plan->segments, 0, NULL, end, plan->out_w, 1);
}

int64_t dw_astride_cols(const dw_plan *plan, int64_t cols, dw_strip_fn **astride) {
    int64_t width = cols < DW_MAX_TILE_W ? cols : DW_MAX_TILE_W;
    while (!plan->astride[width]) width--; /* there is one for a single column */
    *astride = plan->astride[width];
    return cols / width * width;
}

/* Fills plan->astride; returns whether there are any. */
static int find_astride(dw_plan *plan) {
    for (const dw_tile *other = plan->kernels->tiles; other->name; other++)
        if (dw_alike(other, plan->tile) && other->flavour == DW_ASTRIDE)
            plan->astride[other->tile_w] = other->strip[DW_INNER];
    return plan->astride[1] != NULL;
}

/* Tiles that a row must have, or blocks astride cost more than they save. At stride 2 they are more work than
 * others; and pairs of blocks, which they break up, are better off without. */
static int64_t least_tiles(const dw_plan *plan) {
    if (plan->tile->stride == 1) return 3;
    if (plan->tile->flavour) return 6;
    return plan->out_channels / plan->kernels->lanes >= DW_BLOCKS_FOR_HEAD ? 2 : 1;
}

/* A division for blocks that begin in the pixel before: they make column q of their first channels, and q - 1 of their
 * last. So they take one column more than those away from the edges, which stay as they are, and must not be the
 * first or last of a row. Returns whether that pays. */
static int straddle_columns(dw_plan *plan) {
    const dw_tile *tile = plan->tile;
    if (!tile || tile->flavour & ~DW_PAIRED || plan->phase_count > 1) return 0;
    for (int64_t i = 0; i < plan->segments.count; i++)
        if (!plan->segments.at[i].tile) return 0; /* padding that no tile is made for */
    int64_t inner, inner_end;
    inner_columns(&plan->desc, plan->out_w, &inner, &inner_end);
    const int left = inner > 0 ? DW_LEFT : DW_INNER, right = inner_end < plan->out_w ? DW_RIGHT : DW_INNER;
    /* At stride 2 the edges, whose loads cross lines, are as narrow as does: 112x112x64 68 -> 62 us on Zen 4. */
    const int64_t needed = 1 + larger_of(inner, plan->out_w - inner_end);
    const dw_tile *edge = tile->stride > 1 ? narrower_tile(plan, tile, needed) : tile;
    const int64_t width = edge->tile_w, last = plan->out_w - width; /* where the last tile begins */
    if (width - 1 < inner || last >= inner_end || last + 1 < least_tiles(plan) * tile->tile_w) return 0;
    dw_segments *to = &plan->straddling;
    add_segment(to, 0, edge->strip[left], 0, width, 0);
    add_inner(plan, to, 0, width, last + 1, inner + 1, last + 1);
    add_segment(to, 0, edge->strip[right], last, last + width, 0);
    for (dw_segment *s = to->at; s < to->at + to->count; s++) {
        if (!s->tile) return 0;                      /* too narrow a place for one */
        s->astride = s->shifted && tile->stride > 1; /* at stride 1 a pixel is a column: any kernel does */
    }
    return tile->stride == 1 || find_astride(plan);
}

static dw_status make_columns(dw_plan *plan) {
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
        divide_merged_columns(plan);
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

/* ---- the plan -------------------------------------------------------------------------------------- */

static dw_status fill(dw_plan *plan, dw_isa isa, const void *kernel, const void *bias) {
    const dw_desc *d = &plan->desc;
    dw_status status = dw_output_size(d, &plan->out_h, &plan->out_w);
    if (status != DW_OK) return status;
    if (isa == DW_ISA_AUTO) isa = dw_isa_best();
    if (!dw_isa_available(isa)) return DW_ERR_ISA;
    plan->isa = isa;
    plan->desc.denormals = dw_denormals_of(d->denormals, isa);
    plan->out_channels = d->channels * d->multiplier;
    plan->kernels = dw_kernels_of(isa, d->dtype);
    plan->item = dw_item_size(d->dtype);
    /* (double), because INFINITY is a float, which cannot hold INT32_MAX. */
    plan->low = d->activation == DW_RELU || d->activation == DW_RELU6 ? 0
                : d->dtype == DW_I32                                  ? INT32_MIN
                                                                      : -(double)INFINITY;
    plan->high = d->activation == DW_RELU6 ? 6 : d->dtype == DW_I32 ? INT32_MAX : (double)INFINITY;
    if (d->activation > DW_RELU6) plan->activate = plan->kernels->activate[d->activation];
    if (d->layout == DW_NCHW) return dw_planar_create(plan, kernel, bias);
    choose_kernel(plan);
    plan->fetch = exceeds_l2(plan);
    plan->group_rows = rows_of_groups(plan);
    plan->image_units = dw_plan_image_units(plan);
    status = make_columns(plan);
    dw_plan_divide_columns(plan);
    return status == DW_OK ? dw_pack(plan, kernel, bias) : status;
}

dw_status dw_plan_create(const dw_desc *desc, dw_isa isa, const void *kernel, const void *bias, dw_plan **out) {
    if (!out) return DW_ERR_NULL;
    *out = NULL;
    if (!desc || !kernel) return DW_ERR_NULL;
    dw_plan *plan = calloc(1, sizeof *plan);
    if (!plan) return DW_ERR_NOMEM;
    plan->desc = *desc;
    const dw_status status = fill(plan, isa, kernel, bias);
    if (status != DW_OK) {
        dw_plan_destroy(plan);
        return status;
    }
    plan->nanoseconds = dw_plan_nanoseconds(plan);
    *out = plan;
    return DW_OK;
}

void dw_plan_destroy(dw_plan *plan) {
    if (!plan) return;
    for (int i = 0; i < DW_MAX_PACKINGS; i++) {
        free(plan->packings[i].blocks);
        free(plan->packings[i].memory);
    }
    free(plan->single.blocks);
    free(plan->phases);
    free(plan->segments.at);
    free(plan->straddling.at);
    dw_planar_destroy(plan->planar);
    free(plan);
}
