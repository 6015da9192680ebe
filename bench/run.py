"""Times dwconv beside other runtimes: bench/README.md says how.

python bench/run.py [NETWORK ...] [--shapes '3x3*'] [--only ours,litert] [--quick]
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import TextIO

import history
import plot
import report
import summary
import tables
from driver import ON_DEMAND, OURS, RUNTIMES, Bench
from machine import ISA_NAMES, Machine, this_machine
from shapes import Group, networks, read, select

from dwconv import isa
from dwconv.cli.info import cpu_name

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"

#: How often all arrays are made anew, turns per runtime each time, the length of a turn.
TIMES = {"placements": 3, "rounds": 3, "seconds": 0.016}
QUICK_TIMES = {"placements": 1, "rounds": 5, "seconds": 0.008}
QUICK = (
    "QUICK RUN: arrays made once, short turns. It writes nothing, and its figures are not to be "
    "compared with those of make bench."
)

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dwconv"


def main() -> int:
    arguments = parse()
    machine = this_machine()
    names = chosen_runtimes(arguments.only, arguments.channels_first, machine)
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
    if arguments.quick:
        print(QUICK)
    print(f"starting {', '.join(names)}", file=sys.stderr)
    bench = Bench(names, arguments.python, cpu, CACHE / "bench.log")
    versions = {worker.name: worker.version for worker in bench.workers}
    partial = why_partial(arguments, [name for name in names if name not in versions])
    run = report.Run(
        machine,
        tuple(arguments.networks),
        arguments.channels_first,
        datetime.date.today().isoformat(),
        commit(),
        facts(cpu, arguments),
        versions,
        [],
        bench.failures,
        partial,
    )
    print(f"machine: {machine}, {ISA_NAMES.get(machine.isa, machine.isa)}")
    for name, value in (run.facts | versions).items():
        print(f"{name}: {value}")
    print("\nmicroseconds per call\n" + report.line(report.header(versions)))
    measure(bench, run, groups, arguments)
    print("\n" + "\n".join(summary.aligned(*summary.table(summary.lines(run), machine))))
    print("\n".join(summary.notes(run)))
    for failure in run.failures:
        print(f"not measured: {failure}")
    print(f"{time.monotonic() - begin:.0f} s")
    if arguments.quick:
        print(QUICK)
    if arguments.save:
        save(run)
    wrong = [f for f in run.failures if f": {OURS}" in f]
    return 1 if wrong else 0


def measure(
    bench: Bench, run: report.Run, groups: list[Group], arguments: argparse.Namespace
) -> None:
    """Fills the rows of `run`, and prints each when it is known."""
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
                row = report.Row(group.name, shape, figures)
                run.rows.append(row)
                progress.clear()
                print(report.line(report.cells(row, run.versions)), flush=True)
                progress.done += 1
    finally:
        progress.clear()
        bench.close()


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
    parser.add_argument(
        "--save", action="store_true", help=f"write into {RESULTS}; a part of a run as '...-part'"
    )
    parser.add_argument(
        "--python",
        default=str(CACHE / "bench-venv" / "bin" / "python"),
        help="of the environment with the other runtimes",
    )
    arguments = parser.parse_args()
    if arguments.quick and arguments.save:
        parser.error("--quick --save: expected one of them, a quick run is not saved")
    standard = QUICK_TIMES if arguments.quick else TIMES
    for name, value in standard.items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, value)
    if unknown := set(arguments.networks) - set(networks()):
        parser.error(f"expected networks among {networks()}; received {sorted(unknown)}")
    return arguments


def chosen_runtimes(only: str | None, channels_first: bool, machine: Machine) -> list[str]:
    if only:
        names = [OURS if name == "ours" else name for name in only.split(",")]
        if unknown := set(names) - set(RUNTIMES):
            sys.exit(f"--only: expected some of {list(RUNTIMES)}; received {sorted(unknown)}")
    else:
        names = [name for name in RUNTIMES if name not in ON_DEMAND]
        if machine.isa != "avx512":
            names.remove("dwconv-avx2")  # is what dwconv itself uses there, or cannot run
        if platform.machine() not in ("x86_64", "AMD64"):
            names.remove("tensorflow")  # the extra 'bench' has none there
    if channels_first:
        names = [name for name in names if name not in ("litert", "tensorflow")]
    return names


def why_partial(arguments: argparse.Namespace, not_started: list[str]) -> str:
    """Why the figures must not stand beside those of other machines; '' if they may."""
    reasons = [f"--{name}" for name in ("shapes", "only", "quick") if getattr(arguments, name)]
    reasons += [f"--{name}" for name, value in TIMES.items() if getattr(arguments, name) != value]
    reasons += [f"{name} did not start" for name in not_started]
    reasons += [isa.VARIABLE] * bool(os.environ.get(isa.VARIABLE))
    return ", ".join(reasons)


def facts(cpu: int, arguments: argparse.Namespace) -> dict[str, str]:
    return {
        "CPU": f"{cpu_name()}, {os.cpu_count()} CPUs, pinned to {cpu}",
        "system": platform.platform(),
        "what": "float32, 'same', bias + ReLU, one thread; medians over "
        f"{arguments.placements} x {arguments.rounds} rounds of {arguments.seconds * 1e3:g} ms",
    }


def commit() -> str:
    """The commit that is measured; '' where there is no repository. Results that are not committed
    yet are no change of what is measured.
    """

    def git(*command: str) -> str:
        return subprocess.run(
            ["git", *command], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()

    ours = [".", ":!bench/results", ":!bench/history.jsonl", ":!README.md"]
    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", *ours)
        return git("rev-parse", "--short=10", "HEAD") + (" with changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def save(run: report.Run) -> None:
    """JSON, Markdown and picture, named after machine and networks; after a whole run also the
    history and all that follows from results.
    """
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{run.stem}.json"
    report.write(path, report.to_json(run))
    report.write(path.with_suffix(".md"), report.to_markdown(run))
    plot.draw(run, path.with_suffix(".svg"))
    print(f"wrote {path}, .md and .svg")
    if run.partial:
        print(f"This is not a whole run ({run.partial}): tables and history stay as they are.")
        return
    history.append(run, history.HISTORY)
    tables.write_all()
    history.draw(history.read(history.HISTORY), history.PICTURE)
    print(f"wrote a line of {history.HISTORY}, and {history.PICTURE}")


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
