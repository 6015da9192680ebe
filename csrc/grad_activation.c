/* grad_activation.c - gradients through an activation: rows of dy become rows of dz = dy * f'(z) as they enter their
 * ring. z, the convolution, is computed again, a row of a block at a time, from the rows of x that are in theirs: it
 * needs no array, and x and dy are read from memory once, as without an activation. */
#include <string.h>

#include "desc.h"
#include "grad.h"
#include "shared.h"
#include "sizes.h"

/* kernel (kh, kw, OC) and bias (OC) or NULL as [block][bias, taps][lanes]. */
dw_status dw_grad_activation_pack(dw_grad_activation *to, const dw_grad_base *base, const void *kernel,
                                  const void *bias) {
    const int64_t taps = base->problem.desc.kernel_h * base->problem.desc.kernel_w, lanes = base->table->lanes;
    const int64_t size = base->problem.element_size, sizes[] = {base->block_count, 1 + taps, lanes};
    int64_t bytes;
    if (!dw_bytes(size, sizes, 3, &bytes)) return DW_ERR_OVERFLOW;
    to->weights = dw_shared_new(bytes);
    if (!to->weights) return DW_ERR_NOMEM;
    char *at = to->weights;
    for (int64_t b = 0; b < base->block_count; b++) {
        const dw_block *block = base->blocks + b;
        const size_t count = (size_t)(block->y_count * size);
        for (int64_t tap = -1; tap < taps; tap++, at += lanes * size) { /* -1: the bias */
            if (dw_stopped(&base->problem, lanes * size)) return DW_ERR_STOPPED;
            if (tap >= 0)
                memcpy(at, (const char *)kernel + (tap * base->problem.out_channels + block->y) * size, count);
            else if (bias) memcpy(at, (const char *)bias + block->y * size, count);
        }
    }
    return DW_OK;
}

dw_status dw_grad_activation_init(dw_grad_activation *to, const dw_grad_base *base, const dw_grad_weights *weights,
                                  dw_activation activation, double alpha, const void *kernel, const void *bias) {
    const int64_t sizes[] = {base->problem.out_w, base->table->lanes};
    to->slope = base->table->slopes[activation];
    to->alpha = alpha;
    if (!to->slope) return DW_OK;
    to->z = weights->window ? weights->window->z : base->table->z;
    if (!dw_bytes(base->problem.element_size, sizes, 2, &to->line_bytes)) return DW_ERR_OVERFLOW;
    return dw_grad_activation_pack(to, base, kernel, bias);
}

void dw_grad_activation_rows(const dw_grad_activation *activation, const dw_grad_base *base, const dw_ring_state *dy,
                             const dw_ring_state *x, void *line, int64_t row, int64_t rows, void *to) {
    const dw_desc *d = &base->problem.desc;
    const int64_t size = base->problem.element_size, tap = base->table->lanes * size;
    const int64_t block_bytes = (1 + d->kernel_h * d->kernel_w) * tap;
    dw_grad_z z = {.width = d->width,
                   .out_w = base->problem.out_w,
                   .kernel_w = d->kernel_w,
                   .stride = d->stride_w,
                   .dilation = d->dilation_w,
                   .pad = d->pad_left,
                   .z = line};
    dw_slope_args slope = {.z = line, .count = base->problem.out_w * base->table->lanes, .alpha = activation->alpha};
    for (int64_t i = 0; i < rows; i++) {
        /* The rows that are there first: a row of the ring stays until all of this row of dy are. */
        for (int64_t b = dy->block; b < dy->block_end; b++) {
            const char *const weights = (const char *)activation->weights + b * block_bytes;
            z.bias = weights;
            z.count = 0;
            for (int64_t ki = 0; ki < d->kernel_h; ki++) {
                const int64_t at = (row + i) * d->stride_h - d->pad_top + ki * d->dilation_h;
                if (at < 0 || at >= d->height) continue;
                if (z.count == DW_GRAD_MAX_Z_ROWS) {
                    activation->z(&z);
                    z.bias = NULL; /* what is in the line goes on */
                    z.count = 0;
                }
                z.rows[z.count] = (const char *)dw_ring_row(x, base, at) + (b - dy->block) * x->ring->block_bytes;
                z.weights[z.count++] = weights + (1 + ki * d->kernel_w) * tap;
            }
            activation->z(&z);
            slope.dz = (char *)to + i * dy->ring->row_bytes + (b - dy->block) * dy->ring->block_bytes;
            slope.dy = slope.dz;
            activation->slope(&slope);
        }
    }
}

void dw_grad_activation_free(dw_grad_activation *activation) { dw_shared_drop(activation->weights); }
