/* quantized.h - which instructions a quantized plan uses: for tests, which want each of them. */
#ifndef DW_QUANTIZED_H
#define DW_QUANTIZED_H

#include "dwconv.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The name of kernels `index` >= 0 of an instruction set, the preferred ones first, and in *usable whether this build
 * and this CPU have them; NULL past the last. */
const char *dw_quantized_kernels_at(dw_isa isa, int index, int *usable);

/* dw_quantized_create with kernels `index`; -1: with the best ones for the channels. DW_ERR_ISA if they are not usable. */
dw_status dw_quantized_create_with(const dw_desc *desc, dw_isa isa, int index, const dw_quantization *quantization,
                                   const int8_t *kernel, const int32_t *bias, const float *multipliers,
                                   dw_quantized **out);

#ifdef __cplusplus
}
#endif

#endif
