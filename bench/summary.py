"""A run judged: geometric means per class beside the targets of both kinds of machine."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from driver import OURS, ratio
from machine import ISA_NAMES, Machine
from shapes import read

if TYPE_CHECKING:
    from report import Row, Run

OUR_AVX2 = "dwconv-avx2"

#: The columns of targets: the widest instruction set of a machine -> heading.
COLUMNS = {"avx512": "target, AVX-512", "avx2": "target, AVX2 only"}

#: What is wanted of all shapes of shapes/targets.txt; what is wanted of a class is in that file.
ALL = {"avx512": 2.15, "avx2": 2.0}
LEAST = {"avx512": 1.1, "avx2": 1.05}
SHARE = {"avx512": 0.75, "avx2": 0.65}
ALL_WITH_AVX2_KERNELS = {"avx512": 1.5}
ALL_CHANNELS_FIRST = {"avx512": 2.0, "avx2": 2.0}
FLOAT64 = {"avx512": 0.45, "avx2": 0.45}


@dataclass(frozen=True)
class Line:
    """One figure of a run; None is what was not measured."""

    name: str
    value: float
    targets: dict[str, float]
    on_roofline: float | None = None  #: the value if ours were as fast as the roofline
    share: float | None = None  #: median of roofline / ours
    avx2: float | None = None  #: the value of our AVX2 kernels on an AVX-512 machine

    def verdict(self, machine: Machine) -> str:
        """'met' or 'missed', by the target for this kind of machine."""
        if machine.isa not in self.targets:
            return "-"
        return "met" if self.value >= self.targets[machine.isa] else "missed"


def lines(run: Run) -> list[Line]:
    """One line per class, then those over all shapes. Targets stand beside whole classes only."""
    compared = [row for row in run.rows if row.advantage() is not None]
    there = {row.shape for row in compared}
    groups = {group.name: group for network in run.networks for group in read(network)}
    wanted = {shape for group in groups.values() for shape in group.shapes}
    if run.channels_first:  # the shapes of 3x3, and no targets of classes
        wanted = {shape for shape in wanted if shape.kernel_size == (3, 3)}
    complete = wanted <= there and any(group.targets for group in groups.values())
    found = []
    for name, rows in by_class(compared).items():
        whole = name in groups and set(groups[name].shapes) <= there and not run.channels_first
        found.append(_line(name, rows, groups[name].targets if whole else {}))

    def over_all(targets: dict[str, float]) -> dict[str, float]:
        return targets if complete else {}

    everything = "all shapes" if wanted <= there else f"these {len(compared)} shapes"
    if compared:
        targets = ALL_CHANNELS_FIRST if run.channels_first else ALL
        found.append(_line(everything, compared, over_all(targets)))
        least = min(compared, key=lambda row: row.advantage() or 0)
        found.append(_line(f"the least: {least.shape}", [least], over_all(LEAST)))
    if (value := share(run.rows)) is not None:
        targets = {} if run.channels_first else SHARE
        found.append(Line("median share of the roofline", value, over_all(targets)))
    if (value := advantage(compared, OUR_AVX2)) is not None:
        targets = over_all(ALL_WITH_AVX2_KERNELS)
        found.append(Line(f"{OUR_AVX2}, {everything}", value, targets))
    figures = [row.figures for row in run.rows if {OURS, "dwconv-float64"} <= row.figures.keys()]
    if figures:
        speed = geometric_mean(ratio(each[OURS], each["dwconv-float64"]) for each in figures)
        found.append(Line("float64, speed of float32's", speed, over_all(FLOAT64)))
    return found


def _line(name: str, rows: list[Row], targets: dict[str, float]) -> Line:
    limits = [limit for row in rows if (limit := row.limit()) is not None]
    on_roofline = geometric_mean(limits) if limits else None
    value = advantage(rows)
    assert value is not None  # the caller's rows have all been compared
    return Line(name, value, targets, on_roofline, share(rows), advantage(rows, OUR_AVX2))


def by_class(rows: list[Row]) -> dict[str, list[Row]]:
    """{class: its rows}, in order."""
    return {
        name: [r for r in rows if r.group == name] for name in dict.fromkeys(r.group for r in rows)
    }


def advantage(rows: list[Row], ours: str = OURS) -> float | None:
    """The geometric mean of best peer / ours; None if there is none."""
    values = [value for row in rows if (value := row.advantage(ours)) is not None]
    return geometric_mean(values) if values else None


def share(rows: list[Row]) -> float | None:
    """The median of roofline / ours; None if there is none."""
    values = [value for row in rows if (value := row.share()) is not None]
    return float(np.median(values)) if values else None


def lost(rows: list[Row], ours: str = OURS) -> dict[str, float]:
    """{shape: best peer / ours} where a peer is faster than ours."""
    found = {str(row.shape): row.advantage(ours) for row in rows}
    return {shape: value for shape, value in found.items() if value is not None and value < 1}


def geometric_mean(values: Iterable[float]) -> float:
    return float(np.exp(np.mean(np.log(list(values)))))


# ---- as text -------------------------------------------------------------------------------------


def table(found: list[Line], machine: Machine) -> tuple[list[str], list[list[str]]]:
    """Titles and rows."""
    with_avx2 = any(each.avx2 is not None for each in found)
    titles = [
        "best peer / ours, geometric means",
        "reached",
        "on the roofline",
        "share of roofline",
    ]
    titles += [OUR_AVX2] * with_avx2
    titles += [f"{title} (counts here)" if isa == machine.isa else title
               for isa, title in COLUMNS.items()]  # fmt: skip
    rows = []
    for each in found:
        fields = [each.name, *map(two_digits, (each.value, each.on_roofline, each.share))]
        fields += [two_digits(each.avx2)] * with_avx2
        fields += [two_digits(each.targets.get(isa)) for isa in COLUMNS]
        rows.append([*fields, each.verdict(machine)])
    return [*titles, "verdict"], rows


def aligned(titles: list[str], rows: list[list[str]]) -> list[str]:
    """The table in columns, for a terminal."""
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    return [
        "  ".join(f"{text:<{width}}" if i == 0 else f"{text:>{width}}"
                  for i, (text, width) in enumerate(zip(fields, widths, strict=True)))
        for fields in (titles, *rows)
    ]  # fmt: skip


def notes(run: Run) -> list[str]:
    """What the table does not say by itself."""
    kind = ISA_NAMES.get(run.machine.isa, run.machine.isa)
    if run.machine.isa in COLUMNS:
        told = [f"This machine has {kind}: the column '{COLUMNS[run.machine.isa]}' counts."]
    else:
        told = [f"No targets are set for machines with {kind}."]
    slower = [f"{shape} ({value:.2f})" for shape, value in lost(run.rows).items()]
    told.append(f"Shapes lost: {', '.join(slower) or 'none'}.")
    return told


def two_digits(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
