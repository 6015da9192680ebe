"""Paths <-> (document, arrays): the format by the suffix, and writing that never leaves half a
file.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeAlias

from .formats import Arrays, Document, Format, FormatError
from .formats import safetensors as _safetensors

PathLike: TypeAlias = str | os.PathLike[str]

#: Suffix (in any case) -> module of `formats`. A new format: a line here.
FORMATS: dict[str, Format] = {".safetensors": _safetensors}


def write(path: PathLike, document: Document, arrays: Arrays) -> None:
    """Writes a file at `path`, in the place of one that is there, all of it or nothing.

    ValueError for an unknown suffix or what the format cannot hold; OSError from the file system.
    In each case the old file is still there.
    """
    replace(path, _format_of(path).dump(document, arrays))


def read(path: PathLike) -> tuple[Document, Arrays]:
    """(document, arrays) of the file at `path`.

    ValueError for an unknown suffix, FormatError, which names the file, for what is in it.
    """
    module = _format_of(path)
    with Path(path).open("rb") as file, naming(path):
        return module.load(file)


@contextmanager
def naming(path: PathLike) -> Iterator[None]:
    """Puts the file's name in front of a FormatError from within."""
    try:
        yield
    except FormatError as error:
        raise FormatError(f"{os.fspath(path)}: {error}") from error


def replace(path: PathLike, content: bytes) -> None:
    """Makes `content` the file at `path` in one step: readers and crashes see the old file or the
    new one.

    It is written to a temporary file in the same directory, flushed to the disk and renamed. A
    symbolic link stays one: the file that it points to is replaced. A new file has the mode that
    the umask leaves, a replaced one keeps its mode.
    """
    target = Path(path).resolve()
    # A short name of its own: one made from the target's could be too long for the file system.
    temporary = target.parent / f".dwconv-{secrets.token_hex(8)}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    # Not tempfile: its files are private to the user and stay so, where a saved file should be like
    # any other.
    handle = os.open(temporary, flags, 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            with suppress(FileNotFoundError):
                temporary.chmod(target.stat().st_mode & 0o777)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    _sync_directory(target.parent)


def _sync_directory(directory: Path) -> None:
    """Makes a rename last through a power cut. Where the system cannot, the file is whole all the
    same.
    """
    with suppress(OSError):
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _format_of(path: PathLike) -> Format:
    name = Path(path).name.lower()
    for suffix, module in FORMATS.items():
        if name.endswith(suffix):
            return module
    known = ", ".join(FORMATS)
    raise ValueError(f"path: expected a name that ends in {known}; received {os.fspath(path)!r}")
