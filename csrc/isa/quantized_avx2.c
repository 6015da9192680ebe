/* quantized_avx2.c - AVX2: 32 channels. */
#include "../isa.h"

#define DW_QUANTIZED_LIST DW_QUANTIZED_SIZES
#define DW_Q_VNNI 0
#define DW_K_MASKS 0

#if (defined(__x86_64__) || defined(_M_X64)) && !defined(DW_WITHOUT_AVX2) && DW_HAS_QUANTIZED
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#elif defined(__GNUC__)
#pragma GCC target("avx2,fma")
#endif
#include "quantized_avx2.h"
#include "../quantized_kernels.inc"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
#define TABLE .compiled = 0
#endif

const dw_quantized_table dw_quantized_avx2 = {.name = "avx2", .needs = 0, .narrower = NULL, TABLE};
