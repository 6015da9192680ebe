/* fuzz_plan.c - a fuzz target: bytes become a descriptor (dw_desc) with arrays of exactly its sizes. Whatever the descriptor,
 * nothing crashes; every instruction set and every strategy gives what the portable one gives, to the bit, in parts and
 * by threads, too, gradients included, and that is what a naive loop gives; no byte outside of the arrays is touched.
 *
 * With libFuzzer:
 *   clang -g -O1 -Icsrc -ffp-contract=off -fsanitize=fuzzer,address,undefined \
 *       tests/c/fuzz_plan.c $(find csrc -name '*.c') -lm -pthread -o fuzz_plan && ./fuzz_plan -max_total_time=60
 * Without it, random bytes for so many seconds, or files that a fuzzer has left, with any compiler and sanitizer:
 *   cc -DFUZZ_MAIN -O1 -Icsrc -ffp-contract=off tests/c/fuzz_plan.c $(find csrc -name '*.c') -lm -pthread -o fuzz_plan
 *   ./fuzz_plan SECONDS [SEED]        ./fuzz_plan FILE...
 * `make fuzz` does one of these. A failure prints the descriptor and aborts. */
#define _DEFAULT_SOURCE
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "dwconv.h"
#include "half_formats.h"
#include "quantized.h" /* each of the kernels */

#if defined(__SANITIZE_ADDRESS__)
#define HAS_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAS_ASAN 1
#endif
#endif
#if HAS_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#endif

/* ---- bytes to a descriptor ------------------------------------------------------------------------------- */

typedef struct {
    const uint8_t *at;
    size_t left;
} bytes;

static unsigned next(bytes *in) {
    if (!in->left) return 0;
    in->left--;
    return *in->at++;
}

/* Mostly one of the `common` ones, which have kernels of their own; sometimes up to `most`; rarely nonsense. */
static int64_t size(bytes *in, const char *common, unsigned most) {
    static const int64_t extreme[] = {0,
                                      -1,
                                      INT64_MIN,
                                      INT64_MAX,
                                      INT64_MAX / 2,
                                      INT64_C(1) << 31,
                                      INT64_C(1) << 32,
                                      (INT64_C(1) << 31) - 1,
                                      INT64_C(1) << 62,
                                      1000,
                                      65536,
                                      INT64_C(3037000500)};
    const unsigned choice = next(in);
    if (choice < 192) return (int64_t)(common[choice % strlen(common)] - '0');
    if (choice < 252) return (int64_t)(next(in) % (most + 1));
    return extreme[next(in) % (sizeof extreme / sizeof *extreme)];
}

static dw_desc read_desc(bytes *in) {
    static const double alphas[] = {0, 0.2, -1.5, 1e300, 1e-40, INFINITY, NAN, 1};
    dw_desc d;
    memset(&d, 0, sizeof d);
    d.dtype = (dw_dtype)(next(in) % 64 == 63 ? next(in) - 128 : next(in) % DW_DTYPE_COUNT);
    d.layout = (dw_layout)(next(in) % 64 == 63 ? next(in) - 128 : next(in) % 2);
    d.activation = (dw_activation)(next(in) % 64 == 63 ? next(in) - 128 : next(in) % DW_ACTIVATION_COUNT);
    d.activation_alpha = alphas[next(in) % 8];
    d.denormals = (dw_denormals)(next(in) % 64 == 63 ? next(in) - 128 : next(in) % 2);
    d.batch = size(in, "1112", 3);
    d.height = size(in, "123456789", 40), d.width = size(in, "123456789", 70);
    d.channels = size(in, "12345678", 70), d.multiplier = size(in, "11112345", 20);
    if (d.channels > 0 && d.channels <= 70 && next(in) % 4 == 0) d.channels *= 8; /* whole vectors */
    d.kernel_h = size(in, "3335571", 9), d.kernel_w = next(in) % 4 ? d.kernel_h : size(in, "1357", 9);
    d.stride_h = size(in, "11112", 5), d.stride_w = next(in) % 4 ? d.stride_h : size(in, "1123", 5);
    d.dilation_h = size(in, "11112", 5), d.dilation_w = next(in) % 4 ? d.dilation_h : size(in, "1123", 5);
    d.pad_top = size(in, "00123", 9), d.pad_bottom = size(in, "00123", 9);
    d.pad_left = size(in, "00123", 9), d.pad_right = size(in, "00123", 9);
    return d;
}

