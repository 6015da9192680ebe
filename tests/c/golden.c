/* golden.c - the whole C core against hashes of exact results: what proves an instruction set where nothing but a
 * C compiler and the processor, or an emulator of it, is at hand.
 *
 *   cc -std=c11 -O2 -ffp-contract=off -Icsrc tests/c/golden.c $(find csrc -name '*.c') -lm -o golden
 *   ./golden [auto | portable | neon | avx2 | avx512]
 *
 * golden.txt holds the problems, each with the hash of its result; make_golden.py made it, in Python and without
 * this library. Runs each of them through dwconv.h and prints a line for it: the problem, the kernel that did it,
 * the hash; then once more with channels first and with arrays that begin 16 bytes before a boundary of vectors,
 * which has to give the same bits. So has each other strategy that the planner lists for the problem, in both layouts.
 * Every tile of the instruction set has to be among the kernels. Then the problems of float32 in float16 and bfloat16:
 * the results are those of float32, rounded once, and their hash, in the last line, is the same everywhere. Exit status:
 * 0 all as expected, 1 not, 2 wrong usage, 77 this CPU or build lacks the instruction set. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dwconv.h"
#include "float16.h"
#include "golden.h"
#include "plan.h" /* only to see which kernels a plan uses */

typedef enum kind { NUMBERS, TINY, INFINITE } kind;

typedef struct problem {
    dw_dtype dtype;
    kind kind;
    dw_activation activation;
    int with_bias;
    sizes sizes;
    uint64_t expected;
} problem;

static const problem problems[] = {
#include "golden.txt"
};
enum { PROBLEMS = sizeof problems / sizeof *problems };

static const char *const dtype_names[] = {"float32", "float64", "int32"};
static const char *const kind_names[] = {"numbers", "tiny", "infinite"};
static const char *const activation_names[] = {"linear", "relu", "relu6"};

/* ---- inputs: integer hashes, no arithmetic on floats ------------------------------------------------ */

static uint64_t seed_of(const problem *p) {
    const int own[] = {p->dtype, p->kind, p->activation, p->with_bias};
    return seed_of_problem(own, sizeof own / sizeof *own, &p->sizes);
}

enum { X, KERNEL, BIAS }; /* the arrays of a problem */

/* The bits of a hash: 63 sign, 55 .. 62 choice, 52 .. 54 exponent, from 0 up mantissa. */
static uint64_t float_bits(const problem *p, int array, uint64_t hash, int channel) {
    const int mantissa_bits = p->dtype == DW_F32 ? 23 : 52, exponent_bits = p->dtype == DW_F32 ? 8 : 11;
    const uint64_t one = (UINT64_C(1) << (exponent_bits - 1)) - 1; /* the exponent field of 1 */
    const uint64_t all = (UINT64_C(1) << exponent_bits) - 1;       /* that of infinity */
    const uint64_t sign_bit = UINT64_C(1) << (mantissa_bits + exponent_bits);
    const uint64_t sign = hash >> 63 ? sign_bit : 0, choice = hash >> 55 & 255, exponent = hash >> 52 & 7;
    const uint64_t mantissa = hash & ((UINT64_C(1) << mantissa_bits) - 1);
    const uint64_t number = (one - 4 + exponent) << mantissa_bits | mantissa; /* in [1/16, 16) */
    if (p->kind == TINY) {
        if (array == KERNEL) return choice % 8 == 0 ? sign : sign | number;
        switch (choice % 8) {
        case 0: return sign;                                /* zero */
        case 1: return sign | 1;                            /* the least denormal */
        case 2: return sign | UINT64_C(1) << mantissa_bits; /* the least normal number */
        case 3: return sign | (1 + exponent) << mantissa_bits | mantissa;
        default: return sign | mantissa; /* any denormal */
        }
    }
    if (p->kind == INFINITE) {
        /* Infinities of one sign in a channel and positive weights: no sum meets the other infinity, no infinity
         * a zero, so there are no NaNs, whose payloads may differ. */
        const uint64_t own_sign = channel % 2 ? sign_bit : 0;
        if (array == KERNEL) return number;
        if (choice % 16 == 0) return own_sign | all << mantissa_bits;
        if (array == BIAS && choice % 4 == 1) return sign;
        if (array == X && choice % 16 == 1) return own_sign | ((all << mantissa_bits) - 1); /* the largest number */
        if (array == X && choice % 16 == 2) return sign;
    }
    return sign | number;
}

