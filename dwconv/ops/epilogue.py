"""What surrounds the kernel: x is cast before it, an activation and a cast come after it.

Shape letters: N batch, H height, W width, C input channels, M depth multiplier, OH/OW output
height/width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .. import _core, activations, casts, dtypes
from ..arguments import DataFormat
from .spec import ConvSpec

Array: TypeAlias = NDArray[Any]
Activation: TypeAlias = Callable[[Array], Any]
Fused: TypeAlias = activations.Fused

Plan = _core.Plan  # from here for all others: they don't import the core

LINEAR = Fused("linear")
_CLAMPS = ("linear", "relu", "relu6")
_OVERLAP_WORK = 10_000  # bound of NumPy's exact search for an element that two strided arrays share


@dataclass(frozen=True)
class Epilogue:
    """What a plan of a layer does besides its kernel.

    name         what messages begin with
    dtype        the result's; x is cast to it, and computed in its compute dtype
    data_format  of x and of the result
    fused        the activation in the kernel
    after        the one that NumPy applies to the whole output, or None
    """

    name: str
    dtype: dtypes.DType
    data_format: DataFormat = "channels_last"
    fused: Fused = LINEAR
    after: Activation | None = None

    def is_nothing(self, plan: Plan) -> bool:
        """Whether the plan is all there is to do, for arrays that it takes as they are."""
        return self.after is None and self.dtype == plan.numpy_dtype


class Runs(Protocol):
    """A plan of the core, or what is called as one."""

    @property
    def numpy_dtype(self) -> dtypes.DType:
        """Of x and y."""

    def run(self, x: Array, out: Array | None, num_threads: int | None) -> Array:
        """y for x, in `out` if given."""


def storage_dtype(
    spec: ConvSpec, dtype: dtypes.DType, fused: Fused, after: Activation | None
) -> dtypes.DType:
    """dtype of x and y as the core reads and writes them, for arrays and results of `dtype`: that
    itself, or where the core has no kernels for it the one that it is computed in.

    The core reads and writes float16 and bfloat16 in channels_last, with activations that are
    clamps. The bits are the same either way.
    """
    clamps = after is None and fused.name in _CLAMPS
    if clamps and spec.data_format == "channels_last":
        return dtype
    return dtypes.compute_dtype(dtype)


def run(
    plan: Runs,
    x: Array,
    *,
    dtype: dtypes.DType,
    after: Activation | None = None,
    out: Array | None = None,
    name: str = "activation",
    num_threads: int | None = None,
) -> Array:
    """Casts x, of the plan's shape, runs the plan, applies the activation that is left, casts back.

    `dtype` is the result's; the plan has its `storage_dtype`, or its compute dtype. `after` is the
    activation that the plan does not fuse. `out`, if given, is taken to be checked; whatever lies
    between it and the core (strides, another dtype, `after`) goes through a temporary that is
    copied at the very end. `name` is what messages about `after` begin with.

    What is new has recycled memory, except an array that `after` returns. No floating-point warning
    or error of NumPy's leaves: values beyond the range of x's or the result's dtype become
    infinite, which is what casting means.
    """
    stored = plan.numpy_dtype
    with np.errstate(all="ignore"):
        source = as_the_core_takes_it(x, stored)
        plain = out is None or (out.flags.c_contiguous and out.flags.aligned)
        if plain and after is None and dtype == stored:
            return plan.run(source, out, num_threads)
        y = plan.run(source, None, num_threads)
        if after is not None:
            y = activated(after, y, name)
            if out is None and y.dtype == dtype and y.flags.c_contiguous:
                return y
        if out is None:
            out = _core.empty(y.shape, dtype)
        casts.assign(out, y)
        return out


def as_the_core_takes_it(array: Array, dtype: dtypes.DType) -> Array:
    """`array`, or a copy: of `dtype`, C-contiguous, aligned, in native byte order."""
    flags = array.flags
    if array.dtype == dtype and flags.c_contiguous and flags.aligned and type(array) is np.ndarray:
        return array  # np.require takes microseconds
    copy = np.empty(array.shape, dtype)
    casts.assign(copy, array)
    return copy


def activated_shape(activation: Any, shape: tuple[Any, ...]) -> tuple[Any, ...]:
    """What an activation makes of a shape, in which a size may be None: the same shape, unless the
    activation says otherwise (glu).
    """
    if isinstance(activation, activations.Activation):
        return activation.output_shape(shape)
    return shape


def activated(after: Activation, y: Array, name: str = "activation") -> Array:
    """What an activation that the plan does not fuse makes of y.

    ValueError, which begins with `name`, for another shape than `activated_shape` says or a dtype
    that y's cannot hold.
    """
    shape, dtype = activated_shape(after, y.shape), y.dtype
    result = np.asarray(after(y))
    if result.shape != shape or not np.can_cast(result.dtype, dtype, "same_kind"):
        raise ValueError(
            f"{name}: expected a function that returns shape {shape} and a dtype like {dtype}; "
            f"received shape {result.shape} and dtype {result.dtype} from {after!r}"
        )
    return result


def check_out(
    out: Any, shape: tuple[int, ...], dtype: dtypes.DType, inputs: dict[str, Array | None]
) -> Array:
    """`out` as an array of NumPy's own class, whose shape is the memory's, whatever a subclass says
    of itself; with the errors of `depthwise_conv2d`.
    """
    if not issubclass(type(out), np.ndarray):  # `__class__` may be a lie, too
        raise TypeError(
            f"out: expected a NumPy array of shape {shape} and dtype {dtype}; received {type(out)}"
        )
    array: Array = dtypes.read_array("out", out)
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
