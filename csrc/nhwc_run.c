/* nhwc_run.c - channels last: runs a part of a plan.
 *
 * The loops are row group -> channel chunk -> dilation phase -> column segment -> (kernel: column -> block -> row). A
 * row group is the rows of a tile, or those that roll down at a time. Within it a chunk of channels is finished for all
 * columns before the next chunk, so what neighbouring columns share is still in L1. A strategy may want it the other way
 * round, a chunk in all rows before the next chunk: then what neighbouring rows share is, too. */
#include "nhwc.h"

/* A run of some rows. The arguments of the kernels come from the plan; a row group and then a segment fill in what is
 * theirs, member by member. Not as values: gcc 12 builds a value on the stack and copies it in vectors, whose loads wait
 * for the narrower stores, and small layers make a call every 20 ns. On Zen 5 a run for 8x8x16 takes 130 ns this way and
 * took 180 the other. */
typedef struct row_group {
    const dw_nhwc *nhwc;
    const dw_problem *problem;
    const dw_packing *packing;
    const char *x;         /* the image */
    char *y;               /* the first output row of the group */
    int64_t first_row;     /* row of x under its first tap; negative in the padding */
    int64_t block;         /* the first of the chunk, ... */
    int64_t block_end;     /* ... and the end of those of the part */
    dw_masked_args masked; /* its .tile is for tile kernels, too; out_rows: rows of the group */
    dw_general_args general;
} row_group;

/* ---- what segments share --------------------------------------------------------------------------- */

/* Applies the activation to the sums that a strip has just stored. Its blocks may overlap, but together they are one run
 * of channels. Other strips may overlap this one: they store their own sums before they activate them. */
static void activate(const row_group *group, const dw_strip *strip, ptrdiff_t y_row, int64_t rows) {
    const dw_block *first = strip->blocks + strip->block, *last = strip->blocks + strip->block_end - 1;
    const dw_activate_args args = {.y = (char *)strip->y +
                                        (strip->col * strip->y_col + first->y) * group->problem->element_size,
                                   .rows = rows,
                                   .cols = strip->cols,
                                   .count = last->y + last->y_count - first->y,
                                   .y_row = y_row,
                                   .y_col = strip->y_col,
                                   .alpha = group->problem->desc.activation_alpha};
    group->nhwc->activate(&args);
}

/* Makes `strip` that of a segment in phase number `phase` of its group of phases. */
static void set_strip(const row_group *group, const dw_segment *segment, int64_t phase, const dw_packing *packing,
                      int64_t block_end, dw_strip *strip) {
    const dw_problem *problem = group->problem;
    const dw_phases *phases = group->nhwc->phases + segment->phases;
    const int64_t x_first = phases->width > 0 ? phases->x_first + phase : 0;
    strip->x_first = (ptrdiff_t)(x_first * problem->desc.channels);
    strip->pad = phases->pad;
    strip->y = group->y + (phases->y_first + phase) * problem->out_channels * problem->element_size;
    strip->col = segment->col;
    strip->cols = segment->cols;
    strip->blocks = packing->blocks;
    strip->block = group->block;
    strip->block_end = dw_min(group->block + group->nhwc->chunk, block_end);
    strip->weights = packing->weights;
}

/* ---- one segment ----------------------------------------------------------------------------------- */

/* The first block of a packing that spans two pixels, at stride 2: tile after tile, the widest that fit. */
static void run_cross_pixel_block(const row_group *group, dw_tile_args *args) {
    dw_strip *strip = &args->strip;
    const int64_t col = strip->col, cols = strip->cols, block_end = strip->block_end;
    const void *const weights = strip->weights;
    strip->weights = group->packing->cross_pixel_weights;
    strip->block_end = 1;
    for (; strip->col < col + cols; strip->col += strip->cols) {
        dw_tile_fn *kernel;
        strip->cols = dw_cross_pixel_cols(group->nhwc, col + cols - strip->col, &kernel);
        kernel(args);
        if (group->nhwc->activate) activate(group, strip, args->y_row, args->out_rows);
    }
    strip->weights = weights;
    strip->block_end = block_end;
    strip->col = col;
    strip->cols = cols;
}

