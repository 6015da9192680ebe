/* cpu.c - what this CPU and operating system offer, read once. Knows no instruction set and no kernel. */
#include "cpu.h"

#include <stddef.h>

#include "dwconv.h"

#ifdef DW_X86
#if defined(_MSC_VER) && !defined(__clang__)
#include <immintrin.h>
#include <intrin.h>
#else
#include <cpuid.h>
#endif
#endif
#if defined(__aarch64__) || defined(_M_ARM64)
#define DW_ARM64 1
#endif

#ifdef DW_X86

void dw_cpuid(unsigned leaf, unsigned sub, unsigned r[4]) {
#if defined(_MSC_VER) && !defined(__clang__)
    int out[4];
    __cpuidex(out, (int)leaf, (int)sub);
    for (int i = 0; i < 4; i++) r[i] = (unsigned)out[i];
#else
    __cpuid_count(leaf, sub, r[0], r[1], r[2], r[3]);
#endif
}

/* XCR0: the register files that the operating system saves on a context switch. */
static unsigned xgetbv0(void) {
#if defined(_MSC_VER) && !defined(__clang__)
    return (unsigned)_xgetbv(0);
#else
    unsigned low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low;
#endif
}

/* Bits as in Intel's Software Developer's Manual, volume 2A, CPUID, and volume 1, 13.3 (XCR0). */
static unsigned detect(void) {
    enum { OSXSAVE = 1u << 27, AVX = 1u << 28, F16C = 1u << 29, FMA = 1u << 12 };
    enum { XCR0_YMM = 0x6, XCR0_ZMM = 0xe6 };
    unsigned r[4], flags = 0;
    dw_cpuid(0, 0, r);
    if (r[0] < 7) return 0;
    dw_cpuid(1, 0, r);
    if (!(r[2] & OSXSAVE) || !(r[2] & AVX)) return 0;
    const unsigned xcr0 = xgetbv0();
    if ((xcr0 & XCR0_YMM) != XCR0_YMM) return 0;
    flags |= DW_CPU_AVX;
    if (r[2] & FMA) flags |= DW_CPU_FMA;
    if (r[2] & F16C) flags |= DW_CPU_F16C;
    dw_cpuid(7, 0, r);
    if (r[1] & (1u << 5)) flags |= DW_CPU_AVX2;
    const unsigned last_sub = r[0];
    if (last_sub >= 1) {
        unsigned further[4];
        dw_cpuid(7, 1, further);
        if (further[0] & (1u << 4)) flags |= DW_CPU_AVXVNNI;
    }
    if ((xcr0 & XCR0_ZMM) != XCR0_ZMM) return flags;
    if (r[1] & (1u << 16)) flags |= DW_CPU_AVX512F;
    if (r[1] & (1u << 17)) flags |= DW_CPU_AVX512DQ;
    if (r[1] & (1u << 30)) flags |= DW_CPU_AVX512BW;
    if (r[1] & (1u << 31)) flags |= DW_CPU_AVX512VL;
    if (r[2] & (1u << 11)) flags |= DW_CPU_AVX512VNNI;
    return flags;
}

#elif defined(DW_ARM64)
static unsigned detect(void) { return DW_CPU_NEON; } /* part of the AArch64 base */
#else
static unsigned detect(void) { return 0; }
#endif

unsigned dw_cpu_flags(void) {
    /* In a virtual machine CPUID traps to the hypervisor, which takes tens of microseconds, so its answer is kept.
     * Threads that race here store the same value; the accesses are atomic. Bit 31 says that it is known. */
    enum { KNOWN_SHIFT = 31 };
#if defined(_MSC_VER) && !defined(__clang__)
    static volatile long known;
    if (!known) _InterlockedExchange(&known, (long)(detect() | 1u << KNOWN_SHIFT));
    return (unsigned)known & ~(1u << KNOWN_SHIFT);
#else
    static unsigned known;
    unsigned flags = __atomic_load_n(&known, __ATOMIC_RELAXED);
    if (!flags) {
        flags = detect() | 1u << KNOWN_SHIFT;
        __atomic_store_n(&known, flags, __ATOMIC_RELAXED);
    }
    return flags & ~(1u << KNOWN_SHIFT);
#endif
}

int dw_cpu_feature(int index, const char **name) {
    static const struct {
        const char *name;
        unsigned flag;
    } features[] = {{"avx", DW_CPU_AVX},           {"avx2", DW_CPU_AVX2},         {"fma", DW_CPU_FMA},
                    {"avx512f", DW_CPU_AVX512F},   {"avx512vl", DW_CPU_AVX512VL}, {"avx512bw", DW_CPU_AVX512BW},
                    {"avx512dq", DW_CPU_AVX512DQ}, {"neon", DW_CPU_NEON},         {"avx512vnni", DW_CPU_AVX512VNNI},
                    {"avxvnni", DW_CPU_AVXVNNI},   {"f16c", DW_CPU_F16C}};
    if (index < 0 || index >= (int)(sizeof features / sizeof *features)) {
        *name = NULL;
        return 0;
    }
    *name = features[index].name;
    return (dw_cpu_flags() & features[index].flag) != 0;
}

const char *dw_version(void) { return DW_VERSION; }

const char *dw_compiler(void) {
#if defined(__clang__)
    return "clang " __clang_version__;
#elif defined(__GNUC__)
    return "gcc " __VERSION__;
#elif defined(_MSC_VER)
    return "msvc";
#else
    return "unknown";
#endif
}
