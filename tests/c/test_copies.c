/* test_copies.c - plans of plans: other weights, other batches, memory in common.
 *
 *   cc -std=c11 -Icsrc tests/c/test_copies.c $(find csrc -name '*.c') -lm -pthread -o test_copies && ./test_copies
 *
 * Whatever a plan was made from, its results have the bits of a plan that dw_plan_create makes for the same problem,
 * also once the plan that it was made from is gone. C and C++. */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "dwconv.h"
#include "geometry.h"

enum { MOST_IMAGES = 5, MOST = 1 << 17 }; /* MOST: elements of an array */

static int shift; /* elements before x and y begin: packings differ in the alignment that they are for */
static float x[MOST], y[MOST], expected[MOST], kernel[MOST], bias[4096], other_kernel[MOST], other_bias[4096];

static void fill(float *array, int count, unsigned seed) {
    for (int i = 0; i < count; i++) {
        seed = seed * 1664525u + 1013904223u;
        array[i] = (float)(seed >> 8) / (float)(1 << 23) - 1;
    }
}

static dw_desc descriptor(int64_t batch, int64_t size, int64_t channels, int64_t multiplier, int64_t kernel_size,
                          int64_t stride) {
    dw_desc d;
    memset(&d, 0, sizeof d);
    d.batch = batch, d.height = d.width = size, d.channels = channels, d.multiplier = multiplier;
    d.kernel_h = d.kernel_w = kernel_size;
    d.stride_h = d.stride_w = stride;
    d.dilation_h = d.dilation_w = 1;
    d.pad_top = d.pad_bottom = d.pad_left = d.pad_right = kernel_size / 2;
    d.dtype = DW_F32;
    return d;
}

static size_t output_bytes(const dw_desc *d) {
    int64_t oh = 0, ow = 0;
    CHECK(dw_output_size(d, &oh, &ow) == DW_OK);
    const size_t count = (size_t)(d->batch * oh * ow * d->channels * d->multiplier);
    CHECK(count < MOST);
    return count * sizeof(float);
}

/* y of a plan that is made for just this, in `expected`. */
static size_t make_expected(const dw_desc *d, dw_isa isa, const float *k, const float *b) {
    dw_plan *plan = NULL;
    memset(expected, 1, sizeof expected);
    CHECK(dw_plan_create(d, isa, k, b, &plan) == DW_OK);
    dw_plan_run(plan, x + shift, expected);
    dw_plan_destroy(plan);
    return output_bytes(d);
}

static int same(const dw_plan *plan, size_t bytes) {
    memset(y, 2, sizeof y);
    dw_plan_run(plan, x + shift, y + shift);
    return memcmp(y + shift, expected, bytes) == 0;
}

static void with_weights(const dw_desc *d, dw_isa isa) {
    dw_plan *plan = NULL, *copy = NULL, *again = NULL;
    CHECK(dw_plan_create(d, isa, kernel, bias, &plan) == DW_OK);
    CHECK(dw_plan_with_weights(plan, other_kernel, other_bias, &copy) == DW_OK);
    CHECK(dw_plan_with_weights(copy, other_kernel, NULL, &again) == DW_OK);
    size_t bytes = make_expected(d, isa, kernel, bias);
    CHECK(same(plan, bytes)); /* unchanged */
    bytes = make_expected(d, isa, other_kernel, other_bias);
    CHECK(same(copy, bytes));
    dw_plan_destroy(plan);
    CHECK(same(copy, bytes));
    dw_plan_destroy(copy);
    bytes = make_expected(d, isa, other_kernel, NULL);
    CHECK(same(again, bytes));
    dw_plan_destroy(again);
}

