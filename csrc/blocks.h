/* blocks.h - divides channels into blocks, each of which fills one vector. */
#ifndef DW_BLOCKS_H
#define DW_BLOCKS_H

#include <stddef.h>

#include "dwconv.h"

/* Where one block of `lanes` output channels lies. Blocks may overlap: the last one begins `lanes` channels before the
 * end, so that full vectors are enough for any number of channels >= lanes. */
typedef struct dw_block {
    ptrdiff_t x, y;  /* first input channel, first output channel */
    int32_t x_count; /* input channels it reads, <= lanes */
    int32_t y_count; /* output channels it writes: lanes, or all of them if there are fewer */
} dw_block;

/* `count` blocks over `channels` output channels, `lanes` each, the first beginning at channel `first`, the second at
 * `second`. Where the last one would be partial it overlaps its neighbour, unless there is only one or `overlap` is 0.
 * A negative `first` lies in the pixel before. *blocks is for dw_shared_drop; it is NULL on failure. */
dw_status dw_make_blocks(int64_t count, int64_t lanes, int64_t multiplier, int64_t channels, int64_t first,
                         int64_t second, int overlap, dw_block **blocks);

/* Stores the input lane of each output lane of a block, as integers as wide as an element. */
void dw_input_lanes(const dw_block *block, int64_t multiplier, int64_t element_size, void *lanes);

/* The first block from `block` on that shares no channel with the one before it. Only there may blocks be cut apart. */
int64_t dw_clean_cut(const dw_block *blocks, int64_t count, int64_t block);

#endif
