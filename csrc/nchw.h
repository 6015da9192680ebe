/* nchw.h - what a plan for channels first holds, and the functions of nchw.c. */
#ifndef DW_NCHW_H
#define DW_NCHW_H

#include "problem.h"
#include "strategy.h"

/* The one axis of a strategy: planes whose columns are made before the next columns, as many as stay in L1 or one. */
enum { DW_AXIS_PLANES, DW_NCHW_AXES };
enum { DW_PLANES_L1, DW_PLANES_ONE };

/* All memory that it owns is dw_shared memory. */
typedef struct dw_nchw {
    dw_strategy strategy;
    const dw_nchw_table *table;   /* of the problem's instruction set, or of a narrower one */
    const dw_nchw_kernel *kernel; /* NULL: the general kernel of the table */
    dw_activate_fn *activate;     /* what follows the clamp; NULL: nothing */
    int64_t chunk;                /* planes whose columns are made before the next columns */
    dw_colvec *columns;
    int64_t column_count;
    dw_lane_range *valid; /* of the columns at the edges */
    int64_t table_bytes;  /* of columns and valid */
    void *weights;        /* [output channel][bias, taps] */
} dw_nchw;

/* strategy: one of dw_nchw_strategies, or NULL for the estimate's choice. */
dw_status dw_nchw_create(dw_nchw *nchw, const dw_problem *problem, const dw_strategy *strategy, const void *kernel,
                         const void *bias);
void dw_nchw_destroy(dw_nchw *nchw);
/* A bitwise copy of a plan becomes an owner of the same memory. */
void dw_nchw_keep(dw_nchw *copy);
/* Replaces the weights, or takes over those of `other` where they have the same bytes. */
dw_status dw_nchw_repack(dw_nchw *nchw, const dw_problem *problem, const void *kernel, const void *bias);
void dw_nchw_forget(dw_nchw *nchw); /* drops the weights */
void dw_nchw_merge(dw_nchw *nchw, const dw_nchw *other);
/* Adds the strategies of a problem, ranked, the estimate's choice first; the name of one. */
void dw_nchw_strategies(const dw_problem *problem, dw_strategies *to);
void dw_nchw_strategy_name(const dw_nchw_table *table, const dw_strategy *strategy, char *to, int size);
void dw_nchw_describe(const dw_nchw *nchw, const dw_problem *problem, dw_plan_info *info);

/* Part `part` of `parts` of a run for `batch` images. */
void dw_nchw_run(const dw_nchw *nchw, const dw_problem *problem, int64_t batch, const void *x, void *y, int part,
                 int parts);

#endif
