/* tuning.c - the tuned numbers with their evidence. */
#include "tuning.h"

const dw_tuning dw_tuning_zen4 = {
    .measured_on = "AMD Zen 4 (family 25), AVX-512 and AVX2, 32 KB L1, 1 MB L2",

    /* Fitted to measured times of all tiles on Zen 4. A core does two multiply-adds and two loads a cycle, and a
     * multiply-add takes four cycles: the largest of these is what a tile costs. */
    .column_start = 8,
    .row_start = 3,
    .fma_latency = 4,
    .spills = 8,
    .general = 4,

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

    /* Lines that two blocks touch cost 3x3 kernels 1.15 to 1.5 times the time on Zen 4. */
    .aligned_blocks = {12, 6},
    .aligned_weight_bytes = 1 << 20,
    /* Below these, blocks that span two pixels cost more than they save on Zen 4. At stride 2 they are more work than
     * others; and two interleaved blocks, which they break up, are better without. */
    .cross_pixel_tiles = 3,
    .cross_pixel_tiles_two = 6,
    .cross_pixel_tiles_few = 1,
    .cross_pixel_tiles_many = 2,

    /* Most CPUs of today have 1 or 2 MB of L2 per core. */
    .prefetch_bytes = 1 << 20,
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
