"""float16 and bfloat16 beside float32: microseconds per call of a layer's plan, and the ratio.

    python bench/half.py [isa ...]

One thread, `plan(x, out=y)`, the median of bursts in turns; relu6, since that is what follows such
layers. docs/explanation/half-precision.md has figures.
"""

from __future__ import annotations

import functools
import statistics
import sys
from typing import Any

import numpy as np
from turns import in_turns

import dwconv
from dwconv import dtypes

#: Height and width, channels, kernel size, stride: in L1, in L2, beyond it.
SHAPES = [
    (8, 16, 3, 1),
    (14, 512, 3, 1),
    (14, 512, 3, 2),
    (7, 1024, 3, 1),
    (28, 120, 5, 1),
    (28, 256, 3, 1),
    (56, 128, 3, 1),
    (112, 64, 3, 2),
    (112, 32, 3, 1),
]
DTYPES = ("float32", "float16", "bfloat16")
ROUNDS, SECONDS = 15, 0.002


def main() -> None:
    for isa in sys.argv[1:] or [dwconv.isa.default()]:
        print(f"{isa:20}" + "".join(f"{dtype:>18}" for dtype in DTYPES))
        for shape in SHAPES:
            size, channels, kernel, stride = shape
            row = times(shape, isa)
            cells = "".join(f"{t * 1e6:9.2f} us {t / row[0]:5.2f}" for t in row)
            print(f"{f'{size}x{size}x{channels} k{kernel} s{stride}':20} {cells}", flush=True)


def times(shape: tuple[int, int, int, int], isa: str) -> list[float]:
    """Seconds per call, for each dtype."""
    size, channels, kernel, stride = shape
    rng = np.random.default_rng(0)
    calls = {}
    for dtype in DTYPES:
        x = rng.standard_normal((1, size, size, channels)).astype(dtypes.named(dtype))
        layer = dwconv.DepthwiseConv2D(
            kernel, strides=stride, padding="same", activation="relu6", dtype=dtype
        )
        layer.build(x.shape)
        plan: Any = layer.plan(x.shape, isa=isa, num_threads=1)
        assert plan.is_kernel_only
        y = plan(x)
        calls[dtype] = functools.partial(plan, x, out=y)
    found = in_turns(calls, rounds=ROUNDS, burst=SECONDS)
    return [statistics.median(found[dtype]) for dtype in DTYPES]


if __name__ == "__main__":
    main()