/* Weights packed for arrays that begin in one place, in a plan that has none, and run for arrays in every place. */
static void with_weights_for(const dw_desc *d, dw_isa isa) {
    dw_plan *plan = NULL, *geometry = NULL, *copy = NULL, *again = NULL;
    CHECK(dw_plan_create(d, isa, kernel, bias, &plan) == DW_OK);
    CHECK(dw_plan_suits(plan, x + shift, y + shift) && dw_plan_suits(plan, x, y));
    CHECK(dw_plan_geometry(plan, &geometry) == DW_OK);
    CHECK(!dw_plan_suits(geometry, x + shift, y + shift) || d->layout == DW_NCHW);
    dw_plan_info whole, empty, one;
    memset(&whole, 0, sizeof whole), memset(&empty, 0, sizeof empty), memset(&one, 0, sizeof one);
    dw_plan_describe(plan, &whole), dw_plan_describe(geometry, &empty);
    CHECK(strcmp(whole.strategy, empty.strategy) == 0 && empty.plan_bytes < whole.plan_bytes);
    dw_plan_destroy(plan);
    CHECK(dw_plan_with_weights_for(geometry, x + shift, y + shift, other_kernel, other_bias, NULL, NULL, &copy) ==
          DW_OK);
    CHECK(dw_plan_with_weights_for(copy, x, y, kernel, NULL, NULL, NULL, &again) == DW_OK);
    CHECK(dw_plan_suits(copy, x + shift, y + shift) && dw_plan_suits(again, x, y));
    dw_plan_describe(copy, &one);
    CHECK(one.plan_bytes > empty.plan_bytes && one.plan_bytes <= whole.plan_bytes);
    dw_plan_destroy(geometry);
    const int packed_for = shift;
    for (shift = 0; shift <= 12; shift += 4) {
        size_t bytes = make_expected(d, isa, other_kernel, other_bias);
        CHECK(same(copy, bytes));
        bytes = make_expected(d, isa, kernel, NULL);
        CHECK(same(again, bytes));
    }
    shift = packed_for;
    dw_plan_destroy(copy);
    dw_plan_destroy(again);
}

static int never(void *context) {
    ++*(int *)context;
    return 0;
}

static void with_batch(const dw_desc *d, dw_isa isa) {
    dw_plan *plan = NULL;
    CHECK(dw_plan_create(d, isa, kernel, bias, &plan) == DW_OK);
    for (int64_t batch = 0; batch <= MOST_IMAGES; batch++) {
        dw_desc other = *d;
        other.batch = batch;
        const size_t bytes = make_expected(&other, isa, kernel, bias);
        dw_plan *copy = NULL, *fresh = NULL;
        CHECK(dw_plan_with_batch(plan, batch, &copy) == DW_OK);
        CHECK(same(copy, bytes));
        /* Both tell the same, but of the memory. */
        dw_plan_info a, b;
        memset(&a, 0, sizeof a), memset(&b, 0, sizeof b);
        CHECK(dw_plan_create(&other, isa, kernel, bias, &fresh) == DW_OK);
        dw_plan_describe(copy, &a), dw_plan_describe(fresh, &b);
        CHECK(strcmp(a.kernel, b.kernel) == 0 && a.y_bytes == b.y_bytes && a.multiply_adds == b.multiply_adds);
        CHECK(a.shared_bytes > 0 && b.shared_bytes == 0);
        for (int threads = 1; threads <= 4; threads++) {
            CHECK(dw_plan_threads_batch(plan, batch, threads) == dw_plan_threads(copy, threads));
            memset(y, 3, sizeof y);
            int asked = 0;
            CHECK(dw_plan_run_batch(plan, batch, x, y, threads, threads % 2 ? never : NULL, &asked) == 0);
            CHECK(memcmp(y, expected, bytes) == 0);
            memset(y, 4, sizeof y);
            for (int part = 0; part < threads; part++) dw_plan_run_part_batch(plan, batch, x, y, part, threads);
            CHECK(memcmp(y, expected, bytes) == 0);
            const char *after = (const char *)y + bytes;
            CHECK(*after == 4); /* and not a byte more */
        }
        CHECK(dw_plan_place_batch(plan, batch, x) == dw_plan_place(fresh, x));
        dw_plan_destroy(fresh);
        dw_plan_destroy(copy);
    }
    dw_plan_destroy(plan);
}

