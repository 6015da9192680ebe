/* grad.c - the gradients of one problem: checks it, divides it among threads, and runs both gradients band by band.
 *
 * Both gradients read dy, and bands are what lets them share it. A band is some rows of dy with the rows of x that they
 * need; they are copied once into row rings (grad_ring.c), as whole vectors, and both gradients read them from there
 * while they are in L2. Channels are gone through in chunks that fit, images one after the other.
 *
 * What must not be broken: the order of the sums in dwconv.h. It depends on rows of a band and on images, and on
 * nothing else: not on chunks, threads or vectors. */
#include "grad.h"

#include <stdlib.h>
#include <string.h>

#include "desc.h"
#include "float_env.h"
#include "shared.h"
#include "thread_pool.h"
#include "sizes.h"

static dw_grad_array array_of(dw_layout layout, int64_t height, int64_t width, int64_t channels) {
    const ptrdiff_t column = layout == DW_NHWC ? (ptrdiff_t)channels : 1, row = (ptrdiff_t)width * column;
    const ptrdiff_t channel = layout == DW_NHWC ? 1 : (ptrdiff_t)(height * width);
    return (dw_grad_array){height, width, channels, column, row, channel, (ptrdiff_t)(height * width * channels)};
}

static dw_status init_base(dw_grad_base *base, const dw_desc *desc, dw_isa isa) {
    dw_problem *problem = &base->problem;
    const dw_status status = dw_problem_init(problem, desc, isa);
    if (status != DW_OK) return status;
    if (!DW_HAS_GRADIENTS) return DW_ERR_BUILD;
    problem->desc.activation = DW_LINEAR; /* gradients are of z; grad_activation.c does the rest */
    const dw_instruction_set *narrower = problem->isa->narrower;
    base->table = problem->isa->grad[desc->dtype];
    if (!base->table) return DW_ERR_DTYPE;
    /* Channels that fill no vector may fill one of half the width: the same bits, without partial vectors. */
    if (narrower && problem->out_channels < base->table->lanes) base->table = narrower->grad[desc->dtype];
    base->x = array_of(desc->layout, desc->height, desc->width, desc->channels);
    base->dy = array_of(desc->layout, problem->out_h, problem->out_w, problem->out_channels);
    const int64_t lanes = base->table->lanes;
    base->block_count = dw_div_up(problem->out_channels, lanes);
    return dw_make_blocks(base->block_count, lanes, desc->multiplier, problem->out_channels, 0, lanes, 1,
                          &base->blocks);
}

/* ---- life ------------------------------------------------------------------------------------------ */

/* Roughly: two gradients of as many multiply-adds as the convolution has. */
static int64_t estimate_nanoseconds(const dw_grad_base *base) {
    const double MOST = 1e15;
    const dw_problem *problem = &base->problem;
    const dw_tuning *tuning = problem->tuning;
    const dw_desc *d = &problem->desc;
    const double taps = (double)d->batch * (double)problem->out_h * (double)problem->out_w *
                        (double)problem->out_channels * (double)d->kernel_h * (double)d->kernel_w;
    const double time =
        problem->isa->calls_fma ? taps * tuning->fma_call_ns : taps / base->table->lanes / tuning->grad_vectors_per_ns;
    return (int64_t)(2 * time < MOST ? 2 * time : MOST);
}

/* Whether dx is made row by row, along with the other gradients. */
static int makes_rows(const dw_grad *grad) { return grad->has_input && !grad->input.plan; }

/* Whether rings may hold all rows of a block, at once. */
static int fits(const dw_grad_base *base) {
    const int64_t sizes[] = {base->problem.desc.height * base->problem.desc.width +
                                 base->problem.out_h * base->problem.out_w,
                             base->table->lanes};
    int64_t bytes;
    return dw_bytes(base->problem.element_size, sizes, 2, &bytes) && bytes <= base->problem.tuning->grad_ring_bytes;
}

