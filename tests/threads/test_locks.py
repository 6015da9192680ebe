"""Locks after a fork: another thread may have held them."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from collections.abc import Callable

import numpy as np
import pytest
from support.locking import held_by_another_thread, succeeds_in_a_child

import dwconv
from dwconv import naming, planning
from dwconv.locks import Lock
from dwconv.ops import kept_plans

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


def take(lock: Lock) -> None:
    with lock.held():
        pass


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of any fork with threads
def test_a_child_has_a_new_lock() -> None:
    lock, plain = Lock(), threading.Lock()
    with held_by_another_thread(lock):
        assert succeeds_in_a_child(lambda: take(lock))
        assert lock._lock.locked()  # the parent's is as it was
    assert not lock._lock.locked()
    with plain:  # the test can fail
        assert not succeeds_in_a_child(lambda: plain.acquire(timeout=0.1) or 1 / 0)


def test_the_thread_that_forks_releases_the_lock_that_it_took() -> None:
    """In both processes; the child's new lock remains free for others, and whole."""
    lock = Lock()

    def leave() -> None:
        context.__exit__(None, None, None)
        assert not lock._lock.locked()
        take(lock)

    def leave_while_it_is_held() -> None:
        with lock.held():
            context.__exit__(None, None, None)
            assert lock._lock.locked()

    context = lock.held()
    context.__enter__()
    assert succeeds_in_a_child(leave)
    assert succeeds_in_a_child(leave_while_it_is_held)
    assert lock._lock.locked()
    leave()


def test_an_error_releases_it() -> None:
    lock = Lock()
    with pytest.raises(ZeroDivisionError), lock.held():
        raise ZeroDivisionError
    take(lock)


def test_a_lock_lives_as_long_as_its_owner() -> None:
    gone = weakref.ref(Lock())
    gc.collect()
    assert gone() is None


LAYER = dwconv.DepthwiseConv2D(3, input_shape=(5, 6, 3))
LAYER.build()
PLANS = LAYER._weights.plans


def call_the_function() -> None:
    x, kernel = np.ones((1, 5, 6, 3), np.float32), np.ones((3, 3, 3, 1), np.float32)
    dwconv.depthwise_conv2d(x, kernel)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("lock", "work"),
    [
        (kept_plans._lock, call_the_function),
        (planning._lock, planning.all_known),
        (planning.measuring, lambda: take(planning.measuring)),
        (naming._lock, lambda: dwconv.DepthwiseConv2D(3)),
        (LAYER._lock, lambda: LAYER.set_weights(LAYER.get_weights())),
        (PLANS._lock, lambda: LAYER(np.ones((1, 5, 6, 3), np.float32))),
    ],
    ids=["kept plans", "known strategies", "measuring", "names", "a layer", "plans of a layer"],
)
def test_a_child_works_while_another_thread_of_its_parent_holds(
    lock: Lock, work: Callable[[], object]
) -> None:
    with held_by_another_thread(lock):
        assert succeeds_in_a_child(work)