/* ---- arrays ---------------------------------------------------------------------------------------- */

enum { ROOM = 1 << 20, PAGE = 1 << 16, ROOMS = 12 }; /* bytes; PAGE: a multiple of any system's */

/* Memory between two pages that may not be touched, for one array: at the end of it, or so many bytes, a few, from its
 * beginning. What is left of it is poisoned. */
enum { AT_END = -1 };
static char *room(int index, size_t bytes, int place) {
    static char *rooms[ROOMS];
    if (!rooms[index]) {
        char *memory = (char *)mmap(NULL, ROOM + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED || mprotect(memory + PAGE, ROOM, PROT_READ | PROT_WRITE)) abort();
        rooms[index] = memory + PAGE;
    }
    char *at = place == AT_END || bytes + (size_t)place > ROOM ? rooms[index] + ROOM - bytes : rooms[index] + place;
    ASAN_POISON_MEMORY_REGION(rooms[index], ROOM);
    ASAN_UNPOISON_MEMORY_REGION(at, bytes);
    memset(at, 0xa5, bytes);
    return at;
}

static uint64_t state; /* of Knuth's MMIX generator; its upper bits are the better ones */

static uint64_t random64(void) {
    return state = (state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407));
}

static int is_half(dw_dtype dtype) { return dtype == DW_F16 || dtype == DW_BF16; }
static format format_of(dw_dtype dtype) { return dtype == DW_F16 ? FLOAT16 : BFLOAT16; }
static dw_dtype weights_of(dw_dtype dtype) { return is_half(dtype) ? DW_F32 : dtype; }

/* Numbers in [-1, 1), or whole numbers; `special`: among them infinities, NaN, denormal and huge ones. */
static void fill(void *array, size_t count, dw_dtype dtype, int special) {
    static const double odd[] = {INFINITY, -INFINITY, NAN, 1e-310, -1e-40, 3e38, -1e308, -0.0};
    for (size_t i = 0; i < count; i++) {
        const uint64_t bits = random64();
        double number = (double)(int64_t)bits / 9223372036854775808.0;
        if (special && bits % 8191 % 16 == 0) number = odd[bits >> 61];
        if (dtype == DW_F32) ((float *)array)[i] = (float)number;
        else if (dtype == DW_F64) ((double *)array)[i] = number;
        else if (is_half(dtype)) ((uint16_t *)array)[i] = nearest(format_of(dtype), number);
        else ((int32_t *)array)[i] = (int32_t)((int64_t)bits >> (special ? 32 : 58));
    }
}

/* ---- what must be right ---------------------------------------------------------------------------- */

static dw_desc descriptor; /* the current one, for messages */

static void fail(const char *what, dw_isa isa, size_t at) {
    const dw_desc *d = &descriptor;
    fprintf(stderr,
            "FAILED: %s, %s, element %zu\nN %" PRId64 " H %" PRId64 " W %" PRId64 " C %" PRId64 " M %" PRId64
            " kernel %" PRId64 "x%" PRId64 " strides %" PRId64 "x%" PRId64 " dilations %" PRId64 "x%" PRId64
            " padding %" PRId64 "+%" PRId64 " %" PRId64 "+%" PRId64
            " dtype %d activation %d alpha %g layout %d denormals %d\n",
            what, dw_isa_name(isa) ? dw_isa_name(isa) : "any", at, d->batch, d->height, d->width, d->channels,
            d->multiplier, d->kernel_h, d->kernel_w, d->stride_h, d->stride_w, d->dilation_h, d->dilation_w, d->pad_top,
            d->pad_bottom, d->pad_left, d->pad_right, (int)d->dtype, (int)d->activation, d->activation_alpha,
            (int)d->layout, (int)d->denormals);
    abort();
}

static size_t item_size(dw_dtype dtype) { return dtype == DW_F64 ? 8 : is_half(dtype) ? 2 : 4; }

