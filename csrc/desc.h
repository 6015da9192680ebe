/* desc.h - checks of a dw_desc, sizes without overflow. */
#ifndef DW_DESC_H
#define DW_DESC_H

#include "dwconv.h"

int64_t dw_element_size(dw_dtype dtype); /* of x and y */
int64_t dw_weight_size(dw_dtype dtype);  /* of an element of kernel and bias */

/* Whether x and y are of 16 bits. */
static inline int dw_is_half(dw_dtype dtype) { return dtype == DW_F16 || dtype == DW_BF16; }

/* *bytes = element_size * the product of sizes, all >= 0. Returns 0 if no object can have that many bytes. */
int dw_bytes(int64_t element_size, const int64_t *sizes, int count, int64_t *bytes);

/* Checks that a dtype has an activation, and that alpha is finite if the activation uses it. */
dw_status dw_check_activation(dw_dtype dtype, dw_activation activation, double alpha);

int dw_denormals_known(dw_denormals denormals);

#endif
