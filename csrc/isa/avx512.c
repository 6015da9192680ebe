/* avx512.c - the kernels for AVX-512 F/VL/BW/DQ. */
#if defined(__x86_64__) || defined(_M_X64)
#include "../nhwc_kernels.h"
#include "../nchw_kernels.h"
#include "../grad.h"

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512vl,avx512bw,avx512dq,avx2,fma"))), \
                             apply_to = function)
#elif defined(__GNUC__)
#pragma GCC target("avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")
#endif

#define DW_ISA avx512
#define DW_HEADER "vec_avx512.h"
#define DW_CHUNK_BYTES 2048
#define DW_REGISTERS 31
#define DW_TILES DW_TILES_32_REGISTERS
#define DW_SPREAD_TILES DW_SPREAD_TILES_32_REGISTERS
#define DW_MERGED_TILES DW_MERGED_TILES_32_REGISTERS
#define DW_MASKED_TILES DW_MASKED_TILES_32_REGISTERS
#define DW_PAIRED_TILES DW_PAIRED_TILES_32_REGISTERS
#define DW_ASTRIDE_TILES DW_ASTRIDE_TILES_32_REGISTERS
#define DW_PLANAR DW_PLANAR_SIZES
#define DW_GRAD_TILES DW_GRAD_TILES_32_REGISTERS
#define DW_GRAD_WINDOWS DW_GRAD_WINDOWS_32_REGISTERS
#include "every_dtype.inc"

#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
typedef int dw_avx512_is_not_for_this_processor; /* C wants a declaration in every file */
#endif
