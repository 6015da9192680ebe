/* desc.h - checks of a dw_desc, sizes without overflow. */
#ifndef DW_DESC_H
#define DW_DESC_H

#include "dwconv.h"

int64_t dw_element_size(dw_dtype dtype);

/* *bytes = element_size * the product of sizes, all >= 0; returns 0 if that is more than an object may have. */
int dw_bytes(int64_t element_size, const int64_t *sizes, int count, int64_t *bytes);

/* Whether a dtype has an activation, and alpha is a number if that has one. */
dw_status dw_check_activation(dw_dtype dtype, dw_activation activation, double alpha);

int dw_denormals_known(dw_denormals denormals);

#endif
