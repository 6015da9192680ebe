/* geometry.h - plans without weights, and weights for them: for a caller whose weights come with each call, and who keeps
 * the rest (dwconv/binding/kept_plans.pxi). */
#ifndef DW_GEOMETRY_H
#define DW_GEOMETRY_H

#include "dwconv.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The same problem without weights: for the functions here and for dw_plan_with_weights, and not to be
 * run. It keeps no memory but tables. */
dw_status dw_plan_geometry(const dw_plan *plan, dw_plan **out);

/* dw_plan_with_weights_until for weights that change from run to run. Where a plan would pack them in several
 * arrangements, by the addresses of x and y, it packs the one that is best for these. Any run of the result is right;
 * dw_plan_suits tells whether it is as fast for other addresses. */
dw_status dw_plan_with_weights_for(const dw_plan *plan, const void *x, const void *y, const void *kernel,
                                   const void *bias, dw_stop_fn *stop, void *context, dw_plan **out);
int dw_plan_suits(const dw_plan *plan, const void *x, const void *y);

#ifdef __cplusplus
}
#endif

#endif
