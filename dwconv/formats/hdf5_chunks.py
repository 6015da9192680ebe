"""Datasets of HDF5 in chunks, with the filters that h5py and h5repack offer without extras:
deflate (gzip), shuffle and Fletcher's checksum.

What a dataset unpacks to is compared with a limit before anything is unpacked, and no chunk is
unpacked beyond its size. Section numbers are of the HDF5 File Format Specification 3.0.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import FormatError, short
from .hdf5_links import Read

#: Of all chunked datasets of a file, unpacked: this, or that many times the size of the file. (Only
#: weights of depthwise layers are read, a small part of most files.)
MAX_UNPACKED = 16 << 20
MAX_RATIO = 8

_DEFLATE, _SHUFFLE, _FLETCHER32 = 1, 2, 3
_MAX_LEVELS = 16


class Filter(NamedTuple):
    """One step of a pipeline: its number, and what it was called with."""

    number: int
    arguments: tuple[int, ...]


class Chunks(NamedTuple):
    """The layout of a chunked dataset: where its index is, and the shape of a chunk."""

    tree: int
    shape: tuple[int, ...]


def layout(body: bytes) -> Chunks:
    """What a version 3 layout message of class 2 says (IV.A.2.i)."""
    rank = body[2] if len(body) > 2 else 0
    if not 2 <= rank <= 33 or len(body) < 11 + 4 * rank:
        raise FormatError(f"layout: expected the sizes of a chunk; received {short(body[:16])}")
    (tree,) = struct.unpack_from("<Q", body, 3)
    sizes = struct.unpack_from(f"<{rank}I", body, 11)
    if 0 in sizes:
        raise FormatError(f"layout: expected chunks with elements; received {sizes}")
    return Chunks(tree, sizes[:-1])  # the last is the size of an element


def pipeline(body: bytes) -> list[Filter]:
    """The filters in a pipeline message (IV.A.2.l), in the order in which writing applies them."""
    if len(body) < 2 or body[0] not in (1, 2):
        raise FormatError(f"filters: expected version 1 or 2; received {short(body[:2])}")
    version, count = body[0], body[1]
    at, found = 8 if version == 1 else 2, []
    try:
        for _ in range(count):
            (number,) = struct.unpack_from("<H", body, at)
            named = version == 1 or number >= 256
            length = struct.unpack_from("<H", body, at + 2)[0] if named else 0
            at += 4 if named else 2
            _, arguments = struct.unpack_from("<HH", body, at)
            at += 4
            at += -(-length // 8) * 8 if version == 1 else length
            found.append(Filter(number, struct.unpack_from(f"<{arguments}I", body, at)))
            at += 4 * (arguments + (version == 1 and arguments % 2))
    except struct.error as error:
        raise FormatError(f"filters: expected {count} of them; received fewer") from error
    return found


def read(
    read: Read,
    what: str,
    chunks: Chunks,
    filters: list[Filter],
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
) -> NDArray[Any]:
    """The array of a dataset; what no chunk covers is 0. The caller has checked its size."""
    unknown = [f.number for f in filters if f.number not in (_DEFLATE, _SHUFFLE, _FLETCHER32)]
    if unknown:
        raise FormatError(
            f"{what}: expected the filters gzip, shuffle and fletcher32; received number "
            f"{unknown[0]}. Written again by h5py without it, the file is readable"
        )
    array = np.zeros(shape, dtype)
    size = math.prod(chunks.shape) * dtype.itemsize
    for stored, mask, address, offsets in _index(read, what, chunks, shape):
        data = read(address, stored, what)
        for number in reversed(range(len(filters))):
            if not mask >> number & 1:
                data = _undo(what, filters[number], data, size)
        if len(data) != size:
            raise FormatError(f"{what}: expected chunks of {size} bytes; received {len(data)}")
        chunk = np.frombuffer(data, dtype).reshape(chunks.shape)
        place = tuple(slice(at, at + n) for at, n in zip(offsets, chunks.shape, strict=True))
        held = array[place]
        held[...] = chunk[tuple(slice(0, n) for n in held.shape)]
    return array


def unpacked(chunks: Chunks, shape: tuple[int, ...], itemsize: int) -> int:
    """Bytes of all chunks, those that reach beyond the dataset whole."""
    counts = (-(-size // chunk) for size, chunk in zip(shape, chunks.shape, strict=True))
    return math.prod(counts) * math.prod(chunks.shape) * itemsize


def _undo(what: str, used: Filter, data: bytes, size: int) -> bytes:
    """The bytes as they were before a filter; never more than a chunk and its checksum."""
    if used.number == _FLETCHER32:
        return data[:-4]
    if used.number == _DEFLATE:
        try:
            return zlib.decompressobj().decompress(data, size + 5)
        except zlib.error as error:
            raise FormatError(f"{what}: damaged: {error}") from error
    width = used.arguments[0] if used.arguments else 0
    if not 0 < width <= max(len(data), 1):
        raise FormatError(f"{what}: expected elements to shuffle; received {width} bytes each")
    whole = len(data) // width * width
    shuffled = np.frombuffer(data, np.uint8, whole).reshape(width, -1)
    return shuffled.T.tobytes() + data[whole:]


def _index(
    read: Read, what: str, chunks: Chunks, shape: tuple[int, ...]
) -> Iterator[tuple[int, int, int, tuple[int, ...]]]:
    """(bytes, filters left out, address, offsets) of each chunk in a version 1 B-tree (III.A.1)."""
    rank = len(shape)
    entry = 8 + 8 * (rank + 1) + 8
    seen: set[Any] = set()
    stack: list[tuple[int, int | None]] = [] if chunks.tree == 2**64 - 1 else [(chunks.tree, None)]
    while stack:
        address, wanted = stack.pop()
        head = read(address, 24, what)
        kind, level, count = struct.unpack_from("<BBH", head, 4)
        if head[:4] != b"TREE" or kind != 1 or address in seen:
            raise FormatError(f"{what}: expected an index of chunks; received {short(head[:8])}")
        if level > _MAX_LEVELS or wanted not in (None, level):
            raise FormatError(f"{what}: expected level {wanted} of an index; received {level}")
        seen.add(address)
        body = read(address + 24, count * entry, what)
        for at in range(0, count * entry, entry):
            stored, mask = struct.unpack_from("<II", body, at)
            offsets = struct.unpack_from(f"<{rank}Q", body, at + 8)
            (child,) = struct.unpack_from("<Q", body, at + entry - 8)
            if level:
                stack.append((child, level - 1))
                continue
            aligned = all(
                offset < size and offset % chunk == 0
                for offset, size, chunk in zip(offsets, shape, chunks.shape, strict=True)
            )
            if not aligned or offsets in seen:
                raise FormatError(f"{what}: expected each chunk once; received one at {offsets}")
            seen.add(offsets)
            yield stored, mask, child, offsets
