/* avx2.c - AVX2 and FMA: 16 registers. */
#include "../isa.h"

#define DW_ISA avx2
#define DW_HEADER "vec_avx2.h"

/* Zen 3 (family 25 model 1): 2x5 takes 0.92 of the time of 1x7 for 14x14x576 and 0.89 of two interleaved blocks for
 * 14x14x512; 3x3 takes 0.91 of 2x4 for 30x45x37.
 * M sums per input where they are faster than MULTIPLIER, which spends a masked load and a permutation on each input: in
 * what time on Zen 3 (family 25 model 1), 28x28x64: 3x3 M = 2, 3, 4, 8: 0.78, 0.91, 0.83, 0.86; at stride 2: 0.68, 0.62,
 * 0.61, 0.60; 5x5 M = 2: 0.87, at stride 2 M = 2, 4: 0.70, 0.62; 7x7 M = 2 (64x64x64): 0.89. Not 5x5 M = 4 and 8 at stride
 * 1 (1.03, 2.1), nor several pixels of few channels (56x56x3 M = 4: 1.02).
 * FOLDED that roll: in tiles of 3x3, 2x3 and 2x4 224x224x3 takes 1.06, 1.11 and 1.12 times as long, 112x112x3 1.15, 1.21 and
 * 1.23, and rolling three columns in place of two 1.03 and 1.02 (Emerald Rapids, family 6 model 207).
 * No CROSS_PIXEL: a block is half a cache line here, and such blocks cost 10 % instead of saving 25. */
/* clang-format off */
#define DW_TILES(X)                                                                                         \
    X(3, 3, 1, 2, 4, PLAIN) X(3, 3, 1, 0, 3, PLAIN) X(3, 3, 1, 1, 7, PLAIN) X(3, 3, 1, 0, 1, PLAIN)         \
    X(3, 3, 1, 2, 5, PLAIN) X(3, 3, 1, 3, 3, PLAIN)                                                         \
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
    X(3, 3, 1, 1, 4, SUMS2) X(3, 3, 1, 1, 2, SUMS2) X(3, 3, 2, 1, 4, SUMS2) X(3, 3, 2, 1, 2, SUMS2)         \
    X(5, 5, 1, 1, 4, SUMS2) X(5, 5, 2, 1, 2, SUMS2) X(7, 7, 1, 1, 4, SUMS2)                                 \
    X(3, 3, 1, 1, 3, SUMS3) X(3, 3, 2, 1, 3, SUMS3) X(3, 3, 2, 1, 2, SUMS3)                                 \
    X(3, 3, 1, 1, 2, SUMS4) X(3, 3, 2, 1, 2, SUMS4) X(5, 5, 2, 1, 2, SUMS4)                                 \
    X(3, 3, 1, 1, 1, SUMS8) X(3, 3, 2, 1, 1, SUMS8)                                                         \
    X(3, 3, 1, 0, 2, FOLDED) X(3, 3, 1, 0, 2, FOLDED_M) X(3, 3, 1, 0, 1, FOLDED) X(3, 3, 1, 0, 1, FOLDED_M) \
    X(5, 5, 1, 0, 1, FOLDED) X(5, 5, 1, 0, 1, FOLDED_M)                                                     \
    X(7, 7, 1, 0, 1, FOLDED) X(7, 7, 1, 0, 1, FOLDED_M)                                                     \
    X(3, 3, 1, 0, 1, MASKED) X(3, 3, 1, 0, 1, MASKED_M)                                                     \
    X(5, 5, 1, 0, 1, MASKED) X(5, 5, 1, 0, 1, MASKED_M)                                                     \
    X(3, 3, 1, 0, 2, INTERLEAVED) X(3, 3, 1, 0, 1, INTERLEAVED)                                             \
    X(3, 3, 2, 0, 3, INTERLEAVED) X(3, 3, 2, 0, 2, INTERLEAVED) X(3, 3, 2, 0, 1, INTERLEAVED)

/* Of doubles the most frequent sizes and few tiles of each: with all of DW_TILES they were a fifth of the core. Slower for
 * it (Emerald Rapids): 7x7 with M = 2 1.4 times; 3x3, 5x5 and 7x7 with M = 1 at most 1.15 times. */
