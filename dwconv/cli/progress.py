"""A progress bar for terminals; silent elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

from ..terminal import printable

T = TypeVar("T")

_INTERVAL = 0.1  # seconds between two drawings
_BAR = 30  # characters


def progress(items: Sequence[T], label: str) -> Iterator[T]:
    """The items, with a bar on standard error that is wiped away at the end."""
    stream = sys.stderr
    if not stream.isatty():
        yield from items
        return
    drawn = -_INTERVAL
    try:
        for done, item in enumerate(items):
            now = time.monotonic()
            if now - drawn >= _INTERVAL:
                drawn = now
                stream.write("\r" + _line(label, done, len(items)))
                stream.flush()
            yield item
    finally:
        stream.write("\r\x1b[K")  # ECMA-48: erase to the end of the line
        stream.flush()


def _line(label: str, done: int, total: int) -> str:
    filled = _BAR * done // total
    line = f"{printable(label)} [{'#' * filled}{'.' * (_BAR - filled)}] {done}/{total}"
    return line[: shutil.get_terminal_size().columns - 1]
