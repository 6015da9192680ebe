/* problem.c - from a descriptor to a checked problem. */
#include "problem.h"

#include <math.h>

#include "desc.h"
#include "float_env.h"

dw_status dw_problem_init(dw_problem *problem, const dw_desc *desc, dw_isa isa) {
    const dw_status status = dw_output_size(desc, &problem->out_h, &problem->out_w);
    if (status != DW_OK) return status;
    problem->isa = dw_isa_select(isa);
    if (!problem->isa) return DW_ERR_ISA;
    problem->desc = *desc;
    problem->desc.denormals = dw_denormals_of(desc->denormals, problem->isa->calls_fma);
    problem->tuning = dw_tuning_here();
    problem->stopper = NULL;
    problem->out_channels = desc->channels * desc->multiplier;
    problem->element_size = dw_element_size(desc->dtype);
    problem->weight_size = dw_weight_size(desc->dtype);
    /* (double), because INFINITY is a float, which cannot hold INT32_MAX. */
    const int relu = desc->activation == DW_RELU || desc->activation == DW_RELU6;
    problem->clamp_min = relu ? 0 : desc->dtype == DW_I32 ? INT32_MIN : -(double)INFINITY;
    problem->clamp_max = desc->activation == DW_RELU6 ? 6 : desc->dtype == DW_I32 ? INT32_MAX : (double)INFINITY;
    return DW_OK;
}

/* Taps of one dimension that do not lie in the padding, over all outputs: for each tap the outputs for which
 * 0 <= o * stride - before + k * dilation < in. */
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

double dw_problem_multiply_adds(const dw_problem *problem) {
    const dw_desc *d = &problem->desc;
    const double rows = valid_taps(problem->out_h, d->height, d->pad_top, d->kernel_h, d->stride_h, d->dilation_h);
    const double cols = valid_taps(problem->out_w, d->width, d->pad_left, d->kernel_w, d->stride_w, d->dilation_w);
    return rows * cols * (double)d->batch * (double)problem->out_channels;
}

int64_t dw_problem_x_bytes(const dw_problem *problem) {
    const dw_desc *d = &problem->desc;
    return d->batch * d->height * d->width * d->channels * problem->element_size;
}

int64_t dw_problem_y_bytes(const dw_problem *problem) {
    return problem->desc.batch * problem->out_h * problem->out_w * problem->out_channels * problem->element_size;
}