#define DW_DOUBLE_TILES(X)                                                                          \
    X(3, 3, 1, 2, 4, PLAIN) X(3, 3, 1, 1, 7, PLAIN) X(3, 3, 1, 0, 1, PLAIN)                         \
    X(3, 3, 2, 2, 4, PLAIN) X(3, 3, 2, 1, 7, PLAIN) X(3, 3, 2, 0, 1, PLAIN)                         \
    X(5, 5, 1, 2, 4, PLAIN) X(5, 5, 1, 1, 7, PLAIN) X(5, 5, 1, 0, 1, PLAIN)                         \
    X(5, 5, 2, 2, 4, PLAIN) X(5, 5, 2, 1, 7, PLAIN) X(5, 5, 2, 0, 1, PLAIN)                         \
    X(7, 7, 1, 2, 4, PLAIN) X(7, 7, 1, 0, 1, PLAIN)                                                 \
    X(7, 7, 2, 1, 4, PLAIN) X(7, 7, 2, 0, 1, PLAIN)                                                 \
    X(3, 3, 1, 2, 4, MULTIPLIER) X(3, 3, 1, 0, 1, MULTIPLIER)                                       \
    X(3, 3, 2, 1, 4, MULTIPLIER) X(3, 3, 2, 0, 1, MULTIPLIER)                                       \
    X(5, 5, 1, 2, 4, MULTIPLIER) X(5, 5, 1, 0, 1, MULTIPLIER)                                       \
    X(5, 5, 2, 1, 4, MULTIPLIER) X(5, 5, 2, 0, 1, MULTIPLIER)                                       \
    X(7, 7, 1, 1, 4, MULTIPLIER) X(7, 7, 1, 0, 1, MULTIPLIER)                                       \
    X(3, 3, 1, 1, 4, SUMS2) X(3, 3, 2, 1, 4, SUMS2) X(5, 5, 2, 1, 2, SUMS2) X(3, 3, 1, 1, 2, SUMS4) \
    X(3, 3, 1, 0, 2, FOLDED) X(3, 3, 1, 0, 2, FOLDED_M) X(3, 3, 1, 0, 1, FOLDED)                    \
    X(3, 3, 1, 0, 1, FOLDED_M) X(3, 3, 1, 0, 1, MASKED) X(3, 3, 1, 0, 1, MASKED_M)                  \
    X(5, 5, 1, 0, 1, FOLDED) X(5, 5, 1, 0, 1, MASKED) X(7, 7, 1, 0, 1, FOLDED)                      \
    X(3, 3, 1, 0, 2, INTERLEAVED) X(3, 3, 2, 0, 3, INTERLEAVED)

/* Of 16 bits the most frequent sizes; wide kernels are for the others, and a wheel must stay small. No MASKED: AVX2 has no masked load of 16 bits, and without
 * it 112x112x3 takes half the time (Ice Lake-SP). */
#define DW_HALF_TILES(X)                                                                            \
    X(3, 3, 1, 2, 4, PLAIN) X(3, 3, 1, 1, 7, PLAIN) X(3, 3, 1, 0, 1, PLAIN)                         \
    X(3, 3, 2, 2, 4, PLAIN) X(3, 3, 2, 1, 7, PLAIN) X(3, 3, 2, 0, 1, PLAIN)                         \
    X(3, 3, 1, 0, 2, FOLDED) X(3, 3, 1, 0, 1, FOLDED)
/* clang-format on */
#define DW_WIDE_TILES DW_WIDE_TILES_16_REGISTERS
#define DW_DOUBLE_WIDE_TILES DW_WIDE_TILES_FEW
#define DW_HALF_WIDE_TILES DW_WIDE_TILES_FEW
#define DW_NCHW_LIST DW_NCHW_SIZES
#define DW_GRAD_TILES DW_GRAD_TILES_16_REGISTERS
#define DW_GRAD_WINDOWS DW_GRAD_WINDOWS_16_REGISTERS

#if (defined(__x86_64__) || defined(_M_X64)) && !defined(DW_WITHOUT_AVX2)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#elif defined(__GNUC__)
#pragma GCC target("avx2,fma,f16c")
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
                                        .needs = DW_CPU_AVX2 | DW_CPU_FMA | DW_CPU_F16C,
                                        .compiled = DW_COMPILED,
                                        .registers = 16,
                                        .usable_registers = 16,
                                        .chunk_bytes = 2048,
                                        .nhwc = DW_NHWC_TABLES(avx2),
                                        .nchw = DW_NCHW_TABLES(avx2),
                                        .grad = DW_GRAD_TABLES(avx2),
                                        .quantized = {&dw_quantized_avx2_vnni, &dw_quantized_avx2}};
