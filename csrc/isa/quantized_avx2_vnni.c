/* quantized_avx2_vnni.c - AVX2 with AVX-VNNI: 32 channels. Older compilers do not know it. */
#include "../isa.h"

#define DW_QUANTIZED_LIST DW_QUANTIZED_SIZES
#define DW_Q_VNNI 1
#define DW_K_MASKS 0

#if (defined(__clang__) && __clang_major__ >= 12) || (defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 11) || \
    (defined(_MSC_VER) && _MSC_VER >= 1930)
#define DW_KNOWS_AVX_VNNI 1
#else
#define DW_KNOWS_AVX_VNNI 0
#endif

#if (defined(__x86_64__) || defined(_M_X64)) && !defined(DW_WITHOUT_AVX2) && DW_KNOWS_AVX_VNNI && DW_HAS_QUANTIZED
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,avxvnni"))), apply_to = function)
#elif defined(__GNUC__)
#pragma GCC target("avx2,fma,avxvnni")
#endif
#include "quantized_avx2.h"
#include "../quantized_kernels.inc"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
#define TABLE .compiled = 0
#endif

const dw_quantized_table dw_quantized_avx2_vnni = {
    .name = "avx2_vnni", .needs = DW_CPU_AVXVNNI, .narrower = NULL, TABLE};
