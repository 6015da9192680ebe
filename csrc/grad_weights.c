/* grad_weights.c - the gradients of kernel and bias: image -> channel chunk -> row of dy -> kernel rows.
 *
 * Three levels of sums, all in the workspace as [block][bias, taps][lanes]: a kernel holds those of a row in
 * registers and adds them to those of the image, which are added to the total. So the rounding errors grow
 * with OW + OH + N, not with their product, and neither chunks nor threads can change the order. */
#include <stdlib.h>
#include <string.h>

#include "grad.h"

struct dw_grad_weights {
    dw_grad_base base;
    const dw_grad_window *window; /* NULL: the general kernels */
    int64_t inner, inner_end;     /* output columns without a tap in the padding */
    int64_t block_bytes;          /* of the sums of one block */
    int64_t workspace;
    void *maps; /* M > 1: [block][lanes]: the input lane of each output lane, integers as wide as an element */
};

static dw_status make_maps(dw_grad_weights *grad) {
    const dw_grad_base *base = &grad->base;
    const int64_t lanes = base->kernels->lanes, multiplier = base->desc.multiplier;
    if (multiplier == 1) return DW_OK;
    grad->maps = calloc((size_t)base->block_count, (size_t)(lanes * base->item));
    if (!grad->maps) return DW_ERR_NOMEM;
    for (int64_t b = 0; b < base->block_count; b++) {
        const dw_block *block = base->blocks + b;
        for (int64_t lane = 0; lane < block->y_count; lane++) {
            const int64_t source = (block->y + lane) / multiplier - block->x;
            if (base->item == 4) ((int32_t *)grad->maps)[b * lanes + lane] = (int32_t)source;
            else ((int64_t *)grad->maps)[b * lanes + lane] = source;
        }
    }
    return DW_OK;
}

static dw_status prepare(dw_grad_weights *grad) {
    const dw_grad_base *base = &grad->base;
    const dw_desc *d = &base->desc;
    const int64_t reach = (d->kernel_w - 1) * d->dilation_w, room = d->width + d->pad_left - reach;
    grad->inner = d->pad_left > 0 ? (d->pad_left - 1) / d->stride_w + 1 : 0;
    grad->inner_end = room > 0 ? (room - 1) / d->stride_w + 1 : 0;
    if (grad->inner_end > base->out_w) grad->inner_end = base->out_w;

    if (base->out_channels >= base->kernels->lanes && d->dilation_w == 1)
        for (const dw_grad_window *window = base->kernels->windows; window->name; window++)
            if (window->kernel_w == d->kernel_w && window->stride == d->stride_w &&
                window->spread == (d->multiplier > 1))
                grad->window = window;

    const int64_t lanes = base->kernels->lanes, taps = d->kernel_h * d->kernel_w;
    const int64_t sizes[] = {2, base->block_count, 1 + taps, lanes}; /* of an image, and in total */
    if (!dw_grad_aligned_bytes(base->item, sizes, 4, &grad->workspace)) return DW_ERR_OVERFLOW;
    grad->block_bytes = (1 + taps) * lanes * base->item;
    return make_maps(grad);
}

/* Adds what one row of dy gives to the sums: x the image, dy the row. */
static void run_row(const dw_grad_weights *grad, dw_grad_taps *taps, const char *x, int64_t row) {
    const dw_grad_base *base = &grad->base;
    const dw_desc *d = &base->desc;
    const int64_t x_row = d->width * d->channels * base->item;
    const int64_t rows_at_once = grad->window ? grad->window->kr : 1;
    taps->with_bias = 1;
    for (int64_t ki = 0; ki < d->kernel_h; ki += rows_at_once) {
        const void *rows[DW_GRAD_MOST_ROWS] = {NULL};
        int any = taps->with_bias;
        for (int64_t r = 0; r < rows_at_once && ki + r < d->kernel_h; r++) {
            const int64_t at = row * d->stride_h - d->pad_top + (ki + r) * d->dilation_h;
            if (at < 0 || at >= d->height) continue;
            rows[r] = x + at * x_row;
            any = 1;
        }
        if (!any) continue;
        taps->rows = rows;
        if (grad->window) {
            taps->tap = ki * d->kernel_w;
            grad->window->taps(taps);
        } else {
            for (taps->kj = 0; taps->kj < d->kernel_w; taps->kj += DW_GRAD_MOST_TAPS) {
                const int64_t left = d->kernel_w - taps->kj;
                const int64_t count = left < DW_GRAD_MOST_TAPS ? left : DW_GRAD_MOST_TAPS;
                taps->tap = ki * d->kernel_w + taps->kj;
                base->kernels->taps[count - 1](taps);
                taps->with_bias = 0;
            }
        }
        taps->with_bias = 0;
    }
}

