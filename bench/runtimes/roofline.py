"""Not a runtime: the two bounds of roofline.c, measured in the same turns as the runtimes."""

from __future__ import annotations

import ctypes
import os
import statistics
import subprocess
import tempfile
import time
from functools import cache
from pathlib import Path

import numpy as np
from problem import Array, Problem

from . import Variant

SOURCE = Path(__file__).parents[1] / "roofline.c"
FLAGS = ["-std=gnu11", "-O3", "-ffp-contract=fast", "-fno-builtin", "-shared", "-fPIC"]


@cache
def library() -> ctypes.CDLL:
    """roofline.c, compiled with the compiler that $CC names, or cc."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "roofline.so"
        subprocess.run([os.environ.get("CC", "cc"), *FLAGS, SOURCE, "-o", path], check=True)
        loaded = ctypes.CDLL(str(path))
    size, pointer = ctypes.c_int64, ctypes.c_void_p
    loaded.roofline_fma.argtypes = [ctypes.c_int, pointer, size]
    loaded.roofline_copy.argtypes = [pointer, size, pointer, size, size, pointer, size]
    loaded.roofline_fma.restype = loaded.roofline_copy.restype = None
    return loaded


def start() -> str:
    return f"roofline.c with vectors of {library().roofline_width() * 8} bits"


def prepare(problem: Problem) -> list[Variant]:
    item = problem.x.itemsize
    x = aligned(problem.x.size * item, 0)
    # Not at the same place of a page as x: stores would seem to hit the loads that follow.
    y = aligned(int(np.prod(problem.shape.output)) * item, 2112)
    x[:] = 1

    def copy_samples(repeats: int, count: int) -> float:
        taken = np.empty(count)
        arguments = (x.ctypes.data, x.nbytes, y.ctypes.data, y.nbytes, repeats)
        library().roofline_copy(*arguments, taken.ctypes.data, count)
        return float(np.median(taken))

    def copy(seconds: float) -> float:
        end = time.perf_counter() + seconds / 4
        while time.perf_counter() < end:
            once = copy_samples(1, 5)
        repeats = max(1, round(20e-6 / once))
        samples = []
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            samples.append(copy_samples(repeats, 9))
        return statistics.median(samples)

    def fma(seconds: float) -> float:
        taken = np.empty(max(10, round(seconds / 10e-6)))
        library().roofline_fma(item, taken.ctypes.data, taken.size)
        return problem.shape.fmas * float(np.median(taken))

    def nothing() -> Array:
        return np.empty(0)

    return [
        Variant("copy", lambda: copy_samples(1, 1), nothing, timer=copy),
        Variant("fma", nothing, nothing, timer=fma),
    ]


def aligned(size: int, offset: int) -> Array:
    """`size` bytes that begin `offset` bytes after the begin of a page."""
    memory = np.zeros(size + 8192, np.uint8)
    begin = -memory.ctypes.data % 4096 + offset
    return memory[begin : begin + size]
