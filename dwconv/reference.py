"""Depthwise convolution in a few lines of NumPy, in float64: the yardstick for the fast one.

Written to be read and shared with nothing: it has its own padding arithmetic and its own checks, so
a mistake elsewhere is not repeated here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def depthwise_conv2d(
    x: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    strides: int | tuple[int, int] = 1,
    padding: Any = "valid",
    dilation_rate: int | tuple[int, int] = 1,
    data_format: str = "channels_last",
    activation: str | Callable[[NDArray[np.float64]], Any] | None = None,
) -> NDArray[np.float64]:
    """Depthwise convolution as Keras defines it, computed in float64 and returned as float64.

    y[n, oh, ow, c*M + m] = bias[c*M + m]
        + sum over ki, kj of
          x[n, oh*sh - top + ki*dh, ow*sw - left + kj*dw, c] * kernel[ki, kj, c, m]

    over the taps that lie inside x: a tap in the padding adds nothing, even if its weight is NaN or
    infinite. (That is cross-correlation, as in every neural network library: the kernel is not
    flipped.)

    Args:
        x: (N, H, W, C), or (N, C, H, W) if data_format is 'channels_first'; any real dtype.
        kernel: (kh, kw, C, M).
        bias: (C*M,), or None for zeros.
        strides: an int or (sh, sw), in pixels.
        padding: 'valid', 'same' (TensorFlow's: an odd pixel goes to the bottom, to the right) or
            ((top, bottom), (left, right)), in pixels.
        dilation_rate: an int or (dh, dw), in pixels.
        data_format: 'channels_last' or 'channels_first'.
        activation: None or 'linear', 'relu', 'relu6', or a function of the output array.

    Returns:
        (N, OH, OW, C*M), or (N, C*M, OH, OW) if channels_first, float64.

    Raises:
        ValueError: shapes that do not fit together, an unknown name, an empty output.

    Example:
        >>> depthwise_conv2d(np.ones((1, 2, 2, 1)), np.ones((2, 2, 1, 1)))
        array([[[[4.]]]])
    """
    x, kernel = np.asarray(x, np.float64), np.asarray(kernel, np.float64)
    if x.ndim != 4 or kernel.ndim != 4:
        raise ValueError(
            f"expected x and kernel of rank 4; received shapes {x.shape} and {kernel.shape}"
        )
    channels_first = (
        _one_of("data_format", data_format, ("channels_last", "channels_first")) == "channels_first"
    )
    if channels_first:
        x = x.transpose(0, 2, 3, 1)
    count, height, width, channels = x.shape
    kernel_h, kernel_w, kernel_channels, multiplier = kernel.shape
    if channels != kernel_channels or 0 in x.shape[1:] or 0 in kernel.shape:
        raise ValueError(
            f"expected as many channels in both, no size 0; received {x.shape} and {kernel.shape}"
        )
    stride_h, stride_w = _two("strides", strides)
    dilation_h, dilation_w = _two("dilation_rate", dilation_rate)
    if isinstance(padding, str):
        padding = _one_of("padding", padding, ("valid", "same"))
    vertical, horizontal = (padding, padding) if isinstance(padding, str) else padding

    row_of_tap, row_inside = _taps(height, kernel_h, stride_h, dilation_h, vertical)
    column_of_tap, column_inside = _taps(width, kernel_w, stride_w, dilation_w, horizontal)
    sums = np.zeros((count, row_of_tap.shape[1], column_of_tap.shape[1], channels, multiplier))
    if bias is not None:
        bias = np.asarray(bias, np.float64)
        if bias.shape != (channels * multiplier,):
            raise ValueError(
                f"expected a bias of shape ({channels * multiplier},); received {bias.shape}"
            )
        sums += bias.reshape(channels, multiplier)
    with np.errstate(invalid="ignore", over="ignore"):
        for ki in range(kernel_h):
            for kj in range(kernel_w):
                to = np.ix_(row_inside[ki], column_inside[kj])
                taken = np.ix_(row_of_tap[ki][row_inside[ki]], column_of_tap[kj][column_inside[kj]])
                for n in range(count):
                    sums[n][to] += x[n][taken][..., np.newaxis] * kernel[ki, kj]

    y = sums.reshape(*sums.shape[:3], channels * multiplier)
    if channels_first:
        y = y.transpose(0, 3, 1, 2)
    return _activate(np.ascontiguousarray(y), activation)


def _taps(
    size: int, kernel: int, stride: int, dilation: int, padding: str | tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Of one dimension, for each (tap, output): the position in x; whether that lies inside x."""
    last_tap = (kernel - 1) * dilation
    if padding == "same":
        out = (size + stride - 1) // stride
        missing = max(0, (out - 1) * stride + last_tap + 1 - size)
        before = missing // 2
    else:
        before, after = (0, 0) if isinstance(padding, str) else padding
        if before < 0 or after < 0:
            raise ValueError(f"padding: expected no negative number; received {padding!r}")
        out = (before + size + after - last_tap - 1) // stride + 1
    if out < 1:
        raise ValueError(
            f"expected a padded input that holds the dilated kernel; received {size} for {kernel}"
        )
    position = np.arange(out) * stride - before + np.arange(kernel)[:, np.newaxis] * dilation
    return position, (position >= 0) & (position < size)


def _two(name: str, value: Any) -> tuple[int, int]:
    first, second = (value, value) if np.ndim(value) == 0 else value
    if first < 1 or second < 1:
        raise ValueError(f"{name}: expected positive integers; received {value!r}")
    return int(first), int(second)


def _one_of(name: str, value: str, choices: tuple[str, ...]) -> str:
    if value.lower() not in choices:
        raise ValueError(f"{name}: expected one of {choices}; received {value!r}")
    return value.lower()


def _activate(y: NDArray[np.float64], activation: Any) -> NDArray[np.float64]:
    if callable(activation):
        return np.asarray(activation(y), np.float64)
    name = _one_of("activation", activation or "linear", ("linear", "relu", "relu6"))
    if name == "linear":
        return y
    y = np.where(y < 0, 0.0, y)  # NaN stays NaN
    return y if name == "relu" else np.where(y > 6, 6.0, y)


__all__ = [
    "depthwise_conv2d",
]


def __dir__() -> list[str]:
    return sorted(__all__)
