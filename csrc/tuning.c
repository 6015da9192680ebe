/* tuning.c - the tuned numbers with their evidence. */
#include "tuning.h"

#include <stdatomic.h>
#include <string.h>

/* A number of bytes that nothing has. */
#define NEVER (INT64_C(1) << 60)

/* Measured on Zen 4, with 32 KB of L1 and 1 MB of L2. */
static const dw_tuning measured = {
    .measured_on = "AMD Zen 4 (family 25), AVX-512 and AVX2, 32 KB L1, 1 MB L2",

    /* Fitted to measured times of all tiles on Zen 4. A core does two multiply-adds and two loads a cycle, and a
     * multiply-add takes four cycles: the largest of these is what a tile costs. */
    .column_start = 8,
    .row_start = 3,
    .fma_latency = 4,
    /* With 16 registers an input that finds none is loaded again for each of its taps. Zen 3, AVX2: 7x7 at 56x56x96
     * takes 441 us with 1x7 (6 too many), 387 with 2x4 (4); 5x5 at 28x28x120 67 (4) and 62 (2); 5x5 at 56x56x72 with
     * stride 2 63 (10) and 56 (5); 3x3 at 14x14x576 with stride 2 14 (8), and 17 with two tiles 1x4 that overlap. */
    .spills = {0, 8},
    .spill_rate = {0.03, 0},
    .general = 4,
    .wide_tap = 1,
    .wide_row = 16,
    .rolled_far = 1,
    .far_row = 0,
    .tiled = {100, 100}, /* such tiles are there for Sapphire Rapids; elsewhere nobody has measured them */
    .permuted = 1.4,     /* Zen 3: see isa/avx2.c */
    /* Zen 3: 112x112x64 at stride 2 takes 0.89 with tiles of 2x4, 0.93 with 1x7, of the time with 1x4; 56x56x128 0.9, 1.0. */
    .in_order_load = 0.5,
    .interleaved_store = 1,

    /* Zen 3, AVX2, 56x56x256 at stride 2: tiles of 2x4 take 1.22 times as long as those of 1x4; of 56x56x128, whose inputs
     * fit, 0.9. 28x28x256 takes 0.7 with tiles of 2x2 of the time with two interleaved blocks. */
    .overfilled = 1.15,
    /* The first from the figures of interleaved_pitch. */
    .crowded = 1.4,
    .interleaved = 1.1,
    .other_option = {1.08, 1.03, 1.05, 1.06},

    .folded_lanes = 1024,

    /* Pixels a power of two apart: their lines fall into few sets of L1. Zen 4, AVX-512: at stride 2 from 1024 bytes,
     * 14x14x512 takes 9 us instead of 13; at stride 1 from 4096, in rows of more than 7, 33x33x512 with dilation 2
     * takes 138 us instead of 154. */
    .interleaved_pitch = {4096, 1024},
    /* AVX2: a block is half a line, which is gone when the next block needs the other half; with tiles of four columns
     * later than with those of seven. Zen 4, stride 2: 28x28x512 59 us instead of 102, 14x14x512 16 instead of 22.
     * Stride 1: 14x14x1024 92 instead of 148, 33x33x512 223 instead of 351. But 56x56x256 at stride 2 takes 106 instead
     * of 94. */
    .interleaved_pitch_narrow = {4096, 2048},

    /* Zen 3, AVX2: at 28x28x256 with stride 2 a tile of 4 columns takes 42 us and pairs 53, at 14x14x512 50 and 55.
     * Zen 1: tiles of 4 and 5 columns take 0.71 to 0.75 of the time of pairs. */
    .frees_tiles = 0,
    .free_tile = 1.15,

    /* Lines that two blocks touch cost 3x3 kernels 1.15 to 1.5 times the time on Zen 4. Of narrow vectors every second
     * one crosses: Zen 3, 28x28x120 with 5x5 in 1x7, where the column more that avoids it is a fifth tile, takes 73 us
     * so, 68 with one block more and 67 across lines; 56x56x96 with 7x7, a ninth tile, 469, 454 and 442. */
    .crossing = {1.15, 1.083},
    .aligned_blocks = {12, 6},
    .aligned_weight_bytes = 1 << 20,
    /* Below these, blocks that span two pixels cost more than they save on Zen 4. At stride 2 they are more work than
     * others; and two interleaved blocks, which they break up, are better without. */
    .rolls_cross_pixel = 1,
    .cross_pixel_tiles = 3,
    .cross_pixel_tiles_two = 6,
    .cross_pixel_tiles_few = 1,
    .cross_pixel_tiles_many = 2,

    /* Most CPUs of today have 1 or 2 MB of L2 per core. */
    .far_bytes = 1 << 20,
    .outputs_bytes = NEVER,
    .few_rows_bytes = NEVER,
    .split_outputs = NEVER,
    .prefetches = 1,
    /* So few rows of two blocks that share lines stay in L1. */
    .shared_rows = 8,
    /* A load stalls on an earlier store whose address differs from it by a multiple of 4096 (4K aliasing), and lines of
     * the same set of L1 evict each other. If pixels lie a power of two apart, every load does. Zen 4: 14x14x512 takes
     * 27 us if x and y begin at the same offset of a page, 18 us if y begins 1280 bytes later. 1280 is 256 off any
     * multiple of 512 or 1024, so it is off the neighbouring pixels, too. */
    .page_offset = 1280,
    .page_offset_bytes = 16384,
    /* The hardware prefetcher runs ahead of a long run of row stores and takes lines that another thread is writing.
     * Runs of at most four rows do not trigger it. Zen 4, two threads: seven rows of 14x14x512 each take 17 to 60 us,
     * seven columns each 10; 56 rows of 112x112x32 each take 37 to 50, and 37 if the last four rows of the upper part
     * are rolled down by themselves. */
    .top_rows = 4,
    /* Zen 4: 8x8x960 in halves of 4 rows takes 16 us, in halves of 4 columns 7. */
    .divided_rows = 20,
    .divided_columns = 3,

    /* Inputs and outputs of these, in part, stay in L1 until the next columns. Zen 4: without the first, 7x7x1024 takes
     * twice as long; bands of 8 rows cost up to 40 %. */
    .planes_bytes = 16384,
    .band_rows = 128,
    .alike = 1.05,

    /* Zen 4; an activation takes 5 to 15 multiply-adds, a call of fma() one or two nanoseconds. */
    .vectors_per_ns = 3,
    .grad_vectors_per_ns = 1.5,
    .fma_call_ns = 1.5,
    .activation_vectors = 10,
    .bytes_per_ns = 40,
    /* A thread that spins takes up a job within a microsecond. One that sleeps costs its caller some three
     * microseconds to wake and begins after 50. So a thread gets as much work as pays for being woken. */
    .thread_ns = 4500,
    .grad_thread_ns = 4000,

    /* A part of L2, which is to hold what is prefetched for the next band, too. */
    .grad_ring_bytes = 410000,
    /* A part of L1. */
    .grad_lines_bytes = 16384,
};

