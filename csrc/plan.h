/* plan.h - what a plan is: a problem, and what the kernels of its layout need. Opaque to users. */
#ifndef DW_PLAN_H
#define DW_PLAN_H

#include "nchw.h"
#include "nhwc.h"

struct dw_plan {
    dw_problem problem;
    union {
        dw_nhwc nhwc; /* problem.desc.layout == DW_NHWC */
        dw_nchw nchw; /* DW_NCHW */
    } of;
    int64_t nanoseconds; /* that a run for its own batch takes on one thread, roughly */
};

#endif