/* The rings, and how many blocks they are for. */
static dw_status init_rings(dw_grad *grad) {
    const dw_grad_base *base = &grad->base;
    const int whole = base->problem.desc.layout == DW_NCHW && fits(base);
    const int64_t held = grad->band + grad->input.lookback_rows;
    dw_status status =
        dw_ring_init(&grad->dy, base, 1, whole || held > base->problem.out_h ? base->problem.out_h : held);
    if (status == DW_OK)
        status = dw_ring_init(&grad->x, base, 0, whole ? base->problem.desc.height : grad->weights.x_rows);
    if (status != DW_OK) return status;
    const int64_t all = base->block_count, slots = grad->dy.slots + grad->x.slots;
    if (grad->x.block_bytes > PTRDIFF_MAX - grad->dy.block_bytes) return DW_ERR_OVERFLOW;
    int64_t most = base->problem.tuning->grad_ring_bytes / (grad->dy.block_bytes + grad->x.block_bytes);
    /* In NCHW the planes of one block lie next to each other in memory. */
    if (most < 1 || base->problem.desc.layout == DW_NCHW) most = 1;
    if (makes_rows(grad) && base->problem.desc.multiplier > 1) most = all; /* the sums of all m are needed at a time */
    const int64_t chunks = (all - 1) / most + 1;
    grad->chunk = (all - 1) / chunks + 1;
    /* Half of L1. With a multiplier dx needs the sums of all channels at a time. */
    grad->group = base->problem.tuning->grad_lines_bytes / (grad->dy.block_bytes + grad->x.block_bytes);
    if (grad->group < 1) grad->group = 1;
    if (makes_rows(grad) && base->problem.desc.multiplier > 1) grad->group = grad->chunk;
    if (!dw_bytes(grad->dy.block_bytes, &grad->chunk, 1, &grad->dy_bytes)) return DW_ERR_OVERFLOW;
    if (!dw_bytes(grad->x.block_bytes, &grad->chunk, 1, &grad->x_bytes)) return DW_ERR_OVERFLOW;
    if (!dw_bytes(sizeof(int64_t), &slots, 1, &grad->row_of_slot_bytes)) return DW_ERR_OVERFLOW;
    return DW_OK;
}

static dw_status init(dw_grad *grad, const dw_desc *desc, dw_isa isa, const void *kernel, const void *bias,
                      int with_input, dw_stopper *stopper) {
    dw_grad_base *base = &grad->base;
    const int through = desc->activation != DW_LINEAR;
    dw_status status = init_base(base, desc, isa);
    if (!DW_HAS_GRADIENTS) return status; /* at the latest init_base has refused it; what follows is left out */
    base->problem.stopper = stopper;
    if (status == DW_OK) status = dw_grad_weights_init(&grad->weights, base);
    if (status != DW_OK) return status;
    grad->band = dw_grad_band(base);
    grad->has_input = with_input;
    if (with_input) status = dw_grad_input_init(&grad->input, base, kernel, grad->band, through);
    if (status == DW_OK && through)
        status = dw_grad_activation_init(&grad->activation, base, &grad->weights, desc->activation,
                                         desc->activation_alpha, kernel, bias);
    if (status == DW_OK) status = init_rings(grad);
    if (status != DW_OK) return status;
    const int64_t parts[] = {
        grad->dy_bytes,  grad->x_bytes, grad->row_of_slot_bytes, grad->input.workspace, grad->activation.line_bytes,
        5 * DW_ALIGNMENT};
    int64_t sum = 0, image;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (parts[i] > PTRDIFF_MAX / 4 - sum) return DW_ERR_OVERFLOW;
        sum += parts[i];
    }
    if (!dw_bytes(grad->weights.sums_bytes, &base->block_count, 1, &image) || image > PTRDIFF_MAX / 8)
        return DW_ERR_OVERFLOW;
    grad->part_bytes = dw_align_up(sum);
    grad->image_bytes = dw_align_up(image);
    grad->nanoseconds = estimate_nanoseconds(base) / 2 * (through ? 3 : 2); /* the convolution again */
    return DW_OK;
}

