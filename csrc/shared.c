/* shared.c - memory with a count of its owners, in the cache line before it. */
#include "shared.h"

#include <stdatomic.h>
#include <string.h>

#include "sizes.h"

typedef struct header {
    void *allocated; /* what to free */
    int64_t bytes;
    atomic_int owners;
} header;

static header *header_of(const void *memory) { return (header *)((uintptr_t)memory - DW_ALIGNMENT); }

void *dw_shared_new(int64_t bytes) {
    void *allocated;
    char *at = bytes <= PTRDIFF_MAX - 2 * DW_ALIGNMENT ? dw_calloc_aligned(bytes + DW_ALIGNMENT, &allocated) : NULL;
    if (!at) return NULL;
    header *head = (header *)(void *)at;
    head->allocated = allocated;
    head->bytes = bytes;
    atomic_init(&head->owners, 1);
    return at + DW_ALIGNMENT;
}

void dw_shared_keep(void *memory) {
    if (memory) atomic_fetch_add_explicit(&header_of(memory)->owners, 1, memory_order_relaxed);
}

void dw_shared_drop(void *memory) {
    if (!memory) return;
    header *head = header_of(memory);
    /* What other owners have read happens before the memory is freed. */
    if (atomic_fetch_sub_explicit(&head->owners, 1, memory_order_acq_rel) == 1) free(head->allocated);
}

int64_t dw_shared_by_others(const void *memory, int64_t bytes) {
    return memory ? bytes - bytes / atomic_load_explicit(&header_of(memory)->owners, memory_order_relaxed) : 0;
}

int dw_shared_merge(void **mine, void *other) {
    if (*mine == other) return other != NULL;
    if (!*mine || !other || header_of(*mine)->bytes != header_of(other)->bytes) return 0;
    if (memcmp(*mine, other, (size_t)header_of(other)->bytes) != 0) return 0;
    dw_shared_keep(other);
    dw_shared_drop(*mine);
    *mine = other;
    return 1;
}
