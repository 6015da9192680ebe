/* nhwc_pack.c - channels last: the weights of blocks of channels in the order in which a kernel reads them, aligned so
 * that no vector of weights crosses a cache line. Blocks are of output channels, with weights
 * [block][(M > 1: indices), bias, taps][lanes]; for kernels with M sums per input (DW_SUMS) they are of input channels,
 * with weights [block][bias, taps][M][lanes]. Lanes beyond the last channel are zero and never stored. */
#include <string.h>

#include "desc.h"
#include "float_env.h"
#include "nhwc.h"
#include "shared.h"

/* The packings that kernels with M sums per input use: M, else 1. */
static int64_t sums_of(const dw_nhwc *nhwc, const dw_packing *packing) {
    return nhwc->tile && packing != &nhwc->one_pixel ? DW_SUMS_OF(nhwc->tile->flavour) : 1;
}

static dw_status make_blocks(const dw_nhwc *nhwc, const dw_problem *problem, int64_t count, int64_t channels,
                             int64_t first, int64_t second, int overlap, dw_packing *packing) {
    packing->count = count;
    return dw_make_blocks(count, nhwc->table->lanes, problem->desc.multiplier, channels, first, second, overlap,
                          &packing->blocks);
}

/* Blocks of `channels` input channels for kernels with `sums` sums per input. */
static dw_status make_input_blocks(const dw_nhwc *nhwc, int64_t channels, int64_t sums, dw_packing *packing) {
    const int64_t lanes = nhwc->table->lanes;
    packing->count = dw_div_up(channels, lanes);
    const dw_status status = dw_make_blocks(packing->count, lanes, 1, channels, 0, lanes, 1, &packing->blocks);
    for (int64_t b = 0; status == DW_OK && b < packing->count; b++) {
        packing->blocks[b].y *= (ptrdiff_t)sums;
        packing->blocks[b].y_count *= (int32_t)sums;
    }
    return status;
}

/* Bytes of the weights of `blocks` blocks, with `sums` sums per input or 1; 0 if they do not fit. */
static int64_t weight_bytes(const dw_nhwc *nhwc, const dw_problem *problem, int64_t blocks, int64_t sums) {
    const dw_desc *d = &problem->desc;
    const int64_t indices = d->multiplier > 1 && sums == 1;
    const int64_t sizes[] = {blocks, indices + (1 + d->kernel_h * d->kernel_w) * sums, nhwc->table->lanes};
    int64_t bytes;
    return dw_bytes(problem->weight_size, sizes, 3, &bytes) ? bytes : 0;
}

/* The weights of one vector: `from` (C*M) for the lanes [begin, end) of a block. */
static void store_lanes(const dw_problem *problem, const dw_block *block, const char *from, int64_t begin, int64_t end,
                        char *to) {
    const int64_t channels = problem->out_channels, size = problem->weight_size;
    /* Runs of consecutive channels; several if pixels are folded. */
    for (int64_t lane = begin; lane < end;) {
        const int64_t channel = (block->y + lane + channels) % channels; /* y may be of the pixel before */
        const int64_t run = dw_min(end - lane, channels - channel);
        memcpy(to + lane * size, from + channel * size, (size_t)(run * size));
        lane += run;
    }
}

/* The same for the M sums of a block of input channels: M vectors. */
static void store_sums(const dw_problem *problem, const dw_block *block, const char *from, int64_t lanes, char *to) {
    const int64_t multiplier = problem->desc.multiplier, size = problem->weight_size;
    for (int64_t lane = 0; lane < block->x_count; lane++) {
        const char *channel = from + (block->x + lane) * multiplier * size;
        for (int64_t m = 0; m < multiplier; m++)
            memcpy(to + (m * lanes + lane) * size, channel + m * size, (size_t)size);
    }
}

/* An output without a valid tap is its bias, which then goes through no multiply-add that would flush it. */
static void flush_bias(const dw_problem *problem, void *bias, int64_t lanes) {
    if (problem->desc.denormals == DW_DENORMALS_FLUSH) dw_flush(problem->desc.dtype, bias, lanes);
}

/* The weights of a block that spans two pixels, for DW_CROSS_PIXEL: the lanes of the pixel before have their taps first
 * in the window, the others last. */
