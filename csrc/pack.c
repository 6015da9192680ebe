/* pack.c - blocks of output channels and the weights in the order in which a kernel reads them:
 * [block][(M > 1: map), bias, taps][lanes], 64-byte aligned so that no vector of weights straddles a
 * cache line. Lanes beyond the last channel are zero and never stored. */
#include <stdlib.h>
#include <string.h>

#include "desc.h"
#include "plan.h"

enum { ALIGNMENT = 64 };

static void *alloc_aligned(int64_t bytes, void **memory) {
    *memory = bytes <= PTRDIFF_MAX - ALIGNMENT ? malloc((size_t)bytes + ALIGNMENT) : NULL;
    if (!*memory) return NULL;
    return (void *)(((uintptr_t)*memory + ALIGNMENT - 1) & ~(uintptr_t)(ALIGNMENT - 1));
}

/* The lane of input that output lane `lane` of the block reads, as an integer as wide as an element. */
static void store_lane(char *map, int64_t item, int lane, int64_t source) {
    if (item == 4) ((int32_t *)map)[lane] = (int32_t)source;
    else ((int64_t *)map)[lane] = source;
}

/* Blocks over `channels` output channels. Where the last one would be partial it overlaps its neighbour,
 * unless there is but one or `overlap` is off. */
static dw_status make_blocks(const dw_plan *plan, int64_t channels, int overlap, dw_blocks *blocks) {
    const int64_t lanes = plan->kernels->lanes, multiplier = plan->desc.multiplier;
    const int64_t count = (channels - 1) / lanes + 1;
    int64_t bytes;
    if (!dw_bytes(sizeof(dw_block), &count, 1, &bytes)) return DW_ERR_OVERFLOW;
    blocks->count = count;
    blocks->at = malloc((size_t)bytes);
    if (!blocks->at) return DW_ERR_NOMEM;
    for (int64_t b = 0; b < count; b++) {
        dw_block *block = blocks->at + b;
        int64_t begin = b * lanes;
        if (overlap && channels >= lanes && begin > channels - lanes) begin = channels - lanes;
        const int64_t used = channels - begin < lanes ? channels - begin : lanes;
        block->y = (ptrdiff_t)begin;
        block->y_count = (int32_t)used;
        block->x = (ptrdiff_t)(begin / multiplier);
        block->x_count = (int32_t)((begin + used - 1) / multiplier - block->x + 1);
    }
    return DW_OK;
}

dw_status dw_pack(dw_plan *plan, const void *kernel, const void *bias) {
    const int64_t lanes = plan->kernels->lanes, channels = plan->out_channels, item = plan->item;
    const int64_t multiplier = plan->desc.multiplier, mapped = multiplier > 1;
    const int64_t taps = plan->desc.kernel_h * plan->desc.kernel_w;
    dw_status status = make_blocks(plan, channels * plan->merged, 1, &plan->blocks);
    if (status != DW_OK) return status;
    if (plan->merged > 1) { /* the first blocks of the merged channels are those of the first pixel */
        status = make_blocks(plan, channels, 0, &plan->general_blocks);
        if (status != DW_OK) return status;
    }
    const int64_t packed_sizes[] = {plan->blocks.count, mapped + 1 + taps, lanes};
    int64_t bytes;
    if (!dw_bytes(item, packed_sizes, 3, &bytes)) return DW_ERR_OVERFLOW;
    plan->weights = alloc_aligned(bytes, &plan->weights_memory);
    if (!plan->weights) return DW_ERR_NOMEM;
    memset(plan->weights, 0, (size_t)bytes);

    char *to = plan->weights;
    for (int64_t b = 0; b < plan->blocks.count; b++) {
        const dw_block *block = plan->blocks.at + b;
        if (mapped) {
            for (int lane = 0; lane < block->y_count; lane++)
                store_lane(to, item, lane, (block->y + lane) / multiplier - block->x);
            to += lanes * item;
        }
        for (int64_t tap = -1; tap < taps; tap++, to += lanes * item) { /* -1: the bias */
            const char *from = tap < 0 ? bias : (const char *)kernel + tap * channels * item;
            if (!from) continue;
            /* Runs of consecutive channels; several if pixels are merged. */
            for (int64_t lane = 0; lane < block->y_count;) {
                const int64_t channel = (block->y + lane) % channels;
                int64_t run = block->y_count - lane;
                if (run > channels - channel) run = channels - channel;
                memcpy(to + lane * item, from + channel * item, (size_t)(run * item));
                lane += run;
            }
        }
    }
    return DW_OK;
}
