"""Depthwise convolution in a few lines of NumPy, in float64: the yardstick for the fast one.

Written to be read and shared with nothing: it has its own padding arithmetic and its own checks, so
a mistake elsewhere is not repeated here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
        x: (N, H, W, C), or (N, C, H, W) if data_format is 'channels_first'; anything that NumPy
            makes an array of real numbers of, or that has `__dlpack__`.
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
        TypeError: a masked array, since a convolution would drop the mask; what holds no real
            numbers.

    Example:
        >>> depthwise_conv2d(np.ones((1, 2, 2, 1)), np.ones((2, 2, 1, 1)))
        array([[[[4.]]]])
    """
    x, kernel = _numbers("x", x), _numbers("kernel", kernel)
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
    heights, widths = row_of_tap.shape[1], column_of_tap.shape[1]
    outputs = channels * multiplier
    if bias is not None:
        bias = _numbers("bias", bias)
        if bias.shape != (outputs,):
            raise ValueError(f"expected a bias of shape ({outputs},); received {bias.shape}")
        bias = bias.reshape(channels, multiplier)
    name = "linear"
    if not callable(activation):
        name = _one_of("activation", activation or "linear", ("linear", "relu", "relu6"))

    # As it is returned, and seen as (N, OH, OW, C, M).
    if channels_first:
        result = np.zeros((count, outputs, heights, widths))
        y = result.reshape(count, channels, multiplier, heights, widths).transpose(0, 3, 4, 1, 2)
    else:
        result = np.zeros((count, heights, widths, outputs))
        y = result.reshape(count, heights, widths, channels, multiplier)
    with np.errstate(all="ignore"):
        for n, rows, columns, some in _blocks(y.shape):
            sums = y[n, rows, columns, some]
            if bias is not None:
                sums += bias[some]
            for ki in range(kernel_h):
                for kj in range(kernel_w):
                    inside_h, inside_w = row_inside[ki, rows], column_inside[kj, columns]
                    from_h, from_w = row_of_tap[ki, rows], column_of_tap[kj, columns]
                    taken = x[n, ..., some][np.ix_(from_h[inside_h], from_w[inside_w])]
                    weights = kernel[ki, kj, some].astype(np.float64)
                    products = taken.astype(np.float64)[..., np.newaxis] * weights
                    sums[np.ix_(inside_h, inside_w)] += products
            if name != "linear":
                sums[sums < 0] = 0  # NaN stays NaN
            if name == "relu6":
                sums[sums > 6] = 6
    return np.asarray(activation(result), np.float64) if callable(activation) else result


def quantized_depthwise_conv2d(
    x: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    x_scale: float,
    x_zero_point: int,
    kernel_scale: ArrayLike,
    y_scale: float,
    y_zero_point: np.int8 | np.uint8,
    strides: int | tuple[int, int] = 1,
    padding: Any = "valid",
    dilation_rate: int | tuple[int, int] = 1,
    activation: str | None = None,
) -> NDArray[Any]:
    """Depthwise convolution of quantized numbers, as ONNX defines QLinearConv.

    Args:
        x: (N, H, W, C) int8 or uint8, which stands for x_scale * (x - x_zero_point).
        kernel: (kh, kw, C, M) int8, which stands for kernel_scale * kernel.
        bias: (C*M,) integers of the scale x_scale * kernel_scale, or None.
        x_scale: a positive number.
        x_zero_point: an integer.
        kernel_scale: (C*M,) positive numbers, or one.
        y_scale: a positive number, of the result.
        y_zero_point: a NumPy int8 or uint8, whose dtype the result has.
        strides: an int or (sh, sw), in pixels.
        padding: as for `depthwise_conv2d`.
        dilation_rate: an int or (dh, dw), in pixels.
        activation: None or 'linear', 'relu', 'relu6'.

    Returns:
        (N, OH, OW, C*M), of the dtype of y_zero_point.
    """
    numbers = np.asarray(x).astype(np.int64) - int(x_zero_point)
    # Exact: integers, whose sums are far below 2**53.
    exact = depthwise_conv2d(
        numbers, kernel, bias, strides=strides, padding=padding, dilation_rate=dilation_rate
    )
    sums = exact.astype(np.int64).astype(np.int32)  # modulo 2**32
    multiplier = np.float32(x_scale) * np.asarray(kernel_scale, np.float32) / np.float32(y_scale)
    with np.errstate(over="ignore"):  # infinity is saturated
        whole = np.rint(sums.astype(np.float32) * multiplier).astype(np.float64)
    limits = np.iinfo(np.asarray(y_zero_point).dtype)
    low, high = limits.min, limits.max
    if activation in ("relu", "relu6"):
        low = int(y_zero_point)
    if activation == "relu6":
        high = min(high, int(y_zero_point) + int(np.rint(np.float32(6) / np.float32(y_scale))))
    return np.clip(whole + int(y_zero_point), low, high).astype(limits.dtype)


