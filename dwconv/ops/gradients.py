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

from .. import _core, config, dtypes, shapes
from .. import isa as isas
from .convolution import Array, nhwc_shape

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
    num_threads: Any = None,
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
        strides: an int or two, (height, width), in pixels.
        padding: 'valid', 'same' or ((top, bottom), (left, right)) in pixels.
        dilation_rate: an int or two, (height, width), in pixels; works with any strides.
        data_format: 'channels_last' or 'channels_first'; None is channels_last.
        isa: instruction set, one of `dwconv.isa.available()`; None: the default.
        num_threads: how many threads at most, a positive int; None: `dwconv.config.num_threads()`.

    Returns:
        A new C-contiguous array of `input_shape`.

    Raises what `depthwise_conv2d` raises, and ValueError for a dy that is not of the output's
    shape.
    """
    dy, kernel = np.asarray(dy), np.asarray(kernel)
    dtype = _result_dtype(dy, kernel, "kernel")
    layout = shapes.normalize_data_format(data_format)
    if kernel.ndim != 4:
        raise ValueError(f"kernel: expected rank 4, (kh, kw, C, M); received shape {kernel.shape}")
    made = plan(
        kernel.shape,
        dtype,
        kernel,
        _nhwc_sizes(input_shape, layout),
        strides,
        padding,
        dilation_rate,
        isa,
        layout,
    )
    return _only(run(made, dy, None, _threads(num_threads), dtype)[0])


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
    num_threads: Any = None,
) -> Array:
    """dL/dkernel, the correlation of x with dy.

    dkernel[ki, kj, c, m] = sum over n, oh, ow of
        x[n, oh*sh - top + ki*dh, ow*sw - left + kj*dw, c] * dy[n, oh, ow, c*M + m]

    over what lies inside x. The sums of bands of ceil(64 / OW) rows are added for each image, those
    of the images in order.

    Args:
        dy: (N, OH, OW, C*M), or (N, C*M, OH, OW) if channels_first; N may be 0, which gives zeros.
        x: (N, H, W, C), or (N, C, H, W).
        kernel_shape: (kh, kw, C, M).
        strides: an int or two, (height, width), in pixels.
        padding: 'valid', 'same' or ((top, bottom), (left, right)) in pixels.
        dilation_rate: an int or two, (height, width), in pixels; works with any strides.
        data_format: 'channels_last' or 'channels_first'; None is channels_last.
        isa: instruction set, one of `dwconv.isa.available()`; None: the default.
        num_threads: how many threads at most, a positive int; None: `dwconv.config.num_threads()`.

    Returns:
        A new C-contiguous array (kh, kw, C, M).

    Raises what `depthwise_conv2d` raises, and ValueError for a dy that is not of the output's
    shape.

    Example:
        >>> dy, x = np.ones((1, 1, 2, 1)), np.arange(6.0).reshape(1, 2, 3, 1)
        >>> depthwise_conv2d_kernel_grad(dy, x, (2, 2, 1, 1))[:, :, 0, 0]
        array([[1., 3.],
               [7., 9.]])
    """
    dy, x = np.asarray(dy), np.asarray(x)
    dtype = _result_dtype(dy, x, "x")
    layout = shapes.normalize_data_format(data_format)
    shape, sizes = nhwc_shape(x, layout), _four_sizes("kernel_shape", kernel_shape, 1)
    made = plan(sizes, dtype, None, shape, strides, padding, dilation_rate, isa, layout)
    return _only(run(made, dy, x, _threads(num_threads), dtype)[1])


def depthwise_conv2d_bias_grad(
    dy: ArrayLike,
    *,
    data_format: str | None = "channels_last",
    isa: str | None = None,
    num_threads: Any = None,
) -> Array:
    """dL/dbias (C*M,): the sum of dy over images, rows and columns, in the order of the kernel's.

    dy: (N, OH, OW, C*M), or (N, C*M, OH, OW) if channels_first; N may be 0, which gives zeros. To
    the bit what `depthwise_conv2d_kernel_grad` sums along with the kernel's gradient for a layer.
    Raises ValueError for another rank, TypeError for what is not floats.
    """
    dy = np.asarray(dy)
    dtype = _result_dtype(dy, dy, "dy")
    layout = shapes.normalize_data_format(data_format)
    shape = _dy_shape(dy, layout)
    # As along with a kernel of one element, and of dy with itself, which nobody looks at.
    made = plan((1, 1, shape[3], 1), dtype, None, shape, 1, "valid", 1, isa, layout)
    return _only(run(made, dy, dy, _threads(num_threads), dtype)[2])


# ---- steps, for the layer ------------------------------------------------------------------------


def plan(
    kernel_shape: Sequence[int],
    dtype: dtypes.DType,
    kernel: Array | None,
    x_shape: Sizes,
    strides: Any,
    padding: Any,
    dilation_rate: Any,
    isa: str | None = None,
    data_format: shapes.DataFormat = "channels_last",
) -> _core.Gradient:
    """A checked plan for gradients of a result dtype; x_shape is (N, H, W, C) in either layout.

    kernel: (kh, kw, C, M), of any float dtype; None if dL/dx is not wanted.
    """
    stride_pair = shapes.pair(strides, "strides")
    dilation_pair = shapes.pair(dilation_rate, "dilation_rate")
    sides = shapes.normalize_padding(padding)
    batch, height, width, channels = x_shape
    first = data_format == "channels_first"
    if 0 in kernel_shape or kernel_shape[2] != channels:
        raise ValueError(
            f"kernel: expected (kh, kw, C, M) with positive sizes and C = {channels}, the channels "
            f"of x; received {tuple(kernel_shape)}"
        )
    kernel_h, kernel_w, _, multiplier = kernel_shape
    size = (kernel_h, kernel_w)
    # For its errors, which say more than the core's.
    shapes.output_shape(x_shape, size, stride_pair, sides, dilation_pair, multiplier)
    amounts = shapes.explicit_padding((height, width), size, stride_pair, sides, dilation_pair)
    compute = dtypes.compute_dtype(dtype)
    with np.errstate(over="ignore"):
        packed = None if kernel is None else np.require(kernel, compute, ("C", "A"))
    return _core.Gradient(
        (kernel_h, kernel_w, channels, multiplier),
        compute,
        packed,
        (batch, channels, height, width) if first else x_shape,
        stride_pair,
        dilation_pair,
        amounts,
        isas.resolve(isa),
        first,
        config.denormals() == "ieee",
    )


def run(
    plan: _core.Gradient,
    dy: Array,
    x: Array | None = None,
    num_threads: int | None = None,
    dtype: dtypes.DType | None = None,
    weight_dtype: dtypes.DType | None = None,
) -> tuple[Array | None, Array | None, Array | None]:
    """(dx, dkernel, dbias): dx if the plan has a kernel, the others if x is given.

    Arrays in the plan's layout; ValueError for one of another shape. dtype: of dx, which the plan
    computes in; None: dy's. weight_dtype: of the others; None: the same.
    """
    dtype = dy.dtype if dtype is None else dtype
    weight_dtype = dtype if weight_dtype is None else weight_dtype
    dy = _source(dy, plan.y_shape, "dy", dtype)
    if x is not None:
        x = _source(x, plan.x_shape, "x", dtype)
    dx = _core.empty(plan.x_shape, dy.dtype) if plan.has_input else None
    dkernel = dbias = None
    if x is not None:
        dkernel = _core.empty(plan.kernel_shape, dy.dtype)
        dbias = _core.empty((plan.outputs,), dy.dtype)
    plan(dy, x, dx, dkernel, dbias, num_threads=num_threads)
    return (
        _rounded(dx, dtype),
        _rounded(dkernel, weight_dtype),
        _rounded(dbias, weight_dtype),
    )


def _only(array: Array | None) -> Array:
    assert array is not None
    return array


def _threads(num_threads: Any) -> int | None:
    config.num_threads()  # for its errors
    return None if num_threads is None else shapes.positive_int(num_threads, "num_threads")


def _result_dtype(dy: Array, other: Array, name: str) -> dtypes.DType:
    """The wider float of both; TypeError, which names the argument, for anything else."""
    for argument, array in (("dy", dy), (name, other)):
        if not dtypes.is_float(array.dtype):
            raise TypeError(
                f"{argument}: expected an array of floats; received dtype {array.dtype}"
            )
    return dtypes.result_dtype(dy.dtype, other.dtype)


def _dy_shape(dy: Array, data_format: shapes.DataFormat) -> Sizes:
    """(N, OH, OW, C*M) of dy in either layout."""
    try:
        return nhwc_shape(dy, data_format)
    except ValueError as error:
        raise ValueError(str(error).replace("x:", "dy:", 1)) from None


def _nhwc_sizes(shape: Any, data_format: shapes.DataFormat) -> Sizes:
    """(N, H, W, C) of a whole shape in either layout."""
    sizes = _four_sizes("input_shape", shape, 0)
    batch, height, width, channels = sizes
    if data_format == "channels_first":
        channels, height, width = sizes[1:]
    return batch, height, width, channels


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


def _source(array: Array, shape: Sizes, name: str, dtype: dtypes.DType) -> Array:
    """`array`, or a copy, as the core wants it; ValueError unless it has `shape`."""
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}; received {array.shape}")
    with np.errstate(over="ignore"):
        return np.require(array, dtypes.compute_dtype(dtype), ("C", "A"))


def _rounded(array: Array | None, dtype: dtypes.DType) -> Array | None:
    if array is None:
        return None
    with np.errstate(over="ignore"):
        return array.astype(dtype, copy=False)
