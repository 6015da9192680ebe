/* nhwc_rows.h - the output rows of an image in the order in which a plan for channels_last makes them. */
#ifndef DW_NHWC_ROWS_H
#define DW_NHWC_ROWS_H

#include "plan.h"

/* Vertical phases: their rows are so far apart. */
static inline int64_t phase_step(const dw_plan *plan) { return plan->tile ? plan->desc.dilation_h : 1; }

static inline int64_t phases_of(const dw_plan *plan) {
    const int64_t step = phase_step(plan);
    return step < plan->out_h ? step : plan->out_h;
}

/* Rows of one, and into how many units they can be divided that share no output: rows that roll, or tiles, the last of
 * which overlaps its neighbour where rows are left over, and then is of the same unit. */
static inline int64_t phase_rows(const dw_plan *plan, int64_t phase) {
    return (plan->out_h - phase - 1) / phase_step(plan) + 1;
}

static inline int64_t units_of(const dw_plan *plan, int64_t rows) {
    return plan->tile && plan->tile->tile_h > 0 ? rows / plan->tile->tile_h : rows;
}

static inline int64_t dw_plan_image_units(const dw_plan *plan) {
    int64_t units = 0;
    for (int64_t phase = 0; phase < phases_of(plan); phase++) units += units_of(plan, phase_rows(plan, phase));
    return units;
}

#endif
