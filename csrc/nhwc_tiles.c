/* nhwc_tiles.c - channels last: chooses the kernel of a plan.
 *
 * The list of an instruction set has several tiles for most kernel sizes, and no tile is best for all shapes. A wide
 * tile loads fewer inputs per output, but a row whose width is no multiple of it ends with a tile that overlaps its
 * neighbour and computes outputs twice. So the planner estimates what a whole row, and then the whole image, would cost
 * with each tile that fits, and takes the cheapest. dw_column_cost is that model: multiply-adds, loads and the latency
 * of a chain of sums, of which the largest counts because a CPU does all three at the same time. Its constants are in
 * tuning.c. Where a size has no tile a wide kernel is priced in the same way (wide_cost).
 *
 * Two more choices follow. If the channels of a pixel fill no whole number of vectors, several pixels may be folded
 * into one column; the model prices that, too. And if pixels lie a power of two apart, two blocks of channels are
 * interleaved, because the lines of one block would evict each other from L1.
 *
 * What must not be broken: a choice may change the time of a run, never a result. */
#include <math.h>

#include "nhwc.h"

/* ---- what fits ------------------------------------------------------------------------------------- */

/* Whether two kernels differ in nothing but the columns of a tile and the flavour. */
static int same_size(const dw_tile *a, const dw_tile *b) {
    return a->kernel_h == b->kernel_h && a->kernel_w == b->kernel_w && a->stride == b->stride && a->tile_h == b->tile_h;
}

static int tile_fits(const dw_tile *tile, const dw_problem *problem, int flavour, int64_t cols) {
    const dw_desc *d = &problem->desc;
    if (tile->kernel_h != d->kernel_h || tile->kernel_w != d->kernel_w) return 0;
    if (tile->stride != d->stride_h || tile->stride != d->stride_w) return 0;
    if (tile->flavour != flavour || tile->tile_h > problem->out_h / d->dilation_h) return 0;
    /* A dilated kernel is dense within a phase only if neighbouring outputs of the phase are one dilation apart: at
     * stride 1. */
    if (tile->stride != 1 && (d->dilation_h != 1 || d->dilation_w != 1)) return 0;
    return tile->tile_w <= cols;
}

const dw_tile *dw_narrower_tile(const dw_nhwc *nhwc, const dw_tile *tile, int64_t cols) {
    const dw_tile *best = tile;
    for (const dw_tile *other = nhwc->table->tiles; other->name; other++) {
        if (!same_size(other, tile) || other->flavour != tile->flavour) continue;
        if (other->tile_w >= cols && other->tile_w < best->tile_w) best = other;
    }
    return best;
}

const dw_tile *dw_tile_of_width(const dw_nhwc *nhwc, int width) {
    const dw_tile *tile = nhwc->tile;
    for (const dw_tile *other = nhwc->table->tiles; other->name; other++)
        if (same_size(other, tile) && other->flavour == tile->flavour && other->tile_w == width) return other;
    return NULL;
}

void dw_inner_columns(const dw_problem *problem, int64_t *first, int64_t *end) {
    const dw_desc *d = &problem->desc;
    const int64_t room = d->width + d->pad_left - (d->kernel_w - 1) * d->dilation_w;
    *first = d->pad_left > 0 ? dw_div_up(d->pad_left, d->stride_w) : 0;
    *end = room > 0 ? (room - 1) / d->stride_w + 1 : 0;
    if (*end > problem->out_w) *end = problem->out_w;
    if (*first > *end) *first = *end;
}

/* ---- what it costs --------------------------------------------------------------------------------- */

static double larger(double a, double b) { return a > b ? a : b; }

