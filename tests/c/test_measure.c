/* test_measure.c - plans whose strategy was measured or named: the bits of dw_plan_create, and what they tell.
 *
 *   cc -std=c11 -Icsrc tests/c/test_measure.c $(find csrc -name '*.c') -lm -pthread -o test_measure && ./test_measure
 *
 * Which strategy is the fastest is not tested, as it depends on the machine: bench/planning.py shows it. C and C++. */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "dwconv.h"

enum { MOST = 1 << 17, MOST_STRATEGIES = 1024 }; /* MOST: elements of an array */

static float x[MOST], y[MOST], expected[MOST], kernel[MOST], bias[4096];

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
    d.activation = DW_RELU;
    return d;
}

static dw_measuring milliseconds(double count, int64_t bytes) {
    dw_measuring how;
    memset(&how, 0, sizeof how);
    how.nanoseconds = count * 1e6;
    how.num_threads = 1;
    how.scratch_bytes = bytes;
    how.x_place = -1;
    return how;
}

static size_t output_bytes(const dw_desc *d) {
    int64_t oh = 0, ow = 0;
    CHECK(dw_output_size(d, &oh, &ow) == DW_OK);
    const int64_t count = d->batch * oh * ow * d->channels * d->multiplier;
    CHECK(count <= MOST);
    return (size_t)count * sizeof *y;
}

static dw_strategy_info listed[MOST_STRATEGIES], of_plan[MOST_STRATEGIES];

static int is_in(const char *name, const dw_strategy_info *list, int count) {
    for (int i = 0; i < count; i++)
        if (strcmp(name, list[i].name) == 0) return 1;
    return 0;
}

/* What a plan tells of its strategies: its own first, then the measured ones, the fastest first, then the rest. */
static void check_strategies(const dw_desc *d, dw_isa isa, const dw_plan *plan, int *measured) {
    int count = 0, all = 0, place = 1;
    dw_plan_info info;
    dw_plan_describe(plan, &info);
    CHECK(dw_strategies_of(d, isa, listed, MOST_STRATEGIES, &all) == DW_OK);
    CHECK(dw_plan_strategies(plan, of_plan, MOST_STRATEGIES, &count) == DW_OK && count == all);
    CHECK(strcmp(of_plan[0].name, info.strategy) == 0);
    for (int i = 0; i < count; i++) CHECK(is_in(listed[i].name, of_plan, count));
    *measured = of_plan[0].measured > 0;
    for (; place < count && of_plan[place].measured > 0; place++) {
        (*measured)++;
        CHECK(place < 2 || of_plan[place - 1].measured <= of_plan[place].measured);
    }
    for (int i = place; i < count; i++) CHECK(of_plan[i].measured == 0);
    /* The estimate's choice takes part in every measurement. */
    if (*measured) CHECK(is_in(listed[0].name, of_plan, *measured));
}

static void test_bits(void) {
    static const struct {
        int64_t batch, size, channels, multiplier, kernel_size, stride;
    } cases[] = {{1, 14, 72, 1, 3, 1}, {2, 9, 40, 1, 3, 2}, {1, 12, 3, 4, 3, 1},
                 {1, 11, 24, 1, 5, 1}, {3, 7, 5, 1, 4, 1},  {1, 10, 16, 2, 3, 1}};
    for (int isa = 0; isa < DW_ISA_COUNT; isa++) {
        if (!dw_isa_available((dw_isa)isa)) continue;
        int measured_at_all = 0;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            for (int layout = DW_NHWC; layout <= DW_NCHW; layout++) {
                dw_desc d = descriptor(cases[i].batch, cases[i].size, cases[i].channels, cases[i].multiplier,
                                       cases[i].kernel_size, cases[i].stride);
                d.layout = (dw_layout)layout;
                const size_t bytes = output_bytes(&d);
                dw_plan *plan = NULL;
                CHECK(dw_plan_create(&d, (dw_isa)isa, kernel, bias, &plan) == DW_OK);
                dw_plan_run(plan, x, expected);
                dw_plan_destroy(plan);
                dw_measuring how = milliseconds(10, 1 << 22);
                how.num_threads = (int)(1 + i % 2);
                how.x_place = i % 3 == 0 ? 16 : -1;
                CHECK(dw_plan_create_measured(&d, (dw_isa)isa, kernel, bias, &how, &plan) == DW_OK);
                int measured = 0;
                check_strategies(&d, (dw_isa)isa, plan, &measured);
                measured_at_all += measured > 0;
                memset(y, 0x55, bytes);
                dw_plan_run(plan, x, y);
                CHECK(memcmp(y, expected, bytes) == 0);

                /* A copy knows as much; its batch counts in the times. */
                dw_plan *copy = NULL;
                CHECK(dw_plan_with_batch(plan, 2 * d.batch, &copy) == DW_OK);
                const double before = of_plan[0].measured;
                int count = 0;
                CHECK(dw_plan_strategies(copy, of_plan, 1, &count) == DW_OK);
                CHECK(of_plan[0].measured >= 1.99 * before && of_plan[0].measured <= 2.01 * before);
                dw_plan_destroy(plan);
                CHECK(dw_plan_strategies(copy, of_plan, 1, &count) == DW_OK); /* it owns the list now */

                /* The same by name. */
                CHECK(dw_plan_create_named(&d, (dw_isa)isa, of_plan[0].name, kernel, bias, NULL, NULL, &plan) == DW_OK);
                dw_plan_info info;
                dw_plan_describe(plan, &info);
                CHECK(strcmp(info.strategy, of_plan[0].name) == 0);
                memset(y, 0x55, bytes);
                dw_plan_run(plan, x, y);
                CHECK(memcmp(y, expected, bytes) == 0);
                dw_plan_destroy(plan);
                dw_plan_destroy(copy);
            }
        }
        CHECK(measured_at_all > 0 || isa == DW_ISA_PORTABLE); /* emulators are slow, but not that slow */
    }
}

