"""Accepted dtypes, and which one a convolution is computed and returned in.

The rule for the functional operation, by the dtypes of x and kernel:

| x | kernel | result |
|---|---|---|
| float | float | the wider of the two; float32 for float16 with bfloat16 |
| float | integer or bool, and the other way round | the float one |
| integer or bool that int32 holds | the same | int32 |

A float16 or bfloat16 result is computed in float32 and rounded once at the end, after the
activation. float32 and float64 are computed in themselves. Floats beyond float64 (NumPy's
longdouble) are computed and returned in float64. int32 is exact; sums and products wrap modulo
2**32 as NumPy's do.

Arrays of another dtype than the computation's are cast to it, the bias included, but a float is
never cast to an integer. Byte order never matters. All else is a TypeError: wider integers on both
sides, complex numbers, objects, strings, times.

bfloat16 is the dtype of the package ml_dtypes; without that package there is none.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

DType: TypeAlias = np.dtype[Any]

_HALF, _SINGLE, _DOUBLE = np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64)
_INT = np.dtype(np.int32)

#: Name of a result's dtype -> dtype in which it is computed. A new storage dtype: a line here.
COMPUTE: dict[str, DType] = {
    "float16": _SINGLE,
    "bfloat16": _SINGLE,
    "float32": _SINGLE,
    "float64": _DOUBLE,
    "int32": _INT,
}

_INTEGER_KINDS = "biu"

# What `np.asarray` understands by itself.
_ARRAY_PROTOCOLS = ("__array__", "__array_interface__", "__array_struct__", "__buffer__")


def read_array(argument: str, value: Any) -> NDArray[Any]:
    """Anything that NumPy makes an array of as an array, not copied if that is possible.

    That includes what has `__dlpack__` alone, and PyTorch's bfloat16, which NumPy cannot take.
    TypeError, which names the argument, for a masked array, since a convolution knows no mask, for
    what is not in the CPU's memory, and for a tensor that has no plain array, such as one that
    requires gradients.
    """
    if type(value) is np.ndarray:
        return value
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(
            f"{argument}: expected an array without a mask; received a masked array "
            "(its method filled makes one without)"
        )
    if hasattr(value, "__dlpack__") and not any(hasattr(value, name) for name in _ARRAY_PROTOCOLS):
        try:
            return np.from_dlpack(value)
        except (BufferError, RuntimeError, ValueError) as error:
            raise TypeError(
                f"{argument}: expected an array for the CPU; received {error}"
            ) from error
    if value is None or isinstance(value, (str, bytes, os.PathLike, Mapping)):
        kind = "None" if value is None else f"a {type(value).__name__}"
        hint = " (numpy.load reads a file)" if isinstance(value, (str, os.PathLike)) else ""
        raise TypeError(f"{argument}: expected an array; received {kind}{hint}")
    try:
        return _bits_of_bfloat16(value) if _is_torch_bfloat16(value) else np.asarray(value)
    except (RuntimeError, TypeError) as error:
        if not hasattr(value, "__dlpack__"):
            raise
        raise TypeError(f"{argument}: expected an array for the CPU; received {error}") from error
    except ValueError as error:  # lists of different lengths
        raise ValueError(f"{argument}: expected an array; received {error}") from error


def _is_torch_bfloat16(value: Any) -> bool:
    """Whether it is a tensor of PyTorch's of that dtype; PyTorch is not needed to tell."""
    return str(getattr(value, "dtype", None)) == "torch.bfloat16"


def _bits_of_bfloat16(tensor: Any) -> NDArray[Any]:
    """Such a tensor as an array of ml_dtypes' dtype, in the same memory. TypeError without that
    package.
    """
    dtype = named("bfloat16")
    if dtype is None:
        raise TypeError("bfloat16, which needs the package ml_dtypes")
    int16 = getattr(sys.modules["torch"], "int16")  # noqa: B009 - mypy knows no such attribute
    return np.asarray(tensor.view(int16)).view(dtype)


def is_array_like(value: Any) -> bool:
    """Whether it is an array of some library, by NumPy's protocols or DLPack's."""
    return any(hasattr(value, name) for name in (*_ARRAY_PROTOCOLS, "__dlpack__"))


