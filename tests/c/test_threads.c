/* test_threads.c - the pool of threads and runs by several, on any system that has threads: each part runs once,
 * threads really run beside each other, start again after dw_threads_stop, are shared by callers at the same time;
 * the bits of dw_plan_run, denormal numbers included, whatever the caller's floating-point environment.
 *
 *   cc -std=c11 -Icsrc tests/c/test_threads.c $(find csrc -name '*.c') -lm -pthread -o threads && ./threads */
#include "os_threads.h" /* first: it asks for more than standard C */

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "dwconv.h"
#include "float_env.h"
#include "thread_pool.h"

enum { CALLERS = 3 };
static const int64_t SECOND = 1000000000;

/* Long enough that all threads have gone to sleep. */
static void pause_for(int64_t nanoseconds) {
    for (const int64_t end = os_nanoseconds() + nanoseconds; os_nanoseconds() < end;) os_yield();
}

/* Runs `function` in CALLERS threads, each with an element of an array. */
static void in_callers(os_thread_fn function, void *arguments, size_t size) {
    os_thread threads[CALLERS];
    int started = 0;
    for (; started < CALLERS; started++)
        if (!os_start(threads + started, function, (char *)arguments + (size_t)started * size)) break;
    CHECK(started == CALLERS);
    for (int i = 0; i < started; i++) os_join(threads[i]);
}

/* ---- parts ----------------------------------------------------------------------------------------- */

typedef struct count {
    atomic_int ran[DW_MOST_PARTS];
    atomic_int fewest, most; /* parts that a task was told there are */
} count;

static void count_part(const void *arguments, int part, int parts) {
    count *c = *(count *const *)arguments;
    atomic_fetch_add(&c->ran[part], 1);
    for (int seen = atomic_load(&c->fewest); parts < seen && !atomic_compare_exchange_weak(&c->fewest, &seen, parts);) {
    }
    for (int seen = atomic_load(&c->most); parts > seen && !atomic_compare_exchange_weak(&c->most, &seen, parts);) {}
}

/* How many of the parts did not run once; of as many as the pool has made, fewer where threads are busy. */
static int wrong_parts(int parts, int threads) {
    static _Thread_local count counted;
    count *const c = &counted;
    memset(c, 0, sizeof *c);
    atomic_store(&c->fewest, DW_MOST_PARTS + 1);
    dw_pool_run(count_part, &c, parts, threads, NULL, NULL);
    const int made = atomic_load(&c->most);
    int wrong = made != atomic_load(&c->fewest) || made > parts;
    for (int i = 0; i < DW_MOST_PARTS; i++) wrong += atomic_load(&c->ran[i]) != (i < made);
    return wrong;
}

static void test_parts(void) {
    for (int threads = 1; threads <= 5; threads++)
        for (int parts = 1; parts <= 4 * threads + 1; parts++) {
            CHECK(wrong_parts(parts, threads) == 0);
            if (parts % 4 == 0) pause_for(200000);
        }
    CHECK(wrong_parts(DW_MOST_PARTS, 4) == 0);
}

OS_THREAD_FN(call_often) {
    int *wrong = argument;
    for (int i = 0; i < 2000; i++) {
        *wrong += wrong_parts(1 + i % 9, 1 + i % 4);
        if (i % 50 == 0) pause_for(100000);
    }
    return 0;
}

static void test_callers(void) {
    int wrong[CALLERS] = {0};
    in_callers(call_often, wrong, sizeof *wrong);
    for (int i = 0; i < CALLERS; i++) CHECK(wrong[i] == 0);
}

/* ---- beside each other ----------------------------------------------------------------------------- */

typedef struct meeting {
    atomic_int here, late;
} meeting;

static void meet(const void *arguments, int part, int parts) {
    meeting *m = *(meeting *const *)arguments;
    (void)part;
    const int64_t end = os_nanoseconds() + 20 * SECOND;
    atomic_fetch_add(&m->here, 1);
    while (atomic_load(&m->here) < parts && !atomic_load(&m->late)) {
        os_yield();
        if (os_nanoseconds() > end) atomic_store(&m->late, 1);
    }
}

/* Each of the parts waits for all others: only as many threads as parts can do that. */
static void test_beside(void) {
    for (int round = 0; round < 6; round++) {
        const int parts = 2 + round % 3;
        meeting all = {0}, *const m = &all;
        dw_pool_run(meet, &m, parts, parts, NULL, NULL);
        CHECK(atomic_load(&m->here) == parts && !atomic_load(&m->late));
        if (round % 2) dw_threads_stop(); /* the next round starts new ones */
        else pause_for(1000000);
    }
    dw_threads_stop();
    dw_threads_stop(); /* there are none */
}

/* ---- a caller that waits --------------------------------------------------------------------------- */

typedef struct wait {
    atomic_int others, asked, late;
    int64_t end;
} wait;

static int ask(void *context) {
    wait *w = context;
    atomic_fetch_add(&w->asked, 1);
    return 1;
}