static int stops_after(void *context) { return --*(int *)context < 0; }

/* No time, no memory, nothing to do: the estimate's plan. Wrong arguments, and a stop at each moment: none. */
static void test_limits(void) {
    const dw_desc d = descriptor(1, 14, 64, 1, 3, 1);
    dw_desc other = d;
    dw_plan *plan = NULL;
    dw_measuring how = milliseconds(0, 1 << 22);
    int measured = -1, count = 0;
    for (int i = 0; i < 3; i++) {
        how = i == 0 ? milliseconds(0, 1 << 22) : milliseconds(10, i == 1 ? 20000 : 1 << 22);
        other.batch = i == 2 ? 0 : 1;
        CHECK(dw_plan_create_measured(&other, DW_ISA_AUTO, kernel, NULL, &how, &plan) == DW_OK);
        check_strategies(&other, DW_ISA_AUTO, plan, &measured);
        CHECK(measured == 0);
        CHECK(strcmp(of_plan[0].name, listed[0].name) == 0);
        dw_plan_destroy(plan);
    }
    /* A batch that does not fit into the memory: fewer images are measured. */
    other.batch = 1000;
    how = milliseconds(10, 1 << 20);
    CHECK(dw_plan_create_measured(&other, DW_ISA_AUTO, kernel, NULL, &how, &plan) == DW_OK);
    dw_plan_destroy(plan);

    how = milliseconds(10, 1 << 22);
    CHECK(dw_plan_create_measured(NULL, DW_ISA_AUTO, kernel, NULL, &how, &plan) == DW_ERR_NULL && !plan);
    CHECK(dw_plan_create_measured(&d, DW_ISA_AUTO, NULL, NULL, &how, &plan) == DW_ERR_NULL && !plan);
    CHECK(dw_plan_create_measured(&d, DW_ISA_AUTO, kernel, NULL, NULL, &plan) == DW_ERR_NULL && !plan);
    CHECK(dw_plan_create_measured(&d, DW_ISA_AUTO, kernel, NULL, &how, NULL) == DW_ERR_NULL);
    CHECK(dw_plan_create_measured(&d, (dw_isa)99, kernel, NULL, &how, &plan) == DW_ERR_ISA && !plan);
    other.stride_w = 0;
    CHECK(dw_plan_create_measured(&other, DW_ISA_AUTO, kernel, NULL, &how, &plan) == DW_ERR_STRIDE && !plan);
    CHECK(dw_plan_create_named(&d, DW_ISA_AUTO, NULL, kernel, NULL, NULL, NULL, &plan) == DW_ERR_NULL && !plan);
    CHECK(dw_plan_create_named(&d, DW_ISA_AUTO, "k9", kernel, NULL, NULL, NULL, &plan) == DW_ERR_STRATEGY && !plan);
    CHECK(dw_plan_create_named(&d, DW_ISA_AUTO, "", kernel, NULL, NULL, NULL, &plan) == DW_ERR_STRATEGY && !plan);
    CHECK(dw_plan_create_named(&d, DW_ISA_AUTO, listed[0].name, NULL, NULL, NULL, NULL, &plan) == DW_ERR_NULL);
    CHECK(dw_plan_strategies(NULL, NULL, 0, &count) == DW_ERR_NULL);

    /* From the first question, in the creation, to the last one, in the rounds. */
    dw_status status = DW_ERR_STOPPED;
    int asked = 0;
    for (; status == DW_ERR_STOPPED && asked < 10000; asked += asked < 20 ? 1 : 7) {
        int left = asked;
        how = milliseconds(1000, 1 << 22);
        how.stop = stops_after;
        how.context = &left;
        plan = (dw_plan *)(void *)&left;
        status = dw_plan_create_measured(&d, DW_ISA_AUTO, kernel, NULL, &how, &plan);
        CHECK(status == DW_OK || (status == DW_ERR_STOPPED && !plan));
    }
    CHECK(status == DW_OK && asked > 20);
    dw_plan_destroy(plan);
}

static void test_cpu(void) {
    dw_cpu_info info, again;
    dw_cpu_describe(&info);
    dw_cpu_describe(&again);
    CHECK(memcmp(info.maker, again.maker, sizeof info.maker) == 0 && info.l1_bytes == again.l1_bytes);
    CHECK(memchr(info.maker, 0, sizeof info.maker) != NULL);
    CHECK(info.design != NULL && strlen(info.design) < 16);
    CHECK(info.vector_bits == 128 || info.vector_bits == 256 || info.vector_bits == 512);
    CHECK(info.line_bytes == 0 || (info.line_bytes >= 32 && info.line_bytes <= 256));
    CHECK(info.l1_bytes >= 0 && info.l2_bytes >= 0 && info.l3_bytes >= 0);
    CHECK(info.l2_bytes == 0 || info.l2_bytes > info.l1_bytes);
}

int main(void) {
    fill(x, MOST, 1);
    fill(kernel, MOST, 2);
    fill(bias, 4096, 3);
    test_bits();
    test_limits();
    test_cpu();
    return report();
}
