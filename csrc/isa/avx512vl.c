/* avx512vl.c - what AVX-512 uses where its own vectors would not fill: vectors of 256 bits.
 *
 * Channels first has kernels of float32 of its own here, with the mask registers and the 32 registers of AVX-512 VL: a
 * row of 7 columns fills 7 of 8 lanes rather than 7 of 16. All others are those of AVX2: of float64 a row of 4 columns
 * is the longest that would gain (Emerald Rapids: 4x4x64, 3x3: 0.76 us with kernels of its own, 1.05 with AVX2's). This
 * is no instruction set that anybody can choose, so it has the number of AVX-512. */
#include "../isa.h"

#define DW_ISA avx512vl
#define DW_HEADER "vec_avx2.h"
#define DW_K_MASKS 1
#define DW_TILES(X)
#define DW_DOUBLE_TILES(X)
#define DW_HALF_TILES(X)
#define DW_WIDE_TILES(X)
#define DW_DOUBLE_WIDE_TILES(X)
#define DW_HALF_WIDE_TILES(X)
#define DW_NCHW_LIST DW_NCHW_SIZES
#define DW_GRAD_TILES(X)
#define DW_GRAD_WINDOWS(X)

#if (defined(__x86_64__) || defined(_M_X64)) && !defined(DW_WITHOUT_AVX512) && !defined(DW_WITHOUT_AVX2)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512vl,avx512bw,avx512dq,avx2,fma,f16c"))), \
                             apply_to = function)
#elif defined(__GNUC__)
#pragma GCC target("avx512f,avx512vl,avx512bw,avx512dq,avx2,fma,f16c")
#endif

#if DW_HAS_NCHW && DW_HAS_F32
#define DW_KIND f
#define DW_BITS 32
#include DW_HEADER
#include "../nchw_kernels.inc"
#undef DW_BITS
#undef DW_KIND
#endif
#define DW_COMPILED 1

#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
#include "names_only.inc"
#endif

DW_DECLARE_TABLES(avx2)

const dw_instruction_set dw_isa_avx512vl = {.id = DW_ISA_AVX512,
                                            .name = "avx512",
                                            .needs = DW_CPU_AVX512VL,
                                            .compiled = DW_COMPILED,
                                            .registers = 16, /* AVX2's */
                                            .usable_registers = 16,
                                            .chunk_bytes = 2048,
                                            .nhwc = DW_NHWC_TABLES(avx2),
                                            .nchw = {DW_IF_NCHW(DW_IF_F32(&dw_nchw_table_f32_avx512vl)),
                                                     DW_IF_NCHW(DW_IF_F64(&dw_nchw_table_f64_avx2)),
                                                     DW_IF_NCHW(DW_IF_I32(&dw_nchw_table_i32_avx2))},
                                            .grad = DW_GRAD_TABLES(avx2)};
