"""HDF5 as Keras writes it, read without libhdf5: groups, attributes, arrays of numbers.

libhdf5 is made for files that one trusts: of randomly damaged copies of a small Keras file, some
make it (2.0.0) loop, allocate gigabytes or die, and the process with it. This reader takes the
part of the format that h5py writes unless told otherwise ("earliest"), which is all that a Keras
of any generation has written: also groups in the newer layout (`hdf5_links`), which names beyond
ASCII bring about, and datasets in chunks (`hdf5_chunks`), which other programs make of Keras'.
Anything else is a FormatError that says so. Every address and size is checked against the file
before it is used, and every step is charged to the budget of the file. What two paths lead to is
read once.

Source: HDF5 File Format Specification 3.0, https://support.hdfgroup.org/documentation/hdf5/latest/.
Section numbers below are of that. Writing is left to h5py.
"""

from __future__ import annotations

import math
import os
import struct
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from .. import casts
from . import FormatError, bfloat16, hdf5_chunks, hdf5_links, plain, short
from .budget import Budget

SIGNATURE = b"\x89HDF\r\n\x1a\n"

#: What is read at once of a structure or an attribute.
MAX_PIECE = 16 << 20
_MAX_LEVELS = 16  # of a B-tree: each multiplies the number of entries by two at least
_MAX_RANK = 32
_MAX_PATH = 200  # characters of a path that messages show

# Message types (IV.A.2) that are read; the others say nothing that a reader needs, except those
# that refuse.
_DATASPACE, _LINK_INFO, _DATATYPE, _LINK = 0x01, 0x02, 0x03, 0x06
_EXTERNAL, _LAYOUT, _FILTERS, _ATTRIBUTE = 0x07, 0x08, 0x0B, 0x0C
_CONTINUATION, _SYMBOL_TABLE, _ATTRIBUTE_INFO = 0x10, 0x11, 0x15
_READ = (_DATASPACE, _LINK_INFO, _DATATYPE, _LINK, _LAYOUT, _FILTERS, _ATTRIBUTE, _SYMBOL_TABLE)

# (exponent at, its bits, mantissa at, its bits, bias) of IEEE 754 by the size in bytes (IV.A.2.d).
_IEEE = {2: (10, 5, 0, 10, 15), 4: (23, 8, 0, 23, 127), 8: (52, 11, 0, 52, 1023)}


@dataclass(frozen=True)
class _Type:
    """A datatype: a NumPy dtype, fixed strings included, or strings of any length."""

    size: int
    dtype: np.dtype[Any] | None = None  # None with `strings` False: one that Keras does not write
    strings: bool = False


@dataclass
class _Header:
    """What the messages of an object say."""

    shape: tuple[int, ...] | None = None
    type: _Type | None = None
    #: (address, bytes), or the data themselves, or where their chunks are.
    layout: tuple[int, int] | bytes | hdf5_chunks.Chunks | None = None
    filters: list[hdf5_chunks.Filter] = field(default_factory=list)
    table: tuple[int, int] | None = None  # of a group: addresses of B-tree and heap
    links: list[bytes] = field(default_factory=list)  # the same in the newer layout: messages
    stored_links: hdf5_links.LinkInfo | None = None  # and where the messages are otherwise
    members: dict[str, int] | None = None  # what has been made of these
    attributes: list[bytes] = field(default_factory=list)
    refused: str | None = None  # why its data cannot be read
    # What has been made of the attributes so far; many groups may have this one header.
    bodies: dict[str, bytes] | None = None
    values: dict[str, Any] = field(default_factory=dict)


