"""The runtimes, one module each: what does the work when bench/worker.py is asked to.

A module has `start()`, which sets the process up and returns name and version, and
`prepare(problem)`, which returns the variants to time, none if it cannot do that layer.

Each is used as its own documentation tells its users to, on one thread, with everything prepared
that can be: several variants where it is not known beforehand which is the fastest.
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
    #: What the last call gave: (1, OH, OW, C*M).
    result: Callable[[], NDArray[Any]]
    #: ((top, bottom), (left, right)); None: that of 'same'.
    padding: Padding | None = None
    #: (seconds to spend) -> median seconds per call, for what is not timed from Python.
    timer: Callable[[float], float] | None = None
