"""dwconv.casts against NumPy's casts, and what they spare the CPU."""

from __future__ import annotations

import ctypes
import ctypes.util
import platform
import sys
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dwconv import _core, casts

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


def test_all_halfs_become_the_floats_of_numpy() -> None:
    """NaN with its payload, too."""
    halfs = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    with np.errstate(all="ignore"):
        expected = halfs.astype(np.float32)
    assert casts.cast(halfs, np.dtype("f4")).tobytes() == expected.tobytes()


@pytest.mark.parametrize("top", [0x33, 0x38, 0x47, 0x7F, 0xB5, 0xFF])
def test_floats_of_a_kind_become_the_halfs_of_numpy(top: int) -> None:
    """Where denormal numbers begin, normal ones, infinities and NaN: every 61st float of 16 million
    each.
    """
    floats = (np.arange(0, 1 << 24, 61, dtype=np.uint32) + np.uint32(top << 24)).view(np.float32)
    with np.errstate(all="ignore"):
        expected = floats.astype(np.float16)
    got = casts.cast(floats, np.dtype("f2"))
    same = got.view(np.uint16) == expected.view(np.uint16)
    assert same.all(), (floats[~same][:5], got[~same][:5], expected[~same][:5])


def test_what_the_compiled_cast_takes() -> None:
    """Plain arrays alone; the others are NumPy's to cast."""

    class Other(np.ndarray[Any, Any]):
        pass

    x = np.ones((4, 6), np.float32)
    y = np.zeros((4, 6), np.float16)
    assert _core.cast_half(x, y)
    assert (y == 1).all()
    assert _core.cast_half(y, x)
    unaligned = np.zeros(97, np.uint8)[1:].view(np.float32).reshape(4, 6)
    read_only = y.copy()
    read_only.flags.writeable = False
    shared = np.zeros(96, np.uint8)
    for source, target in [
        *((x.T.copy().T, y), (x[:, ::2].copy(), y), (x, y.T.copy().T), (x.astype(">f4"), y)),
        *((x, x.copy()), (y, y.copy()), (x.astype("f8"), y), (x, y.view(np.uint16))),
        *((x.view(Other), y), (x, y.view(Other)), (unaligned, y), (x, read_only), (None, y)),
        (shared.view("f4").reshape(4, 6), shared[:48].view("f2").reshape(4, 6)),
    ]:
        before = np.array(target)
        assert not _core.cast_half(source, target)
        assert np.array(target).tobytes() == before.tobytes()


@pytest.mark.skipif(sys.platform != "linux", reason="the number of a rounding mode is Linux'")
def test_no_rounding_mode_changes_a_cast() -> None:
    libm = ctypes.CDLL(ctypes.util.find_library("m") or "libm.so.6")
    upward = {"x86_64": 0x800, "aarch64": 0x400000}.get(platform.machine())
    if upward is None:
        pytest.skip("the number of a rounding mode is not known here")
    values = edges(np.float32)
    expected, got = casts.cast(values, np.dtype("f2")), np.empty(values.shape, "f2")
    mode = libm.fegetround()
    assert libm.fesetround(upward) == 0
    try:
        assert _core.cast_half(values, got)
        assert libm.fegetround() == upward
    finally:
        libm.fesetround(mode)
    assert got.tobytes() == expected.tobytes()


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
