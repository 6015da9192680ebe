/* grad_weights.c - the gradients of kernel and bias: (grad.c: image -> channel chunk -> band of rows of dy) -> kernel
 * rows -> (kernel: block -> row -> column).
 *
 * Three levels of sums: a kernel holds those of a band in registers and adds them to those of the image, which
 * are added to the total. So the rounding errors grow with the pixels of a band, the bands and the images, not
 * with their product, and neither chunks nor threads can change the order. */
#include <stdlib.h>
#include <string.h>

#include "desc.h"
#include "grad.h"

static dw_status make_maps(dw_grad_weights *grad, const dw_grad_base *base) {
    const int64_t lanes = base->kernels->lanes, multiplier = base->desc.multiplier;
    if (multiplier == 1) return DW_OK;
    grad->maps = calloc((size_t)base->block_count, (size_t)(lanes * base->element_size));
    if (!grad->maps) return DW_ERR_NOMEM;
    for (int64_t b = 0; b < base->block_count; b++)
        dw_map_lanes(base->blocks + b, multiplier, base->element_size,
                     (char *)grad->maps + b * lanes * base->element_size);
    return DW_OK;
}

int64_t dw_grad_band(const dw_grad_base *base) {
    const int64_t band = (DW_GRAD_BAND - 1) / base->out_w + 1;
    return band < base->out_h ? band : base->out_h;
}

dw_status dw_grad_weights_init(dw_grad_weights *grad, const dw_grad_base *base) {
    const dw_desc *d = &base->desc;
    if (d->dilation_w == 1)
        for (const dw_grad_window *window = base->kernels->windows; window->name; window++)
            if (window->kernel_w == d->kernel_w && window->stride == d->stride_w) grad->window = window;

    const int64_t sum_sizes[] = {1 + d->kernel_h * d->kernel_w, base->kernels->lanes};
    if (!dw_bytes(base->element_size, sum_sizes, 2, &grad->sums_bytes)) return DW_ERR_OVERFLOW;
    /* No more than there are; the sum is no more than the padded ones. */
    grad->reach = (dw_grad_band(base) - 1) * d->stride_h + (d->kernel_h - 1) * d->dilation_h + 1;
    if (grad->reach > d->height) grad->reach = d->height;
    return make_maps(grad, base);
}

void dw_grad_weights_band(const dw_grad_weights *grad, const dw_grad_base *base, const dw_ring_state *dy,
                          const dw_ring_state *x, int64_t row, void *sums, dw_prefetcher *prefetch_dy,
                          dw_prefetcher *prefetch_x) {
    const dw_desc *d = &base->desc;
    const int64_t kr = grad->window ? grad->window->kr : 1, left = base->out_h - row, most = dw_grad_band(base);
    const void *dy_rows[DW_GRAD_BAND], *x_rows[DW_GRAD_BAND * DW_GRAD_MAX_ROWS];
    dw_grad_taps taps = {.dy = dy_rows,
                         .band = left < most ? left : most,
                         .x = x_rows,
                         .dy_block = (ptrdiff_t)(dy->ring->block_bytes / base->element_size),
                         .x_block = (ptrdiff_t)(x->ring->block_bytes / base->element_size),
                         .width = d->width,
                         .out_w = base->out_w,
                         .stride = d->stride_w,
                         .dilation = d->dilation_w,
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
        if (grad->window) {
            taps.with_bias = ki == 0;
            taps.tap = ki * d->kernel_w;
            grad->window->taps(&taps);
            continue;
        }
        for (taps.kj = 0; taps.kj < d->kernel_w; taps.kj += DW_GRAD_MAX_TAPS) {
            const int64_t more = d->kernel_w - taps.kj;
            taps.with_bias = ki == 0 && taps.kj == 0;
            taps.tap = ki * d->kernel_w + taps.kj;
            base->kernels->taps[(more < DW_GRAD_MAX_TAPS ? more : DW_GRAD_MAX_TAPS) - 1](&taps);
        }
    }
}

void dw_grad_weights_end(const dw_grad_base *base, void *dkernel, void *dbias, const void *sums) {
    const int64_t taps = base->desc.kernel_h * base->desc.kernel_w, lanes = base->kernels->lanes;
    const char *from = sums;
    for (int64_t b = 0; b < base->block_count; b++) {
        const dw_block *block = base->blocks + b;
        for (int64_t tap = -1; tap < taps; tap++, from += lanes * base->element_size) { /* -1: the bias */
            char *to = tap < 0 ? dbias : dkernel;
            if (!to) continue;
            if (tap > 0) to += tap * base->out_channels * base->element_size;
            memcpy(to + block->y * base->element_size, from, (size_t)(block->y_count * base->element_size));
        }
    }
}

void dw_grad_weights_free(dw_grad_weights *grad) { free(grad->maps); }
