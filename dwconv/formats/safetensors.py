"""dwconv's native format, a safetensors file with a document in its metadata. docs/format.md
specifies it.

The bytes are read and written here, not by the library `safetensors`. It takes the last of two
tensors of one name, hands out no metadata for bytes in memory, needs two to three times the memory
of the file, and where that is not to be had its allocator ends the process.
"""

from __future__ import annotations

import errno
import json
import math
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import casts
from . import Arrays, Contents, Document, FormatError, bfloat16, native, plain, short
from .budget import Budget
from .native import MAX_HEADER
from .untrusted import parse_object
from .zip_writer import raw

_LENGTH_BYTES = 8
_BFLOAT16 = "BF16"
_DTYPES = {"F16": "<f2", _BFLOAT16: "<V2", "F32": "<f4", "F64": "<f8", "I32": "<i4", "I8": "|i1"}
_NAMES = {
    "float16": "F16",
    "bfloat16": _BFLOAT16,
    "float32": "F32",
    "float64": "F64",
    "int32": "I32",
    "int8": "I8",
}


def dump(document: Document, arrays: Arrays, file: BinaryIO) -> None:
    """Writes a file. ValueError for a document that JSON cannot hold or that is larger than
    MAX_HEADER.
    """
    header: dict[str, Any] = {"__metadata__": native.metadata(document)}
    # Wide items first, as the library does: then each tensor is aligned.
    names = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))
    end = 0
    for name in names:
        array = arrays[name]
        begin, end = end, end + array.nbytes
        header[name] = {
            "dtype": _NAMES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    native.check_length(len(text))
    file.write(len(text).to_bytes(_LENGTH_BYTES, "little") + text)
    for name in names:
        array = arrays[name]
        plain.write(file, raw(casts.cast(array, array.dtype.newbyteorder("<"))))


def load(file: BinaryIO, budget: Budget, mmap: bool = False) -> Contents:
    """What a file holds, read from one open handle, so that a file replaced meanwhile cannot mix
    in. With `mmap` the arrays are views of the file, which must not shrink while they live.

    FormatError for anything that is not a whole file of this format and of a version known here.
    """
    size = budget.size
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
    header = parse_object(file.read(length), "the header", budget)
    document = native.document(header.pop("__metadata__", None), budget)
    start = _LENGTH_BYTES + length
    expected = start + max((_offsets(*item)[1] for item in header.items()), default=0)
    if size != expected:
        what = "truncated" if size < expected else "data after the end"
        raise FormatError(f"{what}: expected {expected} bytes in all; received {size}")
    tensors = _tensors(header)
    arrays = _mapped(tensors, file, start) if mmap else _read(tensors, file)
    return native.contents("a safetensors file", document, arrays)


class _Tensor(NamedTuple):
    """What the header says of a tensor; its bytes are begin ... stop after the header."""

    name: str
    dtype: np.dtype[Any]
    shape: list[int]
    begin: int
    stop: int

    def array(self, data: NDArray[Any]) -> NDArray[Any]:
        """The tensor in native byte order, a view of its bytes where that is possible."""
        array = data.view(self.dtype).reshape(self.shape)
        if array.dtype.kind == "V":
            return bfloat16(f"tensor {short(self.name)}", array)
        return casts.cast(array, array.dtype.newbyteorder("="))


def _tensors(header: dict[str, Any]) -> list[_Tensor]:
    """The tensors in the order of their bytes, which lie one after the other without a gap."""
    tensors = sorted((_tensor(*item) for item in header.items()), key=lambda t: (t.stop, t.begin))
    end = 0
    for tensor in tensors:
        if tensor.begin != end:
            raise FormatError(
                f"damaged: tensor {short(tensor.name)}: expected bytes from {end} on; "
                f"received {tensor.begin}"
            )
        end = tensor.stop
    return tensors


def _offsets(name: str, says: Any) -> list[int]:
    """Where the bytes of a tensor begin and end, after the header."""
    offsets = says.get("data_offsets") if isinstance(says, dict) else None
    if not isinstance(offsets, list) or len(offsets) != 2 or not _are_sizes(offsets):
        raise FormatError(
            f"tensor {short(name)}: expected two data_offsets; received {short(offsets)}"
        )
    return offsets


def _tensor(name: str, says: dict[str, Any]) -> _Tensor:
    """A tensor whose dtype, shape and offsets agree."""
    dtype, shape, offsets = says.get("dtype"), says.get("shape"), _offsets(name, says)
    if not isinstance(dtype, str) or dtype not in _DTYPES:
        known = ", ".join(_DTYPES)
        raise FormatError(
            f"tensor {short(name)}: expected a dtype of {known}; received {short(dtype)}"
        )
    if not isinstance(shape, list) or not _are_sizes(shape) or not _fits_numpy(shape):
        raise FormatError(f"damaged: tensor {short(name)}: expected sizes; received {short(shape)}")
    tensor = _Tensor(name, np.dtype(_DTYPES[dtype]), shape, *offsets)
    if math.prod(shape) * tensor.dtype.itemsize != tensor.stop - tensor.begin:
        raise FormatError(
            f"damaged: tensor {short(name)}: expected {short(shape)}; "
            f"received {tensor.stop - tensor.begin} bytes"
        )
    return tensor


def _are_sizes(values: list[Any]) -> bool:
    return all(type(n) is int and 0 <= n < 2**63 for n in values)


def _fits_numpy(shape: list[int]) -> bool:
    """NumPy makes strides of sizes, of an empty array, too, and has 32 dimensions before 2.0."""
    return len(shape) <= 32 and math.prod(n or 1 for n in shape) < 2**59


def _read(tensors: list[_Tensor], file: BinaryIO) -> Arrays:
    """Each tensor in memory of its own, read once and copied nowhere."""
    arrays: Arrays = {}
    for tensor in tensors:
        expected = tensor.stop - tensor.begin
        data = plain.read(file, expected)
        if len(data) != expected:
            raise FormatError(f"truncated: expected {expected} bytes; received {len(data)}")
        arrays[tensor.name] = tensor.array(data)
    return arrays


def _mapped(tensors: list[_Tensor], file: BinaryIO, start: int) -> Arrays:
    """Views of the file."""
    try:
        content = np.memmap(file, np.uint8, "r")  # once: a mapping each would be an open file each
    except OSError as error:
        if error.errno == errno.ENOMEM:  # no address space is left
            raise MemoryError("mmap: expected room for the file in the address space") from error
        raise
    return {
        tensor.name: tensor.array(content[start + tensor.begin : start + tensor.stop])
        for tensor in tensors
    }
