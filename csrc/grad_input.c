/* grad_input.c - the input gradient, a transposed depthwise convolution.
 *
 * For the common kernel widths there are tiles. Without strides the transposed convolution is a convolution with the
 * kernel turned by 180 degrees, for which there is dw_plan. With strides and other widths the general kernel makes each
 * row of dx. With a multiplier, dy is that of C*M channels with an input channel each, whose sums are added up at the
 * end. Rows are made in the workspace first where dx has no vectors of channels to store, or is a sum of several. */
#include <stdlib.h>
#include <string.h>

#include "desc.h"
#include "grad.h"
#include "shared.h"
#include "sizes.h"

/* ---- by a plan -------------------------------------------------------------------------------------- */

/* kernel (kh, kw, C*M) turned by 180 degrees. */
static dw_status turned(const dw_grad_base *base, const void *kernel, void **copy) {
    const int64_t taps = base->problem.desc.kernel_h * base->problem.desc.kernel_w,
                  size = base->problem.out_channels * base->problem.element_size;
    *copy = malloc((size_t)(taps * size)); /* as large as the kernel, which exists */
    if (!*copy) return DW_ERR_NOMEM;
    for (int64_t tap = 0; tap < taps; tap++) {
        if (dw_stopped(&base->problem, size)) return DW_ERR_STOPPED;
        memcpy((char *)*copy + tap * size, (const char *)kernel + (taps - 1 - tap) * size, (size_t)size);
    }
    return DW_OK;
}

/* Makes input->plan where a plan can do it: at stride 1, unless outputs lie wholly in the padding. */
static dw_status make_plan(dw_grad_input *input, const dw_grad_base *base, const void *kernel) {
    const dw_desc *d = &base->problem.desc;
    dw_desc turned_desc = *d;
    if (d->stride_h != 1 || d->stride_w != 1) return DW_OK;
    const int64_t last_tap_h = (d->kernel_h - 1) * d->dilation_h, last_tap_w = (d->kernel_w - 1) * d->dilation_w;
    turned_desc.pad_top = last_tap_h - d->pad_top;
    turned_desc.pad_bottom = last_tap_h - d->pad_bottom;
    turned_desc.pad_left = last_tap_w - d->pad_left;
    turned_desc.pad_right = last_tap_w - d->pad_right;
    if (turned_desc.pad_top < 0 || turned_desc.pad_bottom < 0) return DW_OK;
    if (turned_desc.pad_left < 0 || turned_desc.pad_right < 0) return DW_OK;
    turned_desc.height = base->problem.out_h;
    turned_desc.width = base->problem.out_w;
    turned_desc.channels = base->problem.out_channels;
    turned_desc.multiplier = 1;
    turned_desc.batch = 1;
    const int64_t sizes[] = {d->height, d->width, base->problem.out_channels};
    if (d->multiplier > 1 && !dw_bytes(base->problem.element_size, sizes, 3, &input->workspace)) return DW_ERR_OVERFLOW;
    void *copy;
    dw_status status = turned(base, kernel, &copy);
    const dw_stopper *stopper = base->problem.stopper;
    if (status == DW_OK)
        status = dw_plan_create_until(&turned_desc, base->problem.isa->id, copy, NULL, stopper ? stopper->stop : NULL,
                                      stopper ? stopper->context : NULL, &input->plan);
    free(copy);
    return status;
}

/* ---- by rows --------------------------------------------------------------------------------------- */

/* The (output, tap) pairs of each position of one dimension of x: the k with
 * 0 <= (position + pad - k * dilation) / stride < out, the division being exact. */
static dw_status make_tap_ranges(const dw_problem *problem, int64_t size, int64_t out, int64_t kernel, int64_t stride,
                                 int64_t dilation, int64_t pad, dw_tap_range **ranges, int64_t *out_step,
                                 int64_t *k_step) {
    const int64_t common = dw_gcd(stride, dilation);
    *out_step = dilation / common;
    *k_step = stride / common;
    int64_t bytes;
    dw_tap_range *all = *ranges = dw_bytes(sizeof(dw_tap_range), &size, 1, &bytes) ? dw_shared_new(bytes) : NULL;
    if (!all) return DW_ERR_NOMEM;
    for (int64_t p = 0; p < size; p++) {
        dw_tap_range pairs = {0, 0, 0};
        for (int64_t k = 0; k < kernel && k * dilation <= p + pad; k++) {
            const int64_t left = p + pad - k * dilation;
            if (dw_stopped(problem, sizeof left)) return DW_ERR_STOPPED;
            if (left % stride != 0 || left / stride >= out) continue;
            pairs.first = left / stride; /* the last k is that of the first output */
            pairs.k = k;
            pairs.count++;
        }
        all[p] = pairs;
    }
    return DW_OK;
}

