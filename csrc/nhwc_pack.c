/* nhwc_pack.c - the weights of blocks of output channels in the order in which a kernel reads them:
 * [block][(M > 1: map), bias, taps][lanes], 64-byte aligned so that no vector of weights straddles a
 * cache line. Lanes beyond the last channel are zero and never stored. */
#include <stdlib.h>
#include <string.h>

#include "desc.h"
#include "float_env.h"
#include "plan.h"

enum { ALIGNMENT = 64 };

static void *alloc_aligned(int64_t bytes, void **memory) {
    *memory = bytes <= PTRDIFF_MAX - ALIGNMENT ? malloc((size_t)bytes + ALIGNMENT) : NULL;
    if (!*memory) return NULL;
    return (void *)(((uintptr_t)*memory + ALIGNMENT - 1) & ~(uintptr_t)(ALIGNMENT - 1));
}

static dw_status make_blocks(const dw_plan *plan, int64_t count, int64_t channels, int64_t first, int64_t second,
                             int overlap, dw_packing *packing) {
    packing->count = count;
    return dw_make_blocks(count, plan->kernels->lanes, plan->desc.multiplier, channels, first, second, overlap,
                          &packing->blocks);
}

/* Bytes of the weights of `blocks` blocks; 0 if they do not fit. */
static int64_t weight_bytes(const dw_plan *plan, int64_t blocks) {
    const int64_t sizes[] = {blocks, (plan->desc.multiplier > 1) + 1 + plan->desc.kernel_h * plan->desc.kernel_w,
                             plan->kernels->lanes};
    int64_t bytes;
    return dw_bytes(plan->element_size, sizes, 3, &bytes) ? bytes : 0;
}

/* The weights of one vector: `from` (C*M) for the lanes [begin, end) of a block. */
static void store_lanes(const dw_plan *plan, const dw_block *block, const char *from, int64_t begin, int64_t end,
                        char *to) {
    const int64_t channels = plan->out_channels, element_size = plan->element_size;
    /* Runs of consecutive channels; several if pixels are merged. */
    for (int64_t lane = begin; lane < end;) {
        const int64_t channel = (block->y + lane + channels) % channels; /* y may be of the pixel before */
        int64_t run = end - lane;
        if (run > channels - channel) run = channels - channel;
        memcpy(to + lane * element_size, from + channel * element_size, (size_t)(run * element_size));
        lane += run;
    }
}

/* The weights of a block astride: its first lanes have their taps first in the window, the others last. */
static void pack_astride(const dw_plan *plan, const dw_block *block, const char *kernel, const void *bias, char *to) {
    const dw_desc *d = &plan->desc;
    const int64_t vector = plan->kernels->lanes * plan->element_size, row = plan->out_channels * plan->element_size,
                  before = -block->y;
    const int64_t later = d->stride_w - 1, window = d->kernel_w + later;
    if (bias) store_lanes(plan, block, bias, 0, block->y_count, to);
    to += vector;
    for (int64_t ki = 0; ki < d->kernel_h; ki++) {
        for (int64_t j = 0; j < window; j++, to += vector) {
            if (j < d->kernel_w) store_lanes(plan, block, kernel + (ki * d->kernel_w + j) * row, 0, before, to);
            if (j >= later)
                store_lanes(plan, block, kernel + (ki * d->kernel_w + j - later) * row, before, block->y_count, to);
        }
    }
}

/* An output without a valid tap is its bias, which then goes through no multiply-add that would flush it. */
static void flush_bias(const dw_plan *plan, void *lanes) {
    if (plan->desc.denormals == DW_DENORMALS_FLUSH) dw_flush(plan->desc.dtype, lanes, plan->kernels->lanes);
}

