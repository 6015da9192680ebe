"""From a layer of floats to one of int8: scales and zero points out of examples.

Weights are symmetric, a scale for each output channel; inputs and outputs have one scale and one
zero point each, from the smallest and the largest number that the examples lead to (Jacob et al.
2018, 'Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference').
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from ..ops.epilogue import Array
from ..ops.quantized import ACTIVATIONS
from .quantized_depthwise_conv2d import QuantizedDepthwiseConv2D

_LARGEST = 127  # of a weight: -128 has no counterpart
_LARGEST_BIAS = 2.0**30  # leaves room for the taps


def quantized_layer(
    layer: Any, calibration: ArrayLike | Iterable[ArrayLike], dtype: DTypeLike
) -> QuantizedDepthwiseConv2D:
    """What `DepthwiseConv2D.quantize` says."""
    kind = np.dtype(dtype)
    if kind not in (np.dtype(np.int8), np.dtype(np.uint8)):
        raise ValueError(f"dtype: expected int8 or uint8; received {kind}")
    if layer.data_format != "channels_last":
        raise ValueError(f"{layer.name}: expected channels_last; received {layer.data_format}")
    activation = layer.get_config()["activation"]
    if activation not in ACTIVATIONS:
        raise ValueError(
            f"{layer.name}: expected an activation of {list(ACTIVATIONS)}; received {activation!r}"
        )
    if not (hasattr(calibration, "shape") or isinstance(calibration, Iterable)):
        raise TypeError(
            "calibration: expected an array (N, H, W, C) or several of them; "
            f"received {type(calibration).__name__}"
        )
    examples: Any = [calibration] if hasattr(calibration, "shape") else calibration
    low, high = np.zeros(2), np.zeros(2)  # of x and y; 0 is a number that padding has
    seen = 0
    for example in examples:
        x = np.asarray(example)
        for i, array in enumerate((x, np.asarray(layer(x)))):
            if array.size == 0:
                continue
            seen += 1
            ends = float(array.min()), float(array.max())
            if not np.isfinite(ends).all():
                raise ValueError("calibration: expected finite numbers; received NaN or infinity")
            low[i], high[i] = min(low[i], ends[0]), max(high[i], ends[1])
    if seen == 0:
        raise ValueError("calibration: expected one array (N, H, W, C) at least; received none")
    x_scale, x_zero = affine(low[0], high[0], kind)
    y_scale, y_zero = affine(low[1], high[1], kind)
    kernel = np.asarray(layer.kernel, np.float64)
    bias = None if layer.bias is None else np.asarray(layer.bias, np.float64)
    kernel_scale = symmetric(kernel, bias, x_scale)
    shape = kernel.shape[2:]
    whole = np.rint(kernel / kernel_scale.astype(np.float64).reshape(shape))
    if bias is not None:
        bias = np.rint(bias / (float(x_scale) * kernel_scale.astype(np.float64)))
    return QuantizedDepthwiseConv2D(
        np.clip(whole, -_LARGEST, _LARGEST).astype(np.int8),
        None if bias is None else bias.astype(np.int32),
        x_scale=x_scale,
        x_zero_point=x_zero,
        kernel_scale=kernel_scale,
        y_scale=y_scale,
        y_zero_point=y_zero,
        strides=layer.strides,
        padding=layer.padding,
        dilation_rate=layer.dilation_rate,
        activation=activation,
        name=layer.name,
    )


def affine(low: float, high: float, dtype: np.dtype[Any]) -> tuple[np.float32, Any]:
    """(scale, zero point) for numbers from low <= 0 to high >= 0; 0 is one that bytes can say."""
    limits = np.iinfo(dtype)
    scale = np.float32((high - low) / 255)
    if not scale > np.finfo(np.float32).tiny:
        scale = np.float32(1)
    zero = limits.min + np.rint(-low / float(scale))
    return scale, dtype.type(int(np.clip(zero, limits.min, limits.max)))


def symmetric(kernel: Array, bias: Array | None, x_scale: np.float32) -> Array:
    """(C*M,) float32: a scale for each output channel, of kernel (kh, kw, C, M).

    Large enough for its bias as well, an int32 of x_scale * kernel_scale.
    """
    largest = np.abs(kernel).max(axis=(0, 1)).reshape(-1)
    needed = largest / _LARGEST
    if bias is not None:
        needed = np.maximum(needed, np.abs(bias) / _LARGEST_BIAS / float(x_scale))
    scale = needed.astype(np.float32)
    return np.where(scale > np.finfo(np.float32).tiny, scale, np.float32(1))
