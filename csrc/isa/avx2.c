/* avx2.c - the kernels for AVX2 and FMA. */
#if defined(__x86_64__) || defined(_M_X64)
#include "../kernels.h"

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#elif defined(__GNUC__)
#pragma GCC target("avx2,fma")
#endif

#define DW_ISA avx2
#define DW_CHUNK_BYTES 1024
#define DW_TILES DW_TILES_16_REGISTERS
#define DW_SPREAD_TILES DW_SPREAD_TILES_16_REGISTERS

#define DW_KIND f
#define DW_BITS 32
#include "vec_avx2.h"
#include "../kernels.inc"
#undef DW_BITS

#define DW_BITS 64
#include "vec_avx2.h"
#include "../kernels.inc"
#undef DW_BITS
#undef DW_KIND
#undef DW_TILES
#undef DW_SPREAD_TILES

#define DW_KIND i
#define DW_INTEGER 1
#define DW_BITS 32
#define DW_TILES(X) /* integers are rare: the general kernel does */
#define DW_SPREAD_TILES(X)
#include "vec_avx2.h"
#include "../kernels.inc"

#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
typedef int dw_avx2_is_not_for_this_processor; /* C wants a declaration in every file */
#endif
