/* thread_pool.c - the threads of the library: a caller shares its work with those that are idle.
 *
 * The problem. A convolution takes 10 to 1000 us. A system call that wakes a thread costs its caller 3 us, and the thread
 * begins 50 us later. A scheduler of tasks with queues and locks is for longer work. Here a call wants other CPUs within a
 * microsecond, or not at all.
 *
 * The algorithm. Each worker has a mailbox: one cache line, with a state and a job.
 *
 *   IDLE -> GO       by the caller that owns the worker: here is a job
 *   GO -> RUNNING    by the worker: it has taken the job
 *   RUNNING -> IDLE  by the worker: the job is done
 *   GO -> IDLE       by the caller: the worker has not begun, the job is taken back
 *   IDLE -> STOP     by dw_threads_stop
 *
 * A call owns as many idle workers as it can use (an exchange of `owned`), fills in their mailboxes, runs its own parts and
 * then looks at each mailbox: a job that has not begun is taken back and run by the caller itself; one that is running is
 * waited for. Long work has more parts than threads: then everybody claims parts one by one, from the place on where it
 * began in the call before.
 *
 * What makes it fast:
 * - A worker spins for some tens of microseconds after a job, then sleeps on a condition variable. Within a burst of calls
 *   a job costs one line that moves between two CPUs, 50 to 250 ns. After the burst the threads use no CPU time.
 * - The caller never waits for a thread that has not begun. So a worker that wakes up late, or that the system keeps from
 *   running, delays nobody.
 * - No queue and no lock in common: callers at the same time take different workers, and one that finds none works alone.
 * - A sleeping worker is woken on another CPU than its caller's: set_state says why.
 *
 * What must not be broken:
 * - `arguments` and `taken` are on the caller's stack. After RUNNING -> IDLE the worker must not look at the job again, and
 *   a caller may not return before each of its workers is IDLE.
 * - The store of a state and the load of `sleeping` after it, and the reverse on the other side, are sequentially
 *   consistent. Otherwise both sides may sleep.
 * - A job's fields are written before GO and read after GO -> RUNNING, which is an acquire.
 * - Whoever changes `owned` from 0 to 1 is the only one who may write the mailbox.
 * - dw_pool_run cannot fail: threads that cannot be started are done without.
 * - A forked child has none of the threads: the handlers of fork forget them, with the mutex held over the fork. */
#include "os_threads.h" /* first: it asks for more than standard C */

#include <stdatomic.h>
#include <string.h>

#include "dwconv.h"
#include "thread_pool.h"

enum { SPIN_NANOSECONDS = 40000, PAUSES = 32, LINE = 64, ASK_MILLISECONDS = 30 };

/* The states of a mailbox; above is who may change which. */
enum { IDLE, GO, RUNNING, STOP };

/* Who waits for a state of a worker: it itself, or the caller that owns it. */
enum { WORKER, CALLER };

/* What a worker and its caller look at while they wait: one line. It moves from one CPU to the other three times in each
 * call, in 50 ns, or in 250 between CPUs without a cache in common. Nothing else does. */
typedef struct mailbox {
    atomic_int state;
    atomic_int sleeping[2]; /* of each: it waits in `changed` */
    int part, parts;        /* a job, written before GO */
    int cpu;                /* that the caller is on */
    dw_task_fn *task;
    const void *arguments;
    atomic_uchar *taken; /* which parts somebody has claimed; NULL: `part` is this thread's alone */
} mailbox;

typedef struct worker {
    mailbox mail;
    char pad[LINE - sizeof(mailbox) % LINE + LINE]; /* against false sharing */
    atomic_int owned;                               /* by a caller, or dw_threads_stop */
    atomic_int id;                                  /* os_self() of the thread */
    os_mutex mutex;
    os_condition changed[2];
    os_thread thread;
    char pad_too[LINE];
} worker;

static struct {
    os_mutex mutex;     /* of starting and stopping */
    atomic_int count;   /* workers that have been started; only grows, but in dw_threads_stop and a forked child */
    atomic_llong retry; /* 0, or one could not be started: os_nanoseconds() when to try again */
    int forks;          /* the handlers of fork are set */
    worker workers[DW_MOST_THREADS - 1];
} pool = {.mutex = OS_MUTEX_INIT};

/* ---- states ---------------------------------------------------------------------------------------- */

/* Sets the state and wakes `other` if it sleeps. The accesses that both sides make, of state and sleeping, are
 * sequentially consistent: either the one sees that the other sleeps, or that one sees the new state and does not.
 * Exchanges, which are what x86 makes of such stores anyway: qemu-user 7.2 lets a load (LDAR) pass a store before it
 * (STLR) on x86, as no AArch64 processor may, and both sides were found asleep. */