dw_status dw_grad_create_through(const dw_desc *desc, dw_isa isa, const void *kernel, const void *bias, int with_input,
                                 dw_stop_fn *stop, void *context, dw_grad **out) {
    if (!out) return DW_ERR_NULL;
    *out = NULL;
    if (!desc || (!kernel && (with_input || desc->activation != DW_LINEAR))) return DW_ERR_NULL;
    dw_grad *grad = calloc(1, sizeof *grad);
    if (!grad) return DW_ERR_NOMEM;
    dw_stopper stopper = {stop, context, 0};
    const dw_status status = init(grad, desc, isa, kernel, bias, with_input, stop ? &stopper : NULL);
    if (status != DW_OK) {
        dw_grad_destroy(grad);
        return status;
    }
    grad->base.problem.stopper = NULL;
    *out = grad;
    return DW_OK;
}

dw_status dw_grad_create_until(const dw_desc *desc, dw_isa isa, const void *kernel, dw_stop_fn *stop, void *context,
                               dw_grad **out) {
    if (!out) return DW_ERR_NULL;
    *out = NULL;
    if (!desc) return DW_ERR_NULL;
    if (desc->activation != DW_LINEAR) {
        int64_t oh, ow;
        const dw_status status = dw_output_size(desc, &oh, &ow); /* says what else is wrong */
        return status == DW_OK ? DW_ERR_ACTIVATION : status;
    }
    return dw_grad_create_through(desc, isa, kernel, NULL, kernel != NULL, stop, context, out);
}

static dw_status repack(dw_grad *grad, const dw_grad *from, const void *kernel, const void *bias) {
    grad->input = (dw_grad_input){0};
    grad->activation.weights = NULL;
    dw_status status = DW_OK;
    if (from->has_input) status = dw_grad_input_repack(&grad->input, &from->input, &grad->base, kernel);
    if (status == DW_OK && from->activation.slope)
        status = dw_grad_activation_pack(&grad->activation, &grad->base, kernel, bias);
    return status;
}

dw_status dw_grad_with_weights(const dw_grad *grad, const void *kernel, const void *bias, dw_stop_fn *stop,
                               void *context, dw_grad **out) {
    if (!out) return DW_ERR_NULL;
    *out = NULL;
    if (!grad || (!kernel && (grad->has_input || grad->activation.slope))) return DW_ERR_NULL;
    dw_grad *copy = malloc(sizeof *copy);
    if (!copy) return DW_ERR_NOMEM;
    *copy = *grad;
    dw_shared_keep(copy->base.blocks);
    dw_shared_keep(copy->weights.indices);
    dw_stopper stopper = {stop, context, 0};
    copy->base.problem.stopper = stop ? &stopper : NULL;
    const dw_status status = repack(copy, grad, kernel, bias);
    copy->base.problem.stopper = NULL;
    if (status != DW_OK) dw_grad_destroy(copy);
    else *out = copy;
    return status;
}

dw_status dw_grad_create(const dw_desc *desc, dw_isa isa, const void *kernel, dw_grad **out) {
    return dw_grad_create_until(desc, isa, kernel, NULL, NULL, out);
}

void dw_grad_destroy(dw_grad *grad) {
    if (!grad) return;
    dw_grad_input_free(&grad->input);
    dw_grad_weights_free(&grad->weights);
    dw_grad_activation_free(&grad->activation);
    dw_shared_drop(grad->base.blocks);
    free(grad);
}

int64_t dw_grad_bytes(const dw_grad *grad) {
    const dw_problem *problem = &grad->base.problem;
    const dw_desc *d = &problem->desc;
    const int64_t lanes = grad->base.table->lanes * problem->element_size, taps = d->kernel_h * d->kernel_w;
    const dw_grad_input *input = &grad->input;
    int64_t block = sizeof(dw_block), bytes = sizeof *grad; /* what exists does not overflow */
    if (input->weights) block += taps * lanes;
    if (grad->activation.weights) block += (1 + taps) * lanes;
    if (grad->weights.indices) block += lanes;
    if (input->rows) bytes += (d->height + d->width) * (int64_t)sizeof(dw_tap_range);
    if (input->plan) {
        dw_plan_info info;
        dw_plan_describe(input->plan, &info);
        bytes += info.plan_bytes;
    }
    return bytes + grad->base.block_count * block;
}

/* ---- how a run is divided -------------------------------------------------------------------------- */

/* A run goes through the images in rounds of `images` images, each with sums of its own, which are added to the total in
 * order after the round. Within a round the work is units that write no byte of each other: all channels of an image,
 * or, where threads would get different numbers of few images, some of them. Parts are runs of units. */
