"""What measuring has found, in files: a program starts with the fastest plans and measures nothing.

    dwconv.wisdom.save("wisdom.json")   # after layers were planned with effort="measure"
    dwconv.wisdom.load("wisdom.json")   # in the next process: its plans use it, with any effort

`dwconv tune` measures a model's layers and writes such a file. Wisdom never changes a result: every
strategy gives the same bits. It is true for one CPU and one version of dwconv only. What a file
has for others is ignored and counted.

A file is JSON, for reading, too:

    {"format": "dwconv wisdom", "version": 1, "machines": [
        {"library": "1.2.0", "cpu": "AuthenticAMD family 25 model 1, ...", "isa": "avx2",
         "strategies": {"56x56x128 k3x3 s1x1 d1x1 p1.1.1.1 m1 float32 channels_last t1":
                        "k3x3s1_t2x4_avx2+aligned"}}]}

A problem is H x W x C, kernel size, strides, dilation, padding (top, bottom, left, right), depth
multiplier, dtype, layout, and the threads of a call; it is for any batch.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from . import isa, planning
from ._version import __version__
from .formats import FormatError, PathLike, plain, store, untrusted
from .formats.budget import Budget
from .messages import short

FORMAT = "dwconv wisdom"
VERSION = 1

_PROBLEM = re.compile(
    r"\d+x\d+x\d+ k\d+x\d+ s\d+x\d+ d\d+x\d+ p\d+\.\d+\.\d+\.\d+ m\d+ "
    r"(?:float32|float64|int32) channels_(?:last|first) t\d+",
    re.ASCII,
)
_STRATEGY = re.compile(r"[a-z0-9_]+(?:\+[a-z0-9_]+)*", re.ASCII)
#: Characters of a problem and of a strategy: twenty numbers of 64 bits and some words; what the C
#: core has room for.
_LONGEST, _LONGEST_STRATEGY = 480, 95


class Loaded(NamedTuple):
    """How many strategies of a file are used from now on, and how many were ignored because they
    are for another CPU, instruction set or version.
    """

    used: int
    ignored: int


def save(path: PathLike) -> int:
    """Writes all that is known of this machine, in one step: a reader sees the old file or the new
    one. Returns how many strategies that are. OSError for a path that cannot be written.
    """
    known = planning.all_known()
    machines = [
        {
            "library": __version__,
            "cpu": _this_cpu(),
            "isa": name,
            "strategies": {
                problem: strategy
                for (owner, problem), strategy in sorted(known.items())
                if owner == name
            },
        }
        for name in sorted({owner for owner, _ in known})
    ]
    document = {"format": FORMAT, "version": VERSION, "machines": machines}
    with store.replacing(path) as file:
        file.write(json.dumps(document, indent=1).encode() + b"\n")
    return len(known)


def load(path: PathLike) -> Loaded:
    """Adds what a file knows of this machine and version; plans that are made from now on use it.

    What was known of the same problems is replaced. FormatError for a file that is no wisdom, is
    damaged or of a newer format; then nothing is added. OSError if it cannot be read.
    """
    with store.naming(path), plain.reading(path) as file:
        raw = file.read(untrusted.MAX_JSON + 1)
        found, ignored = _read(untrusted.parse_object(raw, "wisdom", Budget(len(raw))))
    for (name, problem), strategy in found.items():
        planning.remember(name, problem, strategy)
    return Loaded(len(found), ignored)


def forget() -> int:
    """Forgets all that was measured or loaded, and returns how many strategies that were. Plans
    that there are stay as they are.
    """
    return planning.forget()


# ---- reading -------------------------------------------------------------------------------------


def _read(document: dict[str, Any]) -> tuple[planning.Known, int]:
    """What a document has for this machine, and how much it has for others."""
    if document.get("format") != FORMAT:
        raise FormatError(f"format: expected {FORMAT!r}; received {short(document.get('format'))}")
    version = document.get("version")
    if type(version) is not int or version < 1:
        raise FormatError(f"version: expected an integer from 1 on; received {short(version)}")
    if version > VERSION:
        raise FormatError(
            f"version: expected one up to {VERSION}; received {short(version)}, which a newer "
            "dwconv has written"
        )
    machines = _of_type(document.get("machines"), list, "machines", "a list")
    here = (__version__, _this_cpu())
    found: planning.Known = {}
    ignored = 0
    for i, machine in enumerate(machines):
        where = f"machines[{i}]"
        _of_type(machine, dict, where, "an object")
        library, cpu, name = (
            _of_type(machine.get(key), str, f"{where}.{key}", "a string")
            for key in ("library", "cpu", "isa")
        )
        strategies = _read_strategies(machine.get("strategies"), f"{where}.strategies")
        if (library, cpu) == here and name in isa.available():
            found |= {(name, problem): strategy for problem, strategy in strategies.items()}
        else:
            ignored += len(strategies)
    if len(found) > planning.MOST:
        raise FormatError(f"expected at most {planning.MOST} strategies; received {len(found)}")
    return found, ignored


def _read_strategies(value: Any, where: str) -> dict[str, str]:
    strategies: dict[str, str] = _of_type(value, dict, where, "an object")
    for problem, strategy in strategies.items():
        if len(problem) > _LONGEST or not _PROBLEM.fullmatch(problem):
            raise FormatError(
                f"{where}: expected a problem such as '8x8x16 k3x3 s1x1 d1x1 p1.1.1.1 m1 float32 "
                f"channels_last t1'; received {short(problem)}"
            )
        _of_type(strategy, str, f"{where}[{problem!r}]", "a string")
        if len(strategy) > _LONGEST_STRATEGY or not _STRATEGY.fullmatch(strategy):
            raise FormatError(
                f"{where}[{problem!r}]: expected the name of a strategy; received {short(strategy)}"
            )
    return strategies


def _of_type(value: Any, kind: type, what: str, wanted: str) -> Any:
    if type(value) is not kind:
        raise FormatError(f"{what}: expected {wanted}; received {short(value)}")
    return value


def _this_cpu() -> str:
    """What tells CPUs apart on which different plans may be the fastest."""
    cpu = isa.cpu()
    caches = ", ".join(f"L{i} {int(cpu[f'l{i}_bytes']) >> 10} KB" for i in (1, 2, 3))
    return (
        f"{cpu['maker'] or 'unknown'} family {cpu['family']} model {cpu['model']}, {caches}, "
        f"{cpu['vector_bits']} bits"
    )


__all__ = ["Loaded", "forget", "load", "save"]


def __dir__() -> list[str]:
    return sorted(__all__)
