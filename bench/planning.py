"""Measured plans beside estimated ones, in turns in one process: what `effort="measure"` brings.

    python bench/planning.py [--shapes "3x3 s1*"] [--piece 1/3] [--ms 20] [--save]

For each shape of shapes/targets.txt: microseconds of `plan(x)` with the estimate's choice and with
the measured one, medians over rounds in which both take turns on the same input, with arrays that
are made anew three times; the ratio is the median of the ratios within rounds. A shape whose
measured choice is the estimate's own is one plan, and its ratio is 1. Results are equal to the bit,
or the run fails.

A piece is a part of the shapes, for machines that can be kept quiet for a few minutes only; with
--save it replaces these shapes in results/planning/MACHINE.json, and the table is made of all that
is there. Run it while no other program uses the CPUs.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import time
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import shapes
from machine import this_machine

import dwconv

RESULTS = Path(__file__).parent / "results" / "planning"
ROUNDS, PLACEMENTS, TURN = 10, 3, 0.008
TARGET, LEAST = 1.02, 0.98


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", default="*", help="a pattern for shapes or classes")
    parser.add_argument("--piece", default="1/1", help="which part of the shapes: 2/3")
    parser.add_argument("--ms", type=float, default=20, help="milliseconds to measure a plan")
    parser.add_argument("--cpu", type=int, default=0)
    parser.add_argument("--save", action="store_true", help=f"write into {RESULTS}")
    chosen = parser.parse_args()
    number, of = map(int, chosen.piece.split("/"))
    wanted = [
        shape
        for group in shapes.read("targets")
        for shape in group.shapes
        if fnmatchcase(str(shape), chosen.shapes) or fnmatchcase(group.name, chosen.shapes)
    ]
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {chosen.cpu})
    rows = []
    for shape in wanted[number - 1 :: of]:
        row = measure(shape, chosen.ms)
        rows.append(row)
        print(text_of(row), flush=True)
    machine = this_machine()
    path = RESULTS / f"{machine.slug}.json"
    if chosen.save:
        RESULTS.mkdir(exist_ok=True)
        old = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
        order = [str(s) for group in shapes.read("targets") for s in group.shapes]
        merged = {row["shape"]: row for row in [*old, *rows]}
        rows = [merged[name] for name in order if name in merged]
        document = {"machine": str(machine), "isa": dwconv.isa.default(), "rows": rows}
        path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        path.with_suffix(".md").write_text(markdown(document), encoding="utf-8")
    print(verdict(rows))
    return 0


def measure(shape: shapes.Shape, milliseconds: float) -> dict[str, Any]:
    """The row of a shape."""
    rng = np.random.default_rng(0)
    x_shape = (1, shape.height, shape.width, shape.channels)
    layer = dwconv.DepthwiseConv2D(
        shape.kernel_size,
        strides=shape.strides,
        dilation_rate=shape.dilation_rate,
        depth_multiplier=shape.multiplier,
        padding="same",
        activation="relu",
        bias_initializer="random_normal",
    )
    layer.build(x_shape)
    dwconv.wisdom.forget()
    estimated = layer.plan(x_shape, effort="estimate")
    dwconv.config.set_planning("estimate", milliseconds)
    begin = time.perf_counter()
    measured = layer.plan(x_shape, effort="measure")
    planning = time.perf_counter() - begin
    plans = (estimated, measured)
    same = estimated.strategy == measured.strategy
    ratios, times = [], ([], [])
    for _ in range(PLACEMENTS):
        x = rng.standard_normal(x_shape, dtype=np.float32)
        if estimated(x).tobytes() != measured(x).tobytes():
            raise SystemExit(f"{shape}: different bits")
        for turn in range(ROUNDS):
            taken = [0.0, 0.0]
            for which in (0, 1) if turn % 2 else (1, 0):
                taken[which] = time_of(plans[which], x)
                times[which].append(taken[which])
            ratios.append(taken[0] / taken[1])
    return {
        "shape": str(shape),
        "estimated": estimated.strategy,
        "measured": measured.strategy,
        "estimated us": round(statistics.median(times[0]) * 1e6, 2),
        "measured us": round(statistics.median(times[1]) * 1e6, 2),
        "ratio": 1.0 if same else round(statistics.median(ratios), 3),
        "planning ms": round(planning * 1e3, 1),
    }


def time_of(plan: Any, x: Any) -> float:
    """Seconds per call: the median of samples of a few calls each, for TURN seconds."""
    clock = time.perf_counter
    plan(x)
    begin = clock()
    plan(x)
    calls = max(1, int(20e-6 / max(clock() - begin, 1e-9)))
    samples = []
    end = clock() + TURN
    while (begin := clock()) < end:
        for _ in range(calls):
            plan(x)
        samples.append((clock() - begin) / calls)
    return statistics.median(samples)


def text_of(row: dict[str, Any]) -> str:
    how = "the same" if row["measured"] == row["estimated"] else row["measured"]
    return (
        f"{row['shape']:22} {row['estimated us']:8.2f} us {row['measured us']:8.2f} us "
        f"{row['ratio']:6.3f}  {row['planning ms']:6.1f} ms  {row['estimated']} -> {how}"
    )


def verdict(rows: list[dict[str, Any]]) -> str:
    ratios = [row["ratio"] for row in rows]
    if not ratios:
        return "no shape"
    mean = math.exp(statistics.fmean(map(math.log, ratios)))
    slower = ", ".join(row["shape"] for row in rows if row["ratio"] < LEAST) or "none"
    return (
        f"{len(rows)} shapes: estimated / measured {mean:.3f} in the geometric mean (target "
        f"{TARGET}), the least {min(ratios):.3f} (target {LEAST}); slower: {slower}"
    )


def markdown(document: dict[str, Any]) -> str:
    lines = [
        f"# Measured plans beside estimated ones: {document['machine']}, {document['isa']}",
        "",
        "By `python bench/planning.py --save`, which says how.",
        "",
        "| shape | estimated, us | measured, us | ratio | planning, ms | estimate | best |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in document["rows"]:
        how = "the same" if row["measured"] == row["estimated"] else f"`{row['measured']}`"
        lines.append(
            f"| {row['shape']} | {row['estimated us']} | {row['measured us']} | {row['ratio']} "
            f"| {row['planning ms']} | `{row['estimated']}` | {how} |"
        )
    return "\n".join([*lines, "", verdict(document["rows"]) + ".", ""])


if __name__ == "__main__":
    sys.exit(main())