double dw_column_cost(const dw_nhwc *nhwc, const dw_problem *problem, const dw_tile *tile, double rows) {
    const dw_tuning *tuning = problem->tuning;
    const int sums = DW_SUMS_OF(tile->flavour), w = tile->tile_w, taps = tile->kernel_h * tile->kernel_w;
    const int inputs = tile->flavour & DW_FOLDED ? w * tile->kernel_w : (w - 1) * tile->stride + tile->kernel_w;
    const int h = tile->tile_h > 0 ? tile->tile_h : 1;
    const int in_rows = tile->tile_h > 0 ? (h - 1) * tile->stride + tile->kernel_h : tile->stride;
    /* Few sums wait for each other. */
    const int at_once = h * w * sums;
    const double chained = at_once < tuning->fma_latency ? (at_once + tuning->fma_latency) / 2.0 : at_once;
    double work = larger(chained * taps, in_rows * inputs + h * taps * sums);
    const int in_order = DW_LOADS_IN_ORDER(tile->kernel_w, tile->stride, tile->tile_h, w, tile->flavour);
    const int held = tile->tile_h > 0 ? at_once : w * sums * ((tile->kernel_h - 1) / tile->stride + 1);
    const int beside = in_order ? h * tile->kernel_w - 1 : sums > 1 ? 1 : inputs; /* other vectors in registers */
    const int excess = held + beside + 2 - nhwc->isa->usable_registers, many = nhwc->isa->registers > 16;
    /* At stride 2 an input has half as many taps. */
    if (excess > 0) work += tuning->spills[many] + work * excess / tile->stride * tuning->spill_rate[many];
    if (in_order && !many) work += in_rows * inputs * tuning->in_order_load;
    if (sums > 1) work += h * w * sums * tuning->interleaved_store;
    work += h * tuning->row_start;
    if (tile->tile_h == 0 && !(tile->flavour & DW_FOLDED))
        work += inputs; /* they come from L2: a column has few tiles that would find them in L1 */
    return ceil(rows / h) * work + tuning->column_start;
}

/* What `cols` columns cost: a tile at each edge, unless one is both, and what lies between them. */
static double row_cost(const dw_nhwc *nhwc, const dw_problem *problem, const dw_tile *tile, double rows, int64_t cols) {
    const int64_t w = tile->tile_w, edges = tile->flavour & DW_FOLDED ? 0 : cols > w ? 2 : 1;
    const int64_t whole = cols >= edges * w ? cols / w : 1, rest = cols > whole * w ? cols - whole * w : 0;
    double cost = (double)whole * dw_column_cost(nhwc, problem, tile, rows);
    if (rest) cost += dw_column_cost(nhwc, problem, dw_narrower_tile(nhwc, tile, rest), rows);
    return cost;
}

double dw_extra_column(const dw_nhwc *nhwc, const dw_problem *problem) {
    const double rows = (double)dw_div_up(problem->out_h, problem->desc.dilation_h);
    const int64_t cols = dw_div_up(problem->out_w, problem->desc.dilation_w);
    return row_cost(nhwc, problem, nhwc->tile, rows, cols + 1) / row_cost(nhwc, problem, nhwc->tile, rows, cols);
}

int dw_exceeds(const dw_problem *problem, int64_t bytes) {
    const dw_desc *d = &problem->desc;
    const double x = (double)d->height * (double)d->width * (double)d->channels;
    const double y = (double)problem->out_h * (double)problem->out_w * (double)problem->out_channels;
    return (x + y) * (double)problem->element_size > (double)bytes;
}

int dw_exceeds_l2(const dw_problem *problem) { return dw_exceeds(problem, problem->tuning->far_bytes); }

int dw_is_narrow(const dw_nhwc *nhwc, const dw_problem *problem) {
    enum { LINE = 64 };
    return nhwc->table->lanes * problem->element_size < LINE;
}

/* Whether the inputs under a tile do not fit the sets of L1 that they fall into, so that the other half of their lines is
 * gone before the next block: of vectors of half a line, at stride 2. */
