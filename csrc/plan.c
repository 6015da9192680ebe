/* plan.c - makes a plan: checks the wish, chooses the kernel, divides the columns among its variants. */
#include "plan.h"

#include <math.h>
#include <stdlib.h>

#include "desc.h"

/* Vertical phases need no table: their rows are row pointers. */
static int64_t phase_cols(int64_t total, int64_t step, int64_t phase) { return (total - phase - 1) / step + 1; }

/* ---- choosing a tile ------------------------------------------------------------------------------- */

static int64_t div_up(int64_t a, int64_t b) { return (a - 1) / b + 1; }

static int tile_fits(const dw_tile *tile, const dw_plan *plan) {
    const dw_desc *d = &plan->desc;
    if (tile->kernel_h != d->kernel_h || tile->kernel_w != d->kernel_w) return 0;
    if (tile->stride != d->stride_h || tile->stride != d->stride_w) return 0;
    if (tile->spread != (d->multiplier > 1)) return 0;
    /* A dilated kernel is dense within a phase only if outputs next to each other in the phase are one
     * dilation apart: at stride 1. */
    if (tile->stride != 1 && (d->dilation_h != 1 || d->dilation_w != 1)) return 0;
    return tile->tile_h <= plan->out_h / d->dilation_h && tile->tile_w <= plan->out_w / d->dilation_w;
}

/* Instructions of all tiles, roughly: multiply-adds, loads and stores count the same. */
static double tile_cost(const dw_tile *tile, const dw_plan *plan) {
    const dw_desc *d = &plan->desc;
    const double tiles = (double)(d->dilation_h * div_up(plan->out_h / d->dilation_h, tile->tile_h)) *
                         (double)(d->dilation_w * div_up(plan->out_w / d->dilation_w, tile->tile_w));
    const int sums = tile->tile_h * tile->tile_w;
    const int inputs = ((tile->tile_h - 1) * tile->stride + tile->kernel_h) *
                       ((tile->tile_w - 1) * tile->stride + tile->kernel_w);
    const int taps = tile->kernel_h * tile->kernel_w;
    return tiles * (sums * taps + inputs + taps + 3 * sums);
}

static int64_t gcd(int64_t a, int64_t b) { return b ? gcd(b, a % b) : a; }

/* Outputs [*first, *end) of a row have no tap in the padding; none if *first == *end. */
static void inner_columns(const dw_desc *d, int64_t out_w, int64_t *first, int64_t *end) {
    const int64_t reach = (d->kernel_w - 1) * d->dilation_w, room = d->width + d->pad_left - reach;
    *first = d->pad_left > 0 ? div_up(d->pad_left, d->stride_w) : 0;
    *end = room > 0 ? (room - 1) / d->stride_w + 1 : 0;
    if (*end > out_w) *end = out_w;
    if (*first > *end) *first = *end;
}

/* How many pixels to merge into one column so that their channels fill whole vectors: where that leaves few
 * lanes idle, and few columns aside. */
static int64_t pixels_to_merge(const dw_plan *plan) {
    enum { MOST_LANES = 1024 };
    const dw_desc *d = &plan->desc;
    const int64_t lanes = plan->kernels->lanes, channels = d->channels;
    if (d->stride_h != 1 || d->stride_w != 1 || d->multiplier != 1 || channels % lanes == 0) return 1;
    const int64_t pixels = lanes / gcd(channels, lanes);
    if (channels > MOST_LANES / pixels) return 1;
    int64_t first, end;
    inner_columns(d, plan->out_w, &first, &end);
    if (end - first < 2 * pixels) return 1;
    /* Vectors per pixel: one by one, and merged. */
    const double single = (double)div_up(channels, lanes), merged = (double)channels / (double)lanes;
    return merged < 0.9 * single ? pixels : 1;
}

/* Merged columns: one tile wide, any dilation in width, since only the step between taps knows of it. */
static const dw_tile *choose_merged_tile(const dw_plan *plan) {
    const dw_desc *d = &plan->desc;
    const dw_tile *best = NULL;
    for (const dw_tile *tile = plan->kernels->tiles; tile->name; tile++) {
        if (tile->kernel_h != d->kernel_h || tile->kernel_w != d->kernel_w || tile->stride != 1) continue;
        if (tile->tile_w != 1 || tile->spread || tile->tile_h > plan->out_h / d->dilation_h) continue;
        if (!best || tile->tile_h > best->tile_h) best = tile;
    }
    return best;
}

static const dw_tile *choose_tile(const dw_plan *plan) {
    const dw_tile *best = NULL;
    if (plan->out_channels < plan->kernels->lanes) return NULL;
    for (const dw_tile *tile = plan->kernels->tiles; tile->name; tile++)
        if (tile_fits(tile, plan) && (!best || tile_cost(tile, plan) < tile_cost(best, plan))) best = tile;
    return best;
}

static void choose_kernel(dw_plan *plan) {
    plan->merged = pixels_to_merge(plan);
    plan->tile = plan->merged > 1 ? choose_merged_tile(plan) : NULL;
    if (plan->tile) return;
    plan->merged = 1;
    /* Channels that fill no AVX-512 vector may fill one of AVX2: the same bits, without partial vectors. */
    if (plan->isa == DW_ISA_AVX512 && plan->out_channels < plan->kernels->lanes)
        plan->kernels = dw_kernels_of(DW_ISA_AVX2, plan->desc.dtype);
    plan->tile = choose_tile(plan);
}

/* ---- columns --------------------------------------------------------------------------------------- */

static void add_segment(dw_plan *plan, int64_t phase, dw_strip_fn *tile, int64_t begin, int64_t end) {
    if (begin >= end) return;
    plan->segments[plan->segment_count++] = (dw_segment){phase, tile, begin, end - begin};
}

