"""Casts between dtypes: in pieces, so that Ctrl-C ends a long one, and to float16 in a time that
depends little on the values.

The values are NumPy's: rounded to nearest, ties to even, infinite beyond a float's range. No
floating-point warning or error leaves a cast.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .dtypes import DType

Array = NDArray[Any]

#: Elements of one step of NumPy's, during which Python sees no signal: a few milliseconds.
PIECE = 1 << 20

#: Where float16's normal numbers begin, where rounding makes them infinite, its smallest step.
_NORMAL, _INFINITE, _STEP = 2.0**-14, 65520.0, 2.0**-24


def cast(array: Array, dtype: DType) -> Array:
    """`array` itself if it is of `dtype`, else a C-contiguous copy that is."""
    if array.dtype == dtype:
        return array
    copy = np.empty(array.shape, dtype)
    assign(copy, array)
    return copy


def assign(out: Array, values: Array) -> None:
    """out[...] = values, of the same shape, cast to out's dtype."""
    wide = values.dtype.kind == "f" and values.dtype.itemsize in (4, 8)
    to_half = wide and out.dtype == np.float16
    with np.errstate(all="ignore"):
        for piece in _pieces(out.shape):
            some = values[piece]
            out[piece] = _exactly_half(some) if to_half else some


def _pieces(shape: tuple[int, ...]) -> Iterator[Any]:
    """Indices that together are the whole array, each of no more than PIECE elements."""
    if math.prod(shape) <= PIECE:
        yield ...
        return
    axis = 0
    while (inner := math.prod(shape[axis + 1 :])) > PIECE:
        axis += 1
    step = PIECE // max(inner, 1)
    for outer in np.ndindex(shape[:axis]):
        for begin in range(0, shape[axis], step):
            yield (*outer, slice(begin, begin + step))


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
