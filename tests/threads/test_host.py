"""A host that refuses threads for a while, and the CPUs that the threads may use."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT, patient, run_python
from support.compilers import find_compilers

linux = pytest.mark.skipif(sys.platform != "linux", reason="LD_PRELOAD and /proc are Linux's")

REFUSED = """
import ctypes, os, time
import numpy as np
import dwconv

library = ctypes.CDLL(None)
failing, attempts = (ctypes.c_int.in_dll(library, name) for name in ("failing", "attempts"))

def threads():
    return len(os.listdir("/proc/self/task"))

x = np.ones((1, 112, 112, 64), np.float32)
layer = dwconv.DepthwiseConv2D(3, padding="same")
expected = layer(x)
plan = layer.plan(x.shape, num_threads=4)
alone = threads()
assert plan.num_threads == plan.describe().num_threads == 4

failing.value = 1
CALLS = 300
began = time.monotonic()
for _ in range(CALLS):
    assert (plan(x) == expected).all()
assert threads() == alone
assert plan.num_threads == plan.describe().num_threads == 1
# One is tried each millisecond at most, however many calls fit in.
milliseconds = 1000 * (time.monotonic() - began)
assert 2 <= attempts.value <= milliseconds + 1, (attempts.value, milliseconds)

failing.value = 0
for _ in range(CALLS):
    assert (plan(x) == expected).all()
assert threads() == alone + 3
assert plan.num_threads == 4
"""


@linux
def test_threads_that_cannot_be_started_are_tried_again(tmp_path: Path) -> None:
    compilers = find_compilers()
    if not compilers or os.environ.get("LD_PRELOAD"):
        pytest.skip("no C compiler, or a sanitizer has threads already")
    library = tmp_path / "failing_threads.so"
    source = ROOT / "tests" / "c" / "failing_threads.c"
    command = [*shlex.split(compilers[0]), "-shared", "-fPIC", "-O1", str(source)]
    subprocess.run([*command, "-o", str(library), "-ldl"], check=True)
    done = run_python("-c", REFUSED, LD_PRELOAD=str(library))
    assert done.returncode == 0, done.stdout + done.stderr


CPUS = """
import os, sys, threading, time
import numpy as np
import dwconv

every = os.sched_getaffinity(0)
x = np.ones((1, 112, 112, 64), np.float32)
plan = dwconv.DepthwiseConv2D(3, padding="same").plan(x.shape, num_threads=2)
before = set(os.listdir("/proc/self/task"))

def pinned():
    before.add(str(threading.get_native_id()))  # a thread that was joined is listed for a moment
    os.sched_setaffinity(0, {min(every)})
    plan(x)

thread = threading.Thread(target=pinned)
thread.start()
thread.join()

def workers():
    mine = set(os.listdir("/proc/self/task")) - before
    return [os.sched_getaffinity(int(task)) for task in mine]

def settled(wanted, calls):
    # A worker keeps away from the CPU of the thread that wakes it until it is awake. On a busy
    # machine it may still have to fall asleep when the next call comes.
    limit = time.monotonic() + float(sys.argv[1])
    while workers() != wanted and time.monotonic() < limit:
        for _ in range(calls):
            plan(x)
        time.sleep(0.01)
    return workers() == wanted

assert settled([every], calls=0), workers()
# The process moves: a worker that wakes does, too.
os.sched_setaffinity(0, {max(every)})
assert settled([{max(every)}], calls=3), workers()
"""


@linux
def test_workers_may_use_the_cpus_of_the_process() -> None:
    """Not those of the thread that happened to call first."""
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("this process may use one CPU only")
    done = run_python("-c", CPUS, str(patient(10)))
    assert done.returncode == 0, done.stdout + done.stderr
