"""Runs the workers in turns: one process per runtime, all on one CPU.

The speed of a machine drifts while a bench runs. So every runtime has its turn in each round, a
figure is the median over the rounds, and a ratio is the median of the ratios within rounds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import problem as problems
from runtimes import Padding
from shapes import Shape

from dwconv import reference

WORKER = Path(__file__).parent / "worker.py"

#: A variant of a runtime stays in the rounds if a first look says less than this times its fastest.
CLOSE = 1.25


@dataclass(frozen=True)
class Runtime:
    """How to start a worker; `module` is one of bench/runtimes."""

    module: str
    environment: dict[str, str] = field(default_factory=dict)
    dtype: str = "float32"
    is_peer: bool = True


OURS = "dwconv"

#: Only if `--only` names them: hundreds of times as slow.
ON_DEMAND = {"dwconv-portable"}

RUNTIMES = {
    OURS: Runtime("dwconv", is_peer=False),
    "dwconv-avx2": Runtime("dwconv", {"DWCONV_ISA": "avx2"}, is_peer=False),
    "dwconv-portable": Runtime("dwconv", {"DWCONV_ISA": "portable"}, is_peer=False),
    "dwconv-float64": Runtime("dwconv", dtype="float64", is_peer=False),
    "litert": Runtime("litert"),
    "openvino": Runtime("openvino"),
    "onnxruntime": Runtime("onnxruntime"),
    "torch": Runtime("torch"),
    "tensorflow": Runtime("tensorflow"),
    "roofline": Runtime("roofline", is_peer=False),
}


@dataclass
class Figures:
    """What one runtime took for one shape."""

    variant: str  #: the fastest
    rounds: list[float]  #: its seconds per call, round by round
    others: dict[str, float]  #: variant -> seconds, of the others; for some only a first look

    @property
    def seconds(self) -> float:
        return float(np.median(self.rounds))


class Worker:
    """A process that runs bench/worker.py."""

    def __init__(self, name: str, python: str, cpu: int, log: Any) -> None:
        self.name = name
        self.runtime = RUNTIMES[name]
        one_thread = {
            f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS", "NUMEXPR")
        }
        self._process = subprocess.Popen(
            [python, str(WORKER), self.runtime.module, str(cpu)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, **one_thread, **self.runtime.environment},
        )
        self.version = ""

    def wait_until_started(self) -> None:
        self.version = self._answer()["runtime"]

    def ask(self, **what: Any) -> dict[str, Any]:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name}: the process ended with {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"{self.name}: {answer['error']}")
        return answer

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(timeout=60)


class Bench:
    """The workers of a run. `failures` lists errors and wrong results."""

    def __init__(self, names: Iterable[str], peer_python: str, cpu: int, log: Path) -> None:
        self._log = log.open("w", encoding="utf-8")
        self._folder = tempfile.TemporaryDirectory(prefix="dwconv-bench-")
        self.workers = [
            Worker(name, peer_python if RUNTIMES[name].is_peer else sys.executable, cpu, self._log)
            for name in names
        ]
        self.failures: list[str] = []
        for worker in list(self.workers):
            try:
                worker.wait_until_started()
            except RuntimeError as error:
                self.failures.append(f"{error}; see {log}")
                self.workers.remove(worker)

    def close(self) -> None:
        for worker in self.workers:
            worker.close()
        self._folder.cleanup()
        self._log.close()

    def measure(
        self, shape: Shape, channels_first: bool, placements: int, rounds: int, seconds: float
    ) -> dict[str, Figures]:
        """{runtime: its figures}, from `rounds` turns of `seconds` per variant.

        All that is done `placements` times, each time with new arrays: where arrays happen to lie
        in memory can make a difference of a factor of two.
        """
        chosen = []  # (worker, names of its variants, {variant: seconds of each round})
        looks: dict[str, dict[str, float]] = {}
        for worker in self.workers:
            names = self._prepare(worker, shape, channels_first)
            if not names:
                continue
            look = {i: self._time(worker, i, seconds / 2) for i in names}
            fastest = min(look.values())
            close = [i for i in look if worker.name == "roofline" or look[i] <= CLOSE * fastest]
            chosen.append((worker, names, {i: list[float]() for i in close}))
            looks[worker.name] = {names[i]: look[i] for i in names}
        if not chosen:
            return {}  # `failures` has the reasons
        for turn in range(placements * rounds):
            if turn and turn % rounds == 0:
                for worker, _, _ in chosen:
                    self._prepare(worker, shape, channels_first)
            first = turn % len(chosen)
            for worker, _, times in chosen[first:] + chosen[:first]:
                for i, taken in times.items():
                    taken.append(self._time(worker, i, seconds))
        figures = {}
        for worker, names, times in chosen:
            if worker.name == "roofline":
                bounds = np.array(list(times.values()))
                name = names[int(np.argmax(np.median(bounds, axis=1)))]
                parts = {names[i]: float(np.median(taken)) for i, taken in times.items()}
                figures["roofline"] = Figures(name, bounds.max(axis=0).tolist(), parts)
                continue
            best = min(times, key=lambda i: np.median(times[i]))
            others = looks[worker.name] | {
                names[i]: float(np.median(taken)) for i, taken in times.items()
            }
            del others[names[best]]
            figures[worker.name] = Figures(names[best], times[best], others)
        return figures

    def _prepare(self, worker: Worker, shape: Shape, channels_first: bool) -> dict[int, str]:
        """{index: name} of the variants whose results are right."""
        dtype = worker.runtime.dtype
        made = Path(self._folder.name) / "problem.npz"
        results = Path(self._folder.name) / "results.npz"
        problem = problems.make(shape, dtype, channels_first)
        problems.write(problem, made)
        try:
            answer = worker.ask(do="prepare", problem=str(made), results=str(results))
        except RuntimeError as error:
            self.failures.append(f"{shape}: {error}")
            return {}
        right = {}
        with np.load(results) as file:
            for i, variant in enumerate(answer["variants"]):
                padding = variant["padding"] and tuple(map(tuple, variant["padding"]))
                if worker.name == "roofline":
                    right[i] = variant["name"]
                    continue
                expected, bound = reference_and_bound(shape, dtype, padding)
                y = file[f"y{i}"]
                if y.shape == expected.shape and (np.abs(y - expected) <= bound).all():
                    right[i] = variant["name"]
                else:
                    self.failures.append(f"{shape}: {worker.name}, {variant['name']}: wrong result")
        return right

    def _time(self, worker: Worker, variant: int, seconds: float) -> float:
        return float(worker.ask(do="time", variant=variant, seconds=seconds)["seconds"])


@lru_cache(maxsize=4)
def reference_and_bound(shape: Shape, dtype: str, padding: Padding | None) -> tuple[Any, Any]:
    """The right result (1, OH, OW, C*M), and the largest error of a sum in any order."""
    made = problems.make(shape, dtype, channels_first=False)
    options: Any = {
        "strides": shape.strides,
        "padding": padding or "same",
        "dilation_rate": shape.dilation_rate,
    }
    expected = reference.depthwise_conv2d(
        made.x, made.kernel, made.bias, activation="relu", **options
    )
    magnitude = reference.depthwise_conv2d(abs(made.x), abs(made.kernel), abs(made.bias), **options)
    taps = shape.kernel_size[0] * shape.kernel_size[1]
    return expected, magnitude * (taps + 2) * np.finfo(dtype).eps


def ratio(slower: Figures, faster: Figures) -> float:
    """Time of `slower` / time of `faster`: the median over the rounds."""
    return float(np.median(np.divide(slower.rounds, faster.rounds)))


def as_json(figures: dict[str, Figures]) -> dict[str, Any]:
    return {name: {"seconds": f.seconds, **asdict(f)} for name, f in figures.items()}
