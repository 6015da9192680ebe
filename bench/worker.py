"""The process of one runtime: prepares layers and times them on requests of bench/driver.py.

    python bench/worker.py RUNTIME CPU

Requests on standard input and answers on standard output are one JSON object per line:

    {"do": "prepare", "problem": path, "results": path}  -> {"variants": [{"name", "padding"}, ...]}
    {"do": "time", "variant": i, "seconds": s}           -> {"seconds": median per call, "calls": n}

and once at the start {"runtime": name and version}. An error is answered as {"error": text}.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import statistics
import sys
import time
import traceback
from itertools import repeat
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import problem as problems
from runtimes import Variant

#: A sample of several calls where one would be too short for the clock.
SAMPLE_NS = 20_000


def main() -> int:
    runtime, cpu = sys.argv[1], int(sys.argv[2])
    answers = private_stdout()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {cpu})
    module = importlib.import_module(f"runtimes.{runtime.replace('-', '_')}")
    answer(answers, {"runtime": module.start()})
    variants: list[Variant] = []
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            if asked["do"] == "prepare":
                # The old arrays live until the new ones are made, so the new ones lie elsewhere.
                variants = module.prepare(problems.read(Path(asked["problem"])))
                for variant in variants:
                    variant.call()
                gc.collect()  # here and not for each figure: it takes long where much is imported
                results = {f"y{i}": variant.result() for i, variant in enumerate(variants)}
                np.savez(asked["results"], **results)
                told = [{"name": v.name, "padding": v.padding} for v in variants]
                answer(answers, {"variants": told})
            else:
                variant = variants[asked["variant"]]
                answer(answers, timed(variant, asked["seconds"]))
        except Exception as error:
            traceback.print_exc()
            answer(answers, {"error": f"{type(error).__name__}: {error}"})
    return 0


def private_stdout() -> TextIO:
    """Standard output, for answers alone: what libraries print there goes to standard error."""
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return stream


def answer(stream: TextIO, what: dict[str, Any]) -> None:
    stream.write(json.dumps(what) + "\n")
    stream.flush()


def timed(variant: Variant, seconds: float) -> dict[str, Any]:
    """The median of samples over `seconds`, after a quarter of that as warm-up."""
    if variant.timer:
        return {"seconds": variant.timer(seconds), "calls": 0}
    call = variant.call
    clock = time.perf_counter_ns
    gc.disable()
    try:
        warm_up, start = [], clock()
        while clock() - start < seconds * 0.25e9 or len(warm_up) < 3:
            warm_up.append(sample(call, 1))
        count = max(1, round(SAMPLE_NS / statistics.median(warm_up)))
        samples, start = [], clock()
        while clock() - start < seconds * 1e9 or len(samples) < 5:
            samples.append(sample(call, count))
    finally:
        gc.enable()
    return {"seconds": statistics.median(samples) / 1e9, "calls": count * len(samples)}


def sample(call: Any, count: int) -> float:
    """Nanoseconds per call, over `count` calls: as `timeit` does it."""
    calls = repeat(None, count)
    start = time.perf_counter_ns()
    for _ in calls:
        call()
    return (time.perf_counter_ns() - start) / count


if __name__ == "__main__":
    sys.exit(main())
