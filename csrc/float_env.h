/* float_env.h - the floating-point environment that kernels run in: round to nearest, no traps, denormal numbers flushed to
 * zero or not; and its caller's, restored to the bit, flags included. Elsewhere than on x86-64 and AArch64: nothing. */
#ifndef DW_FLOAT_ENV_H
#define DW_FLOAT_ENV_H

#include <stdint.h>

#include "dwconv.h"

/* What runs can do of a wish: DW_DENORMALS_IEEE for portable kernels on x86-64 without multiply-add instructions, where
 * fma() is a function that needs denormal numbers itself: glibc's is wrong by 1e-9 of results near 2**-1022 without. */
dw_denormals dw_denormals_of(dw_denormals wish, dw_isa isa);

/* Sets denormal floats to zeros of the same sign. */
void dw_flush(dw_dtype dtype, void *values, int64_t count);

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>

typedef unsigned dw_float_env;

/* MXCSR: all exceptions masked, no flag set; flush to zero and denormals are zero. */
static inline dw_float_env dw_float_begin(dw_denormals denormals) {
    const unsigned before = _mm_getcsr();
    _mm_setcsr(denormals == DW_DENORMALS_FLUSH ? 0x1f80 | 0x8040 : 0x1f80);
    return before;
}

static inline void dw_float_end(dw_float_env before) { _mm_setcsr(before); }

#elif defined(__aarch64__) && defined(__GNUC__)

typedef struct dw_float_env {
    uint64_t control, status;
} dw_float_env;

/* FPCR: FZ alone, or nothing. */
static inline dw_float_env dw_float_begin(dw_denormals denormals) {
    const uint64_t wanted = denormals == DW_DENORMALS_FLUSH ? UINT64_C(1) << 24 : 0;
    dw_float_env before;
    __asm__ volatile("mrs %0, fpcr" : "=r"(before.control) : : "memory");
    __asm__ volatile("mrs %0, fpsr" : "=r"(before.status) : : "memory");
    if (before.control != wanted) __asm__ volatile("msr fpcr, %0" : : "r"(wanted) : "memory");
    return before;
}

static inline void dw_float_end(dw_float_env before) {
    __asm__ volatile("msr fpcr, %0" : : "r"(before.control) : "memory");
    __asm__ volatile("msr fpsr, %0" : : "r"(before.status) : "memory");
}

#else

typedef int dw_float_env;
static inline dw_float_env dw_float_begin(dw_denormals denormals) { return (void)denormals, 0; }
static inline void dw_float_end(dw_float_env before) { (void)before; }

#endif
#endif
