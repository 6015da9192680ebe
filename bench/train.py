"""Milliseconds of forward and backward of one depthwise layer, here and in PyTorch.

    python bench/train.py [--activation NAME] [--batch N] [--compile] [--threads N]
                          [--seconds S] [--isa NAME]

float32, 'same', bias and an activation or none. Ours: `y, pullback = layer.vjp(x)` and
`pullback(dy)`, all three gradients; PyTorch, if it is installed: Conv2d(groups=C) in channels_last
(oneDNN), its function for the activation, and `autograd.grad` for input, weight and bias; with
--compile also what torch.compile makes of both. 'no vjp' is how many times as long the faster of
these takes as our forward pass and all three gradients with existing plans. Each gradient is
checked against PyTorch's before it is timed. The figures are medians of single calls. All take
turns, so that a change of the clock frequency affects all.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Callable
from math import exp, log
from typing import Any

import numpy as np
from numpy.typing import NDArray
from turns import in_turns

import dwconv
from dwconv import activations, isa, ops
from dwconv.cli.info import cpu_name
from dwconv.ops import gradients

Array = NDArray[Any]

#: H, W, C, kernel size, stride
SHAPES = [(56, 56, 128, 3, 1), (28, 28, 256, 3, 1), (28, 28, 256, 3, 2), (14, 14, 672, 5, 2)]

#: Activation -> its function in torch.nn.functional.
ACTIVATIONS = {
    "linear": None,
    **{name: name for name in ("relu", "relu6", "silu", "gelu")},
    "hard_swish": "hardswish",
}
KINKS = ("relu", "relu6", "hard_swish")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1.0, help="per shape")
    parser.add_argument("--isa", choices=isa.available(), default=isa.default())
    parser.add_argument("--activation", choices=ACTIVATIONS, default="linear")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--compile", action="store_true", help="by torch.compile, too")
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
    version = f"PyTorch {torch.__version__}" if torch else "no PyTorch"
    print(f"dwconv {dwconv.__version__}, {arguments.isa}, {cpu_name()}, {version}, {pinned}")
    count = f"{arguments.threads} thread{'s' if arguments.threads > 1 else ''}"
    print(
        f"float32, batch {arguments.batch}, same, bias, {arguments.activation}, {count}: "
        "milliseconds, median"
    )
    columns = ["forward", "dx", "dk, db", "all three", "vjp + pullback", "PyTorch", "times"]
    columns += ["torch.compile", "times"] * arguments.compile + ["no vjp"]
    print(f"{'shape':<20}" + "".join(f"{column:>15}" for column in columns))
    ratios: dict[str, list[float]] = {}
    with_isa(arguments.isa)
    for shape in SHAPES:
        x, kernel, bias, dy, strides = arrays(shape, arguments.batch)
        calls = parts(x, kernel, bias, dy, strides, arguments.activation)
        calls["whole"] = step = whole(x, kernel, bias, dy, strides, arguments.activation)
        theirs = dict.fromkeys(("PyTorch", "torch.compile")[: 1 + arguments.compile] * bool(torch))
        for name in theirs:
            calls[name] = their_step = with_torch(
                torch,
                arguments.threads,
                *(x, kernel, bias, dy, strides),
                ACTIVATIONS[arguments.activation],
                name == "torch.compile",
            )
            compare(shape, arguments.activation in KINKS, step(), their_step())
        times = take_turns(calls, arguments.seconds)
        row = [times[name] for name in calls if name not in theirs]
        found = {name: times[name] / times["whole"] for name in theirs}
        for name, ratio in found.items():
            row += [times[name], ratio]
        if found:
            best = min(times[name] for name in theirs)
            found["the faster one"] = best / times["whole"]
            found["the faster one, without vjp,"] = best / (times["forward"] + times["all three"])
            row.append(found["the faster one, without vjp,"])
        for name, ratio in found.items():
            ratios.setdefault(name, []).append(ratio)
        height, width, channels, size, stride = shape
        label = f"{height}x{width}x{channels} k{size} s{stride}"
        print(f"{label:<20}" + "".join(f"{value:>15.3f}" for value in row), flush=True)
    for name, of_shapes in ratios.items():
        mean = exp(sum(map(log, of_shapes)) / len(of_shapes))
        print(f"geometric mean: {name} takes {mean:.2f} times as long")
    return 0


def with_isa(name: str) -> None:
    """Makes `name` the default of this process."""
    import os

    os.environ["DWCONV_ISA"] = name


def arrays(shape: tuple[int, ...], batch: int) -> tuple[Array, Array, Array, Array, int]:
    """x (N, H, W, C), kernel (kh, kw, C, 1), bias (C,), dy (N, OH, OW, C), the stride."""
    height, width, channels, size, stride = shape
    random = np.random.default_rng(0)

    def draw(*sizes: int) -> Array:
        return random.standard_normal(sizes, np.float32)

    out = (-(-height // stride), -(-width // stride))
    x, kernel = draw(batch, height, width, channels), draw(size, size, channels, 1)
    return x, kernel, draw(channels), draw(batch, *out, channels), stride


def parts(
    x: Array, kernel: Array, bias: Array, dy: Array, strides: int, activation: str
) -> dict[str, Callable[[], Any]]:
    """Forward and each gradient alone, with existing plans and outputs."""
    spec = ops.ConvSpec.for_kernel(kernel.shape, strides, "same")
    fused, _ = ops.split_activation(activations.get(activation), x.dtype)
    forward = ops.make_plan(spec, x.shape, kernel, bias, fused)
    backward = gradients.make_plan(spec, x.shape, x.dtype, kernel, fused=fused, bias=bias)
    y, dx = np.empty_like(dy), np.empty_like(x)
    dkernel, dbias = np.empty_like(kernel), np.empty_like(bias)
    return {
        "forward": lambda: forward(x, y),
        "dx": lambda: backward(dy, x, dx),
        "dk, db": lambda: backward(dy, x, None, dkernel, dbias),
        "all three": lambda: backward(dy, x, dx, dkernel, dbias),
    }


def whole(
    x: Array, kernel: Array, bias: Array, dy: Array, strides: int, activation: str
) -> Callable[[], tuple[Array, ...]]:
    """Forward and backward of a layer."""
    layer = dwconv.DepthwiseConv2D(
        kernel.shape[:2],
        strides,
        "same",
        data_format="channels_last",
        activation=activation,
        weights=[kernel, bias],
    )
    layer.build(x.shape)

    def step() -> tuple[Array, ...]:
        y, pullback = layer.vjp(x)
        grads = pullback(dy)
        return y, grads.input, grads.kernel, grads.bias

    return step


def with_torch(
    torch: Any,
    threads: int,
    x: Array,
    kernel: Array,
    bias: Array,
    dy: Array,
    strides: int,
    activation: str | None,
    compiled: bool,
) -> Callable[[], tuple[Array, ...]]:
    """The same in PyTorch, or what torch.compile makes of it.

    'same' at stride 2 pads one side more, which its convolution cannot do. Then x is padded
    beforehand, which is not timed, and dx is that of the padded x.
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

    def forward(x: Any, weight: Any, offset: Any) -> Any:
        y = torch.nn.functional.conv2d(
            x, weight, offset, stride=strides, padding=pad, groups=channels
        )
        return y if activation is None else getattr(torch.nn.functional, activation)(y)

    run = compile_forward(torch, forward) if compiled else forward

    def step() -> tuple[Array, ...]:
        y = run(inputs, weight, offset)
        dx, dkernel, dbias = torch.autograd.grad(y, (inputs, weight, offset), upstream)
        dx = dx.permute(0, 2, 3, 1)
        if total % 2:
            end = total - total // 2
            dx = dx[:, total // 2 : -end, total // 2 : -end]
        y = y.detach().permute(0, 2, 3, 1)
        return y.numpy(), dx.numpy(), dkernel.permute(2, 3, 0, 1).numpy(), dbias.numpy()

    return step


def compile_forward(torch: Any, forward: Callable[..., Any]) -> Callable[..., Any]:
    """What torch.compile makes of it, with channels_last kept, which it otherwise converts: PyTorch
    2.13 takes 2 to 5 times as long then.
    """
    import torch._inductor.config as inductor

    inductor.force_layout_optimization = True
    compiled: Callable[..., Any] = torch.compile(forward)
    return compiled


def compare(shape: Any, kinks: bool, ours: tuple[Array, ...], theirs: tuple[Array, ...]) -> None:
    """Ends the program if results differ by more than sums of that length may in float32.

    At a kink of the activation few sums lie on different sides: of y and dx one element of a
    hundred thousand may differ, and those of the weights by some of their terms.
    """
    for name, mine, other in zip(("y", "dx", "dk", "db"), ours, theirs, strict=True):
        of_weights = name in ("dk", "db")
        limit = (0.1 if kinks else 1e-4) if of_weights else 1e-5
        close = np.abs(mine - other) <= limit * float(np.abs(mine).max())
        fewest = 1 if of_weights or not kinks else 1 - 1e-5
        if mine.shape != other.shape or not np.mean(close) >= fewest:
            sys.exit(f"{shape}: {name} differs from PyTorch's; nothing was timed")


def take_turns(calls: dict[str, Callable[[], Any]], seconds: float) -> dict[str, float]:
    """The median milliseconds of each call; the first third of the rounds does not count."""
    times = in_turns(calls, seconds=seconds, warm=1)
    return {
        name: 1e3 * statistics.median(found[len(found) // 3 :]) for name, found in times.items()
    }


if __name__ == "__main__":
    sys.exit(main())
