/* activate.c - an activation by itself, and its derivative. */
#include <string.h>

#include "desc.h"
#include "float_env.h"
#include "isa.h"

dw_status dw_activate(dw_dtype dtype, dw_activation activation, double alpha, dw_denormals denormals, dw_isa isa,
                      int64_t count, void *y) {
    const dw_status status = dw_check_activation(dtype, activation, alpha);
    if (status != DW_OK) return status;
    if (dtype == DW_I32 || dw_is_half(dtype)) return DW_ERR_DTYPE;
    if (!dw_denormals_known(denormals)) return DW_ERR_DENORMALS;
    const dw_instruction_set *set = dw_isa_select(isa);
    if (!set) return DW_ERR_ISA;
    if (count < 0) return DW_ERR_SHAPE;
    if (!y && count > 0) return DW_ERR_NULL;
    dw_activate_fn *const function = set->nhwc[dtype]->activate[activation]; /* NULL: linear */
    const dw_activate_args all = {.y = y, .rows = 1, .cols = 1, .count = count, .alpha = alpha};
    denormals = dw_denormals_of(denormals, set->calls_fma);
    if (denormals == DW_DENORMALS_FLUSH) dw_flush(dtype, y, count); /* some activations pass numbers on as they are */
    const dw_float_env before = dw_float_begin(denormals);
    if (function) function(&all);
    dw_float_end(before);
    return DW_OK;
}

dw_status dw_activation_gradient(dw_dtype dtype, dw_activation activation, double alpha, dw_denormals denormals,
                                 dw_isa isa, int64_t count, const void *z, const void *dy, void *dz) {
    const dw_status status = dw_check_activation(dtype, activation, alpha);
    if (status != DW_OK) return status;
    if (dtype == DW_I32 || dw_is_half(dtype)) return DW_ERR_DTYPE;
    if (!dw_denormals_known(denormals)) return DW_ERR_DENORMALS;
    const dw_instruction_set *set = dw_isa_select(isa);
    if (!set) return DW_ERR_ISA;
    if (count < 0) return DW_ERR_SHAPE;
    if ((!z || !dy || !dz) && count > 0) return DW_ERR_NULL;
    if (!set->grad[dtype]) return DW_ERR_BUILD;
    dw_slope_fn *const function = set->grad[dtype]->slopes[activation]; /* NULL: linear */
    const dw_slope_args all = {.z = z, .dy = dy, .dz = dz, .count = count, .alpha = alpha};
    denormals = dw_denormals_of(denormals, set->calls_fma);
    const dw_float_env before = dw_float_begin(denormals);
    if (function) function(&all);
    else memmove(dz, dy, (size_t)count * (dtype == DW_F64 ? 8 : 4));
    dw_float_end(before);
    return DW_OK;
}
