/* isa.h - instruction sets as objects: each is one constant that says what it is called, what it needs of a CPU, and
 * which kernels it has. Nothing else in the core knows one by name. */
#ifndef DW_ISA_H
#define DW_ISA_H

#include "build.h"
#include "cpu.h"
#include "dwconv.h"
#include "grad_kernels.h"
#include "nchw_kernels.h"
#include "nhwc_kernels.h"
#include "quantized_kernels.h"

enum { DW_QUANTIZED_TABLES = 2 }; /* of an instruction set, without the narrower ones */

typedef struct dw_instruction_set {
    dw_isa id; /* its public number; the enum's order means nothing */
    const char *name;
    unsigned needs;       /* DW_CPU_*: what CPU and OS must offer */
    int compiled;         /* whether this build has its kernels; if not, the tables below name kernels but have none */
    int registers;        /* of vectors */
    int usable_registers; /* that the sums, the inputs of a row, a weight and a bias may fill before kernels get slow */
    int calls_fma;        /* a multiply-add may be a call of fma(), not an instruction */
    int chunk_bytes; /* channels of a pixel that a strip goes through before the next ones: their inputs stay in L1 */
    /* The same bits from vectors of half the width, for problems that do not fill one of these; NULL: none. */
    const struct dw_instruction_set *narrower;
    /* NULL for what this build leaves out; grad for integers, too; nchw and grad for 16 bits */
    const dw_nhwc_table *nhwc[DW_DTYPE_COUNT];
    const dw_nchw_table *nchw[DW_DTYPE_COUNT];
    const dw_grad_table *grad[DW_DTYPE_COUNT];
    const dw_quantized_table *quantized[DW_QUANTIZED_TABLES]; /* by what else the CPU has, the preferred one first */
} dw_instruction_set;

/* The instruction sets in order of preference: the first one that a CPU offers is the default. A new one: its line
 * here; its object is in isa/name.c. */
#define DW_INSTRUCTION_SETS(X) \
    X(avx512)                  \
    X(avx2)                    \
    X(neon)                    \
    X(portable)

#define DW_DECLARE(name) extern const dw_instruction_set dw_isa_##name;
DW_INSTRUCTION_SETS(DW_DECLARE)
#undef DW_DECLARE

/* The tables of an instruction set, for isa/: those that every_dtype.inc defines, or isa/names_only.inc. */
#define DW_DECLARE_TABLES(isa)                                                                            \
    extern const dw_nhwc_table dw_nhwc_table_f32_##isa, dw_nhwc_table_f64_##isa, dw_nhwc_table_i32_##isa; \
    extern const dw_nhwc_table dw_nhwc_table_f16_##isa, dw_nhwc_table_bf16_##isa;                         \
    extern const dw_nchw_table dw_nchw_table_f32_##isa, dw_nchw_table_f64_##isa, dw_nchw_table_i32_##isa; \
    extern const dw_grad_table dw_grad_table_f32_##isa, dw_grad_table_f64_##isa;
#define DW_NHWC_TABLES(isa)                                                                                         \
    {DW_IF_F32(&dw_nhwc_table_f32_##isa), DW_IF_F64(&dw_nhwc_table_f64_##isa), DW_IF_I32(&dw_nhwc_table_i32_##isa), \
     DW_IF_HALF(&dw_nhwc_table_f16_##isa), DW_IF_HALF(&dw_nhwc_table_bf16_##isa)}
#define DW_NCHW_TABLES(isa)                                                                            \
    {DW_IF_NCHW(DW_IF_F32(&dw_nchw_table_f32_##isa)), DW_IF_NCHW(DW_IF_F64(&dw_nchw_table_f64_##isa)), \
     DW_IF_NCHW(DW_IF_I32(&dw_nchw_table_i32_##isa))}
#define DW_GRAD_TABLES(isa) \
    {DW_IF_GRADIENTS(DW_IF_F32(&dw_grad_table_f32_##isa)), DW_IF_GRADIENTS(DW_IF_F64(&dw_grad_table_f64_##isa)), NULL}

/* The instruction set to use for `isa`, DW_ISA_AUTO for the best; NULL unless this build and this CPU have it. */
const dw_instruction_set *dw_isa_select(dw_isa isa);

#endif
