/* plan.h - what a plan is: a problem, and what the kernels of its layout need. Opaque to users. */
#ifndef DW_PLAN_H
#define DW_PLAN_H

#include "nchw.h"
#include "nhwc.h"

/* What measuring has found: strategies with their times, the fastest first. */
enum { DW_MOST_MEASURED = 16 };
typedef struct dw_measured {
    int count;
    struct {
        dw_strategy strategy;
        double nanoseconds_per_image;
    } at[DW_MOST_MEASURED];
} dw_measured;

struct dw_plan {
    dw_problem problem;
    union {
        dw_nhwc nhwc; /* problem.desc.layout == DW_NHWC */
        dw_nchw nchw; /* DW_NCHW */
    } of;
    int64_t nanoseconds;   /* that a run for its own batch takes on one thread, roughly */
    dw_measured *measured; /* dw_shared memory; NULL: nothing was measured */
};

/* plan.c, for measure.c. The strategies of a problem, to free(); NULL if there is no memory. A plan of one of them;
 * strategy NULL: the estimate's choice. */
dw_strategies *dw_plan_list_strategies(const dw_problem *problem);
dw_status dw_plan_make(const dw_desc *desc, dw_isa isa, const dw_strategy *strategy, const void *kernel,
                       const void *bias, dw_stop_fn *stop, void *context, dw_plan **plan);

#endif
