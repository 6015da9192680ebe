/* pool.c - a caller hands its work to idle threads of the pool through a state of each, helps, and takes back what has
 * not begun when nothing is left to do. So a thread that wakes up late delays nobody, a caller that finds the others
 * busy works alone, and callers at the same time share the threads that there are.
 *
 * A thread spins for some tens of microseconds after each job, then sleeps in a condition variable: between the calls
 * of a burst the next job costs no system call, after it the threads cost nothing. */
#include "os_threads.h" /* first: it asks for more than standard C */

#include <stdatomic.h>
#include <string.h>

#include "dwconv.h"
#include "pool.h"

enum { SPIN_NANOSECONDS = 40000, PAUSES = 32, LINE = 64 };

/* Who may write what comes next. A thread: GO -> RUNNING -> DONE. A caller: FREE -> OWNED -> GO, DONE -> FREE, and
 * GO -> FREE to take a job back. FREE -> STOP is dw_threads_stop's. */
enum { FREE, OWNED, GO, RUNNING, DONE, STOP };

typedef struct job {
    dw_task_fn *task;
    const void *arguments;
    int parts, threads;
    int cpu; /* that the caller is on */
    atomic_uchar taken[DW_MOST_PARTS];
} job;

/* Who waits for a state of a worker: it itself, or the caller that owns it. */
enum { WORKER, CALLER };

typedef struct worker {
    atomic_int state;
    atomic_int sleeping[2]; /* of each: it waits in `changed` */
    job *work;              /* written before GO ... */
    int place;              /* ... with its number among the threads of the job */
    os_places places;
    os_mutex mutex;
    os_condition changed[2];
    os_thread thread;
    char apart[LINE]; /* the next one's state is in another line */
} worker;

static struct {
    os_mutex mutex;   /* of starting and stopping */
    atomic_int count; /* workers that have been started; only grows, but in dw_threads_stop and a forked child */
    int failed;       /* no more can be started */
    int forks;        /* the handlers of fork are set */
    worker workers[DW_MOST_THREADS - 1];
} pool = {.mutex = OS_MUTEX_INIT};

/* ---- states ---------------------------------------------------------------------------------------- */

static int in(int state, unsigned states) { return states >> state & 1; }

/* Sets the state and wakes `other` if it sleeps. The accesses that both sides make, of state and sleeping, are
 * sequentially consistent: either the one sees that the other sleeps, or that one sees the new state and does not. */
static void set_state(worker *w, int state, int other) {
    atomic_store(&w->state, state);
    if (!atomic_load(&w->sleeping[other])) return;
    os_lock(&w->mutex);
    atomic_store(&w->sleeping[other], 0);
    os_signal(&w->changed[other]);
    os_unlock(&w->mutex);
}

/* Spins while the state is one of `states`, for a while; returns the state. */
static int spin_while(worker *w, unsigned states) {
    int state = atomic_load_explicit(&w->state, memory_order_acquire);
    if (!in(state, states)) return state;
    const int64_t end = os_nanoseconds() + SPIN_NANOSECONDS;
    do {
        for (int i = 0; i < PAUSES; i++) {
            os_pause();
            state = atomic_load_explicit(&w->state, memory_order_acquire);
            if (!in(state, states)) return state;
        }
    } while (os_nanoseconds() < end);
    return state;
}

/* Sleeps if the state is one of `states`, until the other side has set one, or for no reason. */
static void sleep_while(worker *w, unsigned states, int self) {
    os_lock(&w->mutex);
    atomic_store(&w->sleeping[self], 1);
    if (in(atomic_load(&w->state), states)) os_wait(&w->changed[self], &w->mutex);
    atomic_store(&w->sleeping[self], 0);
    os_unlock(&w->mutex);
}

static int change(worker *w, int from, int to) { return atomic_compare_exchange_strong(&w->state, &from, to); }

/* ---- work ------------------------------------------------------------------------------------------ */

/* Runs the parts that no one has taken yet: first those that are this thread's share, so that it has the same from
 * call to call, then the others'. */
static void take_parts(job *work, int place) {
    const int parts = work->parts, first = place * parts / work->threads;
    for (int i = 0; i < parts; i++) {
        const int part = first + i < parts ? first + i : first + i - parts;
        if (atomic_load_explicit(&work->taken[part], memory_order_relaxed)) continue;
        if (atomic_exchange_explicit(&work->taken[part], 1, memory_order_relaxed)) continue;
        work->task(work->arguments, part, parts);
    }
}

