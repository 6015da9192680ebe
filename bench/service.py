"""How a layer behaves inside a service: called from several Python threads at once, on two cores.

    python bench/service.py [--python ~/.cache/dwconv/bench-venv/bin/python] [--save]

14x14x512, 3x3, 'same', bias and ReLU, from 1, 2, 4 and 8 threads, each with an input of its own:
percentiles of the time of a call, calls per second, CPU time per call, and the CPU time that the
process uses in the quarter of a second after the last call. Each runtime is a process of its own;
they take turns, alone on the two cores, and a figure is the median over the rounds. bench/README.md
says how each is called.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
import zlib
from array import array
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import IO, Any

import problem as problems
from shapes import Shape

RESULTS = Path(__file__).parent / "results"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dwconv"
SHAPE = Shape(14, 14, 512, (3, 3), (1, 1), (1, 1), 1)
THREADS = (1, 2, 4, 8)
CORES = 2
IDLE_SECONDS = 0.25
MOST_CALLS = 200_000  # of a thread in a turn

#: What is measured, and in which unit: (key, heading, factor from seconds, decimals).
FIGURES = [
    ("p50", "p50, us", 1e6, 1),
    ("p99", "p99, us", 1e6, 1),
    ("p999", "p99.9, us", 1e6, 1),
    ("rate", "calls/s", 1, 0),
    ("cpu", "CPU per call, us", 1e6, 1),
    ("idle", "idle CPU, ms", 1e3, 2),
]

# ---- the process of one runtime ------------------------------------------------------------------


def ours(problem: problems.Problem, count: int) -> list[Callable[[], Any]]:
    """`layer(x)`: one layer for all threads."""
    from runtimes import dwconv

    layer = dwconv.prepare(problem)[0].call.func  # type: ignore[attr-defined]
    return [partial(layer, problem.x.copy()) for _ in range(count)]


def control(problem: problems.Problem, count: int) -> list[Callable[[], Any]]:
    """A call that lasts as long as dwconv's, without the GIL, and needs no memory: what the machine
    and Python themselves do to the percentiles of such short calls.
    """
    wanted = statistics.median(durations(ours(problem, 1)[0]))
    sample = bytes(1 << 16)
    size = int(len(sample) * wanted / statistics.median(durations(partial(zlib.crc32, sample))))
    return [partial(zlib.crc32, bytes(size)) for _ in range(count)]


def durations(call: Callable[[], Any], calls: int = 5000) -> list[float]:
    times = [time.perf_counter()]
    for _ in range(calls):
        call()
        times.append(time.perf_counter())
    return [then - now for now, then in itertools.pairwise(times)]


def litert(problem: problems.Problem, count: int) -> list[Callable[[], Any]]:
    """`invoke`: an interpreter per thread, since one cannot be shared."""
    from ai_edge_litert.interpreter import OpResolverType
    from runtimes import litert

    content, resolver = litert.model(problem), OpResolverType.AUTO
    variants = [litert.variant("XNNPACK", content, resolver, problem) for _ in range(count)]
    return [variant.call for variant in variants]


def onnxruntime(problem: problems.Problem, count: int, threads: int = 1) -> list[Callable[[], Any]]:
    """`run_with_iobinding`: one session, a binding per thread. threads: of its pool; 0: its own
    choice.
    """
    import onnxruntime as ort
    from runtimes import onnxruntime

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    content = onnxruntime.model(problem)
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    height, width, channels = problem.shape.output
    calls = []
    for _ in range(count):
        binding = session.io_binding()
        y = ort.OrtValue.ortvalue_from_shape_and_type((1, channels, height, width), "float32")
        binding.bind_ortvalue_input("x", ort.OrtValue.ortvalue_from_numpy(problem.nchw.copy()))
        binding.bind_ortvalue_output("y", y)
        calls.append(partial(session.run_with_iobinding, binding))
    return calls


#: name -> (how to call it, whether it is in the peers' environment)
RUNTIMES: dict[str, tuple[Callable[..., list[Callable[[], Any]]], bool]] = {
    "dwconv": (ours, False),
    "control": (control, False),
    "litert": (litert, True),
    "onnxruntime": (onnxruntime, True),
    "onnxruntime-pool": (partial(onnxruntime, threads=0), True),
}


def work(name: str) -> int:
    """Answers lines 'THREADS SECONDS' on standard input, each with one line of JSON."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # for libraries that chat
    calls = RUNTIMES[name][0](problems.make(SHAPE, "float32", False), max(THREADS))
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        threads, seconds = line.split()
        measure(calls[: int(threads)], 0.1)
        print(json.dumps(measure(calls[: int(threads)], float(seconds))), file=answers, flush=True)
    return 0


