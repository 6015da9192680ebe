"""Groups of HDF5 in the newer layout: link messages, and a heap and an index for many of them.

HDF5 uses it for a group as soon as one name in it is not ASCII. A group of at most eight members
keeps a link message for each in its object header. A larger one keeps the same messages in a
fractal heap and finds them by a version 2 B-tree. Section numbers are of the HDF5 File Format
Specification 3.0, as in `hdf5`, whose checks and limits hold here, too.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

from . import FormatError, short

#: (offset, count, what) -> that many bytes of the file, checked and charged to its budget.
Read: TypeAlias = Callable[[int, int, str], bytes]

_UNDEFINED = 2**64 - 1
_BY_NAME = 5  # type of a B-tree of links, by the hash of their names
_MAX_DEPTH = 16  # of a B-tree or of blocks within blocks
_NODE_OVERHEAD = 10  # bytes of a B-tree's node: signature, version, type, checksum
_MAX_NODE = 1 << 20
_MAX_WIDTH = 1 << 10  # blocks in a row of a heap; HDF5 has 4
_MAX_MESSAGE = 1 << 16


class LinkInfo(NamedTuple):
    """Where a group keeps its links if not in its header (IV.A.2.c)."""

    heap: int
    tree: int


def link_info(body: bytes) -> LinkInfo | None:
    """What a link info message says; None if the links are in the header."""
    if len(body) < 18 or body[0] != 0:
        raise FormatError(f"link info: expected version 0; received {short(body[:18])}")
    at = 2 + 8 * (body[1] & 1)
    if len(body) < at + 16:
        raise FormatError(f"link info: expected {at + 16} bytes; received {len(body)}")
    heap, tree = struct.unpack_from("<QQ", body, at)
    return None if heap == _UNDEFINED else LinkInfo(heap, tree)


def link(body: bytes) -> tuple[bytes, int | None]:
    """(name, address of the object header) of a link message (IV.A.2.g); no address for a symbolic
    link, which nothing of Keras makes.
    """
    if len(body) < 4 or body[0] != 1:
        raise FormatError(f"link: expected version 1; received {short(body[:4])}")
    flags, at, kind = body[1], 2, 0
    if flags & 8:
        kind, at = body[at], at + 1
    at += 8 * bool(flags & 4) + bool(flags & 16)  # creation order, character set
    width = 1 << (flags & 3)
    start = at + width
    end = start + int.from_bytes(body[at:start], "little")
    if end + 8 * (kind == 0) > len(body):
        raise FormatError(f"link: expected a name of {end - start} bytes; received {len(body)}")
    name = body[start:end]
    return name, None if kind else int.from_bytes(body[end : end + 8], "little")


def stored_links(read: Read, info: LinkInfo) -> Iterator[bytes]:
    """The link messages in a group's heap, in the order of its index."""
    heap = _Heap(read, info.heap)
    for record in _records(read, info.tree):
        yield heap.object(record[4:])  # after the hash of the name


# ---- version 2 B-trees (III.A.2) -----------------------------------------------------------------


def _records(read: Read, address: int) -> Iterator[bytes]:
    """The records of a B-tree, in order."""
    what = "B-tree of links"
    head = read(address, 38, what)
    node_size, size, depth = struct.unpack_from("<IHH", head, 6)
    root, count = struct.unpack_from("<QH", head, 16)
    if head[:6] != b"BTHD\0" + bytes([_BY_NAME]) or depth > _MAX_DEPTH or not 4 < size < 100:
        raise FormatError(f"{what}: expected one by names; received {short(head[:16])}")
    if not _NODE_OVERHEAD + size <= node_size <= _MAX_NODE:
        raise FormatError(f"{what}: expected nodes of a sane size; received {node_size}")
    pointers = list(_pointers(node_size, size, depth))
    if root == _UNDEFINED:
        return
    seen: set[int] = set()

    def below(address: int, count: int, level: int) -> Iterator[bytes]:
        if address in seen:
            raise FormatError(f"{what}: expected each node once; received {address} twice")
        seen.add(address)
        width, wide = (0, 0) if level == 0 else pointers[level - 1]
        length = 6 + count * size + (count + 1) * (8 + width + wide) * (level > 0)
        if length + 4 > node_size:
            raise FormatError(f"{what}: expected nodes of {node_size}; received {count} records")
        node = read(address, length, what)
        if node[:6] != (b"BTIN\0" if level else b"BTLF\0") + bytes([_BY_NAME]):
            raise FormatError(f"{what}: expected a node at {address}; received {short(node[:6])}")
        records = [node[6 + i * size : 6 + (i + 1) * size] for i in range(count)]
        if level == 0:
            yield from records
            return
        for i in range(count + 1):
            at = 6 + count * size + i * (8 + width + wide)
            child = int.from_bytes(node[at : at + 8], "little")
            held = int.from_bytes(node[at + 8 : at + 8 + width], "little")
            yield from below(child, held, level - 1)
            if i < count:
                yield records[i]

    yield from below(root, count, depth)


