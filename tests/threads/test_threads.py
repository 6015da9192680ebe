"""Several threads: parts that are apart, the same bits, callers at the same time, and what is left
afterwards.
"""

from __future__ import annotations

import copy
import pickle
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support import ASAN, Case, assert_same_bits, lanes, patient, run_python, tile_cases

import dwconv
from dwconv import DepthwiseConv2D, config, ops

Array = NDArray[Any]

#: Alike or not, and more than there are rows of most cases.
PARTS = (2, 3, 7)


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    before = config.num_threads()
    yield
    config.set_num_threads(before)


# ---- parts ---------------------------------------------------------------------------------------


def part_cases(isa: str) -> list[Case]:
    """Every tile, and what decides along what a run is divided."""
    n = lanes(isa, "float32")
    more = [
        Case((14, 14), 4 * n, activation="tanh", padding="same"),  # columns, blocks across pixels
        Case((30, 33), 2 * n, activation="relu", padding="same"),
        Case((28, 28), 4 * n, padding="same"),  # columns, by other kernels than the whole
        Case((28, 28), 8 * n, strides=(2, 2), padding="same"),
        Case((16, 90), n, padding="valid"),  # more columns than are weighed up
        Case((24, 40), 4 * n, (5, 5), padding="same", activation="relu"),
        Case((14, 29), 2 * n, multiplier=2, padding="same"),
        Case((9, 15), 12 * n, padding="same", activation="gelu"),  # one more block
        Case((10, 10), 4 * n, padding="same"),  # columns, each part an edge
        Case((12, 8), 4 * n, padding="same", activation="gelu"),
        Case((7, 7), 16 * n, padding="same"),  # one tile is as wide as the row: rows
        Case((1, 40), 5 * n, (1, 3), padding="same", activation="silu"),  # channels
        Case((1, 40), 5 * n + 3, (1, 3), padding="same"),
        Case((28, 28), 2 * n, strides=(2, 2), padding="same", activation="elu"),
        Case((66, 60), 8 * n, strides=(2, 2), padding="same"),
        Case((90, 9), n, padding="same", activation="tanh"),  # rolls in several steps
        Case((20, 20), 3, padding="same", activation="sigmoid"),  # merged pixels
        Case((20, 20), 2, multiplier=3, padding="same"),
        Case((5, 6), n, batch=5, padding="same"),
        Case((17, 19), n, (5, 5), dilation_rate=(2, 3), padding="same", activation="tanh"),
        Case((12, 12), n + 1, (4, 2), strides=(3, 2), activation="gelu"),  # the general kernel
        Case((6, 6), n, batch=0),
        Case((12, 40), 6, data_format="channels_first", padding="same", activation="tanh"),
        Case((33, 40), 3, data_format="channels_first", padding="same", activation="tanh"),
        Case((33, 40), 3, (7, 7), strides=(2, 2), data_format="channels_first", padding="same"),
        Case((12, 20), 5, (4, 2), data_format="channels_first", activation="elu"),
        Case((40, 20), 1, dilation_rate=(2, 2), data_format="channels_first", batch=3),
    ]
    return [*tile_cases()[::3], *more]


def test_parts_are_apart_and_make_the_whole(isa: str) -> None:
    """Each byte is written by exactly one part, whatever address the arrays begin at."""
    for case in part_cases(isa):
        x, kernel, bias = case.arrays()
        for offset in (0, 16, 48) if case.data_format == "channels_last" else (16,):
            plan, expected, at, out = prepared(case, isa, x, kernel, bias, offset)
            for parts in PARTS:
                check_parts(plan, at, out, expected, parts, f"{case}, {isa}, {offset}, {parts}")


def prepared(case: Case, isa: str, x: Array, kernel: Array, bias: Any, offset: int) -> Any:
    """The plan, what one thread makes, and x and an output at `offset` from a line's beginning."""
    fused, after = ops.split_activation(case.activation)
    assert after is None
    plan = ops.make_plan(case.spec, x.shape, kernel, bias, fused, isa)
    at = placed(x.shape, x.dtype, offset)
    at[...] = x
    out = placed(plan.y_shape, x.dtype, offset)
    return plan, plan.run(at).copy(), at, out


def placed(shape: tuple[int, ...], dtype: Any, offset: int) -> Array:
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.zeros(size + 128, np.uint8)
    begin = -memory.ctypes.data % 64 + offset
    return memory[begin : begin + size].view(dtype).reshape(shape)


def check_parts(plan: Any, x: Array, out: Array, expected: Array, parts: int, context: str) -> None:
    bits = out.view(np.uint32)
    written = np.zeros(out.shape, int)
    whole = np.zeros_like(out)
    for part in range(parts):
        bits[...] = 0x7FC0BEEF  # a NaN that no kernel makes
        plan.run_part(x, out, part, parts)
        mine = bits != 0x7FC0BEEF
        written += mine
        whole[mine] = out[mine]
    assert (written == 1).all(), f"{written.min()} to {written.max()} times: {context}"
    assert_same_bits(whole, expected, context)


