"""The weights of one built layer, and the plans that were packed from them.

Shape letters: N batch, H height, W width, C input channels, M depth multiplier, kh/kw kernel
height/width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .. import _core, casts, config
from ..dtypes import DType, check_numeric, is_integer, read_array
from ..locks import Lock
from ..messages import short
from ..ops.kept_plans import drop_oldest
from ..ops.spec import TORCH_HINT

Array: TypeAlias = NDArray[Any]
Shape: TypeAlias = tuple[int, ...]
Plan: TypeAlias = Any  # what ops.make_plan returns; only ops knows the compiled module's type

#: What messages call the arrays, in order.
NAMES = ("weights[0], the kernel", "weights[1], the bias")

#: Plans that a layer keeps whatever they take, unless it is to keep fewer:
#: `config.plan_cache_limits()`.
FEW = 8


class PlanCache(_core.PublishedPlans):
    """The plans for the last sizes of images, within `config.plan_cache_limits()`.

    A plan serves any batch, and plans for several sizes share the packed weights that they have in
    common. A call of a layer looks through the plans that the cache has published, in the compiled
    module, before it comes to Python.
    """

    def __init__(self, before: PlanCache | None = None) -> None:
        """before: that of the weights that these replace, in the same layer."""
        super().__init__()
        #: Image shapes that calls have found right for the layer, whatever its weights.
        self._checked = frozenset() if before is None else frozenset(before._plans)
        #: Input shape without N -> plan, oldest first. Read without the lock, which a dict allows.
        self._plans: dict[Shape, Plan] = {}
        #: Of pullbacks, by what they are and the whole input shape, likewise.
        self._backward: dict[tuple[str, Shape], Any] = {}
        self._lock = Lock()

    def get(self, shape: Shape) -> Plan | None:
        """A plan for inputs of `shape`; None if there is none for images of that size."""
        plan = self._plans.get(shape[1:])
        return None if plan is None else plan.for_batch(shape[0])

    def add(self, shape: Shape, make: Callable[[], Plan], publish: bool) -> Plan:
        """The plan that `make` returns, kept; the oldest ones go if there are too many.

        publish: whether calls of the layer may use the cached plans without asking the layer.
        `make` runs outside of the lock: two threads may both make a plan for a new shape, and one
        of the two is kept.
        """
        plan = make()
        if shape[0] == 0:  # of an empty batch: it may lack what other batches need
            return plan
        with self._lock.held():
            self._share(plan)
            self._plans.pop(shape[1:], None)
            self._plans[shape[1:]] = plan
            most, most_bytes = config.plan_cache_limits()
            few = min(FEW, most)
            while len(self._plans) > few and (
                len(self._plans) > most
                or sum(kept.own_bytes for kept in self._plans.values()) > most_bytes
            ):
                del self._plans[next(iter(self._plans))]
            if publish:
                self.publish(reversed(self._plans.values()))  # the newest is looked at first
        return plan

    def is_known(self, shape: Shape) -> bool:
        """Whether there is, or was for the weights before, a plan for images of `shape`, which the
        layer then can take.
        """
        return shape[1:] in self._plans or shape[1:] in self._checked

    def backward(self, kind: str, shape: Shape, make: Callable[[], Any]) -> Any:
        """What a pullback needs for inputs of `shape`, kept from the first time on: the last few
        that fit the limits. make: makes one, with `own_bytes`, outside of the lock.
        """
        key = (kind, shape)
        found = self._backward.get(key)
        if found is None:
            found = make()
            with self._lock.held():
                self._backward[key] = found
                drop_oldest(self._backward)
        return found

    def share(self, plan: Plan) -> None:
        """Lets a new plan use packed weights of those that are kept, where they are alike."""
        with self._lock.held():
            self._share(plan)

    def _share(self, plan: Plan) -> None:
        for kept in self._plans.values():
            plan.share(kept)

    def image_shapes(self) -> list[Shape]:
        """The input shapes, without N, that have a plan, oldest first."""
        return list(self._plans)


class LayerWeights:
    """A kernel (kh, kw, C, M), a bias (C*M,) or None, and a cache of plans made from them.

    The arrays never change: a layer with new weights gets a new object. So no plan can be out of
    date, and a thread that runs while another one sets weights computes with the old ones to the
    end.
    """

    __slots__ = ("bias", "kernel", "plans")

    def __init__(
        self, kernel: Array, bias: Array | None = None, *, before: PlanCache | None = None
    ) -> None:
        """before: the plans of the weights that these replace, in the same layer."""
        self.kernel = kernel
        self.bias = bias
        self.plans = PlanCache(before)
        for array in self.arrays():
            array.flags.writeable = False

    def arrays(self) -> list[Array]:
        """[kernel, bias] or, without bias, [kernel]."""
        return [self.kernel] if self.bias is None else [self.kernel, self.bias]

    def cast(self, dtype: DType) -> tuple[Array, Array | None]:
        """(kernel, bias or None) in another dtype. A large weight may become infinite there."""
        if self.kernel.dtype == dtype:
            return self.kernel, self.bias
        bias = None if self.bias is None else casts.cast(self.bias, dtype)
        return casts.cast(self.kernel, dtype), bias

    def like(self, values: list[Any], prefix: str) -> LayerWeights:
        """Weights that are copies of `values`, in the shapes and the dtype of these.

        ValueError, which begins with `prefix`, for another shape; TypeError for what is not
        numeric.
        """
        copies = [
            read_copy(f"{prefix}: {name}", value, array.shape, array.dtype)
            for name, value, array in zip(NAMES, values, self.arrays(), strict=False)
        ]
        return LayerWeights(copies[0], copies[1] if len(copies) > 1 else None, before=self.plans)

    def copies(self) -> list[Array]:
        """Copies of `arrays()`."""
        return [casts.copy(array) for array in self.arrays()]

    def __deepcopy__(self, _: Any) -> LayerWeights:
        return LayerWeights(*self.copies())

    def __reduce__(self) -> tuple[type[LayerWeights], tuple[Array, Array | None]]:
        # Copies and pickles hold the arrays; plans are made again where they are needed.
        return LayerWeights, (self.kernel, self.bias)


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
    array = read_array(argument, values)
    check_numeric(array.dtype, argument)
    fits = array.ndim == len(shape) and all(
        wanted in (None, size) for wanted, size in zip(shape, array.shape, strict=True)
    )
    if not fits:
        sizes = str(shape).replace("None", "any")
        hint = TORCH_HINT if _looks_like_torchs(shape, array.shape) else ""
        raise ValueError(f"{argument}: expected shape {sizes}; received {array.shape}{hint}")
    if is_integer(dtype):
        _check_whole(argument, array, dtype)
    if not copy and array.dtype == dtype and array.flags.c_contiguous and array.flags.aligned:
        return array.view(np.ndarray)
    return casts.copy(array, dtype)


def _looks_like_torchs(wanted: tuple[int | None, ...], shape: tuple[int, ...]) -> bool:
    """Whether (C*M, 1, kh, kw) came where (kh, kw, C, M) is wanted."""
    if len(wanted) != 4 or len(shape) != 4 or shape[1] != 1 or shape[2:] != wanted[:2]:
        return False
    channels, multiplier = wanted[2:]
    return shape[0] % (multiplier or 1) == 0 and channels in (None, shape[0] // (multiplier or 1))


def _check_whole(argument: str, array: Array, dtype: DType) -> None:
    """ValueError unless all values are integers that `dtype` holds, so that no weight changes."""
    limits = np.iinfo(dtype)
    for piece in casts.pieces(array.shape):
        some = array[piece]
        with np.errstate(all="ignore"):
            # In float64 all of them are compared exactly, as int32's limits are.
            values = some if is_integer(some.dtype) else some.astype(np.float64)
            wrong = ~((values >= limits.min) & (values <= limits.max))
            if not is_integer(some.dtype):
                wrong |= values != np.trunc(values)
        if wrong.any():
            raise ValueError(
                f"{argument}: expected whole values in the range of {dtype}; "
                f"received {short(some[wrong].flat[0])}"
            )
