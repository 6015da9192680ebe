/* plan.c - the life of a plan. This is the one place that dispatches on the layout: what is above it knows no layout,
 * what is below it knows one.
 *
 * A plan is made in three steps: the descriptor is checked (problem.c), a kernel is chosen and the work divided for it,
 * and the weights are packed in the order in which that kernel reads them. All that can fail fails here. After that a
 * plan never changes, so a run allocates nothing, checks nothing, and may happen on any number of threads at once.
 *
 * What must not be broken: planning takes time in proportion to the arrays, never to a dilation or a padding. */
#include "plan.h"

#include <stdlib.h>
#include <string.h>

#include "float_env.h"
#include "geometry.h"
#include "shared.h"

/* ---- the layouts ----------------------------------------------------------------------------------- */

static int is_nchw(const dw_plan *plan) { return plan->problem.desc.layout == DW_NCHW; }

static dw_status create(dw_plan *plan, const dw_strategy *strategy, const void *kernel, const void *bias) {
    if (is_nchw(plan)) return dw_nchw_create(&plan->of.nchw, &plan->problem, strategy, kernel, bias);
    return dw_nhwc_create(&plan->of.nhwc, &plan->problem, strategy, kernel, bias);
}

static void destroy(dw_plan *plan) {
    if (is_nchw(plan)) dw_nchw_destroy(&plan->of.nchw);
    else dw_nhwc_destroy(&plan->of.nhwc);
}

static void run(const dw_plan *plan, int64_t batch, const void *x, void *y, int part, int parts) {
    if (is_nchw(plan)) dw_nchw_run(&plan->of.nchw, &plan->problem, batch, x, y, part, parts);
    else dw_nhwc_run(&plan->of.nhwc, &plan->problem, batch, x, y, part, parts);
}

static void describe(const dw_plan *plan, dw_plan_info *info) {
    if (is_nchw(plan)) dw_nchw_describe(&plan->of.nchw, &plan->problem, info);
    else dw_nhwc_describe(&plan->of.nhwc, &plan->problem, info);
}

static int is_general(const dw_plan *plan) { return is_nchw(plan) ? !plan->of.nchw.kernel : !plan->of.nhwc.tile; }

/* In channels first no offset is better than another. */
int dw_plan_place_batch(const dw_plan *plan, int64_t batch, const void *x) {
    return is_nchw(plan) ? -1 : dw_nhwc_page_offset(&plan->of.nhwc, &plan->problem, batch, x);
}

int dw_plan_place(const dw_plan *plan, const void *x) { return dw_plan_place_batch(plan, plan->problem.desc.batch, x); }

/* ---- what a plan tells ----------------------------------------------------------------------------- */

void dw_plan_describe(const dw_plan *plan, dw_plan_info *info) {
    const dw_problem *problem = &plan->problem;
    *info = (dw_plan_info){.isa = problem->isa->id,
                           .multiply_adds = dw_problem_multiply_adds(problem),
                           .x_bytes = dw_problem_x_bytes(problem),
                           .y_bytes = dw_problem_y_bytes(problem)};
    describe(plan, info);
    info->plan_bytes += (int64_t)sizeof *plan;
}

/* The time of a run on one thread: the arithmetic or the memory, whichever takes longer. */
static int64_t estimate_nanoseconds(const dw_plan *plan) {
    const double MOST = 1e15;
    const dw_problem *problem = &plan->problem;
    const dw_tuning *tuning = problem->tuning;
    dw_plan_info info;
    dw_plan_describe(plan, &info);
    double work = info.multiply_adds / info.lanes / tuning->vectors_per_ns;
    if (problem->isa->calls_fma) work = info.multiply_adds * tuning->fma_call_ns;
    else if (is_general(plan)) work *= tuning->general;
    if (problem->desc.activation > DW_RELU6) {
        const double outputs = (double)info.y_bytes / (double)problem->element_size;
        work += outputs / info.lanes * tuning->activation_vectors;
    }
    const double moved = ((double)info.x_bytes + (double)info.y_bytes) / tuning->bytes_per_ns;
    if (work < moved) work = moved;
    return (int64_t)(work < MOST ? work : MOST);
}

