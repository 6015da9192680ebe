/* quantized.c - quantized convolutions: plans, their packed weights, and runs. Channels are gone through in blocks, each
 * of which fills a vector of bytes. The last block begins earlier rather than be a partial one, and computes some channels
 * twice; so parts of a run are divided by rows, and no byte is written by two threads. */
#include "quantized.h"

#include <float.h>
#include <stdlib.h>
#include <string.h>

#include "desc.h"
#include "float_env.h"
#include "problem.h"
#include "sizes.h"
#include "thread_pool.h"

/* Kernels, and what a block of their channels takes, packed. */
typedef struct kernels {
    const dw_quantized_table *table;
    dw_quantized_fn *run;
    int is_general;
    int64_t block_bytes;
} kernels;

struct dw_quantized {
    dw_problem problem;
    dw_quantization quantization;
    kernels most, last;          /* of all blocks but the last one, which may be of narrower vectors */
    int64_t block_count, groups; /* of channels; of four kernel rows */
    void *blocks, *memory;       /* packed; what free() takes */
    int beyond;
    int64_t image_nanoseconds; /* that an image takes on one thread, roughly */
    uint8_t padding[DW_QUANTIZED_MOST_BYTES];
};

/* ---- which kernels --------------------------------------------------------------------------------- */

/* Tables of an instruction set, each followed by its narrower one; NULL past the last. */
static const dw_quantized_table *table_at(const dw_instruction_set *set, int index) {
    for (int i = 0; i < DW_QUANTIZED_TABLES; i++)
        for (const dw_quantized_table *table = set->quantized[i]; table; table = table->narrower)
            if (index-- == 0) return table;
    return NULL;
}

static int usable(const dw_instruction_set *set, const dw_quantized_table *table) {
    return set->compiled && table->compiled && (dw_cpu_flags() & table->needs) == table->needs;
}

const char *dw_quantized_kernels_at(dw_isa isa, int index, int *is_usable) {
    const dw_instruction_set *set = dw_isa_select(isa);
    const dw_quantized_table *table = set ? table_at(set, index) : NULL;
    *is_usable = table && usable(set, table);
    return table ? table->name : NULL;
}

static const dw_quantized_table *choose(const dw_instruction_set *set, int64_t channels) {
    const dw_quantized_table *table = NULL;
    for (int i = 0; !table && i < DW_QUANTIZED_TABLES; i++)
        if (set->quantized[i] && usable(set, set->quantized[i])) table = set->quantized[i];
    while (table && table->narrower && channels <= table->narrower->bytes) table = table->narrower;
    return table;
}

/* The kernel of a table for a problem. */
static kernels kernels_of(const dw_quantized_table *table, const dw_problem *problem) {
    const dw_desc *d = &problem->desc;
    const int sized = d->multiplier == 1 && d->stride_h == d->stride_w && d->dilation_h == 1 && d->dilation_w == 1;
    for (const dw_quantized_tile *tile = table->tiles; sized && tile->name; tile++) {
        if (tile->kernel_h != d->kernel_h || tile->kernel_w != d->kernel_w || tile->stride != d->stride_h) continue;
        dw_quantized_fn *run = d->channels < table->bytes ? tile->part : tile->whole;
        if (run) return (kernels){table, run, 0, 0};
    }
    return (kernels){table, table->general, 1, 0};
}

/* ---- packing --------------------------------------------------------------------------------------- */

static const kernels *kernels_at(const dw_quantized *plan, int64_t block) {
    return block < plan->block_count - 1 ? &plan->most : &plan->last;
}

/* The first channel of y in a block. */
static int64_t first_of(const dw_quantized *plan, int64_t block) {
    if (block < plan->block_count - 1) return block * plan->most.table->bytes;
    return dw_max(0, plan->problem.out_channels - plan->last.table->bytes);
}

static int count_of(const dw_quantized *plan, const kernels *kernels) {
    return (int)dw_min(plan->problem.out_channels, kernels->table->bytes);
}

static char *packed(const dw_quantized *plan, int64_t block) {
    return (char *)plan->blocks + block * plan->most.block_bytes;
}

