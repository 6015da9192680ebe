/* quantized_neon.c - AArch64 NEON: 16 channels. */
#include "../isa.h"

#define DW_QUANTIZED_LIST DW_QUANTIZED_SIZES

#if (defined(__aarch64__) || defined(_M_ARM64)) && !defined(DW_WITHOUT_NEON) && DW_HAS_QUANTIZED
#include "quantized_neon.h"
#include "../quantized_kernels.inc"
#else
#define TABLE .compiled = 0
#endif

const dw_quantized_table dw_quantized_neon = {.name = "neon", .needs = 0, .narrower = NULL, TABLE};
