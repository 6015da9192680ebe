/* nchw.c - channels first: makes and runs a plan. It divides a row into vectors of columns, says which of their taps
 * are in the padding, and packs the weights; a run goes through chunks of planes, and in each through bands of rows,
 * column by column. */
#include "nchw.h"

#include <string.h>

#include "desc.h"
#include "float_env.h"
#include "shared.h"
#include "sizes.h"

/* ---- choosing a kernel ----------------------------------------------------------------------------- */

static int kernel_fits(const dw_nchw_kernel *kernel, const dw_problem *problem) {
    const dw_desc *d = &problem->desc;
    if (kernel->kernel_h != d->kernel_h || kernel->kernel_w != d->kernel_w) return 0;
    if (kernel->stride != d->stride_h || kernel->stride != d->stride_w) return 0;
    /* Neighbouring rows of a dilation phase are one dilation apart at stride 1 only. */
    if (kernel->stride != 1 && (d->dilation_h != 1 || d->dilation_w != 1)) return 0;
    if (d->dilation_w > d->width) return 0; /* offsets of taps stay small; nothing worth it is left out */
    return problem->out_h / d->dilation_h >= (kernel->kernel_h - 1) / kernel->stride;
}

static const dw_nchw_kernel *find_kernel(const dw_nchw_table *table, const dw_problem *problem) {
    for (const dw_nchw_kernel *kernel = table->kernels; kernel->name; kernel++)
        if (kernel_fits(kernel, problem)) return kernel;
    return NULL;
}

/* ---- columns --------------------------------------------------------------------------------------- */

/* Of `lanes` lanes those whose elements, first + lane * step, lie in [0, width). */
static dw_lane_range valid_lanes(int64_t first, int64_t step, int64_t width, int lanes) {
    int64_t begin = first < 0 ? (-first - 1) / step + 1 : 0;
    int64_t end = first < width ? (width - first - 1) / step + 1 : 0;
    if (begin > lanes) begin = lanes;
    if (end > lanes) end = lanes;
    return (dw_lane_range){(int32_t)begin, (int32_t)(end < begin ? begin : end)};
}

/* Fills `valid` for the vector of outputs that begins at `col`, with 2 * kernel_w + 1 ranges at most, unless it is NULL;
 * returns whether a lane has a tap in the padding. */
static int find_valid(const dw_nchw *nchw, const dw_problem *problem, int64_t col, dw_lane_range *valid) {
    const dw_desc *d = &problem->desc;
    const int lanes = nchw->table->lanes;
    const int64_t first = col * d->stride_w - d->pad_left;
    int padded = 0;
    for (int64_t kj = 0; kj < d->kernel_w; kj++) {
        const dw_lane_range range = valid_lanes(first + kj * d->dilation_w, d->stride_w, d->width, lanes);
        if (range.begin > 0 || range.end < lanes) padded = 1;
        if (valid) valid[kj] = range;
    }
    if (!valid || !nchw->kernel || nchw->kernel->stride != 2) return padded;
    for (int64_t pair = 0; pair <= d->kernel_w / 2; pair++) {
        valid[d->kernel_w + 2 * pair] = valid_lanes(first + 2 * pair, 1, d->width, lanes);
        valid[d->kernel_w + 2 * pair + 1] = valid_lanes(first + 2 * pair + lanes, 1, d->width, lanes);
    }
    return padded;
}

