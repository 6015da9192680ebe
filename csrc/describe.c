/* describe.c - what a plan has decided. */
#include "plan.h"

/* Taps of one dimension that do not lie in the padding, over all outputs: for each tap the outputs for which
 * 0 <= o * stride - before + k * dilation < in. As a double: a plan may be for a batch that no machine holds. */
static double valid_taps(int64_t out, int64_t in, int64_t before, int64_t kernel, int64_t stride, int64_t dilation) {
    double taps = 0;
    for (int64_t k = 0; k < kernel; k++) {
        const int64_t left = before - k * dilation; /* columns that the tap needs to the left of the input */
        const int64_t begin = left > 0 ? (left - 1) / stride + 1 : 0;
        const int64_t last = in - 1 + left;
        int64_t end = last >= 0 ? last / stride + 1 : 0;
        if (end > out) end = out;
        if (begin < end) taps += (double)(end - begin);
    }
    return taps;
}

void dw_plan_describe(const dw_plan *plan, dw_plan_info *info) {
    const dw_desc *d = &plan->desc;
    const dw_planar *planar = plan->planar;
    const dw_tile *tile = plan->tile;
    const int64_t mapped = d->multiplier > 1;
    const double rows = valid_taps(plan->out_h, d->height, d->pad_top, d->kernel_h, d->stride_h, d->dilation_h);
    const double cols = valid_taps(plan->out_w, d->width, d->pad_left, d->kernel_w, d->stride_w, d->dilation_w);
    const int64_t vectors = plan->packings[0].count * (mapped + 1 + d->kernel_h * d->kernel_w);
    *info = (dw_plan_info){.isa = plan->isa,
                           .kernel = tile ? tile->name : plan->kernels->general_name,
                           .lanes = plan->kernels->lanes,
                           .tile_h = tile ? tile->tile_h : 1,
                           .tile_w = tile ? tile->tile_w : 1,
                           .merged_pixels = plan->merged,
                           .blocks = plan->packings[0].count,
                           .weight_bytes = vectors * plan->kernels->lanes * plan->element_size,
                           .multiply_adds = rows * cols * (double)d->batch * (double)plan->out_channels,
                           .x_bytes = d->batch * d->height * d->width * d->channels * plan->element_size,
                           .y_bytes = d->batch * plan->out_h * plan->out_w * plan->out_channels * plan->element_size};
    if (planar) {
        info->kernel = planar->kernel ? planar->kernel->name : planar->table->general_name;
        info->lanes = planar->lanes;
        info->blocks = planar->column_count;
        info->weight_bytes = plan->out_channels * (1 + d->kernel_h * d->kernel_w) * plan->element_size;
        info->merged_pixels = 1;
    }
}

int64_t dw_plan_nanoseconds(const dw_plan *plan) {
    /* Vectors per nanosecond: multiply-adds of tiles, on Zen 4; the general kernel takes four times as long, and where
     * a multiply-add is a call of fma() each takes one or two. An activation that is more than a clamp: 5 to 15. */
    const double VECTORS = 3, GENERAL = 4, CALL = 1.5, ACTIVATION = 10, BYTES = 40, MOST = 1e15;
    dw_plan_info info;
    dw_plan_describe(plan, &info);
    const double outputs = (double)info.y_bytes / (double)plan->element_size;
    double work = info.multiply_adds / info.lanes / VECTORS;
    if (plan->isa == DW_ISA_PORTABLE) work = info.multiply_adds * CALL;
    else if (plan->planar ? !plan->planar->kernel : !plan->tile) work *= GENERAL;
    if (plan->activate) work += outputs / info.lanes * ACTIVATION;
    const double moved = ((double)info.x_bytes + (double)info.y_bytes) / BYTES;
    if (work < moved) work = moved;
    return (int64_t)(work < MOST ? work : MOST);
}
