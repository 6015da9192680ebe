"""Accepted dtypes, and which one a convolution is computed and returned in.

The rule for the functional operation, by the dtypes of x and kernel:

| x | kernel | result |
|---|---|---|
| float | float | the wider of the two |
| float | integer or bool, and the other way round | the float one |
| integer or bool | integer or bool | TypeError: exact integers are not there yet |

Then float16 is computed in float32 and rounded once at the end, after the activation; float32 and
float64 are computed as they are; floats beyond float64 (NumPy's longdouble) are computed and
returned in float64. What has another dtype than the computation, the bias always included, is cast
to it. Byte order never matters. Anything else (complex, object, strings, times) is a TypeError.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

DType: TypeAlias = np.dtype[Any]

#: dtype of a result -> dtype in which it is computed. A new storage dtype: a line here.
COMPUTE: dict[DType, DType] = {
    np.dtype(np.float16): np.dtype(np.float32),
    np.dtype(np.float32): np.dtype(np.float32),
    np.dtype(np.float64): np.dtype(np.float64),
}

FLOAT_KIND = "f"
INTEGER_KINDS = "biu"


def check_numeric(dtype: DType, name: str) -> None:
    """TypeError unless the array argument `name` holds real numbers."""
    if dtype.kind not in FLOAT_KIND + INTEGER_KINDS:
        raise TypeError(f"{name}: expected an array of floats or integers; received dtype {dtype}")


def result_dtype(x: DType, kernel: DType) -> DType:
    """dtype of the output for x and a kernel of these dtypes, in native byte order. See above."""
    check_numeric(x, "x")
    check_numeric(kernel, "kernel")
    floats = [dtype for dtype in (x, kernel) if dtype.kind == FLOAT_KIND]
    if not floats:
        raise TypeError(
            f"expected x or kernel of a float dtype, which the other is cast to; "
            f"received x of {x} and kernel of {kernel}"
        )
    widest = np.result_type(*floats)
    return widest if widest in COMPUTE else np.dtype(np.float64)


def compute_dtype(dtype: DType) -> DType:
    """dtype in which a result of `dtype` is computed. TypeError if it is no result dtype."""
    try:
        return COMPUTE[dtype.newbyteorder("=")]
    except KeyError:
        known = ", ".join(str(known) for known in COMPUTE)
        raise TypeError(f"expected one of the dtypes {known}; received {dtype}") from None
