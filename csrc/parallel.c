/* parallel.c - runs a plan by several threads: how many it is worth, and in how many parts. */
#include "plan.h"
#include "pool.h"

/* A thread that spins takes up a job within a microsecond, one that sleeps costs its caller some three microseconds
 * and begins after 50. So a thread gets as much as pays for being woken. */
enum { THREAD_NANOSECONDS = 4500 };

int64_t dw_plan_nanoseconds(const dw_plan *plan) {
    /* Vectors per nanosecond: multiply-adds of tiles, on Zen 4; the general kernel takes four times as long, and where
     * a multiply-add is a call of fma() each takes one or two. An activation that is more than a clamp: 5 to 15. */
    const double VECTORS = 3, GENERAL = 4, CALL = 1.5, ACTIVATION = 10, BYTES = 40, MOST = 1e15;
    dw_plan_info info;
    dw_plan_describe(plan, &info);
    const double outputs = (double)info.y_bytes / (double)plan->item;
    double work = info.multiply_adds / info.lanes / VECTORS;
    if (plan->isa == DW_ISA_PORTABLE) work = info.multiply_adds * CALL;
    else if (plan->planar ? !plan->planar->kernel : !plan->tile) work *= GENERAL;
    if (plan->activate) work += outputs / info.lanes * ACTIVATION;
    const double moved = ((double)info.x_bytes + (double)info.y_bytes) / BYTES;
    if (work < moved) work = moved;
    return (int64_t)(work < MOST ? work : MOST);
}

int dw_plan_threads(const dw_plan *plan, int num_threads) {
    return dw_pool_threads(plan->nanoseconds, THREAD_NANOSECONDS, num_threads);
}

typedef struct call {
    const dw_plan *plan;
    const void *x;
    void *y;
} call;

static void run_part(const void *arguments, int part, int parts) {
    const call *c = arguments;
    dw_plan_run_part(c->plan, c->x, c->y, part, parts);
}

void dw_plan_run_threads(const dw_plan *plan, const void *x, void *y, int num_threads) {
    const int threads = dw_plan_threads(plan, num_threads);
    if (threads == 1) {
        dw_plan_run(plan, x, y);
        return;
    }
    const call c = {plan, x, y};
    dw_pool_run(run_part, &c, dw_pool_parts(plan->nanoseconds, threads), threads);
}