static int overfills_sets(const dw_nhwc *nhwc, const dw_problem *problem, const dw_tile *tile) {
    enum { LINE = 64, WAY = 4096, WAYS = 8 };
    const int64_t pixel = problem->desc.channels % WAY * problem->element_size;
    if (tile->stride == 1 || tile->tile_h == 0 || !dw_is_narrow(nhwc, problem)) return 0;
    const int64_t window = (int64_t)((tile->tile_h - 1) * tile->stride + tile->kernel_h) *
                           ((tile->tile_w - 1) * tile->stride + tile->kernel_w);
    return window > WAYS * (WAY / dw_max(dw_gcd(pixel, WAY), LINE));
}

/* How many times as long a kernel takes where images exceed L2. Those of more than three rows have more to compute per
 * input. */
static double far_times(const dw_problem *problem, const dw_tile *tile) {
    if (tile->tile_h == 0) return problem->tuning->rolled_far;
    if (tile->kernel_h > 3) return 1;
    const int loaded = (tile->tile_h - 1) * tile->stride + tile->kernel_h, needed = tile->tile_h * tile->stride;
    return 1 + problem->tuning->far_row * (loaded - needed) / needed;
}

/* What `cols` columns of each output row cost for one block of channels; infinite if the tile does not fit. */
static double block_cost(const dw_nhwc *nhwc, const dw_problem *problem, const dw_tile *tile, int64_t cols) {
    const dw_desc *d = &problem->desc;
    /* In folded columns the dilation in width is only the step between taps. */
    const int64_t phases = tile->flavour & DW_FOLDED ? 1 : d->dilation_w;
    if (!tile_fits(tile, problem, tile->flavour, cols / phases)) return INFINITY;
    const double rows = (double)dw_div_up(problem->out_h, d->dilation_h);
    double times = overfills_sets(nhwc, problem, tile) ? problem->tuning->overfilled : 1;
    const int far = dw_exceeds_l2(problem);
    if (far) times *= far_times(problem, tile);
    const int tiled = tile->tile_h > 0 && tile->stride == 1 && tile->kernel_h == 3 && !tile->flavour;
    if (tiled && !dw_is_narrow(nhwc, problem)) times *= problem->tuning->tiled[far];
    return times * (double)phases * (double)d->dilation_h *
           row_cost(nhwc, problem, tile, rows, dw_div_up(cols, phases));
}

/* ---- folded pixels --------------------------------------------------------------------------------- */

/* The kernel for a folded column at an edge; NULL if there is none of that size. */
static const dw_tile *masked_tile(const dw_nhwc *nhwc, const dw_tile *folded) {
    for (const dw_tile *other = nhwc->table->tiles; other->name; other++)
        if (same_size(other, folded) && other->flavour == (folded->flavour | DW_MASKED)) return other;
    return NULL;
}

/* Channels whose vectors a tile goes through: of x for kernels with M sums per input, else of y. */
static int64_t channels_of(const dw_problem *problem, const dw_tile *tile) {
    return tile && tile->flavour >= DW_SUMS ? problem->desc.channels : problem->out_channels;
}

/* Pixels that fill whole vectors. */
static int64_t pixels_of_column(const dw_nhwc *nhwc, const dw_problem *problem) {
    return nhwc->table->lanes / dw_gcd(problem->out_channels, nhwc->table->lanes);
}

/* What an image costs with a tile for folded columns, and in *masked the tile that makes the edges, or NULL for the
 * general kernel; infinite if that cannot be. */
