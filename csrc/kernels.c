/* kernels.c - finds the kernels of an instruction set and a dtype. */
#include "nhwc_kernels.h"

#define DECLARE(isa) extern const dw_kernels dw_kernels_f32_##isa, dw_kernels_f64_##isa, dw_kernels_i32_##isa;
#define ALL_DTYPES(isa) {&dw_kernels_f32_##isa, &dw_kernels_f64_##isa, &dw_kernels_i32_##isa} /* as dw_dtype */
DECLARE(portable)
DECLARE(neon)
DECLARE(avx2)
DECLARE(avx512)

static const dw_kernels *const all[DW_ISA_COUNT][DW_DTYPE_COUNT] = {
    [DW_ISA_PORTABLE] = ALL_DTYPES(portable),
#if defined(__x86_64__) || defined(_M_X64)
    [DW_ISA_AVX2] = ALL_DTYPES(avx2),
    [DW_ISA_AVX512] = ALL_DTYPES(avx512),
#endif
#if defined(__aarch64__) || defined(_M_ARM64)
    [DW_ISA_NEON] = ALL_DTYPES(neon),
#endif
};

const dw_kernels *dw_kernels_of(dw_isa isa, dw_dtype dtype) { return all[isa][dtype]; }
