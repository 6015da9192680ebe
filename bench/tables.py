"""Tables that are made from the JSON of results, so that no figure is copied by hand.

    python bench/tables.py

Writes bench/results/README.md, the Markdown beside each JSON, and in the README whatever is between
`<!-- figures: NETWORK of FILE.json ... -->` and `<!-- end of figures -->`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import report
import summary
from driver import OURS
from machine import ISA_NAMES
from report import Row, Run
from shapes import Shape, networks, read

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results"
README = ROOT / "README.md"

#: What people call them.
PEERS = {
    "litert": "LiteRT",
    "openvino": "OpenVINO",
    "onnxruntime": "ONNX Runtime",
    "torch": "PyTorch",
    "tensorflow": "TensorFlow",
}

_BLOCK = re.compile(
    r"(?P<begin><!-- figures: (?P<network>\S+) of (?P<files>.+?) -->\n)"
    r".*?(?P<end><!-- end of figures -->)",
    re.DOTALL,
)


def write_all(results: Path = RESULTS, readme: Path = README) -> None:
    for path, text in {**made(results), readme: with_figures(readme, results)}.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            report.write(path, text)
            print(f"wrote {path}")


def runs(results: Path) -> dict[Path, Run]:
    """The runs in a folder, which has files of service.py, too."""
    paths = [p for p in sorted(results.glob("*.json")) if not p.name.startswith("service-")]
    return {path: report.from_json(path.read_text(encoding="utf-8")) for path in paths}


def made(results: Path) -> dict[Path, str]:
    """{file: text} of what follows from the JSON in `results`."""
    found = runs(results)
    texts = {path.with_suffix(".md"): report.to_markdown(run) for path, run in found.items()}
    whole = [run for run in found.values() if not run.partial]
    return texts | {results / "README.md": overview(whole)}


# ---- bench/results/README.md ---------------------------------------------------------------------


def overview(found: list[Run]) -> str:
    """One table of all machines."""
    judged = [run for run in found if run.networks == ("targets",)]
    judged.sort(key=lambda run: (run.machine.slug, run.channels_first))
    others = [run for run in found if run.networks != ("targets",)]
    classes = [group.name for group in read("targets")]
    titles = ["machine", "ISA", "layout", "measured", *classes, "all shapes", "the least"]
    rows = [row for run in judged for row in overview_rows(run, classes)]
    titles += ["share of roofline", "shapes lost"]
    lines = [
        "# Results of make bench",
        "",
        "`bench/tables.py` makes this file from the JSON files beside it whenever `make bench`",
        "saves a run. [bench/README.md](../README.md) says how a figure is taken.",
        "",
        "The columns of classes, and all shapes, are geometric means of best peer / ours over the",
        "shapes of `shapes/targets.txt`. The share of the roofline is the median of",
        "roofline / ours. Shapes lost are those where a peer is faster.",
        "",
        "Rows marked 'AVX2 kernels' are our AVX2 kernels on a machine with AVX-512, beside peers",
        "that use AVX-512. They do not say what a machine with AVX2 alone would give.",
        "",
        *report.markdown_table(titles, rows),
        "",
        *missing(judged),
        *(f"- [{run.title}, {run.machine}]({run.stem}.md)" for run in others),
        *[""] * bool(others),
        "![best peer / ours, run by run](history.svg)",
        "",
    ]
    return "\n".join(lines)


def overview_rows(run: Run, classes: list[str]) -> list[list[str]]:
    machine = f"[{run.machine}]({run.stem}.md)"
    measured = " ".join(filter(None, (run.date, run.commit)))
    kind = ISA_NAMES.get(run.machine.isa, run.machine.isa)
    rows = [[machine, kind, run.layout, measured, *means(run, classes, OURS)]]
    if summary.advantage(run.rows, summary.OUR_AVX2) is not None:
        label = f"AVX2 kernels (machine has {kind})"
        rows.append([machine, label, run.layout, measured, *means(run, classes, summary.OUR_AVX2)])
    return rows


def means(run: Run, classes: list[str], ours: str) -> list[str]:
    grouped = summary.by_class(run.rows)
    values = [summary.advantage(grouped.get(name, []), ours) for name in classes]
    each = [value for row in run.rows if (value := row.advantage(ours)) is not None]
    values += [summary.advantage(run.rows, ours), min(each, default=None)]
    values.append(summary.share(run.rows) if ours == OURS else None)
    slower = [f"{shape} ({value:.2f})" for shape, value in summary.lost(run.rows, ours).items()]
    return [*map(summary.two_digits, values), ", ".join(slower) or "none"]


def missing(judged: list[Run]) -> list[str]:
    """Which kinds of machines have no row yet."""
    there = {run.machine.isa for run in judged}
    kinds = {"avx512": "AVX-512", "avx2": "AVX2 and no AVX-512", "neon": "NEON"}
    lacking = [text for isa, text in kinds.items() if isa not in there]
    return [
        *(f"- Missing: no machine with {text} has run all of `make bench`." for text in lacking),
        "",
    ]


# ---- the README ----------------------------------------------------------------------------------


def with_figures(readme: Path, results: Path) -> str:
    """The README's text with its figures as the JSON has them."""

    def figures(block: re.Match[str]) -> str:
        if block["network"] not in networks():
            raise ValueError(f"{readme}: expected a network of bench/shapes; received {block[1]!r}")
        found = [
            report.from_json((results / name).read_text(encoding="utf-8"))
            for name in block["files"].split()
        ]
        shapes = [shape for group in read(block["network"]) for shape in group.shapes]
        lines = ["", *side_by_side(found, shapes)]
        if not any(run.machine.isa == "avx2" for run in found):
            lines += ["", "No machine without AVX-512 has run `make bench` yet."]
        return block["begin"] + "\n".join(lines) + "\n\n" + block["end"]

    return _BLOCK.sub(figures, readme.read_text(encoding="utf-8"))


