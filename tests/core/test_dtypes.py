"""Which dtype a convolution has, and what is refused."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from support import run_python

from dwconv import dtypes

WIDE = np.dtype(np.longdouble)
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


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
        (BFLOAT16, BFLOAT16, BFLOAT16),
        (BFLOAT16, "f2", "f4"),  # NumPy finds no common dtype
        ("f4", BFLOAT16, "f4"),
        (BFLOAT16, "f8", "f8"),
        (BFLOAT16, "i8", BFLOAT16),
        ("?", BFLOAT16, BFLOAT16),
        ("i4", "i4", "i4"),
        (">i4", "i1", "i4"),
        ("u2", "?", "i4"),
    ],
)
def test_result(x: Any, kernel: Any, expected: str) -> None:
    result = dtypes.result_dtype(np.dtype(x), np.dtype(kernel))
    assert result == np.dtype(expected)
    assert result.isnative


@pytest.mark.parametrize("both", [("i8", "i4"), ("u1", "u4"), ("i8", "u8")])
def test_integers_that_int32_cannot_hold_are_refused(both: tuple[str, str]) -> None:
    with pytest.raises(TypeError, match="expected x or kernel of a float dtype, or integers that"):
        dtypes.result_dtype(np.dtype(both[0]), np.dtype(both[1]))


@pytest.mark.parametrize("other", ["c8", "O", "U1", "S1", "M8[s]", "m8[s]", "V4"])
def test_what_is_no_number_is_refused(other: str) -> None:
    message = "expected an array of floats or integers; received dtype"
    with pytest.raises(TypeError, match=f"^x: {message}"):
        dtypes.result_dtype(np.dtype(other), np.dtype("f4"))
    with pytest.raises(TypeError, match=f"^kernel: {message}"):
        dtypes.result_dtype(np.dtype("f4"), np.dtype(other))


def test_computed_in() -> None:
    computed = {
        name: str(dtypes.compute_dtype(np.dtype(getattr(ml_dtypes, name, name))))
        for name in ("float16", "bfloat16", "float32", "float64", "int32")
    }
    assert computed == {
        "float16": "float32",
        "bfloat16": "float32",
        "float32": "float32",
        "float64": "float64",
        "int32": "int32",
    }
    assert dtypes.compute_dtype(np.dtype(">f4")) == np.dtype("=f4")
    with pytest.raises(TypeError, match="received int64"):
        dtypes.compute_dtype(np.dtype("i8"))
    with pytest.raises(TypeError, match="received float8"):
        dtypes.compute_dtype(np.dtype(ml_dtypes.float8_e4m3fn))


def test_without_ml_dtypes() -> None:
    """Everything but bfloat16 works; that is an error which says what it needs."""
    code = (
        "import sys; sys.modules['ml_dtypes'] = None\n"
        "import dwconv, numpy as np\n"
        "assert dwconv.DepthwiseConv2D(1, dtype='float16')(np.ones((1, 1, 1, 1))).dtype == 'e'\n"
        "dwconv.DepthwiseConv2D(1, dtype='bfloat16')\n"
    )
    done = run_python("-c", code)
    wanted = "received 'bfloat16'; bfloat16 needs the package ml_dtypes"
    assert wanted in done.stderr.splitlines()[-1], done.stderr