_NAME = re.compile(r"[<>=|]?(\?|[A-Za-z]\w{0,30})").fullmatch


def named(name: Any) -> DType | None:
    """The dtype that NumPy means by a name or type, in native byte order; None if there is none.

    'bfloat16' imports ml_dtypes, if it is installed. Of a text or a list NumPy would also make a
    dtype of many fields, which takes long for one out of a file: neither is a name.
    """
    if isinstance(name, (list, tuple, dict)) or (isinstance(name, str) and not _NAME(name)):
        return None
    if isinstance(name, str) and name == "bfloat16":
        try:
            from ml_dtypes import bfloat16
        except ImportError:
            return None
        name = bfloat16
    try:
        found: DType = np.dtype(name)
        # Not a copy where none is needed: the core tells NumPy's own dtypes by identity.
        return found if found.isnative else found.newbyteorder("=")
    except (TypeError, ValueError):
        return None


def is_float(dtype: DType) -> bool:
    """Whether it holds floats, bfloat16 included."""
    return dtype.kind == "f" or is_bfloat16(dtype)


def is_integer(dtype: DType) -> bool:
    """Whether it holds integers or bools."""
    return dtype.kind in _INTEGER_KINDS


def is_bfloat16(dtype: DType) -> bool:
    """Whether it is the dtype of ml_dtypes, which says that it is of no kind NumPy knows."""
    return dtype.kind == "V" and dtype.name == "bfloat16"


def is_numeric(dtype: DType) -> bool:
    """Whether it holds real numbers."""
    return is_integer(dtype) or is_float(dtype)


def check_numeric(dtype: DType, name: str) -> None:
    """TypeError unless the array argument `name` holds real numbers."""
    if not is_numeric(dtype):
        raise TypeError(f"{name}: expected an array of floats or integers; received dtype {dtype}")


def check_castable(dtype: DType, wanted: DType, name: str) -> None:
    """TypeError unless the argument `name` holds real numbers, integers if `wanted` is integer: a
    cast would drop their fractions.
    """
    check_numeric(dtype, name)
    if is_integer(wanted) and not is_integer(dtype):
        raise TypeError(
            f"{name}: expected integers, the convolution being {wanted}; received dtype {dtype}"
        )


def check_in_range(array: NDArray[Any], wanted: DType, name: str) -> None:
    """ValueError, which names the argument, if `wanted` is an integer dtype that does not hold all
    of the integers in `array`: a cast would wrap them.
    """
    if not is_integer(wanted) or np.can_cast(array.dtype, wanted) or not array.size:
        return
    limits = np.iinfo(wanted)
    wrong = (array < limits.min) | (array > limits.max)
    if wrong.any():
        raise ValueError(
            f"{name}: expected integers that {wanted} holds; received {int(array[wrong].flat[0])}"
        )


def result_dtype(x: DType, kernel: DType) -> DType:
    """dtype of the output for x and a kernel of these dtypes, in native byte order. See above."""
    check_numeric(x, "x")
    check_numeric(kernel, "kernel")
    floats = [dtype for dtype in (x, kernel) if is_float(dtype)]
    if not floats:
        if np.can_cast(x, _INT) and np.can_cast(kernel, _INT):
            return _INT
        raise TypeError(
            f"expected x or kernel of a float dtype, or integers that {_INT} holds (astype makes "
            f"them); received x of {x} and kernel of {kernel}"
        )
    if all(map(is_bfloat16, floats)):
        return floats[0]
    # float32 is the narrowest that holds bfloat16 and another one.
    widest = np.result_type(*(_SINGLE if is_bfloat16(dtype) else dtype for dtype in floats))
    return widest if widest in (_HALF, _SINGLE) else _DOUBLE


def compute_dtype(dtype: DType) -> DType:
    """dtype in which a result of `dtype` is computed. TypeError if it is no result dtype."""
    if dtype in (_SINGLE, _DOUBLE):  # `dtype.name` takes microseconds
        return dtype
    try:
        return COMPUTE[dtype.name]
    except KeyError:
        known = ", ".join(COMPUTE)
        raise TypeError(f"expected one of the dtypes {known}; received {dtype}") from None
