/* grad_weights.c - the gradients of kernel and bias: image -> channel chunk -> band of rows of dy -> kernel rows
 * -> (kernel: block -> row -> column).
 *
 * Three levels of sums: a kernel holds those of a band in registers and adds them to those of the image, which
 * are added to the total. So the rounding errors grow with the pixels of a band, the bands and the images, not
 * with their product, and neither chunks nor threads can change the order. */
#include <stdlib.h>
#include <string.h>

#include "desc.h"
#include "grad.h"

/* Rows of x are copied for as many blocks of channels as fit a part of L2, one block after the other: then the
 * kernels read vectors that are aligned and lie next to each other, where those of one block in x may be
 * kilobytes apart, fall into few sets of L1, and straddle cache lines. Measured on Zen 4, that makes up for the
 * copying at any stride, for 512 channels twice over. What the next band needs is prefetched: arrays that come
 * from memory then take 0.6 to 0.8 of the time, others none. */
enum { RING_BYTES = 200000 };

/* The parts of a workspace. */
typedef struct work {
    char *sums, *total; /* [block][bias, taps][lanes]: of an image, of all */
    char *ring;         /* [block of a chunk][slot][column][lanes] */
    char *dy;           /* [row of a band][column][lanes] */
    int64_t *held;      /* [slot]: the row of x that it holds, or -1 */
} work;

static work parts_of(const dw_grad_weights *grad, const dw_grad_base *base, const void *workspace) {
    const int64_t bytes = base->block_count * grad->sums_bytes;
    work work;
    work.total = (char *)workspace;
    work.sums = work.total + bytes;
    work.ring = work.sums + bytes;
    work.dy = work.ring + grad->chunk * grad->ring_bytes;
    work.held = (int64_t *)(void *)(work.dy + grad->dy_bytes);
    return work;
}

