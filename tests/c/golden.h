/* golden.h - what programs of golden vectors have in common: inputs out of hashes of integers, hashes of results. */
#ifndef DW_GOLDEN_H
#define DW_GOLDEN_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* The last steps of SplitMix64: Steele, Lea and Flood, 'Fast splittable pseudorandom number generators', 2014. */
static uint64_t mix(uint64_t z) {
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* Of what makes a problem; its place in the list does not count. */
static uint64_t seed_of_fields(const int *fields, size_t count) {
    uint64_t seed = 0;
    for (size_t i = 0; i < count; i++) seed = mix(seed + (uint64_t)fields[i] + 1);
    return seed;
}

static uint64_t seed_of_array(uint64_t seed_of_problem, int array) {
    return mix(seed_of_problem + (uint64_t)array + 1);
}

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