static uint64_t int_bits(const problem *p, uint64_t hash) {
    if (p->kind == NUMBERS) return hash >> 32; /* any: products and sums wrap */
    const uint64_t choice = hash >> 55 & 255;
    const int32_t value = choice % 8 == 0 ? INT32_MIN : choice % 8 == 1 ? INT32_MAX : (int32_t)(hash & 31) - 16;
    return (uint32_t)value;
}

static size_t item_size(dw_dtype dtype) { return dtype == DW_F64 ? 8 : 4; }

static uint64_t get(const void *array, size_t item, int64_t at) {
    uint32_t narrow;
    uint64_t wide;
    memcpy(item == 4 ? (void *)&narrow : (void *)&wide, (const char *)array + at * (int64_t)item, item);
    return item == 4 ? narrow : wide;
}

static void put(void *array, size_t item, int64_t at, uint64_t bits) {
    const uint32_t narrow = (uint32_t)bits;
    memcpy((char *)array + at * (int64_t)item, item == 4 ? (const void *)&narrow : (const void *)&bits, item);
}

/* `count` elements; element i belongs to channel i / per_channel % channels. */
static void *make_array(const problem *p, int array, int64_t count, int per_channel) {
    const uint64_t seed = seed_of_array(seed_of(p), array);
    const size_t item = item_size(p->dtype);
    void *values = allocate((size_t)count * item);
    for (int64_t i = 0; i < count; i++) {
        const uint64_t hash = hash_at(seed, i);
        const int channel = (int)(i / per_channel % p->sizes.channels);
        put(values, item, i, p->dtype == DW_I32 ? int_bits(p, hash) : float_bits(p, array, hash, channel));
    }
    return values;
}

static int is_nan(dw_dtype dtype, uint64_t bits) {
    if (dtype == DW_F32) return (bits & 0x7fffffff) > 0x7f800000;
    return dtype == DW_F64 && (bits & UINT64_C(0x7fffffffffffffff)) > UINT64_C(0x7ff0000000000000);
}

/* ---- which kernels were used ------------------------------------------------------------------------ */

enum { MOST_TILES = 192 };
static unsigned char ran[DW_DTYPE_COUNT][MOST_TILES][DW_EDGES];

/* Whether the first block of a segment is made by that kernel for blocks that span two pixels. */
static int spans_with(const dw_nhwc *nhwc, const dw_segments *segments, const dw_segment *segment, dw_tile_fn *run) {
    if (!segments->cross_pixel || !segment->inner || nhwc->tile->stride == 1) return 0;
    dw_tile_fn *used = NULL;
    for (int64_t left = segment->cols; left > 0 && used != run;) left -= dw_cross_pixel_cols(nhwc, left, &used);
    return used == run;
}

static void note_kernels(const dw_plan *plan, const dw_segments *segments, dw_isa isa) {
    const dw_dtype dtype = plan->problem.desc.dtype;
    const dw_tile *tiles = dw_isa_select(isa)->nhwc[dtype]->tiles;
    for (int t = 0; t < MOST_TILES && tiles[t].name; t++) {
        if (dw_is_wide(tiles + t)) ran[dtype][t][DW_INNER] |= plan->of.nhwc.tile == tiles + t;
        for (const dw_segment *s = segments->at; s < segments->at + segments->count; s++) {
            if (s->masked && s->masked == tiles[t].run_masked) ran[dtype][t][DW_INNER] = 1;
            for (int edge = 0; edge < DW_EDGES; edge++) {
                dw_tile_fn *const run = tiles[t].run[edge];
                if (run && (s->tile == run || spans_with(&plan->of.nhwc, segments, s, run))) ran[dtype][t][edge] = 1;
            }
        }
    }
}