static dw_status make_columns(dw_nchw *nchw, const dw_problem *problem) {
    const dw_desc *d = &problem->desc;
    const int64_t lanes = nchw->table->lanes, out_w = problem->out_w, count = dw_div_up(out_w, lanes);
    const int partial = out_w < lanes;
    if (d->batch == 0) { /* nothing to run: an empty batch of huge images gets no table */
        nchw->column_count = count;
        return DW_OK;
    }
    int64_t bytes, edges = 0;
    if (!dw_bytes((int64_t)sizeof(dw_colvec), &count, 1, &bytes)) return DW_ERR_OVERFLOW;
    nchw->columns = dw_shared_new(bytes);
    nchw->table_bytes = bytes;
    if (!nchw->columns) return DW_ERR_NOMEM;
    nchw->column_count = count;
    for (int64_t c = 0; c < count; c++) {
        const int64_t col = dw_min(c * lanes, partial ? 0 : out_w - lanes);
        nchw->columns[c] = (dw_colvec){col, 1, (int32_t)(partial ? out_w : lanes), NULL};
        edges += partial || find_valid(nchw, problem, col, NULL);
    }
    if (edges > 0) {
        const int64_t sizes[] = {edges, 2 * d->kernel_w + 1};
        if (!dw_bytes((int64_t)sizeof(dw_lane_range), sizes, 2, &bytes)) return DW_ERR_OVERFLOW;
        nchw->valid = dw_shared_new(bytes);
        nchw->table_bytes += bytes;
        if (!nchw->valid) return DW_ERR_NOMEM;
    }
    dw_lane_range *valid = nchw->valid;
    for (int64_t c = 0; c < count; c++) {
        dw_colvec *column = nchw->columns + c;
        if (!partial && !find_valid(nchw, problem, column->col, NULL)) continue;
        find_valid(nchw, problem, column->col, valid);
        column->valid = valid;
        valid += 2 * d->kernel_w + 1;
    }
    /* Inner vectors side by side are made by one call. */
    for (int64_t c = count - 2; c >= 0; c--) {
        dw_colvec *column = nchw->columns + c;
        if (!column->valid && !column[1].valid && column[1].col == column->col + lanes) column->run = column[1].run + 1;
    }
    return DW_OK;
}

/* ---- weights --------------------------------------------------------------------------------------- */

/* [output channel][bias, taps]: a vector of weights is one of them in all lanes. A tap of some channels at a time, so that
 * neither the reads nor the writes leave L1. size: of an element, a constant where this is called. */
static inline dw_status pack_taps(const dw_problem *problem, const char *kernel, char *to, const int64_t size) {
    enum { AT_ONCE = 64 };
    const int64_t channels = problem->out_channels, taps = problem->desc.kernel_h * problem->desc.kernel_w;
    for (int64_t first = 0; first < channels; first += AT_ONCE) {
        const int64_t end = dw_min(first + AT_ONCE, channels);
        for (int64_t tap = 0; tap < taps; tap++) {
            if (dw_stopped(problem, (end - first) * size)) return DW_ERR_STOPPED;
            for (int64_t channel = first; channel < end; channel++)
                memcpy(to + (channel * (1 + taps) + 1 + tap) * size, kernel + (tap * channels + channel) * size,
                       (size_t)size);
        }
    }
    return DW_OK;
}

dw_status dw_nchw_repack(dw_nchw *nchw, const dw_problem *problem, const void *kernel, const void *bias) {
    const dw_desc *d = &problem->desc;
    const int64_t channels = problem->out_channels, size = problem->element_size;
    const int64_t taps = d->kernel_h * d->kernel_w, sizes[] = {channels, 1 + taps};
    int64_t bytes;
    if (!dw_bytes(size, sizes, 2, &bytes)) return DW_ERR_OVERFLOW;
    char *to = dw_shared_new(bytes);
    if (!to) return DW_ERR_NOMEM;
    dw_shared_drop(nchw->weights);
    nchw->weights = to;
    for (int64_t channel = 0; channel < channels; channel++) {
        char *at = to + channel * (1 + taps) * size;
        if (bias) memcpy(at, (const char *)bias + channel * size, (size_t)size);
        /* An output without a valid tap is its bias, which then goes through no multiply-add that would flush it. */
        if (d->denormals == DW_DENORMALS_FLUSH) dw_flush(d->dtype, at, 1);
    }
    return size == 4 ? pack_taps(problem, kernel, to, 4) : pack_taps(problem, kernel, to, 8);
}

