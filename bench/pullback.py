"""What an activation adds to a pullback: 56x56x128, 3x3, batch 1, in units of the linear one.

    python bench/pullback.py [--seconds S] [activation ...]

One thread, float32, all three gradients, in turns: the least and the median. bench/README.md has
figures.
"""

from __future__ import annotations

import argparse
import functools
import os
import statistics

import numpy as np
from turns import in_turns

import dwconv
from dwconv.cli.info import cpu_name

ACTIVATIONS = ("relu", "relu6", "hard_swish", "silu", "gelu", "sigmoid", "tanh", "elu", "gelu_tanh")
SHAPE = (1, 56, 56, 128)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("activations", nargs="*", default=ACTIVATIONS)
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-1:])
    rng = np.random.default_rng(0)
    x, dy = (rng.standard_normal(SHAPE, np.float32) for _ in range(2))
    calls = {}
    for name in ("linear", *arguments.activations):
        layer = dwconv.DepthwiseConv2D(
            3,
            padding="same",
            data_format="channels_last",
            activation=name,
            depthwise_initializer=dwconv.initializers.RandomNormal(stddev=0.3, seed=1),
            num_threads=1,
        )
        _, pullback = layer.vjp(x)
        calls[name] = functools.partial(pullback, dy)
    times = in_turns(calls, seconds=arguments.seconds, warm=1)
    least = {name: min(found) for name, found in times.items()}
    middle = {name: statistics.median(found) for name, found in times.items()}
    print(f"{cpu_name()}, {dwconv.isa.default()}: microseconds, times linear")
    for name in calls:
        print(
            f"{name:12} least {1e6 * least[name]:7.1f} {least[name] / least['linear']:5.2f}   "
            f"median {1e6 * middle[name]:7.1f} {middle[name] / middle['linear']:5.2f}"
        )


if __name__ == "__main__":
    main()
