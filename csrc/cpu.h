/* cpu.h - the features of this CPU that the core uses. A new one: a bit here, its detection and its name in cpu.c. */
#ifndef DW_CPU_H
#define DW_CPU_H

enum {
    DW_CPU_AVX = 1 << 0,
    DW_CPU_AVX2 = 1 << 1,
    DW_CPU_FMA = 1 << 2,
    DW_CPU_AVX512F = 1 << 3,
    DW_CPU_AVX512VL = 1 << 4,
    DW_CPU_AVX512BW = 1 << 5,
    DW_CPU_AVX512DQ = 1 << 6,
    DW_CPU_NEON = 1 << 7,
    DW_CPU_AVX512VNNI = 1 << 8,
    DW_CPU_AVXVNNI = 1 << 9,
    DW_CPU_F16C = 1 << 10
};

/* The DW_CPU_* that may be used: the CPU has the instructions, and the OS saves their registers. */
unsigned dw_cpu_flags(void);

#if defined(__x86_64__) || defined(_M_X64)
#define DW_X86 1
/* EAX, EBX, ECX, EDX of a leaf. */
void dw_cpuid(unsigned leaf, unsigned sub, unsigned r[4]);
#endif

#endif