/* Weights of four rows of a kernel column, some of which may lie below the kernel. */
static void pack_column(const dw_quantized *plan, const kernels *kernels, const int8_t *kernel, int64_t channel,
                        int64_t first, int64_t kj, void *to) {
    const dw_desc *d = &plan->problem.desc;
    const int64_t channels = plan->problem.out_channels;
    const int bytes = kernels->table->bytes, count = count_of(plan, kernels);
    int8_t weights[DW_COLUMN_ROWS * DW_QUANTIZED_MOST_BYTES] = {0};
    for (int64_t r = 0; r < DW_COLUMN_ROWS && first + r < d->kernel_h; r++)
        memcpy(weights + r * bytes, kernel + ((first + r) * d->kernel_w + kj) * channels + channel, (size_t)count);
    kernels->table->pack(weights, to);
}

/* The bias of a channel, less what the zero points of x would add. */
static int32_t bias_of(const dw_quantized *plan, const int8_t *kernel, const int32_t *bias, int64_t channel) {
    const dw_desc *d = &plan->problem.desc;
    uint32_t weights = 0; /* their sum, modulo 2**32 */
    for (int64_t tap = 0; tap < d->kernel_h * d->kernel_w; tap++)
        weights += (uint32_t)(int32_t)kernel[tap * plan->problem.out_channels + channel];
    return (int32_t)((bias ? (uint32_t)bias[channel] : 0) - plan->padding[0] * weights);
}

static void pack_block(const dw_quantized *plan, const int8_t *kernel, const int32_t *bias, const float *multipliers,
                       int64_t block) {
    const kernels *kernels = kernels_at(plan, block);
    char *const to = packed(plan, block);
    const int bytes = kernels->table->bytes, count = count_of(plan, kernels);
    const int64_t channel = first_of(plan, block), kernel_w = plan->problem.desc.kernel_w;
    int32_t *const biases = (int32_t *)(void *)to;
    float *const scales = (float *)(void *)to + bytes;
    for (int c = 0; c < count; c++) {
        biases[dw_quantized_lane(c, bytes)] = bias_of(plan, kernel, bias, channel + c);
        scales[dw_quantized_lane(c, bytes)] = multipliers[channel + c];
    }
    char *weights = to + 8 * bytes;
    for (int64_t group = 0; group < plan->groups; group++)
        for (int64_t kj = 0; kj < kernel_w; kj++, weights += kernels->table->weight_bytes)
            pack_column(plan, kernels, kernel, channel, group * DW_COLUMN_ROWS, kj, weights);
}

/* ---- life ------------------------------------------------------------------------------------------ */

static int known(dw_byte_type type) { return type == DW_INT8 || type == DW_UINT8; }

static int fits(dw_byte_type type, int32_t value) {
    return type == DW_INT8 ? value >= INT8_MIN && value <= INT8_MAX : value >= 0 && value <= UINT8_MAX;
}

static dw_status check(const dw_quantization *q, const float *multipliers, int64_t channels) {
    if (!known(q->x_type) || !known(q->y_type)) return DW_ERR_DTYPE;
    if (!fits(q->x_type, q->x_zero_point) || !fits(q->y_type, q->y_zero_point) || !fits(q->y_type, q->y_min) ||
        !fits(q->y_type, q->y_max) || q->y_min > q->y_max)
        return DW_ERR_QUANTIZATION;
    for (int64_t i = 0; i < channels; i++)
        if (!(multipliers[i] >= 0 && multipliers[i] <= FLT_MAX)) return DW_ERR_QUANTIZATION;
    return DW_OK;
}

/* As unsigned bytes. */
static int unsigned_of(dw_byte_type type, int32_t value) { return type == DW_INT8 ? value + 128 : value; }

static int64_t estimate_nanoseconds(const dw_quantized *plan) {
    const double MOST = 1e15;
    const dw_problem *problem = &plan->problem;
    const dw_tuning *tuning = problem->tuning;
    const double outputs = (double)problem->out_h * (double)problem->out_w * (double)problem->out_channels;
    const double taps = (double)problem->desc.kernel_h * (double)problem->desc.kernel_w;
    const double requantization = 12; /* in taps */
    const double each = !plan->most.is_general         ? 1
                        : plan->most.table->bytes > 16 ? 4
                                                       : 16; /* times as long as vectors of floats */
    const double time = outputs * (taps + requantization) * each * 4 / plan->most.table->bytes / tuning->vectors_per_ns;
    return (int64_t)(time < MOST ? time : MOST);
}

/* What a block takes, packed; returns 0 if no object can be as large. */
static int block_bytes(const dw_quantized *plan, kernels *kernels) {
    const int64_t sizes[] = {plan->groups, plan->problem.desc.kernel_w};
    int64_t bytes;
    if (!dw_bytes(kernels->table->weight_bytes, sizes, 2, &bytes) || bytes > PTRDIFF_MAX / 2) return 0;
    kernels->block_bytes = dw_align_up(8 * kernels->table->bytes + bytes);
    return 1;
}

