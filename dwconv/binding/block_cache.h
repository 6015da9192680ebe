/* block_cache.h - memory of output arrays, kept for the next ones when an array dies.
 *
 * A fresh page costs the kernel of the operating system more than ours takes to fill it, so blocks are recycled:
 * by size class, the last one first, whose lines are in cache. What lies idle is bounded: beyond the limit the
 * blocks that lay longest are freed. The links are in the idle blocks themselves; the pool needs no memory.
 *
 * All functions want the GIL, which is the lock. Without one (free-threaded Python) a mutex is. Nothing is called,
 * allocated or freed while it is held. */
#ifndef DWCONV_BLOCK_CACHE_H
#define DWCONV_BLOCK_CACHE_H

#include <Python.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#ifdef _WIN32
#include <malloc.h>
#elif defined(__linux__)
#include <sys/mman.h>
#endif

/* Bytes of a cache line and of the widest vector: what blocks are aligned to, and the smallest block. */
enum { POOL_LINE = 64 };

/* Blocks of so many bytes ask for huge pages, as NumPy's arrays do from the same size on: forward and backward of
 * 28x28x256 at stride 2, batch 8, took 2.0 ms on arrays without and 1.4 with them, on a virtual machine. */
enum { POOL_LARGE = 4 << 20, POOL_HUGE_PAGE = 2 << 20 };

/* Sizes of up to 16 lines are exact; above, each doubling has 8 classes, so that at most 1/9 is wasted, which no one
 * touches. The last class is that of half the address space. */
enum { POOL_EXACT = 16, POOL_STEPS = 8, POOL_CLASSES = POOL_EXACT + POOL_STEPS * 53 };

typedef struct pool_block {
    struct pool_block *newer, *older; /* among all idle blocks */
    struct pool_block *above, *below; /* among those of the class: given back after, before */
    int size_class;
} pool_block;

static struct {
    pool_block *newest, *oldest;
    pool_block *top[POOL_CLASSES];
    size_t idle, limit; /* bytes */
#ifdef Py_GIL_DISABLED
    PyMutex mutex;
#endif
} pool;

static void pool_lock(void) {
#ifdef Py_GIL_DISABLED
    PyMutex_Lock(&pool.mutex);
#endif
}

static void pool_unlock(void) {
#ifdef Py_GIL_DISABLED
    PyMutex_Unlock(&pool.mutex);
#endif
}

/* Around a fork, so that the child finds the pool whole. Its copy of the mutex has no one waiting. */
static void pool_after_fork_in_child(void) {
#ifdef Py_GIL_DISABLED
    pool.mutex = (PyMutex){0};
#endif
}

/* The class of the blocks for so many bytes; -1 if there are no such blocks. */
static int pool_class(size_t bytes) {
    if (bytes > PTRDIFF_MAX / 2) return -1;
    size_t lines = bytes > POOL_LINE ? (bytes + POOL_LINE - 1) / POOL_LINE : 1;
    if (lines <= POOL_EXACT) return (int)lines - 1;
    int shift = 0; /* lines are rounded up to a multiple of 1 << shift, of which there are 9 to 16 */
    while ((lines - 1) >> shift >= POOL_EXACT) shift++;
    const int steps = (int)((lines - 1) >> shift) + 1;
    return POOL_EXACT + (shift - 1) * POOL_STEPS + steps - POOL_STEPS - 1;
}

static size_t pool_class_bytes(int size_class) {
    if (size_class < POOL_EXACT) return ((size_t)size_class + 1) * POOL_LINE;
    const int shift = (size_class - POOL_EXACT) / POOL_STEPS + 1;
    const size_t steps = (size_t)((size_class - POOL_EXACT) % POOL_STEPS + POOL_STEPS + 1);
    return (steps << shift) * POOL_LINE;
}

static void *pool_allocate(size_t bytes) {
#ifdef _WIN32
    return _aligned_malloc(bytes, POOL_LINE);
#else
    const int large = bytes >= POOL_LARGE;
    void *memory;
    if (posix_memalign(&memory, large ? POOL_HUGE_PAGE : POOL_LINE, bytes)) return NULL;
#ifdef MADV_HUGEPAGE
    if (large) madvise(memory, bytes, MADV_HUGEPAGE); /* a wish: it does no harm if it fails */
#endif
    return memory;
#endif
}

static void pool_free(void *memory) {
#ifdef _WIN32
    _aligned_free(memory);
#else
    free(memory);
#endif
}

/* Takes an idle block out of both lists. */
static void pool_unlink(pool_block *block) {
    *(block->newer ? &block->newer->older : &pool.newest) = block->older;
    *(block->older ? &block->older->newer : &pool.oldest) = block->newer;
    *(block->above ? &block->above->below : &pool.top[block->size_class]) = block->below;
    if (block->below) block->below->above = block->above;
    pool.idle -= pool_class_bytes(block->size_class);
}

/* A block of the class, idle or new; NULL if there is no memory. */
static void *pool_take(int size_class) {
    pool_lock();
    pool_block *block = pool.top[size_class];
    if (block) pool_unlink(block);
    pool_unlock();
    return block ? block : pool_allocate(pool_class_bytes(size_class));
}

/* Takes out the oldest idle blocks until no more than `most` bytes are left; returns them, linked by `newer`. */
static pool_block *pool_reduce(size_t most) {
    pool_block *out = NULL;
    while (pool.idle > most) {
        pool_block *block = pool.oldest;
        pool_unlink(block);
        block->newer = out;
        out = block;
    }
    return out;
}

static void pool_free_all(pool_block *block) {
    while (block) {
        pool_block *next = block->newer;
        pool_free(block);
        block = next;
    }
}

/* Keeps a block that pool_take gave for the next one of its class, or frees it, or older ones. */
static void pool_give(void *memory, int size_class) {
    const size_t bytes = pool_class_bytes(size_class);
    pool_block *block = memory;
    pool_lock();
    if (bytes > pool.limit) {
        pool_unlock();
        pool_free(memory);
        return;
    }
    *block = (pool_block){.older = pool.newest, .below = pool.top[size_class], .size_class = size_class};
    *(block->older ? &block->older->newer : &pool.oldest) = block;
    if (block->below) block->below->above = block;
    pool.newest = pool.top[size_class] = block;
    pool.idle += bytes;
    pool_block *out = pool_reduce(pool.limit);
    pool_unlock();
    pool_free_all(out);
}

static void pool_set_limit(size_t bytes) {
    pool_lock();
    pool.limit = bytes;
    pool_block *out = pool_reduce(bytes);
    pool_unlock();
    pool_free_all(out);
}

/* Frees all idle blocks; returns how many bytes they were. */
static size_t pool_trim(void) {
    pool_lock();
    const size_t bytes = pool.idle;
    pool_block *out = pool_reduce(0);
    pool_unlock();
    pool_free_all(out);
    return bytes;
}

static size_t pool_idle(void) {
    pool_lock();
    const size_t bytes = pool.idle;
    pool_unlock();
    return bytes;
}

#endif
