/* neon.c - the kernels for AArch64 NEON. */
#if defined(__aarch64__) || defined(_M_ARM64)
#include "../kernels.h"

#define DW_ISA neon
#define DW_CHUNK_BYTES 512
#define DW_TILES DW_TILES_32_REGISTERS
#define DW_SPREAD_TILES DW_SPREAD_TILES_32_REGISTERS

#define DW_KIND f
#define DW_BITS 32
#include "vec_neon.h"
#include "../kernels.inc"
#undef DW_BITS

#define DW_BITS 64
#include "vec_neon.h"
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
#include "vec_neon.h"
#include "../kernels.inc"
#else
typedef int dw_neon_is_not_for_this_processor; /* C wants a declaration in every file */
#endif
