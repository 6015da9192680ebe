"""JSON and zip archives from files that nobody vouches for."""

from __future__ import annotations

import errno
import json
import os
import re
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import IO, Any, BinaryIO

import numpy as np

from . import FormatError, plain, short
from .budget import Budget

#: Bytes and items of JSON that are read. The configs of the largest models that Keras has have a
#: million bytes and 60 thousand items; an item takes up to 200 bytes once it is parsed.
MAX_JSON = 8 << 20
MAX_ITEMS = 200_000
#: Levels of lists and objects. Models nest 32 deep with three levels each; a config has some ten.
MAX_DEPTH = 128

#: Bytes of a zip archive's table of contents: some ten thousand members.
_MAX_TABLE = 1 << 20
#: What a compressed member may hold: this, or that many times the archive's size. (Weights do not
#: compress well, and no Keras compresses them.)
_MAX_INFLATED = 16 << 20
_MAX_RATIO = 8
#: Bytes of a member beyond which it is read in pieces; JSON never has as many.
_LARGE = MAX_JSON


def parse_json(raw: bytes | str, what: str, budget: Budget | None = None) -> Any:
    """The value in `raw`; FormatError for anything but JSON in UTF-8, too much of it, or a key that
    comes twice.

    `budget` is that of the file that `raw` comes from; None for a text of the caller's own.
    """
    data = raw.encode("utf-8", "surrogatepass") if isinstance(raw, str) else raw
    excess = too_much(data)
    if excess:
        raise FormatError(f"{what}: {excess}")
    if budget is not None:
        budget.step(_items(data) // 16)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) < len(pairs):
            twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
            raise FormatError(f"{what}: expected each key once; received {short(twice)} twice")
        return result

    try:
        text = raw if isinstance(raw, str) else raw.decode("utf-8-sig")
        return json.loads(text, object_pairs_hook=unique)
    except FormatError:
        raise
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{what}: expected JSON; {error}") from error


def too_much(raw: bytes) -> str | None:
    """Why JSON is too long or deep to be read, if it is; what is written must not be, either."""
    items = _items(raw)
    if len(raw) > MAX_JSON or items > MAX_ITEMS:
        return (
            f"expected at most {MAX_JSON} bytes and {MAX_ITEMS} items of JSON; "
            f"received {len(raw)} and {items}"
        )
    # Without escapes a string ends at the next quotation mark. Pairs of backslashes go first, so
    # that one before a quotation mark escapes it.
    marks = raw.replace(rb"\\", b"").replace(rb"\"", b"").translate(None, _NO_MARKS)
    strings = marks.count(b'"') // 2
    if strings > 2 * (items + 1):  # an item is a value, or a key and a value
        return f"expected JSON; received {strings} strings in {items} items"
    depth = _depth(marks)
    if depth > MAX_DEPTH:
        return f"expected JSON nested at most {MAX_DEPTH} deep; received {depth} levels"
    return None


def _items(raw: bytes) -> int:
    return raw.count(b",") + raw.count(b"[") + raw.count(b"{")


def _depth(marks: bytes) -> int:
    """How deep JSON is nested by its brackets and quotation marks, without recursion: the parser of
    `json` takes a part of the C stack for each level, and threads may have little of it.
    """
    brackets = re.sub(rb'"[^"]*"?', b"", marks).translate(_STEPS)
    return int(np.frombuffer(brackets, np.int8).cumsum(dtype=np.int32).max(initial=0))


_NO_MARKS = bytes(set(range(256)) - set(b'"[]{}'))
#: A bracket that opens is 1, one that closes -1.
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")


def parse_object(raw: bytes | str, what: str, budget: Budget | None = None) -> dict[str, Any]:
    """The JSON object in `raw`; FormatError for anything else."""
    value = parse_json(raw, what, budget)
    if not isinstance(value, dict):
        raise FormatError(f"{what}: expected a JSON object; received {type(value).__name__}")
    return value


class Archive:
    """A zip archive that is open for reading.

    FormatError for what is none, is truncated, is encrypted, has two members of one name, or a
    name that is absolute or leads out of a directory.
    """

    def __init__(self, file: BinaryIO, budget: Budget) -> None:
        self.size = file.seek(0, os.SEEK_END)
        self._budget = budget
        bounded = _Bounded(file, _MAX_TABLE)
        try:
            # ZipFile reads the table of contents in one piece, whatever size it claims.
            self._zip = zipfile.ZipFile(bounded)  # type: ignore[arg-type]
        except _ERRORS as error:
            if bounded.error is None:
                reason = f"truncated or damaged: expected a zip archive; {error}"
                raise FormatError(reason) from error
        if bounded.error is not None:  # of which ZipFile makes one of the contents, or none
            raise bounded.error
        self._zip.fp = file  # type: ignore[assignment]
        budget.step(len(self._zip.infolist()))
        names = Counter(info.filename for info in self._zip.infolist())
        for name, count in names.items():
            path = PurePosixPath(name.replace("\\", "/"))
            if path.is_absolute() or ".." in path.parts or ":" in "".join(path.parts[:1]):
                raise FormatError(f"expected names within the archive; received {short(name)}")
            if count > 1:
                raise FormatError(
                    f"expected each member once; received {short(name)} {count} times"
                )

    def names(self) -> list[str]:
        """The names of the members."""
        return self._zip.namelist()

    def read(self, name: str, limit: int | None = None) -> Any:
        """A member's bytes, at most `limit`. FormatError if it is missing, damaged or too
        large.
        """
        try:
            info = self._zip.getinfo(name)
        except KeyError:
            raise FormatError(
                f"expected a member {name!r}; received {short(self.names())}"
            ) from None
        most = self.size
        if info.compress_type != zipfile.ZIP_STORED:
            most = max(_MAX_INFLATED, _MAX_RATIO * self.size)
        if limit is not None:
            most = min(most, limit)
        if info.file_size > most:
            raise FormatError(
                f"{name}: expected at most {most} bytes in a file of {self.size}; "
                f"received {info.file_size}"
            )
        self._budget.step()
        self._budget.inflated(info.file_size)
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise FormatError(f"{name}: expected a stored or deflated member; received another")
        try:
            with self._zip.open(info) as member:
                data = _all_of(member, info.file_size)
        except _ERRORS as error:
            if _is_of_the_disk(error):
                raise
            raise FormatError(f"{name}: damaged: {error}") from error
        if len(data) != info.file_size:
            raise FormatError(f"{name}: expected {info.file_size} bytes; received {len(data)}")
        return data


def _all_of(member: IO[bytes], size: int) -> bytes | memoryview:
    """The bytes of a member, up to one more than `size`; a large one piece by piece."""
    if size <= _LARGE:
        return member.read(size + 1)
    data, done = np.empty(size + 1, np.uint8).data, 0
    while done <= size and (some := member.read(min(plain.AT_ONCE, size + 1 - done))):
        data[done : done + len(some)] = some
        done += len(some)
    return data[:done]


# What `zipfile` and `zlib` raise for damaged archives.
_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    NotImplementedError,
    RuntimeError,
    EOFError,
    ValueError,
    OverflowError,
    LookupError,
    OSError,
)


def _is_of_the_disk(error: BaseException) -> bool:
    """Whether reading has failed, and not what was to be read: a place before the file's begin is
    EINVAL.
    """
    return isinstance(error, OSError) and error.errno not in (None, errno.EINVAL)


class _Bounded:
    """A file that can be read only in small pieces; `error` is the first of the disk."""

    def __init__(self, file: BinaryIO, most: int) -> None:
        self._file = file
        self._most = most
        self.error: OSError | None = None

    def read(self, count: int = -1) -> bytes:
        with self._watched():
            if not 0 <= count <= self._most:
                here = self._file.tell()
                left = self._file.seek(0, os.SEEK_END) - here
                self._file.seek(here)
                if left > self._most or count > self._most:
                    raise ValueError(f"a table of contents of more than {self._most} bytes")
            return self._file.read(count)

    def seek(self, offset: int, whence: int = 0) -> int:
        with self._watched():
            return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True

    @contextmanager
    def _watched(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if self.error is None and _is_of_the_disk(error):
                self.error = error
            raise
