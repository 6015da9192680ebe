/* threads.c - one plan, two threads of the program's own, each of which computes its part of the output.
 *
 * No two parts write the same byte, and all parts together give the bits of dw_plan_run. examples/CMakeLists.txt builds
 * it. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dwconv.h"

enum { H = 56, W = 56, C = 32, COUNT = H * W * C, PARTS = 2 };

typedef struct job {
    const dw_plan *plan;
    const float *x;
    float *y;
    int part;
} job;

static void *work(void *pointer) {
    const job *mine = pointer;
    dw_plan_run_part(mine->plan, mine->x, mine->y, mine->part, PARTS);
    return NULL;
}

int main(void) {
    static float x[COUNT], whole[COUNT], parts[COUNT], kernel[3 * 3 * C], bias[C];
    for (int i = 0; i < COUNT; i++) x[i] = (float)(i % 17) - 8;
    for (int i = 0; i < 3 * 3 * C; i++) kernel[i] = (float)(i % 5) - 2;

    dw_desc desc = {0};
    desc.batch = 1, desc.height = H, desc.width = W, desc.channels = C, desc.multiplier = 1;
    desc.kernel_h = desc.kernel_w = 3;
    desc.stride_h = desc.stride_w = desc.dilation_h = desc.dilation_w = 1;
    desc.activation = DW_RELU;
    dw_status status = dw_pad_same(&desc);
    dw_plan *plan = NULL;
    if (status == DW_OK) status = dw_plan_create(&desc, DW_ISA_AUTO, kernel, bias, &plan);
    if (status != DW_OK) {
        fprintf(stderr, "%s\n", dw_status_text(status));
        return 1;
    }

    dw_plan_run(plan, x, whole);
    job jobs[PARTS];
    pthread_t threads[PARTS];
    for (int i = 0; i < PARTS; i++) {
        jobs[i] = (job){plan, x, parts, i};
        if (pthread_create(&threads[i], NULL, work, &jobs[i]) != 0) return 1;
    }
    for (int i = 0; i < PARTS; i++) pthread_join(threads[i], NULL);
    dw_plan_destroy(plan);

    const int same = memcmp(whole, parts, sizeof whole) == 0;
    printf("%d threads: %s\n", PARTS, same ? "the same bits as one" : "other bits than one");
    return same ? 0 : 1;
}
