"""The gradients of the operation as functions: what `depthwise_conv2d` has to do with x, kernel and
bias.

All are of a scalar loss L, given dy = dL/dy, y the convolution before any activation. Shape
letters: N batch, H height, W width, C input channels, M depth multiplier, kh/kw kernel
height/width, OH/OW output height/width.

dtypes: like `dwconv.dtypes` has it for x and kernel: the wider float of the two arguments, float16
computed in float32 and rounded once. The order of each sum is fixed (csrc/dwconv.h states it), so
a gradient is the same to the bit on every instruction set, in every run, from any number of
threads; and it does not depend on the layout.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from . import _core, dtypes, ops, shapes
from . import isa as isas
from .ops import Array

Sizes = tuple[int, int, int, int]


def depthwise_conv2d_input_grad(
    dy: ArrayLike,
    kernel: ArrayLike,
    input_shape: Sequence[int],
    *,
    strides: int | tuple[int, int] = 1,
    padding: str | shapes.ExplicitPadding = "valid",
    dilation_rate: int | tuple[int, int] = 1,
    data_format: str | None = "channels_last",
    isa: str | None = None,
) -> Array:
    """dL/dx, the transposed depthwise convolution of dy.

    dx[n, h, w, c] = sum over m, and over ki, kj, oh, ow with
        h = oh*sh - top + ki*dh and w = ow*sw - left + kj*dw,
        of dy[n, oh, ow, c*M + m] * kernel[ki, kj, c, m]

    (Dumoulin and Visin 2016, 'A guide to convolution arithmetic for deep learning', chapter 4.)

    Args:
        dy: (N, OH, OW, C*M), or (N, C*M, OH, OW) if channels_first; N may be 0.
        kernel: (kh, kw, C, M).
        input_shape: of x, (N, H, W, C), or (N, C, H, W) if channels_first.
        strides, padding, dilation_rate, data_format, isa: as in `depthwise_conv2d`.

    Returns:
        A new C-contiguous array of `input_shape`.

    Raises what `depthwise_conv2d` raises, and ValueError for a dy that is not of the output's
    shape.
    """
    dy, kernel = np.asarray(dy), np.asarray(kernel)
    dtype = _result_dtype(dy, kernel, "kernel")
    layout = shapes.normalize_data_format(data_format)
    made = input_plan(
        kernel.astype(dtypes.compute_dtype(dtype), copy=False),
        _nhwc_sizes(input_shape, layout),
        strides,
        padding,
        dilation_rate,
        isa,
    )
    return run_input(made, dy, dtype=dtype, data_format=layout)


def depthwise_conv2d_kernel_grad(
    dy: ArrayLike,
    x: ArrayLike,
    kernel_shape: Sequence[int],
    *,
    strides: int | tuple[int, int] = 1,
    padding: str | shapes.ExplicitPadding = "valid",
    dilation_rate: int | tuple[int, int] = 1,
    data_format: str | None = "channels_last",
    isa: str | None = None,
) -> Array:
    """dL/dkernel, the correlation of x with dy.

    dkernel[ki, kj, c, m] = sum over n, oh, ow of
        x[n, oh*sh - top + ki*dh, ow*sw - left + kj*dw, c] * dy[n, oh, ow, c*M + m]

    over what lies inside x. The sums of each row of dy are added from left to right, those of an
    image from top to bottom, those of the images in order.

    Args:
        dy: (N, OH, OW, C*M), or (N, C*M, OH, OW) if channels_first; N may be 0, which gives zeros.
        x: (N, H, W, C), or (N, C, H, W).
        kernel_shape: (kh, kw, C, M).
        strides, padding, dilation_rate, data_format, isa: as in `depthwise_conv2d`.

    Returns:
        A new C-contiguous array (kh, kw, C, M).

    Raises what `depthwise_conv2d` raises, and ValueError for a dy that is not of the output's
    shape.
    """
    dy, x = np.asarray(dy), np.asarray(x)
    dtype = _result_dtype(dy, x, "x")
    layout = shapes.normalize_data_format(data_format)
    shape = ops.nhwc_shape(x, layout)
    made = weights_plan(
        _kernel_sizes(kernel_shape), dtype, shape, strides, padding, dilation_rate, isa
    )
    return run_weights(made, dy, x, dtype=dtype, data_format=layout)[0]


def depthwise_conv2d_bias_grad(
    dy: ArrayLike, *, data_format: str | None = "channels_last", isa: str | None = None
) -> Array:
    """dL/dbias (C*M,): the sum of dy over images, rows and columns, in that order of nesting.

    dy: (N, OH, OW, C*M), or (N, C*M, OH, OW) if channels_first; N may be 0, which gives zeros. To
    the bit what `depthwise_conv2d_kernel_grad` sums along with the kernel's gradient for a layer.
    Raises ValueError for another rank, TypeError for what is not floats.
    """
    dy = np.asarray(dy)
    dtype = _result_dtype(dy, dy, "dy")
    layout = shapes.normalize_data_format(data_format)
    shape = _dy_shape(dy, layout)
    # As along with a kernel of one element, and of dy with itself, which nobody looks at.
    made = weights_plan((1, 1, shape[3], 1), dtype, shape, 1, "valid", 1, isa)
    return run_weights(made, dy, dy, dtype=dtype, data_format=layout)[1]


# ---- steps, for the layer ------------------------------------------------------------------------


def input_plan(
    kernel: Array,
    x_shape: Sizes,
    strides: Any,
    padding: Any,
    dilation_rate: Any,
    isa: str | None = None,
) -> _core.InputGradient:
    """A checked plan with the kernel, of a result dtype, packed; x_shape is (N, H, W, C)."""
    if kernel.ndim != 4:
        raise ValueError(f"kernel: expected rank 4, (kh, kw, C, M); received shape {kernel.shape}")
    options = _options("kernel", x_shape, kernel.shape, strides, padding, dilation_rate)
    kernel = np.require(kernel, dtypes.compute_dtype(kernel.dtype), ("C", "A"))
    return _core.InputGradient(kernel, x_shape, *options, isas.resolve(isa))


def weights_plan(
    kernel_shape: Sizes,
    dtype: dtypes.DType,
    x_shape: Sizes,
    strides: Any,
    padding: Any,
    dilation_rate: Any,
    isa: str | None = None,
) -> _core.WeightsGradient:
    """A checked plan for results of `dtype`; x_shape is (N, H, W, C)."""
    options = _options("kernel_shape", x_shape, kernel_shape, strides, padding, dilation_rate)
    compute = dtypes.compute_dtype(dtype)
    return _core.WeightsGradient(kernel_shape, compute, x_shape, *options, isas.resolve(isa))


def run_input(
    plan: _core.InputGradient, dy: Array, *, dtype: dtypes.DType, data_format: shapes.DataFormat
) -> Array:
    """dx of `dtype` for dy in `data_format`."""
    dy = _source(dy, plan.y_shape, "dy", dtype, data_format)
    dx = plan(dy, np.empty(plan.x_shape, dy.dtype))
    return _in_layout(dx, dtype, data_format)


def run_weights(
    plan: _core.WeightsGradient,
    dy: Array,
    x: Array,
    *,
    dtype: dtypes.DType,
    data_format: shapes.DataFormat,
) -> tuple[Array, Array]:
    """(dkernel (kh, kw, C, M), dbias (C*M,)) of `dtype` for dy and x in `data_format`."""
    dy = _source(dy, plan.y_shape, "dy", dtype, data_format)
    x = _source(x, plan.x_shape, "x", dtype, data_format)
    dkernel, dbias = plan(
        dy, x, np.empty(plan.kernel_shape, dy.dtype), np.empty(plan.y_shape[3], dy.dtype)
    )
    with np.errstate(over="ignore"):
        return dkernel.astype(dtype, copy=False), dbias.astype(dtype, copy=False)


def _options(
    argument: str,
    x_shape: Sizes,
    kernel_shape: Sequence[int],
    strides: Any,
    padding: Any,
    dilation_rate: Any,
) -> tuple[shapes.Pair, shapes.Pair, shapes.ExplicitPadding]:
    """Strides, dilation and padding as the core wants them, checked together with the sizes."""
    stride_pair = shapes.pair(strides, "strides")
    dilation_pair = shapes.pair(dilation_rate, "dilation_rate")
    sides = shapes.normalize_padding(padding)
    _, height, width, channels = x_shape
    if 0 in kernel_shape or kernel_shape[2] != channels:
        raise ValueError(
            f"{argument}: expected (kh, kw, C, M) with positive sizes and C = {channels}, the "
            f"channels of x; received {tuple(kernel_shape)}"
        )
    size = (kernel_shape[0], kernel_shape[1])
    shapes.output_shape(x_shape, size, stride_pair, sides, dilation_pair, kernel_shape[3])
    amounts = shapes.explicit_padding((height, width), size, stride_pair, sides, dilation_pair)
    return stride_pair, dilation_pair, amounts


def _result_dtype(dy: Array, other: Array, name: str) -> dtypes.DType:
    """The wider float of both; TypeError, which names the argument, for anything else."""
    for argument, array in (("dy", dy), (name, other)):
        if array.dtype.kind != dtypes.FLOAT_KIND:
            raise TypeError(
                f"{argument}: expected an array of floats; received dtype {array.dtype}"
            )
    return dtypes.result_dtype(dy.dtype, other.dtype)


def _dy_shape(dy: Array, data_format: shapes.DataFormat) -> Sizes:
    """(N, OH, OW, C*M) of dy in either layout."""
    try:
        return ops.nhwc_shape(dy, data_format)
    except ValueError as error:
        raise ValueError(str(error).replace("x:", "dy:", 1)) from None


def _nhwc_sizes(shape: Any, data_format: shapes.DataFormat) -> Sizes:
    """(N, H, W, C) of a whole shape in either layout."""
    sizes = _four_sizes("input_shape", shape, 0)
    batch, height, width, channels = sizes
    if data_format == "channels_first":
        channels, height, width = sizes[1:]
    return batch, height, width, channels


def _kernel_sizes(shape: Any) -> Sizes:
    return _four_sizes("kernel_shape", shape, 1)


def _four_sizes(argument: str, shape: Any, first: int) -> Sizes:
    """Four integers, the first at least `first` and the others at least 1."""
    try:
        numbers = [shapes.integer(size, 1 if i else first) for i, size in enumerate(shape)]
    except TypeError:
        numbers = []
    sizes = [number for number in numbers if number is not None]
    if len(numbers) != 4 or len(sizes) != 4:
        raise ValueError(
            f"{argument}: expected four positive integers{'' if first else ', the first may be 0'}"
            f"; received {shape!r}"
        )
    return sizes[0], sizes[1], sizes[2], sizes[3]


def _source(
    array: Array,
    shape: Sizes,
    name: str,
    dtype: dtypes.DType,
    data_format: shapes.DataFormat,
) -> Array:
    """`array`, or a copy, as the core wants it; ValueError unless it has `shape` (N, H, W, C)."""
    batch, height, width, channels = shape
    first = data_format == "channels_first"
    expected = (batch, channels, height, width) if first else shape
    if array.shape != expected:
        raise ValueError(f"{name}: expected shape {expected}; received {array.shape}")
    if first:
        array = array.transpose(0, 2, 3, 1)
    with np.errstate(over="ignore"):
        return np.require(array, dtypes.compute_dtype(dtype), ("C", "A"))


def _in_layout(array: Array, dtype: dtypes.DType, data_format: shapes.DataFormat) -> Array:
    if data_format == "channels_first":
        array = array.transpose(0, 3, 1, 2)
    with np.errstate(over="ignore"):
        return array.astype(dtype, order="C", copy=False)