def measure(calls: list[Callable[[], Any]], seconds: float) -> dict[str, float]:
    """One thread per call, all beginning at once."""
    barrier = threading.Barrier(len(calls) + 1)
    # Pages that are there already: a list of new ints would cause a page fault in one call of 100.
    taken = [array("q", [0]) * MOST_CALLS for _ in calls]
    counts = [0] * len(calls)

    def run(call: Callable[[], Any], times: array[int], index: int) -> None:
        clock, count = time.perf_counter_ns, 0
        for _ in range(10):
            call()
        barrier.wait()
        end = clock() + int(seconds * 1e9)
        now = clock()
        while now < end and count < MOST_CALLS:
            call()
            then, now = now, clock()
            times[count] = now - then
            count += 1
        counts[index] = count
        barrier.wait()

    threads = [
        threading.Thread(target=run, args=(call, taken[i], i)) for i, call in enumerate(calls)
    ]
    gc.collect()
    gc.disable()
    for thread in threads:
        thread.start()
    barrier.wait()
    start, cpu = time.perf_counter(), time.process_time()
    barrier.wait()
    elapsed, cpu = time.perf_counter() - start, time.process_time() - cpu
    idle = time.process_time()
    time.sleep(IDLE_SECONDS)
    idle = time.process_time() - idle
    gc.enable()
    for thread in threads:
        thread.join()
    every = sorted(time for times, n in zip(taken, counts, strict=True) for time in times[:n])
    return {
        "p50": every[len(every) // 2] / 1e9,
        "p99": every[len(every) * 99 // 100] / 1e9,
        "p999": every[len(every) * 999 // 1000] / 1e9,
        "rate": len(every) / elapsed,
        "cpu": cpu / len(every),
        "idle": idle,
    }


# ---- the command ---------------------------------------------------------------------------------


def start(name: str, peers: str, log: IO[str]) -> subprocess.Popen[str]:
    """The process of a runtime. RuntimeError where it does not start."""
    python = peers if RUNTIMES[name][1] else sys.executable
    process = subprocess.Popen(
        [python, __file__, "--worker", name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
    )
    assert process.stdout
    if process.stdout.readline() != "ready\n":
        raise RuntimeError(f"{name}: the process ended with {process.wait()}")
    return process


def ask(process: subprocess.Popen[str], threads: int, seconds: float) -> dict[str, float]:
    assert process.stdin
    assert process.stdout
    print(threads, seconds, file=process.stdin, flush=True)
    answer: dict[str, float] = json.loads(process.stdout.readline())
    return answer


def table(figures: dict[str, dict[int, dict[str, float]]]) -> list[str]:
    """Lines of Markdown: one row per number of threads and runtime."""
    headings = ["threads", "runtime", *(heading for _, heading, _, _ in FIGURES), "p99 / p50"]
    lines = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    for threads in THREADS:
        for name, by_threads in figures.items():
            found = by_threads[threads]
            cells = [f"{found[key] * factor:.{digits}f}" for key, _, factor, digits in FIGURES]
            cells.append(f"{found['p99'] / found['p50']:.2f}")
            lines.append("| " + " | ".join([str(threads), name, *cells]) + " |")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--python", default=str(CACHE / "bench-venv" / "bin" / "python"))
    parser.add_argument("--only", help=f"some of {', '.join(RUNTIMES)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.5, help="length of a turn")
    parser.add_argument("--save", action="store_true", help=f"write into {RESULTS}")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        return work(arguments.worker)

    from machine import this_machine

    machine = this_machine()
    CACHE.mkdir(parents=True, exist_ok=True)
    log = (CACHE / "service.log").open("w", encoding="utf-8")  # what libraries have to say
    processes = {}
    for name in arguments.only.split(",") if arguments.only else RUNTIMES:
        try:
            processes[name] = start(name, arguments.python, log)
        except (RuntimeError, OSError) as error:
            print(f"not measured: {error}", file=sys.stderr)
    rounds: dict[str, dict[int, list[dict[str, float]]]] = {
        name: {threads: [] for threads in THREADS} for name in processes
    }
    for _ in range(arguments.rounds):
        for threads in THREADS:
            for name, process in processes.items():
                rounds[name][threads].append(ask(process, threads, arguments.seconds))
    for process in processes.values():
        assert process.stdin
        process.stdin.close()
        process.wait(timeout=60)
    log.close()
    figures = {
        name: {
            threads: {key: statistics.median(found[key] for found in turns) for key, *_ in FIGURES}
            for threads, turns in by_threads.items()
        }
        for name, by_threads in rounds.items()
    }
    facts = (
        f"{SHAPE}, float32, 'same', bias + ReLU; {machine}, {CORES} cores; Python "
        f"{platform.python_version()}; medians over {arguments.rounds} rounds of "
        f"{arguments.seconds:g} s; idle CPU: in {IDLE_SECONDS:g} s after the last call"
    )
    lines = [facts, "", *table(figures)]
    print("\n".join(lines))
    if arguments.save:
        stem = f"service-{machine.slug}"
        RESULTS.mkdir(exist_ok=True)
        text = json.dumps(
            {"machine": asdict(machine), "facts": facts, "figures": figures, "rounds": rounds},
            indent=1,
        )
        (RESULTS / f"{stem}.json").write_text(text + "\n", encoding="utf-8")
        markdown = "\n".join(["# Called from several threads", "", *lines, ""])
        (RESULTS / f"{stem}.md").write_text(markdown, encoding="utf-8")
        print(f"wrote {RESULTS / stem}.json and .md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
