"""The operation as a function: arrays of any kind -> a plan of the C core -> an array.

`depthwise_conv2d` is for users. Its three steps are `split_activation`, `make_plan` and
`epilogue.run`. A layer keeps what the second step makes, a `BoundPlan`, which does the third.

Shape letters: N batch, H height, W width, C input channels, M depth multiplier, kh/kw kernel
height/width, OH/OW output height/width.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import ArrayLike

from .. import _core, activations, casts, config, dtypes
from .. import isa as isas
from ..arguments import (
    DataFormat,
    PaddingLike,
    PaddingLike1D,
    PairLike,
    SingleLike,
    Threads,
    read_num_threads,
)
from ..registry import read_object
from . import boundaries, kept_plans
from .boundaries import BoundaryMode
from .epilogue import (
    LINEAR,
    Activation,
    Array,
    activated,
    activated_shape,
    check_out,
    run,
    storage_dtype,
)
from .plan import cast_weights, choose, is_estimated
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
    padding: PaddingLike = "valid",
    dilation_rate: PairLike = 1,
    data_format: DataFormat | None = "channels_last",
    activation: str | Activation | None = None,
    mode: BoundaryMode = "zeros",
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

    What the sizes of the arrays and the other arguments decide is kept from call to call, and so
    are the last weights as the kernel reads them (`dwconv.config` says how much). A call compares
    its weights with those, byte by byte: a kernel that was changed in place is seen, and packed
    anew. For a model, or a loop over images with one kernel, a layer is better, or its plan
    (`DepthwiseConv2D(..., weights=[kernel]).plan(x.shape)`): it packs once and compares nothing.

    Args:
        x: (N, H, W, C), or (N, C, H, W) if channels_first; N may be 0. Anything that NumPy makes an
            array of real numbers of, or that has `__dlpack__`: read-only, strided, byte-swapped, a
            subclass or a list. It is copied where needed. A masked array is a TypeError.
        kernel: (kh, kw, C, M).
        bias: (C*M,), or None for zeros.
        strides: an int or two, (height, width), in pixels.
        padding: 'valid', 'same' (as in TensorFlow: an odd pixel goes to the bottom, to the right)
            or ((top, bottom), (left, right)) in pixels; two ints are (height, width), each on both
            sides, and an int is all four.
        dilation_rate: an int or two, (height, width), in pixels; works with any strides.
        data_format: 'channels_last' or 'channels_first', of x and the result; None is
            channels_last.
        activation: None, a name or object of `dwconv.activations`, or a function of the whole
            output in its data_format. The C core computes those of FUSED_ACTIVATIONS. A function is
            called once, and what it returns is cast to the result's dtype. Of the built-in
            activations only linear, relu and relu6 take integers, on which they are exact.
        mode: what the padding holds: 'zeros'; 'reflect', the pixels mirrored at the edge, which is
            not repeated (b | a b c | b; so in np.pad and PyTorch, in SciPy it is 'mirror', a name
            that means the same here); 'symmetric', mirrored with the edge (a | a b c | c; SciPy's
            'reflect'); 'nearest' or 'edge', the pixel at the edge (SciPy's and NumPy's name);
            'wrap', the other side's. As np.pad, it goes on as long as the padding is wide. The
            result has the bits of np.pad and 'valid'; x is not copied but for bands at its edges.
        out: where to put the result: an array of exactly its shape and dtype, at any strides, that
            shares no element with x, kernel or bias. Faster if C-contiguous. If an
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
    settings = (2, strides, padding, dilation_rate, data_format, activation)
    if mode != "zeros":
        return _beyond_edges(x, kernel, bias, settings, mode, out, isa, num_threads)
    return _call(x, kernel, bias, settings, out, isa, num_threads)


def depthwise_conv1d(
    x: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    strides: SingleLike = 1,
    padding: PaddingLike1D = "valid",
    dilation_rate: SingleLike = 1,
    data_format: DataFormat | None = "channels_last",
    activation: str | Activation | None = None,
    out: Array | None = None,
    isa: str | None = None,
    num_threads: Threads = None,
) -> Array:
    """Depthwise convolution of sequences: `depthwise_conv2d` along one axis.

    y[n, o, c*M + m] = activation(bias[c*M + m]
        + sum over k of x[n, o*stride - left + k*dilation, c] * kernel[k, c, m])

    It has the bits of `depthwise_conv2d` for images of height 1.

    Args:
        x: (N, L, C), or (N, C, L) if channels_first; N may be 0. Otherwise as there.
        kernel: (k, C, M).
        bias: (C*M,), or None for zeros.
        strides: an int, or a sequence of one, as Keras has it.
        padding: 'valid', 'same' (as in TensorFlow: an odd element goes to the right), 'causal'
            ((k - 1) * dilation elements to the left: no output depends on later elements), or
            elements on both sides as an int or (left, right).
        dilation_rate: an int, or a sequence of one; works with any strides.
        data_format: 'channels_last' or 'channels_first'; None is channels_last.
        activation: as of `depthwise_conv2d`, and so are the next three.
        out: where to put the result.
        isa: instruction set.
        num_threads: how many threads at most.

    Returns:
        `out`, or a new C-contiguous array: (N, OL, C*M), or (N, C*M, OL) if channels_first; of the
        dtype that `depthwise_conv2d` returns.

    Raises what `depthwise_conv2d` raises.

    Example:
        >>> x = np.arange(5.0).reshape(1, 5, 1)
        >>> depthwise_conv1d(x, np.ones((2, 1, 1)), padding="causal")[0, :, 0]
        array([0., 1., 3., 5., 7.])
    """
    settings = (1, strides, padding, dilation_rate, data_format, activation)
    return _call(x, kernel, bias, settings, out, isa, num_threads)


def _beyond_edges(
    x: Any,
    kernel: Any,
    bias: Any,
    settings: tuple[Any, ...],
    mode: Any,
    out: Array | None,
    isa: str | None,
    num_threads: Any,
) -> Array:
    """`depthwise_conv2d` with a padding that does not hold zeros."""
    mode = boundaries.read_mode(mode)
    rank, strides, padding, dilation_rate, data_format, activation = settings
    x, kernel = dtypes.read_array("x", x), dtypes.read_array("kernel", kernel)
    spec = ConvSpec.for_kernel(kernel.shape, strides, padding, dilation_rate, data_format, rank)
    dtype = dtypes.result_dtype(x.dtype, kernel.dtype)
    spec.check_array_shape("x", x.shape)
    spec.check_kernel(kernel.shape, x.shape)
    y_shape = spec.output_shape(x.shape)
    _, after = split_activation(activation, dtype)
    target = None
    if out is not None:
        others = {"x": x, "kernel": kernel, "bias": None if bias is None else np.asarray(bias)}
        target = check_out(out, activated_shape(after, y_shape), dtype, others)
    if after is not None:  # of the whole output, before it is rounded
        activation = None
        compute = dtypes.compute_dtype(dtype)
        x, kernel = casts.cast(x, compute), casts.cast(kernel, compute)
    common = (strides, "valid", dilation_rate, data_format, activation)
    made = [
        (place, _call(part, kernel, bias, (rank, *common), None, isa, num_threads))
        for place, part in boundaries.bands(x, spec, mode)
    ]
    whole = (rank, strides, padding, dilation_rate, data_format, activation)
    y = _call(x, kernel, bias, whole, target if after is None else None, isa, num_threads)
    for place, values in made:
        y[place] = values
    if after is not None:
        with np.errstate(all="ignore"):
            y = activated(after, y)
            if target is None:
                return casts.cast(y, dtype)
            casts.assign(target, y)
    return y if out is None else out


def _call(
    x: Any,
    kernel: Any,
    bias: Any,
    settings: tuple[Any, ...],
    out: Array | None,
    isa: str | None,
    num_threads: Any,
) -> Array:
    """By the plan that is found by the words of the call, `settings` and the next two, if there is
    one.
    """
    how = "estimate" if is_estimated(config.planning()) else "planned"
    words = (*settings, isas.resolve(isa), config.denormals(), how)
    spelling = _core.spelling(x, kernel, bias, words)
    kept = None if spelling is None else kept_plans.spelled(spelling)
    if kept is not None:
        num_threads = read_num_threads(num_threads)
        y = kept(x, kernel, bias, out, num_threads, kept_plans.trim)
        if y is not NotImplemented:
            return cast(Array, y)
    return _convolve(x, kernel, bias, words, out, num_threads, spelling)


def _convolve(
    x: Any,
    kernel: Any,
    bias: Any,
    words: tuple[Any, ...],
    out: Array | None,
    num_threads: Any,
    spelling: Hashable | None,
) -> Array:
    """The same where no plan is found so."""
    rank, strides, padding, dilation_rate, data_format, activation, isa, denormals, how = words
    x, kernel = dtypes.read_array("x", x), dtypes.read_array("kernel", kernel)
    spec = ConvSpec.for_kernel(kernel.shape, strides, padding, dilation_rate, data_format, rank)
    dtype = dtypes.result_dtype(x.dtype, kernel.dtype)
    fused, after = split_activation(activation, dtype)
    if bias is not None:
        bias = dtypes.read_array("bias", bias)
        dtypes.check_castable(bias.dtype, dtype, "bias")
    spec.check_array_shape("x", x.shape)
    spec.check_kernel(kernel.shape, x.shape)  # before sizes of an output that it does not make
    y_shape = activated_shape(after, spec.output_shape(x.shape))
    num_threads = read_num_threads(num_threads)
    config.check_variables()
    compute = dtypes.compute_dtype(dtype)
    stored = storage_dtype(spec, dtype, fused, after) if x.dtype == dtype else compute
    weights = cast_weights(spec, x.shape, kernel, bias, compute)
    target = out
    if out is not None:
        target = check_out(out, y_shape, dtype, {"x": x, "kernel": kernel, "bias": bias})
    ieee = denormals == "ieee"
    key = kept_plans.key_of(spec, x.shape, stored, fused, isa, ieee, how)
    kept = kept_plans.find(key)
    if kept is None:
        how_fused = (fused.name, isa, fused.alpha)
        arguments = (spec, x.shape, *weights, *how_fused, num_threads, ieee, stored)
        plan, _ = choose(arguments, config.planning())
        kept = kept_plans.keep(key, plan)
    if kept is not None and spelling is not None and after is None and dtype == compute:
        kept_plans.spell(spelling, kept)
    runs: Any = plan if kept is None else _WithWeights(kept, *weights, stored)
    y = run(runs, x, dtype=dtype, after=after, out=target, num_threads=num_threads)
    return y if out is None else out


@dataclass(frozen=True, slots=True)
class _WithWeights:
    """A kept plan called as a plan is."""

    kept: kept_plans.KeptPlan
    kernel: Array
    bias: Array | None
    numpy_dtype: dtypes.DType

    def run(self, x: Array, out: Array | None, num_threads: int | None) -> Array:
        """As of a plan."""
        y = self.kept(x, self.kernel, self.bias, out, num_threads, kept_plans.trim)
        if y is not NotImplemented:
            return cast(Array, y)
        # A dtype that is as good as that of the core and not the same object: with metadata, say.
        plan = self.kept.with_weights(x.shape[0], self.kernel, self.bias, num_threads)
        return plan.run(x, out, num_threads)


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
