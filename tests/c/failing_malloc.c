/* failing_malloc.c - a library to be loaded before all others (LD_PRELOAD): lets one allocation of one module fail, and
 * counts what that module holds.
 *
 *   cc -shared -fPIC failing_malloc.c -o failing_malloc.so -ldl
 *
 * Of the module are the calls that return into its code, so Python's own and NumPy's are left alone. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static uintptr_t begin, end; /* the addresses of the module's code */
static long allocations, fails_at, live;

enum { MOST = 1 << 14 };
static void *held[MOST]; /* the blocks of the module: a hash table; who frees one may be another */
static char gone;        /* in the place of a block that was freed */
static int lock;

static void *(*real_malloc)(size_t);
static void *(*real_calloc)(size_t, size_t);
static int (*real_posix_memalign)(void **, size_t, size_t);
static void (*real_free)(void *);

static char early[8192]; /* dlsym allocates before there is an allocator */
static size_t early_used;

static void *take_early(size_t bytes) {
    void *memory = early + early_used;
    early_used += (bytes + 15) / 16 * 16;
    if (early_used > sizeof early) abort();
    return memory;
}

static void find_real(void) {
    static int finding;
    if (real_free || finding) return;
    finding = 1;
    real_malloc = (void *(*)(size_t))dlsym(RTLD_NEXT, "malloc");
    real_calloc = (void *(*)(size_t, size_t))dlsym(RTLD_NEXT, "calloc");
    real_posix_memalign = (int (*)(void **, size_t, size_t))dlsym(RTLD_NEXT, "posix_memalign");
    real_free = (void (*)(void *))dlsym(RTLD_NEXT, "free");
}

static int is_ours(const void *caller) { return (uintptr_t)caller >= begin && (uintptr_t)caller < end; }

/* Whether this allocation is the one to fail. */
static int fails(const void *caller) {
    if (!is_ours(caller)) return 0;
    if (__atomic_add_fetch(&allocations, 1, __ATOMIC_RELAXED) != fails_at) return 0;
    errno = ENOMEM;
    return 1;
}

/* The place of `memory` in the table, or an empty one for it. Nothing moves, so an empty one may come before it: all
 * are looked at, up to one that never held anything. */
static void **place(void *memory, int insert) {
    const uintptr_t first = (uintptr_t)memory / 16 * UINT64_C(0x9e3779b97f4a7c15) >> 50;
    for (uintptr_t i = 0; i < MOST; i++) {
        void **at = held + (first + i) % MOST;
        if (*at == memory || (insert && (!*at || *at == &gone))) return at;
        if (!*at) return NULL;
    }
    return NULL;
}

static void *counted(void *memory, const void *caller) {
    if (!memory || !is_ours(caller)) return memory;
    while (__atomic_exchange_n(&lock, 1, __ATOMIC_ACQUIRE)) continue;
    void **at = place(memory, 1);
    if (!at) abort();
    *at = memory;
    live++;
    __atomic_store_n(&lock, 0, __ATOMIC_RELEASE);
    return memory;
}

static void forget(void *memory) {
    if (!end) return;
    while (__atomic_exchange_n(&lock, 1, __ATOMIC_ACQUIRE)) continue;
    void **at = place(memory, 0);
    if (at) {
        *at = &gone;
        live--;
    }
    __atomic_store_n(&lock, 0, __ATOMIC_RELEASE);
}

void *malloc(size_t bytes) {
    const void *caller = __builtin_return_address(0);
    find_real();
    if (!real_malloc) return take_early(bytes);
    return fails(caller) ? NULL : counted(real_malloc(bytes), caller);
}

void *calloc(size_t count, size_t bytes) {
    const void *caller = __builtin_return_address(0);
    find_real();
    if (!real_calloc) return take_early(count * bytes);
    return fails(caller) ? NULL : counted(real_calloc(count, bytes), caller);
}

int posix_memalign(void **memory, size_t alignment, size_t bytes) {
    const void *caller = __builtin_return_address(0);
    find_real();
    if (fails(caller)) return ENOMEM;
    const int error = real_posix_memalign(memory, alignment, bytes);
    if (!error) counted(*memory, caller);
    return error;
}

void free(void *memory) {
    if ((char *)memory >= early && (char *)memory < early + sizeof early) return;
    find_real();
    if (memory) forget(memory);
    real_free(memory);
}

/* ---- for the test, by ctypes ----------------------------------------------------------------------- */

static int look(struct dl_phdr_info *info, size_t size, void *name) {
    (void)size;
    if (!strstr(info->dlpi_name, name)) return 0;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = info->dlpi_phdr + i;
        if (part->p_type != PT_LOAD || !(part->p_flags & PF_X)) continue;
        begin = info->dlpi_addr + part->p_vaddr;
        end = begin + part->p_memsz;
    }
    return 1;
}

/* Watches the module whose file name contains `name`, from now on; 0 if there is none. */
int watch(const char *name) {
    dl_iterate_phdr(look, (void *)name);
    return end != 0;
}

/* The `number`-th allocation from now on fails, counted from 1; 0: none. */
void fail_at(long number) {
    allocations = 0;
    fails_at = number;
}

/* Allocations since fail_at. */
long count(void) { return allocations; }

/* Blocks that the module has allocated and not freed since `watch`. */
long alive(void) { return live; }