/* ---- other machines -------------------------------------------------------------------------------- */

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* Sizes that are a part of a cache. What is held of a cache that cores share is no more than of one of their own. */
static void fit_caches(const dw_cpu_info *machine, dw_tuning *to) {
    const dw_cpu_info zen4 = {.l1_bytes = 32 << 10, .l2_bytes = 1 << 20};
    /* Weights take some of it. Zen 3: 14x14x512 at stride 2, 0.96 of L2, takes 23 us with and 27 without. */
    to->far_bytes = machine->l2_bytes / 10 * 9;
    to->planes_bytes = measured.planes_bytes * machine->l1_bytes / zen4.l1_bytes;
    to->grad_lines_bytes = measured.grad_lines_bytes * machine->l1_bytes / zen4.l1_bytes;
    to->grad_ring_bytes = least(measured.grad_ring_bytes, measured.grad_ring_bytes * machine->l2_bytes / zen4.l2_bytes);
}

/* Vectors of 256 bits on data paths of 128: each is two halves, and a half that begins at a multiple of 16 bytes crosses
 * no line. Measured on Zen 1 (EPYC 7001), AVX2. */
static void fit_narrow_paths(dw_tuning *to) {
    /* Line-aligned packings save nothing and cost a tile: 28x28x120 with 5x5 takes 0.78 of the time without, 28x28x256
     * 0.85 with other changes; but where pixels are 1024 bytes apart or more they are better: 7x7x1024 39 us and 43. */
    to->aligned_pitch = 1024;
    /* Rolling pairs lose to tiles: 14x14x512 95 us and 73, 7x7x1024 49 and 41, at stride 2 28x28x256 67 and 50. No pixels
     * are that far apart. */
    for (int i = 0; i < 2; i++) to->interleaved_pitch_narrow[i] = NEVER;
    to->vectors_per_ns /= 2;
    to->grad_vectors_per_ns /= 2;
}

/* Intel's core of Ice Lake: 48 KB of L1 in 12 ways. Measured on a Xeon of 2.8 GHz (family 6, model 106), all strategies of
 * the shapes of bench/shapes/targets.txt in turns. */
static void fit_ice_lake(dw_tuning *to) {
    /* Beyond L2 its own prefetchers follow rows, not columns that roll down the image. AVX-512: 56x56x128 takes 228 us
     * with prefetching, 146 without, 143 eight rows at a time; 28x28x256 94, 72 and 67. */
    to->prefetches = 0;
    to->few_rows_bytes = to->far_bytes;
    /* Tiles go along rows: 112x112x64 at stride 2 takes 181 us rolling, 147 with tiles of 2x2; 56x56x128 79 and 71. */
    to->rolled_far = 1.3;
    /* Twelve ways hold more lines of a block. AVX-512: 7x7x1024 takes 14 us with pairs, 13 without; 28x28x256 at stride 2
     * 20 with, 23 without. AVX2: 7x7x1024 25 and 14, 33x33x512 with dilation 2 375 and 271, 14x14x512 at stride 2 15 and
     * 11: no pixels are far enough apart. */
    to->interleaved_pitch[0] *= 2;
    for (int i = 0; i < 2; i++) to->interleaved_pitch_narrow[i] = NEVER;
}

