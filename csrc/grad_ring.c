/* grad_ring.c - rows of x and dy for the kernels of the gradients: copied once, as whole vectors.
 *
 * One block of channels after the other, for as many as fit a part of L2: then the kernels read vectors that are
 * aligned and lie next to each other, where those of one block in x or dy may be kilobytes apart, fall into few sets
 * of L1, and straddle cache lines. And the arrays are read in the order in which they lie in memory, which is what
 * processors prefetch on by themselves: on Zen 4, from memory, 32 GB/s instead of 8. In NCHW the channels of a block
 * lie in planes, and what is copied is transposed. */
#include "desc.h"
#include "grad.h"

dw_status dw_ring_init(dw_row_ring *ring, const dw_grad_base *base, int of_dy, int64_t slots) {
    ring->of_dy = of_dy;
    ring->slots = slots;
    const int64_t sizes[] = {slots, of_dy ? base->out_w : base->desc.width, base->kernels->lanes};
    if (!dw_bytes(base->element_size, sizes, 3, &ring->block_bytes)) return DW_ERR_OVERFLOW;
    ring->row_bytes = ring->block_bytes / slots;
    return DW_OK;
}

void dw_ring_begin(dw_ring_state *held, const dw_row_ring *ring, const void *array, char *rows, int64_t *row_of_slot) {
    *held = (dw_ring_state){.ring = ring, .array = array, .rows = rows, .row_of_slot = row_of_slot};
    for (int64_t slot = 0; slot < ring->slots; slot++) row_of_slot[slot] = -1;
}

const void *dw_ring_row(const dw_ring_state *held, const dw_grad_base *base, int64_t h) {
    const dw_row_ring *ring = held->ring;
    const dw_grad_array *array = ring->of_dy ? &base->dy : &base->x;
    const int64_t slot = h % ring->slots;
    char *const row = held->rows + slot * ring->row_bytes;
    if (held->row_of_slot[slot] == h) return row;
    /* Planes that are held whole are copied whole: short rows make few columns of a transposition. */
    const int whole = base->desc.layout == DW_NCHW && ring->slots == array->height;
    const int64_t first = whole ? 0 : h, rows = whole ? ring->slots : 1;
    for (int64_t i = 0; i < rows; i++) held->row_of_slot[whole ? i : slot] = first + i;
    const dw_grad_copy copy = {.from = held->array + first * array->row * base->element_size,
                               .col_size = array->column,
                               .channel_size = array->channel,
                               .width = rows * array->width,
                               .of_dy = ring->of_dy,
                               .blocks = base->blocks,
                               .block = held->block,
                               .block_end = held->block_end,
                               .maps = held->maps,
                               .to = whole ? held->rows : row,
                               .to_block = (ptrdiff_t)(ring->block_bytes / base->element_size)};
    base->kernels->copy(&copy);
    return row;
}
