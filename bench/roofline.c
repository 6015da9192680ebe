/* roofline.c - two bounds for every kernel on this CPU: its multiply-adds per second, and a plain vector copy.
 * Compiled and called by runtimes/roofline.py; GNU C (gcc or clang), for its vector types. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-tree-loop-distribute-patterns") /* gcc must not replace the copy with a call of memcpy */
#endif
#include <stddef.h>
#include <stdint.h>
#include <time.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* More than latency times multiply-adds per cycle (4 * 2) of every CPU that we know, fewer than its registers. */
enum { SUMS = 12 };

/* Seconds per `steps` * SUMS multiply-adds of vectors; -ffp-contract=fast makes one instruction of each. The
 * empty asm hides what the numbers are, and uses the sums. */
#define PEAK(name, scalar, bytes, constraint, target)                                                   \
    typedef scalar name##_vector __attribute__((vector_size(bytes)));                                   \
    target static double name(int64_t steps) {                                                          \
        name##_vector a = {0}, b = {0}, sum[SUMS];                                                      \
        __asm__ volatile("" : "+" constraint(a), "+" constraint(b));                                    \
        UNROLL for (int k = 0; k < SUMS; k++) {                                                         \
            sum[k] = b;                                                                                 \
            __asm__ volatile("" : "+" constraint(sum[k]));                                              \
        }                                                                                               \
        const double start = now();                                                                     \
        for (int64_t i = 0; i < steps; i++) {                                                           \
            UNROLL for (int k = 0; k < SUMS; k++) sum[k] = sum[k] * a + b;                              \
        }                                                                                               \
        UNROLL for (int k = 0; k < SUMS; k++) __asm__ volatile("" : : constraint(sum[k]));              \
        return now() - start;                                                                           \
    }
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

/* Reads all of x and writes all of y, in blocks of 4 KB of the larger array and an even share of the smaller one.
 * Sizes are in bytes. */
#define COPY(name, bytes, target)                                                                       \
    typedef uint32_t name##_vector __attribute__((vector_size(bytes)));                                 \
    target static void name(const char *x_bytes, int64_t x_size, char *y_bytes, int64_t y_size) {       \
        const name##_vector *x = (const void *)x_bytes;                                                 \
        name##_vector *y = (void *)y_bytes;                                                             \
        const int64_t xs = x_size / bytes, ys = y_size / bytes, most = xs > ys ? xs : ys;               \
        const int64_t blocks = (most * bytes + 4095) / 4096;                                            \
        name##_vector rest = {0};                                                                       \
        for (int64_t b = 0; b < blocks; b++) {                                                          \
            const int64_t x_end = xs * (b + 1) / blocks, y_end = ys * (b + 1) / blocks;                 \
            int64_t i = xs * b / blocks, o = ys * b / blocks;                                           \
            const int64_t both = x_end - i < y_end - o ? x_end - i : y_end - o;                         \
            for (int64_t k = 0; k < both; k++) y[o + k] = x[i + k];                                     \
            for (i += both; i < x_end; i++) rest |= x[i];                                               \
            for (o += both; o < y_end; o++) y[o] = rest;                                                \
        }                                                                                               \
        __asm__ volatile("" : : "m"(rest) : "memory");                                                  \
    }

#if defined(__x86_64__)
#define AVX512 __attribute__((target("avx512f,avx2,fma")))
#define AVX2 __attribute__((target("avx2,fma")))
PEAK(peak_f32_avx512, float, 64, "v", AVX512)
PEAK(peak_f64_avx512, double, 64, "v", AVX512)
PEAK(peak_f32_avx2, float, 32, "x", AVX2)
PEAK(peak_f64_avx2, double, 32, "x", AVX2)
COPY(copy_avx512, 64, AVX512)
COPY(copy_avx2, 32, AVX2)

static int width(void) {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512f") ? 64 : 32;
}
#define DISPATCH(wide, narrow) (width() == 64 ? wide : narrow)
#else
PEAK(peak_f32_128, float, 16, "w", )
PEAK(peak_f64_128, double, 16, "w", )
COPY(copy_128, 16, )
static int width(void) { return 16; }
#define DISPATCH(wide, narrow) (narrow)
#define peak_f32_avx2 peak_f32_128
#define peak_f64_avx2 peak_f64_128
#define copy_avx2 copy_128
#endif

/* Bytes of the widest vector that is used here. */
int roofline_width(void) { return width(); }

/* Seconds per multiply-add (of numbers, not of vectors), in taken[count] samples of about 10 us each, so
 * that most samples see no interrupt. */
void roofline_fma(int bytes_of_number, double *taken, int64_t count) {
    double (*const peak)(int64_t) = bytes_of_number == 4 ? DISPATCH(peak_f32_avx512, peak_f32_avx2)
                                                          : DISPATCH(peak_f64_avx512, peak_f64_avx2);
    const int64_t steps = 2000, per_step = SUMS * (width() / bytes_of_number);
    for (int64_t i = 0; i < count; i++) taken[i] = peak(steps) / (double)(steps * per_step);
}

/* Seconds per copy of x to y, in taken[count] samples of `repeats` copies each. */
void roofline_copy(const char *x, int64_t x_size, char *y, int64_t y_size, int64_t repeats, double *taken,
                   int64_t count) {
    void (*const copy)(const char *, int64_t, char *, int64_t) = DISPATCH(copy_avx512, copy_avx2);
    for (int64_t i = 0; i < count; i++) {
        const double start = now();
        for (int64_t k = 0; k < repeats; k++) copy(x, x_size, y, y_size);
        taken[i] = (now() - start) / (double)repeats;
    }
}
