/* nchw.c - plans and runs channels_first: divides a row into vectors, says which of their taps are in the padding,
 * packs the weights. */
#include <stdlib.h>
#include <string.h>

#include "desc.h"
#include "float_env.h"
#include "plan.h"
#include "nchw_kernels.h"

#define DECLARE(isa)                                      \
    extern const dw_planar_table dw_nchw_table_f32_##isa; \
    extern const dw_planar_table dw_nchw_table_f64_##isa; \
    extern const dw_planar_table dw_nchw_table_i32_##isa;
#define ALL_DTYPES(isa) {&dw_nchw_table_f32_##isa, &dw_nchw_table_f64_##isa, &dw_nchw_table_i32_##isa}
DECLARE(portable)
DECLARE(neon)
DECLARE(avx2)
DECLARE(avx512)
DECLARE(avx512vl)

static const dw_planar_table *const tables[DW_ISA_COUNT][DW_DTYPE_COUNT] = {
    [DW_ISA_PORTABLE] = ALL_DTYPES(portable),
#if defined(__x86_64__) || defined(_M_X64)
    [DW_ISA_AVX2] = ALL_DTYPES(avx2),
    [DW_ISA_AVX512] = ALL_DTYPES(avx512),
#endif
#if defined(__aarch64__) || defined(_M_ARM64)
    [DW_ISA_NEON] = ALL_DTYPES(neon),
#endif
};

/* Vectors of half the width, for rows that fill no more: the same bits from as many registers. */
static const dw_planar_table *const narrow_tables[DW_ISA_COUNT][DW_DTYPE_COUNT] = {
    [DW_ISA_PORTABLE] = {NULL}, /* C11 wants at least one initializer */
#if defined(__x86_64__) || defined(_M_X64)
    [DW_ISA_AVX512] = ALL_DTYPES(avx512vl),
#endif
};

/* ---- choosing a kernel ----------------------------------------------------------------------------- */

static const dw_planar_kernel *find_kernel(const dw_planar_table *table, const dw_plan *plan) {
    const dw_desc *d = &plan->desc;
    for (const dw_planar_kernel *kernel = table->kernels; kernel->name; kernel++) {
        if (kernel->kernel_h != d->kernel_h || kernel->kernel_w != d->kernel_w) continue;
        if (kernel->stride != d->stride_h || kernel->stride != d->stride_w) continue;
        /* Dilated rows next to each other in a phase are one dilation apart at stride 1 only. */
        if (kernel->stride != 1 && (d->dilation_h != 1 || d->dilation_w != 1)) continue;
        if (d->dilation_w > d->width) continue; /* offsets of taps stay small; nothing worth it is left out */
        if (plan->out_h / d->dilation_h < (kernel->kernel_h - 1) / kernel->stride) continue;
        return kernel;
    }
    return NULL;
}

/* ---- columns --------------------------------------------------------------------------------------- */

/* Lanes [begin, end) of `lanes` whose elements, first + lane * step, lie in [0, width). */
static dw_lane_range valid_lanes(int64_t first, int64_t step, int64_t width, int lanes) {
    int64_t begin = first < 0 ? (-first - 1) / step + 1 : 0;
    int64_t end = first < width ? (width - first - 1) / step + 1 : 0;
    if (begin > lanes) begin = lanes;
    if (end > lanes) end = lanes;
    return (dw_lane_range){(int32_t)begin, (int32_t)(end < begin ? begin : end)};
}

/* The spans of the vector of outputs that begins at `col`, 2 * kernel_w + 1 at most, unless `spans` is NULL; returns
 * whether a lane has a tap in the padding. */
static int make_spans(const dw_plan *plan, int64_t col, dw_lane_range *spans) {
    const dw_desc *d = &plan->desc;
    const int lanes = plan->planar->lanes;
    const int64_t first = col * d->stride_w - d->pad_left;
    int padded = 0;
    for (int64_t kj = 0; kj < d->kernel_w; kj++) {
        const dw_lane_range span = valid_lanes(first + kj * d->dilation_w, d->stride_w, d->width, lanes);
        if (span.begin > 0 || span.end < lanes) padded = 1;
        if (spans) spans[kj] = span;
    }
    if (!spans || !plan->planar->kernel || plan->planar->kernel->stride != 2) return padded;
    for (int64_t pair = 0; pair <= d->kernel_w / 2; pair++) {
        spans[d->kernel_w + 2 * pair] = valid_lanes(first + 2 * pair, 1, d->width, lanes);
        spans[d->kernel_w + 2 * pair + 1] = valid_lanes(first + 2 * pair + lanes, 1, d->width, lanes);
    }
    return padded;
}

