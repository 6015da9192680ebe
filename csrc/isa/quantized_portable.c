/* quantized_portable.c - plain C, for any CPU: the general kernel alone. */
#include "../isa.h"

#define DW_QUANTIZED_LIST(X)

#if !defined(DW_WITHOUT_PORTABLE) && DW_HAS_QUANTIZED
#include "quantized_portable.h"
#include "../quantized_kernels.inc"
#else
#define TABLE .compiled = 0
#endif

const dw_quantized_table dw_quantized_portable = {.name = "portable", .needs = 0, .narrower = NULL, TABLE};