class File:
    """An HDF5 file that is open for reading. Nothing in it is believed yet."""

    def __init__(self, file: BinaryIO, budget: Budget) -> None:
        self._file = file
        self.size = file.seek(0, os.SEEK_END)
        self._chunk_bytes = 0
        self.budget = budget
        self._groups: dict[int, dict[str, int]] = {}
        self._headers: dict[int, _Header] = {}
        self._heaps: dict[int, dict[int, bytes]] = {}
        head = self._read(0, min(self.size, 96), "superblock")
        if head[:8] != SIGNATURE:
            raise FormatError(f"expected an HDF5 file; received one that begins {head[:8]!r}")
        if len(head) < 96:
            raise FormatError(f"truncated: expected 96 bytes of superblock; received {len(head)}")
        if head[8] != 0:
            raise _newer(f"superblock version {head[8]}")
        if head[13:15] != b"\x08\x08":
            raise FormatError(f"superblock: expected 8-byte addresses; received {head[13:15]!r}")
        base, _, end = struct.unpack_from("<QQQ", head, 24)
        if base != 0:
            raise FormatError(f"superblock: expected base address 0; received {base}")
        if end > self.size:
            raise FormatError(f"truncated: expected {end} bytes in all; received {self.size}")
        (address,) = struct.unpack_from("<Q", head, 64)
        self.root = Group(self, address, "/")

    def _read(self, offset: int, count: int, what: str) -> bytes:
        """`count` bytes at `offset`, if the file has them."""
        self.budget.step()
        if count > MAX_PIECE:
            raise FormatError(f"{what}: expected at most {MAX_PIECE} bytes; received {count}")
        data: bytes = self._bytes_at(offset, count, what)
        return data

    def _bytes_at(self, offset: int, count: int, what: str) -> Any:
        if offset + count > self.size:
            raise FormatError(
                f"{what}: expected {count} bytes at {offset}; received a file of {self.size}"
            )
        self.budget.read(count, what)
        self._file.seek(offset)
        data = self._file.read(count) if count <= MAX_PIECE else plain.read(self._file, count).data
        if len(data) != count:
            raise FormatError(f"{what}: expected {count} bytes at {offset}; received {len(data)}")
        return data

    # ---- object headers (IV.A) -------------------------------------------------------------------

    def _header(self, address: int) -> _Header:
        found = self._headers.get(address)
        if found is None:
            found = self._headers[address] = self._parse_header(address)
        return found

    def _parse_header(self, address: int) -> _Header:
        head = self._read(address, 16, "object header")
        if head[:4] == b"OHDR":
            raise _newer("object header version 2")
        if head[0] != 1:
            raise FormatError(f"object header at {address}: expected version 1; received {head[0]}")
        (count,) = struct.unpack_from("<H", head, 2)
        (length,) = struct.unpack_from("<I", head, 8)
        header = _Header()
        blocks, seen, done = deque([(address + 16, length)]), set(), 0
        while blocks:
            start, length = blocks.popleft()
            if start in seen:
                raise FormatError(f"object header at {address}: expected an end; received a circle")
            seen.add(start)
            data, at = self._read(start, length, "object header"), 0
            while at + 8 <= length and done < count:
                kind, size, flags = struct.unpack_from("<HHB", data, at)
                body = data[at + 8 : at + 8 + size]
                if len(body) != size:
                    raise FormatError(
                        f"object header at {address}: expected a message of {size} bytes; "
                        f"received {len(body)}"
                    )
                at, done = at + 8 + size, done + 1
                if kind == _CONTINUATION:
                    blocks.append(_unpack("<QQ", body, 0, "continuation"))
                else:
                    self._message(header, kind, flags, body)
        return header

    def _message(self, header: _Header, kind: int, flags: int, body: bytes) -> None:
        if kind == _ATTRIBUTE_INFO:
            raise _newer("an attribute info message")
        if kind == _EXTERNAL:
            header.refused = "external storage"
        if kind not in _READ:
            return
        if flags & 2:
            raise _newer("a shared message")
        if kind == _DATASPACE:
            header.shape = _shape(body)
        elif kind == _DATATYPE:
            header.type = _type(body)
        elif kind == _ATTRIBUTE:
            header.attributes.append(body)
        elif kind == _SYMBOL_TABLE:
            header.table = _unpack("<QQ", body, 0, "symbol table")
        elif kind == _LINK:
            header.links.append(body)
        elif kind == _LINK_INFO:
            header.stored_links = hdf5_links.link_info(body)
        elif kind == _FILTERS:
            header.filters = hdf5_chunks.pipeline(body)
        else:
            version, how = _unpack("<BB", body, 0, "layout")
            if version not in (3, 4) or how > 2:
                header.refused = f"layout version {version}, class {how}"
            elif how == 0:
                (size,) = _unpack("<H", body, 2, "layout")
                header.layout = body[4 : 4 + size]
            elif how == 1:
                header.layout = _unpack("<QQ", body, 2, "layout")
            elif version == 3:
                header.layout = hdf5_chunks.layout(body)
            else:
                header.refused = "chunks in the layout of libver='latest'"

    # ---- groups (III.A - III.C) ------------------------------------------------------------------

    def _links(self, header: _Header) -> dict[str, int]:
        """Name -> address of an object header, of the members of a group."""
        if header.members is None:
            if header.table is not None:
                tree, heap = header.table
                if tree not in self._groups:
                    self._groups[tree] = self._read_links(tree, heap)
                header.members = self._groups[tree]
            else:
                header.members = dict(sorted(self._newer_links(header).items()))
        return header.members

    def _newer_links(self, header: _Header) -> dict[str, int]:
        """The same of a group in the newer layout; {} for what is no group."""
        messages: Iterable[bytes] = header.links
        if header.stored_links is not None:
            messages = hdf5_links.stored_links(self._read, header.stored_links)
        links: dict[str, int] = {}
        for message in messages:
            raw, target = hdf5_links.link(message)
            name = _text(raw, "a link's name")
            if name in links:
                raise FormatError(f"expected names of links once; received {short(name)} twice")
            if target is not None:
                links[name] = target
        return links

    def _read_links(self, tree: int, heap: int) -> dict[str, int]:
        head = self._read(heap, 32, "local heap")
        if head[:5] != b"HEAP\0":
            raise FormatError(f"expected a local heap at {heap}; received {head[:5]!r}")
        size, _, address = struct.unpack_from("<QQQ", head, 8)
        names = self._read(address, size, "local heap")
        links: dict[str, int] = {}
        for node in self._leaves(tree):
            head = self._read(node, 8, "symbol table node")
            if head[:5] != b"SNOD\1":
                raise FormatError(f"expected a symbol table node at {node}; received {head[:5]!r}")
            (count,) = struct.unpack_from("<H", head, 6)
            self.budget.step(count)
            entries = self._read(node + 8, count * 40, "symbol table node")
            for at in range(0, count * 40, 40):
                offset, target, cached = struct.unpack_from("<QQI", entries, at)
                end = names.find(b"\0", offset)
                if offset >= size or end < 0:
                    raise FormatError(
                        f"symbol table node at {node}: expected a name in a heap of {size} bytes; "
                        f"received one at {offset}"
                    )
                # The names of a sane heap do not overlap.
                self.budget.read(end - offset, "a link's name")
                name = _text(names[offset:end], "a link's name")
                if name in links:
                    raise FormatError(f"expected names of links once; received {short(name)} twice")
                if cached != 2:  # 2: a symbolic link, which nothing of Keras makes; not followed
                    links[name] = target
        return links

    def _leaves(self, root: int) -> Iterator[int]:
        """Addresses of the symbol table nodes below a B-tree's node, in order."""
        stack: list[tuple[int, int | None]] = [(root, None)]
        seen: set[int] = set()
        while stack:
            address, wanted = stack.pop()
            if address in seen:
                raise FormatError(f"B-tree: expected each node once; received {address} twice")
            seen.add(address)
            head = self._read(address, 24, "B-tree")
            kind, level, count = struct.unpack_from("<BBH", head, 4)
            if head[:4] != b"TREE" or kind != 0:
                raise FormatError(f"expected a group's B-tree at {address}; received {head[:5]!r}")
            if level > _MAX_LEVELS or wanted not in (None, level):
                raise FormatError(f"B-tree at {address}: expected level {wanted}; received {level}")
            body = self._read(address + 24, 8 + 16 * count, "B-tree")
            children = [struct.unpack_from("<Q", body, 8 + 16 * i)[0] for i in range(count)]
            if level == 0:
                yield from children
            else:
                stack.extend((child, level - 1) for child in reversed(children))

    # ---- data ------------------------------------------------------------------------------------

    def _array(self, what: str, header: _Header) -> NDArray[Any]:
        """The numbers of a dataset."""
        if header.refused is not None:
            raise FormatError(f"{what}: expected plain storage; received {header.refused}")
        if header.shape is None or header.type is None or header.layout is None:
            raise FormatError(f"{what}: expected a dataset; received no shape, type or layout")
        if header.type.dtype is None or header.type.dtype.kind not in "fiuV":
            raise FormatError(f"{what}: expected numbers; received another type of data")
        needed = math.prod(header.shape) * header.type.size
        if isinstance(header.layout, hdf5_chunks.Chunks):
            return _in_native_order(what, self._unpacked(what, header, header.layout))
        if header.filters:
            raise FormatError(f"{what}: expected plain storage; received filters without chunks")
        if isinstance(header.layout, bytes):
            data, stored = header.layout, len(header.layout)
        else:
            address, stored = header.layout
        if stored != needed:
            raise FormatError(f"{what}: expected {needed} bytes of data; received {stored}")
        if not isinstance(header.layout, bytes):
            data = self._bytes_at(address, needed, what) if needed else b""
        return _in_native_order(what, np.frombuffer(data, header.type.dtype).reshape(header.shape))

    def _unpacked(self, what: str, header: _Header, chunks: hdf5_chunks.Chunks) -> NDArray[Any]:
        """The numbers of a dataset in chunks."""
        assert header.shape is not None
        assert header.type is not None
        assert header.type.dtype is not None
        if len(chunks.shape) != len(header.shape):
            raise FormatError(
                f"{what}: expected chunks of rank {len(header.shape)}; received {chunks.shape}"
            )
        size = hdf5_chunks.unpacked(chunks, header.shape, header.type.size)
        most = max(hdf5_chunks.MAX_UNPACKED, hdf5_chunks.MAX_RATIO * self.size)
        self._chunk_bytes += size
        if self._chunk_bytes > most:
            raise FormatError(
                f"{what}: expected chunks of {most} bytes in all, unpacked, in a file of "
                f"{self.size}; received more"
            )
        return hdf5_chunks.read(
            self._read, what, chunks, header.filters, header.shape, header.type.dtype
        )

    def _attribute(self, what: str, body: bytes) -> tuple[str, _Type, tuple[int, ...] | None, int]:
        """(name, type, shape, where the data begin) of an attribute message (IV.A.2.m)."""
        version, _, *sizes = _unpack("<BBHHH", body, 0, what)
        if version not in (1, 2, 3):
            raise FormatError(
                f"{what}: expected version 1 to 3 of an attribute; received {version}"
            )
        if version > 1 and body[1]:
            raise _newer("a shared type")
        at, parts = 8 + (version == 3), []
        for size in sizes:
            parts.append(body[at : at + size])
            at += -(-size // 8) * 8 if version == 1 else size
        if at > len(body):
            raise FormatError(f"{what}: expected an attribute of {at} bytes; received {len(body)}")
        name = _text(parts[0].split(b"\0", 1)[0], "an attribute's name")
        return name, _type(parts[1]), _shape(parts[2]), at

    def _value(self, what: str, body: bytes) -> Any:
        """An attribute's value: text, a list of texts, or an array of numbers."""
        name, kind, shape, at = self._attribute(what, body)
        what = f"{what}: attribute {short(name)}"
        if shape is None:
            return None
        count = math.prod(shape)
        if count * kind.size > len(body) - at:
            raise FormatError(
                f"{what}: expected {count} x {kind.size} bytes; received {len(body) - at}"
            )
        # Texts take more memory than their bytes.
        self.budget.read(count * kind.size, what)
        if kind.dtype is None or kind.dtype.kind == "S":
            self.budget.step(count)
        data = body[at : at + count * kind.size]
        if kind.strings:
            texts = [self._long_text(what, data[i : i + 16]) for i in range(0, len(data), 16)]
        elif kind.dtype is not None and kind.dtype.kind == "S":
            size = kind.size
            texts = [
                _text(data[i : i + size].split(b"\0", 1)[0], what)
                for i in range(0, len(data), size)
            ]
        elif kind.dtype is not None and kind.dtype.kind != "V":
            return np.frombuffer(data, kind.dtype).reshape(shape)
        else:
            return None  # a type that Keras does not write
        return texts if shape else texts[0]

    def _long_text(self, what: str, reference: bytes) -> str:
        """A string in a global heap (III.E): its length, the heap's address, its number there."""
        length, address, index = struct.unpack("<IQI", reference)
        if length == 0:
            return ""
        if address not in self._heaps:
            self._heaps[address] = self._heap(address)
        data = self._heaps[address].get(index)
        if data is None or length > len(data):
            received = "none" if data is None else len(data)
            raise FormatError(
                f"{what}: expected {length} bytes in heap {address}, object {index}; "
                f"received {received}"
            )
        self.budget.read(length, what)
        return _text(data[:length].split(b"\0", 1)[0], what)

    def _heap(self, address: int) -> dict[int, bytes]:
        head = self._read(address, 16, "global heap")
        if head[:5] != b"GCOL\1":
            raise FormatError(f"expected a global heap at {address}; received {head[:5]!r}")
        (size,) = struct.unpack_from("<Q", head, 8)
        data, at = self._read(address, size, "global heap"), 16
        objects: dict[int, bytes] = {}
        while at + 16 <= size:
            index, _, _, length = struct.unpack_from("<HHIQ", data, at)
            if index == 0:  # the free space at the end
                break
            if at + 16 + length > size or index in objects:
                raise FormatError(
                    f"global heap at {address}: expected whole objects, each once; "
                    f"received number {index} of {length} bytes"
                )
            objects[index] = data[at + 16 : at + 16 + length]
            at += 16 + -(-length // 8) * 8
        return objects


class Group:
    """A group, or a dataset that is taken for one and is empty."""

    def __init__(self, file: File, address: int, path: str) -> None:
        self._hdf5 = file
        self.address = address
        self.path = path if len(path) <= _MAX_PATH else f"...{path[-_MAX_PATH:]}"
        self._header = file._header(address)

    def _links(self) -> dict[str, int]:
        return self._hdf5._links(self._header)

    def names(self) -> list[str]:
        """The names of the members, sorted as HDF5 sorts them."""
        links = self._links()
        self._hdf5.budget.step(1 + len(links) // 64)
        return list(links)

    def get(self, path: str) -> Group | None:
        """The member at a path below, or None if there is none."""
        self._hdf5.budget.step(1 + path.count("/"))
        here: Group | None = self
        for name in filter(None, path.split("/")):
            assert here is not None
            address = here._links().get(name)
            if address is None:
                return None
            here = Group(self._hdf5, address, f"{here.path.rstrip('/')}/{name[:_MAX_PATH]}")
        return here

    @property
    def is_dataset(self) -> bool:
        """Whether it has data of its own."""
        return self._header.shape is not None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of a dataset; () for what is none."""
        return self._header.shape or ()

    def array(self) -> NDArray[Any]:
        """The numbers of a dataset, in native byte order. FormatError for what is none."""
        self._hdf5.budget.step()
        return self._hdf5._array(self.path, self._header)

    def attributes(self) -> list[str]:
        """The names of the attributes."""
        return list(self._bodies())

    def attribute(self, name: str) -> Any:
        """Text, a list of texts or an array of numbers; None if it is missing or of another
        type. What is returned is shared: it must not be changed.
        """
        body = self._bodies().get(name)
        if body is None:
            return None
        values = self._header.values
        if name not in values:
            values[name] = self._hdf5._value(self.path, body)
        return values[name]

    def _bodies(self) -> dict[str, bytes]:
        header = self._header
        if header.bodies is None:
            self._hdf5.budget.step(len(header.attributes))
            bodies: dict[str, bytes] = {}
            for body in header.attributes:
                name = self._hdf5._attribute(self.path, body)[0]
                if name in bodies:
                    raise FormatError(
                        f"{self.path}: expected attribute {short(name)} once; received two"
                    )
                bodies[name] = body
            header.bodies = bodies
        return header.bodies


def _in_native_order(what: str, array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype.kind == "V":
        return bfloat16(what, array)
    return casts.cast(array, array.dtype.newbyteorder("="))


def _newer(what: str) -> FormatError:
    return FormatError(
        f"expected HDF5 as h5py writes it by default; received {what}. "
        "Written again by h5py, without libver, it is readable"
    )


def _unpack(layout: str, data: bytes, at: int, what: str) -> Any:
    try:
        return struct.unpack_from(layout, data, at)
    except struct.error as error:
        wanted = at + struct.calcsize(layout)
        raise FormatError(f"{what}: expected {wanted} bytes; received {len(data)}") from error


def _text(data: bytes, what: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(f"{what}: expected UTF-8; received {short(data)}") from error


def _shape(body: bytes) -> tuple[int, ...] | None:
    """A dataspace (IV.A.2.b): () for a scalar, None for no data at all."""
    version, rank, _, kind = _unpack("<BBBB", body, 0, "dataspace")
    if version not in (1, 2) or rank > _MAX_RANK:
        raise FormatError(f"dataspace: expected version 1 or 2; received {version}, rank {rank}")
    if version == 2 and kind == 2:
        return None
    sizes: tuple[int, ...] = _unpack(f"<{rank}Q", body, 8 if version == 1 else 4, "dataspace")
    # The product of the sizes other than 0: NumPy makes strides of it, whatever the array holds.
    if math.prod(size or 1 for size in sizes) >= 2**59:
        raise FormatError(f"dataspace: expected sizes that fit a memory; received {sizes}")
    return sizes


def _type(body: bytes) -> _Type:
    """A datatype (IV.A.2.d); one that is not read has no dtype."""
    first, bits, size = _unpack("<B3sI", body, 0, "datatype")
    kind, order = first & 15, ">" if bits[0] & 1 else "<"
    if kind == 0 and size in (1, 2, 4, 8):
        at, precision = _unpack("<HH", body, 8, "datatype")
        if (at, precision) == (0, 8 * size):
            return _Type(size, np.dtype(f"{order}{'i' if bits[0] & 8 else 'u'}{size}"))
    elif kind == 1 and size in _IEEE and not bits[0] & 64:
        at, precision, *fields = _unpack("<HHBBBBI", body, 8, "datatype")
        if (at, precision) == (0, 8 * size) and tuple(fields) == _IEEE[size]:
            return _Type(size, np.dtype(f"{order}f{size}"))
    elif kind == 5 and size == 2:  # opaque: what h5py makes of bfloat16
        return _Type(size, np.dtype("V2"))
    elif kind == 3 and 0 < size <= MAX_PIECE:
        return _Type(size, np.dtype(f"S{size}"))
    elif kind == 9 and bits[0] & 15 == 1 and size == 16:
        return _Type(size, strings=True)
    return _Type(max(size, 1))
