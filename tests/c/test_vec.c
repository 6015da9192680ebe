/* test_vec.c - each word of a vector header against its definition, and against vec_portable.h, to the bit.
 *
 *   cc -std=c11 -O2 -ffp-contract=off -Icsrc -DTEST_ISA=avx2 tests/c/test_vec.c -lm -o test_vec
 *   ./test_vec [force] [seed]
 *
 * TEST_ISA: portable (default), avx2, avx512, avx512vl (vectors of AVX2, masks of AVX-512) or neon. Needs nothing
 * else of the project, so that it also runs, linked with -static, in an emulator. `force` skips the question whether
 * the CPU has it, for emulators that hide what they can do. Exit status: 0 passed, 1 failed, 77 the CPU lacks it. */
#if !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* MAP_ANONYMOUS */
#endif
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "float_env.h"
#include "half_formats.h"

#ifndef TEST_ISA
#define TEST_ISA portable
#endif
#define ID_portable 1
#define ID_avx2 2
#define ID_avx512 3
#define ID_neon 4
#define ID_avx512vl 5
#define ID_OF_(isa) ID_##isa
#define ID_OF(isa) ID_OF_(isa)
#define TEST_ID ID_OF(TEST_ISA)
#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)

#define NOINLINE __attribute__((noinline))

/* ---- what is running, for the report of a failure -------------------------------------------------- */

static struct {
    const char *word, *dtype;
    int count; /* the partial count, or -1 */
    const char *side;
} at = {"", "", -1, ""};
static uint64_t seed = 1;
static long checks, failures;

static void describe(char *text, size_t size) {
    int n = snprintf(text, size, "%s, isa " TEXT(TEST_ISA) ", %s, seed %" PRIu64, at.word, at.dtype, seed);
    if (at.count >= 0) snprintf(text + n, size - (size_t)n, ", count %d, array %s", at.count, at.side);
}

__attribute__((format(printf, 2, 3))) static void check(int ok, const char *format, ...) {
    enum { REPORTED = 20 };
    checks++;
    if (ok || ++failures > REPORTED) return;
    char where[256], what[256];
    describe(where, sizeof where);
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    fprintf(stderr, "FAILED %s: %s\n", where, what);
}

static void on_fault(int number) {
    char where[256], line[320];
    describe(where, sizeof where);
    const char *what = number == SIGILL ? "illegal instruction" : "touched memory outside the array";
    const int n = snprintf(line, sizeof line, "FAILED %s: %s\n", where, what);
    if (write(STDERR_FILENO, line, (size_t)n) < 0) _exit(2);
    _exit(1);
}

/* xorshift64*, Marsaglia 2003 and Vigna 2016. */
static uint64_t random_state;
static uint64_t random64(void) {
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return random_state * UINT64_C(0x2545F4914F6CDD1D);
}

/* ---- one page between two that fault --------------------------------------------------------------- */

enum { POISON = 0xa5 };
static unsigned char *page, *page_end;

static int make_page(void) {
    const size_t size = (size_t)sysconf(_SC_PAGESIZE);
    void *pages = mmap(NULL, 3 * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) return 0;
    page = (unsigned char *)pages + size;
    page_end = page + size;
    return mprotect(page, size, PROT_READ | PROT_WRITE) == 0;
}

static void poison_page(void) { memset(page, POISON, (size_t)(page_end - page)); }

static int poisoned_outside(const void *array, size_t bytes) {
    const unsigned char *begin = array, *end = begin + bytes;
    for (const unsigned char *p = page; p < begin; p++)
        if (*p != POISON) return 0;
    for (const unsigned char *p = end; p < page_end; p++)
        if (*p != POISON) return 0;
    return 1;
}

/* Where an array of so many bytes lies: against the page before, the page after, or neither and unaligned. */
enum { SIDES = 3 };
static void *place(int side, size_t bytes, size_t item) {
    static const char *const names[SIDES] = {"begins at a guard page", "ends at a guard page", "in between"};
    at.side = names[side];
    return side == 0 ? page : side == 1 ? page_end - bytes : page + 256 + item;
}

/* ---- the definitions, one lane at a time ----------------------------------------------------------- */

/* a * b + c rounded once, without fmaf: the product of two floats is exact as a double, the sum of doubles is
 * rounded to odd, and 53 bits rounded to odd then round to 24 or fewer as the exact sum would. Boldo and
 * Melquiond, 'Emulation of FMA and correctly rounded sums: proved algorithms using rounding to odd', 2008. */
static NOINLINE float define_fma_f32(float a, float b, float c) {
    const double product = (double)a * (double)b, addend = c;
    double sum = product + addend;
    if (!isfinite(sum) || sum == 0) return (float)sum;
    const double back = sum - product;
    const double error = (product - (sum - back)) + (addend - back); /* Knuth's TwoSum: exact */
    uint64_t bits;
    memcpy(&bits, &sum, sizeof bits);
    if (error != 0 && !(bits & 1)) bits += (error > 0) == (sum > 0) ? 1 : -1;
    memcpy(&sum, &bits, sizeof sum);
    return (float)sum;
}
static NOINLINE double define_fma_f64(double a, double b, double c) { return fma(a, b, c); }
/* The exact result, which 64 bits hold, and its last 32 bits. */
static NOINLINE int32_t define_fma_i32(int32_t a, int32_t b, int32_t c) {
    const uint32_t last = (uint32_t)((int64_t)a * b + c);
    int32_t result;
    memcpy(&result, &last, sizeof result);
    return result;
}

