/* grad_ring.c - rows of x and dy for the kernels of the gradients: copied once, as whole vectors.
 *
 * Blocks of channels follow each other, for as many as fit a part of L2. So kernels read vectors that are aligned and
 * adjacent. In x or dy those of one block may be kilobytes apart: they would fall into few sets of L1 and cross cache
 * lines. And the arrays are read in address order, which the hardware prefetcher follows: 32 GB/s from memory instead of
 * 8 on Zen 4. In NCHW the channels of a block lie in planes, and what is copied is transposed. */
#include "desc.h"
#include "grad.h"

dw_status dw_ring_init(dw_row_ring *ring, const dw_grad_base *base, int of_dy, int64_t slots) {
    ring->of_dy = of_dy;
    ring->slots = slots;
    const int64_t sizes[] = {slots, of_dy ? base->problem.out_w : base->problem.desc.width, base->table->lanes};
    if (!dw_bytes(base->problem.element_size, sizes, 3, &ring->block_bytes)) return DW_ERR_OVERFLOW;
    ring->row_bytes = ring->block_bytes / slots;
    return DW_OK;
}

void dw_ring_begin(dw_ring_state *state, const dw_row_ring *ring, const void *array, char *rows, int64_t *row_of_slot) {
    *state = (dw_ring_state){.ring = ring, .array = array, .rows = rows, .row_of_slot = row_of_slot};
    for (int64_t slot = 0; slot < ring->slots; slot++) row_of_slot[slot] = -1;
}

const void *dw_ring_row(const dw_ring_state *state, const dw_grad_base *base, int64_t h) {
    const dw_row_ring *ring = state->ring;
    const dw_grad_array *array = ring->of_dy ? &base->dy : &base->x;
    const int64_t slot = h % ring->slots;
    char *const row = state->rows + slot * ring->row_bytes;
    if (state->row_of_slot[slot] == h) return row;
    /* Planes that fit the ring are copied whole: short rows would make few columns of a transposition. */
    const int whole = base->problem.desc.layout == DW_NCHW && ring->slots == array->height;
    const int64_t first = whole ? 0 : h, rows = whole ? ring->slots : 1;
    for (int64_t i = 0; i < rows; i++) state->row_of_slot[whole ? i : slot] = first + i;
    const dw_grad_copy copy = {.from = state->array + first * array->row * base->problem.element_size,
                               .col_size = array->column,
                               .channel_size = array->channel,
                               .width = rows * array->width,
                               .of_dy = ring->of_dy,
                               .blocks = base->blocks,
                               .block = state->block,
                               .block_end = state->block_end,
                               .indices = state->indices,
                               .to = whole ? state->rows : row,
                               .to_block = (ptrdiff_t)(ring->block_bytes / base->problem.element_size)};
    base->table->copy(&copy);
    return row;
}