typedef struct division {
    int threads, parts;
    int64_t images; /* of a round */
    int64_t splits; /* of the blocks of an image */
} division;

/* Into how many units an image is divided. */
static int64_t splits_for(const dw_grad *grad, int threads, int parts) {
    const dw_grad_base *base = &grad->base;
    const int64_t batch = base->problem.desc.batch;
    const int uneven = batch % threads != 0 && batch < 4 * (int64_t)threads;
    if (!uneven || (base->problem.desc.multiplier > 1 && makes_rows(grad))) return 1;
    return base->block_count < parts ? base->block_count : parts;
}

static division divide(const dw_grad *grad, int num_threads) {
    const dw_grad_base *base = &grad->base;
    const int64_t batch = base->problem.desc.batch;
    division to = {1, 1, 1, 1};
    num_threads = dw_pool_threads(grad->nanoseconds, base->problem.tuning->grad_thread_ns, num_threads);
    if (num_threads == 1) return to;
    const int parts = dw_pool_parts(grad->nanoseconds, num_threads);
    const double bytes = (double)(parts + 1) * ((double)grad->image_bytes + (double)grad->part_bytes);
    if (bytes > (double)(PTRDIFF_MAX / 2)) return to;
    to.threads = num_threads;
    to.parts = parts;
    to.images = batch < to.parts ? batch : to.parts;
    to.splits = splits_for(grad, num_threads, to.parts);
    /* A single unit is the caller's: no worker could help, and only the caller of a long run notices a signal. */
    if (to.images * to.splits == 1) return (division){1, 1, 1, 1};
    return to;
}

int dw_grad_threads(const dw_grad *grad, int num_threads) { return divide(grad, num_threads).threads; }

static int64_t workspace_of(const dw_grad *grad, const division *division) {
    return DW_ALIGNMENT + (1 + division->images) * grad->image_bytes + division->parts * grad->part_bytes;
}

int64_t dw_grad_workspace(const dw_grad *grad, int num_threads) {
    const division division = divide(grad, num_threads);
    return workspace_of(grad, &division);
}

/* For threads that are not ours: as many parts as they say. Several images for each, so that rounds are few: all wait for
 * the slowest part of a round. */
static division divide_into(const dw_grad *grad, int parts) {
    enum { IMAGES_OF_A_PART = 4 };
    const int64_t batch = dw_max(grad->base.problem.desc.batch, 1);
    return (division){parts, parts, dw_min(batch, IMAGES_OF_A_PART * (int64_t)parts), splits_for(grad, parts, parts)};
}

int64_t dw_grad_parts_workspace(const dw_grad *grad, int parts) {
    const division division = divide_into(grad, parts);
    const double bytes =
        (double)(1 + division.images) * (double)grad->image_bytes + (double)parts * (double)grad->part_bytes;
    return bytes > (double)(PTRDIFF_MAX / 2) ? -1 : workspace_of(grad, &division);
}

int64_t dw_grad_rounds(const dw_grad *grad, int parts) {
    return (dw_max(grad->base.problem.desc.batch, 1) - 1) / divide_into(grad, parts).images + 1;
}

/* ---- running --------------------------------------------------------------------------------------- */

typedef struct job {
    const dw_grad *grad;
    const char *dy, *x; /* x NULL: not needed */
    int with_weights;   /* the gradients of kernel and bias */
    char *dx;           /* NULL: not wanted */
    char *sums;         /* of each image of the round */
    char *workspaces;   /* of each part */
    int64_t first, images, splits;
    int64_t pieces;   /* of each split of an image, where dx is made by a plan of its own */
    dw_stop_fn *stop; /* NULL: the run is too short to be ended early */
    void *context;
} job;

static int stopped(const job *job) { return job->stop && job->stop(job->context); }

/* Where in the arrays something begins. */
typedef struct position {
    int64_t image, row, block;
} position;

/* Prefetches `rows` rows of an array from a position on, of `blocks` blocks or those that are left. It may go past the
 * end of the array: prefetching is a hint. */