static void set_state(worker *w, int state, int other) {
    atomic_exchange(&w->mail.state, state);
    if (!atomic_load(&w->mail.sleeping[other])) return;
    /* Linux may wake a thread on the CPU of the one that wakes it, behind that one: where no CPU shares a cache with
     * another, as in a virtual machine, it does so most of the time. So that CPU is forbidden until the worker is awake.
     * Bursts of 30 calls after 4 ms of sleep, 112x112x32 on two CPUs of a Zen 5: 1460 us on one thread, 2100 on two
     * without this, 1060 to 1370 with it. */
    const int worker_id = other == WORKER ? atomic_load(&w->id) : 0;
    if (worker_id) os_allow_cpus(worker_id, os_cpu());
    os_lock(&w->mutex);
    atomic_store(&w->mail.sleeping[other], 0);
    os_signal(&w->changed[other]);
    os_unlock(&w->mutex);
    if (worker_id) os_allow_cpus(worker_id, -1);
}

/* Spins while the state is that, for a while; returns the state. */
static int spin_while(worker *w, int that) {
    int state = atomic_load_explicit(&w->mail.state, memory_order_acquire);
    if (state != that) return state;
    const int64_t end = os_nanoseconds() + SPIN_NANOSECONDS;
    do {
        for (int i = 0; i < PAUSES; i++) {
            os_pause();
            state = atomic_load_explicit(&w->mail.state, memory_order_acquire);
            if (state != that) return state;
        }
    } while (os_nanoseconds() < end);
    return state;
}

/* Sleeps if the state is that, until the other side has set another one, or for `milliseconds` (0: any time). May return
 * early, as condition variables do. */
static void sleep_while(worker *w, int that, int self, int milliseconds) {
    os_lock(&w->mutex);
    atomic_exchange(&w->mail.sleeping[self], 1);
    if (atomic_load(&w->mail.state) == that) {
        if (milliseconds) os_wait_for(&w->changed[self], &w->mutex, milliseconds);
        else os_wait(&w->changed[self], &w->mutex);
    }
    atomic_store(&w->mail.sleeping[self], 0);
    os_unlock(&w->mutex);
}

static int change(worker *w, int from, int to) { return atomic_compare_exchange_strong(&w->mail.state, &from, to); }

/* Whether the worker was nobody's, and now is the caller's own. */
static int own(worker *w) {
    if (atomic_load_explicit(&w->owned, memory_order_relaxed)) return 0;
    return !atomic_exchange_explicit(&w->owned, 1, memory_order_acquire);
}

/* ---- work ------------------------------------------------------------------------------------------ */

/* Runs the parts that nobody has claimed yet, from the `part`th on: where this thread began in the call before, whose lines
 * its cache may still hold. */
static void take_parts(dw_task_fn *task, const void *arguments, int part, int parts, atomic_uchar *taken) {
    for (int i = 0; i < parts; i++, part = part + 1 < parts ? part + 1 : 0) {
        if (atomic_load_explicit(&taken[part], memory_order_relaxed)) continue;
        if (atomic_exchange_explicit(&taken[part], 1, memory_order_relaxed)) continue;
        task(arguments, part, parts);
    }
}

static void run_job(const mailbox *mail) {
    if (mail->taken) take_parts(mail->task, mail->arguments, mail->part, mail->parts, mail->taken);
    else mail->task(mail->arguments, mail->part, mail->parts);
}

