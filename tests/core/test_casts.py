"""dwconv.casts against NumPy's casts, and what they spare the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dwconv import casts

Array = NDArray[Any]


def edges(dtype: Any) -> Array:
    """Every finite float16, the middle between it and the next, and the numbers beside both."""
    halfs = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float64)
    after = np.append(halfs[1:], 65536.0)
    exact = np.concatenate([halfs, (halfs + after) / 2]).astype(dtype)
    up, down = (np.nextafter(exact, dtype(to)) for to in (np.inf, -np.inf))
    largest = np.array([np.finfo(dtype).max, np.finfo(dtype).tiny, np.inf, np.nan], dtype)
    values = np.concatenate([exact, up, down, largest])
    return np.concatenate([values, -values])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_halfs_are_those_of_numpy(dtype: Any) -> None:
    values = edges(dtype)
    with np.errstate(all="ignore"):
        expected = values.astype(np.float16)
    got = casts.cast(values, np.dtype(np.float16))
    same = got.view(np.uint16) == expected.view(np.uint16)
    assert same.all(), (values[~same][:5], got[~same][:5], expected[~same][:5])
    swapped = casts.cast(values.astype(values.dtype.newbyteorder()), np.dtype(np.float16))
    assert swapped.tobytes() == expected.tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numpy_sets_no_flag_of_the_cpu(dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each one takes a hundred cycles. NumPy's own cast of the same values sets them."""
    values = edges(dtype)
    values = values[np.isfinite(values)]
    exact = casts._exactly_half(values)
    with np.errstate(over="raise", under="raise"):
        exact.astype(np.float16)
        for flagged in (np.array([3e-8], dtype), np.array([65520], dtype)):
            with pytest.raises(FloatingPointError):
                flagged.astype(np.float16)


@pytest.mark.parametrize(
    "shape",
    [(), (0,), (0, 3), (7,), (23,), (3, 7), (2, 11, 1), (30, 2), (2, 3, 5), (5, 1, 3, 4), (1, 40)],
)
def test_pieces_are_the_whole_array(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(casts, "PIECE", 10)
    count = np.zeros(shape, int)
    for piece in casts.pieces(shape):
        assert count[piece].size <= 10
        count[piece] += 1
    assert (count == 1).all(), (shape, count)
    values = np.random.default_rng(0).standard_normal(shape)
    np.testing.assert_array_equal(casts.cast(values.T, np.dtype("f4")), values.T.astype("f4"))
