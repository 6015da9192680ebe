"""The gradients of `depthwise_conv2d` with respect to x, kernel and bias, as functions.

Each is the gradient of a scalar loss L, given dy = dL/dy, where y is the convolution before any
activation. Shape letters: N batch, H height, W width, C input channels, M depth multiplier, kh/kw
kernel height/width, OH/OW output height/width.

A result has the wider float dtype of the two arguments, as `dwconv.dtypes` says for x and kernel;
float16 is computed in float32 and rounded once. The order of each sum is fixed (csrc/dwconv.h
states it). So a gradient has the same bits on every instruction set, in every run, in either layout
and from any number of threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import _core, casts, config, dtypes
from .. import isa as isas
from ..arguments import ExplicitPadding, read_num_threads, read_sizes
from . import kept_plans
from .epilogue import LINEAR, Array, Fused, as_the_core_takes_it
from .spec import ConvSpec, Shape


def depthwise_conv2d_input_grad(
    dy: ArrayLike,
    kernel: ArrayLike,
    input_shape: Sequence[int],
    *,
    strides: int | tuple[int, int] = 1,
    padding: str | ExplicitPadding = "valid",
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
        num_threads: how many threads at most, a positive int, or 'auto' for the CPUs that the
            process may use; None: `dwconv.config.num_threads()`.

    Returns:
        A new C-contiguous array of `input_shape`.

    Raises what `depthwise_conv2d` raises, and ValueError for a dy that is not of the output's
    shape.
    """
    dy, kernel = dtypes.read_array("dy", dy), dtypes.read_array("kernel", kernel)
    spec, x_shape, dtype = read_input_grad(
        dy, kernel, input_shape, strides, padding, dilation_rate, data_format
    )
    plan = make_plan(spec, x_shape, dtype, kernel, isa)
    return _only(run(plan, dy, None, _threads(num_threads), dtype)[0])


