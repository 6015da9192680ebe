/* embed.c - a layer without Python: 3 x 3 ones over an image of ones, padded, count the taps at each pixel. The README
 * has the one command that builds it. */
#include <stdio.h>

#include "dwconv.h"

int main(void) {
    static float x[5 * 7 * 8], y[5 * 7 * 8], kernel[3 * 3 * 8]; /* (N, H, W, C) = (1, 5, 7, 8), (kh, kw, C, M) */
    for (int i = 0; i < 5 * 7 * 8; i++) x[i] = 1;
    for (int i = 0; i < 3 * 3 * 8; i++) kernel[i] = 1;

    dw_desc desc = {0}; /* dtype float32, no activation, channels last */
    desc.batch = 1, desc.height = 5, desc.width = 7, desc.channels = 8, desc.multiplier = 1;
    desc.kernel_h = desc.kernel_w = 3;
    desc.stride_h = desc.stride_w = desc.dilation_h = desc.dilation_w = 1;
    desc.pad_top = desc.pad_bottom = desc.pad_left = desc.pad_right = 1;

    dw_plan *plan;
    const dw_status status = dw_plan_create(&desc, DW_ISA_AUTO, kernel, NULL, &plan);
    if (status != DW_OK) {
        fprintf(stderr, "%s\n", dw_status_text(status));
        return 1;
    }
    dw_plan_run(plan, x, y); /* from any thread, as often as you like */
    dw_plan_destroy(plan);

    for (int row = 0; row < 5; row++)
        for (int col = 0; col < 7; col++) printf("%g%s", (double)y[(row * 7 + col) * 8], col < 6 ? " " : "\n");
    return 0;
}
