/* avx512vl.c - channels_first on AVX-512 for narrow planes: vectors of 256 bits, with the mask registers and the 32
 * registers of AVX-512 VL. A row of 7 columns fills 7 of 8 lanes rather than 7 of 16. */
#if defined(__x86_64__) || defined(_M_X64)
#include "../nhwc_kernels.h"
#include "../nchw_kernels.h"

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512vl,avx512bw,avx512dq,avx2,fma"))), \
                             apply_to = function)
#elif defined(__GNUC__)
#pragma GCC target("avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")
#endif

#define DW_ISA avx512vl
#define DW_HEADER "vec_avx2.h"
#define DW_K_MASKS 1

#define DW_PLANAR DW_PLANAR_SIZES
#define DW_KIND f
#define DW_BITS 32
#include DW_HEADER
#include "../nchw_kernels.inc"
#undef DW_BITS
#define DW_BITS 64
#include DW_HEADER
#include "../nchw_kernels.inc"
#undef DW_BITS
#undef DW_KIND

#undef DW_PLANAR
#define DW_PLANAR DW_PLANAR_NONE
#define DW_KIND i
#define DW_INTEGER 1
#define DW_BITS 32
#include DW_HEADER
#include "../nchw_kernels.inc"

#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
typedef int dw_avx512vl_is_not_for_this_processor; /* C wants a declaration in every file */
#endif
