"""The functional operation: arrays of any kind -> a plan of the C core -> an array.

`depthwise_conv2d` is for users. `split_activation`, `make_plan` and `run` are its three steps;
callers such as the layer keep a plan with an `Operation`, which does the third.

Shape letters: N batch, H height, W width, C input channels, M depth multiplier, kh/kw kernel
height/width, OH/OW output height/width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _core, activations, config, dtypes
from .. import isa as isas
from ..arguments import DataFormat, ExplicitPadding, read_num_threads
from ..registry import read_object
from .spec import ConvSpec, Shape

if TYPE_CHECKING:
    from .description import Description

Array: TypeAlias = NDArray[Any]
Activation: TypeAlias = Callable[[Array], Any]
Fused: TypeAlias = activations.Fused

Plan = _core.Plan  # from here for all others: they don't import the core

FUSED_ACTIVATIONS: tuple[str, ...] = _core.FUSED_ACTIVATIONS

_SINGLE = np.dtype(np.float32)
_LINEAR = Fused("linear")
_EXACT = ("linear", "relu", "relu6")  # on integers
_OVERLAP_WORK = 10_000  # bound of NumPy's exact search for an element that two strided arrays share


def depthwise_conv2d(
    x: ArrayLike,
    kernel: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    strides: int | tuple[int, int] = 1,
    padding: str | ExplicitPadding = "valid",
    dilation_rate: int | tuple[int, int] = 1,
    data_format: str | None = "channels_last",
    activation: str | Activation | None = None,
    out: Array | None = None,
    isa: str | None = None,
    num_threads: Any = None,
) -> Array:
    """Depthwise convolution: each input channel with its own M kernels.

    y[n, oh, ow, c*M + m] = activation(bias[c*M + m]
        + sum over ki, kj of
          x[n, oh*sh - top + ki*dh, ow*sw - left + kj*dw, c] * kernel[ki, kj, c, m])

    (Keras' DepthwiseConv2D: a cross-correlation, the kernel is not flipped.) Each output starts
    from its bias and adds its taps row by row, one fused multiply-add each, so the result is the
    same to the bit on every instruction set. A tap in the padding is skipped, also if its weight is
    NaN or infinite.

    Args:
        x: (N, H, W, C), or (N, C, H, W) if channels_first; N may be 0. Anything that NumPy makes a
            real array of: read-only, strided, byte-swapped, subclass or list, copied where needed.
        kernel: (kh, kw, C, M).
        bias: (C*M,), or None for zeros.
        strides: an int or two, (height, width), in pixels.
        padding: 'valid', 'same' (as in TensorFlow: an odd pixel goes to the bottom, to the right)
            or ((top, bottom), (left, right)) in pixels.
        dilation_rate: an int or two, (height, width), in pixels; works with any strides.
        data_format: 'channels_last' or 'channels_first', of x and the result; None is
            channels_last.
        activation: None, a name or object of `dwconv.activations` (FUSED_ACTIVATIONS are fused into
            the convolution), or a function of the whole output in its data_format, called once;
            what it returns is cast to the result's dtype. To integers only those apply that are
            exact on them: linear, relu and relu6 of the built-in ones.
        out: where to put the result: an array of exactly its shape and dtype, at any strides, that
            shares no element with x, kernel or bias. Faster if C-contiguous and not float16. If an
            error is raised, nothing was written.
        isa: instruction set, one of `dwconv.isa.available()`; None: the default.
        num_threads: how many threads at most, a positive int; None: `dwconv.config.num_threads()`.
            The result is the same to the bit.

    Returns:
        `out`, or a new C-contiguous array: (N, OH, OW, C*M), or (N, C*M, OH, OW) if channels_first,
        the last size halved by glu.
        Its dtype is the float dtype of x or kernel, the wider if both are floats, and int32, which
        wraps as NumPy's, if both are integers (`dwconv.dtypes` has the rule).

    Raises:
        ValueError: a shape, size or name that does not fit, an output that would be empty, an `out`
            of another shape, read-only or overlapping.
        TypeError: dtypes that are not real numbers; integers that int32 cannot hold, floats for the
            bias or activation of an int32 result; an `out` of another dtype.
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
    fused, finish = split_activation(activation, dtype)
    if bias is not None:
        bias = dtypes.read_array("bias", bias)
        dtypes.check_castable(bias.dtype, dtype, "bias")
    spec.check_array_shape("x", x.shape)
    y_shape = activated_shape(finish, spec.output_shape(x.shape))
    plan = make_plan(
        spec,
        x.shape,
        _plain(kernel, dtypes.compute_dtype(dtype)),
        bias,
        fused,
        isa,
        num_threads=read_num_threads(num_threads),
    )
    if out is None:
        return run(plan, x, dtype=dtype, finish=finish)
    target = _check_out(out, y_shape, dtype, {"x": x, "kernel": kernel, "bias": bias})
    run(plan, x, dtype=dtype, finish=finish, out=target)
    return out


def split_activation(
    activation: Any, dtype: dtypes.DType = _SINGLE
) -> tuple[Fused, Activation | None]:
    """(what a plan fuses, the function to call afterwards or None) of an activation of a result of
    `dtype`.

    Takes what `activations.get` takes, with its errors.
    """
    function = read_object("activation", activations.get, activation)
    fused = function.fused() if isinstance(function, activations.Activation) else None
    if fused is not None and dtypes.is_integer(dtype) and fused.name not in _EXACT:
        fused = None  # the function raises what is to be said
    return (_LINEAR, function) if fused is None else (fused, None)


def make_plan(
    spec: ConvSpec,
    x_shape: Shape,
    kernel: Array,
    bias: Array | None,
    activation: str | Fused = "linear",
    isa: str | None = None,
    operation: Operation | None = None,
    num_threads: int | None = None,
) -> Plan:
    """A packed plan for inputs of `x_shape`, in the spec's layout; the weights are copied.

    The geometry is the caller's to check: `spec.output_shape(x_shape)` says what is wrong with it.
    (What it lets pass is still refused by the C core, as a ValueError with fewer words.) With an
    operation, whose compute dtype is the kernel's, calls of the plan take what that takes; without
    one only what the core takes.

    kernel: (kh, kw, C, M) of a result dtype (`dwconv.dtypes`), whose compute dtype becomes the
    plan's; bias: (C*M,), cast to that, or None; activation: one of FUSED_ACTIVATIONS, with alpha if
    it is a Fused. Raises ValueError for another kernel or bias, an unknown isa and environment
    variables that hold no setting; MemoryError.
    """
    name = isas.resolve(isa)
    config.memory_limit()  # for their errors
    config.num_threads()
    spec.check_kernel(kernel.shape, x_shape)
    dtype = dtypes.compute_dtype(kernel.dtype)
    if bias is not None:
        spec.check_bias(bias.shape, x_shape)
        bias = _plain(bias, dtype)
    fused = Fused(activation) if isinstance(activation, str) else activation
    return Plan(
        spec,
        x_shape,
        _plain(kernel, dtype),
        bias,
        fused.name,
        name,
        operation,
        fused.alpha,
        num_threads,
        config.denormals() == "ieee",
    )


@dataclass(frozen=True)
class Operation:
    """What a plan does around its kernel: (plan, x, out, num_threads) -> y, for x in any form.

    name         what messages begin with
    dtype        the result's, to whose compute dtype x is cast
    data_format  of x and of the result
    fused        the activation in the kernel
    finish       the one after it, or None
    """

    name: str
    dtype: dtypes.DType
    data_format: DataFormat = "channels_last"
    fused: Fused = _LINEAR
    finish: Activation | None = None

    @property
    def direct(self) -> bool:
        """Whether there is nothing to do but for the kernel, if x and out are as it takes them."""
        return _direct(self.dtype, self.finish)

    def __call__(self, plan: Plan, x: Any, out: Array | None, num_threads: int) -> Array:
        """y for x, in `out` if given; with the errors of `depthwise_conv2d`, and ValueError for
        another shape than the plan's.
        """
        x = dtypes.read_array("x", x)
        dtypes.check_castable(x.dtype, self.dtype, "x")
        if x.shape != plan.x_shape:
            raise ValueError(f"x: expected shape {plan.x_shape}; received shape {x.shape}")
        target = None
        if out is not None:
            target = _check_out(out, self.output_shape(plan), self.dtype, {"x": x})
        if x.dtype != self.dtype:  # first to that, also where it is not what is computed in
            with np.errstate(all="ignore"):
                x = x.astype(self.dtype)
        y = run(
            plan,
            x,
            dtype=self.dtype,
            finish=self.finish,
            out=target,
            name=self.name,
            num_threads=num_threads,
        )
        return y if out is None else out

    def output_shape(self, plan: Plan) -> tuple[int, ...]:
        """The result's, in its layout and after the activation."""
        return activated_shape(self.finish, plan.y_shape)

    def describe(self, plan: Plan) -> Description:
        """What the plan has decided and what comes besides."""
        from .description import Description

        after = self.finish
        return Description(
            x_shape=plan.x_shape,
            y_shape=self.output_shape(plan),
            dtype=self.dtype.name,
            compute_dtype=dtypes.compute_dtype(self.dtype).name,
            data_format=self.data_format,
            activation=self.fused.name,
            activation_after=None if after is None else str(getattr(after, "name", after)),
            isa=plan.isa,
            num_threads=plan.num_threads,
            denormals="ieee" if plan.ieee else "flush",
            **plan.info(),
        )


def run(
    plan: Plan,
    x: Array,
    *,
    dtype: dtypes.DType,
    finish: Activation | None = None,
    out: Array | None = None,
    name: str = "activation",
    num_threads: int | None = None,
) -> Array:
    """Runs a plan on x, of the plan's shape: the last step of `depthwise_conv2d`.

    `dtype` is the result's; the plan was made with a kernel of its compute dtype. `finish` is the
    activation that the plan does not fuse. `out`, if given, is taken to be checked; whatever lies
    between it and the core (strides, float16, `finish`) goes through a temporary that is
    copied at the very end. `name` is what messages about `finish` begin with.

    What is new has recycled memory, but for an array that `finish` returns. Values beyond the range
    of x's or the result's dtype become infinite; that is what casting means, no reason to warn.
    """
    compute = dtypes.compute_dtype(dtype)
    with np.errstate(all="ignore"):
        source = _plain(x, compute)
        plain = out is None or (out.flags.c_contiguous and out.flags.aligned)
        if plain and _direct(dtype, finish):
            return plan.run(source, out, num_threads)
        y = plan.run(source, None, num_threads)
        if finish is not None:
            y = finished(finish, y, name)
            if out is None and y.dtype == dtype and y.flags.c_contiguous:
                return y
        if out is None:
            out = _core.empty(y.shape, dtype)
        out[...] = y
        return out


def _direct(dtype: dtypes.DType, finish: Activation | None) -> bool:
    """Whether the core gives the result as it is to be."""
    return finish is None and dtype == dtypes.compute_dtype(dtype)


def _plain(array: Array, dtype: dtypes.DType) -> Array:
    """`array`, or a copy, as the core wants it: of `dtype`, C-contiguous, aligned, native."""
    flags = array.flags
    if array.dtype == dtype and flags.c_contiguous and flags.aligned and type(array) is np.ndarray:
        return array  # np.require takes microseconds
    with np.errstate(all="ignore"):
        return np.require(array, dtype, ("C", "A"))


def activated_shape(activation: Any, shape: tuple[Any, ...]) -> tuple[Any, ...]:
    """What an activation makes of a shape, in which a size may be None: the same, but for one that
    says otherwise (glu).
    """
    if isinstance(activation, activations.Activation):
        return activation.output_shape(shape)
    return shape


def finished(finish: Activation, y: Array, name: str = "activation") -> Array:
    """What an activation that the plan does not fuse makes of y.

    ValueError, which begins with `name`, for another shape than `activated_shape` says or a dtype
    that y's cannot hold.
    """
    shape, dtype = activated_shape(finish, y.shape), y.dtype
    result = np.asarray(finish(y))
    if result.shape != shape or not np.can_cast(result.dtype, dtype, "same_kind"):
        raise ValueError(
            f"{name}: expected a function that returns shape {shape} and a dtype like {dtype}; "
            f"received shape {result.shape} and dtype {result.dtype} from {finish!r}"
        )
    return result


def _check_out(
    out: Any, shape: tuple[int, ...], dtype: dtypes.DType, inputs: dict[str, Array | None]
) -> Array:
    """`out` as an array of NumPy's own class, whose shape is the memory's, whatever a subclass says
    of itself; with the errors of `depthwise_conv2d`.
    """
    if not issubclass(type(out), np.ndarray):  # `__class__` may be a lie, too
        raise TypeError(
            f"out: expected a NumPy array of shape {shape} and dtype {dtype}; received {type(out)}"
        )
    array: Array = np.asarray(out)
    if array.shape != shape:
        raise ValueError(f"out: expected shape {shape}; received shape {array.shape}")
    if array.dtype != dtype:
        raise TypeError(f"out: expected dtype {dtype}; received dtype {_dtype_name(array.dtype)}")
    if not array.flags.writeable:
        raise ValueError("out: expected a writable array; received a read-only one")
    for name, other in inputs.items():
        if other is not None and _overlap(array, other):
            raise ValueError(
                f"out: expected an array apart from {name}; received one that shares memory with it"
            )
    return array


def _dtype_name(dtype: dtypes.DType) -> str:
    """'float32', or '>f4' for one in foreign byte order, which prints as float32 otherwise."""
    return str(dtype) if dtype.isnative else dtype.str


def _overlap(a: Array, b: Array) -> bool:
    """Whether the arrays share an element; too hard to tell counts as yes."""
    # NumPy takes any bound; its stubs know of two.
    return np.may_share_memory(a, b, max_work=_OVERLAP_WORK)  # type: ignore[arg-type]