/* Names the kernels that no problem has run; returns how many. */
static int report_kernels(dw_isa isa) {
    int tiles = 0, missing = 0, strips = 0;
    for (int dtype = 0; dtype <= DW_I32; dtype++) { /* of 16 bits: test_half.c */
        const dw_tile *tile = dw_isa_select(isa)->nhwc[dtype]->tiles;
        for (int t = 0; t < MOST_TILES && tile[t].name; t++) {
            int edges = 0;
            for (int edge = 0; edge < DW_EDGES; edge++) edges += ran[dtype][t][edge];
            tiles++;
            strips += edges;
            if (edges) continue;
            missing++;
            printf("MISSING a problem for %s %s\n", dtype_names[dtype], tile[t].name);
        }
    }
    printf("tiles: %d of %d, in %d variants of the padding\n", tiles - missing, tiles, strips);
    return missing;
}

/* ---- one problem ------------------------------------------------------------------------------------ */

static dw_desc describe(const problem *p) {
    dw_desc desc = describe_sizes(&p->sizes);
    desc.dtype = p->dtype;
    desc.activation = p->activation;
    desc.denormals = DW_DENORMALS_IEEE;
    return desc;
}

/* The elements of an array (N, H, W, C), as (N, C, H, W); `back`: the other way round. */
static void transpose(const void *from, void *to, size_t item, int64_t n, int64_t pixels, int64_t channels, int back) {
    for (int64_t i = 0; i < n; i++)
        for (int64_t p = 0; p < pixels; p++)
            for (int64_t c = 0; c < channels; c++) {
                const int64_t last = (i * pixels + p) * channels + c, first = (i * channels + c) * pixels + p;
                put(to, item, back ? last : first, get(from, item, back ? first : last));
            }
}

/* Whether channels first gives the same bits, by strategy `index`; names its kernel and the strategy. */
static int same_with_channels_first(const problem *p, dw_desc desc, dw_isa isa, int index, const void *x,
                                    const void *kernel, const void *bias, const void *y, dw_plan_info *info) {
    const sizes *s = &p->sizes;
    const size_t item = item_size(p->dtype);
    const int64_t out_channels = (int64_t)s->channels * s->multiplier, pixels = (int64_t)s->height * s->width;
    int64_t oh = 0, ow = 0;
    dw_plan *plan = NULL;
    desc.layout = DW_NCHW;
    *info = (dw_plan_info){.kernel = "no plan"};
    if (dw_output_size(&desc, &oh, &ow) != DW_OK) return 0;
    if (dw_plan_create_strategy(&desc, isa, index, kernel, bias, &plan) != DW_OK) return 0;
    dw_plan_describe(plan, info);
    const size_t bytes = (size_t)(s->batch * oh * ow * out_channels) * item;
    void *x_first = allocate((size_t)(s->batch * pixels * s->channels) * item);
    unsigned char *y_first = allocate(MARGIN + bytes + MARGIN);
    void *y_last = allocate(bytes);
    memset(y_first, POISON, MARGIN + bytes + MARGIN);
    transpose(x, x_first, item, s->batch, pixels, s->channels, 0);
    dw_plan_run(plan, x_first, y_first + MARGIN);
    transpose(y_first + MARGIN, y_last, item, s->batch, oh * ow, out_channels, 1);
    const int same = memcmp(y, y_last, bytes) == 0 && margins_are_poison(y_first, bytes);
    dw_plan_destroy(plan);
    free(x_first), free(y_first), free(y_last);
    return same;
}

