"""Arrays cut into chunks anywhere, for the tests of `dwconv.dask`."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

Array = NDArray[Any]

pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))


@st.composite
def cuts(draw: Any, size: int) -> tuple[int, ...]:
    """Chunks of an axis, cut anywhere; now and then one of them is empty."""
    edges = draw(st.lists(st.integers(0, size), max_size=3)) if size > 1 else []
    edges = [0, *sorted(edges), size]
    return tuple(np.diff(edges).tolist())


@st.composite
def problems(draw: Any) -> Any:
    """(shape of x, of the kernel, chunks of x, keyword arguments, seed)"""
    sizes = [draw(st.integers(1, high)) for high in (3, 12, 12, 5)]
    kernel = (draw(st.integers(1, 4)), draw(st.integers(1, 4)), sizes[3], draw(st.integers(1, 2)))
    side = st.tuples(st.integers(0, 5), st.integers(0, 5))
    arguments = {
        "strides": draw(pairs),
        "dilation_rate": draw(pairs),
        "padding": draw(st.one_of(st.sampled_from(["same", "valid"]), st.tuples(side, side))),
        "data_format": draw(st.sampled_from(["channels_last", "channels_first"])),
    }
    order = (0, 1, 2, 3) if arguments["data_format"] == "channels_last" else (0, 3, 1, 2)
    shape = tuple(sizes[axis] for axis in order)
    chunks = tuple(draw(cuts(size)) for size in shape)
    return shape, kernel, chunks, arguments, draw(st.integers(0, 2**31))


def values(rng: np.random.Generator, shape: Any, dtype: Any) -> Array:
    """Random numbers of any dtype."""
    if np.dtype(dtype).kind == "i":
        return rng.integers(-100, 100, shape).astype(dtype)
    return rng.standard_normal(shape).astype(dtype)


def same_bits(result: Array, expected: Array) -> None:
    """Dtype, shape and bytes are equal."""
    assert result.dtype == expected.dtype
    assert result.shape == expected.shape
    assert result.tobytes() == expected.tobytes()


def outcome(function: Any, *args: Any, **kwargs: Any) -> tuple[Any, str | None]:
    """(result, None), or (None, the message of the ValueError)."""
    try:
        return function(*args, **kwargs), None
    except ValueError as error:
        return None, str(error)