/* The same bits, or NaN both. */
static int same(const void *a, const void *b, size_t at, dw_dtype dtype) {
    if (memcmp((const char *)a + at * item_size(dtype), (const char *)b + at * item_size(dtype), item_size(dtype)) == 0)
        return 1;
    if (dtype == DW_F32) return isnan(((const float *)a)[at]) && isnan(((const float *)b)[at]);
    if (is_half(dtype))
        return isnan(value_of(format_of(dtype), ((const uint16_t *)a)[at])) &&
               isnan(value_of(format_of(dtype), ((const uint16_t *)b)[at]));
    return dtype == DW_F64 && isnan(((const double *)a)[at]) && isnan(((const double *)b)[at]);
}

static double element_of(dw_dtype dtype, const void *array, int64_t at) {
    if (dtype == DW_F32) return (double)((const float *)array)[at];
    if (dtype == DW_F64) return ((const double *)array)[at];
    if (is_half(dtype)) return value_of(format_of(dtype), ((const uint16_t *)array)[at]);
    return (double)((const int32_t *)array)[at];
}
static double element(const void *array, int64_t at) { return element_of(descriptor.dtype, array, at); }
static double weight(const void *array, int64_t at) { return element_of(weights_of(descriptor.dtype), array, at); }

static void expect_same(const void *a, const void *b, size_t count, dw_isa isa, const char *what) {
    for (size_t i = 0; i < count; i++) {
        if (same(a, b, i, descriptor.dtype)) continue;
        const double expected = element(a, (int64_t)i), received = element(b, (int64_t)i);
        fprintf(stderr, "expected %a = %.17g, received %a = %.17g\n", expected, expected, received, received);
        fail(what, isa, i);
    }
}

static double multiply_add(double a, double w, double sum) {
    if (weights_of(descriptor.dtype) == DW_F32) return (double)fmaf((float)a, (float)w, (float)sum);
    if (descriptor.dtype == DW_F64) return fma(a, w, sum);
    return (double)(int32_t)(uint32_t)((uint64_t)((int64_t)a * (int64_t)w) + (uint64_t)(int64_t)sum);
}

/* Every element of y by the documented order: bias, then the valid taps row by row, one multiply-add each. */
static void expect_naive(const void *x, const void *kernel, const void *bias, const void *y, int64_t oh, int64_t ow) {
    const dw_desc *d = &descriptor;
    const int64_t outputs = d->channels * d->multiplier, first = d->layout == DW_NCHW;
    for (int64_t at = 0; at < d->batch * oh * ow * outputs; at++) {
        const int64_t oc = first ? at / (oh * ow) % outputs : at % outputs, pixel = first ? at : at / outputs;
        const int64_t n = at / (oh * ow * outputs), oy = pixel / ow % oh, ox = pixel % ow, c = oc / d->multiplier;
        double sum = bias ? weight(bias, oc) : 0;
        for (int64_t ki = 0; ki < d->kernel_h; ki++)
            for (int64_t kj = 0; kj < d->kernel_w; kj++) {
                const int64_t row = oy * d->stride_h - d->pad_top + ki * d->dilation_h;
                const int64_t col = ox * d->stride_w - d->pad_left + kj * d->dilation_w;
                if (row < 0 || row >= d->height || col < 0 || col >= d->width) continue;
                const int64_t x_at = first ? ((n * d->channels + c) * d->height + row) * d->width + col
                                           : ((n * d->height + row) * d->width + col) * d->channels + c;
                sum = multiply_add(element(x, x_at), weight(kernel, (ki * d->kernel_w + kj) * outputs + oc), sum);
            }
        if (d->activation != DW_LINEAR && sum < 0) sum = 0;
        if (d->activation == DW_RELU6 && sum > 6) sum = 6;
        if (is_half(d->dtype)) sum = value_of(format_of(d->dtype), nearest(format_of(d->dtype), sum));
        if (element(y, at) != sum) fail("not what a naive loop gives", DW_ISA_PORTABLE, (size_t)at);
    }
}

/* ---- one case -------------------------------------------------------------------------------------- */

