"""Zip archives that are written piece by piece, so that no array is copied."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from .. import casts
from . import plain


@contextmanager
def archive(file: BinaryIO) -> Iterator[zipfile.ZipFile]:
    """An archive that is written to `file`, and ended only if nothing fails on the way."""
    found = zipfile.ZipFile(file, "w")
    try:
        yield found
    except BaseException:
        found.fp = None  # or it would be ended all the same when it is collected
        raise
    found.close()


def add(archive: zipfile.ZipFile, name: str, *pieces: bytes | memoryview) -> None:
    """A member that is stored, not compressed."""
    info = zipfile.ZipInfo(name)  # of 1980: the same content makes the same bytes
    info.file_size = sum(map(len, pieces))
    with archive.open(info, "w") as member:
        for piece in pieces:
            plain.write(member, memoryview(piece))


def add_file(archive: zipfile.ZipFile, name: str, source: BinaryIO) -> None:
    """The same with all that is in a file, as its content."""
    info = zipfile.ZipInfo(name)
    info.file_size = source.seek(0, 2)
    source.seek(0)
    with archive.open(info, "w") as member:
        while piece := source.read(1 << 20):
            member.write(piece)


def raw(array: NDArray[Any]) -> memoryview:
    """The bytes of an array in C order, not copied if it is in that order."""
    whole = array if array.flags.c_contiguous else casts.copy(array)
    return whole.reshape(-1).view(np.uint8).data