/* The caller's part ends once the other one runs; that one ends once the caller has been told to stop. */
static void until_asked(const void *arguments, int part, int parts) {
    wait *w = *(wait *const *)arguments;
    if (parts == 2 && part == 1) atomic_store(&w->others, 1);
    while (!(part == 0 ? &w->others : &w->asked)[0] && !atomic_load(&w->late)) {
        os_yield();
        if (os_nanoseconds() > w->end) atomic_store(&w->late, 1);
    }
}

/* While it waits for another thread's part the caller asks whether to stop: only it may be told of that. */
static void test_waiting(void) {
    wait all = {.end = os_nanoseconds() + 20 * SECOND}, *const w = &all;
    dw_pool_run(until_asked, &w, 2, 2, ask, w);
    CHECK(atomic_load(&w->asked) > 0 && !atomic_load(&w->late));
}

/* ---- runs ------------------------------------------------------------------------------------------ */

enum { SIDE = 40, CHANNELS = 37, VALUES = SIDE * SIDE * CHANNELS, TAPS = 9 * CHANNELS };

typedef struct job {
    const dw_plan *plan;
    const float *x, *expected;
    int wrong;
} job;

OS_THREAD_FN(run_often) {
    job *w = argument;
    float *y = malloc(VALUES * sizeof *y);
    for (int i = 0; i < 12; i++) {
        memset(y, 0xff, VALUES * sizeof *y);
        dw_plan_run_threads(w->plan, w->x, y, 2 + i % 3);
        w->wrong += memcmp(y, w->expected, VALUES * sizeof *y) != 0;
    }
    free(y);
    return 0;
}

static float noise(void) {
    static uint32_t state = 1;
    state = state * 1664525u + 1013904223u;
    return (float)(state >> 8) / (1 << 23) - 1;
}

/* Denormal numbers as input, product and sum; `y` from alone, by threads, and by callers at the same time. */
static void test_runs(void) {
    float *x = malloc(VALUES * sizeof *x), *kernel = malloc(TAPS * sizeof *kernel);
    float *expected[2] = {malloc(VALUES * sizeof *x), malloc(VALUES * sizeof *x)};
    for (int i = 0; i < VALUES; i++) x[i] = noise() * (i % 3 ? 1.0f : 1e-38f);
    for (int i = 0; i < TAPS; i++) kernel[i] = noise() * (i % 4 ? 1.0f : 1e-38f);
    for (int isa = 0; isa < DW_ISA_COUNT; isa++) {
        if (!dw_isa_available((dw_isa)isa)) continue;
        for (int denormals = DW_DENORMALS_FLUSH; denormals <= DW_DENORMALS_IEEE; denormals++) {
            dw_desc d;
            memset(&d, 0, sizeof d);
            d.batch = 1, d.height = d.width = SIDE, d.channels = CHANNELS, d.multiplier = 1;
            d.kernel_h = d.kernel_w = 3;
            d.stride_h = d.stride_w = d.dilation_h = d.dilation_w = 1;
            d.pad_top = d.pad_bottom = d.pad_left = d.pad_right = 1;
            d.denormals = (dw_denormals)denormals;
            dw_plan *plan = NULL;
            CHECK(dw_plan_create(&d, (dw_isa)isa, kernel, NULL, &plan) == DW_OK);
            if (!plan) continue;
            CHECK(dw_plan_threads(plan, 4) > 1); /* else nothing is tested here */
            dw_plan_run(plan, x, expected[denormals]);
            job jobs[CALLERS];
            for (int i = 0; i < CALLERS; i++) jobs[i] = (job){plan, x, expected[denormals], 0};
            const dw_float_env before = dw_float_begin(DW_DENORMALS_FLUSH); /* a caller that flushes */
            run_often(jobs);
            dw_float_end(before);
            CHECK(jobs[0].wrong == 0);
            in_callers(run_often, jobs, sizeof *jobs);
            for (int i = 0; i < CALLERS; i++) CHECK(jobs[i].wrong == 0);
            dw_plan_destroy(plan);
        }
        /* Else the numbers above were not such that flushing shows. */
        if (dw_denormals_of(DW_DENORMALS_FLUSH, isa == DW_ISA_PORTABLE) == DW_DENORMALS_FLUSH)
            CHECK(memcmp(expected[0], expected[1], VALUES * sizeof *x) != 0);
    }
    free(x), free(kernel), free(expected[0]), free(expected[1]);
}

/* ---- runs that are ended early --------------------------------------------------------------------- */

typedef struct asked {
    atomic_int times;
    int allowed;
    atomic_int waiting; /* of these, those that the caller of several threads may have asked while it waited for them */
} asked;

/* Set in the thread that calls dw_plan_run_until for several threads. */
static _Thread_local int may_wait;

static int stop_after(void *context) {
    asked *a = context;
    if (may_wait) atomic_fetch_add(&a->waiting, 1);
    return atomic_fetch_add(&a->times, 1) >= a->allowed;
}

