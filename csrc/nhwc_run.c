/* nhwc_run.c - runs a plan: row group -> channel chunk -> column segment -> (kernel: column -> block -> row).
 * Within a group the inputs of a chunk are used up column by column, so what columns share is still in L1. A part of a
 * run has rows of its own, or columns, or channels. */
#include "nhwc_rows.h"
#include "plan.h"

/* Blocks [block, block + most) of those before `end`. */
static void use_blocks(dw_strip *strip, const dw_packing *packing, int64_t block, int64_t end, int64_t most) {
    strip->weights = packing->weights;
    strip->blocks = packing->blocks;
    strip->block = block;
    strip->block_end = end - block > most ? block + most : end;
}

/* Activates the sums that a strip of so many rows has just stored. Its blocks may overlap, but together they are one
 * run of channels. Other strips may overlap this one: they store their own sums before they activate them. */
static void activate(const dw_plan *plan, const dw_strip *strip, int64_t rows) {
    const dw_block *first = strip->blocks + strip->block, *last = strip->blocks + strip->block_end - 1;
    const dw_runs runs = {.y = (char *)strip->y + (strip->col * strip->y_col + first->y) * plan->element_size,
                          .rows = rows,
                          .cols = strip->cols,
                          .count = last->y + last->y_count - first->y,
                          .y_row = strip->y_row,
                          .y_col = strip->y_col,
                          .alpha = plan->desc.activation_alpha};
    plan->activate(&runs);
}

/* Output rows row, row + dilation_h, ..., `out_rows` of them, of one image, the blocks and columns of a part; x and y:
 * the image. */
static void run_rows(const dw_plan *plan, const dw_packing *packing, const dw_part *part, const char *x, char *y,
                     int64_t row, int64_t out_rows) {
    const dw_desc *d = &plan->desc;
    const dw_tile *tile = plan->tile;
    const int64_t x_row = d->width * d->channels, y_row = plan->out_w * plan->out_channels;
    const int64_t first = row * d->stride_h - d->pad_top;
    y += row * y_row * plan->element_size;

    const void *rows[DW_MAX_TILE_ROWS];
    if (tile) {
        const int64_t count = (out_rows - 1) * d->stride_h + d->kernel_h;
        for (int64_t i = 0; i < count; i++) {
            const int64_t at = first + i * d->dilation_h;
            rows[i] = at >= 0 && at < d->height ? x + at * x_row * plan->element_size : NULL;
        }
    }
    const int64_t pixels = plan->merged; /* of a column of the tile kernels */
    dw_strip strip = {.rows = rows,
                      /* Of use in tiles only; without one, the dilation may be too large to multiply. */
                      .y_row = tile ? (ptrdiff_t)(d->dilation_h * y_row) : 0,
                      .prefetch = plan->prefetch,
                      .out_rows = out_rows,
                      .kernel_h = d->kernel_h,
                      .kernel_w = d->kernel_w,
                      .stride = d->stride_w,
                      .multiplier = d->multiplier,
                      .dilation = tile && pixels == 1 ? 1 : d->dilation_w, /* within a phase, or of the whole */
                      .x_pixel = (ptrdiff_t)d->channels,
                      .y_pixel = (ptrdiff_t)plan->out_channels,
                      .low = plan->low,
                      .high = plan->high};
    const dw_segments *segments = &part->segments;
    const dw_range blocks = part->blocks;
    for (int64_t block = blocks.begin; block < blocks.end; block += plan->kernels->chunk) {
        for (const dw_segment *segment = segments->at; segment < segments->at + segments->count; segment++) {
            const dw_phase *phase = plan->phases + segment->phase;
            strip.x_first = (ptrdiff_t)(phase->x_first * d->channels);
            strip.width = phase->width;
            strip.first_tap = phase->y_first - d->pad_left;
            strip.pad = phase->pad;
            strip.y = y + phase->y_first * plan->out_channels * plan->element_size;
            strip.col = segment->col;
            strip.cols = segment->cols;
            if (segment->tile) {
                use_blocks(&strip, segment->shifted ? packing : plan->packings, block, blocks.end,
                           plan->kernels->chunk);
                strip.x_col = (ptrdiff_t)((pixels > 1 ? d->dilation_w : plan->phase_step) * d->channels);
                strip.x_step = pixels > 1 ? (ptrdiff_t)(pixels * d->channels) : tile->stride * strip.x_col;
                strip.y_col = (ptrdiff_t)(pixels * plan->phase_step * plan->out_channels);
                if (segment->astride && block == 0) {
                    dw_strip first = strip;
                    first.weights = packing->astride;
                    first.block_end = 1;
                    for (const int64_t end = first.col + first.cols; first.col < end; first.col += first.cols) {
                        dw_strip_fn *astride;
                        first.cols = dw_astride_cols(plan, end - first.col, &astride);
                        astride(&first);
                        if (plan->activate) activate(plan, &first, out_rows);
                    }
                    if (++strip.block == strip.block_end) continue;
                }
                segment->tile(&strip);
                if (plan->activate) activate(plan, &strip, out_rows);
                continue;
            }
            const dw_packing *single = pixels > 1 ? &plan->single : packing;
            if (block >= single->count) continue;
            use_blocks(&strip, single, block, pixels > 1 ? single->count : blocks.end, plan->kernels->chunk);
            strip.x_col = (ptrdiff_t)(plan->phase_step * d->channels);
            strip.y_col = (ptrdiff_t)(plan->phase_step * plan->out_channels);
            for (int64_t r = 0; r < out_rows; r++) {
                /* Kernel rows ki with 0 <= begin + ki * dilation_h < height. */
                const int64_t begin = first + r * d->dilation_h * d->stride_h;
                dw_strip general = strip;
                general.ki_begin = begin < 0 ? (-begin - 1) / d->dilation_h + 1 : 0;
                general.ki_end = begin < d->height ? (d->height - begin - 1) / d->dilation_h + 1 : 0;
                if (general.ki_end > d->kernel_h) general.ki_end = d->kernel_h;
                general.row = x;
                if (general.ki_begin < general.ki_end)
                    general.row = x + (begin + general.ki_begin * d->dilation_h) * x_row * plan->element_size;
                if (general.ki_end - general.ki_begin > 1) general.row_step = (ptrdiff_t)(d->dilation_h * x_row);
                general.y = (char *)strip.y + r * d->dilation_h * y_row * plan->element_size;
                plan->kernels->general(&general);
                if (plan->activate) activate(plan, &general, 1);
            }
        }
    }
}

