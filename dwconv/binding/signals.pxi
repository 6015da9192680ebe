# Ctrl-C in long calls: which ones watch for it.

import threading as _threading

from cpython.exc cimport PyErr_CheckSignals

cdef extern from "binding/signals.h" nogil:
    ctypedef struct signal_watch:
        pass
    void signal_watch_begin(signal_watch *watch)
    int signal_watch_ask(void *context)

cdef extern from "dwconv.h" nogil:
    ctypedef int dw_stop_fn(void *context)

cdef extern from "pythread.h" nogil:
    unsigned long PyThread_get_thread_ident()

# The only thread in which Python's handlers of signals run.
cdef unsigned long main_thread = _threading.main_thread().ident


cdef void signals_after_fork_in_child() noexcept:
    """The thread that forked is the main thread of the child."""
    global main_thread
    main_thread = PyThread_get_thread_ident()


cdef inline dw_stop_fn *watch_signals(signal_watch *watch) noexcept nogil:
    """What a long call asks whether it is to end, with `watch`; NULL in a thread in which no handler runs."""
    if PyThread_get_thread_ident() != main_thread:
        return NULL
    signal_watch_begin(watch)
    return &signal_watch_ask


cdef int raise_pending() except -1:
    """Raises the exception that a handler of a signal has set."""
    return -1
