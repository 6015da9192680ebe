/* one_pixel.c - depthwise convolution as most libraries loop it on ARM: one output pixel per pass over the
 * channels, after XNNPACK's f32-dwconv microkernels (9p8c and 25p8c, NEON with FMA): a pointer per tap, for each
 * group of 8 channels the bias, all taps of x and all weights are loaded, then the result is clamped and stored.
 * For tools/neon_mca.py, which holds its loops beside ours; nothing else compiles it. */
#include <arm_neon.h>
#include <stddef.h>

/* Weights of a group: 8 biases, then 8 weights of each tap, as XNNPACK packs them. */
static inline __attribute__((always_inline)) void pixel(size_t channels, const float *const *taps, const int count,
                                                        const float *w, float *y, float low, float high) {
    const float32x4_t min = vdupq_n_f32(low), max = vdupq_n_f32(high);
    const float *x[25];
#pragma GCC unroll 32
    for (int t = 0; t < count; t++) x[t] = taps[t];
    for (; channels >= 8; channels -= 8) {
        float32x4_t a = vld1q_f32(w), b = vld1q_f32(w + 4);
        w += 8;
#pragma GCC unroll 32
        for (int t = 0; t < count; t++) {
            a = vfmaq_f32(a, vld1q_f32(x[t]), vld1q_f32(w));
            b = vfmaq_f32(b, vld1q_f32(x[t] + 4), vld1q_f32(w + 4));
            x[t] += 8;
            w += 8;
        }
        vst1q_f32(y, vminq_f32(vmaxq_f32(a, min), max));
        vst1q_f32(y + 4, vminq_f32(vmaxq_f32(b, min), max));
        y += 8;
    }
}

void one_pixel_9(size_t channels, const float *const *taps, const float *w, float *y, float low, float high) {
    pixel(channels, taps, 9, w, y, low, high);
}

void one_pixel_25(size_t channels, const float *const *taps, const float *w, float *y, float low, float high) {
    pixel(channels, taps, 25, w, y, low, high);
}
