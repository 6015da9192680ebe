/* avx512.c - AVX-512 F/VL/BW/DQ: 32 registers. */
#include "../isa.h"

#define DW_ISA avx512
#define DW_HEADER "vec_avx512.h"

/* clang-format off */
#define DW_TILES(X)                                                                                         \
    X(3, 3, 1, 0, 7, PLAIN) X(3, 3, 1, 0, 5, PLAIN) X(3, 3, 1, 0, 4, PLAIN) X(3, 3, 1, 0, 3, PLAIN)         \
    X(3, 3, 1, 0, 2, PLAIN) X(3, 3, 1, 0, 1, PLAIN) X(3, 3, 1, 4, 2, PLAIN) X(3, 3, 1, 2, 7, PLAIN)         \
    X(3, 3, 2, 0, 7, PLAIN) X(3, 3, 2, 0, 5, PLAIN) X(3, 3, 2, 0, 4, PLAIN) X(3, 3, 2, 0, 2, PLAIN)         \
    X(3, 3, 2, 0, 1, PLAIN) X(3, 3, 2, 2, 2, PLAIN)                                                         \
    X(5, 5, 1, 0, 4, PLAIN) X(5, 5, 1, 0, 3, PLAIN) X(5, 5, 1, 0, 1, PLAIN)                                 \
    X(5, 5, 2, 0, 7, PLAIN) X(5, 5, 2, 0, 5, PLAIN) X(5, 5, 2, 0, 4, PLAIN) X(5, 5, 2, 0, 2, PLAIN)         \
    X(5, 5, 2, 0, 1, PLAIN)                                                                                 \
    X(7, 7, 1, 2, 7, PLAIN) X(7, 7, 1, 2, 4, PLAIN) X(7, 7, 1, 0, 3, PLAIN) X(7, 7, 1, 0, 1, PLAIN)         \
    X(7, 7, 2, 0, 4, PLAIN) X(7, 7, 2, 0, 1, PLAIN)                                                         \
    X(3, 3, 1, 0, 7, MULTIPLIER) X(3, 3, 1, 0, 4, MULTIPLIER) X(3, 3, 1, 0, 1, MULTIPLIER)                  \
    X(3, 3, 2, 0, 7, MULTIPLIER) X(3, 3, 2, 0, 4, MULTIPLIER) X(3, 3, 2, 0, 1, MULTIPLIER)                  \
    X(5, 5, 1, 0, 4, MULTIPLIER) X(5, 5, 1, 0, 1, MULTIPLIER)                                               \
    X(5, 5, 2, 0, 4, MULTIPLIER) X(5, 5, 2, 0, 1, MULTIPLIER)                                               \
    X(7, 7, 1, 2, 7, MULTIPLIER) X(7, 7, 1, 0, 3, MULTIPLIER) X(7, 7, 1, 0, 1, MULTIPLIER)                  \
    X(3, 3, 1, 0, 4, FOLDED) X(3, 3, 1, 0, 4, FOLDED_M) X(3, 3, 1, 0, 2, FOLDED) X(3, 3, 1, 0, 2, FOLDED_M) \
    X(3, 3, 1, 0, 1, FOLDED) X(3, 3, 1, 0, 1, FOLDED_M)                                                     \
    X(5, 5, 1, 0, 2, FOLDED) X(5, 5, 1, 0, 2, FOLDED_M) X(5, 5, 1, 0, 1, FOLDED) X(5, 5, 1, 0, 1, FOLDED_M) \
    X(7, 7, 1, 0, 2, FOLDED) X(7, 7, 1, 0, 2, FOLDED_M) X(7, 7, 1, 0, 1, FOLDED) X(7, 7, 1, 0, 1, FOLDED_M) \
    X(3, 3, 1, 0, 1, MASKED) X(3, 3, 1, 0, 1, MASKED_M)                                                     \
    X(5, 5, 1, 0, 1, MASKED) X(5, 5, 1, 0, 1, MASKED_M)                                                     \
    X(7, 7, 1, 0, 1, MASKED) X(7, 7, 1, 0, 1, MASKED_M)                                                     \
    X(3, 3, 1, 0, 4, INTERLEAVED) X(3, 3, 1, 0, 3, INTERLEAVED) X(3, 3, 1, 0, 2, INTERLEAVED)               \
    X(3, 3, 2, 0, 4, INTERLEAVED) X(3, 3, 2, 0, 3, INTERLEAVED) X(3, 3, 2, 0, 2, INTERLEAVED)               \
    X(3, 3, 2, 0, 5, CROSS_PIXEL) X(3, 3, 2, 0, 4, CROSS_PIXEL) X(3, 3, 2, 0, 2, CROSS_PIXEL)               \
    X(3, 3, 2, 0, 1, CROSS_PIXEL)

/* Of doubles the most frequent sizes and few tiles of each: with all of DW_TILES they were a fifth of the core. Slower for
 * it (Emerald Rapids): 9x9 1.25 times, 7x7 with M = 2 1.16 times; 3x3, 5x5 and 7x7 with M = 1 at most 1.06 times. */
