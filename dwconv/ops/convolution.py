"""The operation as a function: arrays of any kind -> a plan of the C core -> an array.

`depthwise_conv2d` is for users. Its three steps are `split_activation`, `make_plan` and
`epilogue.run`. A layer keeps what the second step makes, a `BoundPlan`, which does the third.

Shape letters: N batch, H height, W width, C input channels, M depth multiplier, kh/kw kernel
height/width, OH/OW output height/width.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from .. import _core, activations, dtypes
from ..arguments import (
    DataFormat,
    ExplicitPadding,
    PaddingName,
    PairLike,
    Threads,
    read_num_threads,
)
from ..registry import read_object
from .epilogue import LINEAR, Activation, Array, activated_shape, check_out, run
from .plan import make_plan
from .spec import ConvSpec

Fused: TypeAlias = activations.Fused

FUSED_ACTIVATIONS: tuple[str, ...] = _core.FUSED_ACTIVATIONS

_SINGLE = np.dtype(np.float32)
_EXACT = ("linear", "relu", "relu6")  # on integers


def depthwise_conv2d(
    x: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    strides: PairLike = 1,
    padding: PaddingName | ExplicitPadding = "valid",
    dilation_rate: PairLike = 1,
    data_format: DataFormat | None = "channels_last",
    activation: str | Activation | None = None,
    out: Array | None = None,
    isa: str | None = None,
    num_threads: Threads = None,
) -> Array:
    """Depthwise convolution: each input channel with its own M kernels.

    y[n, oh, ow, c*M + m] = activation(bias[c*M + m]
        + sum over ki, kj of
          x[n, oh*sh - top + ki*dh, ow*sw - left + kj*dw, c] * kernel[ki, kj, c, m])

    This is Keras' DepthwiseConv2D, a cross-correlation: the kernel is not flipped. Each output
    starts from its bias and adds its taps row by row, one fused multiply-add each. So the result
    has the same bits on every instruction set. A tap in the padding is skipped, even if its weight
    is NaN or infinite.

    Args:
        x: (N, H, W, C), or (N, C, H, W) if channels_first; N may be 0. Anything that NumPy makes an
            array of real numbers of, or that has `__dlpack__`: read-only, strided, byte-swapped, a
            subclass or a list. It is copied where needed. A masked array is a TypeError.
        kernel: (kh, kw, C, M).
        bias: (C*M,), or None for zeros.
        strides: an int or two, (height, width), in pixels.
        padding: 'valid', 'same' (as in TensorFlow: an odd pixel goes to the bottom, to the right)
            or ((top, bottom), (left, right)) in pixels.
        dilation_rate: an int or two, (height, width), in pixels; works with any strides.
        data_format: 'channels_last' or 'channels_first', of x and the result; None is
            channels_last.
        activation: None, a name or object of `dwconv.activations`, or a function of the whole
            output in its data_format. The C core computes those of FUSED_ACTIVATIONS. A function is
            called once, and what it returns is cast to the result's dtype. Of the built-in
            activations only linear, relu and relu6 take integers, on which they are exact.
        out: where to put the result: an array of exactly its shape and dtype, at any strides, that
            shares no element with x, kernel or bias. Faster if C-contiguous and not float16. If an
            error is raised, nothing was written; Ctrl-C in a call that takes long may leave parts.
        isa: instruction set, one of `dwconv.isa.available()`; None: the default.
        num_threads: how many threads at most, a positive int, or 'auto' for the CPUs that the
            process may use; None: `dwconv.config.num_threads()`.
            The result has the same bits with any number.

    Returns:
        `out`, or a new C-contiguous array: (N, OH, OW, C*M), or (N, C*M, OH, OW) if channels_first;
        glu halves the last size. Its dtype is the float dtype of x or kernel, the wider one if both
        are floats. If both are integers it is int32, which wraps as NumPy's does. `dwconv.dtypes`
        has the whole rule.

    Raises:
        ValueError: a shape, size or name that does not fit, an output that would be empty, an `out`
            of another shape, read-only or overlapping.
        TypeError: dtypes that are not real numbers; for an int32 result, dtypes of integers that
            int32 cannot hold, and a bias or activation of floats; an `out` of another dtype.
        MemoryError: sizes that cannot be allocated.

    Example:
        >>> x, kernel = np.ones((1, 3, 4, 2)), np.ones((3, 3, 2, 1))
        >>> y = depthwise_conv2d(x, kernel, bias=[0, -5], padding="same")
        >>> y[0, :, :, 0]
        array([[4., 6., 6., 4.],
               [6., 9., 9., 6.],
               [4., 6., 6., 4.]])
        >>> float(y[0, :, :, 1].max())
        4.0
    """
    x, kernel = dtypes.read_array("x", x), dtypes.read_array("kernel", kernel)
    spec = ConvSpec.for_kernel(kernel.shape, strides, padding, dilation_rate, data_format)
    dtype = dtypes.result_dtype(x.dtype, kernel.dtype)
    fused, after = split_activation(activation, dtype)
    if bias is not None:
        bias = dtypes.read_array("bias", bias)
        dtypes.check_castable(bias.dtype, dtype, "bias")
    spec.check_array_shape("x", x.shape)
    spec.check_kernel(kernel.shape, x.shape)  # before sizes of an output that it does not make
    y_shape = activated_shape(after, spec.output_shape(x.shape))
    num_threads = read_num_threads(num_threads)
    plan = make_plan(spec, x.shape, kernel, bias, fused, isa, num_threads=num_threads, dtype=dtype)
    if out is None:
        return run(plan, x, dtype=dtype, after=after)
    target = check_out(out, y_shape, dtype, {"x": x, "kernel": kernel, "bias": bias})
    run(plan, x, dtype=dtype, after=after, out=target)
    return out


def split_activation(
    activation: Any, dtype: dtypes.DType = _SINGLE
) -> tuple[Fused, Activation | None]:
    """An activation as (what a plan fuses, the function to call afterwards, or None).

    activation: what `activations.get` takes, with its errors, which begin with 'activation'; dtype:
    of the result.
    """
    function = read_object("activation", activations.get, activation)
    fused = function.fused() if isinstance(function, activations.Activation) else None
    if fused is not None and dtypes.is_integer(dtype) and fused.name not in _EXACT:
        fused = None  # the function raises the TypeError
    return (LINEAR, function) if fused is None else (fused, None)
