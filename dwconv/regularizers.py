"""Regularizers: a penalty on a weight or an output, added to the loss.

A regularizer is a callable array -> float, computed in float64 whatever the array's dtype; the
built-in ones also have `gradient(x)`, the penalty's derivative with respect to x, with x's shape
and dtype. Large arrays are worked on in pieces, so that Ctrl-C ends a long call.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import casts
from .arguments import read_choice, read_number, unwrap
from .dtypes import check_numeric, is_float, read_array
from .registry import Config, Configured, Registry

DEFAULT_FACTOR = 0.01

_DOUBLE = np.dtype(np.float64)
_WORK = 1 << 28  # multiply-adds of one product of matrices: 10 to 50 ms

Array = NDArray[Any]
RegularizerLike = Callable[[Any], Any]


def _factor(argument: str, value: Any, default: float) -> float:
    """A finite number >= 0; None means the default, as in Keras."""
    if unwrap(value) is None:
        return default
    return float(read_number(argument, value, minimum=0))


class Regularizer(Configured):
    """The base class of regularizers.

    A subclass defines `_penalty` and `_slope` on float64 arrays, or `__call__` alone when it is
    never trained with, and, with arguments, `get_config`.
    """

    def __call__(self, x: ArrayLike) -> float:
        """The penalty on an array of any shape, as a float. TypeError unless it holds real
        numbers.
        """
        array = read_array("x", x)
        check_numeric(array.dtype, "x")
        with np.errstate(all="ignore"):
            return float(self._penalty(casts.cast(array, _DOUBLE)))

    def gradient(self, x: ArrayLike) -> Array:
        """d penalty / d x, of x's shape and dtype; where |x| has a kink the derivative is 0."""
        array = read_array("x", x)
        if not is_float(array.dtype):
            raise TypeError(
                f"{type(self).__name__}: expected a floating-point array to differentiate at; "
                f"received {array.dtype}"
            )
        with np.errstate(all="ignore"):
            return casts.cast(self._slope(casts.cast(array, _DOUBLE)), array.dtype)

    def _penalty(self, x: Array) -> Any:
        raise NotImplementedError(f"{type(self).__name__} does not define a penalty")

    def _slope(self, x: Array) -> Array:
        raise NotImplementedError(f"{type(self).__name__} does not define a gradient")


class L1L2(Regularizer):
    """l1 * sum(|x|) + l2 * sum(x^2); a factor of 0 leaves its sum out, whatever x holds.

    Zou and Hastie 2005, 'Regularization and variable selection via the elastic net'.
    """

    def __init__(self, l1: Any = 0.0, l2: Any = 0.0) -> None:
        self.l1 = _factor("l1", l1, 0.0)
        self.l2 = _factor("l2", l2, 0.0)

    def _penalty(self, x: Array) -> Any:
        total = 0.0
        if self.l1:
            total += self.l1 * casts.sums(np.abs, x).item()
        if self.l2:
            total += self.l2 * casts.sums(np.square, x).item()
        return total

    def _slope(self, x: Array) -> Array:
        def slope_of(some: Array) -> Array:
            slope = np.zeros_like(some)
            if self.l1:
                slope += self.l1 * np.sign(some)
            if self.l2:
                slope += 2 * self.l2 * some
            return slope

        return casts.elementwise(slope_of, x, dtype=_DOUBLE)

    def get_config(self) -> Config:
        return {"l1": self.l1, "l2": self.l2}


class L1(L1L2):
    """l1 * sum(|x|). Tibshirani 1996, 'Regression shrinkage and selection via the lasso'."""

    _renamed: ClassVar[Mapping[str, str]] = {"l": "l1"}

    def __init__(self, l1: Any = DEFAULT_FACTOR) -> None:
        super().__init__(_factor("l1", l1, DEFAULT_FACTOR), 0.0)

    def get_config(self) -> Config:
        return {"l1": self.l1}


class L2(L1L2):
    """l2 * sum(x^2). Hoerl and Kennard 1970, 'Ridge regression'."""

    _renamed: ClassVar[Mapping[str, str]] = {"l": "l2"}

    def __init__(self, l2: Any = DEFAULT_FACTOR) -> None:
        super().__init__(0.0, _factor("l2", l2, DEFAULT_FACTOR))

    def get_config(self) -> Config:
        return {"l2": self.l2}


