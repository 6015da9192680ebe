"""No memory: wherever an allocation fails, there is a MemoryError, nothing is leaked, and the next
call works.

Run in processes of their own. The allocations of C are made to fail by a library that is loaded
before all others, tests/c/failing_malloc.c; test_nomem.c does the same to the core alone. Those of
Python fail by CPython's own means.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import run_python
from support.compilers import find_compilers

#: Ways to compute, each with all that they allocate by themselves.
ACTIONS = """
import ctypes, gc
import numpy as np
import dwconv
from dwconv import _core

x = np.ones((1, 24, 20, 40), "f4")
w = np.ones((3, 3, 40, 1), "f4")
first = np.ones((1, 40, 24, 20), "f4")
layer = dwconv.DepthwiseConv2D(3, weights=[w], use_bias=False, padding="same")
layer(x)
plan = layer.plan(x.shape)
y = layer(x).copy()
small = layer.quantize(x)
bytes_of_x = small.quantize_input(x)
small(bytes_of_x)
scales = {
    name: getattr(small, name)
    for name in ("x_scale", "x_zero_point", "kernel_scale", "y_scale", "y_zero_point")
}
of_half = dwconv.DepthwiseConv2D(3, weights=[w], use_bias=False, padding="same", dtype="float16")
halves = x.astype("f2")
y_of_bytes, y_of_halves = small(bytes_of_x).copy(), of_half(halves).copy()
gelu = dwconv.DepthwiseConv2D(3, weights=[w], use_bias=False, dtype="float16", activation="gelu")
gelu(halves)  # casts around float32

def new_quantized_plan():
    small._plans.clear()
    small(bytes_of_x)

def new_half_plan():
    of_half.set_weights([w])
    of_half(halves)

def new_plan():
    layer.set_weights([w])  # drops the plans
    layer(x)

def new_weights():
    new_plan()  # of which the geometry is kept
    new_plan()

def backwards():
    _, pullback = layer.vjp(x)
    pullback(y)

actions = {
    "a call": lambda: layer(x),
    "a plan's call": lambda: plan(x),
    "a new plan and its call": new_plan,
    "new weights in a kept geometry": new_weights,
    "the operation": lambda: dwconv.depthwise_conv2d(x, w, padding="same"),
    "channels first": lambda: dwconv.depthwise_conv2d(first, w, data_format="channels_first"),
    "gradients": backwards,
    "another dtype": lambda: layer(x.astype("f8")),
    "a quantized call": lambda: small(bytes_of_x),
    "a new quantized plan and its call": new_quantized_plan,
    "the quantized operation": lambda: dwconv.quantized_depthwise_conv2d(
        bytes_of_x, small.kernel, **scales, padding="same"
    ),
    "a call in float16": lambda: of_half(halves),
    "a new plan in float16 and its call": new_half_plan,
    "a call in float16 that casts": lambda: gelu(halves),
}
for action in actions.values():
    action()

def settle():
    gc.collect()
    dwconv.trim_memory()
    dwconv.config.forget_plans()
    layer._weights.plans._backward.clear()  # what pullbacks keep with the layer
"""

FAILING_C = """
library = ctypes.CDLL(None)
library.count.restype = library.alive.restype = ctypes.c_long
library.fail_at.argtypes = [ctypes.c_long]
assert library.watch(_core.__file__.encode())
for name, action in actions.items():
    failed = 0
    for number in range(1, 1000):
        settle()
        alive = library.alive()
        library.fail_at(number)
        try:
            action()
        except MemoryError:
            failed += 1
        done = library.count() < number  # none was left to fail
        library.fail_at(0)
        settle()
        # A plan that was made meanwhile replaces one that was there, so this is a balance for all.
        grown = library.alive() - alive
        if not name.startswith(("a new", "new", "the operation")):
            assert grown == 0, (name, number, grown)
        assert (layer(x) == y).all()
        assert (small(bytes_of_x) == y_of_bytes).all() and (of_half(halves) == y_of_halves).all()
        if done:
            break
    assert failed == number - 1, (name, failed, number)
    print(name, failed)
# What all of that left behind: nothing, once the layer has a plan as before.
settle()
before = library.alive()
for _ in range(3):
    for number in range(1, 12):
        library.fail_at(number)
        try:
            new_plan()
        except MemoryError:
            pass
        library.fail_at(0)
    new_plan()
    settle()
    assert library.alive() == before, library.alive() - before
"""

FAILING_PYTHON = """
import _testcapi, os, traceback

def is_another(error):
    # CPython says so of a lock; NumPy 2.4 has reductions and an nditer without an exception.
    last = traceback.extract_tb(error.__traceback__)[-1].filename
    numpys = isinstance(error, SystemError) and os.path.dirname(np.__file__) in last
    return not numpys and str(error) != "can't allocate lock"

for name, action in actions.items():
    failed = 0
    action()
    idle = dwconv.config.idle_memory()  # of the outputs, all of which are gone
    for number in range(400):
        error = None
        _testcapi.set_nomemory(number, number + 1)
        try:
            action()
        except MemoryError:
            failed += 1
        except BaseException as other:
            error = other
        finally:
            _testcapi.remove_mem_hooks()
        assert error is None or not is_another(error), (name, number, error)
        assert (layer(x) == y).all()
        assert (small(bytes_of_x) == y_of_bytes).all() and (of_half(halves) == y_of_halves).all()
    if name in ("a call", "a plan's call"):
        assert dwconv.config.idle_memory() == idle, name
    print(name, failed)
    assert failed > 0, name
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs LD_PRELOAD")
def test_allocations_of_c(tmp_path: Path) -> None:
    compilers = find_compilers()
    if not compilers or os.environ.get("LD_PRELOAD"):
        pytest.skip("no C compiler, or a sanitizer has malloc already")
    library = tmp_path / "failing_malloc.so"
    source = Path(__file__).parents[1] / "c" / "failing_malloc.c"
    command = [*compilers[0].split(), "-shared", "-fPIC", "-O1", str(source), "-o", str(library)]
    subprocess.run([*command, "-ldl"], check=True)
    done = run_python("-c", ACTIONS + FAILING_C, LD_PRELOAD=str(library))
    assert done.returncode == 0, done.stdout + done.stderr
    found = dict(line.rsplit(" ", 1) for line in done.stdout.splitlines())
    assert int(found["a call"]) == 1  # the output
    assert int(found["a new plan and its call"]) >= 5  # plan, blocks, weights, geometry, output
    assert int(found["new weights in a kept geometry"]) >= 7  # and plan, weights
    assert int(found["a new quantized plan and its call"]) >= 2  # the plan with its blocks, output
    assert int(found["a new plan in float16 and its call"]) >= 5  # as of float32
    assert all(int(number) >= 1 for number in found.values()), found


def test_allocations_of_python() -> None:
    pytest.importorskip("_testcapi")
    done = run_python("-c", ACTIONS + FAILING_PYTHON)
    assert done.returncode == 0, done.stdout + done.stderr