SAME = ops.ConvSpec((3, 3), padding="same")


def test_a_part_that_is_none() -> None:
    plan = ops.make_plan(SAME, (1, 4, 4, 2), np.ones((3, 3, 2, 1), "f"), None)
    x, y = np.ones((1, 4, 4, 2), "f"), np.ones((1, 4, 4, 2), "f")
    for part, parts in ((-1, 2), (2, 2), (0, 0)):
        with pytest.raises(ValueError, match=r"^parts?: expected"):
            plan.run_part(x, y, part, parts)


def test_parts_are_integers() -> None:
    """NumPy's and whole floats are, bools are not, as everywhere."""
    plan = ops.make_plan(SAME, (1, 4, 4, 2), np.ones((3, 3, 2, 1), "f"), None)
    x, y = np.ones((1, 4, 4, 2), "f"), np.ones((1, 4, 4, 2), "f")
    for integer in (np.int8, np.uint64, float, np.float32, np.array):
        y[...] = 0
        for part in (0, 1):
            plan.run_part(x, y, integer(part), integer(2))
        assert_same_bits(y, plan.run(x), integer)
    for bad in (True, np.True_, 1.5, "1", None, 2**40):
        with pytest.raises(ValueError, match=r"^parts: expected an integer from 1 to"):
            plan.run_part(x, y, 0, bad)
        with pytest.raises(ValueError, match=r"^part: expected an integer from 0 to"):
            plan.run_part(x, y, bad, 2)


# ---- threads -------------------------------------------------------------------------------------

#: Large enough for two threads, whatever the instruction set.
LARGE = [
    Case((56, 56), 96, (7, 7), padding="same", activation="relu"),
    Case((28, 28), 256, padding="same", activation="gelu"),
    Case((64, 64), 32, data_format="channels_first", padding="same", batch=2),
    Case((150, 151), 3, (5, 5), multiplier=2, padding="same", dtype="float64"),
]


@pytest.mark.parametrize("case", LARGE)
def test_the_same_bits_for_any_number_of_threads(case: Case, isa: str) -> None:
    x, kernel, bias = case.arrays()
    expected = dwconv.depthwise_conv2d(x, kernel, bias, isa=isa, **case.options())
    for count in (2, 3, 8, 1000):
        for _ in range(5):  # with threads that are asleep, and awake
            y = dwconv.depthwise_conv2d(
                x, kernel, bias, isa=isa, num_threads=count, **case.options()
            )
            assert_same_bits(y, expected, f"{case}, {isa}, {count} threads")


def test_small_layers_stay_on_one_thread() -> None:
    layer = DepthwiseConv2D(3, padding="same", num_threads=4)
    assert layer.plan((1, 8, 8, 16)).num_threads == 1
    plan = layer.plan((1, 112, 112, 16))
    assert plan.num_threads == plan.describe().num_threads == 4
    assert "up to 4" in str(plan.describe())


