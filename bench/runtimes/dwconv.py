"""Ours: `layer(x)`, an ordinary array in, a new ordinary array out."""

from __future__ import annotations

from functools import partial

from problem import Problem

import dwconv
from dwconv import isa

from . import Variant


def start() -> str:
    return f"dwconv {dwconv.__version__} ({isa.default()}, {isa.compiler()})"


def prepare(problem: Problem) -> list[Variant]:
    shape = problem.shape
    layer = dwconv.DepthwiseConv2D(
        shape.kernel_size,
        shape.strides,
        "same",
        shape.multiplier,
        "channels_first" if problem.channels_first else "channels_last",
        dilation_rate=shape.dilation_rate,
        activation="relu",
        dtype=problem.x.dtype,
        weights=[problem.kernel, problem.bias],
    )
    x = problem.x

    def result() -> dwconv.ops.Array:
        y = layer(x)
        return y.transpose(0, 2, 3, 1) if problem.channels_first else y

    return [Variant("layer(x)", partial(layer, x), result)]