/* The packing whose blocks lie on vector boundaries of both arrays, if there is one. */
static const dw_packing *choose_packing(const dw_plan *plan, const void *x, const void *y) {
    const uintptr_t vector = (uintptr_t)(plan->kernels->lanes * plan->element_size);
    const uintptr_t before = (0 - (uintptr_t)x) % vector; /* bytes to the next boundary */
    if (before % DW_X_ALIGNMENT != 0 || (0 - (uintptr_t)y) % vector != before) return plan->packings;
    return before / DW_X_ALIGNMENT < (uintptr_t)plan->packing_count ? plan->packings + before / DW_X_ALIGNMENT
                                                                    : plan->packings;
}

/* Output rows to roll down at a time: where two blocks share cache lines, as few as let these stay in L1. */
static int64_t rows_to_roll(const dw_plan *plan, const dw_packing *packing, const void *x) {
    enum { IF_SHARED = 8 };
    const int64_t vector = plan->kernels->lanes * plan->element_size;
    const int shared =
        packing == plan->packings && plan->desc.stride_h == 1 && plan->merged == 1 &&
        ((uintptr_t)x % (uintptr_t)vector != 0 || plan->desc.channels * plan->element_size % vector != 0);
    return shared && plan->group_rows > IF_SHARED ? IF_SHARED : plan->group_rows;
}

int dw_plan_place(const dw_plan *plan, const void *x) {
    /* An address that is a store's but for a multiple of 4096 holds a load up, as do lines of the same set in L1; where
     * pixels are a power of two apart, all are. On Zen 4, 14x14x512 takes 27 us if x and y begin at the same place of
     * a page, 18 us otherwise. 1280 is 256 off any multiple of 512 or 1024: apart from the neighbouring pixels, too. */
    enum { PAGE = 4096, LINE = 64, APART = 1280, LEAST_BYTES = 16384 };
    const dw_desc *d = &plan->desc;
    const double bytes = (double)d->batch * (double)plan->out_h * (double)plan->out_w * (double)plan->out_channels *
                         (double)plan->element_size;
    if (bytes < LEAST_BYTES || plan->planar) return -1;
    const uintptr_t place = ((uintptr_t)x + APART) % PAGE;
    return (int)(plan->packing_count > 1 && place % DW_X_ALIGNMENT == 0 ? place : place / LINE * LINE);
}

/* A part of channels_last. */
void dw_nhwc_run_part(const dw_plan *plan, const void *x, void *y, int part, int parts) {
    const dw_desc *d = &plan->desc;
    const int64_t x_image = d->height * d->width * d->channels * plan->element_size;
    const int64_t y_image = plan->out_h * plan->out_w * plan->out_channels * plan->element_size;
    const int64_t rolls = plan->tile && plan->tile->tile_h == 0;
    const int64_t step = phase_step(plan), phases = phases_of(plan), image_units = plan->image_units;
    const dw_packing *packing = choose_packing(plan, x, y); /* each image is a whole number of pixels further on */
    const int64_t most = rolls ? rows_to_roll(plan, packing, x) : plan->group_rows;

    dw_part mine;
    dw_part_of(plan, packing, d->batch * image_units, part, parts, &mine);
    const dw_range units = mine.units;
    int64_t unit = units.begin - units.begin % image_units; /* the first of its image, then of each phase */
    for (int64_t n = units.begin / image_units; unit < units.end; n++) {
        const char *x_n = (const char *)x + n * x_image;
        char *y_n = (char *)y + n * y_image;
        for (int64_t phase = 0; phase < phases; phase++) {
            const int64_t count = phase_rows(plan, phase), here = units_of(plan, count);
            const int64_t first = units.begin > unit ? units.begin - unit : 0, last = units.end - unit;
            const int64_t end = last >= here ? count : rolls ? last : last * most;
            const int64_t bottom = rolls && end < count ? end - DW_FEW_ROWS : end; /* above rows of another part */
            int64_t rows = most;
            for (int64_t j = rolls ? first : first * most; first < here && j < end; j += rows) {
                /* The last group of tiles overlaps its neighbour: the same values are written again. */
                const int64_t begin = rolls || j + most <= end ? j : end - most;
                if (rolls) rows = j < bottom && j + most > bottom ? bottom - j : j + most <= end ? most : end - j;
                run_rows(plan, packing, &mine, x_n, y_n, phase + begin * step, rows);
            }
            unit += here;
        }
    }
}