/* A run of some 80 ms, as the plan estimates it: the same bits in pieces; and no piece begins once it is to stop. */
static void test_until(void) {
    enum { SIZE = 31, MORE_TAPS = SIZE * SIZE * CHANNELS, MANY = 1 << 20 };
    float *x = malloc(VALUES * sizeof *x), *kernel = malloc(MORE_TAPS * sizeof *kernel);
    float *expected = malloc(VALUES * sizeof *x), *y = malloc(VALUES * sizeof *y);
    for (int i = 0; i < VALUES; i++) x[i] = noise();
    for (int i = 0; i < MORE_TAPS; i++) kernel[i] = noise();
    for (int layout = DW_NHWC; layout <= DW_NCHW; layout++) {
        dw_desc d;
        memset(&d, 0, sizeof d);
        d.batch = 1, d.height = d.width = SIDE, d.channels = CHANNELS, d.multiplier = 1;
        d.kernel_h = d.kernel_w = SIZE;
        d.stride_h = d.stride_w = d.dilation_h = d.dilation_w = 1;
        d.pad_top = d.pad_bottom = d.pad_left = d.pad_right = SIZE / 2;
        d.layout = (dw_layout)layout;
        dw_plan *plan = NULL;
        CHECK(dw_plan_create(&d, DW_ISA_PORTABLE, kernel, NULL, &plan) == DW_OK);
        if (!plan) continue;
        dw_plan_run(plan, x, expected);
        for (int threads = 1; threads <= 3; threads++) {
            asked never = {0, MANY, 0};
            memset(y, 0xff, VALUES * sizeof *y);
            CHECK(dw_plan_run_until(plan, x, y, threads, stop_after, &never) == 0);
            CHECK(memcmp(y, expected, VALUES * sizeof *y) == 0);
            CHECK(atomic_load(&never.times) > 4); /* else nothing is tested here */
            for (int allowed = 0; allowed < 3; allowed++) {
                asked soon = {0, allowed, 0};
                memset(y, 0xff, VALUES * sizeof *y);
                may_wait = threads > 1;
                CHECK(dw_plan_run_until(plan, x, y, threads, stop_after, &soon) != 0);
                may_wait = 0;
                CHECK(memcmp(y, expected, VALUES * sizeof *y) != 0); /* parts at most */
                /* Each part of the work asks once more, and so does the end. A caller that waits asks every 30 ms, and
                 * an emulator may take longer for a piece: of several threads the others are counted alone. */
                const int asks = atomic_load(&soon.times) - atomic_load(&soon.waiting);
                CHECK(asks <= allowed + DW_MOST_PARTS_EACH * threads + 1);
            }
        }
        dw_plan_destroy(plan);
    }
    free(x), free(kernel), free(expected), free(y);
}

/* ---- creations that are ended early ---------------------------------------------------------------- */

/* Of four megabytes of weights, in each way to pack them: asked several times; the first, second, ... answer ends it. */
static void test_create_until(void) {
    enum { MANY = 1 << 20, LARGE = 101, WEIGHTS = 2 * MANY };
    static const struct {
        int layout, size, stride, channels, as_gradient;
    } CASES[] = {{DW_NHWC, LARGE, 1, 103, 0}, {DW_NCHW, LARGE, 1, 103, 0}, {DW_NHWC, 1, 1, MANY, 0},
                 {DW_NHWC, LARGE, 1, 103, 1}, {DW_NHWC, LARGE, 2, 103, 1}, {DW_NCHW, 4, 3, MANY / 16, 1}};
    float *kernel = calloc(WEIGHTS, sizeof *kernel);
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        dw_desc d;
        memset(&d, 0, sizeof d);
        d.batch = 1, d.height = d.width = CASES[i].size, d.channels = CASES[i].channels, d.multiplier = 1;
        d.kernel_h = d.kernel_w = CASES[i].size;
        d.stride_h = d.stride_w = CASES[i].stride, d.dilation_h = d.dilation_w = 1;
        d.layout = (dw_layout)CASES[i].layout;
        for (int allowed = 0; allowed < 4; allowed++) {
            const int ends = allowed < 3;
            asked first = {0, ends ? allowed : MANY, 0};
            dw_plan *plan = NULL;
            dw_grad *grad = NULL;
            const dw_status status =
                CASES[i].as_gradient ? dw_grad_create_until(&d, DW_ISA_AUTO, kernel, stop_after, &first, &grad)
                                     : dw_plan_create_until(&d, DW_ISA_AUTO, kernel, NULL, stop_after, &first, &plan);
            CHECK(status == (ends ? DW_ERR_STOPPED : DW_OK));
            CHECK((plan || grad) == !ends);
            CHECK(ends ? atomic_load(&first.times) == allowed + 1 : atomic_load(&first.times) >= 3);
            dw_grad_destroy(grad);
            if (!plan) continue;
            asked at_once = {0, 0, 0};
            dw_plan *copy = NULL;
            CHECK(dw_plan_with_weights_until(plan, kernel, NULL, stop_after, &at_once, &copy) == DW_ERR_STOPPED);
            CHECK(!copy && atomic_load(&at_once.times) == 1);
            dw_plan_destroy(plan);
        }
    }
    free(kernel);
}

int main(void) {
    test_until();
    test_create_until();
    test_parts();
    test_beside();
    test_waiting();
    test_callers();
    test_runs();
    dw_threads_stop();
    return report();
}
