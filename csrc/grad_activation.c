/* grad_activation.c - gradients through an activation: in their ring, rows of dy become rows of dz = dy * f'(z). z, the
 * convolution, is computed again, a row of a block at a time, from the rows of x that are in theirs: it needs no array,
 * and x and dy are read from memory once, as without an activation. */
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

/* Of the kernel rows from `ki` on those that a row of z needs, as many as one call takes: of the first block of the
 * chunk, whose weights begin at `weights`. Returns the kernel row after them. */
static int64_t take_rows(dw_grad_z *z, const dw_grad_base *base, const dw_ring_state *x, int64_t row, int64_t ki,
                         const char *weights) {
    const dw_desc *d = &base->problem.desc;
    const int64_t kernel_row = d->kernel_w * base->table->lanes * base->problem.element_size;
    z->count = 0;
    for (; ki < d->kernel_h && z->count < DW_GRAD_MAX_Z_ROWS; ki++) {
        const int64_t at = row * d->stride_h - d->pad_top + ki * d->dilation_h;
        if (at < 0 || at >= d->height) continue;
        z->rows[z->count] = dw_ring_row(x, base, at);
        z->weights[z->count++] = weights + ki * kernel_row;
    }
    return ki;
}

/* The same of block number `block` of the chunk. */
static void run_rows(const dw_grad_activation *activation, const dw_grad_z *of_first, const void *bias, int64_t block,
                     int64_t x_block, int64_t weights_block) {
    dw_grad_z z = *of_first;
    z.bias = bias;
    for (int r = 0; r < z.count; r++) {
        z.rows[r] = (const char *)z.rows[r] + block * x_block;
        z.weights[r] = (const char *)z.weights[r] + block * weights_block;
    }
    activation->z(&z);
}

enum { ROWS = 4 }; /* of dy that are made block by block: what they share of x stays in L1 */

void dw_grad_activation_rows(const dw_grad_activation *activation, const dw_grad_base *base, const dw_ring_state *dy,
                             const dw_ring_state *x, void *line, int64_t row, int64_t end) {
    const dw_desc *d = &base->problem.desc;
    const int64_t size = base->problem.element_size, bias_bytes = base->table->lanes * size;
    const int64_t weights_block = (1 + d->kernel_h * d->kernel_w) * bias_bytes, x_block = x->ring->block_bytes;
    const char *const bias = (const char *)activation->weights + dy->block * weights_block;
    dw_grad_z z[ROWS];
    char *rows[ROWS];
    int64_t after[ROWS]; /* the kernel row after the first call */
    for (int i = 0; i < ROWS; i++)
        z[i] = (dw_grad_z){.width = d->width,
                           .out_w = base->problem.out_w,
                           .kernel_w = d->kernel_w,
                           .stride = d->stride_w,
                           .dilation = d->dilation_w,
                           .pad = d->pad_left,
                           .z = line};
    dw_slope_args slope = {.z = line, .count = base->problem.out_w * base->table->lanes, .alpha = activation->alpha};
    for (int64_t next; row < end; row = next) {
        next = end - row > ROWS ? row + ROWS : end;
        for (int64_t i = 0; i < next - row; i++) {
            rows[i] = dy->rows + (row + i) % dy->ring->slots * dy->ring->row_bytes;
            after[i] = take_rows(&z[i], base, x, row + i, 0, bias + bias_bytes);
        }
        for (int64_t block = 0; block < dy->block_end - dy->block; block++) {
            for (int64_t i = 0; i < next - row; i++) {
                run_rows(activation, &z[i], bias + block * weights_block, block, x_block, weights_block);
                for (int64_t ki = after[i]; ki < d->kernel_h;) {
                    dw_grad_z more = z[i];
                    ki = take_rows(&more, base, x, row + i, ki, bias + bias_bytes);
                    run_rows(activation, &more, NULL, block, x_block, weights_block);
                }
                slope.dz = rows[i] + block * dy->ring->block_bytes;
                slope.dy = slope.dz;
                activation->slope(&slope);
            }
        }
    }
}

void dw_grad_activation_free(dw_grad_activation *activation) { dw_shared_drop(activation->weights); }
