"""Instruction sets: what this build and this CPU have, and which one is chosen.

The environment variable DWCONV_ISA, read once, when dwconv is imported, names the default; without
it (or empty) the widest available is taken. Every plan may be given another one. A name that does
not work here is an error at the first use, so that `dwconv info` can say so.
"""

from __future__ import annotations

import functools
import os

from . import _core

VARIABLE = "DWCONV_ISA"


def available() -> tuple[str, ...]:
    """Names of the instruction sets usable here, narrowest first, e.g. ('portable', 'avx2')."""
    return _core.available_isas()


def compiled() -> tuple[str, ...]:
    """Names of the instruction sets in this build, narrowest first."""
    return _core.compiled_isas()


def cpu_features() -> dict[str, bool]:
    """{name: usable on this CPU and operating system} of the CPU features that matter here."""
    return _core.cpu_features()


def cpu() -> dict[str, str | int]:
    """What this CPU, or else the operating system, tells of it, which the estimates of plans use:
    'maker', 'family' and 'model'; 'line_bytes', 'l1_bytes' (of data), 'l2_bytes' and 'l3_bytes' of
    its caches; 'vector_bits', the width of its data paths; 'design', such as 'Zen 3', the nearest
    of those that the estimates know something of. 0 or '' for what is not told.
    """
    return _core.cpu()


def compiler() -> str:
    """The compiler of this build, with its version."""
    return _core.compiler()


@functools.cache
def default() -> str:
    """The instruction set used where none is named. ValueError if DWCONV_ISA names none that works
    here.
    """
    return _check(_REQUESTED or _core.best_isa(), VARIABLE)


def resolve(isa: str | None) -> str:
    """`isa` if it is available, the default for None; else a ValueError that lists what works."""
    return default() if isa is None else _check(isa, "isa")


def _check(name: object, source: str) -> str:
    if isinstance(name, str) and name in available():
        return name
    why = ", which this CPU does not have" if isinstance(name, str) and name in compiled() else ""
    wanted = ", ".join(map(repr, available()))
    raise ValueError(f"{source}: expected one of {wanted}; received {name!r}{why}")


_REQUESTED = os.environ.get(VARIABLE)


__all__ = [
    "available",
    "compiled",
    "compiler",
    "cpu_features",
    "default",
    "resolve",
]


def __dir__() -> list[str]:
    return sorted(__all__)
