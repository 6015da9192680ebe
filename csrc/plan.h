/* plan.h - what a plan holds. Internal: plan.c makes it, pack.c fills in the weights, run.c reads it. */
#ifndef DW_PLAN_H
#define DW_PLAN_H

#include "kernels.h"
#include "planar.h"

/* The columns of one dilation phase, or all of them: a dense problem of its own for the tile kernels. */
typedef struct dw_phase {
    int64_t x_first; /* first column of x in this phase */
    int64_t width;   /* columns of x in this phase */
    int64_t pad;     /* columns of padding on the left in this phase */
    int64_t y_first; /* first output column of this phase */
    int64_t cols;    /* output columns of this phase */
} dw_phase;

/* A run of output columns of one phase, and who makes them. */
typedef struct dw_segment {
    int64_t phase;
    dw_strip_fn *tile; /* NULL: the general kernel */
    int64_t col, cols;
} dw_segment;

/* Channel blocks, and how many. */
typedef struct dw_blocks {
    dw_block *at;
    int64_t count;
} dw_blocks;

/* Of a plan for channels_first: planar.c. */
typedef struct dw_planar {
    const dw_planar_table *table;
    const dw_planar_kernel *kernel; /* NULL: the general kernel of the table */
    int lanes;
    int64_t band, chunk; /* output rows, and planes, that are made column by column */
    dw_column *columns;
    int64_t column_count;
    dw_span *spans; /* of the columns at the edges */
} dw_planar;

struct dw_plan {
    dw_desc desc;
    dw_isa isa;
    const dw_kernels *kernels;
    const dw_tile *tile; /* NULL: the general kernel makes everything */
    int64_t out_h, out_w, out_channels;
    int64_t item; /* bytes of an element */
    double low, high;

    /* At stride 1 `merged` pixels are one column to the tile kernels, with merged * C channels whose weights
     * repeat: C = 3 or 24 fills no whole number of vectors, 8 or 2 pixels do. 1: off. */
    int64_t merged;
    dw_blocks blocks;         /* of the merged channels */
    dw_blocks general_blocks; /* of one pixel, for the general kernel: the same ones if nothing is merged */
    void *weights, *weights_memory; /* 64-byte aligned, and what to free */

    dw_phase *phases;
    dw_segment *segments;
    int64_t phase_count, segment_count, phase_step; /* phase_step: columns from one of a phase to the next */

    dw_planar *planar; /* NULL: channels_last. Else it has its own kernels; of the above the sizes and weights count */
};

/* Fills plan->blocks, plan->general_blocks and plan->weights. */
dw_status dw_pack(dw_plan *plan, const void *kernel, const void *bias);

/* channels_first: fills plan->planar and plan->weights; runs; frees. */
dw_status dw_planar_create(dw_plan *plan, const void *kernel, const void *bias);
void dw_planar_run(const dw_plan *plan, const void *x, void *y);
void dw_planar_destroy(dw_planar *planar);

#endif
