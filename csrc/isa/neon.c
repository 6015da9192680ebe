/* neon.c - the kernels for AArch64 NEON. */
#if defined(__aarch64__) || defined(_M_ARM64)
#include "../nhwc_kernels.h"
#include "../nchw_kernels.h"
#include "../grad.h"

#define DW_ISA neon
#define DW_HEADER "vec_neon.h"
#define DW_CHUNK_BYTES 512
#define DW_REGISTERS 31
#define DW_TILES DW_TILES_NEON
#define DW_SPREAD_TILES DW_SPREAD_TILES_NEON
#define DW_MERGED_TILES DW_MERGED_TILES_NEON
#define DW_MASKED_TILES(X) /* its masks are ranges of lanes: the general kernel is no slower */
#define DW_PAIRED_TILES(X)
#define DW_ASTRIDE_TILES(X) /* every array begins at a vector's boundary */
#define DW_PLANAR DW_PLANAR_SIZES
#define DW_GRAD_TILES DW_GRAD_TILES_32_REGISTERS
#define DW_GRAD_WINDOWS DW_GRAD_WINDOWS_32_REGISTERS
#include "every_dtype.inc"
#else
typedef int dw_neon_is_not_for_this_processor; /* C wants a declaration in every file */
#endif
