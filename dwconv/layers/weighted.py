"""What a layer has because it has a kernel and a bias: reading and setting them, penalties,
constraints, copies.

Shape letters: N batch, C input channels, M depth multiplier, kh/kw kernel height/width.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from numpy.typing import ArrayLike

from .. import _core
from ..arguments import read_bool
from ..dtypes import DType
from .dtype_policy import DTypePolicy
from .weights import NAMES, Array, Weights, read_copy, read_list

if TYPE_CHECKING:
    from . import backward

B = TypeVar("B", bound="WeightedLayer")


class WeightedLayer(_core.PlannedLayer):
    """The part of `DepthwiseConv2D` that is about its weights.

    They are in `_weights`, which the core reads: None until the layer is built, then an object that
    never changes. It is replaced under the lock only.
    """

    name: str
    use_bias: bool
    dtype_policy: DTypePolicy
    depthwise_regularizer: Callable[[Any], Any] | None
    bias_regularizer: Callable[[Any], Any] | None
    depthwise_constraint: Callable[[Any], Any] | None
    bias_constraint: Callable[[Any], Any] | None

    def __init__(self) -> None:
        super().__init__()
        self._activity_loss: float | None = None
        self._trainable = True
        self._lock = threading.Lock()

    # ---- weights ---------------------------------------------------------------------------------

    @property
    def built(self) -> bool:
        """Whether the layer has its weights."""
        return self._weights is not None

    def _built_weights(self) -> Weights:
        weights: Weights | None = self._weights
        if weights is None:
            raise ValueError(f"{self.name}: expected a layer that is built; call build first")
        return weights

    def get_weights(self) -> list[Array]:
        """Copies of the kernel (kh, kw, C, M) and, with use_bias, the bias (C*M,); [] before
        build.
        """
        return [] if self._weights is None else [array.copy() for array in self._weights.arrays()]

    def set_weights(self, weights: Sequence[ArrayLike]) -> None:
        """Puts copies of [kernel] or [kernel, bias] in the place of the weights, cast to their
        dtype.

        ValueError for another number or other shapes, and before the layer is built; TypeError for
        what is not real numbers. Then nothing has changed.
        """
        old = self._built_weights()
        values = read_list(f"{self.name}: weights", weights, self.use_bias)
        self._replace(self._like(old, values))

    def _replace(self, weights: Weights) -> None:
        with self._lock:
            self._weights = weights

    def _drop_plans(self) -> None:
        """Forgets plans that something else than the weights has made wrong."""
        with self._lock:
            if self._weights is not None:
                self._weights = Weights(self._weights.kernel, self._weights.bias)

    def _like(self, old: Weights, values: Sequence[Any]) -> Weights:
        """Copies of `values`, of the shapes that the old weights have."""
        return Weights(
            *(
                read_copy(f"{self.name}: {name}", value, array.shape, self.variable_dtype)
                for name, value, array in zip(NAMES, values, old.arrays(), strict=False)
            )
        )

    @property
    def weights(self) -> list[Array]:
        """[kernel] or [kernel, bias] as read-only arrays, not copied; `set_weights` changes
        them.
        """
        return [] if self._weights is None else [array.view() for array in self._weights.arrays()]

    @property
    def trainable_weights(self) -> list[Array]:
        """`weights` if the layer is trainable, else []."""
        return self.weights if self.trainable else []

    @property
    def non_trainable_weights(self) -> list[Array]:
        """`weights` unless the layer is trainable, else []."""
        return [] if self.trainable else self.weights

    @property
    def kernel(self) -> Array | None:
        """The kernel (kh, kw, C, M), read-only; None before the layer is built."""
        return None if self._weights is None else self._weights.kernel.view()

    @property
    def bias(self) -> Array | None:
        """The bias (C*M,), read-only; None without one and before the layer is built."""
        bias = None if self._weights is None else self._weights.bias
        return None if bias is None else bias.view()

    def count_params(self) -> int:
        """Number of weights, kernel and bias together. ValueError before the layer is built."""
        return sum(array.size for array in self._built_weights().arrays())

    # ---- training --------------------------------------------------------------------------------

    @property
    def trainable(self) -> bool:
        """Whether training changes the weights. May be set; ValueError for anything but a bool."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: Any) -> None:
        self._trainable = read_bool("trainable", value)

    @property
    def losses(self) -> list[float]:
        """Penalties of the last call's output, of the kernel, of the bias, as far as there are
        regularizers.

        The first is of the output after the activation, divided by N (0 for N = 0), and is missing
        before the first call. The other two are missing while the layer is not built or not
        trainable.
        """
        found = [] if self._activity_loss is None else [self._activity_loss]
        penalties = (self.depthwise_regularizer, self.bias_regularizer)
        for penalty, array in zip(penalties, self.trainable_weights, strict=False):
            if penalty is not None:
                found.append(float(penalty(array)))
        return found

    def loss_gradients(self) -> backward.Gradients:
        """The gradients of the penalties of kernel and bias: `losses` without the first, which the
        pullback of `vjp` includes.

        `.kernel` and `.bias` are None without a regularizer, and while the layer is not built or
        not trainable. NotImplementedError for a regularizer without `gradient`.
        """
        from . import backward

        return backward.loss_gradients(self)

    def apply_constraints(self) -> None:
        """Replaces the weights by what the constraints make of them, as Keras does after a training
        step.

        Nothing happens without constraints or before the layer is built; `trainable` makes no
        difference, the call being explicit. ValueError for a constraint that changes the shape.
        """
        old = self._weights
        rules = (self.depthwise_constraint, self.bias_constraint)
        if old is None or rules == (None, None):
            return
        values = [
            array if rule is None else rule(array.copy())
            for rule, array in zip(rules, old.arrays(), strict=False)
        ]
        self._replace(self._like(old, values))

    # ---- dtypes ----------------------------------------------------------------------------------

    @property
    def dtype(self) -> DType:
        """What the weights are made of: `variable_dtype`, as in Keras."""
        return self.dtype_policy.variable

    @property
    def variable_dtype(self) -> DType:
        """What the weights are made of."""
        return self.dtype_policy.variable

    @property
    def compute_dtype(self) -> DType:
        """What inputs are cast to and outputs are made of."""
        return self.dtype_policy.compute

    # ---- copies ----------------------------------------------------------------------------------

    def __copy__(self: B) -> B:
        """A deep copy: two layers share nothing."""
        return copy.deepcopy(self)

    def __getstate__(self) -> dict[str, Any]:
        state = {key: value for key, value in self.__dict__.items() if key != "_lock"}
        return {**state, "_weights": self._weights}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._weights = state["_weights"]
        self.__dict__.update({key: state[key] for key in state.keys() - {"_weights"}})
        self._lock = threading.Lock()
