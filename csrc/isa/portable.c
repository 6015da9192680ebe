/* portable.c - the kernels in plain C, for any CPU. */
#include "../nhwc_kernels.h"
#include "../nchw_kernels.h"
#include "../grad.h"

#define DW_ISA portable
#define DW_HEADER "vec_portable.h"
#define DW_CHUNK_BYTES 512
#define DW_REGISTERS 16
/* No tiles: where fmaf is a call into libm, nothing is won by unrolling around it. */
#define DW_TILES(X)
#define DW_SPREAD_TILES(X)
#define DW_MERGED_TILES(X)
#define DW_MASKED_TILES(X)
#define DW_PAIRED_TILES(X)
#define DW_ASTRIDE_TILES(X)
#define DW_PLANAR DW_PLANAR_NONE
#define DW_GRAD_TILES(X)
#define DW_GRAD_WINDOWS(X)
#include "every_dtype.inc"
