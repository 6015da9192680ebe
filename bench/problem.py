"""One layer to time: shape, layout, input and weights, in a file that driver and workers share."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from shapes import Shape

Array = NDArray[Any]


@dataclass(frozen=True)
class Problem:
    """Padding 'same', bias and ReLU; batch 1."""

    shape: Shape
    channels_first: bool
    x: Array  #: (1, H, W, C), or (1, C, H, W) if channels_first
    kernel: Array  #: (kh, kw, C, M)
    bias: Array  #: (C*M,)

    @property
    def nhwc(self) -> Array:
        """The input as (1, H, W, C), contiguous."""
        return np.ascontiguousarray(np.moveaxis(self.x, 1, 3)) if self.channels_first else self.x

    @property
    def nchw(self) -> Array:
        """The input as (1, C, H, W), contiguous."""
        return self.x if self.channels_first else np.ascontiguousarray(np.moveaxis(self.x, 3, 1))

    @property
    def grouped_kernel(self) -> Array:
        """The kernel as (C*M, 1, kh, kw): that of a convolution of C groups, contiguous."""
        kh, kw, c, m = self.kernel.shape
        return np.ascontiguousarray(self.kernel.transpose(2, 3, 0, 1).reshape(c * m, 1, kh, kw))


def make(shape: Shape, dtype: str, channels_first: bool) -> Problem:
    """Normally distributed numbers, the same ones at each call."""
    random = np.random.default_rng(0)
    size = (shape.height, shape.width)
    x = random.standard_normal((1, *size, shape.channels)).astype(dtype)
    if channels_first:
        x = np.ascontiguousarray(np.moveaxis(x, 3, 1))
    kernel_shape = (*shape.kernel_size, shape.channels, shape.multiplier)
    kernel = random.standard_normal(kernel_shape).astype(dtype)
    bias = random.standard_normal(shape.channels * shape.multiplier).astype(dtype)
    return Problem(shape, channels_first, x, kernel, bias)


def write(problem: Problem, path: Path) -> None:
    """Writes the file that `read` reads."""
    what = json.dumps({"shape": asdict(problem.shape), "channels_first": problem.channels_first})
    np.savez(path, what=what, x=problem.x, kernel=problem.kernel, bias=problem.bias)


def read(path: Path) -> Problem:
    """The problem that `write` wrote. Its arrays are ordinary ones: wherever NumPy puts them."""
    with np.load(path) as file:
        what = json.loads(str(file["what"]))
        arrays = [file[name] for name in ("x", "kernel", "bias")]
    return Problem(Shape.from_json(what["shape"]), what["channels_first"], *arrays)