static void run_tiles(row_group *group, const dw_segments *segments, const dw_segment *segment, int64_t phase) {
    const dw_packing *packing = segments->cross_pixel && !segment->inner ? group->nhwc->packings : group->packing;
    dw_tile_args *args = &group->masked.tile;
    set_strip(group, segment, phase, packing, group->block_end, &args->strip);
    if (segments->cross_pixel && segment->inner && group->nhwc->tile->stride > 1 && group->block == 0) {
        run_cross_pixel_block(group, args);
        if (++args->strip.block == args->strip.block_end) return;
    }
    segment->tile(args);
    if (group->nhwc->activate) activate(group, &args->strip, args->y_row, args->out_rows);
}

static void run_masked(row_group *group, const dw_segment *segment) {
    dw_masked_args *args = &group->masked;
    set_strip(group, segment, 0, group->packing, group->block_end, &args->tile.strip);
    args->valid = segment->valid;
    segment->masked(args);
    if (group->nhwc->activate) activate(group, &args->tile.strip, args->tile.y_row, args->tile.out_rows);
}

/* Row by row: the general kernel knows no padding above and below. Beside kernels with M sums per input, whose blocks
 * are others, all channels together. */
static void run_general(row_group *group, const dw_segment *segment, int64_t phase) {
    const dw_nhwc *nhwc = group->nhwc;
    const dw_desc *d = &group->problem->desc;
    const int64_t size = group->problem->element_size, x_row = d->width * d->channels;
    const int other = nhwc->one_pixel.blocks != NULL, sums = nhwc->tile && nhwc->tile->flavour >= DW_SUMS;
    const dw_packing *packing = other ? &nhwc->one_pixel : group->packing;
    if (group->block >= packing->count || (sums && group->block > 0)) return;
    dw_general_args *args = &group->general;
    set_strip(group, segment, phase, packing, other ? packing->count : group->block_end, &args->strip);
    if (sums) args->strip.block_end = packing->count;
    args->width = nhwc->phases[segment->phases].width;
    char *const y = args->strip.y;
    const int wide = dw_is_wide(nhwc->tile);
    const int64_t at_once = wide ? group->masked.tile.out_rows : 1;
    for (int64_t r = 0; r < group->masked.tile.out_rows; r += at_once) {
        /* Kernel rows ki with 0 <= begin + ki * dilation_h < height. */
        const int64_t begin = group->first_row + r * d->dilation_h * d->stride_h;
        const int64_t rows = d->kernel_h + (at_once - 1) * d->stride_h;
        args->ki_begin = begin < 0 ? (-begin - 1) / d->dilation_h + 1 : 0;
        args->ki_end = begin < d->height ? (d->height - begin - 1) / d->dilation_h + 1 : 0;
        if (args->ki_end > rows) args->ki_end = rows;
        args->row = group->x;
        if (args->ki_begin < args->ki_end)
            args->row = group->x + (begin + args->ki_begin * d->dilation_h) * x_row * size;
        args->row_step = args->ki_end - args->ki_begin > 1 ? (ptrdiff_t)(d->dilation_h * x_row) : 0;
        args->strip.y = y + r * group->masked.tile.y_row * size;
        if (wide) nhwc->tile->run_wide(args);
        else nhwc->table->general(args);
        if (nhwc->activate) activate(group, &args->strip, args->y_row, at_once);
    }
}

/* ---- one row group --------------------------------------------------------------------------------- */

/* All segments of one chunk; of each group of phases, phase by phase. */
static void run_chunk(row_group *group, const dw_segments *segments) {
    for (int begin = 0, end; begin < segments->count; begin = end) {
        const dw_segment *first = segments->at + begin;
        for (end = begin + 1; end < segments->count && segments->at[end].phases == first->phases;) end++;
        const int64_t phases = group->nhwc->phases[first->phases].count;
        for (int64_t phase = 0; phase < phases; phase++) {
            for (const dw_segment *s = first; s < segments->at + end; s++) {
                if (s->tile) run_tiles(group, segments, s, phase);
                else if (s->masked) run_masked(group, s);
                else run_general(group, s, phase);
            }
        }
    }
}