OS_THREAD_FN(run_worker) {
    const unsigned idle = 1u << FREE | 1u << OWNED | 1u << DONE;
    worker *const w = argument;
    int caller_cpu = -1;
    for (;;) {
        const int state = spin_while(w, idle);
        if (state == STOP) return 0;
        if (state == GO && change(w, GO, RUNNING)) {
            caller_cpu = w->work->cpu;
            if (caller_cpu == os_cpu()) os_keep_away(&w->places, caller_cpu);
            take_parts(w->work, w->place);
            set_state(w, DONE, CALLER); /* the job is gone from here on */
        } else if (in(state, idle)) {
            /* Where no CPU shares a cache with another, as in a virtual machine, Linux may wake a thread on the CPU of
             * the one that wakes it, behind that: for the first milliseconds of a burst it would be of no use. */
            os_keep_away(&w->places, caller_cpu);
            sleep_while(w, idle, WORKER);
        }
    }
}

/* ---- threads --------------------------------------------------------------------------------------- */

#ifndef _WIN32
static void before_fork(void) { os_lock(&pool.mutex); }
static void after_fork_in_parent(void) { os_unlock(&pool.mutex); }

/* The child has none of the threads, and no call that they were working for. */
static void after_fork_in_child(void) {
    atomic_store(&pool.count, 0);
    pool.failed = 0;
    os_unlock(&pool.mutex);
}

static int set_fork_handlers(void) { return !pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child); }
#else
static int set_fork_handlers(void) { return 1; }
#endif

static void start_workers(int wanted) {
    os_lock(&pool.mutex);
    if (!pool.forks) pool.forks = set_fork_handlers();
    for (int count = atomic_load(&pool.count); pool.forks && !pool.failed && count < wanted; count++) {
        worker *w = pool.workers + count;
        os_init(&w->mutex);
        for (int i = 0; i < 2; i++) {
            os_init_condition(&w->changed[i]);
            atomic_store(&w->sleeping[i], 0);
        }
        memset(&w->places, 0, sizeof w->places);
        atomic_store(&w->state, FREE);
        if (os_start(&w->thread, run_worker, w)) atomic_store(&pool.count, count + 1);
        else pool.failed = 1;
    }
    os_unlock(&pool.mutex);
}

void dw_threads_stop(void) {
    os_lock(&pool.mutex);
    const int count = atomic_load(&pool.count);
    atomic_store(&pool.count, 0);
    pool.failed = 0;
    for (int i = 0; i < count; i++) {
        worker *w = pool.workers + i;
        while (!change(w, FREE, STOP)) os_yield();
        set_state(w, STOP, WORKER);
        os_join(w->thread);
    }
    os_unlock(&pool.mutex);
}

/* ---- calls ----------------------------------------------------------------------------------------- */

void dw_pool_run(dw_task_fn *task, const void *arguments, int parts, int threads) {
    worker *mine[DW_MOST_THREADS - 1];
    int count = 0;
    if (parts > DW_MOST_PARTS) parts = DW_MOST_PARTS;
    if (threads > DW_MOST_THREADS) threads = DW_MOST_THREADS;
    if (threads > parts) threads = parts;
    if (atomic_load_explicit(&pool.count, memory_order_acquire) < threads - 1) start_workers(threads - 1);
    const int started = atomic_load_explicit(&pool.count, memory_order_acquire);
    for (int i = 0; i < started && count < threads - 1; i++) {
        worker *w = pool.workers + i;
        if (atomic_load_explicit(&w->state, memory_order_relaxed) == FREE && change(w, FREE, OWNED)) mine[count++] = w;
    }
    if (count == 0) {
        task(arguments, 0, 1);
        return;
    }
    job work = {.task = task, .arguments = arguments, .parts = parts, .threads = count + 1, .cpu = os_cpu()};
    for (int i = 0; i < count; i++) {
        mine[i]->work = &work;
        mine[i]->place = i + 1;
        set_state(mine[i], GO, WORKER);
    }
    take_parts(&work, 0);
    for (int i = 0; i < count; i++) {
        if (change(mine[i], GO, FREE)) continue; /* it has not begun, and nothing is left */
        while (spin_while(mine[i], 1u << RUNNING) == RUNNING) sleep_while(mine[i], 1u << RUNNING, CALLER);
        atomic_store(&mine[i]->state, FREE);
    }
}
