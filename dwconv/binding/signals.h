/* signals.h - Ctrl-C in a call that computes, or packs weights, for long without the GIL.
 *
 * CPython only notes a signal. Its handler, which raises KeyboardInterrupt, runs when the main thread asks for it with the
 * GIL. So a long call of the main thread takes the GIL now and then, between two pieces of its work, and asks. */
#ifndef DWCONV_SIGNALS_H
#define DWCONV_SIGNALS_H

#include <Python.h>

#include <stdatomic.h>

#include "os_threads.h"

typedef struct signal_watch {
    unsigned long thread; /* that of the call */
    int64_t next;         /* os_nanoseconds() when to ask again; 0: not known yet; only that thread's */
    atomic_int stopped;   /* a handler has raised */
} signal_watch;

enum { SIGNAL_WATCH_NANOSECONDS = 30000000 };

static inline void signal_watch_begin(signal_watch *watch) {
    watch->thread = PyThread_get_thread_ident();
    watch->next = 0; /* the clock is read in long calls only */
    atomic_init(&watch->stopped, 0);
}

/* A dw_stop_fn: whether the call is to end, with an exception set in its thread. Asked by all threads of the call, which
 * is without the GIL. */
static inline int signal_watch_ask(void *context) {
    signal_watch *const watch = (signal_watch *)context;
    if (atomic_load_explicit(&watch->stopped, memory_order_relaxed)) return 1;
    if (PyThread_get_thread_ident() != watch->thread) return 0;
    const int64_t now = os_nanoseconds();
    if (now < watch->next) return 0;
    const int first = watch->next == 0;
    watch->next = now + SIGNAL_WATCH_NANOSECONDS;
    if (first) return 0;
    const PyGILState_STATE state = PyGILState_Ensure();
    const int raised = PyErr_CheckSignals() < 0;
    PyGILState_Release(state);
    if (raised) atomic_store_explicit(&watch->stopped, 1, memory_order_relaxed);
    return raised;
}

#endif
