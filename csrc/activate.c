/* activate.c - an activation by itself. */
#include "desc.h"
#include "float_env.h"
#include "nhwc_kernels.h"

dw_status dw_activate(dw_dtype dtype, dw_activation activation, double alpha, dw_denormals denormals, dw_isa isa,
                      int64_t count, void *y) {
    const dw_status status = dw_check_activation(dtype, activation, alpha);
    if (status != DW_OK) return status;
    if (dtype == DW_I32) return DW_ERR_DTYPE;
    if (!dw_denormals_known(denormals)) return DW_ERR_DENORMALS;
    if (isa == DW_ISA_AUTO) isa = dw_isa_best();
    if (!dw_isa_available(isa)) return DW_ERR_ISA;
    if (count < 0) return DW_ERR_SHAPE;
    if (!y && count > 0) return DW_ERR_NULL;
    dw_activate_fn *const function = dw_kernels_of(isa, dtype)->activate[activation];
    const dw_runs all = {.y = y, .rows = 1, .cols = 1, .count = count, .alpha = alpha};
    denormals = dw_denormals_of(denormals, isa);
    if (denormals == DW_DENORMALS_FLUSH) dw_flush(dtype, y, count); /* some pass row_of_slot on as they are */
    const dw_float_env before = dw_float_begin(denormals);
    if (function) function(&all); /* linear has none */
    dw_float_end(before);
    return DW_OK;
}