@pytest.mark.parametrize("count", [2, 5])
def test_callers_at_the_same_time(count: int) -> None:
    """Six of them share one plan, a layer and a pool that is smaller than what they ask for."""
    case = Case((28, 28), 128, padding="same", activation="tanh")
    x, kernel, bias = case.arrays()
    layer = DepthwiseConv2D(3, padding="same", activation="tanh", weights=[kernel, bias])
    expected = layer(x)
    layer.num_threads = count
    plan = layer.plan(x.shape)
    wrong: list[str] = []

    def call(number: int) -> None:
        out = np.empty_like(expected)
        for i in range(60):
            y = plan(x, out=out) if number % 2 else layer(x)
            if not np.array_equal(y, expected):
                wrong.append(f"caller {number}, call {i}")

    callers = [threading.Thread(target=call, args=(number,), daemon=True) for number in range(6)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(patient(60))
    assert not any(caller.is_alive() for caller in callers), "a caller hangs"
    assert wrong == []


def test_threads_end_and_start_again() -> None:
    config.stop_threads()
    before = settled_threads()
    layer = DepthwiseConv2D(3, padding="same")
    x = np.ones((1, 56, 56, 64), "f")
    expected = layer(x)
    assert settled_threads() == before, "one thread is the default"
    for _ in range(2):
        assert_same_bits(layer(x, num_threads=4), expected, "4 threads")
        assert settled_threads() == before + 3
        config.stop_threads()
        assert settled_threads() == before
    config.stop_threads()  # there are none


def settled_threads() -> int:
    """How many there are, the same a tenth of a second long: Linux lists one that was joined for a
    moment longer.
    """
    if not sys.platform.startswith("linux"):
        pytest.skip("no list of threads here")
    seen: list[int] = []
    limit = time.monotonic() + patient(10)
    while len(seen) < 10 or len(set(seen[-10:])) > 1:
        time.sleep(0.01)
        seen.append(len(list(Path("/proc/self/task").iterdir())))
        assert time.monotonic() < limit, seen
    return seen[-1]


def test_idle_threads_use_no_cpu() -> None:
    """After a burst: what the process uses, by its CPU clock, while it sleeps.

    On a busy machine a thread may be late in falling asleep, so one half second of twenty has to be
    idle; a thread that spins is never.
    """
    done = run_python(
        "-c",
        """
import time
import numpy as np, dwconv
layer, x = dwconv.DepthwiseConv2D(3, padding="same"), np.ones((1, 56, 56, 64), "f")
plan = layer.plan(x.shape, num_threads=4)
assert plan.num_threads == 4
for _ in range(200):
    plan(x)
time.sleep(0.05)  # other threads' time counts from the next tick of the kernel on, 10 ms at most
for _ in range(20):
    before = time.process_time()
    time.sleep(0.5)
    used = time.process_time() - before
    if used < 0.005:
        break
print(used)
""",
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 0.005, "spinning threads would use 0.5 s each"


@pytest.mark.skipif(ASAN, reason="AddressSanitizer's memory makes system calls")
@pytest.mark.skipif(
    not (sys.platform.startswith("linux") and __import__("platform").machine() == "x86_64"),
    reason="system calls by their numbers on x86-64",
)
def test_steady_calls_make_no_system_call() -> None:
    """In strict seccomp the kernel kills a thread, here the only one, at any system call but read,
    write and exit.
    """
    done = run_python(
        "-c",
        """
import ctypes
import numpy as np, dwconv
layer, x = dwconv.DepthwiseConv2D(3, padding="same"), np.ones((1, 14, 14, 64), "f")
plan, small = layer.plan(x.shape), layer.plan((1, 3, 3, 64))
y, x2 = np.empty_like(x), np.ones((1, 3, 3, 64), "f")
y2 = np.empty_like(x2)
libc = ctypes.CDLL(None)
end = libc.syscall
for _ in range(10):
    plan(x, out=y), small(x2, out=y2)
assert libc.prctl(22, 1, 0, 0, 0) == 0  # PR_SET_SECCOMP, SECCOMP_MODE_STRICT
for _ in range(1000):
    plan(x, out=y), small(x2, out=y2)
end(60, 42)  # exit
""",
        OPENBLAS_NUM_THREADS="1",
    )
    assert done.returncode == 42, done


# ---- how many ------------------------------------------------------------------------------------


def test_layers_plans_and_calls_say_how_many() -> None:
    x = np.ones((1, 112, 112, 16), "f")
    layer = DepthwiseConv2D(3, padding="same")
    plan = layer.plan(x.shape)
    assert (layer.num_threads, plan.num_threads) == (None, 1)
    config.set_num_threads(3)
    assert (config.num_threads(), plan.num_threads) == (3, 3), "from the next call on"
    assert layer.plan(x.shape, num_threads=2).num_threads == 2
    layer.num_threads = 2
    assert layer.plan(x.shape).num_threads == 2
    assert DepthwiseConv2D(3, num_threads=2.0).num_threads == 2  # a whole float, as everywhere
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert twin.num_threads == 2
    assert "num_threads" not in layer.get_config()
    expected = layer(x)
    assert_same_bits(layer(x, num_threads=3), expected, "a call of a layer")
    assert_same_bits(plan(x, num_threads=3), expected, "a call of a plan")
    half = DepthwiseConv2D(3, padding="same", dtype="float16", weights=layer.get_weights())
    assert_same_bits(half(x, num_threads=3), half(x), "a call with casts")


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, np.True_, "2", 2**63])
def test_numbers_that_are_none(wrong: Any) -> None:
    x = np.ones((1, 3, 3, 1), "f")
    layer = DepthwiseConv2D(3)
    layer(x)
    for use in (
        lambda: config.set_num_threads(wrong),
        lambda: DepthwiseConv2D(3, num_threads=wrong),
        lambda: layer.plan(x.shape, num_threads=wrong),
        lambda: layer(x, num_threads=wrong),
        lambda: layer.plan(x.shape)(x, num_threads=wrong),
        lambda: setattr(layer, "num_threads", wrong),
        lambda: dwconv.depthwise_conv2d(x, np.ones((3, 3, 1, 1), "f"), num_threads=wrong),
    ):
        with pytest.raises(ValueError, match="num_threads: expected a positive integer"):
            use()
    assert (layer.num_threads, config.num_threads()) == (None, 1)


@pytest.mark.slow
def test_the_variable() -> None:
    code = "from dwconv import config, depthwise_conv2d as f; print(config.num_threads())"
    assert run_python("-c", code, DWCONV_NUM_THREADS="3").stdout == "3\n"
    assert run_python("-c", code, DWCONV_NUM_THREADS="").stdout == "1\n"
    use = "import dwconv; dwconv.depthwise_conv2d([[[[1.0]]]], [[[[1.0]]]])"
    for wrong in ("0", "many", "-1", "9" * 5000):
        done = run_python("-c", use, DWCONV_NUM_THREADS=wrong)
        message = f"DWCONV_NUM_THREADS: expected a positive integer or auto; received '{wrong}'"
        assert message in done.stderr, done.stderr[-300:]
