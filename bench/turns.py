"""Calls that take turns while they are timed: what slows the machine down for a while slows all."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any


def in_turns(
    calls: Mapping[str, Callable[[], Any]],
    *,
    rounds: int = 5,
    seconds: float = 0.0,
    warm: int = 0,
    burst: float = 0.0,
) -> dict[str, list[float]]:
    """Seconds per call of each, one figure a round; `rounds` rounds, and more until `seconds` are
    over. Each is called once before.

    warm: calls before each that is timed, so that it finds its own arrays in the caches and not
    those of another. burst: seconds that are timed as one figure, for calls that are too short.
    """
    counts = {}
    for name, call in calls.items():
        call()
        counts[name] = max(1, int(burst / max(timed(call, 1), 1e-7))) if burst else 1
    times: dict[str, list[float]] = {name: [] for name in calls}
    end = time.perf_counter() + seconds
    while rounds > 0 or time.perf_counter() < end:
        rounds -= 1
        for name, call in calls.items():
            for _ in range(warm):
                call()
            times[name].append(timed(call, counts[name]))
    return times


def timed(call: Callable[[], Any], count: int) -> float:
    """Seconds per call."""
    began = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - began) / count
