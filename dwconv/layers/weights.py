"""The arrays of one built layer and the plans packed from them.

Shape letters: N batch, H height, W width, C input channels, M depth multiplier, kh/kw kernel
height/width.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..dtypes import DType, check_numeric, is_integer

Array: TypeAlias = NDArray[Any]
Shape: TypeAlias = tuple[int, ...]
Plan: TypeAlias = Any  # what ops.plan returns; only ops knows the compiled module's type

#: What messages call the arrays, in order.
NAMES = ("weights[0], the kernel", "weights[1], the bias")

#: Plans kept per layer: enough for a few image sizes and batch sizes in turn.
PLANS = 8


class Weights(_core.Plans):
    """A kernel (kh, kw, C, M), a bias (C*M,) or None, and a plan for each of the last input shapes.

    The arrays never change: a layer with new weights gets a new object. So no plan can be out of
    date, and a thread that runs while another one sets weights computes with the old ones
    throughout.
    """

    __slots__ = ("_lock", "bias", "kernel", "plans")

    def __init__(self, kernel: Array, bias: Array | None = None) -> None:
        super().__init__()
        self.kernel = kernel
        self.bias = bias
        for array in self.arrays():
            array.flags.writeable = False
        #: Input shape -> plan, oldest first. Read without the lock, which a dict allows.
        self.plans: dict[Shape, Plan] = {}
        self._lock = threading.Lock()

    def arrays(self) -> list[Array]:
        """[kernel, bias] or, without bias, [kernel]."""
        return [self.kernel] if self.bias is None else [self.kernel, self.bias]

    def add_plan(self, shape: Shape, make: Callable[[], Plan], offer: bool) -> Plan:
        """The plan for inputs of `shape`, made outside of the lock and kept in the place of the
        oldest; `offer`: for the layer's calls to use without asking the layer.
        """
        plan = make()
        with self._lock:
            if shape not in self.plans and len(self.plans) >= PLANS:
                del self.plans[next(iter(self.plans))]
            self.plans[shape] = plan
            if offer:
                self.offer(reversed(self.plans.values()))  # the newest is looked at first
        return plan

    def __reduce__(self) -> tuple[type[Weights], tuple[Array, Array | None]]:
        # Copies and pickles hold the arrays; plans are made again where they are needed.
        return Weights, (self.kernel, self.bias)


def read_list(argument: str, weights: Any, use_bias: bool) -> list[Any]:
    """The items of a list [kernel, bias] or, without bias, [kernel]; ValueError for another
    number.
    """
    wanted = "[kernel, bias]" if use_bias else "[kernel], there being no bias,"
    if not isinstance(weights, (list, tuple)):
        raise ValueError(
            f"{argument}: expected {wanted} as a list; received {type(weights).__name__}"
        )
    if len(weights) != 1 + use_bias:
        raise ValueError(f"{argument}: expected {wanted} as a list; received {len(weights)} items")
    return list(weights)


def read_copy(
    argument: str, values: Any, shape: tuple[int | None, ...], dtype: DType, copy: bool = True
) -> Array:
    """A C-contiguous copy of `values`, cast to `dtype`; without `copy` a view if that is enough.

    ValueError, which names the argument, unless its shape is `shape` (None: any size) and, for an
    integer dtype, its values are whole and in range, floats included; TypeError unless it holds
    real numbers.
    """
    array = np.asarray(values)
    check_numeric(array.dtype, argument)
    fits = array.ndim == len(shape) and all(
        wanted in (None, size) for wanted, size in zip(shape, array.shape, strict=True)
    )
    if not fits:
        sizes = str(shape).replace("None", "any")
        raise ValueError(f"{argument}: expected shape {sizes}; received {array.shape}")
    if is_integer(dtype):
        _check_whole(argument, array, dtype)
    # Values beyond a float's range become infinite, which is what casting means and no reason to
    # warn.
    with np.errstate(over="ignore"):
        if copy:
            return np.array(array, dtype, order="C", subok=False)
        return np.require(array, dtype, ["C", "A"]).view(np.ndarray)


def _check_whole(argument: str, array: Array, dtype: DType) -> None:
    """ValueError unless all values are integers that `dtype` holds, so that no weight changes."""
    limits = np.iinfo(dtype)
    # In float64 all of them are compared exactly, as int32's limits are.
    values = array if is_integer(array.dtype) else array.astype(np.float64)
    wrong = ~((values >= limits.min) & (values <= limits.max))
    if not is_integer(array.dtype):
        wrong |= values != np.trunc(values)
    if wrong.any():
        raise ValueError(
            f"{argument}: expected whole values in the range of {dtype}; "
            f"received {array[wrong].flat[0]!r}"
        )
