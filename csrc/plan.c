/* plan.c - makes a plan: checks the wish, chooses the kernel, divides the columns among its variants. */
#include "plan.h"

#include <math.h>
#include <stdlib.h>

#include "desc.h"
#include "float_env.h"
#include "nhwc_rows.h"

/* Most CPUs of today have 1 or 2 MB per core. */
static int exceeds_l2(const dw_plan *plan) {
    enum { L2_BYTES = 1 << 20 };
    const dw_desc *d = &plan->desc;
    const double x = (double)d->height * (double)d->width * (double)d->channels;
    const double y = (double)plan->out_h * (double)plan->out_w * (double)plan->out_channels;
    return (x + y) * (double)plan->element_size > L2_BYTES;
}

static dw_status fill(dw_plan *plan, dw_isa isa, const void *kernel, const void *bias) {
    const dw_desc *d = &plan->desc;
    dw_status status = dw_output_size(d, &plan->out_h, &plan->out_w);
    if (status != DW_OK) return status;
    if (isa == DW_ISA_AUTO) isa = dw_isa_best();
    if (!dw_isa_available(isa)) return DW_ERR_ISA;
    plan->isa = isa;
    plan->desc.denormals = dw_denormals_of(d->denormals, isa);
    plan->out_channels = d->channels * d->multiplier;
    plan->kernels = dw_kernels_of(isa, d->dtype);
    plan->element_size = dw_element_size(d->dtype);
    /* (double), because INFINITY is a float, which cannot hold INT32_MAX. */
    plan->low = d->activation == DW_RELU || d->activation == DW_RELU6 ? 0
                : d->dtype == DW_I32                                  ? INT32_MIN
                                                                      : -(double)INFINITY;
    plan->high = d->activation == DW_RELU6 ? 6 : d->dtype == DW_I32 ? INT32_MAX : (double)INFINITY;
    if (d->activation > DW_RELU6) plan->activate = plan->kernels->activate[d->activation];
    if (d->layout == DW_NCHW) return dw_planar_create(plan, kernel, bias);
    dw_choose_kernel(plan);
    plan->prefetch = exceeds_l2(plan);
    plan->group_rows = dw_rows_of_groups(plan);
    plan->image_units = dw_plan_image_units(plan);
    status = dw_make_columns(plan);
    dw_plan_divide_columns(plan);
    return status == DW_OK ? dw_pack(plan, kernel, bias) : status;
}

dw_status dw_plan_create(const dw_desc *desc, dw_isa isa, const void *kernel, const void *bias, dw_plan **out) {
    if (!out) return DW_ERR_NULL;
    *out = NULL;
    if (!desc || !kernel) return DW_ERR_NULL;
    dw_plan *plan = calloc(1, sizeof *plan);
    if (!plan) return DW_ERR_NOMEM;
    plan->desc = *desc;
    const dw_status status = fill(plan, isa, kernel, bias);
    if (status != DW_OK) {
        dw_plan_destroy(plan);
        return status;
    }
    plan->nanoseconds = dw_plan_nanoseconds(plan);
    *out = plan;
    return DW_OK;
}

void dw_plan_destroy(dw_plan *plan) {
    if (!plan) return;
    for (int i = 0; i < DW_MAX_PACKINGS; i++) {
        free(plan->packings[i].blocks);
        free(plan->packings[i].memory);
    }
    free(plan->single.blocks);
    free(plan->phases);
    free(plan->segments.at);
    free(plan->straddling.at);
    dw_planar_destroy(plan->planar);
    free(plan);
}

void dw_plan_run_part(const dw_plan *plan, const void *x, void *y, int part, int parts) {
    const dw_float_env before = dw_float_begin(plan->desc.denormals);
    if (plan->planar) dw_planar_run(plan, x, y, part, parts);
    else dw_nhwc_run_part(plan, x, y, part, parts);
    dw_float_end(before);
}

void dw_plan_run(const dw_plan *plan, const void *x, void *y) { dw_plan_run_part(plan, x, y, 0, 1); }