static dw_status init(dw_quantized *plan, const dw_desc *desc, dw_isa isa, int index, const dw_quantization *q,
                      const int8_t *kernel, const int32_t *bias, const float *multipliers) {
    dw_problem *problem = &plan->problem;
    dw_status status = dw_problem_init(problem, desc, isa);
    if (status != DW_OK) return status;
    if (desc->dtype != DW_I32) return DW_ERR_DTYPE;
    if (desc->activation != DW_LINEAR) return DW_ERR_ACTIVATION;
    if (desc->layout != DW_NHWC) return DW_ERR_LAYOUT;
    status = check(q, multipliers, problem->out_channels);
    if (status != DW_OK) return status;
    const dw_quantized_table *table =
        index < 0 ? choose(problem->isa, problem->out_channels) : table_at(problem->isa, index);
    if (!table || !usable(problem->isa, table)) return DW_ERR_ISA;
    const int64_t rest = (problem->out_channels - 1) % table->bytes + 1;
    const int narrow = index < 0 && table->narrower && rest <= table->narrower->bytes;
    plan->most = kernels_of(table, problem);
    plan->last = narrow ? kernels_of(table->narrower, problem) : plan->most;
    plan->quantization = *q;
    plan->groups = dw_div_up(desc->kernel_h, DW_COLUMN_ROWS);
    plan->block_count = dw_div_up(problem->out_channels, table->bytes);
    memset(plan->padding, unsigned_of(q->x_type, q->x_zero_point), sizeof plan->padding);
    for (int64_t i = 0; i < problem->out_channels; i++) plan->beyond |= multipliers[i] >= 1;
    plan->image_nanoseconds = estimate_nanoseconds(plan);

    int64_t bytes;
    if (!block_bytes(plan, &plan->most) || !block_bytes(plan, &plan->last) ||
        !dw_bytes(plan->most.block_bytes, &plan->block_count, 1, &bytes))
        return DW_ERR_OVERFLOW;
    plan->blocks = dw_calloc_aligned(bytes, &plan->memory);
    if (!plan->blocks) return DW_ERR_NOMEM;
    for (int64_t block = 0; block < plan->block_count; block++) pack_block(plan, kernel, bias, multipliers, block);
    return DW_OK;
}

dw_status dw_quantized_create_with(const dw_desc *desc, dw_isa isa, int index, const dw_quantization *quantization,
                                   const int8_t *kernel, const int32_t *bias, const float *multipliers,
                                   dw_quantized **out) {
    if (!out) return DW_ERR_NULL;
    *out = NULL;
    if (!desc || !quantization || !kernel || !multipliers) return DW_ERR_NULL;
    if (!DW_HAS_QUANTIZED) return DW_ERR_BUILD;
    dw_quantized *plan = calloc(1, sizeof *plan);
    if (!plan) return DW_ERR_NOMEM;
    const dw_status status = init(plan, desc, isa, index, quantization, kernel, bias, multipliers);
    if (status != DW_OK) dw_quantized_destroy(plan);
    else *out = plan;
    return status;
}

dw_status dw_quantized_create(const dw_desc *desc, dw_isa isa, const dw_quantization *quantization,
                              const int8_t *kernel, const int32_t *bias, const float *multipliers, dw_quantized **out) {
    return dw_quantized_create_with(desc, isa, -1, quantization, kernel, bias, multipliers, out);
}

void dw_quantized_destroy(dw_quantized *plan) {
    if (!plan) return;
    free(plan->memory);
    free(plan);
}

const char *dw_quantized_kernels(const dw_quantized *plan) { return plan->most.table->name; }

/* ---- running --------------------------------------------------------------------------------------- */

