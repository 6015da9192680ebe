"""Casts, copies and functions of single elements: in pieces, so that Ctrl-C ends a long one. Casts
between float32 and float16 take the same time whatever the values, from float64 to float16 nearly.

The values are NumPy's: rounded to nearest, ties to even, infinite beyond a float's range. No
floating-point warning or error leaves a cast.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _core
from .dtypes import DType

Array = NDArray[Any]

#: Elements of one step of NumPy's, during which Python sees no signal: a few milliseconds.
PIECE = 1 << 20

#: Where float16's normal numbers begin, where rounding makes them infinite, its smallest step.
_NORMAL, _INFINITE, _STEP = 2.0**-14, 65520.0, 2.0**-24


def cast(array: Array, dtype: DType) -> Array:
    """`array` itself if it is of `dtype`, else a C-contiguous copy that is."""
    return array if array.dtype == dtype else copy(array, dtype)


def copy(array: Array, dtype: DType | None = None) -> Array:
    """A C-contiguous copy of `array`, in its own dtype for None."""
    made = np.empty(array.shape, array.dtype if dtype is None else dtype)
    assign(made, array)
    return made


def filled(shape: tuple[int, ...], value: Any, dtype: DType) -> Array:
    """`value`, a number or an array that is broadcast to the shape, everywhere."""
    made = np.empty(shape, dtype)
    assign(made, np.broadcast_to(np.asarray(value), shape))
    return made


def assign(out: Array, values: Array) -> None:
    """out[...] = values, of the same shape, cast to out's dtype."""
    wide = values.dtype.kind == "f" and values.dtype.itemsize in (4, 8)
    to_half = wide and out.dtype == np.float16
    with np.errstate(all="ignore"):
        for piece in pieces(out.shape):
            some = values[piece]
            if not _core.cast_half(some, out[piece]):
                out[piece] = _exactly_half(some) if to_half else some


def elementwise(function: Callable[..., Any], *arrays: Any, dtype: DType) -> Array:
    """A new array of `dtype` and of the first one's shape: function(*arrays), which takes what is
    at the same place of each. The others are broadcast to that shape.
    """
    made = np.empty(arrays[0].shape, dtype)
    alike = [np.broadcast_to(np.asarray(array), made.shape) for array in arrays]
    with np.errstate(all="ignore"):
        for piece in pieces(made.shape):
            assign(made[piece], np.asarray(function(*(array[piece] for array in alike))))
    return made


def sums(
    function: Callable[..., Any], *arrays: Array, axis: int | tuple[int, ...] | None = None
) -> Array:
    """The sums of function(*arrays), floats, over an axis, several or (None) all, which stay with
    length 1. `function` takes arrays of one shape and returns one of that shape.
    """
    shape = arrays[0].shape
    total = None
    with np.errstate(all="ignore"):
        for piece in pieces(shape):
            some = np.sum(function(*(array[piece] for array in arrays)), axis=axis, keepdims=True)
            if piece is ...:
                return np.asarray(some)
            if total is None:
                # Of sizes 0 the axes of length 1 are those that are summed.
                lengths = np.sum(np.empty((0,) * len(shape)), axis=axis, keepdims=True).shape
                total = np.zeros(np.where(lengths, lengths, shape), some.dtype)
            ends = zip(piece, lengths, strict=False)
            total[tuple(slice(None) if length else part for part, length in ends)] += some
    return np.asarray(total)


def pieces(shape: tuple[int, ...], most: int | None = None) -> Iterator[Any]:
    """Indices that together are the whole array, in C order, each of no more than `most` elements
    (None: PIECE): `...`, or a slice for each of the first axes.
    """
    most = PIECE if most is None else most
    if math.prod(shape) <= most:
        yield ...
        return
    axis = 0
    while (inner := math.prod(shape[axis + 1 :])) > most:
        axis += 1
    step = most // max(inner, 1)
    for outer in np.ndindex(shape[:axis]):
        for begin in range(0, shape[axis], step):
            yield (*(slice(i, i + 1) for i in outer), slice(begin, begin + step))


def _exactly_half(values: Array) -> Array:
    """`values` with those rounded for which NumPy's cast to float16 sets a flag of the CPU.

    These are the denormal and the infinite results. For each the flag takes a hundred cycles: all
    in all 26 times as long (NumPy 2.4, Zen 5). What is rounded already sets none.
    """
    size = np.abs(values)
    flagged = ((size < _NORMAL) & (size > 0)) | (size >= _INFINITE)
    some = values[flagged]
    if not some.size:
        return values
    # Numbers around this one have float16's smallest step between them; the addition rounds.
    near = values.dtype.type(1.5 * _STEP / np.finfo(values.dtype).eps)
    rounded = np.where(np.abs(some) < _NORMAL, (some + near) - near, np.inf)
    exact = np.array(values)
    exact[flagged] = np.copysign(rounded, some)
    return exact
