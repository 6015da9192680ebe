/* nhwc.c - channels last: makes a plan, and tells what it has decided. */
#include "nhwc.h"

#include "shared.h"

dw_status dw_nhwc_create(dw_nhwc *nhwc, const dw_problem *problem, const dw_strategy *strategy, const void *kernel,
                         const void *bias) {
    const dw_desc *d = &problem->desc;
    if (d->activation > DW_RELU6) nhwc->activate = problem->isa->nhwc[d->dtype]->activate[d->activation];
    if (strategy) dw_nhwc_use(nhwc, problem, strategy);
    else dw_nhwc_estimate(nhwc, problem);
    if (nhwc->strategy.option[DW_AXIS_PACKING] != DW_PACKING_CROSS_PIXEL) nhwc->aligned.cross_pixel = 0;
    if (nhwc->strategy.option[DW_AXIS_CHUNK] == DW_CHUNK_ALL) nhwc->chunk = INT64_MAX / 2;
    if (nhwc->strategy.option[DW_AXIS_CHUNK] == DW_CHUNK_FEW) nhwc->chunk = DW_FEW_BLOCKS;
    dw_nhwc_divide_rows(nhwc, problem);
    dw_nhwc_make_args(nhwc, problem);
    const dw_status status = dw_nhwc_pack(nhwc, problem, kernel, bias);
    return status == DW_OK ? dw_nhwc_make_masks(nhwc, problem) : status;
}

void dw_nhwc_destroy(dw_nhwc *nhwc) {
    for (int i = 0; i < DW_MAX_PACKINGS; i++) {
        dw_shared_drop(nhwc->packings[i].blocks);
        dw_shared_drop(nhwc->packings[i].weights);
    }
    dw_shared_drop(nhwc->valid);
    dw_shared_drop(nhwc->one_pixel.blocks);
    if (nhwc->one_pixel.bytes) dw_shared_drop(nhwc->one_pixel.weights);
}

void dw_nhwc_keep(dw_nhwc *copy) {
    for (int i = 0; i < DW_MAX_PACKINGS; i++) {
        dw_shared_keep(copy->packings[i].blocks);
        dw_shared_keep(copy->packings[i].weights);
    }
    dw_shared_keep(copy->valid);
    dw_shared_keep(copy->one_pixel.blocks);
    if (copy->one_pixel.bytes) dw_shared_keep(copy->one_pixel.weights);
}

void dw_nhwc_describe(const dw_nhwc *nhwc, const dw_problem *problem, dw_plan_info *info) {
    const dw_desc *d = &problem->desc;
    const dw_tile *tile = nhwc->tile;
    const int64_t sums = tile ? DW_SUMS_OF(tile->flavour) : 1;
    /* of a block's weights */
    const int64_t vectors = (d->multiplier > 1 && sums == 1) + (1 + d->kernel_h * d->kernel_w) * sums;
    dw_nhwc_strategy_name(nhwc->table, &nhwc->strategy, info->strategy, (int)sizeof info->strategy);
    info->kernel = tile ? tile->name : nhwc->table->general_name;
    info->lanes = nhwc->table->lanes;
    info->tile_h = tile ? tile->tile_h : 1;
    info->tile_w = tile ? tile->tile_w : 1;
    info->merged_pixels = nhwc->fold;
    info->blocks = nhwc->packings[0].count;
    info->plan_bytes = nhwc->one_pixel.count * (int64_t)sizeof(dw_block) + nhwc->one_pixel.bytes +
                       nhwc->valid_count * (int64_t)sizeof(dw_valid_lanes);
    if (nhwc->one_pixel.bytes)
        info->shared_bytes += dw_shared_by_others(nhwc->one_pixel.weights, nhwc->one_pixel.bytes);
    for (int i = 0; i < nhwc->packing_count; i++) {
        const dw_packing *packing = nhwc->packings + i;
        info->plan_bytes += packing->bytes + packing->count * (int64_t)sizeof(dw_block);
        info->shared_bytes += dw_shared_by_others(packing->weights, packing->bytes);
    }
    info->weight_bytes = info->blocks * vectors * info->lanes * problem->weight_size;
}