static void pack_cross_pixel(const dw_nhwc *nhwc, const dw_problem *problem, const dw_block *block, const char *kernel,
                             const void *bias, char *to) {
    const dw_desc *d = &problem->desc;
    const int64_t vector = nhwc->table->lanes * problem->weight_size;
    const int64_t row = problem->out_channels * problem->weight_size, before = -block->y;
    const int64_t later = d->stride_w - 1, window = d->kernel_w + later;
    if (bias) store_lanes(problem, block, bias, 0, block->y_count, to);
    flush_bias(problem, to, nhwc->table->lanes);
    to += vector;
    for (int64_t ki = 0; ki < d->kernel_h; ki++) {
        for (int64_t j = 0; j < window; j++, to += vector) {
            if (j < d->kernel_w) store_lanes(problem, block, kernel + (ki * d->kernel_w + j) * row, 0, before, to);
            if (j >= later)
                store_lanes(problem, block, kernel + (ki * d->kernel_w + j - later) * row, before, block->y_count, to);
        }
    }
}

/* All taps of the blocks [begin, end), to `to`, where the first tap of the first of them belongs; blocks lie `step` bytes
 * apart. vector: the bytes of one, a constant where this is called, so that a copy is a load and a store. */
static inline dw_status store_taps(const dw_nhwc *nhwc, const dw_problem *problem, const dw_packing *packing,
                                   dw_range blocks, const char *kernel, char *to, int64_t step, const int64_t vector) {
    const dw_desc *d = &problem->desc;
    const int64_t channels = problem->out_channels, lanes = nhwc->table->lanes, size = problem->weight_size;
    const int64_t taps = d->kernel_h * d->kernel_w, row = channels * size;
    for (int64_t tap = 0; tap < taps; tap++, kernel += row, to += vector) {
        if (dw_stopped(problem, (blocks.end - blocks.begin) * vector)) return DW_ERR_STOPPED;
        char *at = to;
        for (const dw_block *block = packing->blocks + blocks.begin; block < packing->blocks + blocks.end; block++) {
            if (block->y >= 0 && block->y + lanes <= channels) memcpy(at, kernel + block->y * size, (size_t)vector);
            else store_lanes(problem, block, kernel, 0, block->y_count, at);
            at += step;
        }
    }
    return DW_OK;
}

/* With a constant for each size of vectors that instruction sets have. */
static dw_status store_taps_of_vectors(const dw_nhwc *nhwc, const dw_problem *problem, const dw_packing *packing,
                                       dw_range blocks, const char *kernel, char *to, int64_t step, int64_t vector) {
    switch (vector) {
    case 16: return store_taps(nhwc, problem, packing, blocks, kernel, to, step, 16);
    case 32: return store_taps(nhwc, problem, packing, blocks, kernel, to, step, 32);
    case 64: return store_taps(nhwc, problem, packing, blocks, kernel, to, step, 64);
    default: return store_taps(nhwc, problem, packing, blocks, kernel, to, step, vector);
    }
}

/* The same for kernels with M sums per input; vectors: the bytes of a tap of a block. */
static dw_status store_taps_of_sums(const dw_nhwc *nhwc, const dw_problem *problem, const dw_packing *packing,
                                    dw_range blocks, const char *kernel, char *to, int64_t step, int64_t vectors) {
    const dw_desc *d = &problem->desc;
    const int64_t taps = d->kernel_h * d->kernel_w, row = problem->out_channels * problem->weight_size;
    for (int64_t tap = 0; tap < taps; tap++, kernel += row, to += vectors) {
        if (dw_stopped(problem, (blocks.end - blocks.begin) * vectors)) return DW_ERR_STOPPED;
        char *at = to;
        for (const dw_block *block = packing->blocks + blocks.begin; block < packing->blocks + blocks.end; block++) {
            store_sums(problem, block, kernel, nhwc->table->lanes, at);
            at += step;
        }
    }
    return DW_OK;
}

/* In place of the weights of a packing, whose blocks are made. `cross_pixel`: the first block will be used by such
 * kernels, too. A few blocks at a time: of the kernel whole cache lines are read, and each block is written in order. */
