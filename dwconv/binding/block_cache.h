/* block_cache.h - the memory of output arrays: when an array dies, its block is kept for the next one.
 *
 * The operating system takes longer to provide a fresh page than a kernel takes to fill it. So blocks are recycled, by
 * size class, the last one first, because its lines are still in the CPU's cache. The idle memory is bounded: beyond the
 * limit, the blocks that have been idle longest are freed. The links are stored in the idle blocks themselves, so the
 * cache allocates nothing.
 *
 * All functions need the GIL, which is the lock. On a free-threaded Python a mutex is the lock. Nothing is called,
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
enum { BLOCK_CACHE_LINE = 64 };

/* Blocks of this many bytes or more ask for huge pages, as NumPy's arrays do from the same size on: forward and backward
 * of 28x28x256 at stride 2, batch 8, took 2.0 ms on arrays without and 1.4 with them, on a virtual machine. Such a block
 * is a mapping of its own: the mark goes with it, where one on memory of the C library would stay for whoever gets that
 * memory next. */
enum { BLOCK_CACHE_LARGE = 4 << 20, BLOCK_CACHE_HUGE_PAGE = 2 << 20 };

/* Sizes of up to 16 lines are exact; above, each doubling has 8 classes, so that at most 1/9 is wasted, which nobody
 * touches. The last class is that of half the address space. */
enum { BLOCK_CACHE_EXACT = 16, BLOCK_CACHE_STEPS = 8, BLOCK_CACHE_CLASSES = BLOCK_CACHE_EXACT + BLOCK_CACHE_STEPS * 53 };

typedef struct cached_block {
    struct cached_block *newer, *older; /* among all idle blocks */
    struct cached_block *above, *below; /* among those of the class: given back after, before */
    int size_class;
} cached_block;

static struct {
    cached_block *newest, *oldest;
    cached_block *top[BLOCK_CACHE_CLASSES];
    size_t idle, limit; /* bytes */
#ifdef Py_GIL_DISABLED
    PyMutex mutex;
#endif
} block_cache;

static void block_cache_lock(void) {
#ifdef Py_GIL_DISABLED
    PyMutex_Lock(&block_cache.mutex);
#endif
}

static void block_cache_unlock(void) {
#ifdef Py_GIL_DISABLED
    PyMutex_Unlock(&block_cache.mutex);
#endif
}

/* Around a fork, so that the child finds the lists whole. Its copy of the mutex has no one waiting. */
static void block_cache_after_fork_in_child(void) {
#ifdef Py_GIL_DISABLED
    block_cache.mutex = (PyMutex){0};
#endif
}

/* The class of the blocks that hold this many bytes; -1 if there is none. */
static int block_cache_class(size_t bytes) {
    if (bytes > PTRDIFF_MAX / 2) return -1;
    size_t lines = bytes > BLOCK_CACHE_LINE ? (bytes + BLOCK_CACHE_LINE - 1) / BLOCK_CACHE_LINE : 1;
    if (lines <= BLOCK_CACHE_EXACT) return (int)lines - 1;
    int shift = 0; /* lines are rounded up to a multiple of 1 << shift, of which there are 9 to 16 */
    while ((lines - 1) >> shift >= BLOCK_CACHE_EXACT) shift++;
    const int steps = (int)((lines - 1) >> shift) + 1;
    return BLOCK_CACHE_EXACT + (shift - 1) * BLOCK_CACHE_STEPS + steps - BLOCK_CACHE_STEPS - 1;
}

static size_t block_cache_class_bytes(int size_class) {
    if (size_class < BLOCK_CACHE_EXACT) return ((size_t)size_class + 1) * BLOCK_CACHE_LINE;
    const int shift = (size_class - BLOCK_CACHE_EXACT) / BLOCK_CACHE_STEPS + 1;
    const size_t steps = (size_t)((size_class - BLOCK_CACHE_EXACT) % BLOCK_CACHE_STEPS + BLOCK_CACHE_STEPS + 1);
    return (steps << shift) * BLOCK_CACHE_LINE;
}

#if defined(__linux__) && defined(MADV_HUGEPAGE)
static size_t block_cache_mapped_bytes(size_t bytes) {
    const size_t page = 4096; /* munmap rounds up to larger pages by itself */
    return (bytes + page - 1) / page * page;
}

/* A mapping that begins at a multiple of a huge page. */
static void *block_cache_map(size_t bytes) {
    bytes = block_cache_mapped_bytes(bytes);
    char *const all = mmap(NULL, bytes + BLOCK_CACHE_HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED) return NULL;
    const size_t before = (0 - (uintptr_t)all) % BLOCK_CACHE_HUGE_PAGE;
    if (before > 0) munmap(all, before);
    munmap(all + before + bytes, BLOCK_CACHE_HUGE_PAGE - before);
    madvise(all + before, bytes, MADV_HUGEPAGE); /* does no harm if it fails */
    return all + before;
}
#endif