/* Columns of one phase: a tile at each edge whose padding is known at compile time, tiles between them, the
 * last of which overlaps its neighbour, and the general kernel for what is left. At most six segments. */
static void divide_columns(dw_plan *plan, int64_t index) {
    const dw_tile *tile = plan->tile;
    const dw_phase *phase = plan->phases + index;
    if (!tile) {
        add_segment(plan, index, NULL, 0, phase->cols);
        return;
    }
    const int64_t stride = tile->stride, width = tile->tile_w, cols = phase->cols;
    const int64_t window = (width - 1) * stride + tile->kernel_w; /* columns of x under a tile */
    /* Outputs [inner, inner_end) have no tap in the padding. */
    int64_t inner = div_up(phase->pad + 1, stride) - (phase->pad % stride == 0);
    int64_t inner_end = phase->width + phase->pad < tile->kernel_w
                            ? 0
                            : (phase->width + phase->pad - tile->kernel_w) / stride + 1;
    if (phase->pad == 0) inner = 0;
    if (inner_end > cols) inner_end = cols;
    if (inner > inner_end) inner = inner_end;

    const int64_t last = cols - width; /* a tile at the right edge begins here */
    const int64_t over_right = last * stride - phase->pad + window - phase->width;
    const int left_fits = phase->pad == tile->pad_left && phase->pad > 0 && width >= inner;
    const int right_fits = over_right == tile->pad_right && over_right > 0 && cols - inner_end <= width;
    if (last == 0 && left_fits && right_fits) {
        add_segment(plan, index, tile->strip[DW_BOTH], 0, cols);
        return;
    }
    int64_t begin = inner, end = inner_end; /* what is left for inner tiles to cover */
    if (left_fits && window - phase->pad <= phase->width) {
        add_segment(plan, index, tile->strip[DW_LEFT], 0, width);
        begin = width;
    } else {
        add_segment(plan, index, NULL, 0, inner);
    }
    if (right_fits && last * stride - phase->pad >= 0) {
        add_segment(plan, index, tile->strip[DW_RIGHT], last, cols);
        end = last;
    } else {
        add_segment(plan, index, NULL, inner_end, cols);
    }
    if (begin >= end) return;
    const int64_t whole = (end - begin) / width * width;
    add_segment(plan, index, tile->strip[DW_INNER], begin, begin + whole);
    begin += whole;
    if (begin == end) return;
    const int64_t overlapping = inner_end - width; /* the last place of an inner tile */
    if (overlapping >= inner)
        add_segment(plan, index, tile->strip[DW_INNER], begin < overlapping ? begin : overlapping,
                    (begin < overlapping ? begin : overlapping) + width);
    else add_segment(plan, index, NULL, begin, end);
}

/* Merged pixels: the columns in the padding for the general kernel, and between them columns of `merged`
 * pixels each, the last of which overlaps its neighbour. */
static void divide_merged_columns(dw_plan *plan) {
    const dw_desc *d = &plan->desc;
    int64_t first, end;
    inner_columns(d, plan->out_w, &first, &end);
    const int64_t whole = (end - first) / plan->merged;
    plan->phases[0] = (dw_phase){0, d->width, d->pad_left, 0, plan->out_w};
    add_segment(plan, 0, NULL, 0, first);
    plan->phases[1] = (dw_phase){first - d->pad_left, d->width, 0, first, whole};
    add_segment(plan, 1, plan->tile->strip[DW_INNER], 0, whole);
    const int64_t last = end - plan->merged;
    plan->phases[2] = (dw_phase){last - d->pad_left, d->width, 0, last, 1};
    if (whole * plan->merged < end - first) add_segment(plan, 2, plan->tile->strip[DW_INNER], 0, 1);
    add_segment(plan, 0, NULL, end, plan->out_w);
}

static dw_status make_columns(dw_plan *plan) {
    enum { SEGMENTS_PER_PHASE = 6, PHASES_IF_MERGED = 3 };
    const dw_desc *d = &plan->desc;
    const int64_t step = plan->tile && plan->merged == 1 ? d->dilation_w : 1;
    const int64_t count = plan->merged > 1 ? PHASES_IF_MERGED : step < plan->out_w ? step : plan->out_w;
    const int64_t sizes[] = {count, SEGMENTS_PER_PHASE};
    int64_t bytes;
    if (!dw_bytes(sizeof(dw_phase) + sizeof(dw_segment), sizes, 2, &bytes)) return DW_ERR_OVERFLOW;
    plan->phases = malloc((size_t)count * sizeof(dw_phase));
    plan->segments = malloc((size_t)count * SEGMENTS_PER_PHASE * sizeof(dw_segment));
    if (!plan->phases || !plan->segments) return DW_ERR_NOMEM;
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
    plan->out_channels = d->channels * d->multiplier;
    plan->kernels = dw_kernels_of(isa, d->dtype);
    plan->item = dw_item_size(d->dtype);
    /* (double), because INFINITY is a float, which cannot hold INT32_MAX. */
    plan->low = d->activation != DW_LINEAR ? 0 : d->dtype == DW_I32 ? INT32_MIN : -(double)INFINITY;
    plan->high = d->activation == DW_RELU6 ? 6 : d->dtype == DW_I32 ? INT32_MAX : (double)INFINITY;
    if (d->layout == DW_NCHW) return dw_planar_create(plan, kernel, bias);
    choose_kernel(plan);
    status = make_columns(plan);
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
    *out = plan;
    return DW_OK;
}

void dw_plan_destroy(dw_plan *plan) {
    if (!plan) return;
    free(plan->blocks.at);
    free(plan->general_blocks.at);
    free(plan->weights_memory);
    free(plan->phases);
    free(plan->segments);
    dw_planar_destroy(plan->planar);
    free(plan);
}
