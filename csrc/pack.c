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

dw_status dw_pack(dw_plan *plan, const void *kernel, const void *bias) {
    const int64_t lanes = plan->kernels->lanes, channels = plan->out_channels, item = plan->item;
    const int64_t multiplier = plan->desc.multiplier, mapped = multiplier > 1;
    const int64_t taps = plan->desc.kernel_h * plan->desc.kernel_w;
    const int64_t count = (channels - 1) / lanes + 1;
    const int64_t packed_sizes[] = {count, mapped + 1 + taps, lanes};
    const int64_t block_sizes[] = {count};
    int64_t bytes, block_bytes;
    if (!dw_bytes(item, packed_sizes, 3, &bytes) || !dw_bytes(sizeof(dw_block), block_sizes, 1, &block_bytes))
        return DW_ERR_OVERFLOW;
    plan->block_count = count;
    plan->blocks = malloc((size_t)block_bytes);
    plan->weights = alloc_aligned(bytes, &plan->weights_memory);
    if (!plan->blocks || !plan->weights) return DW_ERR_NOMEM;
    memset(plan->weights, 0, (size_t)bytes);

    char *to = plan->weights;
    const char *from = kernel;
    for (int64_t b = 0; b < count; b++) {
        dw_block *block = plan->blocks + b;
        const int64_t begin = b + 1 < count || channels < lanes ? b * lanes : channels - lanes;
        const int64_t used = channels < lanes ? channels : lanes;
        const size_t used_bytes = (size_t)(used * item);
        block->y = (ptrdiff_t)begin;
        block->y_count = (int32_t)used;
        block->x = (ptrdiff_t)(begin / multiplier);
        block->x_count = (int32_t)((begin + used - 1) / multiplier - block->x + 1);
        if (mapped) {
            for (int lane = 0; lane < used; lane++)
                store_lane(to, item, lane, (begin + lane) / multiplier - block->x);
            to += lanes * item;
        }
        if (bias) memcpy(to, (const char *)bias + begin * item, used_bytes);
        to += lanes * item;
        for (int64_t tap = 0; tap < taps; tap++) {
            memcpy(to, from + (tap * channels + begin) * item, used_bytes);
            to += lanes * item;
        }
    }
    return DW_OK;
}