def depthwise_conv2d_kernel_grad(
    dy: ArrayLike,
    x: ArrayLike,
    kernel_shape: Sequence[int],
    *,
    strides: int | tuple[int, int] = 1,
    padding: str | ExplicitPadding = "valid",
    dilation_rate: int | tuple[int, int] = 1,
    data_format: str | None = "channels_last",
    isa: str | None = None,
    num_threads: Any = None,
) -> Array:
    """dL/dkernel, the correlation of x with dy.

    dkernel[ki, kj, c, m] = sum over n, oh, ow of
        x[n, oh*sh - top + ki*dh, ow*sw - left + kj*dw, c] * dy[n, oh, ow, c*M + m]

    over the taps that lie inside x. Each band of ceil(64 / OW) rows of dy has a sum of its own; the
    sums of an image's bands are added, then those of the images, in order.

    Args:
        dy: (N, OH, OW, C*M), or (N, C*M, OH, OW) if channels_first; N may be 0, which gives zeros.
        x: (N, H, W, C), or (N, C, H, W).
        kernel_shape: (kh, kw, C, M).
        strides: an int or two, (height, width), in pixels.
        padding: 'valid', 'same' or ((top, bottom), (left, right)) in pixels.
        dilation_rate: an int or two, (height, width), in pixels; works with any strides.
        data_format: 'channels_last' or 'channels_first'; None is channels_last.
        isa: instruction set, one of `dwconv.isa.available()`; None: the default.
        num_threads: how many threads at most, a positive int, or 'auto' for the CPUs that the
            process may use; None: `dwconv.config.num_threads()`.

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
    dy, x = dtypes.read_array("dy", dy), dtypes.read_array("x", x)
    spec, _, dtype = read_kernel_grad(
        dy, x, kernel_shape, strides, padding, dilation_rate, data_format
    )
    plan = make_plan(spec, x.shape, dtype, None, isa)
    return _only(run(plan, dy, x, _threads(num_threads), dtype)[1])


def depthwise_conv2d_bias_grad(
    dy: ArrayLike,
    *,
    data_format: str | None = "channels_last",
    isa: str | None = None,
    num_threads: Any = None,
) -> Array:
    """dL/dbias (C*M,): the sum of dy over images, rows and columns.

    The order of the sum is that of `depthwise_conv2d_kernel_grad`, so the bits are those of a
    layer's pullback. dy: (N, OH, OW, C*M), or (N, C*M, OH, OW) if channels_first; N may be 0, which
    gives zeros. Raises ValueError for another rank, TypeError for what is not floats.
    """
    dy = dtypes.read_array("dy", dy)
    dtype = result_dtype(dy, dy, "dy")
    # The gradient of a 1x1 convolution whose output has dy's shape; that of its kernel is ignored.
    spec = ConvSpec.for_kernel((1, 1, 1, 1), data_format=data_format)
    spec.check_array_shape("dy", dy.shape)
    plan = make_plan(spec, dy.shape, dtype, None, isa)
    return _only(run(plan, dy, dy, _threads(num_threads), dtype)[2])


# ---- steps, for the layer and adapters -----------------------------------------------------------


def read_input_grad(
    dy: Any, kernel: Any, input_shape: Any, *geometry: Any
) -> tuple[ConvSpec, Shape, dtypes.DType]:
    """(spec, x's shape, dtype of the result) for the arguments of `depthwise_conv2d_input_grad`,
    with its errors. dy and kernel: what has a shape and a dtype; geometry: strides, padding,
    dilation_rate and data_format.
    """
    dtype = result_dtype(dy, kernel, "kernel")
    spec = ConvSpec.for_kernel(kernel.shape, *geometry)
    x_shape = read_sizes("input_shape", input_shape, 4, batch=True)
    check_dy(dy, spec, x_shape)
    spec.check_kernel(kernel.shape, x_shape)
    return spec, x_shape, dtype


def read_kernel_grad(
    dy: Any, x: Any, kernel_shape: Any, *geometry: Any
) -> tuple[ConvSpec, Shape, dtypes.DType]:
    """(spec, kernel's shape, dtype of the result) for those of `depthwise_conv2d_kernel_grad`."""
    dtype = result_dtype(dy, x, "x")
    sizes = read_sizes("kernel_shape", kernel_shape, 4, batch=False)
    spec = ConvSpec.for_kernel(sizes, *geometry)
    spec.check_array_shape("x", x.shape)
    spec.check_kernel(sizes, x.shape)
    check_dy(dy, spec, x.shape)
    return spec, sizes, dtype


def make_plan(
    spec: ConvSpec,
    x_shape: Shape,
    dtype: dtypes.DType,
    kernel: Array | None,
    isa: str | None = None,
    ieee: bool | None = None,
    fused: Fused = LINEAR,
    bias: Array | None = None,
) -> _core.Gradient:
    """A plan for gradients of a result dtype, for inputs of `x_shape` in the spec's layout.

    kernel: (kh, kw, C, M), of any float dtype; None if dL/dx is not wanted. The geometry is the
    caller's to check, by `spec.output_shape(x_shape)`. ieee: whether denormal numbers are not
    flushed; None: as `config.denormals` says. fused: an activation that dy comes from, which needs
    the kernel and the bias (C*M,), or None. A geometry is planned once (`kept_plans`): other
    weights cost a copy.
    """
    compute = dtypes.compute_dtype(dtype)
    if kernel is not None:
        spec.check_kernel(kernel.shape, x_shape)
        with np.errstate(all="ignore"):
            kernel = as_the_core_takes_it(kernel, compute)
            if bias is not None:
                bias = as_the_core_takes_it(bias, compute)
    if ieee is None:
        ieee = config.denormals() == "ieee"
    name = isas.resolve(isa)
    key = (spec, x_shape, compute.char, fused, name, ieee, kernel is None)
    kept = kept_plans.find_gradient(key)
    if kept is not None:
        return kept if kernel is None else kept.with_weights(kernel, bias)
    made = _core.Gradient(spec, x_shape, compute, kernel, name, ieee, *fused, bias)
    kept_plans.keep_gradient(key, made)
    return made


def run(
    plan: _core.Gradient,
    dy: Array,
    x: Array | None = None,
    num_threads: int | None = None,
    dtype: dtypes.DType | None = None,
    weight_dtype: dtypes.DType | None = None,
    with_input: bool = True,
    with_weights: bool = True,
) -> tuple[Array | None, Array | None, Array | None]:
    """(dx, dkernel, dbias): dx if the plan has a kernel, the others if x is given, unless told
    otherwise.

    Arrays in the plan's layout; ValueError for one of another shape. dtype: of dx, which the plan
    computes in; None: dy's. weight_dtype: of the others; None: the same.
    """
    dtype = dy.dtype if dtype is None else dtype
    weight_dtype = dtype if weight_dtype is None else weight_dtype
    dy = _source(dy, plan.y_shape, "dy", dtype)
    if x is not None:
        x = _source(x, plan.x_shape, "x", dtype)
    dx = _core.empty(plan.x_shape, dy.dtype) if with_input and plan.has_input else None
    dkernel = dbias = None
    if x is not None and with_weights:
        dkernel = _core.empty(plan.kernel_shape, dy.dtype)
        dbias = _core.empty((plan.outputs,), dy.dtype)
    plan(dy, x, dx, dkernel, dbias, num_threads=num_threads)
    return (
        _rounded(dx, dtype),
        _rounded(dkernel, weight_dtype),
        _rounded(dbias, weight_dtype),
    )


def check_dy(dy: Any, spec: ConvSpec, x_shape: Shape) -> None:
    """ValueError for an x whose output would be empty, and for a dy of another shape than it."""
    y_shape = spec.output_shape(x_shape)
    if dy.shape != y_shape:
        raise ValueError(f"dy: expected shape {y_shape}, the output's; received {dy.shape}")


def _only(array: Array | None) -> Array:
    assert array is not None
    return array


def _threads(num_threads: Any) -> int | None:
    config.num_threads()  # for its errors
    return read_num_threads(num_threads)


def result_dtype(dy: Any, other: Any, name: str) -> dtypes.DType:
    """The wider float of both; TypeError, which names the argument, for anything else."""
    for argument, array in (("dy", dy), (name, other)):
        if not dtypes.is_float(array.dtype):
            raise TypeError(
                f"{argument}: expected an array of floats; received dtype {array.dtype}"
            )
    return dtypes.result_dtype(dy.dtype, other.dtype)


def _source(array: Array, shape: Shape, name: str, dtype: dtypes.DType) -> Array:
    """`array`, or a copy, as the core wants it; ValueError unless it has `shape`."""
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}; received {array.shape}")
    with np.errstate(all="ignore"):
        return as_the_core_takes_it(array, dtypes.compute_dtype(dtype))


def _rounded(array: Array | None, dtype: dtypes.DType) -> Array | None:
    return None if array is None else casts.cast(array, dtype)
