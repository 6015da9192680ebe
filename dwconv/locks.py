"""Locks that a forked child can take."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakSet


class Lock:
    """A lock for `with lock.held():`.

    A forked child has none of its parent's other threads, so one that held the lock would never
    release it there: in the child each lock is a new one.
    """

    __slots__ = ("__weakref__", "_lock")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        _all.add(self)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Holds the lock. A thread that forks meanwhile releases, in the child, the one it took."""
        with self._lock:  # looked up once
            yield


_all: WeakSet[Lock] = WeakSet()


def _after_fork_in_child() -> None:
    for lock in _all:
        lock._lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