static dw_status make_columns(dw_plan *plan) {
    const dw_desc *d = &plan->desc;
    dw_planar *planar = plan->planar;
    const int64_t lanes = planar->lanes, count = (plan->out_w - 1) / lanes + 1;
    const int partial = plan->out_w < lanes;
    if (d->batch == 0) { /* nothing to run: an empty batch of huge images gets no table */
        planar->column_count = count;
        return DW_OK;
    }
    int64_t bytes, edges = 0;
    if (!dw_bytes((int64_t)sizeof(dw_colvec), &count, 1, &bytes)) return DW_ERR_OVERFLOW;
    planar->columns = malloc((size_t)bytes);
    if (!planar->columns) return DW_ERR_NOMEM;
    planar->column_count = count;
    for (int64_t c = 0; c < count; c++) {
        const int64_t last = partial ? 0 : plan->out_w - lanes, col = c * lanes < last ? c * lanes : last;
        planar->columns[c] = (dw_colvec){col, 1, (int32_t)(partial ? plan->out_w : lanes), NULL};
        edges += partial || make_spans(plan, col, NULL);
    }
    if (edges > 0) {
        const int64_t sizes[] = {edges, 2 * d->kernel_w + 1};
        if (!dw_bytes((int64_t)sizeof(dw_lane_range), sizes, 2, &bytes)) return DW_ERR_OVERFLOW;
        planar->spans = malloc((size_t)bytes);
        if (!planar->spans) return DW_ERR_NOMEM;
    }
    dw_lane_range *spans = planar->spans;
    for (int64_t c = 0; c < count; c++) {
        dw_colvec *column = planar->columns + c;
        if (!partial && !make_spans(plan, column->col, NULL)) continue;
        make_spans(plan, column->col, spans);
        column->spans = spans;
        spans += 2 * d->kernel_w + 1;
    }
    /* Inner vectors, each right after the other, are made by one call. */
    for (int64_t c = count - 2; c >= 0; c--) {
        dw_colvec *column = planar->columns + c;
        if (!column->spans && !column[1].spans && column[1].col == column->col + lanes) column->run = column[1].run + 1;
    }
    return DW_OK;
}

/* ---- weights --------------------------------------------------------------------------------------- */

/* [output channel][bias, taps]: a vector of weights is one of them in all lanes. */
static dw_status pack(dw_plan *plan, const char *kernel, const char *bias) {
    const int64_t channels = plan->out_channels, element_size = plan->element_size;
    const int64_t taps = plan->desc.kernel_h * plan->desc.kernel_w, sizes[] = {channels, 1 + taps};
    int64_t bytes;
    if (!dw_bytes(element_size, sizes, 2, &bytes)) return DW_ERR_OVERFLOW;
    char *to = plan->planar->weights = malloc((size_t)bytes);
    if (!to) return DW_ERR_NOMEM;
    for (int64_t channel = 0; channel < channels; channel++, to += (1 + taps) * element_size) {
        if (bias) memcpy(to, bias + channel * element_size, (size_t)element_size);
        else memset(to, 0, (size_t)element_size);
        if (plan->desc.denormals == DW_DENORMALS_FLUSH) dw_flush(plan->desc.dtype, to, 1); /* see flush_bias */
        for (int64_t tap = 0; tap < taps; tap++)
            memcpy(to + (1 + tap) * element_size, kernel + (tap * channels + channel) * element_size,
                   (size_t)element_size);
    }
    return DW_OK;
}

/* ---- the plan -------------------------------------------------------------------------------------- */

/* A kernel goes through a band of rows of a chunk of planes before the next columns: their inputs and outputs, in
 * part, stay in L1 until then. Without chunks 7x7x1024 takes twice as long; bands of 8 rows cost up to 40 %. */
static void divide_work(dw_plan *plan) {
    enum { CHUNK_BYTES = 16384, BAND_ROWS = 128 };
    const dw_desc *d = &plan->desc;
    const double plane_bytes =
        ((double)d->height * (double)d->width + (double)plan->out_h * (double)plan->out_w) * (double)plan->element_size;
    plan->planar->band = BAND_ROWS;
    plan->planar->chunk = plane_bytes < CHUNK_BYTES ? (int64_t)(CHUNK_BYTES / plane_bytes) : 1;
}

dw_status dw_planar_create(dw_plan *plan, const void *kernel, const void *bias) {
    plan->planar = calloc(1, sizeof *plan->planar);
    if (!plan->planar) return DW_ERR_NOMEM;
    dw_planar *planar = plan->planar;
    planar->table = tables[plan->isa][plan->desc.dtype];
    const dw_planar_table *narrow = narrow_tables[plan->isa][plan->desc.dtype];
    if (narrow && plan->out_w <= narrow->lanes) planar->table = narrow;
    planar->lanes = planar->table->lanes;
    planar->kernel = find_kernel(planar->table, plan);
    divide_work(plan);
    const dw_status status = make_columns(plan);
    return status == DW_OK ? pack(plan, kernel, bias) : status;
}

void dw_planar_destroy(dw_planar *planar) {
    if (!planar) return;
    free(planar->columns);
    free(planar->spans);
    free(planar->weights);
    free(planar);
}