static dw_status pack(dw_grad_input *input, const dw_grad_base *base, const void *kernel) {
    const int64_t taps = base->problem.desc.kernel_h * base->problem.desc.kernel_w, lanes = base->table->lanes;
    const int64_t sizes[] = {base->block_count, taps, lanes};
    int64_t bytes;
    if (!dw_bytes(base->problem.element_size, sizes, 3, &bytes)) return DW_ERR_OVERFLOW;
    input->weights = dw_shared_new(bytes);
    if (!input->weights) return DW_ERR_NOMEM;
    char *to = input->weights;
    for (int64_t b = 0; b < base->block_count; b++)
        for (int64_t tap = 0; tap < taps; tap++, to += lanes * base->problem.element_size) {
            if (dw_stopped(&base->problem, lanes * base->problem.element_size)) return DW_ERR_STOPPED;
            memcpy(to,
                   (const char *)kernel +
                       (tap * base->problem.out_channels + base->blocks[b].y) * base->problem.element_size,
                   (size_t)(base->blocks[b].y_count * base->problem.element_size));
        }
    return DW_OK;
}

/* The tile for this kernel, if there is one, and where it need not look at the edges. */
static void choose_tile(dw_grad_input *input, const dw_grad_base *base, int by_rows) {
    const dw_desc *d = &base->problem.desc;
    if (d->dilation_w != 1) return;
    /* Of few channels a plan makes vectors of several pixels. */
    if (!by_rows && base->problem.out_channels < base->table->lanes && d->stride_h == 1 && d->stride_w == 1) return;
    const dw_grad_tile *tile = base->table->tiles;
    while (tile->name && (tile->kernel_w != d->kernel_w || tile->stride != d->stride_w)) tile++;
    if (!tile->name) return;
    input->tile = tile;
    const int64_t stride = tile->stride, before = (tile->kernel_w - 1) / stride;
    input->cells = (d->width + d->pad_left - 1) / stride + 1;
    /* Cell u lies in dx if u * stride >= pad and (u + 1) * stride <= width + pad. */
    const int64_t first = d->pad_left > 0 ? (d->pad_left - 1) / stride + 1 : 0;
    const int64_t end = (d->width + d->pad_left) / stride;
    input->inner = before > first ? before : first;
    input->inner_end = end < base->problem.out_w ? end : base->problem.out_w;
}

/* How many rows of dy before a band of `band` rows the rows of dx that are made with it need. */
static int64_t lookback_of(const dw_grad_input *input, const dw_grad_base *base, int64_t band) {
    int64_t most = 0, done = 0;
    for (int64_t row = 0; row < base->problem.out_h; row += band) {
        const int64_t ready = dw_grad_input_ready(input, base, done, row + band);
        for (; done < ready; done++)
            if (input->rows[done].count > 0 && row - input->rows[done].first > most)
                most = row - input->rows[done].first;
    }
    return most;
}

/* Elements from a column of sums in the workspace to the next. */
static int64_t sums_column(const dw_grad_base *base) {
    const int64_t lanes = base->table->lanes;
    return base->problem.desc.multiplier > 1 && base->problem.out_channels > lanes ? base->problem.out_channels : lanes;
}

/* How many rows at a time, and the workspace for them: a part of L1. */
static dw_status choose_lines(dw_grad_input *input, const dw_grad_base *base) {
    const dw_desc *d = &base->problem.desc;
    input->direct = d->layout == DW_NHWC && d->multiplier == 1 && base->problem.out_channels >= base->table->lanes;
    input->lines = d->multiplier > 1 ? 1 : DW_GRAD_MAX_LINES;
    if (input->direct) return DW_OK;
    const int64_t sizes[] = {d->width, sums_column(base)};
    int64_t line;
    if (!dw_bytes(base->problem.element_size, sizes, 2, &line) || line > PTRDIFF_MAX / DW_GRAD_MAX_LINES)
        return DW_ERR_OVERFLOW;
    while (input->lines > 1 && input->lines * line > base->problem.tuning->grad_lines_bytes) input->lines /= 2;
    input->workspace = input->lines * line;
    return DW_OK;
}