#define DW_ISA portable
#define DW_KIND f
#define DW_BITS 32
#include "isa/vec_portable.h"
static NOINLINE float portable_fma_f32(float a, float b, float c) {
    return vec_fma(vec_set1(a), vec_set1(b), vec_set1(c)).lane[0];
}
static NOINLINE float portable_clamp_f32(float x, float low, float high) {
    return vec_clamp(vec_set1(x), vec_set1(low), vec_set1(high)).lane[0];
}
#undef DW_BITS
#define DW_BITS 64
#include "isa/vec_portable.h"
static NOINLINE double portable_fma_f64(double a, double b, double c) {
    return vec_fma(vec_set1(a), vec_set1(b), vec_set1(c)).lane[0];
}
static NOINLINE double portable_clamp_f64(double x, double low, double high) {
    return vec_clamp(vec_set1(x), vec_set1(low), vec_set1(high)).lane[0];
}
#undef DW_BITS
#undef DW_KIND
#define DW_KIND i
#define DW_INTEGER 1
#define DW_BITS 32
#include "isa/vec_portable.h"
static NOINLINE int32_t portable_fma_i32(int32_t a, int32_t b, int32_t c) {
    return vec_fma(vec_set1(a), vec_set1(b), vec_set1(c)).lane[0];
}
static NOINLINE int32_t portable_clamp_i32(int32_t x, int32_t low, int32_t high) {
    return vec_clamp(vec_set1(x), vec_set1(low), vec_set1(high)).lane[0];
}
#undef DW_BITS
#undef DW_INTEGER
#undef DW_KIND
#undef DW_ISA

/* ---- the header under test ------------------------------------------------------------------------- */

#if TEST_ID == ID_portable
#define HEADER "isa/vec_portable.h"
static int cpu_has_it(void) { return 1; }

#elif TEST_ID == ID_neon
#define HEADER "isa/vec_neon.h"
static int cpu_has_it(void) { return 1; } /* part of the AArch64 base */

#elif TEST_ID == ID_avx2
#define HEADER "isa/vec_avx2.h"
#define TARGET "avx2,fma,f16c"
#include <cpuid.h>
static int cpu_has_it(void) {
    unsigned a, b, c = 0, d;
    const int known = __get_cpuid(1, &a, &b, &c, &d);
    /* F16C by its bit: __builtin_cpu_supports of clang 14 does not know its name. */
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && known && (c & bit_F16C);
}

#elif TEST_ID == ID_avx512 || TEST_ID == ID_avx512vl
#if TEST_ID == ID_avx512vl
#define HEADER "isa/vec_avx2.h"
#define DW_K_MASKS 1
#else
#define HEADER "isa/vec_avx512.h"
#endif
#define TARGET "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma,f16c"
static int cpu_has_it(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
}

#else
#error "TEST_ISA must be portable, avx2, avx512, avx512vl or neon"
#endif

#ifdef TARGET
#define PRAGMA(x) _Pragma(#x)
#if defined(__clang__)
#define PUSH_TARGET(t) PRAGMA(clang attribute push(__attribute__((target(t))), apply_to = function))
#define POP_TARGET _Pragma("clang attribute pop")
#else
#define PUSH_TARGET(t) _Pragma("GCC push_options") PRAGMA(GCC target(t))
#define POP_TARGET _Pragma("GCC pop_options")
#endif
PUSH_TARGET(TARGET)
#endif

#define DW_ISA TEST_ISA

#define DW_KIND f
#define DW_BITS 32
#define uint_bits uint32_t
#if TEST_ID != ID_portable
#include HEADER
#endif
#include "vec_cases.inc"
#include "vec_halves.inc"
#undef DW_BITS
#undef uint_bits

#define DW_BITS 64
#define uint_bits uint64_t
#if TEST_ID != ID_portable
#include HEADER
#endif
#include "vec_cases.inc"
#undef DW_BITS
#undef DW_KIND
#undef uint_bits

#define DW_KIND i
#define DW_INTEGER 1
#define DW_BITS 32
#define uint_bits uint32_t
#if TEST_ID != ID_portable
#include HEADER
#endif
#include "vec_cases.inc"

#ifdef TARGET
POP_TARGET
#endif

int main(int argc, char **argv) {
    int force = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "force") == 0) force = 1;
        else seed = strtoull(argv[i], NULL, 10);
    }
    if (!force && !cpu_has_it()) {
        printf("skipped: this CPU lacks " TEXT(TEST_ISA) "\n");
        return 77;
    }
    if (!make_page()) {
        perror("mmap");
        return 1;
    }
    random_state = seed * UINT64_C(0x9E3779B97F4A7C15) | 1;
    signal(SIGSEGV, on_fault);
    signal(SIGBUS, on_fault);
    signal(SIGILL, on_fault);
    test_all_f32();
    test_halves();
    test_all_f64();
    test_all_i32();
    if (failures) {
        fprintf(stderr, TEXT(TEST_ISA) ": %ld of %ld checks failed (seed %" PRIu64 ")\n", failures, checks, seed);
        return 1;
    }
    printf(TEXT(TEST_ISA) ": %ld checks passed\n", checks);
    return 0;
}