/* ---- the plan -------------------------------------------------------------------------------------- */

/* Planes whose rows, in x and y, stay in L1 from one column to the next. */
static int64_t planes_of_chunk(const dw_problem *problem) {
    const dw_desc *d = &problem->desc;
    const double limit = (double)problem->tuning->planes_bytes;
    const double plane = ((double)d->height * (double)d->width + (double)problem->out_h * (double)problem->out_w) *
                         (double)problem->element_size;
    return plane < limit ? (int64_t)(limit / plane) : 1;
}

/* ---- strategies ------------------------------------------------------------------------------------ */

static const char *const planes_names[] = {"", "one_plane"};
static const char *const *const axis_names[DW_NCHW_AXES] = {[DW_AXIS_PLANES] = planes_names};

static dw_strategy estimate(const dw_problem *problem) {
    const dw_dtype dtype = problem->desc.dtype;
    const dw_instruction_set *isa = problem->isa, *narrower = isa->narrower;
    /* Rows that fill no more than half a vector. */
    if (narrower && problem->out_w <= narrower->nchw[dtype]->lanes) isa = narrower;
    return (dw_strategy){.isa = isa, .planar = find_kernel(isa->nchw[dtype], problem)};
}

/* A kernel with each option; vectors of a row cost what they hold. */
static void add_kernel(const dw_problem *problem, const dw_instruction_set *isa, const dw_nchw_kernel *kernel,
                       dw_strategies *to) {
    const dw_desc *d = &problem->desc;
    const double taps = (double)d->kernel_h * (double)d->kernel_w * (kernel ? 1 : problem->tuning->general);
    const double vectors = (double)dw_div_up(problem->out_w, isa->nchw[d->dtype]->lanes);
    dw_strategy one = {.isa = isa, .planar = kernel};
    one.cost = vectors * taps * (double)problem->out_h * (double)problem->out_channels;
    dw_strategies_add(to, &one);
    if (!kernel || planes_of_chunk(problem) < 2 || problem->out_channels < 2) return;
    one.option[DW_AXIS_PLANES] = DW_PLANES_ONE;
    one.cost *= problem->tuning->other_option[0];
    dw_strategies_add(to, &one);
}

void dw_nchw_strategies(const dw_problem *problem, dw_strategies *to) {
    const dw_dtype dtype = problem->desc.dtype;
    for (const dw_instruction_set *isa = problem->isa; isa; isa = isa->narrower) {
        for (const dw_nchw_kernel *kernel = isa->nchw[dtype]->kernels; kernel->name; kernel++)
            if (kernel_fits(kernel, problem)) add_kernel(problem, isa, kernel, to);
        add_kernel(problem, isa, NULL, to);
    }
    const dw_strategy chosen = estimate(problem);
    dw_strategies_rank(to, &chosen);
}

void dw_nchw_strategy_name(const dw_nchw_table *table, const dw_strategy *strategy, char *to, int size) {
    const char *kernel = strategy->planar ? strategy->planar->name : table->general_name;
    dw_strategy_write_name(kernel, axis_names, DW_NCHW_AXES, strategy->option, to, size);
}

/* ---- life ------------------------------------------------------------------------------------------ */

dw_status dw_nchw_create(dw_nchw *nchw, const dw_problem *problem, const dw_strategy *strategy, const void *kernel,
                         const void *bias) {
    const dw_desc *d = &problem->desc;
    if (d->activation > DW_RELU6) nchw->activate = problem->isa->nhwc[d->dtype]->activate[d->activation];
    nchw->strategy = strategy ? *strategy : estimate(problem);
    nchw->table = nchw->strategy.isa->nchw[d->dtype];
    nchw->kernel = nchw->strategy.planar;
    nchw->chunk = nchw->kernel ? planes_of_chunk(problem) : problem->out_channels;
    if (nchw->strategy.option[DW_AXIS_PLANES] == DW_PLANES_ONE) nchw->chunk = 1;
    const dw_status status = make_columns(nchw, problem);
    return status == DW_OK ? dw_nchw_repack(nchw, problem, kernel, bias) : status;
}