static dw_status make_rows(dw_grad_input *input, const dw_grad_base *base, const void *kernel, int64_t band) {
    const dw_desc *d = &base->problem.desc;
    dw_status status =
        make_tap_ranges(&base->problem, d->height, base->problem.out_h, d->kernel_h, d->stride_h, d->dilation_h,
                        d->pad_top, &input->rows, &input->row_out_step, &input->row_k_step);
    if (status == DW_OK)
        status = make_tap_ranges(&base->problem, d->width, base->problem.out_w, d->kernel_w, d->stride_w, d->dilation_w,
                                 d->pad_left, &input->columns, &input->column_out_step, &input->column_k_step);
    if (status != DW_OK) return status;
    input->lookback_rows = lookback_of(input, base, band);
    status = choose_lines(input, base);
    return status == DW_OK ? pack(input, base, kernel) : status;
}

/* Cells [0, cells): edge tiles at each side, inner tiles between them, the last of which overlaps its neighbour. */
static void run_tiles(const dw_grad_input *input, dw_grad_tile_args *args) {
    const dw_grad_tile *tile = input->tile;
    const int64_t size = tile->cells;
    int64_t cell = 0;
    while (cell < input->cells) {
        const int64_t whole =
            cell >= input->inner && input->inner_end - cell >= size ? (input->inner_end - cell) / size * size : 0;
        if (whole > 0) {
            args->begin = cell;
            args->end = cell += whole;
            tile->inner(args);
            if (cell < input->inner_end) { /* overlaps */
                args->begin = input->inner_end - size;
                args->end = cell = input->inner_end;
                tile->inner(args);
            }
        } else {
            /* From the left edge to where inner tiles may begin. It may overlap them: both store the same values. */
            args->begin = cell;
            args->end = cell + size;
            tile->edge(args);
            cell += size;
        }
    }
}

int64_t dw_grad_input_ready(const dw_grad_input *input, const dw_grad_base *base, int64_t row, int64_t dy_rows) {
    if (dy_rows >= base->problem.out_h) return base->problem.desc.height;
    for (; row < base->problem.desc.height; row++) {
        const dw_tap_range *pairs = input->rows + row;
        if (pairs->count > 0 && pairs->first + (pairs->count - 1) * input->row_out_step >= dy_rows) break;
    }
    return row;
}

/* What all rows have in common, of either kernel. Where a row of dx needs one row of dy at most, the steps may be larger
 * than the ring and the kernel. */
static dw_grad_rows rows_of(const dw_grad_input *input, const dw_grad_base *base, const dw_ring_state *dy,
                            const dw_grad_line *lines) {
    const dw_desc *d = &base->problem.desc;
    const int64_t dy_row = dy->ring->row_bytes / base->problem.element_size, slots = dy->ring->slots;
    return (dw_grad_rows){.lines = lines,
                          .dy_row = input->row_out_step < slots ? (ptrdiff_t)(input->row_out_step * dy_row) : 0,
                          .dy_ring = (ptrdiff_t)(slots * dy_row),
                          .ki_step = input->row_k_step < d->kernel_h ? input->row_k_step : 0,
                          .col_size = input->direct ? base->x.column : (ptrdiff_t)sums_column(base),
                          .kernel_w = d->kernel_w};
}

/* The rows of dx in `rows`, of the blocks from `block` on: of one with a tile, else of `count`. */
static void run_lines(const dw_grad_input *input, const dw_grad_base *base, const dw_grad_rows *rows,
                      const dw_block *block, int64_t count, dw_prefetcher *prefetch_dx, dw_prefetcher *prefetch_dy) {
    const dw_desc *d = &base->problem.desc;
    if (input->tile) {
        dw_grad_tile_args args = {.rows = *rows,
                                  .width = d->width,
                                  .out_w = base->problem.out_w,
                                  .pad = d->pad_left,
                                  .prefetch_dx = prefetch_dx,
                                  .prefetch_dy = prefetch_dy};
        run_tiles(input, &args);
    } else {
        const dw_grad_row_args args = {.rows = *rows,
                                       .columns = input->columns,
                                       .width = d->width,
                                       .out_step = input->column_out_step,
                                       .k_step = input->column_k_step,
                                       .blocks = block,
                                       .block_count = count,
                                       .dy_block = rows->dy_ring,
                                       .weights_block = (ptrdiff_t)(d->kernel_h * d->kernel_w * base->table->lanes)};
        base->table->rows(&args);
    }
}