/* Rows `rows` of the output planes [plane, plane_end) of one image, whose x and y are given. Not all rows: of one plane
 * only, and for a kernel with compile-time sizes as many as it wants, without dilation in height. */
static void run_planes(const dw_plan *plan, const char *x, char *y, int64_t plane, int64_t plane_end, dw_range rows) {
    const dw_desc *d = &plan->desc;
    const dw_planar *planar = plan->planar;
    const int64_t taps = d->kernel_h * d->kernel_w;
    dw_planes planes = {.x = x + plane / d->multiplier * d->height * d->width * plan->element_size,
                        .y = y + plane * plan->out_h * plan->out_w * plan->element_size,
                        .weights = (const char *)planar->weights + plane * (1 + taps) * plan->element_size,
                        .planes = plane_end - plane,
                        .multiplier = d->multiplier,
                        .m = plane % d->multiplier,
                        .height = d->height,
                        .width = d->width,
                        .out_h = plan->out_h,
                        .out_w = plan->out_w,
                        .kernel_h = d->kernel_h,
                        .kernel_w = d->kernel_w,
                        .stride_h = d->stride_h,
                        .stride_w = d->stride_w,
                        .dilation_h = d->dilation_h,
                        .dilation_w = d->dilation_w,
                        .pad_top = d->pad_top,
                        .pad_left = d->pad_left,
                        .columns = planar->columns,
                        .column_count = planar->column_count,
                        .low = plan->low,
                        .high = plan->high};
    if (!planar->kernel) { /* the rows are those of a lower plane, further down in x */
        planes.y = (char *)planes.y + rows.begin * plan->out_w * plan->element_size;
        planes.out_h = rows.end - rows.begin;
        planes.pad_top -= rows.begin * d->stride_h;
        planar->table->general(&planes);
        return;
    }
    const int64_t step = d->dilation_h, least = (d->kernel_h - 1) / d->stride_h;
    for (int64_t phase = 0; phase < step; phase++) {
        const int64_t total = (rows.end - phase - 1) / step + 1;
        for (int64_t row = rows.begin; row < total; row += planes.rows) {
            planes.first = phase + row * step;
            planes.rows = total - row < planar->band + least ? total - row : planar->band;
            for (int64_t c = 0; c < planar->column_count; c += planes.column_count) {
                planes.columns = planar->columns + c;
                planes.column_count = planar->columns[c].run;
                if (planes.columns->spans) planar->kernel->edge(&planes);
                else planar->kernel->inner(&planes);
            }
        }
    }
}

/* Applies the activation to `count` rows: overlapping columns are done by then. */
static void activate(const dw_plan *plan, char *y, int64_t count) {
    const dw_runs runs = {
        .y = y, .rows = 1, .cols = 1, .count = count * plan->out_w, .alpha = plan->desc.activation_alpha};
    plan->activate(&runs);
}

/* Into how many pieces each of `planes` planes is divided, so that the parts are about the same. */
static int64_t pieces_of_planes(const dw_plan *plan, int64_t planes, int parts) {
    const dw_desc *d = &plan->desc;
    const double ALIKE = 1.05;
    if (dw_imbalance(planes, parts) < ALIKE || (plan->planar->kernel && d->dilation_h > 1)) return 1;
    /* Each has the rows that a kernel with compile-time sizes wants. */
    const int64_t most = plan->planar->kernel ? plan->out_h / d->kernel_h : plan->out_h;
    return most < 1 ? 1 : most < parts ? most : parts;
}

void dw_planar_run(const dw_plan *plan, const void *x, void *y, int part, int parts) {
    const dw_desc *d = &plan->desc;
    const int64_t x_image = d->channels * d->height * d->width * plan->element_size,
                  y_row = plan->out_w * plan->element_size;
    const int64_t channels = plan->out_channels, planes = d->batch * channels;
    const int64_t step = plan->planar->kernel ? plan->planar->chunk : channels;
    const int64_t pieces = parts > 1 ? pieces_of_planes(plan, planes, parts) : 1;
    const dw_range units = parts > 1 ? dw_range_of(planes * pieces, part, parts) : (dw_range){0, planes};
    for (int64_t unit = units.begin; unit < units.end;) {
        const int64_t n = unit / pieces / channels, plane = unit / pieces % channels;
        int64_t end = plane + 1; /* a piece of one plane, or several planes of an image */
        dw_range rows = {0, plan->out_h};
        if (pieces > 1) {
            rows = dw_range_of(plan->out_h, (int)(unit % pieces), (int)pieces);
        } else {
            end = channels - plane < step ? channels : plane + step;
            if (end - plane > units.end - unit) end = plane + units.end - unit;
        }
        char *const y_n = (char *)y + n * channels * plan->out_h * y_row;
        run_planes(plan, (const char *)x + n * x_image, y_n, plane, end, rows);
        if (plan->activate)
            activate(plan, y_n + (plane * plan->out_h + rows.begin) * y_row,
                     (end - plane - 1) * plan->out_h + rows.end - rows.begin);
        unit += end - plane;
    }
}