/* Output rows row, row + dilation_h, ..., `out_rows` of them, of one image; x and y: the image. */
static void run_rows(row_group *group, const dw_part *part, const char *x, char *y, int64_t row, int64_t out_rows) {
    const dw_nhwc *nhwc = group->nhwc;
    const dw_problem *problem = group->problem;
    const dw_desc *d = &problem->desc;
    const int64_t size = problem->element_size, x_row = d->width * d->channels * size;
    group->x = x;
    group->y = y + row * problem->out_w * problem->out_channels * size;
    group->first_row = row * d->stride_h - d->pad_top;
    group->masked.tile.out_rows = out_rows;
    const void *rows[DW_MAX_TILE_ROWS];
    if (nhwc->tile && !dw_is_wide(nhwc->tile)) {
        const int64_t count = (out_rows - 1) * d->stride_h + d->kernel_h;
        for (int64_t i = 0; i < count; i++) {
            const int64_t at = group->first_row + i * d->dilation_h;
            rows[i] = at >= 0 && at < d->height ? x + at * x_row : NULL;
        }
        group->masked.tile.rows = rows;
    }
    for (group->block = part->blocks.begin; group->block < part->blocks.end; group->block += nhwc->chunk)
        run_chunk(group, part->segments);
}

/* ---- the arguments that all calls have in common ---------------------------------------------------  */

void dw_nhwc_make_args(dw_nhwc *nhwc, const dw_problem *problem) {
    const dw_desc *d = &problem->desc;
    const int folded = nhwc->fold > 1;
    /* A folded column is `fold` pixels; its taps are a dilation apart. Else columns of a phase and taps are. */
    const int64_t x_pixels = folded ? d->dilation_w : nhwc->phase_step;
    const ptrdiff_t x_col = (ptrdiff_t)(x_pixels * d->channels);
    nhwc->tile_args = (dw_tile_args){.strip.x_col = x_col,
                                     .strip.y_col = (ptrdiff_t)(nhwc->fold * nhwc->phase_step * problem->out_channels),
                                     .strip.clamp_min = problem->clamp_min,
                                     .strip.clamp_max = problem->clamp_max,
                                     .prefetch = nhwc->strategy.option[DW_AXIS_PREFETCH]};
    /* Without a tile, and with one of a single row for any size, the dilation may be too large to multiply. */
    if (nhwc->tile && (!dw_is_wide(nhwc->tile) || nhwc->tile->tile_h > 1)) {
        nhwc->tile_args.x_step = folded ? (ptrdiff_t)(nhwc->fold * d->channels) : nhwc->tile->stride * x_col;
        nhwc->tile_args.y_row = (ptrdiff_t)(d->dilation_h * problem->out_w * problem->out_channels);
    }
    nhwc->general_args = (dw_general_args){.strip.x_col = (ptrdiff_t)(nhwc->phase_step * d->channels),
                                           .strip.y_col = (ptrdiff_t)(nhwc->phase_step * problem->out_channels),
                                           .strip.clamp_min = problem->clamp_min,
                                           .strip.clamp_max = problem->clamp_max,
                                           .kernel_h = d->kernel_h,
                                           .kernel_w = d->kernel_w,
                                           .stride = d->stride_w,
                                           /* within a phase, or of the whole */
                                           .dilation = nhwc->phase_step > 1 ? 1 : d->dilation_w,
                                           .multiplier = d->multiplier,
                                           .row_stride = d->stride_h,
                                           .y_row = nhwc->tile_args.y_row};
}

/* ---- rows of an image ------------------------------------------------------------------------------ */