static dw_prefetcher prefetch_of(const dw_grad_base *base, const char *data, int of_dy, position at, int64_t rows,
                                 int64_t blocks) {
    const dw_grad_array *array = of_dy ? &base->dy : &base->x;
    const int64_t left = base->block_count - at.block, element_size = base->problem.element_size;
    const dw_block *const first = base->blocks + at.block, *const last = first + (blocks < left ? blocks : left) - 1;
    const int64_t channel = of_dy ? first->y : first->x;
    const int64_t channels = (of_dy ? last->y + last->y_count : last->x + last->x_count) - channel;
    /* Pieces: in NHWC of pixels, in NCHW of planes. */
    const int planes = base->problem.desc.layout == DW_NCHW;
    const ptrdiff_t piece = (ptrdiff_t)((planes ? rows * array->row : channels) * element_size);
    return (dw_prefetcher){data + (at.image * array->image + at.row * array->row + channel * array->channel) *
                                      element_size,
                           piece, piece, (planes ? array->channel : array->column) * element_size - piece};
}

/* The part of a ring with the blocks [block, end) of those that it holds. */
static dw_ring_state blocks_of(const dw_ring_state *all, int64_t block, int64_t end) {
    dw_ring_state some = *all;
    some.rows += (block - all->block) * all->ring->block_bytes;
    some.block = block;
    some.block_end = end;
    return some;
}

/* Copies the rows of x that rows [row, end) of dy need. */
static void hold_x(const dw_grad_base *base, const dw_ring_state *x, int64_t row, int64_t end) {
    const dw_desc *d = &base->problem.desc;
    for (; row < end; row++) {
        for (int64_t ki = 0; ki < d->kernel_h; ki++) {
            const int64_t at = row * d->stride_h - d->pad_top + ki * d->dilation_h;
            if (at >= 0 && at < d->height) dw_ring_row(x, base, at);
        }
    }
}

/* One image, the blocks from at.block to block_end, which are a chunk: band by band, so that x and dy are read from
 * memory once, in address order. `after`: what comes next, which may be past the end. */
static void run_chunk(const job *job, position at, int64_t block_end, position after, char *sums, char *workspace) {
    const dw_grad *grad = job->grad;
    const dw_grad_base *base = &grad->base;
    const dw_desc *d = &base->problem.desc;
    const int with_input = job->dx && makes_rows(grad);
    char *const dx = with_input ? job->dx + at.image * base->x.image * base->problem.element_size : NULL;
    char *const x_rows = workspace + dw_align_up(grad->dy_bytes), *const rows_of_dx =
                                                                      x_rows + dw_align_up(grad->x_bytes);
    char *const line = rows_of_dx + dw_align_up(grad->input.workspace);
    int64_t *const row_of_slot = (int64_t *)(void *)(line + dw_align_up(grad->activation.line_bytes));
    const int64_t blocks = block_end - at.block, band = grad->band;
    dw_ring_state dy, x;
    dw_ring_begin(&dy, &grad->dy, job->dy + at.image * base->dy.image * base->problem.element_size, workspace,
                  row_of_slot);
    dy.block = at.block;
    dy.block_end = block_end;
    if (job->x) {
        dw_ring_begin(&x, &grad->x, job->x + at.image * base->x.image * base->problem.element_size, x_rows,
                      row_of_slot + grad->dy.slots);
        x.block = at.block;
        x.block_end = block_end;
        x.indices = grad->weights.indices;
    }
    int64_t done = 0; /* rows of dx */
    for (; at.row < base->problem.out_h && !stopped(job); at.row += band) {
        const int more = base->problem.out_h - at.row > band;
        const position next = more ? (position){at.image, at.row + band, at.block} : after;
        const int64_t end = more ? next.row : base->problem.out_h;
        dw_prefetcher next_dy = prefetch_of(base, job->dy, 1, next, band, blocks), next_x = {0}, next_dx = {0};
        if (job->with_weights) {
            /* The first row that this band does not hold, too. */
            int64_t row = more ? (next.row - 1) * d->stride_h - d->pad_top + (d->kernel_h - 1) * d->dilation_h + 1 : 0;
            if (row > d->height) row = d->height;
            if (row < 0) row = 0;
            const int64_t rows = d->stride_h < d->height / band ? band * d->stride_h : d->height;
            next_x = prefetch_of(base, job->x, 0, (position){next.image, row, next.block}, rows, blocks);
        }
        const int64_t ready = with_input ? dw_grad_input_ready(&grad->input, base, done, end) : 0;
        if (with_input) {
            const position next_rows = {next.image, more ? ready : 0, next.block};
            next_dx = prefetch_of(base, job->dx, 0, next_rows, ready > done ? ready - done : 1, blocks);
        }
        /* The arrays are read in address order, all blocks at once. What follows finds the rows of some blocks in L1. */
        for (int64_t h = at.row; h < end; h++) dw_ring_row(&dy, base, h);
        if (job->x) hold_x(base, &x, at.row, end);
        for (int64_t first = at.block, last; first < block_end; first = last) {
            last = block_end - first > grad->group ? first + grad->group : block_end;
            const dw_ring_state some_dy = blocks_of(&dy, first, last);
            dw_ring_state some_x = {0};
            if (job->x) some_x = blocks_of(&x, first, last);
            if (grad->activation.slope)
                dw_grad_activation_rows(&grad->activation, base, &some_dy, &some_x, line, at.row, end);
            if (job->with_weights)
                dw_grad_weights_band(&grad->weights, base, &some_dy, &some_x, at.row, sums, &next_dy, &next_x);
            if (with_input)
                dw_grad_input_band(&grad->input, base, &some_dy, dx, done, ready, &next_dx,
                                   job->with_weights ? NULL : &next_dy, rows_of_dx);
        }
        done = ready;
    }
}