static dw_status pack_weights(const dw_nhwc *nhwc, const dw_problem *problem, const void *kernel, const void *bias,
                              int cross_pixel, dw_packing *packing) {
    const dw_desc *d = &problem->desc;
    const int64_t lanes = nhwc->table->lanes, size = problem->weight_size, vector = lanes * size;
    const int64_t sums = sums_of(nhwc, packing), indices = d->multiplier > 1 && sums == 1;
    const int64_t bytes = weight_bytes(nhwc, problem, packing->count, sums);
    const int64_t extra = cross_pixel ? (1 + d->kernel_h * (d->kernel_w + d->stride_w - 1)) * vector : 0;
    if (!bytes) return DW_ERR_OVERFLOW;
    char *to = dw_shared_new(bytes + extra);
    if (!to) return DW_ERR_NOMEM;
    dw_shared_drop(packing->weights);
    packing->weights = to;
    packing->bytes = bytes + extra;
    packing->cross_pixel_weights = NULL;

    const int64_t step = bytes / packing->count;
    for (int64_t b = 0; b < packing->count; b++) {
        const dw_block *block = packing->blocks + b;
        char *first = to + b * step;
        if (indices) {
            dw_input_lanes(block, d->multiplier, size, first);
            first += vector;
        }
        if (bias && sums > 1) store_sums(problem, block, bias, lanes, first);
        else if (bias) store_lanes(problem, block, bias, 0, block->y_count, first);
        flush_bias(problem, first, lanes * sums);
    }
    enum { AT_ONCE = 4 };
    for (int64_t begin = 0; begin < packing->count; begin += AT_ONCE) {
        const dw_range blocks = {begin, dw_min(begin + AT_ONCE, packing->count)};
        char *first = to + begin * step + (indices + sums) * vector;
        const dw_status status =
            sums > 1 ? store_taps_of_sums(nhwc, problem, packing, blocks, kernel, first, step, sums * vector)
                     : store_taps_of_vectors(nhwc, problem, packing, blocks, kernel, first, step, vector);
        if (status != DW_OK) return status;
    }
    if (cross_pixel) {
        packing->cross_pixel_weights = to + bytes;
        pack_cross_pixel(nhwc, problem, packing->blocks, kernel, bias, packing->cross_pixel_weights);
    }
    return DW_OK;
}

/* Offsets within a vector where x can begin. */
static int64_t offsets(const dw_nhwc *nhwc, const dw_problem *problem) {
    return nhwc->table->lanes * problem->element_size / DW_X_ALIGNMENT;
}

int dw_nhwc_can_align(const dw_nhwc *nhwc, const dw_problem *problem) {
    const int64_t lanes = nhwc->table->lanes, count = offsets(nhwc, problem);
    if (count <= 1 || !nhwc->tile || nhwc->fold > 1 || problem->desc.multiplier > 1) return 0;
    if (problem->out_channels % lanes != 0) return 0;
    const int64_t bytes = weight_bytes(nhwc, problem, problem->out_channels / lanes + 1, 1);
    return bytes && bytes <= problem->tuning->aligned_weight_bytes / count;
}

/* Whether the general kernel makes some columns. */
static int needs_general(const dw_nhwc *nhwc) {
    for (int i = 0; i < nhwc->segments.count; i++)
        if (!nhwc->segments.at[i].tile && !nhwc->segments.at[i].masked) return 1;
    return 0;
}

/* The weights of the general kernel, where packings[0] is not for it. */
static dw_status pack_one_pixel(dw_nhwc *nhwc, const dw_problem *problem, const void *kernel, const void *bias) {
    if (!nhwc->one_pixel.blocks) return DW_OK;
    if (sums_of(nhwc, nhwc->packings) > 1) return pack_weights(nhwc, problem, kernel, bias, 0, &nhwc->one_pixel);
    nhwc->one_pixel.weights = nhwc->packings[0].weights;
    return DW_OK;
}