/* Elements of an array, or 0 if it would not be small. */
static size_t small(const int64_t *sizes, int count) {
    int64_t total = 1;
    for (int i = 0; i < count; i++) {
        if (sizes[i] > ROOM / 8 / total) return 0;
        total *= sizes[i];
        if (total == 0) total = 1; /* an empty batch: that of one image */
    }
    return (size_t)total;
}

typedef struct {
    size_t x, kernel, bias, y;              /* elements */
    int place, y_place, special, with_bias; /* see `room`; all arrays but y lie as x does */
    int parts, threads;                     /* in how many parts, and whether by threads */
} sizes;

/* Through the activation, if there is one. */
static void try_gradients(const sizes *s, const char *x, const char *kernel, const char *bias) {
    const size_t item = item_size(descriptor.dtype), counts[] = {s->x, s->kernel, s->bias};
    char *first[3];
    char *dy = room(5, s->y * item, s->place);
    fill(dy, s->y, descriptor.dtype, s->special);
    for (int isa = 0; isa < DW_ISA_COUNT; isa++) {
        if (!dw_isa_available((dw_isa)isa)) continue;
        dw_grad *other = NULL, *grad = NULL; /* of other weights, too: a room that holds anything */
        if (dw_grad_create_through(&descriptor, (dw_isa)isa, room(4, s->kernel * item, s->place), NULL, 1, NULL, NULL,
                                   &other) != DW_OK)
            fail("dw_grad_create_through", (dw_isa)isa, 0);
        if (dw_grad_with_weights(other, kernel, bias, NULL, NULL, &grad) != DW_OK)
            fail("dw_grad_with_weights", (dw_isa)isa, 0);
        dw_grad_destroy(other);
        const int threads = s->threads ? 3 : 1;
        const int64_t workspace = dw_grad_workspace(grad, threads);
        if (workspace <= ROOM) {
            char *d[3];
            for (int i = 0; i < 3; i++) d[i] = room(6 + i + (isa ? 3 : 0), counts[i] * item, s->place);
            dw_grad_run_threads(grad, dy, x, d[0], d[1], d[2], room(3, (size_t)workspace, s->place), threads);
            for (int i = 0; i < 3; i++) {
                if (isa == DW_ISA_PORTABLE) first[i] = d[i];
                else expect_same(first[i], d[i], counts[i], (dw_isa)isa, "gradient unlike the portable one");
            }
        }
        dw_grad_destroy(grad);
        if (workspace > ROOM) return;
    }
}

/* The ways to compute the problem that the planner did not choose: all, or so many of them by chance. */
static void try_strategies(const sizes *s, dw_isa isa, const char *x, const char *kernel, const char *bias,
                           const char *portable) {
    enum { MOST = 12 };
    int count = 0;
    if (dw_strategies_of(&descriptor, isa, NULL, 0, &count) != DW_OK || count < 1) fail("dw_strategies_of", isa, 0);
    for (int i = 1; i < count && i <= MOST; i++) {
        const int index = count - 1 <= MOST ? i : 1 + (int)(random64() >> 33) % (count - 1);
        dw_plan *plan = NULL;
        if (dw_plan_create_strategy(&descriptor, isa, index, kernel, bias, &plan) != DW_OK)
            fail("dw_plan_create_strategy", isa, (size_t)index);
        char *y = room(5, s->y * item_size(descriptor.dtype), s->y_place);
        if (s->threads) dw_plan_run_threads(plan, x, y, s->parts);
        else
            for (int part = s->parts - 1; part >= 0; part--) dw_plan_run_part(plan, x, y, part, s->parts);
        dw_plan_info info;
        dw_plan_describe(plan, &info);
        expect_same(portable, y, s->y, isa, info.strategy);
        dw_plan_destroy(plan);
    }
}

