/* os_pause.h - tells the processor that a thread is waiting for another one's store. */
#ifndef DW_OS_PAUSE_H
#define DW_OS_PAUSE_H

#if defined(__x86_64__) || defined(_M_X64) || defined(__i386__)
#include <immintrin.h>
static inline void os_pause(void) { _mm_pause(); }
#elif defined(__aarch64__) && defined(__GNUC__)
static inline void os_pause(void) { __asm__ volatile("isb"); } /* "yield" does nothing on most */
#elif defined(_M_ARM64)
#include <intrin.h>
static inline void os_pause(void) { __isb(15); }
#else
static inline void os_pause(void) {}
#endif

#endif
