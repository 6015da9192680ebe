/* golden.h - what programs of golden vectors have in common: inputs out of hashes of integers, hashes of results. */
#ifndef DW_GOLDEN_H
#define DW_GOLDEN_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "dwconv.h"

/* The last steps of SplitMix64: Steele, Lea and Flood, 'Fast splittable pseudorandom number generators', 2014. */
static uint64_t mix(uint64_t z) {
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* The sizes of a problem, as make_golden.Sizes writes them. */
typedef struct sizes {
    int batch, height, width, channels, multiplier;
    int kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w;
    int pad_top, pad_bottom, pad_left, pad_right;
} sizes;

static dw_desc describe_sizes(const sizes *s) {
    return (dw_desc){.batch = s->batch,
                     .height = s->height,
                     .width = s->width,
                     .channels = s->channels,
                     .multiplier = s->multiplier,
                     .kernel_h = s->kernel_h,
                     .kernel_w = s->kernel_w,
                     .stride_h = s->stride_h,
                     .stride_w = s->stride_w,
                     .dilation_h = s->dilation_h,
                     .dilation_w = s->dilation_w,
                     .pad_top = s->pad_top,
                     .pad_bottom = s->pad_bottom,
                     .pad_left = s->pad_left,
                     .pad_right = s->pad_right};
}

static uint64_t mix_fields(uint64_t seed, const int *fields, size_t count) {
    for (size_t i = 0; i < count; i++) seed = mix(seed + (uint64_t)fields[i] + 1);
    return seed;
}

/* Of what makes a problem, its own fields and then its sizes; its place in the list does not count. */
static uint64_t seed_of_problem(const int *own, size_t count, const sizes *s) {
    const int fields[] = {s->batch,      s->height,   s->width,      s->channels, s->multiplier,
                          s->kernel_h,   s->kernel_w, s->stride_h,   s->stride_w, s->dilation_h,
                          s->dilation_w, s->pad_top,  s->pad_bottom, s->pad_left, s->pad_right};
    return mix_fields(mix_fields(0, own, count), fields, sizeof fields / sizeof *fields);
}

static uint64_t seed_of_array(uint64_t seed, int array) { return mix(seed + (uint64_t)array + 1); }

/* Of element i of an array. */
static uint64_t hash_at(uint64_t seed, int64_t i) {
    return mix(seed + (uint64_t)(i + 1) * UINT64_C(0x9e3779b97f4a7c15));
}

/* FNV-1a, 64 bits, of little-endian bytes. */
static const uint64_t FNV_BASIS = UINT64_C(0xcbf29ce484222325);

static uint64_t fnv1a(uint64_t hash, uint64_t bits, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) hash = (hash ^ (bits >> 8 * i & 255)) * UINT64_C(0x100000001b3);
    return hash;
}

static void *allocate(size_t bytes) {
    void *memory = malloc(bytes);
    if (!memory) {
        fprintf(stderr, "out of memory\n");
        exit(1);
    }
    return memory;
}

enum { MARGIN = 64, POISON = 0xa5 };

static int margins_are_poison(const unsigned char *memory, size_t bytes) {
    for (size_t i = 0; i < MARGIN; i++)
        if (memory[i] != POISON || memory[MARGIN + bytes + i] != POISON) return 0;
    return 1;
}

#endif
