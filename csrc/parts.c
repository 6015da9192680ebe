/* parts.c - divides a run into parts that write no byte of each other: by rows of all images, columns or channels. */
#include "plan.h"

dw_share dw_share_of(int64_t count, int part, int parts) {
    const int64_t each = count / parts, rest = count % parts; /* no product that could overflow */
    return (dw_share){each * part + rest * part / parts, each * (part + 1) + rest * (part + 1) / parts};
}

double dw_imbalance(int64_t count, int parts) {
    return count > 0 ? (double)((count - 1) / parts + 1) * (double)parts / (double)count : 1;
}

/* ---- channels -------------------------------------------------------------------------------------- */

/* Whether parts of channels are more alike than parts of rows. Blocks must have no columns in common; and where kernels
 * roll down rows, channels meet in each pixel, where processors take lines from each other: 7x7x1024 in 8 to 27 us. */
static int divides_channels(const dw_plan *plan, const dw_packing *packing, int64_t units, int parts) {
    if (plan->merged > 1 || (plan->straddle && packing != plan->packings)) return 0;
    if (plan->tile && plan->tile->tile_h == 0 && units >= parts) return 0;
    return dw_imbalance(packing->count, parts) < dw_imbalance(units, parts);
}

/* The first block from `block` on that has no output in common with the one before. */
static int64_t clean_cut(const dw_packing *packing, int64_t block) {
    while (block > 0 && block < packing->count &&
           packing->blocks[block].y < packing->blocks[block - 1].y + packing->blocks[block - 1].y_count)
        block++;
    return block;
}

/* ---- columns --------------------------------------------------------------------------------------- */

/* The widest kernel of the kind of the plan's tile for no more than `cols` columns; NULL if there is none. */
static const dw_tile *widest_tile(const dw_plan *plan, int64_t cols) {
    const dw_tile *tile = plan->tile, *best = NULL;
    for (const dw_tile *other = plan->kernels->tiles; other->name; other++) {
        if (!dw_alike(other, tile) || other->flavour != tile->flavour) continue;
        if (other->tile_w > cols || (best && other->tile_w < best->tile_w)) continue;
        best = other;
    }
    return best;
}

/* Whether to divide columns: where kernels roll down rows, and a part would have too few for its last ones to be rolled
 * down by themselves, see DW_FEW_ROWS. Cuts are away from the edges, since a block that begins in the pixel before has
 * outputs in common with the segments there. */
static int divides_columns(const dw_plan *plan, const dw_segments *segments, int parts) {
    enum { ENOUGH_ROWS = 5 * DW_FEW_ROWS, LEAST_COLUMNS = 3 };
    const int64_t each = plan->out_w / parts, rows = (plan->out_h - 1) / parts + 1;
    if (!plan->tile || plan->tile->tile_h > 0 || plan->merged > 1 || plan->phase_count > 1) return 0;
    if (plan->desc.batch % parts == 0 || rows <= DW_FEW_ROWS || rows >= ENOUGH_ROWS) return 0;
    return each >= LEAST_COLUMNS && each > segments->inner && plan->out_w - each < segments->inner_end &&
           widest_tile(plan, 1);
}

/* Of `segments` those that make the columns [begin, end): those at an edge as they are, the inner ones divided anew. */
static void take_columns(const dw_plan *plan, const dw_segments *segments, dw_share columns, dw_part *to) {
    dw_segment *next = to->own;
    int64_t col = columns.begin > segments->inner ? columns.begin : segments->inner;
    const int64_t end = columns.end < segments->inner_end ? columns.end : segments->inner_end;
    for (const dw_segment *s = segments->at; s < segments->at + segments->count; s++) {
        if (!s->inner) {
            if (s->col == 0 ? columns.begin == 0 : columns.end == plan->out_w) *next++ = *s;
            continue;
        }
        while (col < end) { /* as many of the widest that fit, then of the next; with the first of the inner ones all */
            const dw_tile *tile = widest_tile(plan, end - col);
            *next = *s;
            next->tile = tile->strip[DW_INNER];
            next->col = col;
            next->cols = (end - col) / tile->tile_w * tile->tile_w;
            col += next++->cols;
        }
    }
    to->segments = (dw_segments){.at = to->own, .count = next - to->own};
}

void dw_part_of(const dw_plan *plan, const dw_packing *packing, int64_t units, int part, int parts, dw_part *to) {
    to->units = (dw_share){0, units};
    to->blocks = (dw_share){0, packing->count};
    to->segments = packing != plan->packings && plan->straddle ? plan->straddling : plan->segments;
    if (parts == 1) return;
    if (divides_columns(plan, &to->segments, parts)) {
        const dw_segments all = to->segments;
        take_columns(plan, &all, dw_share_of(plan->out_w, part, parts), to);
    } else if (divides_channels(plan, packing, units, parts)) {
        const dw_share share = dw_share_of(packing->count, part, parts);
        to->blocks = (dw_share){clean_cut(packing, share.begin), clean_cut(packing, share.end)};
    } else {
        to->units = dw_share_of(units, part, parts);
    }
}
