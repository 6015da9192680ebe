"""The runtimes, one module each, as bench/worker.py uses them.

A module has `start()`, which sets the process up and returns name and version, and
`prepare(problem)`, which returns the variants to time: an empty list if it cannot run that layer.

Each runtime is used as its own documentation recommends, on one thread, and prepares everything
beforehand that it can. It has several variants where the fastest is not known beforehand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

Padding = tuple[tuple[int, int], tuple[int, int]]


@dataclass(frozen=True)
class Variant:
    """A way to run a layer: `call` is what is timed."""

    name: str
    call: Callable[[], Any]
    #: Returns the result of the last call: (1, OH, OW, C*M).
    result: Callable[[], NDArray[Any]]
    #: ((top, bottom), (left, right)); None stands for that of 'same'.
    padding: Padding | None = None
    #: (seconds to spend) -> median seconds per call, if it is not timed from Python.
    timer: Callable[[float], float] | None = None
