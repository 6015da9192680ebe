/* float_env.c - what becomes of denormal numbers where the CPU does not decide it. */
#include "float_env.h"

#include <string.h>

#include "cpu.h"

dw_denormals dw_denormals_of(dw_denormals requested, int calls_fma) {
#if defined(__x86_64__) || defined(_M_X64)
    if (calls_fma && !(dw_cpu_flags() & DW_CPU_FMA)) return DW_DENORMALS_IEEE;
#else
    (void)calls_fma;
#endif
    return requested;
}

void dw_flush(dw_dtype dtype, void *values, int64_t count) {
    const uint32_t exponent_32 = UINT32_C(0x7f800000);
    const uint64_t exponent_64 = UINT64_C(0x7ff) << 52;
    for (int64_t i = 0; i < count; i++) {
        if (dtype == DW_F32 || dtype == DW_F16 || dtype == DW_BF16) {
            uint32_t bits;
            memcpy(&bits, (char *)values + i * 4, 4);
            if ((bits & exponent_32) == 0) bits &= UINT32_C(1) << 31;
            memcpy((char *)values + i * 4, &bits, 4);
        } else if (dtype == DW_F64) {
            uint64_t bits;
            memcpy(&bits, (char *)values + i * 8, 8);
            if ((bits & exponent_64) == 0) bits &= UINT64_C(1) << 63;
            memcpy((char *)values + i * 8, &bits, 8);
        }
    }
}
