/* avx2.c - AVX2 and FMA: 16 registers. */
#include "../isa.h"

#define DW_ISA avx2
#define DW_HEADER "vec_avx2.h"

/* No CROSS_PIXEL: a block is half a cache line here, and such blocks cost 10 % instead of saving 25. */
/* clang-format off */
#define DW_TILES(X)                                                                                         \
    X(3, 3, 1, 2, 4, PLAIN) X(3, 3, 1, 0, 3, PLAIN) X(3, 3, 1, 1, 7, PLAIN) X(3, 3, 1, 0, 1, PLAIN)         \
    X(3, 3, 2, 2, 4, PLAIN) X(3, 3, 2, 1, 4, PLAIN) X(3, 3, 2, 1, 7, PLAIN) X(3, 3, 2, 2, 2, PLAIN)         \
    X(3, 3, 2, 0, 1, PLAIN)                                                                                 \
    X(5, 5, 1, 2, 4, PLAIN) X(5, 5, 1, 1, 7, PLAIN) X(5, 5, 1, 0, 1, PLAIN)                                 \
    X(5, 5, 2, 2, 4, PLAIN) X(5, 5, 2, 1, 7, PLAIN) X(5, 5, 2, 0, 1, PLAIN)                                 \
    X(7, 7, 1, 2, 4, PLAIN) X(7, 7, 1, 1, 7, PLAIN) X(7, 7, 1, 0, 1, PLAIN)                                 \
    X(7, 7, 2, 1, 4, PLAIN) X(7, 7, 2, 0, 1, PLAIN)                                                         \
    X(3, 3, 1, 2, 4, MULTIPLIER) X(3, 3, 1, 0, 3, MULTIPLIER) X(3, 3, 1, 0, 1, MULTIPLIER)                  \
    X(3, 3, 2, 2, 2, MULTIPLIER) X(3, 3, 2, 1, 4, MULTIPLIER) X(3, 3, 2, 0, 1, MULTIPLIER)                  \
    X(5, 5, 1, 2, 4, MULTIPLIER) X(5, 5, 1, 0, 1, MULTIPLIER)                                               \
    X(5, 5, 2, 1, 4, MULTIPLIER) X(5, 5, 2, 0, 1, MULTIPLIER)                                               \
    X(7, 7, 1, 1, 7, MULTIPLIER) X(7, 7, 1, 1, 4, MULTIPLIER) X(7, 7, 1, 0, 1, MULTIPLIER)                  \
    X(3, 3, 1, 0, 2, FOLDED) X(3, 3, 1, 0, 2, FOLDED_M) X(3, 3, 1, 0, 1, FOLDED) X(3, 3, 1, 0, 1, FOLDED_M) \
    X(5, 5, 1, 0, 1, FOLDED) X(5, 5, 1, 0, 1, FOLDED_M)                                                     \
    X(7, 7, 1, 0, 1, FOLDED) X(7, 7, 1, 0, 1, FOLDED_M)                                                     \
    X(3, 3, 1, 0, 1, MASKED) X(3, 3, 1, 0, 1, MASKED_M)                                                     \
    X(5, 5, 1, 0, 1, MASKED) X(5, 5, 1, 0, 1, MASKED_M)                                                     \
    X(3, 3, 1, 0, 2, INTERLEAVED) X(3, 3, 1, 0, 1, INTERLEAVED)                                             \
    X(3, 3, 2, 0, 3, INTERLEAVED) X(3, 3, 2, 0, 2, INTERLEAVED) X(3, 3, 2, 0, 1, INTERLEAVED)
/* clang-format on */
#define DW_NCHW_LIST DW_NCHW_SIZES
#define DW_GRAD_TILES DW_GRAD_TILES_16_REGISTERS
#define DW_GRAD_WINDOWS DW_GRAD_WINDOWS_16_REGISTERS

#if (defined(__x86_64__) || defined(_M_X64)) && !defined(DW_WITHOUT_AVX2)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#elif defined(__GNUC__)
#pragma GCC target("avx2,fma")
#endif
#include "every_dtype.inc"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
#include "names_only.inc"
#endif

const dw_instruction_set dw_isa_avx2 = {.id = DW_ISA_AVX2,
                                        .name = "avx2",
                                        .needs = DW_CPU_AVX2 | DW_CPU_FMA,
                                        .compiled = DW_COMPILED,
                                        .registers = 16,
                                        .usable_registers = 16,
                                        .chunk_bytes = 2048,
                                        .nhwc = DW_NHWC_TABLES(avx2),
                                        .nchw = DW_NCHW_TABLES(avx2),
                                        .grad = DW_GRAD_TABLES(avx2)};