/* `astride`: the first block will be used by such a kernel, too. */
static dw_status pack_weights(const dw_plan *plan, const void *kernel, const void *bias, int astride,
                              dw_packing *packing) {
    const int64_t lanes = plan->kernels->lanes, channels = plan->out_channels, element_size = plan->element_size;
    const int64_t multiplier = plan->desc.multiplier, mapped = multiplier > 1;
    const int64_t taps = plan->desc.kernel_h * plan->desc.kernel_w;
    const int64_t bytes = weight_bytes(plan, packing->count);
    const int64_t extra =
        astride ? (1 + plan->desc.kernel_h * (plan->desc.kernel_w + plan->desc.stride_w - 1)) * lanes * element_size
                : 0;
    if (!bytes) return DW_ERR_OVERFLOW;
    packing->weights = alloc_aligned(bytes + extra, &packing->memory);
    if (!packing->weights) return DW_ERR_NOMEM;
    memset(packing->weights, 0, (size_t)(bytes + extra));

    char *to = packing->weights;
    for (int64_t b = 0; b < packing->count; b++) {
        const dw_block *block = packing->blocks + b;
        if (mapped) {
            dw_map_lanes(block, multiplier, element_size, to);
            to += lanes * element_size;
        }
        for (int64_t tap = -1; tap < taps; tap++, to += lanes * element_size) { /* -1: the bias */
            const char *from = tap < 0 ? bias : (const char *)kernel + tap * channels * element_size;
            if (from) store_lanes(plan, block, from, 0, block->y_count, to);
            if (tap < 0) flush_bias(plan, to);
        }
    }
    if (astride) {
        packing->astride = to;
        pack_astride(plan, packing->blocks, kernel, bias, to);
        flush_bias(plan, to);
    }
    return DW_OK;
}

/* How many packings pay: one for each place within a vector where x can begin, if each pixel then begins there, too.
 * On Zen 4, lines that two blocks touch cost 3x3 kernels 1.15 to 1.5 of the time. */
static int packings(const dw_plan *plan) {
    enum { MOST_BYTES = 1 << 20 };
    const int64_t vector = plan->kernels->lanes * plan->element_size, blocks = plan->packings[0].count;
    const int count = (int)(vector / DW_X_ALIGNMENT);
    if (count <= 1 || !plan->tile || plan->merged > 1 || plan->desc.multiplier > 1) return 1;
    if (plan->out_channels % plan->kernels->lanes != 0) return 1;
    if (!plan->straddle && blocks < (plan->tile->stride > 1 ? 1 : 2) * DW_BLOCKS_FOR_HEAD) return 1;
    const int64_t bytes = weight_bytes(plan, blocks + 1);
    return bytes && bytes <= MOST_BYTES / count ? count : 1;
}

dw_status dw_pack(dw_plan *plan, const void *kernel, const void *bias) {
    const int64_t lanes = plan->kernels->lanes, channels = plan->out_channels, merged = channels * plan->merged;
    dw_status status = make_blocks(plan, (merged - 1) / lanes + 1, merged, 0, lanes, 1, &plan->packings[0]);
    if (status != DW_OK) return status;
    if (plan->merged > 1) { /* the first blocks of the merged channels are those of the first pixel */
        status = make_blocks(plan, (channels - 1) / lanes + 1, channels, 0, lanes, 0, &plan->single);
        if (status != DW_OK) return status;
    }
    plan->packing_count = packings(plan);
    for (int i = 0; i < plan->packing_count; i++) {
        dw_packing *packing = plan->packings + i;
        const int64_t boundary = i * DW_X_ALIGNMENT / plan->element_size, blocks = channels / lanes; /* a channel */
        if (i > 0) {
            status = plan->straddle ? make_blocks(plan, blocks, channels, boundary - lanes, boundary, 0, packing)
                                    : make_blocks(plan, blocks + 1, channels, 0, boundary, 1, packing);
        }
        const int astride = i > 0 && plan->straddle && plan->desc.stride_w > 1;
        if (status == DW_OK) status = pack_weights(plan, kernel, bias, astride, packing);
        if (status != DW_OK) return status;
    }
    plan->single.weights = plan->packings[0].weights;
    return DW_OK;
}