def side_by_side(found: list[Run], shapes: list[Shape]) -> list[str]:
    """One table, of each machine our time and the fastest peer's; then each in a few lines."""
    kinds = [ISA_NAMES.get(run.machine.isa, run.machine.isa) for run in found]
    columns = [name for kind in kinds for name in (f"dwconv, {kind}", "fastest peer")]
    rows = [{row.shape: row for row in run.rows} for run in found]
    table = [
        [label(shape), *(cell for row in rows for cell in pair(row.get(shape)))] for shape in shapes
    ]
    lines = report.markdown_table(["layer", *columns], table)
    for run, kind in zip(found, kinds, strict=True):
        measured = ", commit ".join(filter(None, (run.date, run.commit)))
        lines += ["", f"**{run.machine}, {kind}** ({measured}). " + " ".join(sentences(run, kind))]
    return lines


def pair(row: Row | None) -> list[str]:
    """Our microseconds, in bold if nobody is faster, and the fastest peer's with its name."""
    if row is None or OURS not in row.figures:
        return ["-", "-"]
    peers = {name: row.figures[name].seconds for name in PEERS if name in row.figures}
    ours = microseconds(row.figures[OURS].seconds)
    if (row.advantage() or 0) > 1:
        ours = f"**{ours}**"
    if not peers:
        return [ours, "-"]
    best = min(peers, key=lambda name: peers[name])
    return [ours, f"{microseconds(peers[best])}, {PEERS[best]}"]


def label(shape: Shape) -> str:
    text = f"{shape.height}x{shape.width}x{shape.channels}"
    return text if shape.strides == (1, 1) else f"{text}, stride {shape.strides[0]}"


def microseconds(seconds: float) -> str:
    value = seconds * 1e6
    return f"{value:.2f}" if value < 99.995 else f"{value:.0f}"


def sentences(run: Run, kind: str) -> list[str]:
    """The whole run in a few lines."""
    each = [value for row in run.rows if (value := row.advantage()) is not None]
    mean = summary.advantage(run.rows)
    if mean is None:
        return []
    files = ", ".join(f"`bench/shapes/{network}.txt`" for network in run.networks)
    told = [
        f"Over the {len(each)} shapes of {files} the fastest peer takes {mean:.2f} times as long",
        f"as ours on this machine (geometric mean; from {min(each):.2f} to {max(each):.2f}). "
        f"Shapes lost: {len(summary.lost(run.rows)) or 'none'}.",
    ]
    if (narrow := summary.advantage(run.rows, summary.OUR_AVX2)) is not None:
        count = len(summary.lost(run.rows, summary.OUR_AVX2))
        told.append(
            f"Our AVX2 kernels on this same machine, beside peers that use {kind}: {narrow:.2f}. "
            f"Shapes lost: {count or 'none'}."
        )
    return told


if __name__ == "__main__":
    write_all()
    sys.exit(0)
