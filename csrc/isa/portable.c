/* portable.c - plain C, for any CPU. */
#include "../isa.h"

#define DW_ISA portable
#define DW_HEADER "vec_portable.h"

/* No tiles: where fma() is a call into libm, nothing is won by unrolling around it. */
#define DW_TILES(X)
#define DW_DOUBLE_TILES(X)
#define DW_HALF_TILES(X)
#define DW_WIDE_TILES(X)
#define DW_DOUBLE_WIDE_TILES(X)
#define DW_HALF_WIDE_TILES(X)
#define DW_NCHW_LIST(X)
#define DW_GRAD_TILES(X)
#define DW_GRAD_WINDOWS(X)
#ifndef DW_WITHOUT_PORTABLE
#include "every_dtype.inc"
#else
#include "names_only.inc"
#endif

const dw_instruction_set dw_isa_portable = {.id = DW_ISA_PORTABLE,
                                            .name = "portable",
                                            .needs = 0,
                                            .compiled = DW_COMPILED,
                                            .registers = 16,
                                            .usable_registers = 16,
                                            .calls_fma = 1,
                                            .chunk_bytes = 512,
                                            .nhwc = DW_NHWC_TABLES(portable),
                                            .nchw = DW_NCHW_TABLES(portable),
                                            .grad = DW_GRAD_TABLES(portable),
                                            .quantized = {&dw_quantized_portable}};
