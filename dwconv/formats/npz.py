"""NumPy's .npz with a document: the arrays by name, and as `__metadata__` what the native format
has under that name, a JSON object, as bytes. Pickles are neither written nor read.

The headers are read here: NumPy's own reader evaluates them as Python literals.
"""

from __future__ import annotations

import io
import json
import math
import re
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from .. import casts
from . import Arrays, Contents, Document, FormatError, bfloat16, native, short, zip_writer
from .budget import Budget
from .untrusted import Archive, parse_object

METADATA = "__metadata__"

# Each size is followed by a comma or the end, so that digits split in one way only: with another
# choice a number of 70 digits would be tried in billions of them.
_HEADER = re.compile(
    rb"\{'descr': '([<>|=]?[a-zA-Z]\d{1,8})', 'fortran_order': (True|False), "
    rb"'shape': \(((?:\d{1,18}(?:, ?|(?=\)))){0,8})\), ?\} *\n"
)
#: What NumPy writes for bfloat16, a dtype that it does not know.
_BFLOAT16 = "<V2"
_DTYPES = (_BFLOAT16, "<f2", "<f4", "<f8", "<i4", ">f2", ">f4", ">f8", ">i4", "|i1")


def dump(document: Document, arrays: Arrays, file: BinaryIO) -> None:
    """Writes a file. ValueError for a document that JSON cannot hold or that is too large."""
    text = json.dumps(native.metadata(document)).encode("ascii")
    native.check_length(len(text))
    if METADATA in arrays:
        raise ValueError(f"expected another name of a layer; received {METADATA!r}")
    members: dict[str, NDArray[Any]] = {**arrays, METADATA: np.array(text)}
    with zip_writer.archive(file) as archive:
        for name, array in members.items():
            header = io.BytesIO()
            descr = np.lib.format.dtype_to_descr(array.dtype)
            form = {"descr": descr, "fortran_order": False, "shape": array.shape}
            np.lib.format.write_array_header_1_0(header, form)
            zip_writer.add(archive, f"{name}.npy", header.getvalue(), zip_writer.raw(array))


def load(file: BinaryIO, budget: Budget) -> Contents:
    """What a file holds. FormatError for anything but an archive of plain arrays."""
    archive = Archive(file, budget)
    arrays: Arrays = {}
    metadata: Any = None
    total, most = 0, max(16 << 20, 8 * archive.size)
    for member in archive.names():
        name, dot, suffix = member.rpartition(".")
        if (dot, suffix) != (".", "npy"):
            raise FormatError(f"expected members that end in .npy; received {short(member)}")
        data = archive.read(member, native.MAX_HEADER + 4096 if name == METADATA else None)
        total += len(data)
        if total > most:
            raise FormatError(f"expected {most} bytes of arrays at most; received more")
        if name == METADATA:
            metadata = parse_object(_bytes(data), METADATA, budget)
        else:
            arrays[name] = _array(name, data)
    return native.contents("an npz file", native.document(metadata, budget), arrays)


def _header(name: str, data: bytes | memoryview) -> tuple[str, bool, tuple[int, ...], int]:
    """(dtype, Fortran order, shape, where the data begin); numpy.lib.format describes it."""
    if data[:6] != b"\x93NUMPY" or len(data) < 12:
        raise FormatError(f"{name}: expected an array of NumPy; received {short(bytes(data[:6]))}")
    wide = data[6] != 1
    start = 12 if wide else 10
    end = start + int.from_bytes(data[8:start], "little")
    match = _HEADER.fullmatch(data, start, end)
    if match is None or end > len(data):
        raise FormatError(
            f"{name}: expected a plain array; received {short(bytes(data[start:end]))}"
        )
    sizes = tuple(int(size) for size in match[3].replace(b" ", b"").split(b",") if size)
    return match[1].decode(), match[2] == b"True", sizes, end


def _array(name: str, data: bytes | memoryview) -> NDArray[Any]:
    dtype, fortran, shape, start = _header(name, data)
    if dtype not in _DTYPES:
        raise FormatError(f"{name}: expected floats, int8 or int32; received {dtype!r}")
    needed = math.prod(shape) * int(dtype[-1])
    product = math.prod(size or 1 for size in shape)
    if needed != len(data) - start or product >= 2**59:
        raise FormatError(f"{name}: expected {needed} bytes of data; received {len(data) - start}")
    array = np.frombuffer(data, dtype, offset=start).reshape(shape, order="F" if fortran else "C")
    if dtype == _BFLOAT16:
        return bfloat16(name, array)
    return casts.cast(array, array.dtype.newbyteorder("="))


def _bytes(data: bytes | memoryview) -> bytes:
    dtype, _, shape, start = _header(METADATA, data)
    if dtype[:2] != "|S" or shape != ():
        raise FormatError(f"{METADATA}: expected bytes; received {dtype!r} of shape {shape}")
    return bytes(data[start:]).rstrip(b"\0")
