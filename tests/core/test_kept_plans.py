"""What `depthwise_conv2d` keeps from call to call: never another result than without it."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from support import assert_same_bits, run_python

import dwconv
from dwconv import config, depthwise_conv2d, reference
from dwconv.ops import kept_plans

rng = np.random.default_rng(19)


def same_bits(found: Any, expected: Any) -> None:
    assert_same_bits(found, expected, f"seed 19, shape {np.shape(expected)}")


def draw(*shape: int, dtype: str = "float32") -> Any:
    return rng.standard_normal(shape).astype(dtype)


@pytest.fixture(autouse=True)
def _limits() -> Iterator[None]:
    """Each test begins without plans, and leaves the limits as they were."""
    before = config.plan_cache_limits()
    config.forget_plans()
    yield
    config.set_plan_cache_limits(*before)


def alone(x: Any, kernel: Any, bias: Any = None, **arguments: Any) -> Any:
    """The result of a layer, which packs its own weights."""
    layer = dwconv.DepthwiseConv2D(
        kernel.shape[:2],
        depth_multiplier=kernel.shape[3],
        use_bias=bias is not None,
        dtype=str(x.dtype),
        weights=[kernel] if bias is None else [kernel, bias],
        **arguments,
    )
    return layer(x)


# Tiles, packings by alignment (7x7x256), blocks that span two pixels (stride 2), folded pixels, a
# multiplier, the general kernel.
CASES = [
    ((2, 9, 9, 32), (3, 3), 1, 1),
    ((1, 7, 7, 256), (3, 3), 1, 1),
    ((2, 18, 18, 64), (3, 3), 1, 2),
    ((2, 9, 9, 3), (3, 3), 1, 1),
    ((2, 9, 9, 5), (3, 3), 4, 1),
    ((3, 9, 9, 7), (4, 4), 1, 1),
]


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "float16"])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize(("shape", "size", "multiplier", "strides"), CASES)
def test_a_kernel_that_changes_in_place_is_seen(
    shape: tuple[int, ...],
    size: tuple[int, int],
    multiplier: int,
    strides: int,
    data_format: Any,
    dtype: str,
) -> None:
    """Against float64, and to the bit against a layer: first and later calls, with new weights,
    weights changed in place (the first, a middle and the last byte alone), and another bias.
    """
    x = rng.integers(-9, 9, shape).astype(dtype)
    if data_format == "channels_first":
        x = np.ascontiguousarray(np.moveaxis(x, 3, 1))
    kernel = rng.integers(-9, 9, (*size, shape[3], multiplier)).astype(dtype)
    bias = rng.integers(-9, 9, shape[3] * multiplier).astype(dtype)
    arguments: dict[str, Any] = {"strides": strides, "padding": "same", "data_format": data_format}

    def check(bias: Any) -> None:
        y = depthwise_conv2d(x, kernel, bias, **arguments)
        same_bits(y, alone(x, kernel, bias, **arguments))
        wide = reference.depthwise_conv2d(x, kernel, bias, **arguments)
        assert np.abs(y - wide).max() == 0  # sums of small integers are exact

    for _ in range(3):
        check(bias)
    check(None)
    for place in (0, kernel.size // 2, kernel.size - 1):
        kernel.flat[place] += 1
        check(bias)
        check(bias)
    bias[-1] += 1
    check(bias)
    kernel[...] = 2
    check(bias)
    check(None)
    assert kept_plans.count() > 0


@pytest.mark.parametrize("offset", range(0, 64, 4))
def test_results_do_not_depend_on_where_arrays_begin(offset: int) -> None:
    """Each arrangement of the weights, and all of them after each other."""
    x, kernel, bias = draw(1, 7, 7, 256), draw(3, 3, 256, 1), draw(256)
    expected = alone(x, kernel, bias, padding="same")
    memory = np.empty(x.nbytes + 128, np.uint8)
    begin = -memory.ctypes.data % 64 + offset
    moved = memory[begin : begin + x.nbytes].view(np.float32).reshape(x.shape)
    moved[...] = x
    for source in (moved, x, moved):
        same_bits(depthwise_conv2d(source, kernel, bias, padding="same"), expected)
        out = np.empty_like(expected)
        assert depthwise_conv2d(source, kernel, bias, padding="same", out=out) is out
        same_bits(out, expected)


def test_a_second_call_in_the_same_words_plans_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does it read its arguments again."""
    x, kernel, bias = draw(1, 8, 8, 16), draw(3, 3, 16, 1), draw(16)
    y = depthwise_conv2d(x, kernel, bias, padding="same", activation="relu")

    def refuse(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr("dwconv.ops.convolution._convolve", refuse)
    same_bits(depthwise_conv2d(x, kernel, bias, padding="same", activation="relu"), y)
    kernel += 1
    depthwise_conv2d(np.concatenate([x, x]), kernel, padding="same", activation="relu")
    with pytest.raises(AssertionError):
        depthwise_conv2d(x, kernel, bias, padding="valid")


def test_any_batch_uses_one_plan() -> None:
    kernel = draw(3, 3, 16, 1)
    for batch in (1, 3, 0, 2, 1):
        x = draw(batch, 8, 8, 16)
        same_bits(depthwise_conv2d(x, kernel, padding="same"), alone(x, kernel, padding="same"))
    assert kept_plans.count() == 1


def test_what_is_equal_and_not_the_same_is_an_error_every_time() -> None:
    """True equals 1, and a call with 1 has been kept."""
    x, kernel = draw(1, 8, 8, 4), draw(3, 3, 4, 1)
    wrong: list[dict[str, Any]] = [
        {"strides": True},
        {"strides": (1, True)},
        {"dilation_rate": np.bool_(True)},
        {"padding": ((True, 1), (1, 1))},
        {"num_threads": True},
    ]
    for _ in range(2):
        y = depthwise_conv2d(x, kernel, padding=((1, 1), (1, 1)))
        same_bits(y, depthwise_conv2d(x, kernel, strides=1.0, padding="SAME"))
        depthwise_conv2d(x, kernel, strides=1, dilation_rate=(1, 1))
        for arguments in wrong:
            with pytest.raises(ValueError, match="expected"):
                depthwise_conv2d(x, kernel, **arguments)


def test_errors_after_a_call_that_was_right() -> None:
    x, kernel, bias = draw(1, 8, 8, 4), draw(3, 3, 4, 1), draw(4)
    depthwise_conv2d(x, kernel, bias)
    with pytest.raises(ValueError, match="bias: expected shape"):
        depthwise_conv2d(x, kernel, draw(3))
    with pytest.raises(ValueError, match="out: expected shape"):
        depthwise_conv2d(x, kernel, bias, out=draw(1, 8, 8, 4))
    with pytest.raises(ValueError, match="shares memory"):
        depthwise_conv2d(x, kernel, bias, out=x[:, :6, :6])
    memory = draw(4 + 6 * 6 * 4)
    with pytest.raises(ValueError, match="apart from bias"):
        depthwise_conv2d(x, kernel, memory[:4], out=memory[:-4].reshape(1, 6, 6, 4))
    with pytest.raises(ValueError, match="num_threads"):
        depthwise_conv2d(x, kernel, bias, num_threads=0)
    with pytest.raises(ValueError, match="isa"):
        depthwise_conv2d(x, kernel, bias, isa="abacus")


def test_settings_are_part_of_what_is_kept(isa: str) -> None:
    """The instruction set, what becomes of denormal numbers, the activation."""
    x, kernel = draw(1, 8, 8, 4), draw(3, 3, 4, 1)
    tiny, one = np.full_like(x, 1e-40), np.ones_like(kernel)
    before = config.denormals()
    try:
        found = []
        for denormals in ("flush", "ieee", "flush"):
            config.set_denormals(denormals)  # type: ignore[arg-type]
            y = depthwise_conv2d(tiny, one, isa=isa)
            layer = dwconv.DepthwiseConv2D(3, use_bias=False, weights=[one])
            same_bits(y, layer.plan(x.shape, isa=isa)(tiny))
            found.append(bool(y.any()))
    finally:
        config.set_denormals(before)
    assert found[1]
    assert found[0] == found[2]
    for activation in (None, "relu", "relu6", None, "glu", np.tanh):
        y = depthwise_conv2d(x, kernel, activation=activation, isa=isa)
        same_bits(y, depthwise_conv2d(x, kernel, activation=activation, isa=isa))
        if activation == "relu":
            assert y.min() == 0
        if activation is None:
            assert y.min() < 0


def test_threads_with_the_same_geometry_do_not_mix_kernels() -> None:
    """Each thread its own kernels, which it also changes in place; twice as many in all as are
    kept, so that they drive each other out.
    """
    threads, rounds = 8, 150
    x = draw(1, 8, 8, 16)
    failures: list[str] = []
    start = threading.Barrier(threads)

    def work(seed: int) -> None:
        mine = np.random.default_rng(seed)
        kernels = [mine.standard_normal((3, 3, 16, 1)).astype("f") for _ in range(2)]
        start.wait()
        for i in range(rounds):
            kernel = kernels[i % 2]
            if i % 5 == 0:
                kernel += np.float32(1)
            y = depthwise_conv2d(x, kernel, padding="same")
            if i % 10 == 0:
                expected = alone(x, kernel, padding="same")
                if not np.array_equal(y, expected):
                    failures.append(f"thread {seed}, round {i}")
            if i % 40 == seed:
                config.forget_plans()

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failures


def test_the_limits_hold() -> None:
    """So many geometries, so many bytes, and nothing where nothing is allowed."""
    from dwconv import _core

    gc.collect()
    held = _core.kept_bytes()  # by objects of earlier tests
    config.set_plan_cache_limits(3, 1 << 20)
    kernel = draw(3, 3, 16, 1)
    for height in range(8, 20):
        depthwise_conv2d(draw(1, height, 8, 16), kernel)
        assert kept_plans.count() <= 3
    large = draw(7, 7, 1024, 1)
    x = draw(1, 7, 7, 1024)
    for i in range(12):  # 0.4 MB each, with the copy
        large[0, 0, 0, 0] = i
        expected = alone(x, large, padding="same")
        same_bits(depthwise_conv2d(x, large, padding="same"), expected)
        assert _core.kept_bytes() <= 1 << 20
    config.set_plan_cache_limits(bytes=0)
    assert kept_plans.count() == 0
    assert _core.kept_bytes() == held
    for _ in range(2):
        same_bits(depthwise_conv2d(x, large, padding="same"), expected)
        assert _core.kept_bytes() == held
    config.set_plan_cache_limits(bytes=1 << 20)
    depthwise_conv2d(x, large, padding="same")
    assert _core.kept_bytes() > large.nbytes
    config.forget_plans()
    assert _core.kept_bytes() == held
    assert kept_plans.count() == 0


FORK = """
import os, threading, signal
import numpy as np
from dwconv import depthwise_conv2d
from dwconv.ops import kept_plans

signal.alarm(60)
x = np.ones((1, 8, 8, 16), "f")
kernel = np.ones((3, 3, 16, 1), "f")
expected = depthwise_conv2d(x, kernel)
held, go = threading.Event(), threading.Event()

def hold():
    with kept_plans._lock.held():
        held.set()
        go.wait()

threading.Thread(target=hold).start()
held.wait()
child = os.fork()
if child == 0:
    assert kept_plans.count() == 0
    for _ in range(3):
        kernel += 1
        depthwise_conv2d(x, kernel, padding="same")
    same = np.array_equal(depthwise_conv2d(x, np.ones_like(kernel)), expected)
    os._exit(0 if same else 1)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
go.set()
assert status == 0, status
print("done")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
def test_a_child_forked_while_a_thread_holds_the_lock_works() -> None:
    done = run_python("-W", "ignore", "-c", FORK)
    assert done.stdout == "done\n", done.stderr