static double folded_cost(const dw_nhwc *nhwc, const dw_problem *problem, const dw_tile *tile, const dw_tile **masked) {
    const dw_desc *d = &problem->desc;
    const int64_t lanes = nhwc->table->lanes, channels = problem->out_channels, out_w = problem->out_w;
    const int64_t pixels = pixels_of_column(nhwc, problem);
    *masked = NULL;
    if (d->stride_h != 1 || d->stride_w != 1 || pixels == 1 || channels > problem->tuning->folded_lanes / pixels)
        return INFINITY;
    int64_t first, end;
    dw_inner_columns(problem, &first, &end);
    const int64_t edges = out_w - end + first;
    const double blocks = (double)(channels * pixels / lanes), rows = (double)dw_div_up(problem->out_h, d->dilation_h);
    if (edges > 0 && out_w >= 2 * pixels && first <= pixels && out_w - end <= pixels) *masked = masked_tile(nhwc, tile);
    if (*masked) {
        const int64_t inner = (out_w - 2 * pixels) / pixels;
        const double edge = dw_column_cost(nhwc, problem, *masked, rows);
        return (block_cost(nhwc, problem, tile, inner > 0 ? inner : 1) + 2 * (double)d->dilation_h * edge) * blocks;
    }
    if (end - first < pixels) return INFINITY;
    const double taps = (double)d->kernel_h * (double)d->kernel_w;
    return block_cost(nhwc, problem, tile, (end - first) / pixels) * blocks + problem->tuning->general * (double)edges *
                                                                                  (double)problem->out_h * taps *
                                                                                  (double)dw_div_up(channels, lanes);
}

/* ---- wide kernels ---------------------------------------------------------------------------------- */

/* What an image costs with a wide kernel; infinite if it cannot be. */
static double wide_cost(const dw_nhwc *nhwc, const dw_problem *problem, const dw_tile *tile) {
    enum { LARGE = 1 << 28 }; /* sizes below it: no product of a size and a row of channels overflows */
    const dw_desc *d = &problem->desc;
    const dw_tuning *tuning = problem->tuning;
    const int64_t sizes[] = {d->channels,   d->kernel_h,   d->kernel_w, d->stride_h, d->stride_w,
                             d->dilation_h, d->dilation_w, d->pad_left, d->pad_right};
    for (int i = 0; i < (int)(sizeof sizes / sizeof *sizes); i++)
        if (sizes[i] >= LARGE) return INFINITY;
    if (d->multiplier > 1 || d->channels < nhwc->table->lanes || tile->tile_w > problem->out_w) return INFINITY;
    if (tile->tile_h > (tile->tile_h > 1 ? problem->out_h / d->dilation_h : problem->out_h)) return INFINITY;
    const int h = tile->tile_h, w = tile->tile_w;
    const double taps = (double)d->kernel_h * (double)d->kernel_w, sums = larger(h * w, 2 * tuning->fma_latency);
    /* A tap takes w loads and h weights, or h * w multiply-adds; a kernel row ends loops of its own at the edges. */
    const double work = taps * larger(sums, h + w + tuning->wide_tap) + (double)d->kernel_h * tuning->wide_row +
                        h * tuning->row_start + tuning->column_start;
    const double tiles = (double)dw_div_up(problem->out_w, w) * (double)dw_div_up(problem->out_h, h);
    return tiles * work * (double)dw_div_up(d->channels, nhwc->table->lanes);
}

/* ---- interleaved blocks ---------------------------------------------------------------------------- */

/* Whether pixels lie so far apart that the lines of one block fall into few sets of L1: then two interleaved blocks are
 * faster than `tile`. */
static int crowds_sets(const dw_nhwc *nhwc, const dw_problem *problem, const dw_tile *tile) {
    const dw_desc *d = &problem->desc;
    const dw_tuning *tuning = problem->tuning;
    const int64_t cols = problem->out_w / d->dilation_w;
    const int narrow = dw_is_narrow(nhwc, problem), strided = tile->stride > 1;
    if (tile->tile_h > 0 && !narrow && tuning->frees_tiles) return 0;
    int64_t pitch = tuning->interleaved_pitch[strided];
    if (narrow) pitch = tuning->interleaved_pitch_narrow[strided] / (tile->tile_w == 7 && cols > 7 ? 2 : 1);
    const int64_t pixel = d->dilation_w % pitch * (d->channels % pitch) * problem->element_size; /* modulo the pitch */
    return pixel % pitch == 0;
}