static dw_status make_maps(dw_grad_weights *grad, const dw_grad_base *base) {
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

dw_status dw_grad_weights_init(dw_grad_weights *grad, const dw_grad_base *base) {
    const dw_desc *d = &base->desc;
    if (d->dilation_w == 1)
        for (const dw_grad_window *window = base->kernels->windows; window->name; window++)
            if (window->kernel_w == d->kernel_w && window->stride == d->stride_w) grad->window = window;

    const int64_t lanes = base->kernels->lanes, taps = d->kernel_h * d->kernel_w;
    grad->band = (DW_GRAD_BAND - 1) / base->out_w + 1;
    if (grad->band > base->out_h) grad->band = base->out_h;
    /* Rows of x that a band reaches; no more than the padded ones. */
    const int64_t reach = (grad->band - 1) * d->stride_h + (d->kernel_h - 1) * d->dilation_h + 1;
    grad->slots = reach < d->height ? reach : d->height;
    const int64_t row_sizes[] = {grad->slots, d->width, lanes}, sum_sizes[] = {1 + taps, lanes};
    if (!dw_bytes(base->item, row_sizes, 3, &grad->ring_bytes)) return DW_ERR_OVERFLOW;
    if (!dw_bytes(base->item, sum_sizes, 2, &grad->sums_bytes)) return DW_ERR_OVERFLOW;
    grad->chunk = RING_BYTES / grad->ring_bytes;
    if (grad->chunk < 1) grad->chunk = 1;
    if (grad->chunk > base->kernels->chunk) grad->chunk = base->kernels->chunk;
    if (grad->chunk > base->block_count) grad->chunk = base->block_count;

    const int64_t dy_sizes[] = {grad->band, base->out_w, lanes};
    if (!dw_bytes(base->item, dy_sizes, 3, &grad->dy_bytes)) return DW_ERR_OVERFLOW;
    if (base->out_channels >= lanes) grad->dy_bytes = 0;
    const int64_t sums[] = {2, base->block_count}, rings[] = {grad->chunk};
    int64_t sums_bytes, ring_bytes, held_bytes;
    if (!dw_bytes(grad->sums_bytes, sums, 2, &sums_bytes)) return DW_ERR_OVERFLOW;
    if (!dw_bytes(grad->ring_bytes, rings, 1, &ring_bytes) || ring_bytes > PTRDIFF_MAX - grad->dy_bytes)
        return DW_ERR_OVERFLOW;
    if (!dw_bytes(sizeof(int64_t), &grad->slots, 1, &held_bytes)) return DW_ERR_OVERFLOW;
    ring_bytes += grad->dy_bytes;
    if (sums_bytes > PTRDIFF_MAX - ring_bytes || sums_bytes + ring_bytes > PTRDIFF_MAX - held_bytes)
        return DW_ERR_OVERFLOW;
    grad->workspace = sums_bytes + ring_bytes + held_bytes;
    return make_maps(grad, base);
}

/* Row h of x, of the blocks of `taps`, as it lies in the ring. */
static const void *held_row(const dw_grad_weights *grad, const dw_grad_base *base, const dw_grad_taps *taps,
                            const char *x, int64_t h, const work *work) {
    const dw_desc *d = &base->desc;
    const int64_t slot = h % grad->slots;
    char *row = work->ring + slot * (grad->ring_bytes / grad->slots);
    if (work->held[slot] == h) return row;
    work->held[slot] = h;
    const int64_t rows_ahead = grad->band < d->height / d->stride_h ? grad->band * d->stride_h : 0;
    const dw_grad_copy copy = {.x = x + h * d->width * d->channels * base->item,
                               .x_col = (ptrdiff_t)d->channels,
                               .width = d->width,
                               .blocks = base->blocks,
                               .block = taps->block,
                               .block_end = taps->block_end,
                               .maps = grad->maps,
                               .to = row,
                               .to_block = taps->x_block,
                               .ahead = (ptrdiff_t)(rows_ahead * d->width * d->channels)};
    base->kernels->copy(&copy);
    return row;
}

/* Adds what `taps->band` rows of dy from `first` on give to the sums: x the image. */
static void run_band(const dw_grad_weights *grad, const dw_grad_base *base, const dw_grad_taps *band, const char *x,
                     int64_t first, const work *work) {
    const dw_desc *d = &base->desc;
    const int64_t kr = grad->window ? grad->window->kr : 1;
    const void *rows[DW_GRAD_BAND * DW_GRAD_MOST_ROWS];
    dw_grad_taps taps = *band;
    taps.rows = rows;
    for (int64_t ki = 0; ki < d->kernel_h; ki += kr) {
        int any = ki == 0; /* for the bias */
        for (int64_t row = 0; row < taps.band; row++) {
            for (int64_t r = 0; r < kr; r++) {
                const int64_t at = (first + row) * d->stride_h - d->pad_top + (ki + r) * d->dilation_h;
                const int inside = ki + r < d->kernel_h && at >= 0 && at < d->height;
                rows[row * kr + r] = inside ? held_row(grad, base, &taps, x, at, work) : NULL;
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
        for (taps.kj = 0; taps.kj < d->kernel_w; taps.kj += DW_GRAD_MOST_TAPS) {
            const int64_t left = d->kernel_w - taps.kj;
            taps.with_bias = ki == 0 && taps.kj == 0;
            taps.tap = ki * d->kernel_w + taps.kj;
            base->kernels->taps[(left < DW_GRAD_MOST_TAPS ? left : DW_GRAD_MOST_TAPS) - 1](&taps);
        }
    }
}

/* Puts the band of dy at taps->dy, of few channels, into the workspace as whole vectors. */
static void copy_dy(const dw_grad_base *base, dw_grad_taps *taps, const work *work) {
    const int32_t channels = base->blocks->y_count;
    const dw_block block = {0, 0, channels, channels}; /* of dy, in the place of x */
    const dw_grad_copy copy = {.x = taps->dy,
                               .x_col = channels,
                               .width = taps->band * base->out_w, /* row after row */
                               .blocks = &block,
                               .block_end = 1,
                               .to = work->dy};
    base->kernels->copy(&copy);
    taps->dy = work->dy;
    taps->dy_col = base->kernels->lanes;
    taps->dy_row = (ptrdiff_t)(base->out_w * base->kernels->lanes);
}

/* One image: its sums for all blocks, from +0. */
static void run_image(const dw_grad_weights *grad, const dw_grad_base *base, const char *dy, const char *x,
                      const work *work) {
    const dw_desc *d = &base->desc;
    const int64_t dy_row = base->out_w * base->out_channels;
    memset(work->sums, 0, (size_t)(base->block_count * grad->sums_bytes));
    for (int64_t block = 0; block < base->block_count; block += grad->chunk) {
        const int64_t end = block + grad->chunk;
        dw_grad_taps taps = {.x_block = (ptrdiff_t)(grad->ring_bytes / base->item),
                             .width = d->width,
                             .out_w = base->out_w,
                             .stride = d->stride_w,
                             .dilation = d->dilation_w,
                             .pad = d->pad_left,
                             .blocks = base->blocks,
                             .block = block,
                             .block_end = end < base->block_count ? end : base->block_count,
                             .sums = work->sums,
                             .taps = d->kernel_h * d->kernel_w,
                             .kernel_w = d->kernel_w};
        for (int64_t slot = 0; slot < grad->slots; slot++) work->held[slot] = -1;
        for (int64_t row = 0; row < base->out_h; row += taps.band) {
            taps.dy_row = (ptrdiff_t)dy_row;
            taps.dy_col = (ptrdiff_t)base->out_channels;
            taps.band = base->out_h - row < grad->band ? base->out_h - row : grad->band;
            taps.ahead = (ptrdiff_t)(row + grad->band < base->out_h ? grad->band * dy_row : 0);
            taps.dy = dy + row * dy_row * base->item;
            if (grad->dy_bytes) copy_dy(base, &taps, work);
            run_band(grad, base, &taps, x, row, work);
        }
    }
}

/* ---- life, and the sums of several images ---------------------------------------------------------- */

void dw_grad_weights_free(dw_grad_weights *grad) { free(grad->maps); }

void dw_grad_weights_begin(const dw_grad_weights *grad, const dw_grad_base *base, void *workspace) {
    memset(parts_of(grad, base, workspace).total, 0, (size_t)(base->block_count * grad->sums_bytes));
}

void dw_grad_weights_image(const dw_grad_weights *grad, const dw_grad_base *base, const void *dy, const void *x,
                           void *workspace) {
    const work work = parts_of(grad, base, workspace);
    run_image(grad, base, dy, x, &work);
    base->kernels->add(work.sums, base->block_count * grad->sums_bytes / base->item, work.total);
}

/* The totals, as kernel (kh, kw, C, M) and bias (OC). */
void dw_grad_weights_end(const dw_grad_weights *grad, const dw_grad_base *base, void *dkernel, void *dbias,
                         const void *workspace) {
    const int64_t taps = base->desc.kernel_h * base->desc.kernel_w, lanes = base->kernels->lanes;
    const char *from = parts_of(grad, base, workspace).total;
    for (int64_t b = 0; b < base->block_count; b++) {
        const dw_block *block = base->blocks + b;
        for (int64_t tap = -1; tap < taps; tap++, from += lanes * base->item) { /* -1: the bias */
            char *to = tap < 0 ? dbias : dkernel;
            if (!to) continue;
            if (tap > 0) to += tap * base->out_channels * base->item;
            memcpy(to + block->y * base->item, from, (size_t)(block->y_count * base->item));
        }
    }
}
