"""Which `conv_general_dilated` is a depthwise convolution, or a gradient of one, and what takes its
place.

Shape letters: N batch, H height, W width, C input channels, M depth multiplier, kh/kw kernel
height/width, OH/OW output height/width. JAX's dimension numbers say which axis is which: those of
an input are (N, C, H, W), those of a kernel (out, in, kh, kw).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np

from .. import config
from ..ops.spec import ConvSpec
from . import primitives

Array: TypeAlias = Any  # of JAX
Axes: TypeAlias = tuple[int, ...]

_COMPUTE: dict[Any, np.dtype[Any]] = {
    np.dtype(jnp.bfloat16): np.dtype(np.float32),
    np.dtype(np.float16): np.dtype(np.float32),
    np.dtype(np.float32): np.dtype(np.float32),
    np.dtype(np.float64): np.dtype(np.float64),
}


def replacement(equation: Any) -> Callable[[Array, Array], Array] | None:
    """(left, right) -> the result of an equation of a jaxpr; None where dwconv is not for it."""
    if equation.primitive.name != "conv_general_dilated":
        return None
    left, right = (atom.aval for atom in equation.invars)
    (out,) = (variable.aval for variable in equation.outvars)
    parameters, numbers = equation.params, equation.params["dimension_numbers"]
    if len(left.shape) != 4 or 0 in left.shape or 0 in right.shape or 0 in out.shape:
        return None
    if any(np.dtype(aval.dtype) not in _COMPUTE for aval in (left, right, out)):
        return None
    if left.dtype != right.dtype:
        return None
    for form in (_forward, _input_gradient, _kernel_gradient):
        found = form(left.shape, right.shape, out, parameters, numbers)
        if found is not None:
            return found
    return None


def _call(
    kernel_size: Any,
    strides: Any,
    padding: Any,
    dilation: Any,
    multiplier: int,
    channels_first: bool = False,
) -> primitives.Call:
    spec = ConvSpec(
        tuple(kernel_size),
        tuple(strides),
        padding,
        tuple(dilation),
        multiplier,
        "channels_first" if channels_first else "channels_last",
    )
    return primitives.Call(spec, ieee=config.denormals() == "ieee")


def _computed(out: Any, left: Any) -> np.dtype[Any]:
    """The wider of the dtypes in which operands and result are computed."""
    wide = {_COMPUTE[np.dtype(out.dtype)], _COMPUTE[np.dtype(left.dtype)]}
    return max(wide, key=lambda dtype: dtype.itemsize)


def _is_ones(values: Any) -> bool:
    return all(value == 1 for value in values)


def _inverse(axes: Axes) -> Axes:
    return tuple(int(axis) for axis in np.argsort(axes))


def _nhwc(axes: Axes) -> Axes:
    """The axes (N, H, W, C) of dimension numbers (N, C, H, W)."""
    return axes[0], axes[2], axes[3], axes[1]


# ---- the three forms -----------------------------------------------------------------------------


def _forward(left: Any, right: Any, out: Any, parameters: Any, numbers: Any) -> Any:
    x_axes, kernel_axes, y_axes = numbers.lhs_spec, numbers.rhs_spec, numbers.out_spec
    channels = left[x_axes[1]]
    padding = tuple((int(low), int(high)) for low, high in parameters["padding"])
    if (
        parameters["feature_group_count"] != channels
        or channels == 1
        or parameters["batch_group_count"] != 1
        or not _is_ones(parameters["lhs_dilation"])
        or min(side for pair in padding for side in pair) < 0
    ):
        return None
    sizes = [right[axis] for axis in kernel_axes]
    multiplier = sizes[0] // channels
    first = tuple(x_axes) == tuple(y_axes) == (0, 1, 2, 3)
    call = _call(
        sizes[2:],
        parameters["window_strides"],
        padding,
        parameters["rhs_dilation"],
        multiplier,
        first,
    )

    def run(x: Array, kernel: Array) -> Array:
        dtype = _computed(out, x)
        kernel = kernel.transpose(kernel_axes[2], kernel_axes[3], kernel_axes[0], kernel_axes[1])
        kernel = kernel.reshape(*sizes[2:], channels, multiplier).astype(dtype)
        x = (x if first else x.transpose(_nhwc(x_axes))).astype(dtype)
        y = primitives.convolution(x, kernel, None, call).astype(out.dtype)
        return y if first else y.transpose(_inverse(_nhwc(y_axes)))

    return run


def _padding(sizes: Any, outputs: Any, lows: Any, kernel: Any, strides: Any, dilation: Any) -> Any:
    """((top, bottom), (left, right)) of the convolution that makes `outputs` of `sizes`; None where
    no padding does.
    """
    padding = []
    for size, output, low, k, stride, step in zip(
        sizes, outputs, lows, kernel, strides, dilation, strict=True
    ):
        least = stride * (output - 1) + step * (k - 1) + 1 - size - low
        if low < 0 or max(least, 0) >= least + stride:
            return None
        padding.append((low, max(least, 0)))
    return tuple(padding)


def _input_gradient(left: Any, right: Any, out: Any, parameters: Any, numbers: Any) -> Any:
    dy_axes, kernel_axes, x_axes = numbers.lhs_spec, numbers.rhs_spec, numbers.out_spec
    channels = out.shape[x_axes[1]]
    sizes = [right[axis] for axis in kernel_axes]  # (C, M, kh, kw), turned round
    if (
        parameters["feature_group_count"] != channels
        or channels == 1
        or sizes[0] != channels
        or parameters["batch_group_count"] != 1
        or not _is_ones(parameters["window_strides"])
    ):
        return None
    strides, dilation = parameters["lhs_dilation"], parameters["rhs_dilation"]
    lows = [
        step * (k - 1) - low
        for step, k, (low, _) in zip(dilation, sizes[2:], parameters["padding"], strict=True)
    ]
    padding = _padding(
        [out.shape[axis] for axis in x_axes[2:]],
        [left[axis] for axis in dy_axes[2:]],
        lows,
        sizes[2:],
        strides,
        dilation,
    )
    if padding is None:
        return None
    multiplier = sizes[1]
    call = _call(sizes[2:], strides, padding, dilation, multiplier)
    x_shape = tuple(out.shape[axis] for axis in _nhwc(x_axes))
    shapes = (x_shape, (*sizes[2:], channels, multiplier))

    def run(dy: Array, kernel: Array) -> Array:
        dtype = _computed(out, dy)
        kernel = kernel.transpose(kernel_axes[2], kernel_axes[3], kernel_axes[0], kernel_axes[1])
        kernel = jnp.flip(kernel, (0, 1)).astype(dtype)
        dy = dy.transpose(_nhwc(dy_axes)).astype(dtype)
        dx = primitives.gradients(dy, None, kernel, call, shapes)[0]
        assert dx is not None
        return dx.astype(out.dtype).transpose(_inverse(_nhwc(x_axes)))

    return run


def _kernel_gradient(left: Any, right: Any, out: Any, parameters: Any, numbers: Any) -> Any:
    # The batch of this convolution is the channels, its channels are the batch.
    (c, n, *x_space), (o, m, *y_space) = numbers.lhs_spec, numbers.rhs_spec
    one, outputs, *kernel_space = numbers.out_spec
    channels = left[c]
    if (
        parameters["batch_group_count"] != channels
        or channels == 1
        or out.shape[one] != 1
        or parameters["feature_group_count"] != 1
        or not _is_ones(parameters["lhs_dilation"])
    ):
        return None
    strides, dilation = parameters["rhs_dilation"], parameters["window_strides"]
    kernel_size = [out.shape[axis] for axis in kernel_space]
    padding = _padding(
        [left[axis] for axis in x_space],
        [right[axis] for axis in y_space],
        [low for low, _ in parameters["padding"]],
        kernel_size,
        strides,
        dilation,
    )
    if padding is None:
        return None
    multiplier = right[o] // channels
    call = _call(kernel_size, strides, padding, dilation, multiplier)
    x_axes, dy_axes = (n, *x_space, c), (m, *y_space, o)
    shapes = (tuple(left[axis] for axis in x_axes), (*kernel_size, channels, multiplier))

    def run(x: Array, dy: Array) -> Array:
        dtype = _computed(out, x)
        x, dy = x.transpose(x_axes).astype(dtype), dy.transpose(dy_axes).astype(dtype)
        dkernel = primitives.gradients(dy, x, None, call, shapes)[1]
        assert dkernel is not None
        flat = dkernel.astype(out.dtype).reshape(*kernel_size, 1, channels * multiplier)
        return flat.transpose(_inverse((*kernel_space, one, outputs)))

    return run
