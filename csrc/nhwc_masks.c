/* nhwc_masks.c - channels last: which lanes of folded columns have their taps in the padding.
 *
 * A masked kernel asks for each block and kernel column, once for all rows. It depends on nothing that a run brings, so
 * the plan knows it. What a run takes of the time that it took when kernels computed it (Emerald Rapids, family 6 model
 * 207): AVX-512 14x14x12 0.92, 7x7x24 0.93, 14x14x24 0.97; AVX2 7x7x20 0.94, 7x7x12 0.95, 14x14x12 0.98; 28x28x3 0.98, from
 * 56x56 on 1.0. */
#include "desc.h"
#include "nhwc.h"
#include "shared.h"

/* Of `count` lanes from channel `first` on, `channels` to a pixel, those whose pixels are in [begin, end). */
static dw_range lanes_of_pixels(int64_t begin, int64_t end, int64_t channels, int64_t first, int64_t count) {
    const int64_t from = dw_min(dw_max(begin * channels - first, 0), count);
    return (dw_range){from, dw_max(dw_min(end * channels - first, count), from)};
}

/* The lanes of one folded column. */
static void find_lanes(const dw_nhwc *nhwc, const dw_problem *problem, const dw_phases *phases, dw_valid_lanes *to) {
    const dw_desc *d = &problem->desc;
    const dw_packing *packing = nhwc->packings; /* folded pixels have no other */
    for (const dw_block *block = packing->blocks; block < packing->blocks + packing->count; block++) {
        for (int64_t kj = 0; kj < d->kernel_w; kj++) {
            /* Pixel i has its tap in column y_first - pad_left + i + kj * dilation_w of x. */
            const int64_t begin = d->pad_left - phases->y_first - kj * d->dilation_w, end = begin + phases->width;
            const dw_range x = lanes_of_pixels(begin, end, d->channels, block->x, block->x_count);
            const dw_range y = lanes_of_pixels(begin, end, problem->out_channels, block->y, nhwc->table->lanes);
            *to++ = (dw_valid_lanes){(unsigned char)x.begin, (unsigned char)x.end, (unsigned char)y.begin,
                                     (unsigned char)y.end};
        }
    }
}

dw_status dw_nhwc_make_masks(dw_nhwc *nhwc, const dw_problem *problem) {
    const int64_t each = nhwc->packings[0].count * problem->desc.kernel_w; /* both small: see tuning's folded_lanes */
    int64_t columns = 0, bytes;
    for (int i = 0; i < nhwc->segments.count; i++) columns += nhwc->segments.at[i].masked != NULL;
    if (!columns) return DW_OK;
    const int64_t sizes[] = {columns, each};
    if (!dw_bytes(sizeof(dw_valid_lanes), sizes, 2, &bytes)) return DW_ERR_OVERFLOW;
    nhwc->valid = dw_shared_new(bytes);
    if (!nhwc->valid) return DW_ERR_NOMEM;
    nhwc->valid_count = columns * each;
    dw_valid_lanes *next = nhwc->valid;
    for (int i = 0; i < nhwc->segments.count; i++) {
        dw_segment *segment = nhwc->segments.at + i;
        if (!segment->masked) continue;
        find_lanes(nhwc, problem, nhwc->phases + segment->phases, next);
        segment->valid = next;
        next += each;
    }
    return DW_OK;
}
