"""The picture of a run: per shape the speed of each runtime, and the roofline as a mark."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from driver import OURS, RUNTIMES

if TYPE_CHECKING:
    from report import Run


def draw(run: Run, path: Path) -> None:
    """Horizontal bars; 1 is the fastest peer of the shape. The suffix decides the format."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    pyplot.rcParams["svg.fonttype"] = "none"  # text stays text: small files
    pyplot.rcParams["svg.hashsalt"] = "dwconv"

    rows = [row for row in run.rows if row.best_peer and OURS in row.figures]
    if not rows:
        return
    peers = [name for name in run.versions if RUNTIMES[name].is_peer]
    figure, axes = pyplot.subplots(figsize=(9, 1.6 + 0.3 * len(rows)), layout="constrained")
    colours = dict(
        zip(peers, ("#d08770", "#ebcb8b", "#7aa874", "#9a7fb0", "#8a8f99"), strict=False)
    )
    for y, row in enumerate(rows):
        best = row.figures[row.best_peer or ""].seconds
        speed = {name: best / figures.seconds for name, figures in row.figures.items()}
        axes.barh(y, speed[OURS], height=0.62, color="#4c78a8", zorder=2)
        for name in peers:
            if name in speed:
                axes.plot(
                    speed[name], y, "o", ms=5, mec="white", mew=0.5, color=colours[name], zorder=4
                )
        if "roofline" in speed:
            axes.plot([speed["roofline"]] * 2, [y - 0.42, y + 0.42], color="black", lw=2, zorder=3)
        axes.text(-0.01, y, str(row.shape), ha="right", va="center", fontsize=8,
                  transform=axes.get_yaxis_transform())  # fmt: skip
    axes.bar(0, 0, color="#4c78a8", label="dwconv")
    for name in peers:
        axes.plot([], [], "o", color=colours[name], label=name)
    axes.plot([], [], "|", color="black", ms=11, mew=2, label="roofline")
    axes.axvline(1, color="#555555", lw=0.8, ls="--", zorder=1)
    axes.set(yticks=[], ylim=(len(rows) - 0.4, -0.6), xlim=(0, None))
    axes.set_xlabel("speed; the fastest peer of each shape is 1")
    axes.grid(axis="x", color="#dddddd", zorder=0)
    axes.set_axisbelow(True)
    axes.set_title(f"{run.title}\n{run.machine}", fontsize=10)
    figure.legend(loc="outside lower center", ncols=len(peers) + 2, fontsize=8, frameon=False)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    pyplot.close(figure)
