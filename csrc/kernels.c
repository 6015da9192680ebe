/* kernels.c - finds the kernels of an instruction set and a dtype. */
#include "kernels.h"

#define DECLARE(isa) extern const dw_kernels dw_kernels_f32_##isa, dw_kernels_f64_##isa;
DECLARE(portable)
DECLARE(neon)
DECLARE(avx2)
DECLARE(avx512)

const dw_kernels *dw_kernels_of(dw_isa isa, dw_dtype dtype) {
    const int f64 = dtype == DW_F64;
    switch (isa) {
#if defined(__x86_64__) || defined(_M_X64)
    case DW_ISA_AVX2: return f64 ? &dw_kernels_f64_avx2 : &dw_kernels_f32_avx2;
    case DW_ISA_AVX512: return f64 ? &dw_kernels_f64_avx512 : &dw_kernels_f32_avx512;
#endif
#if defined(__aarch64__) || defined(_M_ARM64)
    case DW_ISA_NEON: return f64 ? &dw_kernels_f64_neon : &dw_kernels_f32_neon;
#endif
    case DW_ISA_PORTABLE: return f64 ? &dw_kernels_f64_portable : &dw_kernels_f32_portable;
    default: return 0;
    }
}