/* Every kernel for bytes gives what the portable one gives; of that a tap is known by tests/c/test_quantized.c. */
static void try_quantized(const sizes *s) {
    uint8_t *x = (uint8_t *)room(0, s->x, s->place), *kernel = (uint8_t *)room(1, s->kernel, s->place),
            *portable = NULL;
    int32_t *bias = s->with_bias ? (int32_t *)(void *)room(2, s->bias * sizeof *bias, s->place) : NULL;
    float *multipliers = (float *)(void *)room(3, s->bias * sizeof *multipliers, s->place);
    for (size_t i = 0; i < s->x; i++) x[i] = (uint8_t)(random64() >> 56);
    for (size_t i = 0; i < s->kernel; i++) kernel[i] = (uint8_t)(random64() >> 56);
    for (size_t i = 0; bias && i < s->bias; i++) bias[i] = (int32_t)(random64() >> 50) - 8192;
    for (size_t i = 0; i < s->bias; i++) multipliers[i] = (float)(random64() >> 40) * 0x1p-29f;
    dw_quantization q = {.x_type = (dw_byte_type)(random64() >> 63), .y_type = (dw_byte_type)(random64() >> 63)};
    const int32_t low = q.y_type == DW_INT8 ? -128 : 0;
    q.x_zero_point = (int32_t)(random64() >> 56) - (q.x_type == DW_INT8 ? 128 : 0);
    q.y_zero_point = (int32_t)(random64() >> 56) + low;
    q.y_min = s->special ? q.y_zero_point : low, q.y_max = low + 255;
    for (int isa = 0; isa < DW_ISA_COUNT; isa++) {
        int usable;
        for (int index = 0; dw_quantized_kernels_at((dw_isa)isa, index, &usable); index++) {
            if (!usable) continue;
            dw_quantized *plan = NULL;
            const dw_status status = dw_quantized_create_with(&descriptor, (dw_isa)isa, index, &q, (int8_t *)kernel,
                                                              bias, multipliers, &plan);
            if (status != DW_OK || !plan) fail(dw_status_text(status), (dw_isa)isa, 0);
            uint8_t *y = (uint8_t *)room(portable ? 5 : 4, s->y, s->y_place);
            dw_quantized_run(plan, descriptor.batch, x, y, s->threads ? s->parts : 1, NULL, NULL);
            if (!portable) portable = y;
            for (size_t i = 0; i < s->y; i++)
                if (y[i] != portable[i]) fail(dw_quantized_kernels(plan), (dw_isa)isa, i);
            dw_quantized_destroy(plan);
        }
    }
}

static void try_case(const sizes *s, int64_t oh, int64_t ow) {
    const size_t item = item_size(descriptor.dtype), weight_item = item_size(weights_of(descriptor.dtype));
    char *x = room(0, s->x * item, s->place), *kernel = room(1, s->kernel * weight_item, s->place);
    char *bias = s->with_bias ? room(2, s->bias * weight_item, s->place) : NULL, *portable = NULL;
    fill(x, s->x, descriptor.dtype, s->special);
    fill(kernel, s->kernel, weights_of(descriptor.dtype), s->special);
    if (bias) fill(bias, s->bias, weights_of(descriptor.dtype), s->special);
    for (int isa = 0; isa < DW_ISA_COUNT; isa++) {
        dw_plan *plan = NULL;
        const dw_status status = dw_plan_create(&descriptor, (dw_isa)isa, kernel, bias, &plan);
        if (!dw_isa_available((dw_isa)isa)) {
            if (status != DW_ERR_ISA || plan) fail("not refused", (dw_isa)isa, 0);
            continue;
        }
        if (status != DW_OK || !plan) fail(dw_status_text(status), (dw_isa)isa, 0);
        char *y = room(isa ? 4 : 3, s->y * item, s->y_place);
        dw_plan_run(plan, x, y);
        if (isa == DW_ISA_PORTABLE) portable = y;
        else expect_same(portable, y, s->y, (dw_isa)isa, "unlike the portable one");
        char *parts = room(5, s->y * item, s->y_place);
        if (s->threads) dw_plan_run_threads(plan, x, parts, s->parts);
        else
            for (int part = s->parts - 1; part >= 0; part--) dw_plan_run_part(plan, x, parts, part, s->parts);
        expect_same(y, parts, s->y, (dw_isa)isa, s->threads ? "by threads" : "in parts");
        dw_plan_info info;
        dw_plan_describe(plan, &info);
        if (!info.kernel || info.isa != (dw_isa)isa) fail("dw_plan_describe", (dw_isa)isa, 0);
        dw_plan_destroy(plan);
        try_strategies(s, (dw_isa)isa, x, kernel, bias, portable);
    }
    if (descriptor.activation <= DW_RELU6 && !(s->special && descriptor.dtype != DW_I32) && descriptor.batch > 0)
        expect_naive(x, kernel, bias, portable, oh, ow);
    if (descriptor.dtype != DW_I32 && !is_half(descriptor.dtype)) try_gradients(s, x, kernel, bias);
    if (descriptor.activation == DW_LINEAR && descriptor.dtype == DW_I32 && descriptor.layout == DW_NHWC)
        try_quantized(s);
}

