"""Which dtype a convolution has, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dwconv import dtypes

WIDE = np.dtype(np.longdouble)


@pytest.mark.parametrize(
    ("x", "kernel", "expected"),
    [
        ("f4", "f4", "f4"),
        ("f8", "f8", "f8"),
        ("f2", "f2", "f2"),
        ("f4", "f8", "f8"),
        ("f8", "f4", "f8"),
        ("f2", "f4", "f4"),
        ("f8", "f2", "f8"),
        ("u1", "f4", "f4"),
        ("i8", "f4", "f4"),  # the float decides; NumPy would promote to float64
        ("f4", "i8", "f4"),
        ("?", "f8", "f8"),
        ("f2", "u1", "f2"),
        (">f4", "<f4", "=f4"),
        (">f8", ">f8", "=f8"),
        (WIDE, "f4", "f8"),
        ("i4", WIDE, "f8"),
    ],
)
def test_result(x: Any, kernel: Any, expected: str) -> None:
    result = dtypes.result_dtype(np.dtype(x), np.dtype(kernel))
    assert result == np.dtype(expected)
    assert result.isnative


@pytest.mark.parametrize("both", [("i4", "i4"), ("u1", "?"), ("i8", "u2")])
def test_two_integers_are_refused(both: tuple[str, str]) -> None:
    with pytest.raises(TypeError, match="expected x or kernel of a float dtype"):
        dtypes.result_dtype(np.dtype(both[0]), np.dtype(both[1]))


@pytest.mark.parametrize("other", ["c8", "O", "U1", "S1", "M8[s]", "m8[s]", "V4"])
def test_what_is_no_number_is_refused(other: str) -> None:
    message = "expected an array of floats or integers; received dtype"
    with pytest.raises(TypeError, match=f"^x: {message}"):
        dtypes.result_dtype(np.dtype(other), np.dtype("f4"))
    with pytest.raises(TypeError, match=f"^kernel: {message}"):
        dtypes.result_dtype(np.dtype("f4"), np.dtype(other))


def test_computed_in() -> None:
    computed = {str(dtype): str(dtypes.compute_dtype(dtype)) for dtype in dtypes.COMPUTE}
    assert computed == {"float16": "float32", "float32": "float32", "float64": "float64"}
    assert dtypes.compute_dtype(np.dtype(">f4")) == np.dtype("=f4")
    with pytest.raises(TypeError, match="received int32"):
        dtypes.compute_dtype(np.dtype("i4"))
