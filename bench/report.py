"""What a run found: one row per shape; as a table, as JSON and back, as Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import summary
from driver import OURS, RUNTIMES, Figures, as_json, ratio
from machine import Machine
from shapes import Shape


@dataclass(frozen=True)
class Row:
    """One shape of one class, and what every runtime took for it."""

    group: str
    shape: Shape
    figures: dict[str, Figures]

    @property
    def best_peer(self) -> str | None:
        peers = [name for name in self.figures if RUNTIMES[name].is_peer]
        return min(peers, key=lambda name: self.figures[name].seconds, default=None)

    def advantage(self, ours: str = OURS) -> float | None:
        """best peer / ours."""
        best = self.best_peer
        if best is None or ours not in self.figures:
            return None
        return ratio(self.figures[best], self.figures[ours])

    def limit(self) -> float | None:
        """best peer / roofline: what no kernel's advantage can exceed."""
        best = self.best_peer
        if best is None or "roofline" not in self.figures:
            return None
        return ratio(self.figures[best], self.figures["roofline"])

    def share(self) -> float | None:
        """Roofline / ours."""
        if "roofline" not in self.figures or OURS not in self.figures:
            return None
        return ratio(self.figures["roofline"], self.figures[OURS])


@dataclass(frozen=True)
class Run:
    """All rows, and what is needed to judge them."""

    machine: Machine
    networks: tuple[str, ...]
    channels_first: bool
    date: str  #: such as 2026-11-28
    commit: str  #: '' where it is not known
    facts: dict[str, str]
    versions: dict[str, str]  #: runtime -> name and version, in the order of the columns
    rows: list[Row]
    failures: list[str]
    partial: str = ""  #: why this is no whole run

    @property
    def layout(self) -> str:
        return "channels_first" if self.channels_first else "channels_last"

    @property
    def title(self) -> str:
        return f"{', '.join(self.networks)}: {self.layout}, batch 1"

    @property
    def stem(self) -> str:
        """The name of its files, without a suffix."""
        parts = [self.machine.slug, *self.networks, *["channels-first"] * self.channels_first]
        return "-".join([*parts, *["part"] * bool(self.partial)])


def header(names: Iterable[str]) -> list[str]:
    return ["shape", *names, "best peer", "best peer / ours", "share of roofline"]


def cells(row: Row, names: Iterable[str]) -> list[str]:
    """One row of the table: microseconds, '-' where there is no figure."""
    times = [f"{row.figures[n].seconds * 1e6:.2f}" if n in row.figures else "-" for n in names]
    ratios = [summary.two_digits(row.advantage()), summary.two_digits(row.share())]
    return [str(row.shape), *times, row.best_peer or "-", *ratios]


def line(fields: Iterable[str]) -> str:
    """A row in columns, for a terminal."""
    first, *rest = fields
    return f"{first:<24}" + "".join(f"{text:>{max(12, len(text) + 2)}}" for text in rest)


def markdown_table(titles: list[str], rows: Iterable[list[str]]) -> list[str]:
    return [f"| {' | '.join(fields)} |" for fields in (titles, ["---"] * len(titles), *rows)]


# ---- files ---------------------------------------------------------------------------------------


def write(path: Path, text: str) -> None:
    """Writes a file as a whole: who interrupts it keeps the old one."""
    new = path.with_name(f".{path.name}.new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)


def to_json(run: Run) -> str:
    rows = [
        {
            "group": row.group,
            "shape": str(row.shape),
            "sizes": asdict(row.shape),
            "fmas": row.shape.fmas,
            "best_peer": row.best_peer,
            "best_peer_to_ours": row.advantage(),
            "share_of_roofline": row.share(),
            "figures": as_json(row.figures),
        }
        for row in run.rows
    ]
    content = {
        "title": run.title,
        "machine": asdict(run.machine),
        "networks": run.networks,
        "layout": run.layout,
        "date": run.date,
        "commit": run.commit,
        "facts": run.facts,
        "versions": run.versions,
        "failures": run.failures,
        "partial": run.partial,
        "rows": rows,
    }
    return json.dumps(content, indent=1) + "\n"


def from_json(text: str) -> Run:
    """The run whose `to_json` that is. Ratios are computed again from the figures of the rounds."""
    content: dict[str, Any] = json.loads(text)
    rows = [
        Row(row["group"], Shape.from_json(row["sizes"]), _figures(row["figures"]))
        for row in content["rows"]
    ]
    return Run(
        Machine(**content["machine"]),
        tuple(content["networks"]),
        content["layout"] == "channels_first",
        content["date"],
        content["commit"],
        content["facts"],
        content["versions"],
        rows,
        content["failures"],
        content["partial"],
    )


def _figures(content: dict[str, Any]) -> dict[str, Figures]:
    return {
        name: Figures(found["variant"], found["rounds"], found["others"])
        for name, found in content.items()
    }


def to_markdown(run: Run) -> str:
    commit = {"commit": run.commit} if run.commit else {}
    part = {"not a whole run": run.partial} if run.partial else {}
    facts = {"machine": str(run.machine), "date": run.date, **commit, **part}
    facts |= run.facts | run.versions
    lines = [f"# {run.title}", "", *(f"- {k}: {v}" for k, v in facts.items()), ""]
    lines += [f"![bars per shape]({run.stem}.svg)", "", "Microseconds per call.", ""]
    for group in dict.fromkeys(row.group for row in run.rows):
        rows = [cells(row, run.versions) for row in run.rows if row.group == group]
        lines += [f"## {group}", "", *markdown_table(header(run.versions), rows), ""]
    found = summary.lines(run)
    lines += ["## Summary", "", *markdown_table(*summary.table(found, run.machine)), ""]
    lines += [*summary.notes(run), ""]
    if run.failures:
        lines += ["## Not measured", "", *(f"- {failure}" for failure in run.failures), ""]
    return "\n".join(lines)
