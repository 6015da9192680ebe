/* portable.c - the kernels in plain C, for any CPU. */
#include "../kernels.h"

#define DW_ISA portable
#define DW_CHUNK_BYTES 512
/* No tiles: where fmaf is a call into libm, nothing is won by unrolling around it. */
#define DW_TILES(X)
#define DW_SPREAD_TILES(X)

#define DW_KIND f
#define DW_BITS 32
#include "vec_portable.h"
#include "../kernels.inc"
#undef DW_BITS

#define DW_BITS 64
#include "vec_portable.h"
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
#include "vec_portable.h"
#include "../kernels.inc"
