/* quantized_avx512_vnni256.c - AVX-512 VL with VNNI, for up to 32 channels. */
#include "../isa.h"

#define DW_QUANTIZED_LIST DW_QUANTIZED_SIZES
#define DW_Q_VNNI 1
#define DW_K_MASKS 1

#if (defined(__x86_64__) || defined(_M_X64)) && !defined(DW_WITHOUT_AVX512) && DW_HAS_QUANTIZED
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512vl,avx512bw,avx512dq,avx2,fma,avx512vnni"))), \
                             apply_to = function)
#elif defined(__GNUC__)
#pragma GCC target("avx512f,avx512vl,avx512bw,avx512dq,avx2,fma,avx512vnni")
#endif
#include "quantized_avx2.h"
#include "../quantized_kernels.inc"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
#define TABLE .compiled = 0
#endif

const dw_quantized_table dw_quantized_avx512_vnni256 = {
    .name = "avx512_vnni256", .needs = DW_CPU_AVX512VNNI, .narrower = NULL, TABLE};
