/* neon.c - AArch64 NEON: 32 registers. */
#include "../isa.h"

#define DW_ISA neon
#define DW_HEADER "vec_neon.h"

/* FMLA takes no operand from memory, so all inputs of a row, a weight, the bias and the clamp are in registers beside
 * the sums. Few kernels roll: each step moves the sums, and moves take the pipes that multiply. tools/neon_mca.py has
 * 9.0 cycles per output for k3x3s1_t0x5, 7.7 for t2x7. No MASKED: its masks are ranges of lanes, and the general kernel
 * is no slower. No CROSS_PIXEL: every array begins at the boundary of a vector of 16 bytes. */
/* clang-format off */
#define DW_TILES(X)                                                                                         \
    X(3, 3, 1, 2, 7, PLAIN) X(3, 3, 1, 2, 4, PLAIN) X(3, 3, 1, 1, 7, PLAIN) X(3, 3, 1, 0, 1, PLAIN)         \
    X(3, 3, 2, 4, 4, PLAIN) X(3, 3, 2, 2, 4, PLAIN) X(3, 3, 2, 1, 7, PLAIN) X(3, 3, 2, 0, 1, PLAIN)         \
    X(5, 5, 1, 2, 7, PLAIN) X(5, 5, 1, 2, 4, PLAIN) X(5, 5, 1, 1, 7, PLAIN) X(5, 5, 1, 0, 1, PLAIN)         \
    X(5, 5, 2, 2, 5, PLAIN) X(5, 5, 2, 2, 4, PLAIN) X(5, 5, 2, 1, 7, PLAIN) X(5, 5, 2, 0, 1, PLAIN)         \
    X(7, 7, 1, 2, 7, PLAIN) X(7, 7, 1, 2, 4, PLAIN) X(7, 7, 1, 1, 7, PLAIN) X(7, 7, 1, 0, 1, PLAIN)         \
    X(7, 7, 2, 2, 4, PLAIN) X(7, 7, 2, 1, 4, PLAIN) X(7, 7, 2, 0, 1, PLAIN)                                 \
    X(3, 3, 1, 2, 6, MULTIPLIER) X(3, 3, 1, 2, 4, MULTIPLIER) X(3, 3, 1, 0, 1, MULTIPLIER)                  \
    X(3, 3, 2, 2, 4, MULTIPLIER) X(3, 3, 2, 1, 4, MULTIPLIER) X(3, 3, 2, 0, 1, MULTIPLIER)                  \
    X(5, 5, 1, 2, 5, MULTIPLIER) X(5, 5, 1, 2, 4, MULTIPLIER) X(5, 5, 1, 0, 1, MULTIPLIER)                  \
    X(5, 5, 2, 1, 5, MULTIPLIER) X(5, 5, 2, 0, 1, MULTIPLIER)                                               \
    X(7, 7, 1, 2, 5, MULTIPLIER) X(7, 7, 1, 1, 5, MULTIPLIER) X(7, 7, 1, 0, 1, MULTIPLIER)                  \
    X(3, 3, 1, 0, 4, FOLDED) X(3, 3, 1, 0, 4, FOLDED_M) X(3, 3, 1, 0, 2, FOLDED) X(3, 3, 1, 0, 2, FOLDED_M) \
    X(3, 3, 1, 0, 1, FOLDED) X(3, 3, 1, 0, 1, FOLDED_M)                                                     \
    X(5, 5, 1, 0, 2, FOLDED) X(5, 5, 1, 0, 2, FOLDED_M) X(5, 5, 1, 0, 1, FOLDED) X(5, 5, 1, 0, 1, FOLDED_M) \
    X(7, 7, 1, 0, 1, FOLDED) X(7, 7, 1, 0, 1, FOLDED_M)