void dw_nchw_destroy(dw_nchw *nchw) {
    dw_shared_drop(nchw->columns);
    dw_shared_drop(nchw->valid);
    dw_shared_drop(nchw->weights);
}

void dw_nchw_keep(dw_nchw *copy) {
    dw_shared_keep(copy->columns);
    dw_shared_keep(copy->valid);
    dw_shared_keep(copy->weights);
}

void dw_nchw_forget(dw_nchw *nchw) {
    dw_shared_drop(nchw->weights);
    nchw->weights = NULL;
}

void dw_nchw_merge(dw_nchw *nchw, const dw_nchw *other) { dw_shared_merge(&nchw->weights, other->weights); }

void dw_nchw_describe(const dw_nchw *nchw, const dw_problem *problem, dw_plan_info *info) {
    const dw_desc *d = &problem->desc;
    dw_nchw_strategy_name(nchw->table, &nchw->strategy, info->strategy, (int)sizeof info->strategy);
    info->kernel = nchw->kernel ? nchw->kernel->name : nchw->table->general_name;
    info->lanes = nchw->table->lanes;
    info->tile_h = 1;
    info->tile_w = 1;
    info->merged_pixels = 1;
    info->blocks = nchw->column_count;
    info->weight_bytes = problem->out_channels * (1 + d->kernel_h * d->kernel_w) * problem->element_size;
    info->plan_bytes = nchw->table_bytes + (nchw->weights ? info->weight_bytes : 0);
    info->shared_bytes = dw_shared_by_others(nchw->weights, info->weight_bytes);
}

/* ---- running --------------------------------------------------------------------------------------- */

/* Rows `rows` of some planes. Not all rows: of one plane only, as many as the kernel wants, without dilation in height. */
static void run_bands(const dw_nchw *nchw, const dw_problem *problem, dw_bands *bands, dw_range rows) {
    const dw_desc *d = &problem->desc;
    const int64_t step = d->dilation_h, least = (d->kernel_h - 1) / d->stride_h, band = problem->tuning->band_rows;
    for (int64_t phase = 0; phase < step; phase++) {
        const int64_t total = (rows.end - phase - 1) / step + 1;
        for (int64_t row = rows.begin; row < total; row += bands->rows) {
            bands->first_row = phase + row * step;
            bands->rows = total - row < band + least ? total - row : band;
            for (int64_t c = 0; c < nchw->column_count; c += bands->planes.column_count) {
                bands->planes.columns = nchw->columns + c;
                bands->planes.column_count = nchw->columns[c].run;
                if (bands->planes.columns->valid) nchw->kernel->edge(bands);
                else nchw->kernel->inner(bands);
            }
        }
    }
}

/* Rows `rows` of one plane, or all rows of several: those of a lower plane, further down in x. */
static void run_general(const dw_nchw *nchw, const dw_problem *problem, const dw_planes *planes, dw_range rows) {
    const dw_desc *d = &problem->desc;
    dw_general_planes lower = {.planes = *planes, .kernel_h = d->kernel_h, .kernel_w = d->kernel_w};
    lower.planes.y = (char *)planes->y + rows.begin * problem->out_w * problem->element_size;
    lower.planes.out_h = rows.end - rows.begin;
    lower.planes.pad_top = d->pad_top - rows.begin * d->stride_h;
    nchw->table->general(&lower);
}

/* Rows `rows` of the output planes [plane, plane_end) of one image, whose x and y are given. Not all rows: of one plane
 * only. */
