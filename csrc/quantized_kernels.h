/* quantized_kernels.h - quantized convolutions: the waist between quantized.c, which knows no vector, and
 * quantized_kernels.inc, which knows no plan. It has the arguments of one kernel call, the tables of instructions, and
 * the list of compile-time sizes.
 *
 * Kernels take bytes as unsigned ones: int8 with its highest bit flipped is uint8, and zero points go with it. Taps come
 * in fours, one below the other: such a column of x meets four kernel rows in one step. */
#ifndef DW_QUANTIZED_KERNELS_H
#define DW_QUANTIZED_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "build.h"

enum { DW_COLUMN_ROWS = 4, DW_QUANTIZED_MOST_BYTES = 64 };

/* Rows [row, row_end) of y, one image, one block of channels. */
typedef struct dw_quantized_args {
    const uint8_t *x; /* the image, at the block's first channel */
    uint8_t *y;       /* likewise */
    int64_t height, width, out_w;
    ptrdiff_t x_pixel, y_pixel; /* bytes from a pixel to the next */
    int64_t pad_top, pad_left;
    int64_t row, row_end;
    int64_t kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w;
    const uint8_t *padding; /* a vector of x's zero points: what a tap reads outside of x */
    const void *block;      /* [lanes] biases, [lanes] multipliers, weights by group of four rows and column */
    int count;              /* channels of the block */
    int64_t multiplier;     /* M, and which m the block begins with */
    int64_t first;
    uint8_t x_flip, y_flip; /* 0x80 for int8, else 0 */
    int16_t y_zero_point;   /* of unsigned bytes, as the rest */
    uint8_t y_min, y_max;
    int beyond; /* results may lie beyond int32 before they are saturated */
} dw_quantized_args;

typedef void dw_quantized_fn(const dw_quantized_args *);

/* A kernel for one size, without dilation. */
typedef struct dw_quantized_tile {
    const char *name; /* NULL: the end of a list */
    int kernel_h, kernel_w, stride;
    dw_quantized_fn *whole; /* M = 1, blocks of as many channels as a vector has bytes */
    dw_quantized_fn *part;  /* of fewer; NULL: the general kernel */
} dw_quantized_tile;

/* Kernels that use the same instructions. */
typedef struct dw_quantized_table {
    const char *name;
    unsigned needs;   /* DW_CPU_*, besides those of the instruction set */
    int compiled;     /* whether this build has them */
    int bytes;        /* of a vector: the channels of a block */
    int weight_bytes; /* packed, of four rows of a column */
    /* Packs [4][bytes] weights, in the order of channels. */
    void (*pack)(const int8_t *weights, void *to);
    dw_quantized_fn *general;
    const dw_quantized_tile *tiles;
    const struct dw_quantized_table *narrower; /* for channels that fill no block of these; NULL: none */
} dw_quantized_table;

/* Where in the sums of a block of `bytes` channels channel c is: bytes are interleaved within 16 of them. */
static inline int dw_quantized_lane(int c, int bytes) { return c % 16 / 4 * (bytes / 4) + c / 16 * 4 + c % 4; }

/* The tables, each in isa/quantized_name.c: those of an instruction set, the preferred one first, are in its object. */
extern const dw_quantized_table dw_quantized_avx512_vnni, dw_quantized_avx512_vnni256, dw_quantized_avx512,
    dw_quantized_avx2_vnni, dw_quantized_avx2, dw_quantized_neon, dw_quantized_portable;

/* X(kernel_h, kernel_w, stride). Ice Lake-SP: two rows of y at a time, which would read columns of x once for both, need
 * more registers than there are, and took 1.3 times as long. */
#define DW_QUANTIZED_SIZES(X) \
    DW_OF_SIZE(3, X(3, 3, 1)) \
    DW_OF_SIZE(3, X(3, 3, 2)) \
    DW_OF_SIZE(5, X(5, 5, 1)) \
    DW_OF_SIZE(5, X(5, 5, 2))

#endif
