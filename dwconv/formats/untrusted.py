"""JSON and zip archives from files that nobody vouches for."""

from __future__ import annotations

import json
import os
import struct
import zipfile
import zlib
from collections import Counter
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from . import FormatError, short

#: Bytes and items of JSON that are read. The configs of the largest models that Keras has have a
#: million bytes and 60 thousand items; an item takes up to 200 bytes once it is parsed.
MAX_JSON = 8 << 20
MAX_ITEMS = 200_000

#: Bytes of a zip archive's table of contents: some ten thousand members.
_MAX_TABLE = 1 << 20
#: What a compressed member may hold: this, or that many times the archive's size. (Weights do not
#: compress well, and no Keras compresses them.)
_MAX_INFLATED = 16 << 20
_MAX_RATIO = 8


def parse_json(raw: bytes | str, what: str) -> Any:
    """The value in `raw`; FormatError for anything but JSON, too much of it, or a key that comes
    twice.
    """
    excess = too_much(raw)
    if excess:
        raise FormatError(f"{what}: {excess}")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) < len(pairs):
            twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
            raise FormatError(f"{what}: expected each key once; received {short(twice)} twice")
        return result

    try:
        return json.loads(raw, object_pairs_hook=unique)
    except FormatError:
        raise
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{what}: expected JSON; {error}") from error


def too_much(raw: bytes | str) -> str | None:
    """Why JSON is too long to be read, if it is; what is written must not be, either."""
    if isinstance(raw, str):
        items = raw.count(",") + raw.count("[") + raw.count("{")
    else:
        items = raw.count(b",") + raw.count(b"[") + raw.count(b"{")
    if len(raw) <= MAX_JSON and items <= MAX_ITEMS:
        return None
    return (
        f"expected at most {MAX_JSON} bytes and {MAX_ITEMS} items of JSON; "
        f"received {len(raw)} and {items}"
    )


def parse_object(raw: bytes | str, what: str) -> dict[str, Any]:
    """The JSON object in `raw`; FormatError for anything else."""
    value = parse_json(raw, what)
    if not isinstance(value, dict):
        raise FormatError(f"{what}: expected a JSON object; received {type(value).__name__}")
    return value


class Archive:
    """A zip archive that is open for reading.

    FormatError for what is none, is truncated, is encrypted, has two members of one name, or a
    name that is absolute or leads out of a directory.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.size = file.seek(0, os.SEEK_END)
        try:
            # ZipFile reads the table of contents in one piece, whatever size it claims.
            self._zip = zipfile.ZipFile(_Bounded(file, _MAX_TABLE))  # type: ignore[arg-type]
        except _ERRORS as error:
            raise FormatError(f"truncated or damaged: expected a zip archive; {error}") from error
        self._zip.fp = file  # type: ignore[assignment]
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

    def read(self, name: str, limit: int | None = None) -> bytes:
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
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise FormatError(f"{name}: expected a stored or deflated member; received another")
        try:
            with self._zip.open(info) as member:
                data = member.read(info.file_size + 1)
        except _ERRORS as error:
            raise FormatError(f"{name}: damaged: {error}") from error
        if len(data) != info.file_size:
            raise FormatError(f"{name}: expected {info.file_size} bytes; received {len(data)}")
        return data


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


class _Bounded:
    """A file of which only small pieces can be read."""

    def __init__(self, file: BinaryIO, most: int) -> None:
        self._file = file
        self._most = most

    def read(self, count: int = -1) -> bytes:
        if not 0 <= count <= self._most:
            here = self._file.tell()
            left = self._file.seek(0, os.SEEK_END) - here
            self._file.seek(here)
            if left > self._most or count > self._most:
                raise ValueError(f"a table of contents of more than {self._most} bytes")
        return self._file.read(count)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True
