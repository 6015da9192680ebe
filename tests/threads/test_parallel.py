"""Many Python threads at one layer at once: calls beside weight updates, plans that come and go,
memory that wanders.

On a Python with a GIL the kernels run side by side, on a free-threaded one everything does.
`make tsan` runs these tests under ThreadSanitizer.
"""

from __future__ import annotations

import os
import queue
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support import assert_same_bits, patient, slow
from support.layers import draw

import dwconv
from dwconv import DepthwiseConv2D, config

#: More than cores, so that threads are stopped in the middle of everything.
THREADS = 4

#: Of the tests in which weights change: hundreds of updates, in each of which a call may fall.
SECONDS = 0.5

#: Calls that release the GIL, and calls too short for that: (N, H, W, C).
SHAPES = [(1, 24, 24, 40), (1, 4, 4, 8)]


@pytest.fixture(autouse=True)
def _switch_often() -> Iterator[None]:
    """Threads change every 10 us, not every 5 ms: a hundred times as many chances to go wrong."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


def together(*works: Callable[[], None]) -> None:
    """Runs each in a thread of its own, all beginning at once; raises what the first one raised."""
    barrier = threading.Barrier(len(works))
    errors: list[BaseException] = []

    def run(work: Callable[[], None]) -> None:
        try:
            barrier.wait()
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(patient(120))
    assert not any(thread.is_alive() for thread in threads), "a thread hangs"
    if errors:
        raise errors[0]


def layer_of(value: float, channels: int, **arguments: Any) -> DepthwiseConv2D:
    """3 x 3, kernel and bias all `value`: ones become 10 times that, away from the edges."""
    layer = DepthwiseConv2D(3, weights=weights_of(value, channels), **arguments)
    layer.build((None, None, None, channels))
    return layer


def weights_of(value: float, channels: int) -> list[NDArray[np.float32]]:
    kernel = np.full((3, 3, channels, 1), value, np.float32)
    return [kernel, np.full(channels, value, np.float32)]


@pytest.mark.parametrize("shape", [SHAPES[0], *slow(SHAPES[1])], ids=str)
@pytest.mark.parametrize("way", ["set_weights", "load_weights", "apply_constraints"])
def test_a_call_sees_old_or_new_weights(way: str, shape: tuple[int, ...], tmp_path: Any) -> None:
    """Kernel and bias are all 1 or all 2, so every element of an output is 10, or each is 20."""
    channels = shape[3]
    x = np.ones(shape, np.float32)
    swap = {1.0: 2.0, 2.0: 1.0}
    layer = layer_of(
        1,
        channels,
        depthwise_constraint=lambda w: w * 0 + swap[float(w.flat[0])],
        bias_constraint=lambda w: w * 0 + swap[float(w.flat[0])],
    )
    paths = [tmp_path / "1.npz", tmp_path / "2.npz"]
    for path, value in zip(paths, (1, 2), strict=True):
        layer_of(value, channels).save_weights(path)
    change = {
        "set_weights": lambda i: layer.set_weights(weights_of(1 + i % 2, channels)),
        "load_weights": lambda i: layer.load_weights(paths[i % 2]),
        "apply_constraints": lambda _: layer.apply_constraints(),
    }[way]
    done = threading.Event()

    updates = 0

    def write() -> None:
        nonlocal updates
        end = time.monotonic() + SECONDS
        try:
            while time.monotonic() < end:
                updates += 1
                change(updates)
                # A call after an update sees it: this is the only thread that writes.
                assert (layer(x) == 10 * (1 + updates % 2)).all(), updates
        finally:
            done.set()

    calls = [0] * THREADS

    def read(index: int) -> Callable[[], None]:
        def work() -> None:
            while not done.is_set() or calls[index] == 0:
                y = layer(x)
                assert y.flat[0] in (10, 20), y.flat[0]
                assert (y == y.flat[0]).all(), np.unique(y)
                calls[index] += 1

        return work

    together(write, *(read(i) for i in range(THREADS)))
    assert (layer(x) == 10 * (1 + updates % 2)).all()


def test_a_plan_keeps_its_weights() -> None:
    layer = layer_of(1, 40)
    x = np.ones(SHAPES[0], np.float32)
    plan = layer.plan(x.shape)
    done = threading.Event()

    def write() -> None:
        for i in range(100):
            layer.set_weights(weights_of(2 + i % 2, 40))
        done.set()

    def read() -> None:
        out = np.empty((1, 22, 22, 40), np.float32)
        while not done.is_set():
            assert plan(x, out=out) is out
            assert (out == 10).all()
            assert (plan(x) == 10).all()

    together(write, read, read)


def test_more_shapes_than_a_layer_keeps_plans_for() -> None:
    """Plans are made, found, evicted and freed at the same time; activation and weights change,
    too, to what they are already, so that every plan is dropped again and again.
    """
    seed = 5
    layer = DepthwiseConv2D(3, padding="same", activation="relu")
    inputs = [draw(1, h, w, 6, seed=h * w) for h in range(3, 9) for w in (4, 9)]
    assert len(inputs) > 8  # dwconv.layers.weights.PLANS
    expected = [layer(x).copy() for x in inputs]
    given = layer.get_weights()

    def work(index: int) -> Callable[[], None]:
        def run() -> None:
            rng = random.Random(seed + index)
            for step in range(400):
                i = rng.randrange(len(inputs))
                assert_same_bits(layer(inputs[i]), expected[i], (seed, index, step))
                if step % 16 == index:
                    layer.activation = "relu"
                if step % 64 == index:
                    layer.set_weights(given)

        return run

    together(*(work(i) for i in range(THREADS)))


def test_a_layer_is_built_once_whoever_calls_first() -> None:
    """Random weights: two builds would give two outputs."""
    x = draw(1, 6, 7, 5)
    for _ in range(20):
        layer = DepthwiseConv2D(3)
        outputs: list[NDArray[Any]] = []
        together(*[lambda layer=layer, outputs=outputs: outputs.append(layer(x))] * THREADS)
        assert len(outputs) == THREADS
        for y in outputs:
            assert_same_bits(y, outputs[0], "built twice")


def test_every_way_to_compute_at_once(isa: str) -> None:
    """The operation, plans with and without `out` and with threads of their own, gradients: two
    threads each, the same bits as alone.
    """
    x, kernel, bias = draw(2, 14, 13, 24), draw(3, 3, 24, 1, seed=1), draw(24, seed=2)
    layer = DepthwiseConv2D(3, padding="same", weights=[kernel, bias], activation="gelu")
    layer.build(x.shape)
    plan = layer.plan(x.shape, isa=isa)

    def out() -> NDArray[Any]:
        return plan(x, out=np.empty(plan.y_shape, np.float32))

    def gradients() -> NDArray[Any]:
        y, pullback = layer.vjp(x)
        grads = pullback(y)
        return np.concatenate([g.ravel() for g in (grads.input, grads.kernel, grads.bias)])

    def first() -> NDArray[Any]:
        return dwconv.depthwise_conv2d(
            x.transpose(0, 3, 1, 2), kernel, bias, data_format="channels_first", isa=isa
        )

    ways = [lambda: plan(x), lambda: plan(x, num_threads=2), out, gradients, first]
    expected = [np.array(way()) for way in ways]

    def repeat(way: Callable[[], NDArray[Any]], y: NDArray[Any]) -> Callable[[], None]:
        def work() -> None:
            for step in range(60):
                assert_same_bits(way(), y, (isa, step))

        return work

    together(*(repeat(way, y) for way, y in list(zip(ways, expected, strict=True)) * 2))


def test_memory_wanders_between_threads() -> None:
    """Outputs are made here and die there, while the limit changes and idle memory is trimmed; each
    keeps its values while it lives.
    """
    seed = 9
    limit = config.memory_limit()
    shelf: queue.SimpleQueue[tuple[int, NDArray[Any]]] = queue.SimpleQueue()
    layer = layer_of(1, 8)
    inputs = {h: np.full((1, h, 5, 8), h, np.float32) for h in (3, 4, 11, 40)}
    for x in inputs.values():
        layer(x)

    def make(index: int) -> Callable[[], None]:
        def work() -> None:
            rng = random.Random(seed + index)
            for _ in range(500):
                h = rng.choice(list(inputs))
                shelf.put((h, layer(inputs[h])))

        return work

    def check() -> None:
        for _ in range(1000):
            h, y = shelf.get(timeout=patient(60))
            assert (y == 9 * h + 1).all(), h

    def limits() -> None:
        for i in range(200):
            config.set_memory_limit(i % 5 * 3000)
            dwconv.trim_memory()
            assert config.idle_memory() >= 0

    try:
        together(make(0), make(1), make(2), make(3), check, check, limits)
        config.set_memory_limit(6000)
        assert config.idle_memory() <= 6000
    finally:
        config.set_memory_limit(limit)


def test_no_gil_if_python_has_none() -> None:
    """The module says that it needs none, so importing it must not have brought the GIL back."""
    if not hasattr(sys, "_is_gil_enabled") or os.environ.get("PYTHON_GIL") == "1":
        pytest.skip("this Python always has a GIL")
    import sysconfig

    if not sysconfig.get_config_var("Py_GIL_DISABLED"):
        pytest.skip("this Python always has a GIL")
    assert not sys._is_gil_enabled()