/* Plans of one layer for two sizes, then those of another layer. */
static void share(const dw_desc *d, dw_isa isa) {
    dw_desc larger = *d;
    larger.height += 2;
    dw_plan *plan = NULL, *second = NULL, *foreign = NULL;
    dw_plan_info before, after;
    memset(&before, 0, sizeof before), memset(&after, 0, sizeof after);
    CHECK(dw_plan_create(d, isa, kernel, bias, &plan) == DW_OK);
    CHECK(dw_plan_create(&larger, isa, kernel, bias, &second) == DW_OK);
    CHECK(dw_plan_create(&larger, isa, other_kernel, bias, &foreign) == DW_OK);
    dw_plan_describe(second, &before);
    dw_plan_share(second, foreign);
    dw_plan_describe(second, &after);
    CHECK(before.shared_bytes == 0 && after.shared_bytes == 0);
    dw_plan_share(second, plan);
    dw_plan_share(second, plan); /* nothing is left to do */
    dw_plan_describe(second, &after);
    dw_plan_describe(plan, &before);
    const int alike = strcmp(before.kernel, after.kernel) == 0 && before.plan_bytes == after.plan_bytes;
    if (alike) CHECK(after.shared_bytes * 2 >= after.weight_bytes / 2); /* of two owners */
    CHECK(after.shared_bytes == before.shared_bytes);
    const size_t bytes = make_expected(&larger, isa, kernel, bias);
    CHECK(same(second, bytes));
    dw_plan_destroy(plan);
    CHECK(same(second, bytes));
    dw_plan_describe(second, &after);
    CHECK(after.shared_bytes == 0);
    dw_plan_destroy(foreign);
    dw_plan_destroy(second);
}

static void refusals(void) {
    const dw_desc d = descriptor(1, 4, 3, 1, 3, 1);
    int marker;
    dw_plan *plan = NULL, *out = (dw_plan *)(void *)&marker;
    CHECK(dw_plan_create(&d, DW_ISA_AUTO, kernel, NULL, &plan) == DW_OK);
    CHECK(dw_plan_with_weights(plan, NULL, NULL, &out) == DW_ERR_NULL && !out);
    CHECK(dw_plan_with_weights(NULL, kernel, NULL, &out) == DW_ERR_NULL && !out);
    CHECK(dw_plan_with_weights(plan, kernel, NULL, NULL) == DW_ERR_NULL);
    CHECK(dw_plan_geometry(NULL, &out) == DW_ERR_NULL && !out);
    CHECK(dw_plan_geometry(plan, NULL) == DW_ERR_NULL);
    CHECK(dw_plan_with_weights_for(plan, x, y, NULL, NULL, NULL, NULL, &out) == DW_ERR_NULL && !out);
    CHECK(dw_plan_with_weights_for(NULL, x, y, kernel, NULL, NULL, NULL, &out) == DW_ERR_NULL && !out);
    CHECK(dw_plan_with_batch(NULL, 1, &out) == DW_ERR_NULL && !out);
    CHECK(dw_plan_with_batch(plan, 1, NULL) == DW_ERR_NULL);
    out = (dw_plan *)(void *)&marker;
    CHECK(dw_plan_with_batch(plan, -1, &out) == DW_ERR_SHAPE && !out);
    CHECK(dw_plan_with_batch(plan, INT64_MAX, &out) == DW_ERR_OVERFLOW && !out);
    CHECK(dw_plan_with_batch(plan, 0, &out) == DW_OK && out);
    dw_plan *empty = out;
    CHECK(dw_plan_with_batch(empty, 1, &out) == DW_ERR_SHAPE && !out);
    CHECK(dw_plan_with_batch(empty, 0, &out) == DW_OK && out);
    dw_plan_destroy(out);
    dw_plan_destroy(empty);
    dw_plan_destroy(plan);
}

int main(void) {
    fill(x, MOST, 1), fill(kernel, MOST, 2), fill(bias, 4096, 3);
    fill(other_kernel, MOST, 4), fill(other_bias, 4096, 5);
    refusals();
    for (int isa = 0; isa < DW_ISA_COUNT; isa++) {
        if (!dw_isa_available((dw_isa)isa)) continue;
        /* Tiles; packings by alignment; those of stride 2, whose blocks span two pixels; folded pixels; a multiplier;
         * the general kernel. */
        const dw_desc cases[] = {descriptor(2, 9, 32, 1, 3, 1),  descriptor(1, 7, 256, 1, 3, 1),
                                 descriptor(2, 18, 64, 1, 3, 2), descriptor(2, 9, 3, 1, 3, 1),
                                 descriptor(2, 9, 5, 4, 3, 1),   descriptor(3, 9, 7, 1, 4, 1)};
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            for (int layout = 0; layout < 2; layout++) {
                dw_desc d = cases[i];
                d.layout = (dw_layout)layout;
                d.activation = layout ? DW_TANH : DW_RELU6;
                for (shift = 12; shift >= 0; shift -= 4) {
                    with_weights(&d, (dw_isa)isa);
                    with_weights_for(&d, (dw_isa)isa);
                    share(&d, (dw_isa)isa);
                }
                shift = 0;
                with_batch(&d, (dw_isa)isa);
            }
        }
    }
    return report();
}
