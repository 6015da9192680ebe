/* problem.h - what plans of both layouts and gradients have in common: a checked descriptor, the instruction set, and
 * the sizes that follow. */
#ifndef DW_PROBLEM_H
#define DW_PROBLEM_H

#include "isa.h"
#include "tuning.h"

/* Who may end a creation that copies much. */
typedef struct dw_stopper {
    dw_stop_fn *stop;
    void *context;
    int64_t bytes; /* copied since stop() was asked */
} dw_stopper;

typedef struct dw_problem {
    dw_desc desc; /* its denormals: what a run can do of what was requested */
    const dw_instruction_set *isa;
    const dw_tuning *tuning;
    int64_t out_h, out_w, out_channels;
    int64_t element_size, weight_size; /* of x and y; of kernel and bias */
    double clamp_min, clamp_max;       /* of every output: the activation, as far as it is a clamp */
    dw_stopper *stopper;               /* during a creation that may be ended; else NULL */
} dw_problem;

/* Counts `bytes` more that the creation has copied, and asks after every megabyte; 1: it is to end. */
static inline int dw_stopped(const dw_problem *problem, int64_t bytes) {
    enum { EVERY = 1 << 20 };
    dw_stopper *stopper = problem->stopper;
    if (!stopper || (stopper->bytes += bytes) < EVERY) return 0;
    stopper->bytes = 0;
    return stopper->stop(stopper->context);
}

/* Checks a descriptor and an instruction set. Allocates nothing. */
dw_status dw_problem_init(dw_problem *problem, const dw_desc *desc, dw_isa isa);

/* Multiply-adds of one run: valid taps only. A double, because a problem may have a batch that no machine holds. */
double dw_problem_multiply_adds(const dw_problem *problem);

int64_t dw_problem_x_bytes(const dw_problem *problem);
int64_t dw_problem_y_bytes(const dw_problem *problem);

#endif
