"""Milliseconds of forward and backward of one depthwise layer, here and in PyTorch, one thread.

    python bench/train.py [--seconds S] [--isa NAME] [--threads N]

float32, batch 8, 'same', bias, no activation. Ours: `y, pullback = layer.vjp(x)` and
`pullback(dy)`, all three gradients; PyTorch, if it is installed: Conv2d(groups=C) in channels_last
(oneDNN) and `autograd.grad` for input, weight and bias. Each gradient is checked against PyTorch's
before it is timed. The figures are medians of single calls. Both take turns, so that a change of
the clock frequency affects both.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from math import exp, log
from typing import Any

import numpy as np
from numpy.typing import NDArray

import dwconv
from dwconv import isa, ops
from dwconv.cli.info import cpu_name
from dwconv.ops import gradients

Array = NDArray[Any]

#: H, W, C, kernel size, stride
SHAPES = [(56, 56, 128, 3, 1), (28, 28, 256, 3, 1), (28, 28, 256, 3, 2), (14, 14, 672, 5, 2)]
BATCH = 8


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1.0, help="per shape")
    parser.add_argument("--isa", choices=isa.available(), default=isa.default())
    parser.add_argument("--threads", type=int, default=1, help="ours and PyTorch's")
    arguments = parser.parse_args()
    dwconv.config.set_num_threads(arguments.threads)
    try:
        import torch
    except ImportError:
        torch = None
    pinned = "not pinned"
    if hasattr(os, "sched_setaffinity"):
        cpus = sorted(os.sched_getaffinity(0))[-arguments.threads :]
        os.sched_setaffinity(0, cpus)
        pinned = f"pinned to {len(cpus)} CPU{'s' if len(cpus) > 1 else ''}"
    theirs = f"PyTorch {torch.__version__}" if torch else "no PyTorch"
    print(f"dwconv {dwconv.__version__}, {arguments.isa}, {cpu_name()}, {theirs}, {pinned}")
    count = f"{arguments.threads} thread{'s' if arguments.threads > 1 else ''}"
    print(f"float32, batch 8, same, bias, {count}: milliseconds, median")
    columns = ["forward", "dx", "dk, db", "all three", "vjp + pullback", "PyTorch", "times"]
    print(f"{'shape':<20}" + "".join(f"{column:>15}" for column in columns))
    ratios = []
    with_isa(arguments.isa)
    for shape in SHAPES:
        x, kernel, bias, dy, strides = arrays(shape)
        calls = parts(x, kernel, bias, dy, strides)
        calls["whole"] = step = whole(x, kernel, bias, dy, strides)
        if torch:
            calls["torch"] = their_step = with_torch(
                torch, arguments.threads, x, kernel, bias, dy, strides
            )
            compare(shape, step(), their_step())
        times = take_turns(calls, arguments.seconds)
        row = [times[name] for name in calls]
        if torch:
            row.append(times["torch"] / times["whole"])
            ratios.append(row[-1])
        height, width, channels, size, stride = shape
        label = f"{height}x{width}x{channels} k{size} s{stride}"
        print(f"{label:<20}" + "".join(f"{value:>15.3f}" for value in row), flush=True)
    if ratios:
        mean = exp(sum(map(log, ratios)) / len(ratios))
        print(f"geometric mean: {mean:.2f} times as fast as PyTorch")
    return 0


def with_isa(name: str) -> None:
    """Makes `name` the default of this process."""
    import os

    os.environ["DWCONV_ISA"] = name


def arrays(shape: tuple[int, ...]) -> tuple[Array, Array, Array, Array, int]:
    """x (N, H, W, C), kernel (kh, kw, C, 1), bias (C,), dy (N, OH, OW, C), the stride."""
    height, width, channels, size, stride = shape
    random = np.random.default_rng(0)

    def draw(*sizes: int) -> Array:
        return random.standard_normal(sizes, np.float32)

    out = (-(-height // stride), -(-width // stride))
    x, kernel = draw(BATCH, height, width, channels), draw(size, size, channels, 1)
    return x, kernel, draw(channels), draw(BATCH, *out, channels), stride


def parts(
    x: Array, kernel: Array, bias: Array, dy: Array, strides: int
) -> dict[str, Callable[[], Any]]:
    """Forward and each gradient alone, with existing plans and outputs."""
    spec = ops.ConvSpec.for_kernel(kernel.shape, strides, "same")
    forward = ops.make_plan(spec, x.shape, kernel, bias)
    backward = gradients.make_plan(spec, x.shape, x.dtype, kernel)
    y, dx = np.empty_like(dy), np.empty_like(x)
    dkernel, dbias = np.empty_like(kernel), np.empty_like(bias)
    return {
        "forward": lambda: forward(x, y),
        "dx": lambda: backward(dy, None, dx),
        "dk, db": lambda: backward(dy, x, None, dkernel, dbias),
        "all three": lambda: backward(dy, x, dx, dkernel, dbias),
    }


def whole(
    x: Array, kernel: Array, bias: Array, dy: Array, strides: int
) -> Callable[[], tuple[Array, ...]]:
    """Forward and backward of a layer."""
    layer = dwconv.DepthwiseConv2D(
        kernel.shape[:2],
        strides,
        "same",
        data_format="channels_last",
        weights=[kernel, bias],
    )
    layer.build(x.shape)

    def step() -> tuple[Array, ...]:
        y, pullback = layer.vjp(x)
        grads = pullback(dy)
        return y, grads.input, grads.kernel, grads.bias

    return step


def with_torch(
    torch: Any, threads: int, x: Array, kernel: Array, bias: Array, dy: Array, strides: int
) -> Callable[[], tuple[Array, ...]]:
    """The same in PyTorch. 'same' at stride 2 pads one side more, which its convolution cannot do.
    Then x is padded beforehand, which is not timed, and dx is that of the padded x.
    """
    torch.set_num_threads(threads)
    size, channels = kernel.shape[0], kernel.shape[2]
    total = max((dy.shape[1] - 1) * strides + size - x.shape[1], 0)
    pad = total // 2 if total % 2 == 0 else 0
    if total % 2:
        sides = (total // 2, total - total // 2)
        x = np.pad(x, ((0, 0), sides, sides, (0, 0)))

    def last(array: Array) -> Any:
        """A tensor (N, C, H, W) that lies in memory like the array (N, H, W, C)."""
        return torch.from_numpy(array.copy()).permute(0, 3, 1, 2)

    inputs = last(x).requires_grad_()
    weight = torch.from_numpy(kernel.transpose(2, 3, 0, 1).copy())
    weight = weight.to(memory_format=torch.channels_last).requires_grad_()
    offset = torch.from_numpy(bias.copy()).requires_grad_()
    upstream = last(dy)

    def step() -> tuple[Array, ...]:
        y = torch.nn.functional.conv2d(
            inputs, weight, offset, stride=strides, padding=pad, groups=channels
        )
        dx, dkernel, dbias = torch.autograd.grad(y, (inputs, weight, offset), upstream)
        dx = dx.permute(0, 2, 3, 1)
        if total % 2:
            end = total - total // 2
            dx = dx[:, total // 2 : -end, total // 2 : -end]
        y = y.detach().permute(0, 2, 3, 1)
        return y.numpy(), dx.numpy(), dkernel.permute(2, 3, 0, 1).numpy(), dbias.numpy()

    return step


def compare(shape: Any, ours: tuple[Array, ...], theirs: tuple[Array, ...]) -> None:
    """Ends the program if a result differs by more than sums of that length may in float32."""
    for name, mine, other in zip(("y", "dx", "dk", "db"), ours, theirs, strict=True):
        limit = 1e-5 * float(np.abs(mine).max()) * (1 if name in ("y", "dx") else 10)
        if mine.shape != other.shape or not np.abs(mine - other).max() <= limit:
            sys.exit(f"{shape}: {name} differs from PyTorch's; nothing was timed")


def take_turns(calls: dict[str, Callable[[], Any]], seconds: float) -> dict[str, float]:
    """The median milliseconds of each call; a third of the time warms up and does not count."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    warm, end = time.perf_counter() + seconds / 3, time.perf_counter() + seconds
    while (now := time.perf_counter()) < end or len(times["dx"]) < 5:
        for name, call in calls.items():
            call()  # its own arrays are in the cache then, as those of a training loop are
            start = time.perf_counter()
            call()
            taken = time.perf_counter() - start
            if now >= warm:
                times[name].append(taken * 1e3)
    return {name: statistics.median(found) for name, found in times.items()}


if __name__ == "__main__":
    sys.exit(main())