/* Part `part` of the units of a round. */
static void run_units(const void *arguments, int part, int parts) {
    const job *job = arguments;
    const dw_grad *grad = job->grad;
    const dw_grad_base *base = &grad->base;
    const dw_range share = dw_range_of(job->images * job->splits, part, parts);
    char *const workspace = job->workspaces + part * grad->part_bytes;
    const dw_float_env before = dw_float_begin(base->problem.desc.denormals);
    for (int64_t unit = share.begin; unit < share.end; unit++) {
        const int64_t slot = unit / job->splits, image = job->first + slot, split = unit % job->splits;
        const dw_range cut = dw_range_of(base->block_count, (int)split, (int)job->splits);
        const int64_t first = dw_clean_cut(base->blocks, base->block_count, cut.begin);
        const int64_t block_end = dw_clean_cut(base->blocks, base->block_count, cut.end);
        char *const sums = job->sums + slot * grad->image_bytes;
        if (job->with_weights)
            memset(sums + first * grad->weights.sums_bytes, 0,
                   (size_t)((block_end - first) * grad->weights.sums_bytes));
        const int any = job->with_weights || (job->dx && makes_rows(grad));
        for (int64_t block = first, end; any && block < block_end; block = end) {
            end = block_end - block > grad->chunk ? block + grad->chunk : block_end;
            const position after = end < block_end ? (position){image, 0, end} : (position){image + 1, 0, first};
            run_chunk(job, (position){image, 0, block}, end, after, sums, workspace);
        }
        if (!job->dx || !grad->input.plan) continue;
        for (int64_t piece = 0; piece < job->pieces && !stopped(job); piece++)
            dw_grad_input_part(&grad->input, base, job->dy + image * base->dy.image * base->problem.element_size,
                               job->dx + image * base->x.image * base->problem.element_size, workspace,
                               (int)(split * job->pieces + piece), (int)(job->splits * job->pieces));
    }
    dw_float_end(before);
}

/* Runs of LONG_NANOSECONDS and more can be ended early: between bands, and between pieces of dx of PIECE_NANOSECONDS. */
enum { LONG_NANOSECONDS = 20000000, PIECE_NANOSECONDS = 5000000, MAX_PIECES = 1 << 14 };

/* Into how many pieces dx of a split of an image is cut. */
static int64_t pieces_of_input(const dw_grad *grad, int64_t splits) {
    const int64_t pieces = grad->nanoseconds / grad->base.problem.desc.batch / splits / PIECE_NANOSECONDS;
    return dw_max(1, dw_min(pieces, MAX_PIECES));
}