/* The rows [row, row_end) of one image. */
static void run_rows(const dw_quantized *plan, const uint8_t *x, uint8_t *y, int64_t row, int64_t row_end) {
    const dw_problem *problem = &plan->problem;
    const dw_desc *d = &problem->desc;
    const dw_quantization *q = &plan->quantization;
    const uint8_t x_flip = q->x_type == DW_INT8 ? 0x80 : 0;
    uint8_t padding[DW_QUANTIZED_MOST_BYTES]; /* as x has them */
    memset(padding, plan->padding[0] ^ x_flip, sizeof padding);
    dw_quantized_args args = {
        .height = d->height,
        .width = d->width,
        .out_w = problem->out_w,
        .x_pixel = (ptrdiff_t)d->channels,
        .y_pixel = (ptrdiff_t)problem->out_channels,
        .pad_top = d->pad_top,
        .pad_left = d->pad_left,
        .row = row,
        .row_end = row_end,
        .kernel_h = d->kernel_h,
        .kernel_w = d->kernel_w,
        .stride_h = d->stride_h,
        .stride_w = d->stride_w,
        .dilation_h = d->dilation_h,
        .dilation_w = d->dilation_w,
        .padding = padding,
        .multiplier = d->multiplier,
        .x_flip = x_flip,
        .y_flip = q->y_type == DW_INT8 ? 0x80 : 0,
        .y_zero_point = (int16_t)unsigned_of(q->y_type, q->y_zero_point),
        .y_min = (uint8_t)unsigned_of(q->y_type, q->y_min),
        .y_max = (uint8_t)unsigned_of(q->y_type, q->y_max),
        .beyond = plan->beyond,
    };
    for (int64_t block = 0; block < plan->block_count; block++) {
        const kernels *kernels = kernels_at(plan, block);
        const int64_t channel = first_of(plan, block);
        args.x = x + channel / d->multiplier;
        args.y = y + channel;
        args.first = channel % d->multiplier;
        args.count = count_of(plan, kernels);
        args.block = packed(plan, block);
        kernels->run(&args);
    }
}

typedef struct call {
    const dw_quantized *plan;
    int64_t batch;
    const uint8_t *x;
    uint8_t *y;
    int pieces; /* 0: a part is one; else each is a share of these */
    dw_stop_fn *stop;
    void *context;
} call;

/* Part `part` of `parts`: as many rows of all images as others have. */
static void run_part(const call *c, int part, int parts) {
    const dw_problem *problem = &c->plan->problem;
    const int64_t x_image = problem->desc.height * problem->desc.width * problem->desc.channels;
    const int64_t y_image = problem->out_h * problem->out_w * problem->out_channels;
    const dw_range share = dw_range_of(c->batch * problem->out_h, part, parts);
    const dw_float_env before = dw_float_begin(DW_DENORMALS_IEEE);
    for (int64_t row = share.begin, end; row < share.end; row = end) {
        const int64_t image = row / problem->out_h, first = image * problem->out_h;
        end = dw_min(share.end, first + problem->out_h);
        run_rows(c->plan, c->x + image * x_image, c->y + image * y_image, row - first, end - first);
    }
    dw_float_end(before);
}

static void run_share(const void *arguments, int part, int parts) {
    const call *c = arguments;
    if (!c->pieces) {
        run_part(c, part, parts);
        return;
    }
    const dw_range share = dw_range_of(c->pieces, part, parts);
    for (int64_t piece = share.begin; piece < share.end && !c->stop(c->context); piece++)
        run_part(c, (int)piece, c->pieces);
}

int dw_quantized_threads(const dw_quantized *plan, int64_t batch, int num_threads) {
    if (!DW_HAS_QUANTIZED) return 1; /* there are no plans */
    const double MOST = 1e15, time = (double)plan->image_nanoseconds * (double)batch;
    return dw_pool_threads((int64_t)(time < MOST ? time : MOST), plan->problem.tuning->thread_ns, num_threads);
}

int dw_quantized_run(const dw_quantized *plan, int64_t batch, const void *x, void *y, int num_threads, dw_stop_fn *stop,
                     void *context) {
    enum { PIECE_NANOSECONDS = 5000000, LEAST_PIECES = 4, MOST_PIECES = 1 << 20 };
    if (!DW_HAS_QUANTIZED) return 0;
    const double MOST = 1e15, time = (double)plan->image_nanoseconds * (double)batch;
    const int64_t nanoseconds = (int64_t)(time < MOST ? time : MOST), pieces = nanoseconds / PIECE_NANOSECONDS;
    const int threads = dw_quantized_threads(plan, batch, num_threads);
    const int cut = stop && pieces >= LEAST_PIECES;
    const call c = {plan, batch, x, y, cut ? (int)dw_min(pieces, MOST_PIECES) : 0, stop, context};
    if (threads == 1) run_share(&c, 0, 1);
    else dw_pool_run(run_share, &c, dw_pool_parts(nanoseconds, threads), threads, cut ? stop : NULL, context);
    return cut ? stop(context) : 0;
}
