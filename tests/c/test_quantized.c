/* test_quantized.c - quantized convolutions against sums made tap by tap in plain C, for every kernel that this CPU
 * has: for emulators, too.
 *
 *   cc -std=c11 -O2 -ffp-contract=off -Icsrc tests/c/test_quantized.c $(find csrc -name '*.c') -lm -pthread
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "dwconv.h"
#include "quantized.h"

static uint64_t state = 1;

/* SplitMix64: Steele, Lea and Flood, 'Fast splittable pseudorandom number generators', 2014. */
static uint64_t next(void) {
    uint64_t z = state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static int64_t between(int64_t low, int64_t high) { return low + (int64_t)(next() % (uint64_t)(high - low + 1)); }

static int value_of(dw_byte_type type, const void *array, int64_t i) {
    return type == DW_INT8 ? ((const int8_t *)array)[i] : ((const uint8_t *)array)[i];
}

/* One output, as dwconv.h defines it. */
static int expected(const dw_desc *d, const dw_quantization *q, const void *x, const int8_t *kernel,
                    const int32_t *bias, const float *multipliers, const int64_t at[4]) {
    const int64_t outputs = d->channels * d->multiplier, channel = at[3] / d->multiplier;
    int64_t sum = bias ? bias[at[3]] : 0;
    for (int64_t ki = 0; ki < d->kernel_h; ki++)
        for (int64_t kj = 0; kj < d->kernel_w; kj++) {
            const int64_t h = at[1] * d->stride_h - d->pad_top + ki * d->dilation_h;
            const int64_t w = at[2] * d->stride_w - d->pad_left + kj * d->dilation_w;
            if (h < 0 || h >= d->height || w < 0 || w >= d->width) continue;
            const int64_t from = ((at[0] * d->height + h) * d->width + w) * d->channels + channel;
            sum += (value_of(q->x_type, x, from) - q->x_zero_point) * kernel[(ki * d->kernel_w + kj) * outputs + at[3]];
        }
    const float product = (float)(int32_t)sum * multipliers[at[3]];
    double y = nearbyint((double)product) + q->y_zero_point;
    if (y < q->y_min) y = q->y_min;
    if (y > q->y_max) y = q->y_max;
    return (int)y;
}

static dw_quantization random_quantization(void) {
    dw_quantization q = {.x_type = (dw_byte_type)between(0, 1), .y_type = (dw_byte_type)between(0, 1)};
    const int x_low = q.x_type == DW_INT8 ? -128 : 0, y_low = q.y_type == DW_INT8 ? -128 : 0;
    const int ends = between(0, 2) == 0;
    q.x_zero_point = x_low + (int32_t)(ends ? 255 * between(0, 1) : between(0, 255));
    q.y_zero_point = y_low + (int32_t)(ends ? 255 * between(0, 1) : between(0, 255));
    q.y_min = between(0, 1) ? y_low : q.y_zero_point;
    q.y_max = between(0, 1) ? y_low + 255 : (int32_t)between(q.y_min, y_low + 255);
    return q;
}

static dw_desc random_problem(int64_t channels) {
    static const int64_t kernels[][2] = {{3, 3}, {3, 3}, {5, 5}, {1, 1}, {2, 4}, {7, 3}};
    const int64_t *kernel = kernels[between(0, 5)], stride = between(1, 2);
    dw_desc d = {.batch = between(1, 2),
                 .height = between(1, 9),
                 .width = between(1, 11),
                 .channels = channels,
                 .multiplier = between(0, 7) ? 1 : 3,
                 .kernel_h = kernel[0],
                 .kernel_w = kernel[1],
                 .stride_h = stride,
                 .stride_w = between(0, 5) ? stride : 3,
                 .dilation_h = between(0, 5) ? 1 : 2,
                 .dilation_w = 1,
                 .dtype = DW_I32};
    dw_pad_same(&d);
    d.pad_right += between(0, 2);
    return d;
}

/* One problem with the kernels `index`. */
static void check_problem(dw_isa isa, int index, const char *name, int64_t channels) {
    const uint64_t seed = state;
    const dw_desc d = random_problem(channels);
    const dw_quantization q = random_quantization();
    int64_t oh, ow;
    CHECK(dw_output_size(&d, &oh, &ow) == DW_OK);
    const int64_t outputs = d.channels * d.multiplier, weights = d.kernel_h * d.kernel_w * outputs;
    const int64_t x_size = d.batch * d.height * d.width * d.channels, y_size = d.batch * oh * ow * outputs;
    /* Of malloc, each of just its size: sanitizers see what is outside. */
    uint8_t *x = malloc((size_t)x_size), *y = malloc((size_t)y_size), *threaded = malloc((size_t)y_size);
    int8_t *kernel = malloc((size_t)weights);
    int32_t *bias = malloc((size_t)outputs * sizeof *bias);
    float *multipliers = malloc((size_t)outputs * sizeof *multipliers);
    const int ends = between(0, 3) == 0;
    const float scale = between(0, 4) ? 0.01f : 1e6f;
    for (int64_t i = 0; i < x_size; i++) x[i] = (uint8_t)(ends ? 127 + between(0, 1) : between(0, 255));
    for (int64_t i = 0; i < weights; i++) kernel[i] = (int8_t)(ends ? 127 - 255 * between(0, 1) : between(-128, 127));
    for (int64_t i = 0; i < outputs; i++) bias[i] = (int32_t)between(-5000, 5000);
    for (int64_t i = 0; i < outputs; i++) multipliers[i] = scale * (float)between(1, 1000) / 1000;
    dw_quantized *plan;
    CHECK(dw_quantized_create_with(&d, isa, index, &q, kernel, bias, multipliers, &plan) == DW_OK);
    if (plan) {
        CHECK(strcmp(dw_quantized_kernels(plan), name) == 0);
        CHECK(dw_quantized_run(plan, d.batch, x, y, 1, NULL, NULL) == 0);
        CHECK(dw_quantized_run(plan, d.batch, x, threaded, 3, NULL, NULL) == 0);
        CHECK(memcmp(y, threaded, (size_t)y_size) == 0);
        int64_t wrong = 0;
        for (int64_t i = 0; i < y_size; i++) {
            const int64_t at[4] = {i / outputs / ow / oh, i / outputs / ow % oh, i / outputs % ow, i % outputs};
            wrong += value_of(q.y_type, y, i) != expected(&d, &q, x, kernel, bias, multipliers, at);
        }
        CHECK(wrong == 0);
        if (wrong)
            fprintf(stderr, "%s: %d of %d; %d x %d x %d, kernel %d x %d, stride %d, seed %llu\n", name, (int)wrong,
                    (int)y_size, (int)d.height, (int)d.width, (int)d.channels, (int)d.kernel_h, (int)d.kernel_w,
                    (int)d.stride_h, (unsigned long long)seed);
        dw_quantized_destroy(plan);
    }
    free(x), free(y), free(threaded), free(kernel), free(bias), free(multipliers);
}

static void check_statuses(void) {
    const dw_desc good = {.height = 3,
                          .width = 3,
                          .channels = 2,
                          .multiplier = 1,
                          .kernel_h = 3,
                          .kernel_w = 3,
                          .stride_h = 1,
                          .stride_w = 1,
                          .dilation_h = 1,
                          .dilation_w = 1,
                          .dtype = DW_I32};
    const dw_quantization q = {DW_INT8, DW_UINT8, -128, 255, 0, 255};
    const int8_t kernel[18] = {0};
    const float one[2] = {1, 0}, wrong[2] = {1, NAN}, negative[2] = {-1, 1};
    dw_quantized *plan;
    CHECK(dw_quantized_create(&good, DW_ISA_AUTO, &q, kernel, NULL, one, &plan) == DW_OK && plan);
    dw_quantized_destroy(plan);
    dw_quantized_destroy(NULL);
#define REFUSED(status, desc, q, multipliers) \
    CHECK(dw_quantized_create(desc, DW_ISA_AUTO, q, kernel, NULL, multipliers, &plan) == status && !plan)
    REFUSED(DW_ERR_NULL, NULL, &q, one);
    REFUSED(DW_ERR_NULL, &good, NULL, one);
    REFUSED(DW_ERR_NULL, &good, &q, NULL);
    REFUSED(DW_ERR_QUANTIZATION, &good, &q, wrong);
    REFUSED(DW_ERR_QUANTIZATION, &good, &q, negative);
    dw_quantization bad = q;
    bad.x_zero_point = 128;
    REFUSED(DW_ERR_QUANTIZATION, &good, &bad, one);
    bad = q, bad.y_zero_point = -1;
    REFUSED(DW_ERR_QUANTIZATION, &good, &bad, one);
    bad = q, bad.y_min = 7, bad.y_max = 6;
    REFUSED(DW_ERR_QUANTIZATION, &good, &bad, one);
    bad = q, bad.y_type = (dw_byte_type)2;
    REFUSED(DW_ERR_DTYPE, &good, &bad, one);
    dw_desc other = good;
    other.dtype = DW_F32;
    REFUSED(DW_ERR_DTYPE, &other, &q, one);
    other = good, other.activation = DW_RELU;
    REFUSED(DW_ERR_ACTIVATION, &other, &q, one);
    other = good, other.layout = DW_NCHW;
    REFUSED(DW_ERR_LAYOUT, &other, &q, one);
    other = good, other.kernel_h = 4;
    REFUSED(DW_ERR_OUTPUT, &other, &q, one);
    other = good, other.kernel_w = INT64_MAX / 2, other.pad_left = INT64_MAX / 2;
    REFUSED(DW_ERR_OVERFLOW, &other, &q, one);
}

int main(void) {
    check_statuses();
    for (int isa = 0; isa < DW_ISA_COUNT; isa++) {
        int usable;
        const char *name;
        for (int index = 0; (name = dw_quantized_kernels_at((dw_isa)isa, index, &usable)); index++) {
            if (!usable) continue;
            printf("%s: %s\n", dw_isa_name((dw_isa)isa), name);
            for (int64_t round = 0; round < 6; round++)
                for (int64_t channels = 1; channels <= 140; channels++)
                    check_problem((dw_isa)isa, index, name, channels); /* to two vectors of 64, and a tail */
        }
    }
    dw_threads_stop();
    return report();
}
