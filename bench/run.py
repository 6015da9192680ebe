"""Times dwconv beside other runtimes: bench/README.md says how.

python bench/run.py [NETWORK ...] [--shapes '3x3*'] [--only ours,litert] [--quick]
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import sys
import time
from pathlib import Path
from typing import TextIO

import plot
import report
from driver import ON_DEMAND, OURS, RUNTIMES, Bench
from shapes import networks, read, select

from dwconv.cli.info import cpu_name

RESULTS = Path(__file__).parent / "results"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dwconv"


def main() -> int:
    arguments = parse()
    names = chosen_runtimes(arguments.only, arguments.channels_first)
    groups = [group for network in arguments.networks for group in read(network)]
    if arguments.shapes:
        groups = select(groups, arguments.shapes)
    if arguments.channels_first and not arguments.shapes:
        groups = select(groups, "* k3 *")
    if not groups:
        sys.exit(
            f"--shapes: expected the pattern of a class or shape; received {arguments.shapes!r}"
        )
    cpu = max(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    CACHE.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    print(f"starting {', '.join(names)}", file=sys.stderr)
    bench = Bench(names, arguments.python, cpu, CACHE / "bench.log")
    title = f"{', '.join(arguments.networks)}: {layout(arguments.channels_first)}, batch 1"
    run = report.Run(title, facts(bench, cpu, arguments), [], [], bench.failures)
    columns = [worker.name for worker in bench.workers]
    run.names.extend(columns)
    for name, value in run.facts.items():
        print(f"{name}: {value}")
    print("\nmicroseconds per call\n" + report.line(report.header(columns)))
    progress = Progress(sum(len(group.shapes) for group in groups), sys.stderr)
    try:
        for group in groups:
            progress.clear()
            print(f"[{group.name}]")
            for shape in group.shapes:
                progress.show(str(shape))
                figures = bench.measure(
                    shape,
                    arguments.channels_first,
                    arguments.placements,
                    arguments.rounds,
                    arguments.seconds,
                )
                row = report.Row(group.name, group.at_least, shape, figures)
                run.rows.append(row)
                progress.clear()
                print(report.line(report.cells(row, columns)), flush=True)
                progress.done += 1
    finally:
        progress.clear()
        bench.close()
    sentences = report.summary(run, arguments.channels_first)
    print("\n" + "\n".join(sentences))
    for failure in run.failures:
        print(f"not measured: {failure}")
    print(f"{time.monotonic() - begin:.0f} s")
    if arguments.save:
        save(run, sentences, arguments)
    wrong = [f for f in run.failures if f": {OURS}" in f]
    return 1 if wrong else 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("networks", nargs="*", default=["targets"], help=", ".join(networks()))
    parser.add_argument("--shapes", help="a pattern of classes ('3x3*') or shapes ('*x256 k3 s?')")
    parser.add_argument("--only", help=f"some of {', '.join(RUNTIMES)}; 'ours' is {OURS}")
    parser.add_argument("--channels-first", action="store_true")
    parser.add_argument(
        "--quick", action="store_true", help="fewer and shorter rounds, arrays made once"
    )
    parser.add_argument("--placements", type=int, help="how often all arrays are made anew")
    parser.add_argument("--rounds", type=int, help="turns of each runtime, per placement")
    parser.add_argument("--seconds", type=float, help="length of a turn")
    parser.add_argument("--save", action="store_true", help=f"write into {RESULTS}")
    parser.add_argument(
        "--python",
        default=str(CACHE / "bench-venv" / "bin" / "python"),
        help="of the environment with the other runtimes",
    )
    arguments = parser.parse_args()
    arguments.placements = arguments.placements or (1 if arguments.quick else 3)
    arguments.rounds = arguments.rounds or (5 if arguments.quick else 3)
    arguments.seconds = arguments.seconds or (0.008 if arguments.quick else 0.016)
    if unknown := set(arguments.networks) - set(networks()):
        parser.error(f"expected networks among {networks()}; received {sorted(unknown)}")
    return arguments


def chosen_runtimes(only: str | None, channels_first: bool) -> list[str]:
    if only:
        names = [OURS if name == "ours" else name for name in only.split(",")]
        if unknown := set(names) - set(RUNTIMES):
            sys.exit(f"--only: expected some of {list(RUNTIMES)}; received {sorted(unknown)}")
    else:
        names = [name for name in RUNTIMES if name not in ON_DEMAND]
        if platform.machine() not in ("x86_64", "AMD64"):
            names.remove("dwconv-avx2")
    if channels_first:
        names = [name for name in names if name not in ("litert", "tensorflow")]
    return names


def layout(channels_first: bool) -> str:
    return "channels_first" if channels_first else "channels_last"


def facts(bench: Bench, cpu: int, arguments: argparse.Namespace) -> dict[str, str]:
    versions = {w.name: w.version for w in bench.workers}
    return {
        "CPU": f"{cpu_name()}, {os.cpu_count()} CPUs, pinned to {cpu}",
        "system": platform.platform(),
        "what": "float32, 'same', bias + ReLU, one thread; medians over "
        f"{arguments.placements} x {arguments.rounds} rounds of {arguments.seconds * 1e3:g} ms",
        **versions,
    }


def save(run: report.Run, sentences: list[str], arguments: argparse.Namespace) -> None:
    """Writes JSON, Markdown and picture, named after the CPU and the networks."""
    cpu = re.sub(r"[^a-z0-9]+", "-", cpu_name().lower()).strip("-")
    stem = "-".join([cpu, *arguments.networks, *["channels-first"] * arguments.channels_first])
    if arguments.shapes or arguments.only:
        stem += "-part"  # not over the figures of a whole run
    RESULTS.mkdir(exist_ok=True)
    report.write_json(run, sentences, RESULTS / f"{stem}.json")
    report.write_markdown(run, sentences, RESULTS / f"{stem}.md", f"{stem}.svg")
    plot.draw(run, RESULTS / f"{stem}.svg")
    print(f"wrote {RESULTS / stem}.json, .md and .svg")


class Progress:
    """A bar on the last line of a terminal; nothing elsewhere."""

    def __init__(self, total: int, stream: TextIO) -> None:
        self.total, self.done = total, 0
        self._stream = stream if stream.isatty() else None

    def show(self, what: str) -> None:
        if self._stream:
            filled = 30 * self.done // self.total
            bar = "#" * filled + "-" * (30 - filled)
            self._stream.write(f"\r\x1b[K[{bar}] {self.done}/{self.total} {what}")
            self._stream.flush()

    def clear(self) -> None:
        if self._stream:
            self._stream.write("\r\x1b[K")
            self._stream.flush()


if __name__ == "__main__":
    sys.exit(main())
