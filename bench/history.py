"""bench/history.jsonl: one line per whole run of `make bench`. `make bench-plot` draws it.

python bench/history.py [--out history.svg]
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import report
import summary
from machine import Machine
from shapes import read as read_groups

HISTORY = Path(__file__).parent / "history.jsonl"
PICTURE = Path(__file__).parent / "results" / "history.svg"

#: Okabe and Ito's colours, which colour-blind people can tell apart.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
STYLES = {"avx512": "--", "avx2": ":"}


def record(run: report.Run) -> dict[str, Any]:
    """The line of a run. 'note', if there is one, was written by hand."""
    return {
        "date": run.date,
        "commit": run.commit,
        "machine": asdict(run.machine),
        "networks": list(run.networks),
        "layout": run.layout,
        "classes": {
            name: _rounded(summary.advantage(rows))
            for name, rows in summary.by_class(run.rows).items()
        },
        "all": _rounded(summary.advantage(run.rows)),
        "all, dwconv-avx2": _rounded(summary.advantage(run.rows, summary.OUR_AVX2)),
        "share of the roofline": _rounded(summary.share(run.rows)),
        "shapes lost": list(summary.lost(run.rows)),
    }


def append(run: report.Run, path: Path) -> None:
    """Adds the line of a run; the lines that are there are not touched."""
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    lines = [before.rstrip("\n"), json.dumps(record(run))]
    report.write(path, "\n".join(filter(None, lines)) + "\n")


def read(path: Path) -> list[dict[str, Any]]:
    """All lines. ValueError with the number of a line that is none of `append`."""
    found = []
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            content = json.loads(text)
            Machine(**content["machine"])
            found.append({key: content[key] for key in ("date", "commit", "machine", "networks",
                          "layout", "classes", "all", "all, dwconv-avx2",
                          "share of the roofline", "shapes lost")})  # fmt: skip
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{path}:{number}: expected a line of make bench: {error!r}") from None
    return found


def draw(lines: list[dict[str, Any]], path: Path) -> None:
    """One panel per class: best peer / ours over the runs of shapes/targets.txt, a line for each
    machine, and the targets for machines of that kind. The suffix decides the format.
    """
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    pyplot.rcParams["svg.fonttype"] = "none"  # text stays text: small files
    pyplot.rcParams["svg.hashsalt"] = "dwconv"

    lines = [line for line in lines if line["networks"] == ["targets"]]
    if not lines:
        raise ValueError("no whole run of shapes/targets.txt is in the history yet")
    # A run of both layouts is one place on the axis.
    runs = list(dict.fromkeys((line["date"], line["commit"]) for line in lines))
    machines = list(dict.fromkeys(str(Machine(**line["machine"])) for line in lines))
    kinds = {line["machine"]["isa"] for line in lines}
    panels = _panels(lines)
    rows = -(-len(panels) // 4)
    figure, axes = pyplot.subplots(
        rows, 4, figsize=(12, 0.9 + 2.3 * rows), layout="constrained", squeeze=False
    )
    for ax, (title, (pick, targets)) in zip(axes.flat, panels.items(), strict=False):
        for machine, colour in zip(machines, COLOURS * len(machines), strict=False):
            points = [
                (runs.index((line["date"], line["commit"])), value)
                for line in lines
                if str(Machine(**line["machine"])) == machine and (value := pick(line)) is not None
            ]
            if points:
                ax.plot(*zip(*points, strict=True), "o-", color=colour, lw=1.8, ms=5, clip_on=False)
                ax.annotate(f"{points[-1][1]:.2f}", points[-1], (7, 0), color=colour, fontsize=9,
                            textcoords="offset points", va="center", annotation_clip=False,
                            bbox={"fc": "white", "ec": "none", "pad": 0.8})  # fmt: skip
        top = 1.15 * max([1, *ax.dataLim.intervaly, *(targets[i] for i in kinds & targets.keys())])
        for isa in kinds & targets.keys():
            ax.axhline(targets[isa], color="#666666", lw=1, ls=STYLES[isa], zorder=0)
        # From parity with the peers on: a scale that fits the points shows little but noise.
        is_share = targets is summary.SHARE
        ax.set_ylim(0 if is_share else min(1, ax.get_ylim()[0]), 1 if is_share else top)
        ax.set_xlim(-0.3, len(runs) - 0.4)
        every = max(1, len(runs) // 6)
        shown = range(len(runs))[::-every][::-1]  # the last one always
        ax.set_xticks(list(shown), [_tick(runs[i]) for i in shown], fontsize=8, color="#444444")
        ax.set_title(title, fontsize=10, loc="left")
        ax.grid(axis="y", color="#e8e8e8")
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(axis="y", labelsize=8)
    for ax in axes.flat[len(panels) :]:
        ax.axis("off")
    for machine, colour in zip(machines, COLOURS * len(machines), strict=False):
        axes.flat[0].plot([], [], "o-", color=colour, label=machine)
    for isa in sorted(kinds & summary.COLUMNS.keys(), reverse=True):
        axes.flat[0].plot([], [], color="#666666", lw=1, ls=STYLES[isa], label=summary.COLUMNS[isa])
    figure.suptitle(
        "best peer / ours, run by run: geometric means; 1 is as fast as the fastest peer",
        fontsize=12,
    )
    figure.legend(loc="outside lower center", ncols=4, fontsize=9, frameon=False)
    figure.savefig(path, dpi=110, metadata={"Date": None} if path.suffix == ".svg" else None)
    pyplot.close(figure)


def _panels(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """{title: (line -> value or None, targets)} of those that have a value."""
    targets = {group.name: group.targets for group in read_groups("targets")}
    names = dict.fromkeys(n for line in lines if _is_last(line) for n in line["classes"])
    panels: dict[str, Any] = {"all shapes": (lambda line: line["all"], summary.ALL)}
    for name in names:
        panels[name] = (lambda line, n=name: line["classes"].get(n), targets.get(name, {}))
    panels["all shapes, our AVX2 kernels"] = (
        lambda line: line["all, dwconv-avx2"],
        summary.ALL_WITH_AVX2_KERNELS,
    )
    panels["median share of the roofline"] = (
        lambda line: line["share of the roofline"],
        summary.SHARE,
    )
    panels = {title: (_of(True, pick), wanted) for title, (pick, wanted) in panels.items()}
    pick = _of(False, lambda line: line["all"])
    panels |= {"all shapes, channels_first": (pick, summary.ALL_CHANNELS_FIRST)}
    return {
        title: (pick, wanted)
        for title, (pick, wanted) in panels.items()
        if any(pick(line) is not None for line in lines)
    }


def _of(channels_last: bool, pick: Any) -> Any:
    """`pick` for lines of one layout, None for the others."""
    return lambda line: pick(line) if _is_last(line) == channels_last else None


def _is_last(line: dict[str, Any]) -> bool:
    return line["layout"] == "channels_last"


def _tick(run: tuple[str, str]) -> str:
    date, commit = run
    return f"{commit[:7] or '?'}\n{date[5:]}"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=PICTURE, help="a file: .svg, .png or .pdf")
    chosen = parser.parse_args()
    try:
        draw(read(HISTORY), chosen.out)
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        sys.exit("make bench-plot needs matplotlib: pip install '.[demo]'")
    except (OSError, ValueError) as error:
        sys.exit(f"make bench-plot: {error}")
    print(f"wrote {chosen.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
