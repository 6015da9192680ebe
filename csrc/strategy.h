/* strategy.h - one way to compute a problem, as a value: a kernel, and options that say how it is used. The planner
 * lists those that a problem has, the estimate's choice first; a plan is made of one of them. All of them give the same
 * bits: they differ in time only, and tests run every one. */
#ifndef DW_STRATEGY_H
#define DW_STRATEGY_H

#include "isa.h"

/* Questions that are decided besides the kernel. Each has its options in a table, with names: of channels last in
 * nhwc_strategies.c, of channels first, which has one axis, in nchw.c. */
enum { DW_MAX_AXES = 4, DW_MAX_STRATEGIES = 1024 };

typedef struct dw_strategy {
    const dw_instruction_set *isa; /* whose kernels are used: the problem's, or a narrower one */
    const dw_tile *tile;           /* DW_NHWC; NULL: the general kernel */
    const dw_nchw_kernel *planar;  /* DW_NCHW; NULL: the general kernel */
    signed char option[DW_MAX_AXES];
    double cost; /* of a run, in multiply-adds of vectors; ranks them */
} dw_strategy;

typedef struct dw_strategies {
    int count;
    dw_strategy at[DW_MAX_STRATEGIES];
} dw_strategies;

/* Adds one, unless the list is full. */
void dw_strategies_add(dw_strategies *to, const dw_strategy *strategy);

/* Sorts by cost; `first`, which is among them, comes first. */
void dw_strategies_rank(dw_strategies *list, const dw_strategy *first);

/* Whether they are the same way, whatever they cost. */
int dw_strategy_is(const dw_strategy *a, const dw_strategy *b);

/* "kernel+option+option": the names of all options but the first of each axis, which has none. */
void dw_strategy_write_name(const char *kernel, const char *const *const *names, int axes, const signed char *option,
                            char *to, int size);

#endif