static long cases; /* that have run all the way */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    enum { MOST_WORK = 1 << 18 }; /* multiply-adds: some hundred cases a second in the slowest build */
    bytes in = {data, size};
    descriptor = read_desc(&in);
    const unsigned how = next(&in);
    int64_t oh, ow;
    const dw_desc *d = &descriptor;
    if (dw_output_size(d, &oh, &ow) != DW_OK) {
        static const float kernel[1];
        dw_plan *plan = NULL;
        if (dw_plan_create(d, DW_ISA_AUTO, kernel, NULL, &plan) == DW_OK || plan) fail("not refused", DW_ISA_AUTO, 0);
        return 0;
    }
    const int64_t x[] = {d->batch, d->height, d->width, d->channels};
    const int64_t y[] = {d->batch, oh, ow, d->channels, d->multiplier};
    const int64_t kernel[] = {d->kernel_h, d->kernel_w, d->channels, d->multiplier};
    sizes s = {small(x, 4), small(kernel, 4), 0, small(y, 5), AT_END, AT_END, how >> 1 & 1, how >> 2 & 1, 1, 0};
    if (how & 1) { /* at multiples of 16 bytes, as NumPy's arrays: often the same for both */
        s.place = s.y_place = (int)(how >> 3 & 3) * 16;
        if (how & 128) s.y_place = (int)(how >> 5 & 3) * 16;
    }
    if (!s.x || !s.kernel || !s.y || s.y * (size_t)(d->kernel_h * d->kernel_w) > MOST_WORK) return 0;
    if (d->batch == 0) s.x = s.y = 0;
    s.parts = 1 + (int)(next(&in) % 7), s.threads = next(&in) % 4 == 0;
    s.bias = (size_t)(d->channels * d->multiplier);
    state = how;
    for (; in.left; state = state * 257 + next(&in)) continue;
    try_case(&s, oh, ow);
    cases++;
    return 0;
}

#if FUZZ_MAIN
static int run_file(const char *path) {
    static uint8_t data[4096];
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        return 2;
    }
    LLVMFuzzerTestOneInput(data, fread(data, 1, sizeof data, file));
    fclose(file);
    return 0;
}

int main(int count, char **arguments) {
    char *end = NULL;
    const double seconds = count > 1 ? strtod(arguments[1], &end) : 10;
    if (end && *end) {
        for (int i = 1; i < count; i++)
            if (run_file(arguments[i])) return 2;
        return 0;
    }
    uint64_t seed = count > 2 ? strtoull(arguments[2], NULL, 10) : (uint64_t)time(NULL);
    printf("seed %" PRIu64 "\n", seed);
    fflush(stdout);
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    const double until = (double)now.tv_sec + (double)now.tv_nsec * 1e-9 + seconds;
    long tried = 0;
    do {
        uint8_t data[48];
        for (size_t i = 0; i < sizeof data; i++) { /* splitmix64's finalizer, of the seed and the place */
            uint64_t z = (seed + (uint64_t)tried) * UINT64_C(0x9e3779b97f4a7c15) + i * UINT64_C(0xd1342543de82ef95);
            z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
            data[i] = (uint8_t)((z ^ z >> 27) * UINT64_C(0x94d049bb133111eb) >> 56);
        }
        LLVMFuzzerTestOneInput(data, sizeof data);
        tried++;
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while ((double)now.tv_sec + (double)now.tv_nsec * 1e-9 < until);
    printf("%ld checks passed, of %ld descriptors\n", cases, tried);
    return cases ? 0 : 1;
}
#endif
