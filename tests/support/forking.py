"""Scripts of test_fork.py, each a process of its own: `python forking.py NAME`; and the WSGI
application `app`.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

import dwconv
from support import patient

SHAPE = (1, 56, 56, 64)
SECONDS = math.ceil(patient(60))  # a hanging process is killed after that

rng = np.random.default_rng(0)
kernel, bias, x = (rng.standard_normal(s, np.float32) for s in ((3, 3, 64, 1), (64,), SHAPE))
layer = dwconv.DepthwiseConv2D(3, padding="same", activation="gelu", weights=[kernel, bias])
layer.num_threads = 3
expected = layer(x, num_threads=1)


def works(_: Any = None) -> bool:
    """Whether this process computes the same with threads, several times, and has used some."""
    signal.alarm(SECONDS)
    same = all(np.array_equal(layer(x), expected) for _ in range(20))
    signal.alarm(0)
    tasks = Path("/proc/self/task")  # one for each thread, on Linux
    return same and (not tasks.exists() or len(list(tasks.iterdir())) >= 3)


def child() -> int:
    """A forked child's exit status: 0 if it works, and a child of its own."""
    child = os.fork()
    if child == 0:
        os._exit(0 if works() and fork_again() == 0 else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def fork_again() -> int:
    child = os.fork()
    if child == 0:
        os._exit(0 if works() else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def fork() -> None:
    """After use in the parent with threads; then the parent goes on."""
    assert works()
    for _ in range(3):
        assert child() == 0
        assert works()


def fork_during_calls() -> None:
    """While two other threads are in the middle of calls most of the time."""
    done = threading.Event()

    def call() -> None:
        while not done.is_set():
            assert np.array_equal(layer(x), expected)

    callers = [threading.Thread(target=call) for _ in range(2)]
    for caller in callers:
        caller.start()
    try:
        for _ in range(20):
            assert fork_again() == 0
    finally:
        done.set()
    for caller in callers:
        caller.join()
    assert works()


def pool(method: str) -> None:
    """multiprocessing's processes, each of which gets the layer in its own way."""
    assert works()
    with multiprocessing.get_context(method).Pool(2) as processes:
        assert all(processes.map(works, range(6)))
    assert works()


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """POST an array of SHAPE, get the layer's output; the process id is in a header."""
    received = np.frombuffer(environ["wsgi.input"].read(x.nbytes), "f").reshape(SHAPE)
    body = layer(received).tobytes()
    start_response("200 OK", [("Content-Length", str(len(body))), ("X-Process", str(os.getpid()))])
    return [body]


if __name__ == "__main__":
    signal.alarm(2 * SECONDS)
    name, *arguments = sys.argv[1:]
    globals()[name](*arguments)
    print("done")
elif "gunicorn" in sys.modules:  # with --preload: threads are there before the fork
    layer(x)