def _pointers(node_size: int, size: int, depth: int) -> Iterator[tuple[int, int]]:
    """For nodes of level 1, 2, ...: how many bytes tell the number of records in a child, and of
    all below it.
    """
    most = held = (node_size - _NODE_OVERHEAD) // size
    width, wide = _bytes_for(most), 0
    for _ in range(depth):
        yield width, wide
        pointer = 8 + width + wide
        most = max((node_size - _NODE_OVERHEAD - pointer) // (size + pointer), 0)
        held = (most + 1) * held + most
        wide = _bytes_for(held)


def _bytes_for(number: int) -> int:
    return max((number.bit_length() - 1) // 8 + 1, 1)


# ---- fractal heaps (III.G) -----------------------------------------------------------------------


class _Heap:
    """Objects in blocks: rows of `width` blocks, each two rows (from the second on) of twice the
    size; rows beyond the largest direct block are of blocks that hold rows themselves.
    """

    def __init__(self, read: Read, address: int) -> None:
        self._read = read
        head = read(address, 146, "heap of links")
        (filters,) = struct.unpack_from("<H", head, 7)
        (largest,) = struct.unpack_from("<I", head, 10)
        width, start, most, bits = struct.unpack_from("<HQQH", head, 110)
        root, rows = struct.unpack_from("<QH", head, 132)
        powers = all(n and n & (n - 1) == 0 for n in (width, start, most))
        if head[:5] != b"FRHP\0" or filters or not powers or width > _MAX_WIDTH or bits > 64:
            raise FormatError(f"expected a heap of links at {address}; received {short(head[:16])}")
        if start > most or rows > 64:
            raise FormatError(f"heap at {address}: expected blocks; received {start} to {most}")
        self._width, self._start, self._root, self._rows = width, start, root, rows
        self._direct_rows = most.bit_length() - start.bit_length() + 2
        self._offset_bytes = -(-bits // 8)
        self._length_bytes = _bytes_for(min(most, largest))
        self._blocks: dict[int, bytes] = {}  # indirect ones by address: the addresses in them

    def object(self, identifier: bytes) -> bytes:
        """The bytes of an object by its heap ID."""
        if identifier[0] & 0xF0:
            raise FormatError(f"expected a link in a heap's blocks; received ID {identifier!r}")
        middle = 1 + self._offset_bytes
        offset = int.from_bytes(identifier[1:middle], "little")
        length = int.from_bytes(identifier[middle : middle + self._length_bytes], "little")
        if length > _MAX_MESSAGE:
            raise FormatError(f"expected a link of at most {_MAX_MESSAGE} bytes; received {length}")
        if self._rows == 0:
            return self._within(self._root, offset, self._start, length)
        return self._below(self._root, self._rows, offset, length, 0)

    def _within(self, block: int, offset: int, size: int, length: int) -> bytes:
        if offset + length > size:
            raise FormatError(f"expected a link in a block of {size} bytes; received {offset}")
        return self._read(block + offset, length, "link")

    def _below(self, address: int, rows: int, offset: int, length: int, depth: int) -> bytes:
        """An object at an offset in the indirect block at `address`, of that many rows."""
        first = self._width * self._start
        row = (offset // first).bit_length()
        size = self._start << max(row - 1, 0)
        begin = 0 if row == 0 else first << (row - 1)
        column, inside = divmod(offset - begin, size)
        if row >= rows or depth > _MAX_DEPTH:
            raise FormatError(f"expected a link within its heap; received one at {offset}")
        entries = self._entries(address, rows)
        (block,) = struct.unpack_from("<Q", entries, 8 * (row * self._width + column))
        if row < self._direct_rows:
            return self._within(block, inside, size, length)
        inner = (size // first).bit_length()
        return self._below(block, inner, inside, length, depth + 1)

    def _entries(self, address: int, rows: int) -> bytes:
        if address not in self._blocks:
            start = 13 + self._offset_bytes
            block = self._read(address, start + 8 * rows * self._width, "heap of links")
            if block[:5] != b"FHIB\0":
                raise FormatError(f"expected a heap's block at {address}; received {block[:5]!r}")
            self._blocks[address] = block[start:]
        entries = self._blocks[address]
        if len(entries) < 8 * rows * self._width:
            raise FormatError(f"expected {rows} rows in a heap's block; received fewer")
        return entries
