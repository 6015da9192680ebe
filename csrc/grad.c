/* grad.c - what both gradients begin with: a checked wish, the kernels for its channels, blocks of channels. */
#include "grad.h"

#include <stdlib.h>

#include "desc.h"

enum { ALIGNMENT = 64 };

/* Blocks of output channels; where the last one would be partial it overlaps its neighbour, unless there is
 * but one. */
static dw_status make_blocks(dw_grad_base *base) {
    const int64_t channels = base->out_channels, multiplier = base->desc.multiplier;
    const int64_t lanes = base->kernels->lanes, count = (channels - 1) / lanes + 1;
    int64_t bytes;
    if (!dw_bytes(sizeof(dw_block), &count, 1, &bytes)) return DW_ERR_OVERFLOW;
    base->blocks = malloc((size_t)bytes);
    if (!base->blocks) return DW_ERR_NOMEM;
    base->block_count = count;
    for (int64_t b = 0; b < count; b++) {
        int64_t begin = b * lanes;
        if (channels >= lanes && begin > channels - lanes) begin = channels - lanes;
        const int64_t used = channels - begin < lanes ? channels - begin : lanes;
        base->blocks[b].y = (ptrdiff_t)begin;
        base->blocks[b].y_count = (int32_t)used;
        base->blocks[b].x = (ptrdiff_t)(begin / multiplier);
        base->blocks[b].x_count = (int32_t)((begin + used - 1) / multiplier - begin / multiplier + 1);
    }
    return DW_OK;
}

dw_status dw_grad_base_init(dw_grad_base *base, const dw_desc *desc, dw_isa isa, dw_isa *chosen) {
    const dw_status status = dw_output_size(desc, &base->out_h, &base->out_w);
    if (status != DW_OK) return status;
    if (desc->activation != DW_LINEAR) return DW_ERR_ACTIVATION;
    if (desc->dtype != DW_F32 && desc->dtype != DW_F64) return DW_ERR_DTYPE;
    if (isa == DW_ISA_AUTO) isa = dw_isa_best();
    if (!dw_isa_available(isa)) return DW_ERR_ISA;
    *chosen = isa;
    base->desc = *desc;
    base->out_channels = desc->channels * desc->multiplier;
    base->item = dw_item_size(desc->dtype);
    base->kernels = dw_grad_kernels_of(isa, desc->dtype);
    /* Channels that fill no AVX-512 vector may fill one of AVX2: the same bits, without partial vectors. */
    if (isa == DW_ISA_AVX512 && base->out_channels < base->kernels->lanes)
        base->kernels = dw_grad_kernels_of(DW_ISA_AVX2, desc->dtype);
    return make_blocks(base);
}

int dw_grad_aligned_bytes(int64_t item, const int64_t *sizes, int count, int64_t *bytes) {
    if (!dw_bytes(item, sizes, count, bytes) || *bytes > PTRDIFF_MAX - ALIGNMENT) return 0;
    *bytes += ALIGNMENT;
    return 1;
}

void *dw_grad_align(void *memory) {
    return (void *)(((uintptr_t)memory + ALIGNMENT - 1) & ~(uintptr_t)(ALIGNMENT - 1));
}