/* ---- strategies ------------------------------------------------------------------------------------ */

dw_strategies *dw_plan_list_strategies(const dw_problem *problem) {
    dw_strategies *list = malloc(sizeof *list);
    if (!list) return NULL;
    list->count = 0;
    if (problem->desc.layout == DW_NCHW) dw_nchw_strategies(problem, list);
    else dw_nhwc_strategies(problem, list);
    return list;
}

static void tell(const dw_problem *problem, const dw_strategy *strategy, dw_strategy_info *info) {
    const dw_dtype dtype = problem->desc.dtype;
    if (problem->desc.layout == DW_NCHW)
        dw_nchw_strategy_name(strategy->isa->nchw[dtype], strategy, info->name, DW_STRATEGY_NAME);
    else dw_nhwc_strategy_name(strategy->isa->nhwc[dtype], strategy, info->name, DW_STRATEGY_NAME);
    info->nanoseconds = strategy->cost * (double)problem->desc.batch / problem->tuning->vectors_per_ns;
    info->measured = 0;
}

dw_status dw_strategies_of(const dw_desc *desc, dw_isa isa, dw_strategy_info *to, int capacity, int *count) {
    if (!desc || !count || (!to && capacity > 0)) return DW_ERR_NULL;
    dw_problem problem;
    const dw_status status = dw_problem_init(&problem, desc, isa);
    if (status != DW_OK) return status;
    dw_strategies *list = dw_plan_list_strategies(&problem);
    if (!list) return DW_ERR_NOMEM;
    *count = list->count;
    for (int i = 0; i < list->count && i < capacity; i++) tell(&problem, list->at + i, to + i);
    free(list);
    return DW_OK;
}

static const dw_strategy *strategy_of(const dw_plan *plan) {
    return is_nchw(plan) ? &plan->of.nchw.strategy : &plan->of.nhwc.strategy;
}

/* The place in the order of what the plan knows: itself, what was measured, the rest. */
static int place_of(const dw_plan *plan, const dw_strategy *strategy, double *measured) {
    const dw_measured *list = plan->measured;
    const int count = list ? list->count : 0;
    const double own = plan->problem.desc.batch > 0 ? (double)plan->problem.desc.batch : 1;
    *measured = 0;
    for (int i = 0; i < count; i++)
        if (dw_strategy_is(&list->at[i].strategy, strategy)) *measured = list->at[i].nanoseconds_per_image * own;
    if (dw_strategy_is(strategy_of(plan), strategy)) return 0;
    for (int i = 0; i < count; i++)
        if (dw_strategy_is(&list->at[i].strategy, strategy)) return 1 + i;
    return 1 + count;
}

dw_status dw_plan_strategies(const dw_plan *plan, dw_strategy_info *to, int capacity, int *count) {
    if (!plan || !count || (!to && capacity > 0)) return DW_ERR_NULL;
    dw_strategies *list = dw_plan_list_strategies(&plan->problem);
    if (!list) return DW_ERR_NOMEM;
    const int places = 1 + (plan->measured ? plan->measured->count : 0);
    int stored = 0;
    for (int place = 0; place <= places && stored < capacity; place++) {
        for (int i = 0; i < list->count && stored < capacity; i++) {
            double measured;
            if (place_of(plan, list->at + i, &measured) != place) continue;
            tell(&plan->problem, list->at + i, to + stored);
            to[stored++].measured = measured;
        }
    }
    *count = list->count;
    free(list);
    return DW_OK;
}

/* ---- life ------------------------------------------------------------------------------------------ */

dw_status dw_plan_make(const dw_desc *desc, dw_isa isa, const dw_strategy *strategy, const void *kernel,
                       const void *bias, dw_stop_fn *stop, void *context, dw_plan **out) {
    if (!out) return DW_ERR_NULL;
    *out = NULL;
    if (!desc || !kernel) return DW_ERR_NULL;
    dw_plan *plan = calloc(1, sizeof *plan);
    if (!plan) return DW_ERR_NOMEM;
    dw_status status = dw_problem_init(&plan->problem, desc, isa);
    if (status != DW_OK) {
        free(plan);
        return status;
    }
    dw_stopper stopper = {stop, context, 0};
    if (stop) plan->problem.stopper = &stopper;
    status = create(plan, strategy, kernel, bias);
    if (status != DW_OK) {
        dw_plan_destroy(plan);
        return status;
    }
    plan->problem.stopper = NULL;
    plan->nanoseconds = estimate_nanoseconds(plan);
    *out = plan;
    return DW_OK;
}

