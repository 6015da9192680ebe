/* portable.c - the kernels in plain C, for any CPU. */
#include "../kernels.h"

#define DW_ISA portable
/* No tiles: where fmaf is a call into libm, nothing is won by unrolling around it. */
#define DW_TILES(X)

#define DW_BITS 32
#include "vec_portable.h"
#include "../kernels.inc"
#undef DW_BITS

#define DW_BITS 64
#include "vec_portable.h"
#include "../kernels.inc"