static void *block_cache_allocate(size_t bytes) {
#ifdef _WIN32
    return _aligned_malloc(bytes, BLOCK_CACHE_LINE);
#else
    void *memory;
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    if (bytes >= BLOCK_CACHE_LARGE) return block_cache_map(bytes);
#endif
    return posix_memalign(&memory, BLOCK_CACHE_LINE, bytes) ? NULL : memory;
#endif
}

static void block_cache_free(void *memory, size_t bytes) {
#ifdef _WIN32
    (void)bytes;
    _aligned_free(memory);
#else
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    if (bytes >= BLOCK_CACHE_LARGE) {
        munmap(memory, block_cache_mapped_bytes(bytes));
        return;
    }
#else
    (void)bytes;
#endif
    free(memory);
#endif
}

/* What tracemalloc is told: each block in use, at the line of Python that took it. */
enum { BLOCK_CACHE_DOMAIN = 0x64776376 };

static void block_cache_track(void *memory, size_t bytes) {
#ifndef PYPY_VERSION
    PyTraceMalloc_Track(BLOCK_CACHE_DOMAIN, (uintptr_t)memory, bytes);
#else
    (void)memory, (void)bytes;
#endif
}

static void block_cache_untrack(void *memory) {
#ifndef PYPY_VERSION
    PyTraceMalloc_Untrack(BLOCK_CACHE_DOMAIN, (uintptr_t)memory);
#else
    (void)memory;
#endif
}

/* Takes an idle block out of both lists. */
static void block_cache_unlink(cached_block *block) {
    *(block->newer ? &block->newer->older : &block_cache.newest) = block->older;
    *(block->older ? &block->older->newer : &block_cache.oldest) = block->newer;
    *(block->above ? &block->above->below : &block_cache.top[block->size_class]) = block->below;
    if (block->below) block->below->above = block->above;
    block_cache.idle -= block_cache_class_bytes(block->size_class);
}

/* A block of the class, idle or new; NULL if there is no memory. */
static void *block_cache_take(int size_class) {
    block_cache_lock();
    cached_block *block = block_cache.top[size_class];
    if (block) block_cache_unlink(block);
    block_cache_unlock();
    const size_t bytes = block_cache_class_bytes(size_class);
    void *const memory = block ? block : block_cache_allocate(bytes);
    if (memory) block_cache_track(memory, bytes);
    return memory;
}

/* Takes out the oldest idle blocks until no more than `most` bytes are left; returns them, linked by `newer`. */
static cached_block *block_cache_reduce(size_t most) {
    cached_block *out = NULL;
    while (block_cache.idle > most) {
        cached_block *block = block_cache.oldest;
        block_cache_unlink(block);
        block->newer = out;
        out = block;
    }
    return out;
}

static void block_cache_free_all(cached_block *block) {
    while (block) {
        cached_block *next = block->newer;
        block_cache_free(block, block_cache_class_bytes(block->size_class));
        block = next;
    }
}

/* Takes back a block of block_cache_take: keeps it for the next one of its class, or frees it or older ones. */
static void block_cache_put(void *memory, int size_class) {
    const size_t bytes = block_cache_class_bytes(size_class);
    cached_block *block = memory;
    block_cache_untrack(memory);
    block_cache_lock();
    if (bytes > block_cache.limit) {
        block_cache_unlock();
        block_cache_free(memory, bytes);
        return;
    }
    *block = (cached_block){.older = block_cache.newest, .below = block_cache.top[size_class], .size_class = size_class};
    *(block->older ? &block->older->newer : &block_cache.oldest) = block;
    if (block->below) block->below->above = block;
    block_cache.newest = block_cache.top[size_class] = block;
    block_cache.idle += bytes;
    cached_block *out = block_cache_reduce(block_cache.limit);
    block_cache_unlock();
    block_cache_free_all(out);
}

static void block_cache_set_limit(size_t bytes) {
    block_cache_lock();
    block_cache.limit = bytes;
    cached_block *out = block_cache_reduce(bytes);
    block_cache_unlock();
    block_cache_free_all(out);
}

/* Frees all idle blocks; returns how many bytes they were. */
static size_t block_cache_trim(void) {
    block_cache_lock();
    const size_t bytes = block_cache.idle;
    cached_block *out = block_cache_reduce(0);
    block_cache_unlock();
    block_cache_free_all(out);
    return bytes;
}

static size_t block_cache_idle(void) {
    block_cache_lock();
    const size_t bytes = block_cache.idle;
    block_cache_unlock();
    return bytes;
}

#endif
