/* grad.c - the gradient of one wish: checks it, and runs its two parts image by image, so that dy is read from
 * memory once. */
#include "grad.h"

#include <stdlib.h>

#include "desc.h"
#include "float_env.h"

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

static dw_status init_base(dw_grad_base *base, const dw_desc *desc, dw_isa isa) {
    const dw_status status = dw_output_size(desc, &base->out_h, &base->out_w);
    if (status != DW_OK) return status;
    if (desc->activation != DW_LINEAR) return DW_ERR_ACTIVATION;
    if (desc->layout != DW_NHWC) return DW_ERR_LAYOUT;
    if (desc->dtype != DW_F32 && desc->dtype != DW_F64) return DW_ERR_DTYPE;
    if (isa == DW_ISA_AUTO) isa = dw_isa_best();
    if (!dw_isa_available(isa)) return DW_ERR_ISA;
    base->desc = *desc;
    base->desc.denormals = dw_denormals_of(desc->denormals, isa);
    base->isa = isa;
    base->out_channels = desc->channels * desc->multiplier;
    base->item = dw_item_size(desc->dtype);
    base->kernels = dw_grad_kernels_of(isa, desc->dtype);
    /* Channels that fill no AVX-512 vector may fill one of AVX2: the same bits, without partial vectors. */
    if (isa == DW_ISA_AVX512 && base->out_channels < base->kernels->lanes)
        base->kernels = dw_grad_kernels_of(DW_ISA_AVX2, desc->dtype);
    return make_blocks(base);
}

static dw_status init(dw_grad *grad, const dw_desc *desc, dw_isa isa, const void *kernel) {
    dw_status status = init_base(&grad->base, desc, isa);
    if (status == DW_OK) status = dw_grad_weights_init(&grad->weights, &grad->base);
    if (status != DW_OK) return status;
    if (kernel) {
        grad->has_input = 1;
        status = dw_grad_input_init(&grad->input, &grad->base, kernel);
        if (status != DW_OK) return status;
    }
    const int64_t room = ALIGNMENT + ALIGNMENT; /* for each part's beginning */
    if (grad->weights.workspace > PTRDIFF_MAX - room - grad->input.workspace) return DW_ERR_OVERFLOW;
    grad->workspace = grad->weights.workspace + grad->input.workspace + room;
    return DW_OK;
}

dw_status dw_grad_create(const dw_desc *desc, dw_isa isa, const void *kernel, dw_grad **out) {
    if (!out) return DW_ERR_NULL;
    *out = NULL;
    if (!desc) return DW_ERR_NULL;
    dw_grad *grad = calloc(1, sizeof *grad);
    if (!grad) return DW_ERR_NOMEM;
    const dw_status status = init(grad, desc, isa, kernel);
    if (status != DW_OK) {
        dw_grad_destroy(grad);
        return status;
    }
    *out = grad;
    return DW_OK;
}

void dw_grad_destroy(dw_grad *grad) {
    if (!grad) return;
    dw_grad_input_free(&grad->input);
    dw_grad_weights_free(&grad->weights);
    free(grad->base.blocks);
    free(grad);
}

int64_t dw_grad_workspace(const dw_grad *grad) { return grad->workspace; }

static char *align(char *memory) { return (char *)(((uintptr_t)memory + ALIGNMENT - 1) & ~(uintptr_t)(ALIGNMENT - 1)); }

void dw_grad_run(const dw_grad *grad, const void *dy, const void *x, void *dx, void *dkernel, void *dbias,
                 void *workspace) {
    const dw_grad_base *base = &grad->base;
    const dw_desc *d = &base->desc;
    const int64_t x_image = d->height * d->width * d->channels * base->item;
    const int64_t dy_image = base->out_h * base->out_w * base->out_channels * base->item;
    const int has_weights = dkernel || dbias;
    char *const sums = align(workspace), *const rows = align(sums + grad->weights.workspace);
    const dw_float_env before = dw_float_begin(d->denormals);
    if (has_weights) dw_grad_weights_begin(&grad->weights, base, sums);
    for (int64_t n = 0; n < d->batch; n++) {
        const char *dy_n = (const char *)dy + n * dy_image;
        if (has_weights) dw_grad_weights_image(&grad->weights, base, dy_n, (const char *)x + n * x_image, sums);
        if (dx && grad->has_input) dw_grad_input_image(&grad->input, base, dy_n, (char *)dx + n * x_image, rows);
    }
    if (has_weights) dw_grad_weights_end(&grad->weights, base, dkernel, dbias, sums);
    dw_float_end(before);
}