/* The tile for two interleaved blocks, where it is faster than `tile`. */
static const dw_tile *interleaved_tile(const dw_nhwc *nhwc, const dw_problem *problem, const dw_tile *tile) {
    const int64_t cols = problem->out_w / problem->desc.dilation_w;
    if (tile->flavour || problem->out_channels < 2 * nhwc->table->lanes || !crowds_sets(nhwc, problem, tile))
        return tile;
    for (const dw_tile *other = nhwc->table->tiles; other->name; other++)
        if (tile_fits(other, problem, DW_INTERLEAVED, cols)) return other;
    return tile;
}

/* ---- the choice ------------------------------------------------------------------------------------ */

/* Whether a tile is for this multiplier. */
static int multiplies(const dw_tile *tile, int64_t multiplier) {
    if (tile->flavour >= DW_SUMS) return DW_SUMS_OF(tile->flavour) == multiplier;
    return (tile->flavour & DW_MULTIPLIER) == (multiplier > 1 ? DW_MULTIPLIER : 0);
}

/* What permuted inputs cost: so many times. */
static double permuted(const dw_problem *problem, const dw_tile *tile) {
    return tile->flavour & DW_MULTIPLIER ? problem->tuning->permuted : 1;
}

double dw_tile_cost(const dw_nhwc *nhwc, const dw_problem *problem, const dw_tile *tile) {
    const dw_desc *d = &problem->desc;
    const dw_tuning *tuning = problem->tuning;
    const int64_t lanes = nhwc->table->lanes;
    const double blocks = (double)dw_div_up(channels_of(problem, tile), lanes);
    if (!tile) {
        const double taps = (double)d->kernel_h * (double)d->kernel_w;
        return tuning->general * (double)problem->out_h * (double)problem->out_w * taps * blocks;
    }
    if (dw_is_wide(tile)) return wide_cost(nhwc, problem, tile);
    if (!multiplies(tile, d->multiplier)) return INFINITY;
    const dw_tile *masked;
    switch (tile->flavour & (DW_FOLDED | DW_INTERLEAVED | DW_MASKED | DW_CROSS_PIXEL)) {
    case 0:
        if (channels_of(problem, tile) < lanes) return INFINITY;
        return block_cost(nhwc, problem, tile, problem->out_w) * blocks * permuted(problem, tile) *
               (!tile->flavour && crowds_sets(nhwc, problem, tile) ? tuning->crowded : 1);
    case DW_INTERLEAVED:
        if (problem->out_channels < 2 * lanes) return INFINITY;
        return block_cost(nhwc, problem, tile, problem->out_w) * blocks *
               (crowds_sets(nhwc, problem, tile) ? 1 : tuning->interleaved);
    case DW_FOLDED: return folded_cost(nhwc, problem, tile, &masked) * permuted(problem, tile);
    }
    return INFINITY; /* a part of another strategy */
}

/* The tile of nhwc->isa, or NULL, and what makes its edges in *masked. */
static const dw_tile *choose_of_isa(dw_nhwc *nhwc, const dw_problem *problem, const dw_tile **masked) {
    const int64_t lanes = nhwc->table->lanes;
    double least = INFINITY, least_free = INFINITY;
    const dw_tile *best = NULL, *best_free = NULL, *edges; /* free: that does not crowd the sets of L1 */
    *masked = NULL;
    for (const dw_tile *tile = nhwc->table->tiles; tile->name; tile++) {
        const int64_t channels = channels_of(problem, tile);
        if (tile->flavour & ~DW_MULTIPLIER & (DW_SUMS - 1) || !multiplies(tile, problem->desc.multiplier)) continue;
        if (channels < lanes) continue;
        const double cost = block_cost(nhwc, problem, tile, problem->out_w) * (double)dw_div_up(channels, lanes) *
                            permuted(problem, tile);
        if (cost < least_free && !crowds_sets(nhwc, problem, tile)) {
            least_free = cost;
            best_free = tile;
        }
        if (cost >= least) continue;
        least = cost;
        best = tile;
    }
    if (best_free && least_free <= least * problem->tuning->free_tile) best = best_free;
    else if (best) best = interleaved_tile(nhwc, problem, best);
    for (const dw_tile *tile = nhwc->table->tiles; tile->name; tile++) {
        if (!(tile->flavour & DW_FOLDED) || tile->flavour & DW_MASKED || tile->kernel_h != problem->desc.kernel_h)
            continue;
        if (problem->out_channels % lanes == 0 || !multiplies(tile, problem->desc.multiplier)) continue;
        const double cost = folded_cost(nhwc, problem, tile, &edges) * permuted(problem, tile);
        if (cost >= least) continue;
        least = cost;
        best = tile;
        *masked = edges;
    }
    if (best) return best;
    for (const dw_tile *tile = nhwc->table->tiles; tile->name; tile++) { /* no kernel is made for this size */
        const double cost = dw_is_wide(tile) ? wide_cost(nhwc, problem, tile) : (double)INFINITY;
        if (cost >= least) continue;
        least = cost;
        best = tile;
    }
    return best;
}

