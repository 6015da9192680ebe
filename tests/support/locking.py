"""A lock that another thread holds, and a forked child that has to take it."""

from __future__ import annotations

import math
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dwconv.locks import Lock
from support import patient


def succeeds_in_a_child(work: Callable[[], object]) -> bool:
    """Whether a forked child does it; one that waits for ever is killed by an alarm."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(math.ceil(patient(20)))
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1] == 0


@contextmanager
def held_by_another_thread(lock: Lock) -> Iterator[None]:
    """Another thread holds the lock meanwhile."""
    taken, done = threading.Event(), threading.Event()

    def hold() -> None:
        with lock.held():
            taken.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert taken.wait(patient(10))
        yield
    finally:
        done.set()
        thread.join()
