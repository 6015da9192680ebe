"""CPython without a GIL: it stays off, and threads share layers. `make test-free-threaded`."""

from __future__ import annotations

import sys
import sysconfig
import threading

import numpy as np
import pytest
from support import assert_same_bits, run_python

import dwconv

pytestmark = pytest.mark.skipif(
    not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this Python has a GIL"
)

USE = """
import sys, numpy as np, dwconv
layer = dwconv.DepthwiseConv2D(3, padding="same", activation="gelu")
y, pullback = layer.vjp(np.ones((1, 8, 8, 4), np.float32))
pullback(y)
assert not sys._is_gil_enabled(), "something has switched the GIL on"
"""


def test_the_gil_stays_off() -> None:
    """An extension module that does not say it can do without switches it on, with a warning."""
    done = run_python("-W", "error", "-c", USE, PYTHON_GIL="")
    assert done.returncode == 0, done.stderr


def test_threads_call_a_layer_whose_weights_change() -> None:
    """Each result is that of one set of weights or of the other, never a mixture."""
    x = np.random.default_rng(0).standard_normal((1, 24, 24, 16), np.float32)
    layer = dwconv.DepthwiseConv2D(3, padding="same")
    layer(x)
    kernels = [np.full((3, 3, 16, 1), value, np.float32) for value in (0.5, 2.0)]
    bias = np.zeros(16, np.float32)
    expected = [dwconv.depthwise_conv2d(x, kernel, bias, padding="same") for kernel in kernels]
    layer.set_weights([kernels[0], bias])
    failures: list[str] = []
    stop = threading.Event()

    def call() -> None:
        while not stop.is_set():
            y = layer(x)
            if not any(np.array_equal(y, wanted) for wanted in expected):
                failures.append(f"{y[0, 0, 0, :4]}")

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for turn in range(200):
        layer.set_weights([kernels[turn % 2], bias])
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures, failures[:3]
    layer.set_weights([kernels[1], bias])
    assert_same_bits(layer(x), expected[1], "after the threads")
    assert not sys._is_gil_enabled()
