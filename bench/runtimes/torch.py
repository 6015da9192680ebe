"""PyTorch, on one thread, in inference mode: both memory formats, and oneDNN's fused operation."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from problem import Array, Problem
from torch.nn import functional

from . import Padding, Variant


def start() -> str:
    torch.set_num_threads(1)
    # Once for all calls, as a service does: entering it costs as much as a small layer.
    torch.inference_mode().__enter__()
    return f"PyTorch {torch.__version__}"


def prepare(problem: Problem) -> list[Variant]:
    """Contiguous and channels_last, each as `relu_(conv2d(x))` and as oneDNN's fused convolution.

    PyTorch has no padding that differs between the sides. Where that of 'same' differs (stride 2),
    it gets the symmetric padding that PyTorch's own networks have there: as many outputs and as
    much work, but other values. The reference is computed with the same padding.
    """
    formats = {"contiguous": torch.contiguous_format}
    if not problem.channels_first:
        formats["channels_last"] = torch.channels_last
    variants = []
    for name, memory_format in formats.items():
        for fused in (False, True):
            title = f"{name}, oneDNN fused" if fused else name
            variants.append(variant(title, problem, memory_format, fused))
    return variants


def variant(
    name: str, problem: Problem, memory_format: torch.memory_format, fused: bool
) -> Variant:
    shape = problem.shape
    padding = symmetric(problem)
    x = torch.from_numpy(problem.nchw).contiguous(memory_format=memory_format)
    kernel = torch.from_numpy(problem.grouped_kernel).contiguous(memory_format=memory_format)
    bias = torch.from_numpy(problem.bias)
    sizes = ([*padding], [*shape.strides], [*shape.dilation_rate], shape.channels)
    operation = (fused_operation if fused else plain_operation)(x, kernel, bias, *sizes)

    def result() -> Array:
        return np.asarray(operation().permute(0, 2, 3, 1))

    both: Padding = ((padding[0], padding[0]), (padding[1], padding[1]))
    return Variant(name, operation, result, None if both == shape.same_padding else both)


def symmetric(problem: Problem) -> tuple[int, int]:
    (_, bottom), (_, right) = problem.shape.same_padding
    return bottom, right


def plain_operation(
    x: Any, kernel: Any, bias: Any, padding: Any, stride: Any, dilation: Any, groups: int
) -> Callable[[], Any]:
    convolution = partial(functional.conv2d, x, kernel, bias, stride, padding, dilation, groups)
    return lambda: torch.relu_(convolution())


def fused_operation(
    x: Any, kernel: Any, bias: Any, padding: Any, stride: Any, dilation: Any, groups: int
) -> Callable[[], Any]:
    """What torch.compile makes of it when weights are frozen: reordered weights, ReLU fused."""
    packed = torch.ops.mkldnn._reorder_convolution_weight(
        kernel, padding, stride, dilation, groups, [*x.shape]
    )
    return partial(
        torch.ops.mkldnn._convolution_pointwise.default,
        *(x, packed, bias, padding, stride, dilation, groups, "relu", [], ""),
    )