/* Output rows that are one vertical dilation apart form a phase, as columns do; without a tile there is one phase. */
static int64_t row_phases(const dw_nhwc *nhwc, const dw_problem *problem) {
    return dw_min(nhwc->row_step, problem->out_h);
}

static int64_t rows_of_phase(const dw_nhwc *nhwc, const dw_problem *problem, int64_t phase) {
    return (problem->out_h - phase - 1) / nhwc->row_step + 1;
}

/* Into how many units `rows` rows of a phase can be divided that share no output: rows that roll, or tiles. Where rows
 * are left over, the last tile overlaps its neighbour, and both are one unit. */
static int64_t units_of(const dw_nhwc *nhwc, int64_t rows) {
    return nhwc->tile && nhwc->tile->tile_h > 0 ? rows / nhwc->tile->tile_h : rows;
}

void dw_nhwc_divide_rows(dw_nhwc *nhwc, const dw_problem *problem) {
    const dw_tile *tile = nhwc->tile;
    nhwc->row_step = tile && !(dw_is_wide(tile) && tile->tile_h == 1) ? problem->desc.dilation_h : 1;
    nhwc->group_rows = tile ? tile->tile_h : 1;
    if (tile && tile->tile_h == 0) { /* as many as may roll down at a time, divided evenly */
        const int64_t rows = dw_div_up(problem->out_h, nhwc->row_step);
        nhwc->group_rows = dw_div_up(rows, dw_div_up(rows, DW_MAX_OUT_ROWS));
        if (nhwc->strategy.option[DW_AXIS_ROWS] == DW_ROWS_FEW)
            nhwc->group_rows = dw_min(nhwc->group_rows, DW_FEW_ROWS);
    }
    /* The first `longer` phases have one row more than the others. */
    const int64_t rows = problem->out_h / nhwc->row_step, longer = problem->out_h % nhwc->row_step;
    const int64_t others = row_phases(nhwc, problem) - longer;
    nhwc->image_units = longer * units_of(nhwc, rows + 1) + others * units_of(nhwc, rows);
}

/* The packing whose blocks lie on vector boundaries of both arrays; 0 if there is none. */
static int packing_for(const dw_nhwc *nhwc, const dw_problem *problem, const void *x, const void *y) {
    const uintptr_t vector = (uintptr_t)(nhwc->table->lanes * problem->element_size);
    const uintptr_t before = (0 - (uintptr_t)x) % vector; /* bytes to the next boundary */
    if (before % DW_X_ALIGNMENT != 0 || (0 - (uintptr_t)y) % vector != before) return 0;
    const uintptr_t index = before / DW_X_ALIGNMENT;
    return index < (uintptr_t)nhwc->packing_count ? (int)index : 0;
}

unsigned dw_nhwc_packings_for(const dw_nhwc *nhwc, const dw_problem *problem, const void *x, const void *y) {
    const int index = packing_for(nhwc, problem, x, y);
    /* Segments at the edges use the first one where blocks span two pixels. */
    return 1u << index | (unsigned)(nhwc->aligned.cross_pixel != 0);
}

/* The one for x and y, or the first that is packed: each is right for any address. */
static const dw_packing *choose_packing(const dw_nhwc *nhwc, const dw_problem *problem, const void *x, const void *y) {
    const dw_packing *packing = nhwc->packings + packing_for(nhwc, problem, x, y);
    if (packing->weights) return packing;
    for (packing = nhwc->packings; !packing->weights;) packing++;
    return packing;
}

/* Output rows to roll down at a time: where two blocks share cache lines, as few as let these stay in L1. */
static int64_t rows_to_roll(const dw_nhwc *nhwc, const dw_problem *problem, const dw_packing *packing, const void *x) {
    const int64_t vector = nhwc->table->lanes * problem->element_size;
    const int64_t pixel = problem->desc.channels * problem->element_size;
    const int shared = packing == nhwc->packings && problem->desc.stride_h == 1 && nhwc->fold == 1 &&
                       ((uintptr_t)x % (uintptr_t)vector != 0 || pixel % vector != 0);
    return shared ? dw_min(nhwc->group_rows, problem->tuning->shared_rows) : nhwc->group_rows;
}

