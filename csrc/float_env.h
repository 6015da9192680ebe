/* float_env.h - the floating-point environment that kernels run in: round to nearest, no traps, denormal numbers
 * flushed to zero or not. It restores that of the caller to the bit, flags included. On processors other than x86-64
 * and AArch64 it does nothing. */
#ifndef DW_FLOAT_ENV_H
#define DW_FLOAT_ENV_H

#include <stdint.h>

#include "dwconv.h"

/* What a run can do of what is requested. `calls_fma`: its multiply-adds may be calls of fma(). On x86-64 without
 * multiply-add instructions that is a function which needs denormal numbers itself: without them glibc's is wrong by
 * 1e-9 of results near 2**-1022. So such a run keeps them. */
dw_denormals dw_denormals_of(dw_denormals requested, int calls_fma);

/* Sets denormal floats to zeros of the same sign. Of DW_F16 and DW_BF16 they are weights: float32. */
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

#elif defined(__aarch64__) || defined(_M_ARM64)

typedef struct dw_float_env {
    uint64_t control, status;
} dw_float_env;

#ifdef __GNUC__
static inline uint64_t dw_get_control(void) {
    uint64_t value;
    __asm__ volatile("mrs %0, fpcr" : "=r"(value) : : "memory");
    return value;
}
static inline uint64_t dw_get_status(void) {
    uint64_t value;
    __asm__ volatile("mrs %0, fpsr" : "=r"(value) : : "memory");
    return value;
}
static inline void dw_set_control(uint64_t value) { __asm__ volatile("msr fpcr, %0" : : "r"(value) : "memory"); }
static inline void dw_set_status(uint64_t value) { __asm__ volatile("msr fpsr, %0" : : "r"(value) : "memory"); }
#else /* MSVC */
#include <intrin.h>
enum { DW_CONTROL = 0x5a20, DW_STATUS = 0x5a21 }; /* ARM64_FPCR and ARM64_FPSR of winnt.h */
static inline uint64_t dw_get_control(void) { return (uint64_t)_ReadStatusReg(DW_CONTROL); }
static inline uint64_t dw_get_status(void) { return (uint64_t)_ReadStatusReg(DW_STATUS); }
static inline void dw_set_control(uint64_t value) { _WriteStatusReg(DW_CONTROL, (int64_t)value); }
static inline void dw_set_status(uint64_t value) { _WriteStatusReg(DW_STATUS, (int64_t)value); }
#endif

/* FPCR: FZ alone, or nothing. */
static inline dw_float_env dw_float_begin(dw_denormals denormals) {
    const uint64_t wanted = denormals == DW_DENORMALS_FLUSH ? UINT64_C(1) << 24 : 0;
    const dw_float_env before = {dw_get_control(), dw_get_status()};
    if (before.control != wanted) dw_set_control(wanted);
    return before;
}

static inline void dw_float_end(dw_float_env before) {
    dw_set_control(before.control);
    dw_set_status(before.status);
}

#else

typedef int dw_float_env;
static inline dw_float_env dw_float_begin(dw_denormals denormals) { return (void)denormals, 0; }
static inline void dw_float_end(dw_float_env before) { (void)before; }

#endif
#endif
