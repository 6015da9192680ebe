/* parallel.c - runs a plan by several threads: how many it is worth, and in how many parts. */
#include "plan.h"
#include "thread_pool.h"

/* That a run for `batch` images takes on one thread. */
static int64_t nanoseconds_of(const dw_plan *plan, int64_t batch) {
    const double MOST = 1e15;
    const int64_t own = plan->problem.desc.batch;
    if (batch == own || own == 0) return plan->nanoseconds;
    const double time = (double)plan->nanoseconds / (double)own * (double)batch;
    return (int64_t)(time < MOST ? time : MOST);
}

int dw_plan_threads_batch(const dw_plan *plan, int64_t batch, int num_threads) {
    return dw_pool_threads(nanoseconds_of(plan, batch), plan->problem.tuning->thread_ns, num_threads);
}

int dw_plan_threads(const dw_plan *plan, int num_threads) {
    return dw_plan_threads_batch(plan, plan->problem.desc.batch, num_threads);
}

typedef struct call {
    const dw_plan *plan;
    int64_t batch;
    const void *x;
    void *y;
} call;

static void run_part_of_call(const void *arguments, int part, int parts) {
    const call *c = arguments;
    dw_plan_run_part_batch(c->plan, c->batch, c->x, c->y, part, parts);
}

static void run_threads(const dw_plan *plan, int64_t batch, const void *x, void *y, int num_threads) {
    const int threads = dw_plan_threads_batch(plan, batch, num_threads);
    if (threads == 1) {
        dw_plan_run_part_batch(plan, batch, x, y, 0, 1);
        return;
    }
    const call c = {plan, batch, x, y};
    dw_pool_run(run_part_of_call, &c, dw_pool_parts(nanoseconds_of(plan, batch), threads), threads, NULL, NULL);
}

void dw_plan_run_threads(const dw_plan *plan, const void *x, void *y, int num_threads) {
    run_threads(plan, plan->problem.desc.batch, x, y, num_threads);
}

/* ---- runs that may be ended early -------------------------------------------------------------------- */

typedef struct long_call {
    const dw_plan *plan;
    int64_t batch;
    const void *x;
    void *y;
    int pieces;
    dw_stop_fn *stop;
    void *context;
} long_call;

/* A share of the pieces, one after the other. All of them are parts of one division, whichever thread runs them. */
static void run_pieces(const void *arguments, int part, int parts) {
    const long_call *c = arguments;
    const dw_range share = dw_range_of(c->pieces, part, parts);
    for (int64_t piece = share.begin; piece < share.end && !c->stop(c->context); piece++)
        dw_plan_run_part_batch(c->plan, c->batch, c->x, c->y, (int)piece, c->pieces);
}

int dw_plan_run_batch(const dw_plan *plan, int64_t batch, const void *x, void *y, int num_threads, dw_stop_fn *stop,
                      void *context) {
    enum { PIECE_NANOSECONDS = 5000000, LEAST_PIECES = 4, MOST_PIECES = 1 << 20 };
    const int64_t nanoseconds = nanoseconds_of(plan, batch), pieces = nanoseconds / PIECE_NANOSECONDS;
    if (!stop || pieces < LEAST_PIECES) {
        run_threads(plan, batch, x, y, num_threads);
        return 0;
    }
    const int threads = dw_plan_threads_batch(plan, batch, num_threads);
    const long_call c = {plan, batch, x, y, pieces < MOST_PIECES ? (int)pieces : MOST_PIECES, stop, context};
    if (threads == 1) run_pieces(&c, 0, 1);
    else dw_pool_run(run_pieces, &c, dw_pool_parts(nanoseconds, threads), threads, stop, context);
    return stop(context);
}

int dw_plan_run_until(const dw_plan *plan, const void *x, void *y, int num_threads, dw_stop_fn *stop, void *context) {
    return dw_plan_run_batch(plan, plan->problem.desc.batch, x, y, num_threads, stop, context);
}