static job job_of(const dw_grad *grad, const division *division, const void *dy, const void *x, void *dx,
                  int with_weights, void *workspace) {
    char *const total = dw_align(workspace), *const sums = total + grad->image_bytes;
    return (job){.grad = grad,
                 .dy = dy,
                 .x = with_weights || grad->activation.slope ? x : NULL,
                 .with_weights = with_weights,
                 .dx = grad->has_input ? dx : NULL,
                 .sums = sums,
                 .workspaces = sums + division->images * grad->image_bytes,
                 .splits = division->splits,
                 .pieces = 1};
}

/* The images of the round that begins with `first`. */
static void begin_round(job *job, const division *division, int64_t first) {
    const int64_t left = job->grad->base.problem.desc.batch - first;
    job->first = first;
    job->images = left < division->images ? left : division->images;
}

/* Adds the sums of a round to those of the rounds before; after the last one they are the gradients. */
static void end_round(const job *job, void *dkernel, void *dbias) {
    const dw_grad *grad = job->grad;
    const dw_grad_base *base = &grad->base;
    char *const total = job->sums - grad->image_bytes;
    if (!job->with_weights) return;
    if (job->first == 0) memset(total, 0, (size_t)grad->image_bytes);
    const dw_float_env before = dw_float_begin(base->problem.desc.denormals);
    for (int64_t image = 0; image < job->images; image++)
        base->table->add(job->sums + image * grad->image_bytes,
                         base->block_count * grad->weights.sums_bytes / base->problem.element_size, total);
    dw_float_end(before);
    if (job->first + job->images == base->problem.desc.batch) dw_grad_weights_end(base, dkernel, dbias, total);
}

static int run(const dw_grad *grad, const void *dy, const void *x, void *dx, void *dkernel, void *dbias,
               void *workspace, int num_threads, dw_stop_fn *stop, void *context) {
    if (!DW_HAS_GRADIENTS) return 0; /* there are no plans of any */
    const division division = divide(grad, num_threads);
    job job = job_of(grad, &division, dy, x, dx, dkernel || dbias, workspace);
    job.stop = stop;
    job.context = context;
    if (stop) job.pieces = pieces_of_input(grad, division.splits);
    do { /* once for an empty batch: zeros */
        begin_round(&job, &division, job.first + job.images);
        if (division.threads == 1) run_units(&job, 0, 1);
        else dw_pool_run(run_units, &job, division.parts, division.threads, stop, context);
        if (stopped(&job)) return 1;
        end_round(&job, dkernel, dbias);
    } while (job.first + job.images < grad->base.problem.desc.batch);
    return 0;
}

void dw_grad_run_part(const dw_grad *grad, const void *dy, const void *x, void *dx, int with_weights, void *workspace,
                      int64_t round, int part, int parts) {
    if (!DW_HAS_GRADIENTS) return;
    const division division = divide_into(grad, parts);
    job job = job_of(grad, &division, dy, x, dx, with_weights, workspace);
    begin_round(&job, &division, round * division.images);
    run_units(&job, part, parts);
}

void dw_grad_end_round(const dw_grad *grad, void *dkernel, void *dbias, void *workspace, int64_t round, int parts) {
    if (!DW_HAS_GRADIENTS) return;
    const division division = divide_into(grad, parts);
    job job = job_of(grad, &division, NULL, NULL, NULL, dkernel || dbias, workspace);
    begin_round(&job, &division, round * division.images);
    end_round(&job, dkernel, dbias);
}

void dw_grad_run_threads(const dw_grad *grad, const void *dy, const void *x, void *dx, void *dkernel, void *dbias,
                         void *workspace, int num_threads) {
    run(grad, dy, x, dx, dkernel, dbias, workspace, num_threads, NULL, NULL);
}

int dw_grad_run_until(const dw_grad *grad, const void *dy, const void *x, void *dx, void *dkernel, void *dbias,
                      void *workspace, int num_threads, dw_stop_fn *stop, void *context) {
    const int is_long = grad->nanoseconds >= LONG_NANOSECONDS;
    return run(grad, dy, x, dx, dkernel, dbias, workspace, num_threads, is_long ? stop : NULL, context);
}

void dw_grad_run(const dw_grad *grad, const void *dy, const void *x, void *dx, void *dkernel, void *dbias,
                 void *workspace) {
    dw_grad_run_threads(grad, dy, x, dx, dkernel, dbias, workspace, 1);
}
