/* blocks.c - divides channels into vectors. */
#include "blocks.h"

#include "desc.h"
#include "shared.h"

dw_status dw_make_blocks(int64_t count, int64_t lanes, int64_t multiplier, int64_t channels, int64_t first,
                         int64_t second, int overlap, dw_block **blocks) {
    int64_t bytes;
    *blocks = NULL;
    if (!dw_bytes(sizeof(dw_block), &count, 1, &bytes)) return DW_ERR_OVERFLOW;
    *blocks = dw_shared_new(bytes);
    if (!*blocks) return DW_ERR_NOMEM;
    for (int64_t b = 0; b < count; b++) {
        dw_block *block = *blocks + b;
        int64_t begin = b == 0 ? first : second + (b - 1) * lanes;
        if (overlap && channels >= lanes && begin > channels - lanes) begin = channels - lanes;
        const int64_t used = channels - begin < lanes ? channels - begin : lanes;
        block->y = (ptrdiff_t)begin;
        block->y_count = (int32_t)used;
        block->x = (ptrdiff_t)(begin / multiplier);
        block->x_count = (int32_t)((begin + used - 1) / multiplier - block->x + 1);
    }
    return DW_OK;
}

void dw_input_lanes(const dw_block *block, int64_t multiplier, int64_t element_size, void *lanes) {
    for (int lane = 0; lane < block->y_count; lane++) {
        const int64_t source = (block->y + lane) / multiplier - block->x;
        if (element_size == 4) ((int32_t *)lanes)[lane] = (int32_t)source;
        else ((int64_t *)lanes)[lane] = source;
    }
}

int64_t dw_clean_cut(const dw_block *blocks, int64_t count, int64_t block) {
    while (block > 0 && block < count && blocks[block].y < blocks[block - 1].y + blocks[block - 1].y_count) block++;
    return block;
}