/* ---- a part ---------------------------------------------------------------------------------------- */

void dw_nhwc_run(const dw_nhwc *nhwc, const dw_problem *problem, int64_t batch, const void *x, void *y, int part,
                 int parts) {
    const dw_desc *d = &problem->desc;
    const int64_t x_image = d->height * d->width * d->channels * problem->element_size;
    const int64_t y_image = problem->out_h * problem->out_w * problem->out_channels * problem->element_size;
    const int rolls = nhwc->tile && nhwc->tile->tile_h == 0;
    const int64_t phases = row_phases(nhwc, problem), image_units = nhwc->image_units;
    const dw_packing *packing = choose_packing(nhwc, problem, x, y); /* images are whole numbers of pixels apart */
    const int64_t most = rolls ? rows_to_roll(nhwc, problem, packing, x) : nhwc->group_rows;

    dw_part mine;
    dw_nhwc_part_of(nhwc, problem, batch, packing, part, parts, &mine);
    row_group group;
    group.nhwc = nhwc;
    group.problem = problem;
    group.packing = packing;
    group.block_end = mine.blocks.end;
    group.masked.tile = nhwc->tile_args;
    group.general = nhwc->general_args;
    const dw_range units = mine.units, blocks = mine.blocks;
    /* Few channels in all rows of an image, then the next ones: rows of them stay in L1. */
    const int64_t at_once = nhwc->strategy.option[DW_AXIS_CHUNK] == DW_CHUNK_FEW ? nhwc->chunk : blocks.end;
    int64_t image_unit = units.begin - units.begin % image_units; /* the first of its image */
    for (int64_t n = units.begin / image_units; image_unit < units.end; n++, image_unit += image_units) {
        const char *x_n = (const char *)x + n * x_image;
        char *y_n = (char *)y + n * y_image;
        for (mine.blocks.begin = blocks.begin; mine.blocks.begin < blocks.end; mine.blocks.begin += at_once) {
            mine.blocks.end = dw_min(mine.blocks.begin + at_once, blocks.end);
            int64_t unit = image_unit; /* the first of each phase */
            for (int64_t phase = 0; phase < phases; phase++) {
                const int64_t count = rows_of_phase(nhwc, problem, phase), here = units_of(nhwc, count);
                const int64_t first = units.begin > unit ? units.begin - unit : 0, last = units.end - unit;
                const int64_t end = last >= here ? count : rolls ? last : last * most;
                /* The last rows above those of another part are rolled down by themselves. */
                const int64_t bottom = rolls && end < count ? end - problem->tuning->top_rows : end;
                int64_t rows = most;
                for (int64_t j = rolls ? first : first * most; first < here && j < end; j += rows) {
                    /* The last group of tiles overlaps its neighbour: the same values are written again. */
                    const int64_t begin = rolls || j + most <= end ? j : end - most;
                    if (rolls) rows = j < bottom && j + most > bottom ? bottom - j : dw_min(most, end - j);
                    run_rows(&group, &mine, x_n, y_n, phase + begin * nhwc->row_step, rows);
                }
                unit += here;
            }
        }
    }
}

int dw_nhwc_page_offset(const dw_nhwc *nhwc, const dw_problem *problem, int64_t batch, const void *x) {
    enum { PAGE = 4096, LINE = 64 };
    const dw_tuning *tuning = problem->tuning;
    const double bytes = (double)batch * (double)problem->out_h * (double)problem->out_w *
                         (double)problem->out_channels * (double)problem->element_size;
    if (bytes < (double)tuning->page_offset_bytes) return -1;
    const uintptr_t offset = ((uintptr_t)x + (uintptr_t)tuning->page_offset) % PAGE;
    return (int)(nhwc->packing_count > 1 && offset % DW_X_ALIGNMENT == 0 ? offset : offset / LINE * LINE);
}
