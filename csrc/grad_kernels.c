/* grad_kernels.c - finds the gradients' kernels of an instruction set and a dtype. */
#include "grad.h"

#define DECLARE(isa) extern const dw_grad_kernels dw_grad_kernels_f32_##isa, dw_grad_kernels_f64_##isa;
#define FLOATS(isa) {[DW_F32] = &dw_grad_kernels_f32_##isa, [DW_F64] = &dw_grad_kernels_f64_##isa}
DECLARE(portable)
DECLARE(neon)
DECLARE(avx2)
DECLARE(avx512)

static const dw_grad_kernels *const all[DW_ISA_COUNT][DW_DTYPE_COUNT] = {
    [DW_ISA_PORTABLE] = FLOATS(portable),
#if defined(__x86_64__) || defined(_M_X64)
    [DW_ISA_AVX2] = FLOATS(avx2),
    [DW_ISA_AVX512] = FLOATS(avx512),
#endif
#if defined(__aarch64__) || defined(_M_ARM64)
    [DW_ISA_NEON] = FLOATS(neon),
#endif
};

const dw_grad_kernels *dw_grad_kernels_of(dw_isa isa, dw_dtype dtype) { return all[isa][dtype]; }