def _numbers(name: str, value: Any) -> NDArray[Any]:
    """An array of real numbers."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name}: expected an array without a mask; received a masked array")
    protocols = ("__array__", "__array_interface__", "__array_struct__", "__buffer__")
    if hasattr(value, "__dlpack__") and not any(hasattr(value, each) for each in protocols):
        try:
            value = np.from_dlpack(value)
        except (BufferError, RuntimeError, ValueError) as error:
            raise TypeError(f"{name}: expected an array for the CPU; received {error}") from error
    array = np.asarray(value)
    if array.dtype.kind not in "fiub" and array.dtype.name != "bfloat16":
        raise TypeError(
            f"{name}: expected an array of floats or integers; received dtype {array.dtype}"
        )
    return array


#: Elements of y that are computed at a time: Ctrl-C is noticed in between.
_AT_ONCE = 1 << 18


def _blocks(shape: tuple[int, ...]) -> Iterator[tuple[int, slice, slice, slice]]:
    """Blocks of an output (N, OH, OW, C, M): an image, some rows, some columns, some channels."""
    count, height, width, channels, multiplier = shape
    deep = max(1, min(channels, _AT_ONCE // multiplier))
    wide = max(1, min(width, _AT_ONCE // (deep * multiplier)))
    high = max(1, min(height, _AT_ONCE // (wide * deep * multiplier)))
    for n in range(count):
        for top in range(0, height, high):
            for left in range(0, width, wide):
                for first in range(0, channels, deep):
                    yield (
                        n,
                        slice(top, top + high),
                        slice(left, left + wide),
                        slice(first, first + deep),
                    )


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
        before, after = _integer("padding", before, 0), _integer("padding", after, 0)
        out = (before + size + after - last_tap - 1) // stride + 1
    if out < 1:
        raise ValueError(
            f"expected a padded input that holds the dilated kernel; received {size} for {kernel}"
        )
    position = np.arange(out) * stride - before + np.arange(kernel)[:, np.newaxis] * dilation
    return position, (position >= 0) & (position < size)


def _two(name: str, value: Any) -> tuple[int, int]:
    first, second = (value, value) if np.ndim(value) == 0 else value
    return _integer(name, first, 1), _integer(name, second, 1)


def _integer(name: str, value: Any, least: int) -> int:
    """An int, also of NumPy's integers and whole floats."""
    is_number = np.ndim(value) == 0 and np.asarray(value).dtype.kind in "iuf"
    if not is_number or not np.isfinite(value) or value != int(value) or value < least:
        raise ValueError(f"{name}: expected an integer of at least {least}; received {value!r}")
    return int(value)


def _one_of(name: str, value: str, choices: tuple[str, ...]) -> str:
    if value.lower() not in choices:
        raise ValueError(f"{name}: expected one of {choices}; received {value!r}")
    return value.lower()


__all__ = [
    "depthwise_conv2d",
    "quantized_depthwise_conv2d",
]


def __dir__() -> list[str]:
    return sorted(__all__)
