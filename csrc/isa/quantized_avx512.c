/* quantized_avx512.c - AVX-512 F/BW: 64 channels. */
#include "../isa.h"

#define DW_QUANTIZED_LIST DW_QUANTIZED_SIZES
#define DW_Q_VNNI 0

#if (defined(__x86_64__) || defined(_M_X64)) && !defined(DW_WITHOUT_AVX512) && DW_HAS_QUANTIZED
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512vl,avx512bw,avx512dq,avx2,fma"))), \
                             apply_to = function)
#elif defined(__GNUC__)
#pragma GCC target("avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")
#endif
#include "quantized_avx512.h"
#include "../quantized_kernels.inc"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
#define TABLE .compiled = 0
#endif

const dw_quantized_table dw_quantized_avx512 = {.name = "avx512", .needs = 0, .narrower = NULL, TABLE};