void dw_grad_input_band(const dw_grad_input *input, const dw_grad_base *base, const dw_ring_state *dy, void *dx,
                        int64_t row, int64_t end, dw_prefetcher *prefetch_dx, dw_prefetcher *prefetch_dy,
                        void *workspace) {
    const dw_grad_array *x = &base->x;
    const dw_row_ring *ring = dy->ring;
    const dw_desc *d = &base->problem.desc;
    const int64_t size = base->problem.element_size, column = sums_column(base), multiplier = d->multiplier;
    const int64_t weights_bytes = d->kernel_h * d->kernel_w * base->table->lanes * size; /* of a block */
    /* The workspace has rows of one block, or all channels. */
    const int64_t step = input->tile || (!input->direct && multiplier == 1) ? 1 : dy->block_end - dy->block;
    dw_grad_line lines[DW_GRAD_MAX_LINES];
    dw_grad_rows rows = rows_of(input, base, dy, lines);
    dw_grad_scatter scatter = {.sums = workspace,
                               .sums_col = (ptrdiff_t)column,
                               .sums_channel = 1,
                               .multiplier = multiplier,
                               .col_size = x->column,
                               .channel_size = x->channel};
    for (int64_t next; row < end; row = next) {
        next = end - row < input->lines ? end : row + input->lines;
        rows.count = next - row;
        scatter.width = rows.count * x->width; /* one row after the other, in either layout */
        for (int64_t b = dy->block; b < dy->block_end; b += step) {
            const dw_block *block = base->blocks + b;
            const char *const dy_rows = dy->rows + (b - dy->block) * ring->block_bytes;
            for (int64_t i = 0; i < rows.count; i++) {
                const dw_tap_range *pairs = input->rows + row + i;
                char *to = (char *)workspace + (multiplier > 1 ? block->y : i * x->width * column) * size;
                if (input->direct) to = (char *)dx + ((row + i) * x->row + block->y) * size;
                lines[i] = (dw_grad_line){.dy = dy_rows + pairs->first % ring->slots * ring->row_bytes,
                                          .rows = pairs->count,
                                          .ki = pairs->k,
                                          .dx = to};
            }
            rows.dy_end = dy_rows + ring->block_bytes;
            rows.weights = (const char *)input->weights + b * weights_bytes;
            run_lines(input, base, &rows, block, step, prefetch_dx, prefetch_dy);
            if (input->direct || multiplier > 1) continue;
            scatter.channels = block->y_count;
            scatter.dx = (char *)dx + (row * x->row + block->y * x->channel) * size;
            base->table->scatter(&scatter);
        }
        if (multiplier == 1) continue;
        scatter.channels = x->channels;
        scatter.dx = (char *)dx + row * x->row * size;
        base->table->scatter(&scatter);
    }
}

void dw_grad_input_part(const dw_grad_input *input, const dw_grad_base *base, const void *dy, void *dx, void *workspace,
                        int part, int parts) {
    const dw_grad_array *x = &base->x;
    if (base->problem.desc.multiplier == 1) {
        dw_plan_run_part(input->plan, dy, dx, part, parts);
        return;
    }
    if (part > 0) return; /* one part does it: the others have no workspace for it */
    dw_plan_run(input->plan, dy, workspace);
    const int planes = base->problem.desc.layout == DW_NCHW;
    const dw_grad_scatter scatter = {.sums = workspace,
                                     .sums_col = planes ? 1 : (ptrdiff_t)base->problem.out_channels,
                                     .sums_channel = planes ? x->channel : 1,
                                     .width = x->height * x->width,
                                     .channels = x->channels,
                                     .multiplier = base->problem.desc.multiplier,
                                     .dx = dx,
                                     .col_size = x->column,
                                     .channel_size = x->channel};
    base->table->scatter(&scatter);
}

/* ---- life ------------------------------------------------------------------------------------------ */

dw_status dw_grad_input_init(dw_grad_input *input, const dw_grad_base *base, const void *kernel, int64_t band,
                             int by_rows) {
    choose_tile(input, base, by_rows);
    const dw_status status = input->tile || by_rows ? DW_OK : make_plan(input, base, kernel);
    return status == DW_OK && !input->plan ? make_rows(input, base, kernel, band) : status;
}

dw_status dw_grad_input_repack(dw_grad_input *input, const dw_grad_input *from, const dw_grad_base *base,
                               const void *kernel) {
    *input = *from;
    input->plan = NULL;
    input->weights = NULL;
    dw_shared_keep(input->rows);
    dw_shared_keep(input->columns);
    if (!from->plan) return pack(input, base, kernel);
    void *copy;
    dw_status status = turned(base, kernel, &copy);
    const dw_stopper *stopper = base->problem.stopper;
    if (status == DW_OK)
        status = dw_plan_with_weights_until(from->plan, copy, NULL, stopper ? stopper->stop : NULL,
                                            stopper ? stopper->context : NULL, &input->plan);
    free(copy);
    return status;
}

void dw_grad_input_free(dw_grad_input *input) {
    dw_plan_destroy(input->plan);
    dw_shared_drop(input->weights);
    dw_shared_drop(input->rows);
    dw_shared_drop(input->columns);
}
