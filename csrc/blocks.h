/* blocks.h - channels in vectors: what convolutions and gradients are divided into. */
#ifndef DW_BLOCKS_H
#define DW_BLOCKS_H

#include <stddef.h>

#include "dwconv.h"

/* Where one block of `lanes` output channels lies. Blocks may overlap: the last begins `lanes` channels
 * before the end, so that full vectors do for any number of channels >= lanes. */
typedef struct dw_block {
    ptrdiff_t x, y;  /* first input channel, first output channel */
    int32_t x_count; /* input channels it reads, <= lanes */
    int32_t y_count; /* output channels it writes: lanes, or all of them if there are fewer */
} dw_block;

/* `count` blocks over `channels` output channels, `lanes` each, the first beginning at channel `first`, the second at
 * `second`. Where the last one would be partial it overlaps its neighbour, unless there is but one or `overlap` is
 * off. A negative `first` is of the pixel before. *blocks is for the caller to free; NULL on failure. */
dw_status dw_make_blocks(int64_t count, int64_t lanes, int64_t multiplier, int64_t channels, int64_t first,
                         int64_t second, int overlap, dw_block **blocks);

/* The input lane of each output lane of a block, integers as wide as an element. */
void dw_input_lanes(const dw_block *block, int64_t multiplier, int64_t element_size, void *map);

/* The first block from `block` on that has no channel in common with the one before it: where blocks may be divided. */
int64_t dw_clean_cut(const dw_block *blocks, int64_t count, int64_t block);

#endif
