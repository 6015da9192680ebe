"""Depthwise convolution of quantized numbers, int8 or uint8, as a function; what its plans are made
of.

Shape letters: N batch, H height, W width, C input channels, M depth multiplier, kh/kw kernel
height/width, OH/OW output height/width.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import _core, dtypes
from .. import isa as isas
from ..arguments import PaddingLike, PairLike, Threads, read_integer, read_num_threads
from .epilogue import Array
from .spec import ConvSpec, Shape

ACTIVATIONS = ("linear", "relu", "relu6")

_BYTES = (np.dtype(np.int8), np.dtype(np.uint8))


def quantized_depthwise_conv2d(
    x: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    x_scale: Any,
    x_zero_point: Any,
    kernel_scale: Any,
    y_scale: Any,
    y_zero_point: Any,
    strides: PairLike = 1,
    padding: PaddingLike = "valid",
    dilation_rate: PairLike = 1,
    activation: str | None = None,
    out: Array | None = None,
    num_threads: Threads = None,
    isa: str | None = None,
) -> Array:
    """Depthwise convolution of quantized numbers, as ONNX defines QLinearConv.

    A byte of x stands for the real number x_scale * (x - x_zero_point), one of the kernel for
    kernel_scale * kernel, one of the bias for x_scale * kernel_scale * bias.

    y[n, oh, ow, c*M + m] = y_zero_point
        + round(float32(sum) * (x_scale * kernel_scale / y_scale))

    sum = bias[c*M + m] + sum over ki, kj of
        (x[n, oh*sh - top + ki*dh, ow*sw - left + kj*dw, c] - x_zero_point)
        * kernel[ki, kj, c, m]

    Sums are exact, modulo 2**32. The padding counts as the zero point, so it adds nothing. The
    multiplier is computed in float32, from left to right; the product is rounded to float32, then
    to the nearest integer, ties to the even one; what the result's dtype cannot hold is saturated.
    Results are the same to the bit on every instruction set, and those of ONNX Runtime and of
    LiteRT with XNNPACK, its default.

    LiteRT's own kernels compute in fixed point and round twice: to the bits below the units that
    their multiplier has, then to units. Where the first result lies in the middle of two integers
    they may differ by one, for a multiplier of 1/500 in a thousandth of the outputs.

    Args:
        x: (N, H, W, C) int8 or uint8, channels last; N may be 0.
        kernel: (kh, kw, C, M) int8, of zero point 0.
        bias: (C*M,) int32, or None for zeros.
        x_scale: a positive number, as are the other scales; they count as float32.
        x_zero_point: an integer that x's dtype can hold.
        kernel_scale: one number, or (C*M,), one for each output channel.
        y_scale: of the result.
        y_zero_point: a NumPy int8 or uint8, whose dtype the result has; or an int, for x's dtype.
        strides: an int or two, (height, width), in pixels.
        padding: 'valid', 'same' or pixels, as for `depthwise_conv2d`.
        dilation_rate: an int or two, (height, width), in pixels.
        activation: None or 'linear', 'relu', 'relu6': the result is clamped to what stands for 0,
            and for 6: y_zero_point + round(6 / y_scale), ties to even.
        out: an array for the result: of its shape and dtype, C-contiguous, apart from x.
        num_threads: how many threads at most, a positive int, or 'auto' for the CPUs that the
            process may use; None: `dwconv.config.num_threads()`.
        isa: instruction set, one of `dwconv.isa.available()`; None: the default.

    Returns:
        (N, OH, OW, C*M), or `out`.

    Raises:
        ValueError: shapes that do not fit, an output that would be empty, a zero point that its
            dtype cannot hold, a scale that is not a positive number, multipliers beyond float32,
            an unknown activation, an `out` that does not fit.
        TypeError: other dtypes.

    Example:
        >>> x = np.full((1, 3, 3, 1), 10, np.int8)
        >>> kernel = np.ones((2, 2, 1, 1), np.int8)
        >>> quantized_depthwise_conv2d(
        ...     x, kernel, x_scale=0.5, x_zero_point=8, kernel_scale=0.25,
        ...     y_scale=0.125, y_zero_point=np.uint8(100),
        ... )[0, :, :, 0]
        array([[108, 108],
               [108, 108]], dtype=uint8)
    """
    x = dtypes.read_array("x", x)
    check_bytes("x", x)
    kernel, bias = read_kernel(kernel), read_bias(bias)
    spec = ConvSpec.for_kernel(kernel.shape, strides, padding, dilation_rate)
    spec.check_array_shape("x", x.shape)
    plan = make_plan_of_repeated(
        spec,
        x.shape,
        kernel,
        bias,
        x_scale=read_scale("x_scale", x_scale),
        x_zero_point=read_zero_point(
            "x_zero_point", read_integer("x_zero_point", x_zero_point), x.dtype
        ),
        kernel_scale=read_scales("kernel_scale", kernel_scale, kernel.shape[2] * kernel.shape[3]),
        y_scale=read_scale("y_scale", y_scale),
        y_zero_point=read_zero_point("y_zero_point", y_zero_point, x.dtype),
        activation=read_activation(activation),
        isa=isa,
    )
    return run(plan, x, out, num_threads)


# ---- steps, for the layer ------------------------------------------------------------------------


def make_plan(
    spec: ConvSpec,
    x_shape: Shape,
    kernel: Array,
    bias: Array | None,
    *,
    x_scale: np.float32,
    x_zero_point: Any,
    kernel_scale: Array,
    y_scale: np.float32,
    y_zero_point: Any,
    activation: str,
    isa: str | None = None,
    kernels: str | None = None,
) -> _core.Quantized:
    """A plan for inputs of `x_shape`, of any batch: what the readers here have read.

    Zero points are NumPy scalars of the dtypes of x and y. kernels: one of
    `_core.quantized_kernels(isa)`; None: the best for these channels.
    """
    check_shapes(spec, x_shape, kernel, bias)
    multiplier = multipliers(x_scale, kernel_scale, y_scale)
    return _core.Quantized(
        spec,
        tuple(x_shape),
        np.ascontiguousarray(kernel),
        None if bias is None else np.ascontiguousarray(bias),
        multiplier,
        x_zero_point.dtype,
        y_zero_point.dtype,
        (int(x_zero_point), int(y_zero_point)),
        bounds(activation, y_scale, y_zero_point),
        isas.resolve(isa),
        kernels,
    )


def check_shapes(spec: ConvSpec, x_shape: Shape, kernel: Array, bias: Array | None) -> None:
    """ValueError for what makes no convolution."""
    spec.check_kernel(kernel.shape, x_shape)
    if bias is not None:
        spec.check_bias(bias.shape, x_shape)
    spec.output_shape(x_shape)


def make_plan_of_repeated(
    spec: ConvSpec, x_shape: Shape, kernel: Array, bias: Array | None, **options: Any
) -> _core.Quantized:
    """`make_plan` for a depth multiplier of 1: each channel of x comes M times, and `run` sees to
    that. The core's own loop for M > 1 picks bytes one by one and takes ten times as long.
    """
    check_shapes(spec, x_shape, kernel, bias)
    kernel_h, kernel_w, channels, multiplier = kernel.shape
    if multiplier > 1:
        kernel = kernel.reshape(kernel_h, kernel_w, channels * multiplier, 1)
        x_shape = (*x_shape[:3], channels * multiplier)
        spec = replace(spec, depth_multiplier=1)
    return make_plan(spec, x_shape, kernel, bias, **options)


def run(plan: _core.Quantized, x: Array, out: Array | None, num_threads: Any) -> Array:
    """The plan's result for x, of any strides: (N, H, W, C) of a plan that `make_plan_of_repeated`
    has made.
    """
    if not x.flags.c_contiguous:
        x = np.ascontiguousarray(x)
    if x.shape[3] != plan.x_shape[3]:
        x = repeated(x, plan.x_shape[3] // x.shape[3])
    return plan(x, out, num_threads=read_num_threads(num_threads))


def repeated(x: Array, count: int) -> Array:
    """Each channel `count` times, side by side."""
    if x.itemsize > 1 or count not in (2, 4, 8):
        return np.repeat(x, count, axis=-1)
    word = np.dtype(f"u{count}")  # whole words of equal bytes: a fifth of the time
    words: Array = x.view(np.uint8) * word.type(int.from_bytes(b"\1" * count, "little"))
    return words.view(x.dtype)


def multipliers(x_scale: np.float32, kernel_scale: Array, y_scale: np.float32) -> Array:
    """x_scale * kernel_scale / y_scale, (C*M,) float32, in the order of ONNX Runtime.

    ValueError if one of them is beyond float32.
    """
    with np.errstate(all="ignore"):
        product: Array = x_scale * kernel_scale / y_scale
    if not np.isfinite(product).all():
        raise ValueError(
            "kernel_scale: expected x_scale * kernel_scale / y_scale within float32; "
            f"received {product[~np.isfinite(product)][0]}"
        )
    return product


def bounds(activation: str, y_scale: np.float32, y_zero_point: Any) -> tuple[int, int]:
    """The least and the largest result: what y's dtype can hold, and what an activation leaves."""
    limits, zero = np.iinfo(y_zero_point.dtype), int(y_zero_point)
    low, high = int(limits.min), int(limits.max)
    if activation in ("relu", "relu6"):
        low = zero
    if activation == "relu6":
        with np.errstate(all="ignore"):
            six = float(np.rint(np.float32(6) / y_scale))
        high = int(min(high, zero + six))
    return low, high


