"""How much faster several threads are, and what they cost between calls.

    python bench/threads.py [--threads 2] [--seconds 0.3]

Prints for each layer:

- microseconds per `plan(x, out=y)` with one thread (the mean over the CPUs) and with several, in
  turns: the medians of rounds;
- the median of the rounds' ratios;
- the highest possible ratio: CPUs of a virtual machine often differ in speed, and this is the ratio
  if each thread were as fast as one alone on its CPU;
- the CPU time that the process uses while it sleeps after the last burst of calls.

Run it while no other program uses the CPUs.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

import dwconv

#: Name, height, width, channels, kernel size.
LAYERS = (
    ("112x112x32 3x3", 112, 112, 32, 3),
    ("56x56x128 3x3", 56, 56, 128, 3),
    ("28x28x256 3x3", 28, 28, 256, 3),
    ("14x14x512 3x3", 14, 14, 512, 3),
    ("7x7x1024 3x3", 7, 7, 1024, 3),
    ("56x56x96 7x7", 56, 56, 96, 7),
)
ROUNDS = 15
TICK, PAUSE = 0.02, 0.2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=0.3, help="for each time")
    chosen = parser.parse_args()
    print(
        f"{'layer':16} {'':14} {'1 thread':>9} {chosen.threads:>2} threads  ratio  of at most"
        "  idle CPU"
    )
    for data_format in ("channels_last", "channels_first"):
        for name, *sizes, kernel in LAYERS:
            one, more, ratio, most, idle = measure(
                sizes, kernel, data_format, chosen.threads, chosen.seconds
            )
            print(
                f"{name:16} {data_format:14} {one * 1e6:6.1f} us {more * 1e6:7.1f} us "
                f"{ratio:6.2f} {most:11.2f} {idle * 1e3:6.2f} ms",
                flush=True,
            )


def measure(
    sizes: list[int], kernel: int, data_format: str, threads: int, seconds: float
) -> tuple[float, float, float, float, float]:
    """Seconds per call with one thread, with several; their ratio, and what it could be at most;
    seconds of CPU in a pause.
    """
    height, width, channels = sizes
    layer = dwconv.DepthwiseConv2D(
        kernel, padding="same", activation="relu", data_format=data_format
    )
    shape = (1, height, width, channels)
    if data_format == "channels_first":
        shape = (1, channels, height, width)
    x = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    y = layer(x)  # placed where the kernel writes fastest
    single, several = (layer.plan(shape, num_threads=count) for count in (1, threads))
    cpus = sorted(os.sched_getaffinity(0))[:threads]
    calls = [max(1, int(seconds / ROUNDS / burst(plan, x, y, 100))) for plan in (single, several)]
    ones, mores = [], []
    for _ in range(ROUNDS):
        each = []
        for cpu in cpus:
            with pinned({cpu}):
                each.append(burst(single, x, y, calls[0] // len(cpus) + 1))
        ones.append(each)
        with pinned(set(cpus)):
            burst(several, x, y, 20)
            mores.append(burst(several, x, y, calls[1]))
    time.sleep(TICK)  # the CPU time of other threads is counted at the next tick
    before = time.process_time()
    time.sleep(PAUSE)
    idle = time.process_time() - before
    means = [statistics.mean(each) for each in ones]
    ratio = statistics.median(one / more for one, more in zip(means, mores, strict=True))
    most = statistics.median(sum(each) / max(each) for each in ones)
    return statistics.median(means), statistics.median(mores), ratio, most, idle


@contextmanager
def pinned(cpus: set[int]) -> Iterator[None]:
    """Runs its body on these CPUs."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    yield
    os.sched_setaffinity(0, before)


def burst(plan: dwconv.ops.Plan, x: np.ndarray, y: np.ndarray, calls: int) -> float:
    """Seconds per call."""
    begin = time.perf_counter()
    for _ in range(calls):
        plan(x, out=y)
    return (time.perf_counter() - begin) / calls


if __name__ == "__main__":
    main()
