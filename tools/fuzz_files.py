"""make fuzz-files: the readers, fuzzed with atheris, from the corpora in tests/fuzz/corpus.

    .venv/bin/python tools/fuzz_files.py [--seconds 60] [--jobs 1] [--seed N] [TARGET ...]

Each target gets so many seconds of CPU time, which other jobs on the machine cannot shorten. What
is new goes to build/fuzz-files, a finding to build/fuzz-files/findings, and a line on each piece of
work to build/fuzz-files/pieces.tsv, whose sums are printed: an hour may be made of many pieces.

--merge afterwards makes the corpora in the tree anew: the smallest inputs that together reach all
of the code that any reaches.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
FUZZER = ROOT / "tests" / "fuzz" / "fuzz_files.py"
CORPORA = ROOT / "tests" / "fuzz" / "corpus"
WORK = ROOT / "build" / "fuzz-files"
PIECES = WORK / "pieces.tsv"

TARGETS = (
    *("safetensors", "npz", "keras", "hdf5", "weights", "json", "onnx", "tflite"),
    *("config", "wisdom"),
)

#: Of one input: a gigabyte, and minutes of a clock, for what hangs. fuzz_files.py limits CPU time:
#: a clock goes on while other jobs have the CPU.
LIMITS = ("-timeout=300", "-rss_limit_mb=1024", "-max_len=40000")

#: libFuzzer's status where somebody ends it (InterruptExitCode in its FuzzerOptions.h).
INTERRUPTED = 72


@dataclass
class Piece:
    """The work of one process on one target."""

    target: str
    process: subprocess.Popen[bytes]
    began: float
    stopped: bool = False

    def cpu_seconds(self) -> float:
        """What the process has used so far, as Linux counts it."""
        stat = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii")
        user, system = stat.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def known(target: str) -> Path:
    """The corpus of the tree, as files; a new target has none before --merge."""
    folder = WORK / "known" / target
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if (path := CORPORA / f"{target}.zip").exists():
        with zipfile.ZipFile(path) as corpus:
            corpus.extractall(folder)
    (WORK / target).mkdir(parents=True, exist_ok=True)
    return folder


def start(target: str, seed: int | None) -> Piece:
    """A process that fuzzes the target until it is told to stop."""
    findings = WORK / "findings"
    findings.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, FUZZER, target, *LIMITS, f"-artifact_prefix={findings}/{target}-"]
    # The same inputs each time: what a new seed finds is nobody's fault in a run of the CI.
    command += [] if seed is None else [f"-seed={seed}"]
    corpora = [WORK / target, known(target)]
    with (WORK / f"{target}.log").open("wb") as log:
        process = subprocess.Popen(
            [str(word) for word in (*command, *corpora)], stdout=log, stderr=log
        )
    return Piece(target, process, time.monotonic())


def end(piece: Piece, usage: float, status: int) -> bool:
    """Prints and records what came out: True where nothing was found."""
    log = (WORK / f"{piece.target}.log").read_text(encoding="utf-8", errors="replace")
    counts = re.findall(r"^(?:Done |stat::number_of_executed_units: |#)(\d+)\b", log, re.MULTILINE)
    runs = max(map(int, counts), default=0)
    wall = time.monotonic() - piece.began
    fine = status in (0, INTERRUPTED)
    verdict = "no finding" if fine else f"FINDING, status {status}"
    now = time.strftime("%Y-%m-%dT%H:%M:%S")
    with PIECES.open("a", encoding="utf-8") as pieces:
        fields = (now, piece.target, f"{wall:.0f}", f"{usage:.0f}", runs, verdict)
        print(*fields, sep="\t", file=pieces)
    print(f"{piece.target}: {runs} inputs in {usage:.0f} s of CPU time, {wall:.0f} s: {verdict}")
    if not fine:
        print("\n".join(log.splitlines()[-60:]))
    sys.stdout.flush()
    return fine


def fuzz(targets: list[str], seconds: float, jobs: int, seed: int | None) -> bool:
    """So many targets at a time; True where nothing was found."""
    waiting, running, fine = list(targets), dict[int, Piece](), True
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                piece = start(waiting.pop(0), seed)
                running[piece.process.pid] = piece
            time.sleep(0.5)
            for pid, piece in list(running.items()):
                ended, status, usage = os.wait4(pid, os.WNOHANG)
                if ended:
                    piece.process.returncode = os.waitstatus_to_exitcode(status)
                    cpu = usage.ru_utime + usage.ru_stime
                    fine &= end(running.pop(pid), cpu, piece.process.returncode)
                elif not piece.stopped and piece.cpu_seconds() >= seconds:
                    piece.process.send_signal(signal.SIGUSR1)  # libFuzzer: end, with a summary
                    piece.stopped = True
    finally:
        for piece in running.values():
            piece.process.kill()
    return fine


def print_sums() -> None:
    """What all pieces so far come to."""
    wall, cpu, runs = Counter[str](), Counter[str](), Counter[str]()
    for line in PIECES.read_text(encoding="utf-8").splitlines():
        _, target, wall_seconds, cpu_seconds, count, _ = line.split("\t")
        wall[target] += int(wall_seconds)
        cpu[target] += int(cpu_seconds)
        runs[target] += int(count)
    print("all pieces in", PIECES.relative_to(ROOT))
    for target, count in runs.items():
        print(f"  {target:12}{count:>12} inputs{cpu[target]:>8} s of CPU time{wall[target]:>8} s")


def merge(target: str) -> None:
    """The corpus of the tree made anew from it and from what the fuzzer found."""
    merged = WORK / "merged"
    shutil.rmtree(merged, ignore_errors=True)
    merged.mkdir(parents=True)
    folders = [merged, known(target), WORK / target]
    command = [sys.executable, FUZZER, target, "-merge=1", *LIMITS, *folders]
    with (WORK / f"{target}.log").open("wb") as log:
        subprocess.run([str(word) for word in command], check=True, stdout=log, stderr=log)
    inputs = sorted(merged.iterdir())
    with zipfile.ZipFile(CORPORA / f"{target}.zip", "w", zipfile.ZIP_DEFLATED) as corpus:
        for path in inputs:
            corpus.write(path, path.name)
    print(f"{target}: {len(inputs)} inputs")


def main() -> None:
    """Fuzzes or merges; status 1 where something was found."""
    parser = argparse.ArgumentParser(description="Fuzzes the readers of files.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}")
    parser.add_argument("--seconds", type=float, default=60, help="of CPU time, for each target")
    parser.add_argument("--jobs", type=int, default=1, help="targets at a time")
    parser.add_argument("--seed", type=int, help="the same inputs each time")
    parser.add_argument("--merge", action="store_true", help="make the corpora of the tree anew")
    arguments = parser.parse_args()
    targets = arguments.targets or list(TARGETS)
    if unknown := set(targets) - set(TARGETS):
        parser.error(f"expected targets among {', '.join(TARGETS)}; received {sorted(unknown)}")
    WORK.mkdir(parents=True, exist_ok=True)
    if arguments.merge:
        for target in targets:
            merge(target)
        return
    fine = fuzz(targets, arguments.seconds, max(arguments.jobs, 1), arguments.seed)
    print_sums()
    sys.exit(0 if fine else 1)


if __name__ == "__main__":
    main()