/* Whether arrays that begin a little before a boundary of vectors give the same bits: blocks may lie otherwise. */
static int same_before_boundary(const dw_plan *plan, dw_isa isa, const void *x, size_t x_bytes, const void *y,
                                size_t y_bytes) {
    enum { BOUNDARY = 64, BEFORE = 16 };
    if (plan->of.nhwc.packing_count < 2) return 1;
    unsigned char *memory = allocate(x_bytes + y_bytes + 2 * MARGIN + 3 * BOUNDARY);
    unsigned char *there = memory + (BOUNDARY - (uintptr_t)memory % BOUNDARY) + BOUNDARY - BEFORE;
    unsigned char *y_there = there + (x_bytes + MARGIN + BOUNDARY - 1) / BOUNDARY * BOUNDARY;
    memcpy(there, x, x_bytes);
    memset(y_there - MARGIN, POISON, y_bytes + 2 * MARGIN);
    dw_plan_run(plan, there, y_there);
    const int same = memcmp(y, y_there, y_bytes) == 0 && margins_are_poison(y_there - MARGIN, y_bytes);
    if (plan->of.nhwc.aligned.cross_pixel) note_kernels(plan, &plan->of.nhwc.aligned, isa);
    free(memory);
    return same;
}

/* ---- strategies ------------------------------------------------------------------------------------ */

/* Whether a strategy of channels last gives the bits of `y`, also before a boundary. */
static int same_by_strategy(const dw_desc *desc, dw_isa isa, int index, const void *x, size_t x_bytes,
                            const void *kernel, const void *bias, const void *y, size_t bytes, dw_plan_info *info) {
    dw_plan *plan = NULL;
    *info = (dw_plan_info){.kernel = "no plan"};
    if (dw_plan_create_strategy(desc, isa, index, kernel, bias, &plan) != DW_OK) return 0;
    dw_plan_describe(plan, info);
    unsigned char *other = allocate(MARGIN + bytes + MARGIN);
    memset(other, POISON, MARGIN + bytes + MARGIN);
    dw_plan_run(plan, x, other + MARGIN);
    note_kernels(plan, &plan->of.nhwc.segments, isa);
    int same = memcmp(y, other + MARGIN, bytes) == 0 && margins_are_poison(other, bytes);
    same = same && same_before_boundary(plan, isa, x, x_bytes, y, bytes);
    dw_plan_destroy(plan);
    free(other);
    return same;
}

/* Whether all strategies of a problem, in both layouts, give the same bits and have names of their own; prints what is
 * wrong and adds their number to *tried. */
static int same_by_all_strategies(const problem *p, dw_desc desc, dw_isa isa, const void *x, size_t x_bytes,
                                  const void *kernel, const void *bias, const void *y, size_t bytes, int *tried) {
    enum { MOST = 1024 };
    static dw_strategy_info found[MOST];
    int all = 1;
    for (int layout = DW_NHWC; layout <= DW_NCHW; layout++) {
        int count = 0;
        desc.layout = (dw_layout)layout;
        if (dw_strategies_of(&desc, isa, found, MOST, &count) != DW_OK || count < 1 || count >= MOST) return 0;
        for (int i = 0; i < count; i++, ++*tried) {
            dw_plan_info info;
            const int same = layout == DW_NCHW
                                 ? same_with_channels_first(p, desc, isa, i, x, kernel, bias, y, &info)
                                 : same_by_strategy(&desc, isa, i, x, x_bytes, kernel, bias, y, bytes, &info);
            int named = strcmp(info.strategy, found[i].name) == 0;
            for (int j = 0; j < i; j++) named = named && strcmp(found[j].name, found[i].name) != 0;
            if (same && named) continue;
            printf("    %s %s: %s\n", layout == DW_NCHW ? "channels first" : "channels last", found[i].name,
                   same ? "named otherwise" : "DIFFERS");
            all = 0;
        }
    }
    return all;
}