/* A plan of strategy `index`, or, if that is negative, of the one with this name. */
static dw_status create_listed(const dw_desc *desc, dw_isa isa, int index, const char *name, const void *kernel,
                               const void *bias, dw_stop_fn *stop, void *context, dw_plan **out) {
    if (!out) return DW_ERR_NULL;
    *out = NULL;
    if (!desc || !kernel) return DW_ERR_NULL;
    dw_problem problem;
    dw_status status = dw_problem_init(&problem, desc, isa);
    if (status != DW_OK) return status;
    dw_strategies *list = dw_plan_list_strategies(&problem);
    if (!list) return DW_ERR_NOMEM;
    for (int i = 0; index < 0 && i < list->count; i++) {
        dw_strategy_info info;
        tell(&problem, list->at + i, &info);
        if (strcmp(info.name, name) == 0) index = i;
    }
    if (index < 0 || index >= list->count) status = DW_ERR_STRATEGY;
    else status = dw_plan_make(desc, isa, list->at + index, kernel, bias, stop, context, out);
    free(list);
    return status;
}

dw_status dw_plan_create(const dw_desc *desc, dw_isa isa, const void *kernel, const void *bias, dw_plan **plan) {
    return dw_plan_make(desc, isa, NULL, kernel, bias, NULL, NULL, plan);
}

dw_status dw_plan_create_until(const dw_desc *desc, dw_isa isa, const void *kernel, const void *bias, dw_stop_fn *stop,
                               void *context, dw_plan **plan) {
    return dw_plan_make(desc, isa, NULL, kernel, bias, stop, context, plan);
}

dw_status dw_plan_create_strategy(const dw_desc *desc, dw_isa isa, int index, const void *kernel, const void *bias,
                                  dw_plan **plan) {
    if (plan) *plan = NULL;
    if (index < 0) return DW_ERR_STRATEGY;
    return create_listed(desc, isa, index, NULL, kernel, bias, NULL, NULL, plan);
}

dw_status dw_plan_create_named(const dw_desc *desc, dw_isa isa, const char *name, const void *kernel, const void *bias,
                               dw_stop_fn *stop, void *context, dw_plan **plan) {
    if (plan) *plan = NULL;
    if (!name) return DW_ERR_NULL;
    return create_listed(desc, isa, -1, name, kernel, bias, stop, context, plan);
}

void dw_plan_destroy(dw_plan *plan) {
    if (!plan) return;
    destroy(plan);
    dw_shared_drop(plan->measured);
    free(plan);
}

/* ---- copies ---------------------------------------------------------------------------------------- */

/* A plan that owns the same memory. */
static dw_plan *copy_of(const dw_plan *plan) {
    dw_plan *copy = malloc(sizeof *copy);
    if (!copy) return NULL;
    *copy = *plan;
    dw_shared_keep(copy->measured);
    if (is_nchw(copy)) dw_nchw_keep(&copy->of.nchw);
    else dw_nhwc_keep(&copy->of.nhwc);
    return copy;
}

/* which: the packings that are wanted, of a layout that has several. */
static dw_status with_weights(const dw_plan *plan, unsigned which, const void *kernel, const void *bias,
                              dw_stop_fn *stop, void *context, dw_plan **out) {
    dw_plan *copy = copy_of(plan);
    if (!copy) return DW_ERR_NOMEM;
    dw_stopper stopper = {stop, context, 0};
    if (stop) copy->problem.stopper = &stopper;
    const dw_status status = is_nchw(copy) ? dw_nchw_repack(&copy->of.nchw, &copy->problem, kernel, bias)
                                           : dw_nhwc_repack(&copy->of.nhwc, &copy->problem, which, kernel, bias);
    copy->problem.stopper = NULL;
    if (status != DW_OK) dw_plan_destroy(copy);
    else *out = copy;
    return status;
}