/* One image: its sums for all blocks, from +0. */
static void run_image(const dw_grad_weights *grad, const char *dy, const char *x, char *sums) {
    const dw_grad_base *base = &grad->base;
    const dw_desc *d = &base->desc;
    const int64_t dy_row = base->out_w * base->out_channels * base->item;
    memset(sums, 0, (size_t)(base->block_count * grad->block_bytes));
    for (int64_t block = 0; block < base->block_count; block += base->kernels->chunk) {
        const int64_t end = block + base->kernels->chunk;
        dw_grad_taps taps = {.dy_col = (ptrdiff_t)base->out_channels,
                             .x_col = (ptrdiff_t)d->channels,
                             .width = d->width,
                             .out_w = base->out_w,
                             .stride = d->stride_w,
                             .dilation = d->dilation_w,
                             .pad = d->pad_left,
                             .inner = grad->inner,
                             .inner_end = grad->inner_end,
                             .blocks = base->blocks,
                             .block = block,
                             .block_end = end < base->block_count ? end : base->block_count,
                             .maps = grad->maps,
                             .sums = sums,
                             .taps = d->kernel_h * d->kernel_w,
                             .kernel_w = d->kernel_w};
        for (int64_t row = 0; row < base->out_h; row++) {
            taps.dy = dy + row * dy_row;
            run_row(grad, &taps, x, row);
        }
    }
}

/* The totals, as kernel (kh, kw, C, M) and bias (OC). */
static void unpack(const dw_grad_weights *grad, const char *from, char *dkernel, char *dbias) {
    const dw_grad_base *base = &grad->base;
    const int64_t taps = base->desc.kernel_h * base->desc.kernel_w, lanes = base->kernels->lanes;
    for (int64_t b = 0; b < base->block_count; b++) {
        const dw_block *block = base->blocks + b;
        for (int64_t tap = -1; tap < taps; tap++, from += lanes * base->item) { /* -1: the bias */
            char *to = tap < 0 ? dbias : dkernel ? dkernel + tap * base->out_channels * base->item : NULL;
            if (to) memcpy(to + block->y * base->item, from, (size_t)(block->y_count * base->item));
        }
    }
}

/* ---- public ---------------------------------------------------------------------------------------- */

dw_status dw_grad_weights_create(const dw_desc *desc, dw_isa isa, dw_grad_weights **out) {
    if (!out) return DW_ERR_NULL;
    *out = NULL;
    if (!desc) return DW_ERR_NULL;
    dw_grad_weights *grad = calloc(1, sizeof *grad);
    if (!grad) return DW_ERR_NOMEM;
    dw_status status = dw_grad_base_init(&grad->base, desc, isa, &isa);
    if (status == DW_OK) status = prepare(grad);
    if (status != DW_OK) {
        dw_grad_weights_destroy(grad);
        return status;
    }
    *out = grad;
    return DW_OK;
}

void dw_grad_weights_destroy(dw_grad_weights *grad) {
    if (!grad) return;
    free(grad->base.blocks);
    free(grad->maps);
    free(grad);
}

int64_t dw_grad_weights_workspace(const dw_grad_weights *grad) { return grad->workspace; }

void dw_grad_weights_run(const dw_grad_weights *grad, const void *dy, const void *x, void *dkernel, void *dbias,
                         void *workspace) {
    const dw_grad_base *base = &grad->base;
    const dw_desc *d = &base->desc;
    const int64_t x_image = d->height * d->width * d->channels * base->item;
    const int64_t dy_image = base->out_h * base->out_w * base->out_channels * base->item;
    const int64_t bytes = base->block_count * grad->block_bytes;
    char *sums = dw_grad_align(workspace), *total = sums + bytes;
    memset(total, 0, (size_t)bytes);
    for (int64_t n = 0; n < d->batch; n++) {
        run_image(grad, (const char *)dy + n * dy_image, (const char *)x + n * x_image, sums);
        base->kernels->add(sums, bytes / base->item, total);
    }
    unpack(grad, total, dkernel, dbias);
}