/* Runs it, prints its line, adds its hash to *total and its strategies to *tried; returns whether all is well. */
static int run(int index, dw_isa isa, uint64_t *total, int *tried) {
    const problem *p = problems + index;
    const sizes *s = &p->sizes;
    const dw_desc desc = describe(p);
    const size_t item = item_size(p->dtype);
    const int out_channels = s->channels * s->multiplier;
    const int64_t x_count = (int64_t)s->batch * s->height * s->width * s->channels;
    const size_t x_bytes = (size_t)x_count * item;
    void *x = make_array(p, X, x_count, 1);
    void *kernel = make_array(p, KERNEL, (int64_t)s->kernel_h * s->kernel_w * out_channels, s->multiplier);
    void *bias = p->with_bias ? make_array(p, BIAS, out_channels, s->multiplier) : NULL;
    int64_t oh = 0, ow = 0;
    dw_plan *plan = NULL;
    dw_status status = dw_output_size(&desc, &oh, &ow);
    if (status == DW_OK) status = dw_plan_create(&desc, isa, kernel, bias, &plan);
    if (status != DW_OK) {
        printf("%3d FAILED: %s\n", index, dw_status_text(status));
        free(x), free(kernel), free(bias);
        return 0;
    }
    const int64_t count = s->batch * oh * ow * out_channels;
    const size_t bytes = (size_t)count * item;
    unsigned char *y = allocate(MARGIN + bytes + MARGIN);
    memset(y, POISON, MARGIN + bytes + MARGIN);
    dw_plan_run(plan, x, y + MARGIN);
    note_kernels(plan, &plan->of.nhwc.segments, isa);
    dw_plan_info info;
    dw_plan_describe(plan, &info);

    uint64_t hash = FNV_BASIS;
    int nans = 0;
    for (int64_t i = 0; i < count; i++) {
        const uint64_t bits = get(y + MARGIN, item, i);
        nans += is_nan(p->dtype, bits);
        hash = fnv1a(hash, bits, item);
    }
    *total = fnv1a(*total, hash, 8);
    const char *verdict = hash != p->expected ? "  DIFFERS" : nans ? "  NAN" : "";
    if (!margins_are_poison(y, bytes)) verdict = "  WROTE OUTSIDE";
    dw_plan_info planar;
    const int same = same_with_channels_first(p, desc, isa, 0, x, kernel, bias, y + MARGIN, &planar);
    if (!*verdict && !same_before_boundary(plan, isa, x, x_bytes, y + MARGIN, bytes))
        verdict = "  DIFFERS BEFORE A BOUNDARY";
    if (!*verdict && !same) verdict = "  CHANNELS FIRST DIFFERS";
    if (!*verdict && !same_by_all_strategies(p, desc, isa, x, x_bytes, kernel, bias, y + MARGIN, bytes, tried))
        verdict = "  A STRATEGY DIFFERS";
    printf("%3d %-7s %-8s %-6s %s  %dx%dx%dx%d m%d k%dx%d s%dx%d d%dx%d p%d,%d,%d,%d  %-22s %-24s %016" PRIx64 "%s\n",
           index, dtype_names[p->dtype], kind_names[p->kind], activation_names[p->activation],
           p->with_bias ? "bias" : "    ", s->batch, s->height, s->width, s->channels, s->multiplier, s->kernel_h,
           s->kernel_w, s->stride_h, s->stride_w, s->dilation_h, s->dilation_w, s->pad_top, s->pad_bottom, s->pad_left,
           s->pad_right, info.kernel, planar.kernel, hash, verdict);
    dw_plan_destroy(plan);
    free(x), free(kernel), free(bias), free(y);
    return !*verdict;
}

/* ---- 16 bits ----------------------------------------------------------------------------------------- */

static uint16_t narrow(dw_dtype dtype, uint32_t bits) {
    return dtype == DW_F16 ? dw_float16_of(bits) : dw_bfloat16_of(bits);
}

/* A problem of float32 with x and y in 16 bits; returns whether y is what float32 gives for that x, rounded once, or
 * the core does not take the problem. Adds y to *total and 1 to *tried if it does. */
