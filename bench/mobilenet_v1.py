"""Microseconds per call of MobileNet-V1's depthwise layers, per instruction set, through Python.

    python bench/mobilenet_v1.py [--seconds S] [--network NAME]

float32, batch 1, 'same', bias and ReLU; a plan run on NumPy arrays, the output array included: what
`layer(x)` does once it is built. Each shape is checked against the reference before it is timed.
One thread, pinned to one CPU where the operating system allows that.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from shapes import Shape, read

import dwconv
from dwconv import isa, ops
from dwconv.cli.info import cpu_name

Array = NDArray[Any]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="mobilenet_v1", help="a file in bench/shapes")
    parser.add_argument("--seconds", type=float, default=0.3, help="per shape and instruction set")
    arguments = parser.parse_args()
    pinned = pin()
    print(f"dwconv {dwconv.__version__}, {cpu_name()}, {isa.compiler()}, {pinned}")
    print("float32, batch 1, same, bias + ReLU: microseconds per call, median")
    names = isa.available()[::-1]
    print(f"{'shape':<24}" + "".join(f"{name:>12}" for name in names))
    for shape in read(arguments.network):
        row = [microseconds(shape, name, arguments.seconds) for name in names]
        print(f"{shape!s:<24}" + "".join(f"{value:>12.1f}" for value in row), flush=True)
    return 0


def pin() -> str:
    """Keeps this process on the last of its CPUs (the first often serves interrupts)."""
    if not hasattr(os, "sched_setaffinity"):
        return "not pinned"
    cpu = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cpu})
    return f"pinned to CPU {cpu}"


def microseconds(shape: Shape, name: str, seconds: float) -> float:
    """The median time of a call, after the result has been checked and the caches are warm."""
    random = np.random.default_rng(0)
    x = random.standard_normal((1, shape.height, shape.width, shape.channels), np.float32)
    kernel = random.standard_normal(
        (*shape.kernel_size, shape.channels, shape.multiplier), np.float32
    )
    bias = random.standard_normal(shape.channels * shape.multiplier, np.float32)
    plan = ops.plan(
        (1, *x.shape[1:]), kernel, bias, shape.strides, "same", shape.dilation_rate, "relu", name
    )
    check(shape, x, kernel, bias, plan(x, np.empty(plan.y_shape, np.float32)))
    dtype = np.dtype(np.float32)
    times: list[int] = []
    warm, end = time.perf_counter() + seconds / 3, time.perf_counter() + seconds
    while (now := time.perf_counter()) < end or len(times) < 5:
        start = time.perf_counter_ns()
        ops.run(plan, x, dtype=dtype)
        taken = time.perf_counter_ns() - start
        if now >= warm:
            times.append(taken)
    return statistics.median(times) / 1e3


def check(shape: Shape, x: Array, kernel: Array, bias: Array, y: Array) -> None:
    """Ends the program if y is further from the reference than (taps + 2) * eps allows."""
    options: Any = {
        "strides": shape.strides, "padding": "same", "dilation_rate": shape.dilation_rate
    }  # fmt: skip
    expected = dwconv.reference.depthwise_conv2d(x, kernel, bias, activation="relu", **options)
    bound = dwconv.reference.depthwise_conv2d(abs(x), abs(kernel), abs(bias), **options)
    bound *= (kernel.shape[0] * kernel.shape[1] + 2) * np.finfo(np.float32).eps
    if not (np.abs(y - expected) <= bound).all():
        sys.exit(f"{shape}: the result is wrong; nothing was timed")


if __name__ == "__main__":
    sys.exit(main())