#define DW_DOUBLE_TILES(X)                                                                          \
    X(3, 3, 1, 0, 7, PLAIN) X(3, 3, 1, 0, 5, PLAIN) X(3, 3, 1, 0, 4, PLAIN) X(3, 3, 1, 0, 1, PLAIN) \
    X(3, 3, 2, 0, 7, PLAIN) X(3, 3, 2, 0, 4, PLAIN) X(3, 3, 2, 0, 1, PLAIN)                         \
    X(5, 5, 1, 0, 4, PLAIN) X(5, 5, 1, 0, 1, PLAIN)                                                 \
    X(5, 5, 2, 0, 7, PLAIN) X(5, 5, 2, 0, 4, PLAIN) X(5, 5, 2, 0, 1, PLAIN)                         \
    X(7, 7, 1, 2, 7, PLAIN) X(7, 7, 1, 0, 3, PLAIN) X(7, 7, 1, 0, 1, PLAIN)                         \
    X(7, 7, 2, 0, 4, PLAIN) X(7, 7, 2, 0, 1, PLAIN)                                                 \
    X(3, 3, 1, 0, 4, MULTIPLIER) X(3, 3, 1, 0, 1, MULTIPLIER)                                       \
    X(3, 3, 2, 0, 4, MULTIPLIER) X(3, 3, 2, 0, 1, MULTIPLIER)                                       \
    X(5, 5, 1, 0, 4, MULTIPLIER) X(5, 5, 1, 0, 1, MULTIPLIER)                                       \
    X(5, 5, 2, 0, 4, MULTIPLIER) X(5, 5, 2, 0, 1, MULTIPLIER)                                       \
    X(7, 7, 1, 0, 3, MULTIPLIER) X(7, 7, 1, 0, 1, MULTIPLIER)                                       \
    X(3, 3, 1, 0, 4, FOLDED) X(3, 3, 1, 0, 4, FOLDED_M) X(3, 3, 1, 0, 1, FOLDED)                    \
    X(3, 3, 1, 0, 1, FOLDED_M) X(3, 3, 1, 0, 1, MASKED) X(3, 3, 1, 0, 1, MASKED_M)                  \
    X(5, 5, 1, 0, 2, FOLDED) X(5, 5, 1, 0, 1, FOLDED) X(5, 5, 1, 0, 1, MASKED)                      \
    X(7, 7, 1, 0, 2, FOLDED) X(7, 7, 1, 0, 1, FOLDED) X(7, 7, 1, 0, 1, MASKED)                      \
    X(3, 3, 1, 0, 4, INTERLEAVED) X(3, 3, 2, 0, 4, INTERLEAVED)

/* Of 16 bits the most frequent sizes; wide kernels are for the others, and a wheel must stay small. */
#define DW_HALF_TILES(X)                                                                            \
    X(3, 3, 1, 0, 7, PLAIN) X(3, 3, 1, 0, 4, PLAIN) X(3, 3, 1, 0, 1, PLAIN)                         \
    X(3, 3, 2, 0, 7, PLAIN) X(3, 3, 2, 0, 4, PLAIN) X(3, 3, 2, 0, 1, PLAIN)                         \
    X(5, 5, 1, 0, 4, PLAIN) X(5, 5, 1, 0, 1, PLAIN)                                                 \
    X(3, 3, 1, 0, 4, FOLDED) X(3, 3, 1, 0, 1, FOLDED) X(3, 3, 1, 0, 1, MASKED)
/* clang-format on */
#define DW_WIDE_TILES DW_WIDE_TILES_32_REGISTERS
#define DW_DOUBLE_WIDE_TILES DW_WIDE_TILES_FEW
#define DW_HALF_WIDE_TILES DW_WIDE_TILES_FEW
#define DW_NCHW_LIST DW_NCHW_SIZES
#define DW_GRAD_TILES DW_GRAD_TILES_32_REGISTERS
#define DW_GRAD_WINDOWS DW_GRAD_WINDOWS_32_REGISTERS

#if (defined(__x86_64__) || defined(_M_X64)) && !defined(DW_WITHOUT_AVX512)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512vl,avx512bw,avx512dq,avx2,fma,f16c"))), \
                             apply_to = function)
#elif defined(__GNUC__)
#pragma GCC target("avx512f,avx512vl,avx512bw,avx512dq,avx2,fma,f16c")
#endif
#include "every_dtype.inc"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
#include "names_only.inc"
#endif

extern const dw_instruction_set dw_isa_avx512vl;

const dw_instruction_set dw_isa_avx512 = {.id = DW_ISA_AVX512,
                                          .name = "avx512",
                                          .needs = DW_CPU_AVX2 | DW_CPU_FMA | DW_CPU_F16C | DW_CPU_AVX512F |
                                                   DW_CPU_AVX512VL | DW_CPU_AVX512BW | DW_CPU_AVX512DQ,
                                          .compiled = DW_COMPILED,
                                          .registers = 32,
                                          .usable_registers = 31,
                                          .chunk_bytes = 2048,
#ifndef DW_WITHOUT_AVX2 /* whose kernels it uses */
                                          .narrower = &dw_isa_avx512vl,
#endif
                                          .nhwc = DW_NHWC_TABLES(avx512),
                                          .nchw = DW_NCHW_TABLES(avx512),
                                          .grad = DW_GRAD_TABLES(avx512),
                                          .quantized = {&dw_quantized_avx512_vnni, &dw_quantized_avx512}};