static int run_half(int index, dw_dtype dtype, dw_isa isa, uint64_t *total, int *tried) {
    const problem *p = problems + index;
    const sizes *s = &p->sizes;
    dw_desc desc = describe(p);
    const int out_channels = s->channels * s->multiplier;
    const int64_t x_count = (int64_t)s->batch * s->height * s->width * s->channels;
    uint32_t *x = make_array(p, X, x_count, 1);
    void *kernel = make_array(p, KERNEL, (int64_t)s->kernel_h * s->kernel_w * out_channels, s->multiplier);
    void *bias = p->with_bias ? make_array(p, BIAS, out_channels, s->multiplier) : NULL;
    uint16_t *x_half = allocate((size_t)x_count * sizeof *x_half);
    for (int64_t i = 0; i < x_count; i++) {
        x_half[i] = narrow(dtype, x[i]);
        x[i] = dtype == DW_F16 ? dw_bits_of_float16(x_half[i]) : dw_bits_of_bfloat16(x_half[i]);
    }
    int64_t oh = 0, ow = 0;
    dw_plan *wide = NULL, *plan = NULL;
    dw_status status = dw_output_size(&desc, &oh, &ow);
    if (status == DW_OK) status = dw_plan_create(&desc, isa, kernel, bias, &wide);
    desc.dtype = dtype;
    const int64_t count = s->batch * oh * ow * out_channels;
    uint32_t *y = allocate((size_t)count * sizeof *y);
    const size_t bytes = (size_t)count * sizeof(uint16_t);
    unsigned char *y_half = allocate(MARGIN + bytes + MARGIN);
    memset(y_half, POISON, MARGIN + bytes + MARGIN);
    int same = status == DW_OK;
    const dw_status half = same ? dw_plan_create(&desc, isa, kernel, bias, &plan) : status;
    if (same && half == DW_OK) {
        dw_plan_run(wide, x, y);
        dw_plan_run(plan, x_half, y_half + MARGIN);
        ++*tried;
        for (int64_t i = 0; i < count; i++) {
            uint16_t found;
            memcpy(&found, y_half + MARGIN + i * (int64_t)sizeof found, sizeof found);
            same = same && found == narrow(dtype, y[i]);
            *total = fnv1a(*total, found, sizeof found);
        }
        same = same && margins_are_poison(y_half, bytes);
    }
    if (!same) printf("%3d in %s DIFFERS\n", index, dtype == DW_F16 ? "float16" : "bfloat16");
    dw_plan_destroy(plan), dw_plan_destroy(wide);
    free(x), free(kernel), free(bias), free(x_half), free(y), free(y_half);
    return same;
}

static dw_isa find_isa(const char *name) {
    if (strcmp(name, "auto") == 0) return dw_isa_best();
    for (int isa = 0; isa < DW_ISA_COUNT; isa++)
        if (strcmp(name, dw_isa_name((dw_isa)isa)) == 0) return (dw_isa)isa;
    fprintf(stderr, "expected auto, portable, neon, avx2 or avx512; received %s\n", name);
    exit(2);
}

int main(int argc, char **argv) {
    const dw_isa isa = find_isa(argc > 1 ? argv[1] : "auto");
    if (!dw_isa_available(isa)) {
        printf("skipped: this CPU or build lacks %s\n", dw_isa_name(isa));
        return 77;
    }
    uint64_t total = FNV_BASIS, expected = FNV_BASIS;
    int failed = 0, tried = 0;
    for (int i = 0; i < PROBLEMS; i++) {
        failed += !run(i, isa, &total, &tried);
        expected = fnv1a(expected, problems[i].expected, 8);
    }
    const int missing = report_kernels(isa);
    uint64_t half_total = FNV_BASIS;
    int half_tried = 0;
    for (int i = 0; i < PROBLEMS; i++) {
        if (problems[i].dtype != DW_F32) continue;
        failed += !run_half(i, DW_F16, isa, &half_total, &half_tried);
        failed += !run_half(i, DW_BF16, isa, &half_total, &half_tried);
    }
    printf("%s, %s: %d of %d problems as expected, by %d strategies, total %016" PRIx64 ", expected %016" PRIx64
           ", of 16 bits %d, total %016" PRIx64 "\n",
           dw_isa_name(isa), dw_compiler(), PROBLEMS - failed, PROBLEMS, tried, total, expected, half_tried,
           half_total);
    return failed || missing;
}
