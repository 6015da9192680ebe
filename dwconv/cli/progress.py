"""A progress bar for terminals; silent elsewhere."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from ..terminal import printable

T = TypeVar("T")

_INTERVAL = 0.1  # seconds between two drawings
_BAR = 30  # characters


def progress(items: Sequence[T], label: str) -> Iterator[T]:
    """The items, with a bar on standard error that is wiped away at the end."""
    with bar(label) as show:
        for done, item in enumerate(items):
            show(done, len(items))
            yield item
        show(len(items), len(items))


@contextmanager
def bar(label: str) -> Iterator[Callable[[int, int], None]]:
    """A function (done, total) that draws a bar, not too often, but always a full one."""
    stream = sys.stderr
    if not stream.isatty():
        yield lambda done, total: None
        return
    drawn = -_INTERVAL

    def show(done: int, total: int) -> None:
        nonlocal drawn
        now = time.monotonic()
        if now - drawn >= _INTERVAL or done == total:
            drawn = now
            stream.write("\r" + _line(label, done, total))
            stream.flush()

    try:
        yield show
    finally:
        stream.write("\r\x1b[K")  # ECMA-48: erase to the end of the line
        stream.flush()


def _line(label: str, done: int, total: int) -> str:
    filled = _BAR * done // total
    line = f"{printable(label)} [{'#' * filled}{'.' * (_BAR - filled)}] {done}/{total}"
    return line[: shutil.get_terminal_size().columns - 1]