/* Of doubles the most frequent sizes and few tiles of each, as on AVX2. */
#define DW_DOUBLE_TILES(X)                                                                          \
    X(3, 3, 1, 2, 7, PLAIN) X(3, 3, 1, 2, 4, PLAIN) X(3, 3, 1, 1, 7, PLAIN) X(3, 3, 1, 0, 1, PLAIN) \
    X(3, 3, 2, 2, 4, PLAIN) X(3, 3, 2, 1, 7, PLAIN) X(3, 3, 2, 0, 1, PLAIN)                         \
    X(5, 5, 1, 2, 4, PLAIN) X(5, 5, 1, 0, 1, PLAIN)                                                 \
    X(5, 5, 2, 2, 4, PLAIN) X(5, 5, 2, 0, 1, PLAIN)                                                 \
    X(7, 7, 1, 2, 4, PLAIN) X(7, 7, 1, 0, 1, PLAIN)                                                 \
    X(7, 7, 2, 1, 4, PLAIN) X(7, 7, 2, 0, 1, PLAIN)                                                 \
    X(3, 3, 1, 2, 4, MULTIPLIER) X(3, 3, 1, 0, 1, MULTIPLIER)                                       \
    X(3, 3, 2, 1, 4, MULTIPLIER) X(3, 3, 2, 0, 1, MULTIPLIER)                                       \
    X(5, 5, 1, 2, 4, MULTIPLIER) X(5, 5, 1, 0, 1, MULTIPLIER)                                       \
    X(5, 5, 2, 1, 5, MULTIPLIER) X(5, 5, 2, 0, 1, MULTIPLIER)                                       \
    X(7, 7, 1, 1, 5, MULTIPLIER) X(7, 7, 1, 0, 1, MULTIPLIER)                                       \
    X(3, 3, 1, 0, 2, FOLDED) X(3, 3, 1, 0, 2, FOLDED_M) X(3, 3, 1, 0, 1, FOLDED)                    \
    X(3, 3, 1, 0, 1, FOLDED_M) X(5, 5, 1, 0, 1, FOLDED) X(7, 7, 1, 0, 1, FOLDED)

/* Of 16 bits the most frequent sizes; wide kernels are for the others, and a wheel must stay small. */
#define DW_HALF_TILES(X)                                                                            \
    X(3, 3, 1, 2, 7, PLAIN) X(3, 3, 1, 2, 4, PLAIN) X(3, 3, 1, 1, 7, PLAIN) X(3, 3, 1, 0, 1, PLAIN) \
    X(3, 3, 2, 2, 4, PLAIN) X(3, 3, 2, 1, 7, PLAIN) X(3, 3, 2, 0, 1, PLAIN)                         \
    X(5, 5, 1, 2, 4, PLAIN) X(5, 5, 1, 0, 1, PLAIN)                                                 \
    X(3, 3, 1, 0, 2, FOLDED) X(3, 3, 1, 0, 1, FOLDED)
/* clang-format on */
#define DW_WIDE_TILES DW_WIDE_TILES_32_REGISTERS
#define DW_DOUBLE_WIDE_TILES DW_WIDE_TILES_FEW
#define DW_HALF_WIDE_TILES DW_WIDE_TILES_FEW
#define DW_NCHW_LIST DW_NCHW_SIZES
#define DW_GRAD_TILES DW_GRAD_TILES_32_REGISTERS
#define DW_GRAD_WINDOWS DW_GRAD_WINDOWS_32_REGISTERS

#if (defined(__aarch64__) || defined(_M_ARM64)) && !defined(DW_WITHOUT_NEON)
#include "every_dtype.inc"
#else
#include "names_only.inc"
#endif

const dw_instruction_set dw_isa_neon = {.id = DW_ISA_NEON,
                                        .name = "neon",
                                        .needs = DW_CPU_NEON,
                                        .compiled = DW_COMPILED,
                                        .registers = 32,
                                        .usable_registers = 31,
                                        .chunk_bytes = 512,
                                        .nhwc = DW_NHWC_TABLES(neon),
                                        .nchw = DW_NCHW_TABLES(neon),
                                        .grad = DW_GRAD_TABLES(neon),
                                        .quantized = {&dw_quantized_neon}};
