"""dwconv's native format, a safetensors file with a document in its metadata. docs/format.md
specifies it.

The library `safetensors` writes and reads the bytes. The header is read here as well, before it:
the library takes the last of two tensors of one name and hands out no metadata for bytes in memory.
"""

from __future__ import annotations

import math
import os
from typing import Any, BinaryIO

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from . import Arrays, Contents, Document, FormatError, bfloat16, native, short
from .native import MAX_HEADER
from .untrusted import parse_object

_LENGTH_BYTES = 8
_BFLOAT16 = "BF16"
_DTYPES = {"F16": "<f2", _BFLOAT16: "<V2", "F32": "<f4", "F64": "<f8", "I32": "<i4"}


def dump(document: Document, arrays: Arrays) -> bytes:
    """The bytes of a file. ValueError for a document that JSON cannot hold or that is larger than
    MAX_HEADER.
    """
    content = safetensors.numpy.save(arrays, native.metadata(document))
    native.check_length(int.from_bytes(content[:_LENGTH_BYTES], "little"))
    return content


def load(file: BinaryIO, mmap: bool = False) -> Contents:
    """What a file holds, read from one open handle, so that a file replaced meanwhile cannot mix
    in. With `mmap` the arrays are views of the file, which must not shrink while they live.

    FormatError for anything that is not a whole file of this format and of a version known here.
    """
    size = os.fstat(file.fileno()).st_size
    prefix = file.read(_LENGTH_BYTES)
    if len(prefix) < _LENGTH_BYTES:
        raise FormatError(f"truncated: expected 8 bytes of header length; received {len(prefix)}")
    length = int.from_bytes(prefix, "little")
    if length > size - _LENGTH_BYTES:
        raise FormatError(
            f"truncated, or no safetensors file: expected {length} bytes of header; "
            f"received {size - _LENGTH_BYTES}"
        )
    if length > MAX_HEADER:
        raise FormatError(
            f"no file of dwconv: expected a header of at most {MAX_HEADER} bytes; received {length}"
        )
    raw = file.read(length)
    header = parse_object(raw, "the header")
    document = native.document(header.pop("__metadata__", None))
    start = _LENGTH_BYTES + length
    expected = start + _data_bytes(header)
    if size != expected:
        what = "truncated" if size < expected else "data after the end"
        raise FormatError(f"{what}: expected {expected} bytes in all; received {size}")
    arrays = _mapped(header, file, start) if mmap else _arrays(prefix + raw + file.read())
    return native.contents("a safetensors file", document, arrays)


def _data_bytes(header: dict[str, Any]) -> int:
    """Bytes after the header, by the tensors' offsets, which the library checks in detail."""
    end = 0
    for name, tensor in header.items():
        offsets = tensor.get("data_offsets") if isinstance(tensor, dict) else None
        stop = offsets[1] if isinstance(offsets, list) and len(offsets) == 2 else None
        if type(stop) is not int or not 0 <= stop < 2**63:
            raise FormatError(
                f"tensor {short(name)}: expected two data_offsets; received {short(offsets)}"
            )
        end = max(end, stop)
    return end


def _arrays(content: bytes) -> Arrays:
    try:
        tensors = safetensors.deserialize(content)  # type: ignore[no-untyped-call]
    except safetensors.SafetensorError as error:
        raise FormatError(f"damaged: {error}") from error
    arrays: Arrays = {}
    for name, tensor in tensors:
        dtype, shape = _dtype(name, tensor["dtype"]), tensor["shape"]
        _check_fits_numpy(name, shape)
        array = np.frombuffer(tensor["data"], dtype).reshape(shape)
        arrays[name] = _native(name, array)
    return arrays


def _native(name: str, array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype.kind == "V":
        return bfloat16(f"tensor {short(name)}", array)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _dtype(name: str, dtype: Any) -> str:
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        known = ", ".join(_DTYPES)
        raise FormatError(
            f"tensor {short(name)}: expected a dtype of {known}; received {short(dtype)}"
        )
    return _DTYPES[dtype]


def _check_fits_numpy(name: str, shape: list[int]) -> None:
    """NumPy makes strides of sizes, of an empty array, too, and has 32 dimensions before 2.0."""
    if len(shape) > 32 or math.prod(n or 1 for n in shape) >= 2**59:
        raise FormatError(f"damaged: tensor {short(name)}: expected sizes; received {short(shape)}")


def _mapped(header: dict[str, Any], file: BinaryIO, start: int) -> Arrays:
    """Views of the file. The library, which takes bytes only, does not see it, so that what it
    would check is checked here: the tensors lie one after the other and have the size of their
    shape.
    """
    content = np.memmap(file, np.uint8, "r")  # once: a mapping each would be an open file each
    arrays: Arrays = {}
    end = 0
    for name, tensor in sorted(header.items(), key=lambda item: item[1]["data_offsets"][1]):
        begin, stop = tensor["data_offsets"]
        shape, dtype = tensor.get("shape"), np.dtype(_dtype(name, tensor.get("dtype")))
        sized = isinstance(shape, list) and all(type(n) is int and n >= 0 for n in shape)
        if not sized or type(begin) is not int or begin != end:
            raise FormatError(
                f"damaged: tensor {short(name)}: expected a place; received {short(tensor)}"
            )
        _check_fits_numpy(name, shape)
        if math.prod(shape) * dtype.itemsize != stop - begin:
            raise FormatError(
                f"damaged: tensor {short(name)}: expected {short(shape)}; "
                f"received {stop - begin} bytes"
            )
        end = stop
        array = content[start + begin : start + stop].view(dtype).reshape(shape)
        arrays[name] = _native(name, array)
    return arrays