dw_status dw_plan_with_weights_until(const dw_plan *plan, const void *kernel, const void *bias, dw_stop_fn *stop,
                                     void *context, dw_plan **out) {
    if (!out) return DW_ERR_NULL;
    *out = NULL;
    if (!plan || !kernel) return DW_ERR_NULL;
    return with_weights(plan, DW_EVERY_PACKING, kernel, bias, stop, context, out);
}

dw_status dw_plan_with_weights(const dw_plan *plan, const void *kernel, const void *bias, dw_plan **out) {
    return dw_plan_with_weights_until(plan, kernel, bias, NULL, NULL, out);
}

dw_status dw_plan_geometry(const dw_plan *plan, dw_plan **out) {
    if (!out) return DW_ERR_NULL;
    *out = NULL;
    if (!plan) return DW_ERR_NULL;
    dw_plan *copy = copy_of(plan);
    if (!copy) return DW_ERR_NOMEM;
    if (is_nchw(copy)) dw_nchw_forget(&copy->of.nchw);
    else dw_nhwc_forget(&copy->of.nhwc, DW_EVERY_PACKING);
    *out = copy;
    return DW_OK;
}

static unsigned packings_for(const dw_plan *plan, const void *x, const void *y) {
    return is_nchw(plan) ? 1 : dw_nhwc_packings_for(&plan->of.nhwc, &plan->problem, x, y);
}

dw_status dw_plan_with_weights_for(const dw_plan *plan, const void *x, const void *y, const void *kernel,
                                   const void *bias, dw_stop_fn *stop, void *context, dw_plan **out) {
    if (!out) return DW_ERR_NULL;
    *out = NULL;
    if (!plan || !kernel) return DW_ERR_NULL;
    return with_weights(plan, packings_for(plan, x, y), kernel, bias, stop, context, out);
}

int dw_plan_suits(const dw_plan *plan, const void *x, const void *y) {
    return is_nchw(plan) || dw_nhwc_is_packed(&plan->of.nhwc, packings_for(plan, x, y));
}

dw_status dw_plan_with_batch(const dw_plan *plan, int64_t batch, dw_plan **out) {
    if (!out) return DW_ERR_NULL;
    *out = NULL;
    if (!plan) return DW_ERR_NULL;
    dw_desc desc = plan->problem.desc;
    int64_t oh, ow;
    desc.batch = batch;
    const dw_status status = dw_output_size(&desc, &oh, &ow);
    if (status != DW_OK) return status;
    if (plan->problem.desc.batch == 0 && batch > 0) return DW_ERR_SHAPE; /* it has no tables */
    dw_plan *copy = copy_of(plan);
    if (!copy) return DW_ERR_NOMEM;
    copy->problem.desc.batch = batch;
    copy->nanoseconds = estimate_nanoseconds(copy);
    *out = copy;
    return DW_OK;
}

void dw_plan_share(dw_plan *plan, const dw_plan *other) {
    if (is_nchw(plan) != is_nchw(other)) return;
    if (is_nchw(plan)) dw_nchw_merge(&plan->of.nchw, &other->of.nchw);
    else dw_nhwc_merge(&plan->of.nhwc, &other->of.nhwc);
}

/* ---- running --------------------------------------------------------------------------------------- */

void dw_plan_run_part_batch(const dw_plan *plan, int64_t batch, const void *x, void *y, int part, int parts) {
    const dw_float_env before = dw_float_begin(plan->problem.desc.denormals);
    run(plan, batch, x, y, part, parts);
    dw_float_end(before);
}

void dw_plan_run_part(const dw_plan *plan, const void *x, void *y, int part, int parts) {
    dw_plan_run_part_batch(plan, plan->problem.desc.batch, x, y, part, parts);
}

void dw_plan_run(const dw_plan *plan, const void *x, void *y) { dw_plan_run_part(plan, x, y, 0, 1); }
