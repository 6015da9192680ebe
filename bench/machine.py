"""Which machine this is, exactly enough that results of two machines are never taken for one.

Virtual machines hide the CPU's model: two that call themselves 'AMD EPYC' can differ by a factor of
two. So results are named after the family and model numbers of cpuid as well.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")

#: How people call an instruction set.
ISA_NAMES = {"avx512": "AVX-512", "avx2": "AVX2", "neon": "NEON", "portable": "portable C"}

#: (family, models, core), as Linux tells them apart: arch/x86/kernel/cpu/amd.c, bsp_init_amd.
_AMD_CORES = (
    (0x17, (range(0x30), range(0x50, 0x60)), "Zen 1"),
    (0x17, (range(0x30, 0x50), range(0x60, 0x80), range(0x90, 0x92), range(0xA0, 0xB0)), "Zen 2"),
    (0x19, (range(0x10), range(0x20, 0x60)), "Zen 3"),
    (0x19, (range(0x10, 0x20), range(0x60, 0xB0)), "Zen 4"),
    (0x1A, (range(0x30), range(0x40, 0x50), range(0x60, 0x80)), "Zen 5"),
)


@dataclass(frozen=True)
class Machine:
    """A CPU; None or '' is what is not known."""

    name: str  #: as its maker calls it
    isa: str  #: the widest instruction set that dwconv can use there
    vendor: str = ""
    family: int | None = None
    model: int | None = None
    core: str = ""  #: the microarchitecture, such as 'Zen 5'

    @property
    def slug(self) -> str:
        """The beginning of the names of its files: amd-epyc-family-26-model-2."""
        return "-".join([re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-"), *self._numbers])

    def __str__(self) -> str:
        """AMD EPYC (Zen 5, family 26, model 2)."""
        known = [self.core] * bool(self.core) + [text.replace("-", " ") for text in self._numbers]
        return f"{self.name} ({', '.join(known)})" if known else self.name

    @property
    def _numbers(self) -> list[str]:
        numbers = {"family": self.family, "model": self.model}
        return [f"{what}-{number}" for what, number in numbers.items() if number is not None]


def this_machine() -> Machine:
    """The machine that runs this. Needs dwconv, which the peers' environment does not have."""
    from dwconv import isa
    from dwconv.cli.info import cpu_name

    widest = isa.available()[-1]
    if sys.platform == "linux" and CPUINFO.exists():
        return from_cpuinfo(
            CPUINFO.read_text(encoding="utf-8", errors="replace"), cpu_name(), widest
        )
    return Machine(cpu_name(), widest)  # macOS and Windows give names that say it all


def from_cpuinfo(text: str, name: str, isa: str) -> Machine:
    """The machine of /proc/cpuinfo; family and model are there on x86 alone."""
    fields = dict(re.findall(r"^([^\t:\n]+?)\s*:[ \t]*(.*)$", text.split("\n\n")[0], re.MULTILINE))
    if "cpu family" not in fields or "model" not in fields:
        return Machine(name, isa)
    vendor, family, model = fields.get("vendor_id", ""), fields["cpu family"], fields["model"]
    return Machine(
        name, isa, vendor, int(family), int(model), core(vendor, int(family), int(model))
    )


def core(vendor: str, family: int, model: int) -> str:
    """The microarchitecture; '' where it is not in the table."""
    for known_family, models, name in _AMD_CORES:
        if vendor == "AuthenticAMD" and family == known_family and any(model in r for r in models):
            return name
    return ""
