"""Whether the time of a call depends on its data: denormal inputs and weights, NaN, infinities.

    python bench/denormals.py

Prints microseconds per `plan(x, out=y)`, the median of bursts in turns, and the ratio to the time
with ordinary numbers: once with dwconv's default, once with IEEE's denormal numbers.
"""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np
from threads import burst

import dwconv

SHAPE = (1, 28, 28, 256)
ROUNDS, CALLS = 21, 100


def main() -> None:
    print(f"{'float32 28x28x256 3x3':24}" + "".join(f"{kind:>18}" for kind in kinds()))
    for mode in ("flush", "ieee"):
        dwconv.config.set_denormals(mode)
        for isa in ("default", "portable"):
            row = times(None if isa == "default" else isa, 1 if isa == "portable" else CALLS)
            cells = "".join(f"{t * 1e6:9.1f} us {t / row[0]:4.2f} " for t in row)
            print(f"{mode + ', ' + isa:24} {cells}", flush=True)


def kinds() -> list[str]:
    return ["ordinary", "denormal x", "denormal weights", "denormal results", "NaN", "infinities"]


def problem(kind: str) -> tuple[Any, Any]:
    """x and kernel."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal(SHAPE, np.float32)
    kernel = rng.standard_normal((3, 3, SHAPE[3], 1), np.float32)
    small = np.float32(2.0**-130)
    if kind == "denormal x":
        x *= small
    if kind == "denormal weights":
        kernel *= small
    if kind == "denormal results":
        x, kernel = x * np.float32(2.0**-66), kernel * np.float32(2.0**-66)
    if kind in ("NaN", "infinities"):
        x[:] = np.nan if kind == "NaN" else np.inf
    return x, kernel


def times(isa: str | None, calls: int) -> list[float]:
    """Seconds per call, for each kind."""
    jobs = []
    for kind in kinds():
        x, kernel = problem(kind)
        layer = dwconv.DepthwiseConv2D(
            3, padding="same", weights=[kernel, np.zeros(SHAPE[3], np.float32)]
        )
        plan = layer.plan(SHAPE, isa=isa)
        jobs.append((plan, x, plan(x)))
    rounds = []
    for _ in range(ROUNDS):
        row = []
        for plan, x, y in jobs:
            row.append(burst(plan, x, y, calls))
        rounds.append(row)
    return [statistics.median(column) for column in zip(*rounds, strict=True)]


if __name__ == "__main__":
    main()
