"""Opening files: plain ones only, and the place of one that is written.

A FIFO would block for ever, a device such as /dev/zero never ends, and replacing either by a file
would break what uses it.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from . import PathLike
from .errors import FormatError

_KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def reading(path: PathLike) -> BinaryIO:
    """The regular file at `path`, open for reading; links are followed.

    FormatError for anything else that is there; OSError, IsADirectoryError for a directory.
    """
    # Asked before, since opening a device can do something; and after, since the path may be
    # another file by then. Non-blocking, for the same case.
    _check(Path(path).stat())
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    handle = os.open(path, flags | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOCTTY", 0))
    try:
        _check(os.fstat(handle))
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


#: Bytes that are read or written at a time: Ctrl-C is noticed in between.
AT_ONCE = 4 << 20


def read(file: BinaryIO, count: int) -> NDArray[np.uint8]:
    """The next `count` bytes of a file, or fewer at its end, read once and copied nowhere."""
    data = np.empty(count, np.uint8)
    done = 0
    while done < count:
        some = file.readinto(data[done : done + AT_ONCE])  # type: ignore[attr-defined]
        if not some:
            break
        done += some
    return data[:done]


def write(file: Any, data: memoryview) -> None:
    """All of `data`, bytes, to a file or a member of an archive."""
    for begin in range(0, len(data), AT_ONCE):
        file.write(data[begin : begin + AT_ONCE])


def replaced(path: PathLike) -> tuple[Path, os.stat_result | None]:
    """The file that writing to `path` replaces, links followed, and what it is now, None if there
    is none yet. OSError, which names `path`, for what is there and no regular file.
    """
    target = Path(os.path.realpath(path))
    try:
        found = target.stat()
    except FileNotFoundError:
        return target, None
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "something else")
        message = f"expected a regular file or none; received {kind}"
        raise OSError(errno.EINVAL, message, os.fspath(path))
    return target, found


def _check(found: os.stat_result) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "something else")
        raise FormatError(f"expected a regular file; received {kind}")