OS_THREAD_FN(run_worker) {
    worker *const w = argument;
    atomic_store(&w->id, os_self());
    os_allow_cpus(os_self(), -1);
    for (;;) {
        const int state = spin_while(w, IDLE);
        if (state == STOP) return 0;
        if (state == GO && change(w, GO, RUNNING)) {
            if (w->mail.cpu >= 0 && w->mail.cpu == os_cpu()) {
                os_allow_cpus(os_self(), w->mail.cpu); /* moves it */
                os_allow_cpus(os_self(), -1);
            }
            run_job(&w->mail);
            set_state(w, IDLE, CALLER); /* the job is gone from here on */
        } else if (state == IDLE) {
            sleep_while(w, IDLE, WORKER, 0);
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
    atomic_store(&pool.retry, 0);
    os_unlock(&pool.mutex);
}

static int set_fork_handlers(void) { return !pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child); }
#else
static int set_fork_handlers(void) { return 1; }
#endif

/* Whether threads may be started now. After a failure (a limit of processes or of memory) it is tried again, but not in
 * each call: a failed attempt takes some 30 us, which is to be a small part of the time. */
static int may_start(void) {
    const long long retry = atomic_load_explicit(&pool.retry, memory_order_relaxed);
    return retry == 0 || os_nanoseconds() >= retry;
}

static void start_workers(int wanted) {
    enum { PAUSE_NANOSECONDS = 1000000, PAUSE_FACTOR = 50 }; /* at least, and times what the attempt took */
    os_lock(&pool.mutex);
    const int64_t begin = os_nanoseconds();
    int count = atomic_load(&pool.count), failed = 0;
    if (!pool.forks) failed = !(pool.forks = set_fork_handlers());
    for (; !failed && count < wanted; count++) {
        worker *w = pool.workers + count;
        os_init(&w->mutex);
        for (int i = 0; i < 2; i++) {
            os_init_condition(&w->changed[i]);
            atomic_store(&w->mail.sleeping[i], 0);
        }
        atomic_store(&w->mail.state, IDLE);
        atomic_store(&w->owned, 0);
        atomic_store(&w->id, 0);
        if (os_start(&w->thread, run_worker, w)) atomic_store(&pool.count, count + 1);
        else failed = 1;
    }
    const int64_t end = os_nanoseconds(), pause = (end - begin) * PAUSE_FACTOR;
    atomic_store(&pool.retry, failed ? end + (pause > PAUSE_NANOSECONDS ? pause : PAUSE_NANOSECONDS) : 0);
    os_unlock(&pool.mutex);
}

int dw_pool_most(void) { return atomic_load(&pool.retry) == 0 ? DW_MOST_THREADS : atomic_load(&pool.count) + 1; }

void dw_threads_stop(void) {
    os_lock(&pool.mutex);
    const int count = atomic_load(&pool.count);
    atomic_store(&pool.count, 0);
    atomic_store(&pool.retry, 0);
    for (int i = 0; i < count; i++) {
        worker *w = pool.workers + i;
        while (!own(w)) os_yield();
        set_state(w, STOP, WORKER);
        os_join(w->thread);
    }
    os_unlock(&pool.mutex);
}

/* ---- calls ----------------------------------------------------------------------------------------- */

int dw_pool_threads(int64_t nanoseconds, int64_t least, int num_threads) {
    const int64_t worth = nanoseconds / least;
    if (num_threads > DW_MOST_THREADS) num_threads = DW_MOST_THREADS;
    if (num_threads > worth) num_threads = (int)worth;
    return num_threads < 1 ? 1 : num_threads;
}

int dw_pool_parts(int64_t nanoseconds, int threads) {
    enum { PART_NANOSECONDS = 60000 };
    const int64_t each = nanoseconds / PART_NANOSECONDS / threads;
    return threads * (each < 1 ? 1 : each > DW_MOST_PARTS_EACH ? DW_MOST_PARTS_EACH : (int)each);
}

/* Until the job of a worker that has begun is done. */
static void wait_for(worker *w, dw_stop_fn *stop, void *context) {
    while (spin_while(w, RUNNING) == RUNNING) {
        sleep_while(w, RUNNING, CALLER, stop ? ASK_MILLISECONDS : 0);
        if (stop) stop(context); /* the job notices */
    }
}

void dw_pool_run(dw_task_fn *task, const void *arguments, int parts, int threads, dw_stop_fn *stop, void *context) {
    worker *mine[DW_MOST_THREADS - 1];
    atomic_uchar taken[DW_MOST_PARTS];
    int count = 0;
    if (parts > DW_MOST_PARTS) parts = DW_MOST_PARTS;
    if (threads > DW_MOST_THREADS) threads = DW_MOST_THREADS;
    if (threads > parts) threads = parts;
    if (atomic_load_explicit(&pool.count, memory_order_acquire) < threads - 1 && may_start())
        start_workers(threads - 1);
    const int started = atomic_load_explicit(&pool.count, memory_order_acquire);
    for (int i = 0; i < started && count < threads - 1; i++)
        if (own(pool.workers + i)) mine[count++] = pool.workers + i;
    if (count == 0) {
        task(arguments, 0, 1);
        return;
    }
    if (count + 1 < threads && parts == threads) parts = count + 1; /* each its own */
    const int claims = parts > count + 1, cpu = os_cpu();
    if (claims)
        for (int i = 0; i < parts; i++) atomic_init(&taken[i], 0);
    for (int i = 0; i < count; i++) {
        mailbox *mail = &mine[i]->mail;
        mail->part = parts * (i + 1) / (count + 1);
        mail->parts = parts;
        mail->cpu = cpu;
        mail->task = task;
        mail->arguments = arguments;
        mail->taken = claims ? taken : NULL;
        set_state(mine[i], GO, WORKER);
    }
    /* The caller has the first part, though it begins before the others and none is smaller: with the last one, two
     * threads take 15 us for 7x7x1024 on Zen 4 and not 10. */
    if (claims) take_parts(task, arguments, 0, parts, taken);
    else task(arguments, 0, parts);
    for (int i = 0; i < count; i++) {
        worker *w = mine[i];
        if (atomic_load_explicit(&w->mail.state, memory_order_relaxed) == GO && change(w, GO, IDLE)) {
            if (!claims) task(arguments, i + 1, parts); /* it has not begun */
        } else {
            wait_for(w, stop, context);
        }
        atomic_store_explicit(&w->owned, 0, memory_order_release);
    }
}
