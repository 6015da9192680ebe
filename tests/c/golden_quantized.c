/* golden_quantized.c - quantized convolutions against hashes of exact results: as golden.c, for bytes.
 *
 *   cc -std=c11 -O2 -ffp-contract=off -Icsrc tests/c/golden_quantized.c $(find csrc -name '*.c') -lm -pthread
 *
 * golden_quantized.txt holds the problems, each with the hash of its result; make_golden_quantized.py made it of NumPy's
 * integers. Each is run by every kernel for bytes that this CPU has, of every instruction set. Prints for each kernel the
 * hash of all results, which is the same everywhere. */
#include <inttypes.h>
#include <string.h>

#include "check.h"
#include "dwconv.h"
#include "golden.h"
#include "quantized.h"

typedef enum kind { ANY, ENDS } kind; /* bytes: any; the least and the largest ones */

typedef enum activation { LINEAR, RELU, RELU6 } activation;

typedef struct problem {
    dw_byte_type x_type, y_type;
    kind kind;
    activation activation;
    int with_bias, exponent; /* of the smallest multiplier, as float32 has it */
    int x_zero_point, y_zero_point;
    sizes sizes;
    uint64_t expected;
} problem;

static const problem problems[] = {
#include "golden_quantized.txt"
};
enum { PROBLEMS = sizeof problems / sizeof *problems };

static uint64_t seed_of(const problem *p) {
    const int own[] = {p->x_type,    p->y_type,   p->kind,         p->activation,
                       p->with_bias, p->exponent, p->x_zero_point, p->y_zero_point};
    return seed_of_problem(own, sizeof own / sizeof *own, &p->sizes);
}

enum { X, KERNEL, BIAS, MULTIPLIERS }; /* the arrays of a problem */

static void *make_bytes(const problem *p, int array, int64_t count) {
    const int is_signed = array == KERNEL || p->x_type == DW_INT8;
    const uint64_t seed = seed_of_array(seed_of(p), array);
    uint8_t *bytes = allocate((size_t)count);
    for (int64_t i = 0; i < count; i++) {
        const uint64_t hash = hash_at(seed, i);
        const int least = is_signed ? 0x80 : 0; /* the largest byte is the one before */
        bytes[i] = (uint8_t)(p->kind == ENDS ? least - (int)(hash >> 63) : (int)(hash >> 56));
    }
    return bytes;
}

static int32_t *make_bias(const problem *p, int64_t count) {
    int32_t *bias = allocate((size_t)count * sizeof *bias);
    for (int64_t i = 0; i < count; i++)
        bias[i] = (int32_t)(hash_at(seed_of_array(seed_of(p), BIAS), i) >> 51) - 4096; /* 13 bits */
    return bias;
}

/* Of four exponents, with any mantissa. */
static float *make_multipliers(const problem *p, int64_t count) {
    float *multipliers = allocate((size_t)count * sizeof *multipliers);
    for (int64_t i = 0; i < count; i++) {
        const uint64_t hash = hash_at(seed_of_array(seed_of(p), MULTIPLIERS), i);
        const uint32_t bits = (uint32_t)((uint64_t)p->exponent + (hash >> 62)) << 23 | (uint32_t)(hash & 0x7fffff);
        memcpy(multipliers + i, &bits, sizeof bits);
    }
    return multipliers;
}

static dw_desc describe(const problem *p) {
    dw_desc desc = describe_sizes(&p->sizes);
    desc.dtype = DW_I32;
    return desc;
}

static dw_quantization quantization_of(const problem *p) {
    const int least = p->y_type == DW_INT8 ? INT8_MIN : 0, zero = p->y_zero_point;
    const int most = p->activation == RELU6 && zero + 6 < least + 255 ? zero + 6 : least + 255; /* of scale 1 */
    return (dw_quantization){.x_type = p->x_type,
                             .y_type = p->y_type,
                             .x_zero_point = p->x_zero_point,
                             .y_zero_point = zero,
                             .y_min = p->activation == LINEAR ? least : zero,
                             .y_max = most};
}

/* Runs it by kernels `index` of an instruction set and adds its hash to *total. */
static void run(const problem *p, dw_isa isa, int index, uint64_t *total) {
    const dw_desc d = describe(p);
    const dw_quantization q = quantization_of(p);
    const int64_t outputs = d.channels * d.multiplier;
    int64_t oh = 0, ow = 0;
    CHECK(dw_output_size(&d, &oh, &ow) == DW_OK);
    void *x = make_bytes(p, X, d.batch * d.height * d.width * d.channels);
    void *kernel = make_bytes(p, KERNEL, d.kernel_h * d.kernel_w * outputs);
    int32_t *bias = p->with_bias ? make_bias(p, outputs) : NULL;
    float *multipliers = make_multipliers(p, outputs);
    const size_t bytes = (size_t)(d.batch * oh * ow * outputs);
    unsigned char *y = allocate(MARGIN + bytes + MARGIN);
    memset(y, POISON, MARGIN + bytes + MARGIN);
    dw_quantized *plan = NULL;
    CHECK(dw_quantized_create_with(&d, isa, index, &q, kernel, bias, multipliers, &plan) == DW_OK);
    if (plan) dw_quantized_run(plan, d.batch, x, y + MARGIN, 1, NULL, NULL);
    uint64_t hash = FNV_BASIS;
    for (size_t i = 0; i < bytes; i++) hash = fnv1a(hash, y[MARGIN + i], 1);
    *total = fnv1a(*total, hash, 8);
    CHECK(hash == p->expected);
    if (hash != p->expected) fprintf(stderr, "    problem %d: %016" PRIx64 "\n", (int)(p - problems), hash);
    CHECK(margins_are_poison(y, bytes));
    dw_quantized_destroy(plan);
    free(x), free(kernel), free(bias), free(multipliers), free(y);
}

int main(void) {
    uint64_t expected = FNV_BASIS;
    for (int i = 0; i < PROBLEMS; i++) expected = fnv1a(expected, problems[i].expected, 8);
    for (int isa = 0; isa < DW_ISA_COUNT; isa++) {
        const char *name;
        int usable;
        if (!dw_isa_available((dw_isa)isa)) continue;
        for (int index = 0; (name = dw_quantized_kernels_at((dw_isa)isa, index, &usable)) != NULL; index++) {
            uint64_t total = FNV_BASIS;
            if (!usable) continue;
            for (int i = 0; i < PROBLEMS; i++) run(problems + i, (dw_isa)isa, index, &total);
            printf("%s: %d problems, total %016" PRIx64 ", expected %016" PRIx64 "\n", name, PROBLEMS, total, expected);
        }
    }
    return report();
}