# ---- readers -------------------------------------------------------------------------------------


def check_bytes(name: str, array: Array) -> None:
    """TypeError unless an array is of int8 or uint8."""
    if array.dtype not in _BYTES:
        raise TypeError(f"{name}: expected dtype int8 or uint8; received {array.dtype}")


def read_kernel(kernel: ArrayLike) -> Array:
    """An array of int8; TypeError for another dtype."""
    array = dtypes.read_array("kernel", kernel)
    if array.dtype != np.int8:
        raise TypeError(f"kernel: expected dtype int8; received {array.dtype}")
    return array


def read_bias(bias: ArrayLike | None) -> Array | None:
    """An array of int32 of native byte order, or None; TypeError for another dtype."""
    if bias is None:
        return None
    array = dtypes.read_array("bias", bias)
    if array.dtype.newbyteorder("=") != np.int32:
        raise TypeError(f"bias: expected dtype int32; received {array.dtype}")
    return array.astype(np.int32, copy=False)


def read_scale(name: str, value: Any) -> np.float32:
    """A positive number as float32; ValueError for anything else."""
    return np.float32(read_scales(name, value, 1)[0])


def read_scales(name: str, value: Any, count: int) -> Array:
    """One positive number, or `count` of them, as (count,) float32; ValueError for others."""
    array = np.asarray(value)
    if array.dtype.kind not in "fiu" or array.size not in (1, count) or array.ndim > 1:
        several = f" or an array of {count}" if count > 1 else ""
        raise ValueError(
            f"{name}: expected a positive number{several}; received "
            f"shape {array.shape}, dtype {array.dtype}"
        )
    with np.errstate(all="ignore"):
        single = array.astype(np.float32)
    if not (np.isfinite(single) & (single > 0)).all():
        raise ValueError(f"{name}: expected positive numbers within float32; received {value!r}")
    return np.ascontiguousarray(np.broadcast_to(single.reshape(-1), (count,)))


def read_zero_point(name: str, value: Any, default: np.dtype[Any]) -> Any:
    """A NumPy int8 or uint8. An integer without such a dtype gets the default one.

    ValueError for one that its dtype cannot hold.
    """
    own = getattr(value, "dtype", None)
    dtype = np.dtype(own) if own in _BYTES else default
    number = read_integer(name, value)
    limits = np.iinfo(dtype)
    if not limits.min <= number <= limits.max:
        raise ValueError(
            f"{name}: expected an integer from {limits.min} to {limits.max}, of {dtype}; "
            f"received {number}"
        )
    return dtype.type(number)


def read_activation(activation: str | None) -> str:
    """One of ACTIVATIONS, None being 'linear'; ValueError for another one."""
    name = "linear" if activation is None else activation
    if name not in ACTIVATIONS:
        raise ValueError(
            f"activation: expected None or one of {list(ACTIVATIONS)}; received {activation!r}"
        )
    return name