static void use_isa(dw_nhwc *nhwc, const dw_problem *problem, const dw_instruction_set *isa) {
    nhwc->isa = isa;
    nhwc->table = isa->nhwc[problem->desc.dtype];
    nhwc->chunk = isa->chunk_bytes / (nhwc->table->lanes * problem->element_size);
}

static void use_tile(dw_nhwc *nhwc, const dw_problem *problem, const dw_tile *tile, const dw_tile *masked) {
    nhwc->tile = tile;
    nhwc->masked = masked;
    nhwc->fold = tile && tile->flavour & DW_FOLDED ? pixels_of_column(nhwc, problem) : 1;
}

void dw_use_tile(dw_nhwc *nhwc, const dw_problem *problem, const dw_instruction_set *isa, const dw_tile *tile) {
    const dw_tile *masked = NULL;
    use_isa(nhwc, problem, isa);
    if (tile && tile->flavour & DW_FOLDED) folded_cost(nhwc, problem, tile, &masked);
    use_tile(nhwc, problem, tile, masked);
}

void dw_choose_tile(dw_nhwc *nhwc, const dw_problem *problem) {
    const dw_instruction_set *isa = problem->isa;
    use_isa(nhwc, problem, isa);
    const dw_tile *masked, *tile = choose_of_isa(nhwc, problem, &masked);
    /* Channels that fill no vector, and pixels that do not either, may fill one of half the width. */
    if (!tile && isa->narrower && problem->out_channels < nhwc->table->lanes) {
        isa = isa->narrower;
        use_isa(nhwc, problem, isa);
        tile = choose_of_isa(nhwc, problem, &masked);
    }
    use_tile(nhwc, problem, tile, masked);
}

/* ---- blocks that span two pixels ------------------------------------------------------------------- */

int dw_find_cross_pixel(dw_nhwc *nhwc) {
    for (const dw_tile *other = nhwc->table->tiles; other->name; other++)
        if (same_size(other, nhwc->tile) && other->flavour == DW_CROSS_PIXEL)
            nhwc->cross_pixel[other->tile_w] = other->run[DW_INNER];
    return nhwc->cross_pixel[1] != NULL;
}

int64_t dw_cross_pixel_cols(const dw_nhwc *nhwc, int64_t cols, dw_tile_fn **kernel) {
    int64_t width = dw_min(cols, DW_MAX_TILE_W);
    while (!nhwc->cross_pixel[width]) width--; /* there is one for a single column */
    *kernel = nhwc->cross_pixel[width];
    return cols / width * width;
}

int64_t dw_cross_pixel_tiles(const dw_nhwc *nhwc, const dw_problem *problem) {
    const dw_tuning *tuning = problem->tuning;
    if (nhwc->tile->stride == 1) return tuning->cross_pixel_tiles;
    if (nhwc->tile->flavour) return tuning->cross_pixel_tiles_two;
    const int many = problem->out_channels / nhwc->table->lanes >= tuning->aligned_blocks[1];
    return many ? tuning->cross_pixel_tiles_many : tuning->cross_pixel_tiles_few;
}