class OrthogonalRegularizer(Regularizer):
    """factor * mean(|u_i . u_j|) over the pairs i < j of rows, or columns, of unit length.

    Vectors shorter than 1e-7 are divided by 1e-7 instead of by their length, as in Keras. A single
    vector has no pairs: the penalty is 0 (Keras: NaN). As in Keras only matrices are accepted:
    ValueError for any other rank, so it fits neither the kernel (kh, kw, C, M) nor the bias of a
    depthwise layer without reshaping.
    """

    _SHORTEST = 1e-7

    def __init__(self, factor: Any = DEFAULT_FACTOR, mode: Any = "rows") -> None:
        self.factor = _factor("factor", factor, DEFAULT_FACTOR)
        self.mode = read_choice("mode", mode, ("rows", "columns"))

    def _vectors(self, x: Array) -> Array:
        if x.ndim != 2:
            raise ValueError(
                f"OrthogonalRegularizer: expected an array of rank 2; received shape {x.shape}"
            )
        return x if self.mode == "rows" else x.T

    def _scale(self, vectors: Array) -> float:
        """The factor over the number of pairs; 0 when there are none."""
        count = vectors.shape[0]
        return self.factor / (count * (count - 1) / 2) if count > 1 else 0.0

    def _penalty(self, x: Array) -> Any:
        vectors = self._vectors(x)
        unit, scale = self._unit(vectors)[0], self._scale(vectors)
        total = 0.0
        for mine, others in _blocks(unit):
            # Of a block with itself the pairs i < j alone, which are above its diagonal.
            products = np.abs(_products(unit[mine], unit[others]))
            total += np.sum(np.triu(products, 1) if mine == others else products)
        return scale * total

    def _slope(self, x: Array) -> Array:
        vectors = self._vectors(x)
        unit, lengths = self._unit(vectors)
        slope = np.zeros(unit.shape)
        for mine, others in _blocks(unit):
            signs = np.sign(_products(unit[mine], unit[others]))
            if mine == others:
                np.fill_diagonal(signs, 0.0)
            for part in _columns(signs.shape, unit.shape[1]):
                slope[mine, part] += signs @ unit[others, part]
                if mine != others:
                    slope[others, part] += signs.T @ unit[mine, part]
        slope = casts.elementwise(np.multiply, slope, self._scale(vectors), dtype=_DOUBLE)
        # Through v / |v|: what lies along u drops out. Below 1e-7 the divisor is constant and
        # nothing drops out.
        along = casts.sums(np.multiply, slope, unit, axis=1)
        along = np.where(lengths > self._SHORTEST, along, 0.0)
        slope = casts.elementwise(
            lambda s, a, u, length: (s - a * u) / length, slope, along, unit, lengths, dtype=_DOUBLE
        )
        return slope if self.mode == "rows" else slope.T

    def _unit(self, vectors: Array) -> tuple[Array, Array]:
        """(the vectors by their lengths, the lengths)"""
        lengths = np.maximum(np.sqrt(casts.sums(np.square, vectors, axis=1)), self._SHORTEST)
        return casts.elementwise(np.divide, vectors, lengths, dtype=_DOUBLE), lengths

    def get_config(self) -> Config:
        return {"factor": self.factor, "mode": self.mode}


def _blocks(unit: Array) -> Iterator[tuple[slice, slice]]:
    """Each pair of blocks of vectors (n, length) once, and each block with itself."""
    size = max(1, min(1024, math.isqrt(_WORK // max(1, unit.shape[1]))))
    blocks = [slice(begin, begin + size) for begin in range(0, len(unit), size)]
    for number, mine in enumerate(blocks):
        for others in blocks[number:]:
            yield mine, others


def _columns(shape: tuple[int, ...], length: int) -> Iterator[slice]:
    """Parts of vectors of that length for products with a matrix of that shape."""
    rows, columns = shape
    step = max(1, min(_WORK // (rows * columns), 4 * casts.PIECE // max(rows, columns)))
    for begin in range(0, length, step):
        yield slice(begin, begin + step)


def _products(a: Array, b: Array) -> Array:
    """a @ b.T"""
    products = np.zeros((len(a), len(b)))
    for part in _columns(products.shape, a.shape[1]):
        products += a[:, part] @ b[:, part].T
    return products


_REGISTRY: Registry[RegularizerLike] = Registry("regularizer", "keras.regularizers")
_REGISTRY.add("L1", L1, "l1")
_REGISTRY.add("L2", L2, "l2")
# Keras 1 wrote its only two regularizers as WeightRegularizer and ActivityRegularizer, with l1 and
# l2.
_REGISTRY.add("L1L2", L1L2, "l1l2", "WeightRegularizer", "ActivityRegularizer")
_REGISTRY.add("OrthogonalRegularizer", OrthogonalRegularizer, "orthogonal_regularizer")
# In Keras 2 'l1_l2' is a function with defaults of its own, unlike the class L1L2 with zeros.
_REGISTRY.add_alias("l1_l2", "L1L2", l1=DEFAULT_FACTOR, l2=DEFAULT_FACTOR)

register = _REGISTRY.register
names = _REGISTRY.names


def get(identifier: Any) -> RegularizerLike | None:
    """The regularizer for None, a name, a config dict, a class, an instance or a callable.

    The bare names 'L1L2' and 'l1l2' mean factors of 0, 'l1_l2' means 0.01 and 0.01.
    ValueError for an unknown name, naming the nearest known ones, and for anything else.
    """
    return _REGISTRY.get(identifier)


def serialize(regularizer: Any) -> Any:
    """None, or what Keras 3 writes: {module, class_name, config, registered_name}."""
    return _REGISTRY.serialize(regularizer)


def deserialize(
    config: Any, custom_objects: Mapping[str, Any] | None = None
) -> RegularizerLike | None:
    """The regularizer that a config of any Keras generation describes.

    custom_objects maps further names to classes or functions, and wins over the built-ins.
    """
    return _REGISTRY.deserialize(config, custom_objects)


__all__ = [
    "L1",
    "L1L2",
    "L2",
    "OrthogonalRegularizer",
    "Regularizer",
    "RegularizerLike",
    "deserialize",
    "get",
    "names",
    "register",
    "serialize",
]


def __dir__() -> list[str]:
    return sorted(__all__)
