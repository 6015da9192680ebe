"""Which strategy a plan gets: by estimate, by measuring, by what is known. Never another result."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import run_python

import dwconv
from dwconv import DepthwiseConv2D, config, isa, planning
from dwconv.ops import ConvSpec, make_plan
from dwconv.ops.plan import problem_of
from dwconv.ops.tuning import tune


@pytest.fixture(autouse=True)
def nothing_known() -> Iterator[None]:
    """And time enough, whatever else the machine does: measurements of small shapes end before."""
    dwconv.wisdom.forget()
    config.set_planning("estimate", 400)
    yield
    dwconv.wisdom.forget()
    config.set_planning("estimate", 20)


def layer_for(channels: int, kernel: int = 3, **options: Any) -> DepthwiseConv2D:
    layer = DepthwiseConv2D(
        kernel, padding="same", activation="relu", bias_initializer="random_normal", **options
    )
    layer.build((None, None, None, channels))
    return layer


def image(*shape: int) -> Any:
    return np.random.default_rng(1).standard_normal(shape, dtype=np.float32)


# ---- one strategy or another ---------------------------------------------------------------------


@pytest.mark.parametrize("name", isa.available())
@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((1, 14, 14, 72), {}),
        ((2, 9, 9, 40), {"strides": 2}),
        ((1, 12, 12, 3), {"depth_multiplier": 4}),
        ((1, 11, 11, 24), {"kernel": 5}),
        ((1, 7, 7, 5), {"kernel": 4}),
    ],
)
def test_a_measured_plan_has_the_bits_of_an_estimated_one(
    name: str, shape: tuple[int, ...], options: dict[str, Any]
) -> None:
    layer = layer_for(shape[-1], **options)
    x = image(*shape)
    estimated = layer.plan(shape, isa=name)
    measured = layer.plan(shape, isa=name, effort="measure")
    by_name = layer.plan(shape, isa=name)  # what was measured is known now
    where = f"{name}, {shape}, {options}: {measured.strategy}"
    assert measured(x).tobytes() == estimated(x).tobytes(), where
    assert by_name.strategy == measured.strategy, where
    assert by_name(x).tobytes() == estimated(x).tobytes(), where


def test_describe_tells_of_the_choice() -> None:
    layer = layer_for(96)
    shape = (1, 20, 20, 96)
    found = layer.plan(shape).describe()
    assert found.planned_by == "estimate"
    assert found.candidates[0].strategy == found.strategy
    assert found.strategy.startswith(found.kernel)
    assert [one.measured_seconds for one in found.candidates] == [None] * len(found.candidates)
    assert 1 < len({one.strategy for one in found.candidates}) == len(found.candidates) <= 5
    estimates = [one.estimated_seconds for one in found.candidates[1:]]
    assert estimates == sorted(estimates)
    assert min(estimates) > 0
    measured = layer.plan(shape, effort="measure").describe()
    assert measured.planned_by == "measure"
    assert measured.candidates[0].measured_seconds
    assert 1e-7 < measured.candidates[0].measured_seconds < 1e-1
    data = measured.as_dict()
    assert data["candidates"][0]["strategy"] == data["strategy"]
    text = str(measured)
    assert re.search(r"^strategy +" + re.escape(measured.strategy) + ": .* measured", text, re.M)
    assert "chosen by measuring" in text
    assert "next 1" in text
    again = DepthwiseConv2D(3, padding="same").plan(shape, effort="measure").describe()
    assert again.planned_by == "wisdom"
    assert again.strategy == measured.strategy


# ---- where measuring is asked for ----------------------------------------------------------------


def test_a_layer_measures_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a size of images, whatever the batch, and for another layer of the same geometry not at
    all.
    """
    remembered: list[str] = []
    remember = planning.remember

    def counted(name: str, problem: str, strategy: str) -> None:
        remembered.append(problem)
        remember(name, problem, strategy)

    monkeypatch.setattr(planning, "remember", counted)
    config.set_planning("measure")
    layer = layer_for(64)
    expected = [layer_plan(layer, batch) for batch in (1, 3, 2)]
    for batch, y in zip((1, 3, 2), expected, strict=True):
        assert layer(image(batch, 16, 16, 64)).tobytes() == y
    layer_for(64)(image(1, 16, 16, 64))
    assert len(remembered) == 1
    assert remembered[0].startswith("16x16x64 k3x3 s1x1 d1x1 p1.1.1.1 m1 float32 channels_last t")


def layer_plan(layer: DepthwiseConv2D, batch: int) -> bytes:
    spec = ConvSpec((3, 3), padding="same")
    x = image(batch, 16, 16, 64)
    plan = make_plan(spec, x.shape, layer.kernel, layer.bias, "relu", effort="estimate")
    return bytes(plan.run(x).tobytes())


def test_a_measured_plan_is_the_one_that_calls_use() -> None:
    layer = layer_for(32)
    shape = (1, 10, 10, 32)
    plan = layer.plan(shape, effort="measure")
    assert layer._weights is not None
    assert layer._weights.plans.get(shape) is plan
    other = layer.plan(shape, effort="measure", num_threads=2)  # its own number of threads
    assert layer._weights.plans.get(shape) is plan is not other


def test_threads_are_problems_of_their_own() -> None:
    layer = layer_for(256)
    layer.plan((1, 28, 28, 256), num_threads=2, effort="measure")
    layer.plan((1, 28, 28, 256), num_threads=1, effort="measure")
    assert sorted(problem[-2:] for _, problem in planning.all_known()) == ["t1", "t2"]