dw_status dw_nhwc_pack(dw_nhwc *nhwc, const dw_problem *problem, const void *kernel, const void *bias) {
    const int64_t lanes = nhwc->table->lanes, channels = problem->out_channels, folded = channels * nhwc->fold;
    const int64_t sums = sums_of(nhwc, nhwc->packings);
    const int cross_pixel = nhwc->aligned.cross_pixel;
    dw_status status = sums > 1
                           ? make_input_blocks(nhwc, problem->desc.channels, sums, nhwc->packings)
                           : make_blocks(nhwc, problem, dw_div_up(folded, lanes), folded, 0, lanes, 1, nhwc->packings);
    if (status != DW_OK) return status;
    if (sums > 1 && needs_general(nhwc)) {
        status = make_blocks(nhwc, problem, dw_div_up(channels, lanes), channels, 0, lanes, 1, &nhwc->one_pixel);
        if (status != DW_OK) return status;
    } else if (nhwc->fold > 1) { /* the first blocks of the folded channels are those of the first pixel */
        status = make_blocks(nhwc, problem, dw_div_up(channels, lanes), channels, 0, lanes, 0, &nhwc->one_pixel);
        if (status != DW_OK) return status;
    }
    const int plain = nhwc->strategy.option[DW_AXIS_PACKING] == DW_PACKING_PLAIN;
    nhwc->packing_count = plain ? 1 : (int)offsets(nhwc, problem); /* one for each */
    for (int i = 0; i < nhwc->packing_count; i++) {
        dw_packing *packing = nhwc->packings + i;
        const int64_t blocks = channels / lanes;
        const int64_t boundary = i * DW_X_ALIGNMENT / problem->element_size; /* the first channel behind it */
        if (i > 0)
            status = cross_pixel ? make_blocks(nhwc, problem, blocks, channels, boundary - lanes, boundary, 0, packing)
                                 : make_blocks(nhwc, problem, blocks + 1, channels, 0, boundary, 1, packing);
        if (status != DW_OK) return status;
    }
    return dw_nhwc_repack(nhwc, problem, DW_EVERY_PACKING, kernel, bias);
}

int dw_nhwc_is_packed(const dw_nhwc *nhwc, unsigned which) {
    for (int i = 0; i < nhwc->packing_count; i++)
        if (which >> i & 1 && !nhwc->packings[i].weights) return 0;
    return 1;
}

void dw_nhwc_forget(dw_nhwc *nhwc, unsigned which) {
    for (int i = 0; i < nhwc->packing_count; i++) {
        if (!(which >> i & 1)) continue;
        dw_packing *packing = nhwc->packings + i;
        dw_shared_drop(packing->weights);
        packing->weights = packing->cross_pixel_weights = NULL;
        packing->bytes = 0;
    }
    if (!nhwc->one_pixel.bytes) {
        nhwc->one_pixel.weights = nhwc->packings[0].weights;
    } else if (which & 1) {
        dw_shared_drop(nhwc->one_pixel.weights);
        nhwc->one_pixel.weights = NULL;
        nhwc->one_pixel.bytes = 0;
    }
}

dw_status dw_nhwc_repack(dw_nhwc *nhwc, const dw_problem *problem, unsigned which, const void *kernel,
                         const void *bias) {
    dw_nhwc_forget(nhwc, ~which);
    for (int i = 0; i < nhwc->packing_count; i++) {
        if (!(which >> i & 1)) continue;
        const int cross_pixel = i > 0 && nhwc->aligned.cross_pixel && problem->desc.stride_w > 1;
        const dw_status status = pack_weights(nhwc, problem, kernel, bias, cross_pixel, nhwc->packings + i);
        if (status != DW_OK) return status;
    }
    return which & 1 ? pack_one_pixel(nhwc, problem, kernel, bias) : DW_OK;
}

void dw_nhwc_merge(dw_nhwc *nhwc, const dw_nhwc *other) {
    for (int i = 0; i < nhwc->packing_count && i < other->packing_count; i++) {
        dw_packing *packing = nhwc->packings + i;
        const dw_packing *from = other->packings + i;
        void *blocks = packing->blocks;
        dw_shared_merge(&blocks, from->blocks);
        packing->blocks = blocks;
        const ptrdiff_t cross_pixel =
            packing->cross_pixel_weights ? (char *)packing->cross_pixel_weights - (char *)packing->weights : 0;
        if (dw_shared_merge(&packing->weights, from->weights) && cross_pixel)
            packing->cross_pixel_weights = (char *)packing->weights + cross_pixel;
    }
    if (nhwc->one_pixel.bytes) dw_shared_merge(&nhwc->one_pixel.weights, other->one_pixel.weights);
    else nhwc->one_pixel.weights = nhwc->packings[0].weights;
}
