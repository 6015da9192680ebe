/* grad_weights.c - the gradients of kernel and bias. The loops are (grad.c: image -> channel chunk -> band of rows of dy)
 * -> kernel rows -> (kernel: block -> row -> column).
 *
 * Three levels of sums: a kernel holds those of a band in registers and adds them to those of the image, which
 * are added to the total. So the rounding errors grow with the pixels of a band, the bands and the images, not
 * with their product, and neither chunks nor threads can change the order. */
#include <string.h>

#include "desc.h"
#include "grad.h"
#include "shared.h"
#include "sizes.h"

static dw_status make_indices(dw_grad_weights *grad, const dw_grad_base *base) {
    const int64_t lanes = base->table->lanes, multiplier = base->problem.desc.multiplier;
    if (multiplier == 1) return DW_OK;
    grad->indices = dw_shared_new(base->block_count * lanes * base->problem.element_size); /* smaller than x */
    if (!grad->indices) return DW_ERR_NOMEM;
    for (int64_t b = 0; b < base->block_count; b++)
        dw_input_lanes(base->blocks + b, multiplier, base->problem.element_size,
                       (char *)grad->indices + b * lanes * base->problem.element_size);
    return DW_OK;
}

int64_t dw_grad_band(const dw_grad_base *base) {
    const int64_t band = (DW_GRAD_BAND - 1) / base->problem.out_w + 1;
    return band < base->problem.out_h ? band : base->problem.out_h;
}

dw_status dw_grad_weights_init(dw_grad_weights *grad, const dw_grad_base *base) {
    const dw_desc *d = &base->problem.desc;
    if (d->dilation_w == 1)
        for (const dw_grad_window *window = base->table->windows; window->name; window++)
            if (window->kernel_w == d->kernel_w && window->stride == d->stride_w) grad->window = window;

    const int64_t sum_sizes[] = {1 + d->kernel_h * d->kernel_w, base->table->lanes};
    if (!dw_bytes(base->problem.element_size, sum_sizes, 2, &grad->sums_bytes)) return DW_ERR_OVERFLOW;
    /* No more than x has; the sum does not overflow, since it is no more than the padded rows. */
    grad->x_rows = (dw_grad_band(base) - 1) * d->stride_h + (d->kernel_h - 1) * d->dilation_h + 1;
    if (grad->x_rows > d->height) grad->x_rows = d->height;
    return make_indices(grad, base);
}

/* One kernel row, some taps at a time. */
static void run_general(const dw_grad_base *base, const dw_grad_taps *taps) {
    const dw_desc *d = &base->problem.desc;
    dw_grad_tap_args args = {.taps = *taps, .stride = d->stride_w, .dilation = d->dilation_w};
    for (; args.kj < d->kernel_w; args.kj += DW_GRAD_MAX_TAPS) {
        args.taps.with_bias = taps->with_bias && args.kj == 0;
        args.taps.tap = taps->tap + args.kj;
        base->table->taps[dw_min(d->kernel_w - args.kj, DW_GRAD_MAX_TAPS) - 1](&args);
    }
}

void dw_grad_weights_band(const dw_grad_weights *grad, const dw_grad_base *base, const dw_ring_state *dy,
                          const dw_ring_state *x, int64_t row, void *sums, dw_prefetcher *prefetch_dy,
                          dw_prefetcher *prefetch_x) {
    const dw_desc *d = &base->problem.desc;
    const int64_t kr = grad->window ? grad->window->rows : 1, left = base->problem.out_h - row,
                  most = dw_grad_band(base);
    const void *dy_rows[DW_GRAD_BAND], *x_rows[DW_GRAD_BAND * DW_GRAD_MAX_ROWS];
    dw_grad_taps taps = {.dy = dy_rows,
                         .band = dw_min(left, most),
                         .x = x_rows,
                         .dy_block = (ptrdiff_t)(dy->ring->block_bytes / base->problem.element_size),
                         .x_block = (ptrdiff_t)(x->ring->block_bytes / base->problem.element_size),
                         .width = d->width,
                         .out_w = base->problem.out_w,
                         .pad = d->pad_left,
                         .block = dy->block,
                         .block_end = dy->block_end,
                         .sums = sums,
                         .prefetch_dy = prefetch_dy,
                         .prefetch_x = prefetch_x,
                         .taps = d->kernel_h * d->kernel_w,
                         .kernel_w = d->kernel_w};
    for (int64_t i = 0; i < taps.band; i++) dy_rows[i] = dw_ring_row(dy, base, row + i);
    for (int64_t ki = 0; ki < d->kernel_h; ki += kr) {
        int any = ki == 0; /* for the bias */
        for (int64_t i = 0; i < taps.band; i++) {
            for (int64_t r = 0; r < kr; r++) {
                const int64_t at = (row + i) * d->stride_h - d->pad_top + (ki + r) * d->dilation_h;
                const int inside = ki + r < d->kernel_h && at >= 0 && at < d->height;
                x_rows[i * kr + r] = inside ? dw_ring_row(x, base, at) : NULL;
                any |= inside;
            }
        }
        if (!any) continue;
        taps.with_bias = ki == 0;
        taps.tap = ki * d->kernel_w;
        if (grad->window) grad->window->run(&taps);
        else run_general(base, &taps);
    }
}

void dw_grad_weights_end(const dw_grad_base *base, void *dkernel, void *dbias, const void *sums) {
    const int64_t taps = base->problem.desc.kernel_h * base->problem.desc.kernel_w, lanes = base->table->lanes;
    const char *from = sums;
    for (int64_t b = 0; b < base->block_count; b++) {
        const dw_block *block = base->blocks + b;
        for (int64_t tap = -1; tap < taps; tap++, from += lanes * base->problem.element_size) { /* -1: the bias */
            char *to = tap < 0 ? dbias : dkernel;
            if (!to) continue;
            if (tap > 0) to += tap * base->problem.out_channels * base->problem.element_size;
            memcpy(to + block->y * base->problem.element_size, from,
                   (size_t)(block->y_count * base->problem.element_size));
        }
    }
}

void dw_grad_weights_free(dw_grad_weights *grad) { dw_shared_drop(grad->indices); }
