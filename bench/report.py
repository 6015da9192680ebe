"""What a run found: rows of a table, summaries against the targets, JSON and Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from driver import OURS, RUNTIMES, Figures, as_json, ratio
from shapes import Shape

ALL_AT_LEAST, EACH_AT_LEAST, SHARE_AT_LEAST = 2.3, 1.05, 0.75
AVX2_AT_LEAST, FLOAT64_AT_LEAST, CHANNELS_FIRST_AT_LEAST = 1.4, 0.45, 2.0
TINY, TINY_AT_MOST = "8x8x16 k3 s1", 0.7


@dataclass(frozen=True)
class Row:
    """One shape of one class, and what every runtime took for it."""

    group: str
    at_least: float | None
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

    title: str
    facts: dict[str, str]
    names: list[str]  #: of the runtimes, in the order of the columns
    rows: list[Row]
    failures: list[str]


def header(names: Iterable[str]) -> list[str]:
    return ["shape", *names, "best peer", "best peer / ours", "share of roofline"]


def cells(row: Row, names: Iterable[str]) -> list[str]:
    """One row of the table: microseconds, '-' where there is no figure."""
    times = [f"{row.figures[n].seconds * 1e6:.2f}" if n in row.figures else "-" for n in names]
    advantage, share = row.advantage(), row.share()
    return [
        str(row.shape),
        *times,
        row.best_peer or "-",
        "-" if advantage is None else f"{advantage:.2f}",
        "-" if share is None else f"{share:.2f}",
    ]


def line(fields: Iterable[str]) -> str:
    """A row in columns, for a terminal."""
    first, *rest = fields
    return f"{first:<24}" + "".join(f"{text:>{max(12, len(text) + 2)}}" for text in rest)


def summary(run: Run, channels_first: bool) -> list[str]:
    """Sentences that compare with the targets."""
    told = []
    compared = [row for row in run.rows if row.advantage() is not None]
    groups = dict.fromkeys((row.group, row.at_least) for row in compared)
    if not channels_first:
        for group, at_least in groups:
            told.append(advantage(group, [r for r in compared if r.group == group], at_least))
    if compared:
        everything = CHANNELS_FIRST_AT_LEAST if channels_first else ALL_AT_LEAST
        has_targets = any(at_least for _, at_least in groups)
        told.append(advantage("all shapes", compared, everything if has_targets else None))
        worst = min(compared, key=lambda row: row.advantage() or 0)
        told.append(advantage(f"the least, {worst.shape}", [worst], EACH_AT_LEAST))
    if shares := [s for row in run.rows if (s := row.share()) is not None]:
        told.append(verdict("median share of roofline", float(np.median(shares)), SHARE_AT_LEAST))
    if values := [a for row in run.rows if (a := row.advantage("dwconv-avx2")) is not None]:
        told.append(verdict("AVX2, best peer / ours", geometric_mean(values), AVX2_AT_LEAST))
    both = [row.figures for row in run.rows if {OURS, "dwconv-float64"} <= row.figures.keys()]
    if both:
        values = [ratio(figures[OURS], figures["dwconv-float64"]) for figures in both]
        told.append(
            verdict("float64, speed of float32's", geometric_mean(values), FLOAT64_AT_LEAST)
        )
    for row in run.rows:
        if str(row.shape) == TINY and {OURS, "litert"} <= row.figures.keys():
            value = ratio(row.figures[OURS], row.figures["litert"])
            met = "" if value <= TINY_AT_MOST else "  MISSED"
            told.append(
                f"{f'{TINY}: ours / LiteRT':<36} {value:5.2f}  (at most {TINY_AT_MOST}){met}"
            )
    return told


def advantage(name: str, rows: list[Row], at_least: float | None) -> str:
    """The geometric mean of best peer / ours, and what it would be on the roofline."""
    limits = [limit for row in rows if (limit := row.limit()) is not None]
    limit = geometric_mean(limits) if limits else None
    return verdict(name, geometric_mean(row.advantage() or 0 for row in rows), at_least, limit)


def verdict(name: str, value: float, at_least: float | None, limit: float | None = None) -> str:
    wanted = [f"at least {at_least}"] if at_least is not None else []
    possible = [f"roofline {limit:.2f}"] if limit is not None else []
    text = f"{name:<36} {value:5.2f}"
    if wanted or possible:
        text += f"  ({', '.join(wanted + possible)})"
    return text if at_least is None or value >= at_least else f"{text}  MISSED"


def geometric_mean(values: Iterable[float]) -> float:
    return float(np.exp(np.mean(np.log(list(values)))))


def write_json(run: Run, sentences: list[str], path: Path) -> None:
    rows = [
        {
            "group": row.group,
            "at_least": row.at_least,
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
    content: dict[str, Any] = {
        "title": run.title,
        "facts": run.facts,
        "summary": sentences,
        "failures": run.failures,
        "rows": rows,
    }
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def write_markdown(run: Run, sentences: list[str], path: Path, picture: str) -> None:
    lines = [f"# {run.title}", "", *(f"- {k}: {v}" for k, v in run.facts.items()), ""]
    lines += [f"![bars per shape]({picture})", "", "Microseconds per call.", ""]
    titles = header(run.names)
    group = None
    for row in run.rows:
        if row.group != group:
            group = row.group
            if row is not run.rows[0]:
                lines.append("")
            lines += [f"## {group}", "", f"| {' | '.join(titles)} |", "|" + "---|" * len(titles)]
        lines.append(f"| {' | '.join(cells(row, run.names))} |")
    lines += ["", "## Summary", "", "```", *sentences, "```", ""]
    if run.failures:
        lines += ["## Not measured", "", *(f"- {failure}" for failure in run.failures), ""]
    path.write_text("\n".join(lines), encoding="utf-8")