def test_what_cannot_be_measured_is_estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = layer_for(8)
    assert layer.plan((0, 8, 8, 8), effort="measure").describe().planned_by == "estimate"
    limit = config.memory_limit()
    try:
        config.set_memory_limit(1000)  # no room for scratch arrays
        assert layer.plan((1, 64, 64, 8), effort="measure").describe().planned_by == "estimate"
    finally:
        config.set_memory_limit(limit)
    assert planning.all_known() == {}


def test_a_strategy_that_there_is_not_is_forgotten() -> None:
    layer = layer_for(16)
    problem = problem_of(ConvSpec((3, 3), padding="same"), (1, 9, 9, 16), "float32", 1)
    planning.remember(isa.default(), problem, "k3x3s1_t9x9_of_another_version")
    assert layer.plan((1, 9, 9, 16)).describe().planned_by == "estimate"
    assert planning.all_known() == {}


def test_known_problems_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "MOST", 3)
    for i in range(5):
        planning.remember("avx2", f"problem {i}", "strategy")
    assert [problem for _, problem in planning.all_known()] == [f"problem {i}" for i in (2, 3, 4)]


def test_time_is_bounded() -> None:
    config.set_planning("estimate", 20)
    layer = layer_for(64)
    begin = time.process_time()  # other processes have their time besides
    layer.plan((8, 112, 112, 64), effort="measure")  # seconds, if nothing ends it
    taken = time.process_time() - begin
    assert taken < 0.5, f"20 ms were asked for, {taken:.3f} s taken"


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="a timer of CPU time")
def test_ctrl_c_ends_measuring() -> None:
    """Handlers of signals run while it measures: ten of them, then one raises what Ctrl-C does. The
    timer counts the CPU time of this process alone.
    """
    layer = layer_for(64)
    config.set_planning("estimate", 60_000)
    handled: list[int] = []

    def handler(number: int, frame: Any) -> None:
        handled.append(number)
        if len(handled) > 10:
            signal.setitimer(signal.ITIMER_PROF, 0)  # once: another could come within `finally`
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGPROF, handler)
    try:
        signal.setitimer(signal.ITIMER_PROF, 0.005, 0.005)
        with pytest.raises(KeyboardInterrupt):
            # dozens of ways, 8 images: a second or more
            tune(
                ConvSpec((3, 3), padding="same"),
                (8, 112, 112, 64),
                np.ones((3, 3, 64, 1), np.float32),
                None,
                np.dtype(np.float32),
                seconds=60,
            )
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    assert planning.all_known() == {}
    assert layer.plan((1, 9, 9, 64), effort="measure").strategy  # nothing is locked


# ---- settings ------------------------------------------------------------------------------------


def test_settings() -> None:
    assert config.planning() == "estimate"
    assert config.planning_budget() == 0.4
    config.set_planning("measure", 7.5)
    assert (config.planning(), config.planning_budget()) == ("measure", 0.0075)
    config.set_planning("estimate")
    assert config.planning_budget() == 0.0075
    for wrong in ("exhaustive", None, 1):
        with pytest.raises(ValueError, match="effort: expected 'estimate' or 'measure'"):
            config.set_planning(wrong)
        if wrong is not None:
            with pytest.raises(ValueError, match="effort: expected 'estimate' or 'measure'"):
                layer_for(4).plan((1, 4, 4, 4), effort=wrong)
    for amount in (0, -1, "20", float("nan"), 1e10):
        with pytest.raises(ValueError, match="milliseconds: expected"):
            config.set_planning("measure", amount)


def test_variable() -> None:
    show = "import dwconv; print(dwconv.config.planning(), dwconv.config.planning_budget())"
    done = run_python("-c", show, DWCONV_PLANNING="measure")
    assert done.stdout.split() == ["measure", "0.02"]
    done = run_python("-c", show, DWCONV_PLANNING="patient")
    assert done.returncode != 0
    assert "DWCONV_PLANNING: expected 'estimate' or 'measure'; received 'patient'" in done.stderr
    plan = (
        "import dwconv; dwconv.config.set_planning('measure', 400); "
        "print(dwconv.DepthwiseConv2D(3).plan((1, 9, 9, 32)).describe().planned_by)"
    )
    assert run_python("-c", plan, DWCONV_PLANNING="measure").stdout.split() == ["measure"]


# ---- what the CPU tells --------------------------------------------------------------------------

CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


@pytest.mark.skipif(not CACHES.is_dir(), reason="no /sys of Linux that tells of caches")
def test_caches_are_those_of_the_system() -> None:
    told = isa.cpu()
    for folder in CACHES.glob("index*"):
        level, kind, size, line = (
            (folder / name).read_text(encoding="ascii").strip()
            for name in ("level", "type", "size", "coherency_line_size")
        )
        if kind in ("Data", "Unified"):
            assert told[f"l{level}_bytes"] == int(size.removesuffix("K")) * 1024, folder
        if kind == "Data":
            assert told["line_bytes"] == int(line)


def test_data_paths_are_no_narrower_than_sse() -> None:
    told = isa.cpu()
    assert told["vector_bits"] in (128, 256, 512)
    assert set(told) == {
        *("maker", "family", "model", "design", "vector_bits"),
        *("line_bytes", "l1_bytes", "l2_bytes", "l3_bytes"),
    }


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_can_measure() -> None:
    """Though another thread of the parent was measuring."""
    with planning.measuring.held():
        child = os.fork()
        if child == 0:
            status = 1
            try:
                layer_for(8).plan((1, 9, 9, 8), effort="measure")
                status = 0
            finally:
                os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