static void run_planes(const dw_nchw *nchw, const dw_problem *problem, const char *x, char *y, int64_t plane,
                       int64_t plane_end, dw_range rows) {
    const dw_desc *d = &problem->desc;
    const int64_t taps = d->kernel_h * d->kernel_w, size = problem->element_size;
    dw_bands bands = {.planes = {.x = x + plane / d->multiplier * d->height * d->width * size,
                                 .y = y + plane * problem->out_h * problem->out_w * size,
                                 .weights = (const char *)nchw->weights + plane * (1 + taps) * size,
                                 .planes = plane_end - plane,
                                 .multiplier = d->multiplier,
                                 .m = plane % d->multiplier,
                                 .height = d->height,
                                 .width = d->width,
                                 .out_h = problem->out_h,
                                 .out_w = problem->out_w,
                                 .stride_h = d->stride_h,
                                 .stride_w = d->stride_w,
                                 .dilation_h = d->dilation_h,
                                 .dilation_w = d->dilation_w,
                                 .pad_top = d->pad_top,
                                 .pad_left = d->pad_left,
                                 .columns = nchw->columns,
                                 .column_count = nchw->column_count,
                                 .clamp_min = problem->clamp_min,
                                 .clamp_max = problem->clamp_max}};
    if (nchw->kernel) run_bands(nchw, problem, &bands, rows);
    else run_general(nchw, problem, &bands.planes, rows);
}

/* Applies the activation to `count` rows: overlapping columns are done by then. */
static void activate(const dw_nchw *nchw, const dw_problem *problem, char *y, int64_t count) {
    const dw_activate_args args = {
        .y = y, .rows = 1, .cols = 1, .count = count * problem->out_w, .alpha = problem->desc.activation_alpha};
    nchw->activate(&args);
}

/* Into how many pieces each of `planes` planes is divided, so that all parts have about the same work. */
static int64_t pieces_of_planes(const dw_nchw *nchw, const dw_problem *problem, int64_t planes, int parts) {
    if (dw_imbalance(planes, parts) < problem->tuning->alike) return 1;
    if (nchw->kernel && problem->desc.dilation_h > 1) return 1;
    /* Each has the rows that a kernel with compile-time sizes wants. */
    const int64_t most = nchw->kernel ? problem->out_h / problem->desc.kernel_h : problem->out_h;
    return most < 1 ? 1 : dw_min(most, parts);
}

void dw_nchw_run(const dw_nchw *nchw, const dw_problem *problem, int64_t batch, const void *x, void *y, int part,
                 int parts) {
    const dw_desc *d = &problem->desc;
    const int64_t size = problem->element_size, out_h = problem->out_h;
    const int64_t x_image = d->channels * d->height * d->width * size, y_row = problem->out_w * size;
    const int64_t channels = problem->out_channels, planes = batch * channels;
    const int64_t pieces = parts > 1 ? pieces_of_planes(nchw, problem, planes, parts) : 1;
    const dw_range units = parts > 1 ? dw_range_of(planes * pieces, part, parts) : (dw_range){0, planes};
    for (int64_t unit = units.begin; unit < units.end;) {
        const int64_t n = unit / pieces / channels, plane = unit / pieces % channels;
        int64_t end = plane + 1; /* a piece of one plane, or several planes of an image */
        dw_range rows = {0, out_h};
        if (pieces > 1) {
            rows = dw_range_of(out_h, (int)(unit % pieces), (int)pieces);
        } else {
            end = channels - plane < nchw->chunk ? channels : plane + nchw->chunk;
            if (end - plane > units.end - unit) end = plane + units.end - unit;
        }
        char *const y_n = (char *)y + n * channels * out_h * y_row;
        run_planes(nchw, problem, (const char *)x + n * x_image, y_n, plane, end, rows);
        if (nchw->activate)
            activate(nchw, problem, y_n + (plane * out_h + rows.begin) * y_row,
                     (end - plane - 1) * out_h + rows.end - rows.begin);
        unit += end - plane;
    }
}
