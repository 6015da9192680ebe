/* parallel.c - runs a plan by several threads: how many it is worth, and in how many parts. */
#include "plan.h"
#include "pool.h"

/* A thread that spins takes up a job within a microsecond, one that sleeps costs its caller some three microseconds
 * and begins after 50. So a thread gets as much as pays for being woken. */
enum { THREAD_NANOSECONDS = 4500 };

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
