/* tuning.h - the numbers that were tuned, in one place: a profile is one value, and a problem has a pointer to the one
 * that it uses. None of them changes a result; they only decide which kernel, division or order is used. tuning.c has
 * the values, each with its evidence and the CPU that it was measured on. */
#ifndef DW_TUNING_H
#define DW_TUNING_H

#include "machine.h"

typedef struct dw_tuning {
    const char *measured_on;

    /* What a kernel costs, in multiply-adds of vectors: nhwc_tiles.c. */
    int column_start;         /* to start a tile or a column that rolls */
    int row_start;            /* to start or end a row of it */
    int fma_latency;          /* multiply-adds in flight: fewer sums wait for each other */
    int spills[2];            /* more sums and inputs than registers: for 16 registers, for more */
    double spill_rate[2];     /* the same for each that is too many, as a part of the work */
    int general;              /* times as long as a tile the general kernel takes */
    int wide_tap;             /* to start a tap of a wide kernel */
    int wide_row;             /* to start a kernel row of it */
    double rolled_far;        /* times as long as tiles do kernels take that roll, where images exceed L2 */
    double far_row;           /* to load a row of x again there, as a part of the work */
    double tiled[2];          /* times as long do 3x3 tiles of whole lines take at stride 1: within L2, beyond */
    double permuted;          /* times as long as others do kernels take that permute inputs */
    double in_order_load;     /* beside multiply-adds, where 16 registers hold no row of inputs */
    double interleaved_store; /* to store one of M sums per input */

    /* What the estimate does not choose, how many times as long: ranks what is to be measured. */
    double overfilled;      /* inputs under a tile that do not fit their sets of L1 */
    double crowded;         /* single blocks where two interleaved ones are the rule */
    double interleaved;     /* interleaved ones where single blocks are */
    double other_option[4]; /* another option than the rule's, by axis of nhwc.h */

    /* Folded pixels. */
    int64_t folded_lanes; /* channels of a column at most */

    /* Two interleaved blocks, where pixels are a multiple of this many bytes apart. "Narrow": vectors of half a line. */
    int64_t interleaved_pitch[2];        /* at stride 1, at stride 2 */
    int64_t interleaved_pitch_narrow[2]; /* the same for narrow vectors; half of it where tiles are 7 columns wide */

    int frees_tiles;  /* whether tiles of whole lines crowd no sets: they go through all blocks of a pixel */
    double free_tile; /* times the cheapest tile: a tile without crowded sets is taken up to that */

    /* Line-aligned packings. */
    int64_t aligned_pitch;     /* bytes from pixel to pixel from which narrow vectors need them; 0: always */
    double crossing[2];        /* loads and stores that cross lines, how many times as long: of whole lines, narrow */
    int64_t aligned_blocks[2]; /* blocks from which one more costs less than to cross lines: stride 1, stride 2 */
    int64_t aligned_weight_bytes;  /* of all packings, at most */
    int rolls_cross_pixel;         /* whether blocks that span two pixels pay at stride 1 for what rolls */
    int64_t cross_pixel_tiles;     /* tiles that a row must have for blocks that span two pixels, at stride 1, ... */
    int64_t cross_pixel_tiles_two; /* ... at stride 2 for kernels of two interleaved blocks, ... */
    int64_t cross_pixel_tiles_few,
        cross_pixel_tiles_many; /* ... for others, with fewer blocks than above, or as many */

    /* A run of channels last. */
    int64_t far_bytes;      /* x and y of an image: from there on it exceeds L2, ... */
    int64_t outputs_bytes;  /* ... tiles of 3x3 at stride 1 prefetch outputs, ... */
    int64_t few_rows_bytes; /* ... kernels roll down few rows at a time */
    int prefetches;         /* whether kernels that roll prefetch inputs beyond L2 */
    int64_t split_outputs;  /* bytes of a pixel of y, no whole number of lines, from which tiles prefetch them, too */
    int64_t shared_rows;    /* rows to roll down at a time where two blocks share cache lines */
    int page_offset;        /* bytes within a page from the beginning of x to that of y */
    int64_t page_offset_bytes; /* y from which that counts */
    int64_t top_rows;          /* rows at the bottom of a part that are rolled down by themselves */
    int64_t divided_rows;      /* rows of a part from which rows are divided, not columns */
    int64_t divided_columns;   /* columns of a part at least */

    /* Channels first. */
    int64_t planes_bytes; /* x and y of the planes that columns are made of before the next columns */
    int64_t band_rows;    /* output rows that columns are made of before the next columns */
    double alike;         /* imbalance below which planes are not divided */

    /* Threads: estimates of the time of a run, and what a thread is worth. */
    double vectors_per_ns;      /* multiply-adds of tiles */
    double grad_vectors_per_ns; /* of both gradients together */
    double fma_call_ns;         /* a multiply-add that is a call of fma() */
    double activation_vectors;  /* an activation that is more than a clamp, in multiply-adds of vectors per vector */
    double bytes_per_ns;        /* moved between memory and kernels */
    int64_t thread_ns;          /* work that pays for one more thread */
    int64_t grad_thread_ns;     /* the same for gradients */

    /* Gradients. */
    int64_t grad_ring_bytes;  /* rows of x and dy that are held */
    int64_t grad_lines_bytes; /* rows of dx that are made before they are written to dx */
} dw_tuning;

/* The profile of this machine: what was measured on Zen 4, with what is known of this design instead, and with sizes
 * that follow from its caches. Made once. */
const dw_tuning *dw_tuning_here(void);

/* The profile of a machine, for which dw_machine has filled what is not known. */
void dw_tuning_make(const dw_cpu_info *machine, dw_tuning *to);

#endif