/* Intel's core of Sapphire and Emerald Rapids: 48 KB of L1 in 12 ways, 2 MB of L2. Measured on an Emerald Rapids (family 6,
 * model 207), AVX-512 unless said: all strategies of the shapes of bench/shapes/targets.txt and of 37 others in turns. */
static void fit_sapphire_rapids(dw_tuning *to) {
    /* Prefetching the inputs of the next blocks costs time wherever inputs come from: 56x56x128 takes 243 us with it, 203
     * without; at stride 2 73 and 60. */
    to->prefetches = 0;
    /* Beyond L2 the order of loads is to be near that of memory: 112x112x64 at stride 2 takes 248 us rolling, 142 with
     * tiles of 2x2; 56x56x128 73 and 44; at stride 1 203 rolling, 120 with tiles of 4x2. */
    to->rolled_far = 1.5;
    /* A row of tiles loads rows of x that the one above it has loaded, too: 56x56x128 takes 162 us with tiles of 2x7, which
     * load each row twice, 124 with 4x2, which load it 1.5 times. */
    to->far_row = 0.5;
    /* Within L2 kernels that roll are faster than tiles, by 1.05 to 1.3: 28x28x128 18 us and 20, 56x56x64 38 and 49,
     * 20x20x240 15 and 19. (14x14x512 20 and 19, 14x14x576 20 and 19.) */
    to->tiled[0] = 1.4;
    to->tiled[1] = 1;
    /* Stores to lines that are not in L1: 28x28x256 takes 0.84 of the time with tiles of 4x2, AVX2 0.94; 56x56x128 0.93,
     * AVX2 0.97. Also where stores cross lines: AVX2, 14x14x200 0.78, 14x14x120 0.89, 28x28x72 0.96; not 56x56x24, 1.04. */
    to->outputs_bytes = to->far_bytes / 6 * 5;
    to->split_outputs = 128;
    /* 40x40x144 0.98, 56x56x64 0.98, 28x28x192 0.96; smaller ones rather not: 10x10x960 1.06. */
    to->few_rows_bytes = to->far_bytes / 2;
    /* A line costs less to cross: 40x40x144 takes 50 us across lines and 53 with blocks that span two pixels, 28x28x256 48
     * and 58. */
    to->rolls_cross_pixel = 0;
    /* At stride 2 interleaved pairs are faster wherever blocks are whole lines: 56x56x64 14.6 us and 22.4, 28x28x128 7.2 and
     * 11.4, 14x14x576 8.5 and 12.2; but beyond L2 tiles are, 56x56x128 44 us and 53. */
    to->interleaved_pitch[1] = 64;
    /* Tiles go through all blocks of a pixel, so that its lines fall into many sets. Where pixels are a multiple of 1024
     * bytes apart they are faster than pairs: 28x28x256 takes 43 us with tiles of 2x7, 44 with pairs, 51 with neither,
     * 14x14x512 18, 20 and 19; at stride 2 28x28x256 15.3 with 2x2, 16.5 with pairs, 28x28x192 10.4 and 11. */
    to->interleaved_pitch[0] = 1024;
    to->frees_tiles = 1;
    to->free_tile = 1.2;
    /* AVX2: 7x7x1024 takes 25 us with pairs, 15 without; 33x33x512 with dilation 2 377 and 268, 14x14x512 at stride 2 14.4 and
     * 11.7: no pixels are far enough apart. */
    for (int i = 0; i < 2; i++) to->interleaved_pitch_narrow[i] = NEVER;
}

void dw_tuning_make(const dw_cpu_info *machine, dw_tuning *to) {
    *to = measured;
    fit_caches(machine, to);
    if (!strcmp(machine->design, "Zen 1")) fit_narrow_paths(to);
    if (!strcmp(machine->design, "Ice Lake")) fit_ice_lake(to);
    if (!strcmp(machine->design, "Sapphire Rapids")) fit_sapphire_rapids(to);
}

const dw_tuning *dw_tuning_here(void) {
    enum { UNKNOWN, STORING, KNOWN };
    static atomic_int state;
    static dw_tuning here;
    if (atomic_load_explicit(&state, memory_order_acquire) == KNOWN) return &here;
    const dw_cpu_info machine = dw_machine();
    int expected = UNKNOWN;
    /* Nobody waits: another thread may be about to store it, and in the child of a fork that thread is gone. */
    if (!atomic_compare_exchange_strong(&state, &expected, STORING)) return &measured;
    dw_tuning_make(&machine, &here);
    atomic_store_explicit(&state, KNOWN, memory_order_release);
    return &here;
}
