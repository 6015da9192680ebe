"""Weight constraints: what a weight is replaced with after each training step.

A constraint is a callable weight -> weight of the same shape and dtype. The norms are the L2 norms
along `axis`; for a depthwise kernel (kh, kw, C, M) the default axis 0 means the kernel's columns,
one norm for each of the kw*C*M, and [0, 1] one norm per output channel. As in Keras, 1e-7 is added
to a norm before dividing by it. Large weights are worked on in pieces, so that Ctrl-C ends a long
call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import casts
from .arguments import read_axes, read_number
from .dtypes import is_float, read_array
from .messages import short
from .registry import Config, Configured, Registry

EPSILON = 1e-7

Array = NDArray[Any]
ConstraintLike = Callable[[Any], Any]


class Constraint(Configured):
    """The base class; a subclass defines `__call__` and, with arguments, `get_config`."""

    def __call__(self, w: ArrayLike) -> Array:
        """The constrained weight."""
        raise NotImplementedError(f"{type(self).__name__} does not define __call__")


class NonNeg(Constraint):
    """max(w, 0). NaN stays NaN; integers are fine."""

    def __call__(self, w: ArrayLike) -> Array:
        weight = read_array("w", w)
        return casts.elementwise(lambda some: np.maximum(some, 0), weight, dtype=weight.dtype)


class _NormConstraint(Constraint):
    """w * target(norm) / (1e-7 + norm), computed in float64, returned in w's dtype."""

    def __init__(self, axis: Any = 0) -> None:
        self.axis = read_axes("axis", axis)

    def _target(self, norm: Array) -> Array:
        raise NotImplementedError

    def __call__(self, w: ArrayLike) -> Array:
        """The weight rescaled; TypeError unless it holds floats: nothing else can be rescaled."""
        weight = read_array("w", w)
        if not is_float(weight.dtype):
            raise TypeError(
                f"{type(self).__name__}: expected a floating-point weight; received {weight.dtype}"
            )
        axis = tuple(self.axis) if isinstance(self.axis, list) else self.axis

        # float64, so that the squares of large float32 or float16 weights do not overflow.
        def squares(some: Array) -> Array:
            return np.square(some.astype(np.float64))

        def scaled(some: Array, factor: Array) -> Array:
            return some.astype(np.float64) * factor

        def factor(squared: Array) -> Array:
            norm = np.sqrt(squared)
            return self._target(norm) / (EPSILON + norm)

        total = casts.sums(squares, weight, axis=axis)
        factors = casts.elementwise(factor, total, dtype=total.dtype)
        return casts.elementwise(scaled, weight, factors, dtype=weight.dtype)


class MaxNorm(_NormConstraint):
    """Norms of at most `max_value`: w * min(norm, max_value) / (1e-7 + norm).

    Srivastava et al. 2014, 'Dropout', section 5.1. Keras 1 called the argument `m`.
    """

    _renamed: ClassVar[Mapping[str, str]] = {"m": "max_value"}

    def __init__(self, max_value: Any = 2, axis: Any = 0) -> None:
        super().__init__(axis)
        self.max_value = read_number("max_value", max_value, minimum=0)

    def _target(self, norm: Array) -> Array:
        return np.minimum(norm, self.max_value)

    def get_config(self) -> Config:
        return {"max_value": self.max_value, "axis": self.axis}


class UnitNorm(_NormConstraint):
    """Norms of 1: w / (1e-7 + norm). A zero vector stays zero."""

    def _target(self, norm: Array) -> Array:
        return np.ones_like(norm)

    def get_config(self) -> Config:
        return {"axis": self.axis}


class MinMaxNorm(_NormConstraint):
    """Norms moved towards [min_value, max_value] by the share `rate`, 1 being all the way.

    w * (rate * clip(norm, min_value, max_value) + (1 - rate) * norm) / (1e-7 + norm).
    ValueError for min_value > max_value or a rate outside [0, 1].
    """

    _renamed: ClassVar[Mapping[str, str]] = {"low": "min_value", "high": "max_value"}

    def __init__(
        self, min_value: Any = 0.0, max_value: Any = 1.0, rate: Any = 1.0, axis: Any = 0
    ) -> None:
        super().__init__(axis)
        self.min_value = read_number("min_value", min_value, minimum=0)
        self.max_value = read_number("max_value", max_value, minimum=0)
        self.rate = read_number("rate", rate, minimum=0)
        if self.min_value > self.max_value:
            raise ValueError(
                f"expected min_value <= max_value; received {self.min_value} and {self.max_value}"
            )
        if self.rate > 1:
            raise ValueError(f"rate: expected a number in [0, 1]; received {short(rate)}")

    def _target(self, norm: Array) -> Array:
        inside = np.clip(norm, self.min_value, self.max_value)
        return np.asarray(self.rate * inside + (1 - self.rate) * norm)

    def get_config(self) -> Config:
        return {
            "min_value": self.min_value,
            "max_value": self.max_value,
            "rate": self.rate,
            "axis": self.axis,
        }


_REGISTRY: Registry[ConstraintLike] = Registry("constraint", "keras.constraints")
_REGISTRY.add("MaxNorm", MaxNorm, "max_norm", "maxnorm")
_REGISTRY.add("NonNeg", NonNeg, "non_neg", "nonneg")
_REGISTRY.add("UnitNorm", UnitNorm, "unit_norm", "unitnorm")
_REGISTRY.add("MinMaxNorm", MinMaxNorm, "min_max_norm", "minmaxnorm")

register = _REGISTRY.register
names = _REGISTRY.names


def get(identifier: Any) -> ConstraintLike | None:
    """The constraint for None, a name, a config dict, a class, an instance or a callable w -> w.

    ValueError for an unknown name, naming the nearest known ones, and for anything else.
    """
    return _REGISTRY.get(identifier)


def serialize(constraint: Any) -> Any:
    """None, or what Keras 3 writes: {module, class_name, config, registered_name}."""
    return _REGISTRY.serialize(constraint)


def deserialize(
    config: Any, custom_objects: Mapping[str, Any] | None = None
) -> ConstraintLike | None:
    """The constraint that a config of any Keras generation describes.

    custom_objects maps further names to classes or functions, and wins over the built-ins.
    """
    return _REGISTRY.deserialize(config, custom_objects)


__all__ = [
    "Constraint",
    "ConstraintLike",
    "MaxNorm",
    "MinMaxNorm",
    "NonNeg",
    "UnitNorm",
    "deserialize",
    "get",
    "names",
    "register",
    "serialize",
]


def __dir__() -> list[str]:
    return sorted(__all__)
