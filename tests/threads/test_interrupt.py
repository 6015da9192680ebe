"""Ctrl-C ends a call that takes long; a call that is cut for that gives the same bits."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support import assert_same_bits, run_python, slow

from dwconv import DepthwiseConv2D, casts, ops
from dwconv.ops import gradients

Array = NDArray[Any]

#: A call that would take minutes of CPU time, and Ctrl-C's handler as that of a timer of CPU time,
#: which begins with the call and waits for it where others have the CPU. It is noticed within ten
#: seconds of the threads: then it is because of the signal.
INTERRUPTED = """
import signal, sys, time
import numpy as np
import dwconv

case, num_threads = sys.argv[1], int(sys.argv[2])
first = case == "channels_first"
shape = (1, 16, 4000, 1000) if first else (1, 4000, 1000, 16)
x = np.zeros(shape, np.float32)
size, strides = (101, 1) if case != "strided gradient" else (101, 2)
layer = dwconv.DepthwiseConv2D(
    size, strides=strides, padding="same", num_threads=num_threads,
    data_format="channels_first" if first else "channels_last",
)
layer.build(shape)
if case == "one plane":
    x = np.zeros((1, 1, 16000, 4000), np.float32)
    layer = dwconv.DepthwiseConv2D(size, padding="same", data_format="channels_first")
    layer.build(x.shape)
dy = np.zeros(layer.compute_output_shape(x.shape), np.float32)
out = np.empty_like(dy)
plan = layer.plan(x.shape)
options = {"padding": "same", "strides": strides, "num_threads": num_threads}
calls = {
    "plan with out": lambda: plan(x, out),
    "plan.run": lambda: plan.run(x),
    "plan.run_part": lambda: plan.run_part(x, out, 1, 2),
    "gradient": lambda: dwconv.depthwise_conv2d_kernel_grad(dy, x, layer.kernel.shape, **options),
    "strided gradient": lambda: dwconv.depthwise_conv2d_input_grad(
        dy, layer.kernel, x.shape, **options
    ),
}
call = calls.get(case, lambda: layer(x))
signal.signal(signal.SIGPROF, signal.default_int_handler)
try:
    start = time.process_time()
    signal.setitimer(signal.ITIMER_PROF, 0.2)
    call()
except KeyboardInterrupt:
    took = time.process_time() - start
    assert took < 10, took
    # The threads and the layer are as they were.
    assert layer(x[:0]).shape[0] == 0
    print("interrupted")
"""


@pytest.mark.parametrize("num_threads", [2, *slow(1)])
@pytest.mark.parametrize(
    "case",
    [
        "channels_last",
        *slow("channels_first", "one plane", "plan with out", "plan.run", "plan.run_part"),
        "gradient",
        *slow("strided gradient"),
    ],
)
def test_a_long_call_ends_on_ctrl_c(case: str, num_threads: int) -> None:
    done = run_python("-c", INTERRUPTED, case, str(num_threads))
    assert done.stdout == "interrupted\n", (case, num_threads, done)


#: Casts are NumPy's. A signal comes at the seventh of their pieces; no further one follows.
CAST = """
import signal, sys, time
import numpy as np
import dwconv

case = sys.argv[1]
dtype = "float16" if case == "float16" else "float32"
# gelu: the core takes float16 as it is for activations up to relu6
layer = dwconv.DepthwiseConv2D(1, dtype=dtype, activation="gelu" if case == "float16" else None)
x = np.ones((8, 400, 1000, 16), "f2")
if case == "strides":
    x = np.ones((8, 16, 400, 1000), "f4").transpose(0, 2, 3, 1)
layer.build(x.shape)
call = layer
if case == "activation":
    call = dwconv.activations.gelu
from dwconv import casts
steps = []
pieces = casts.pieces
def watched(shape, most=None):
    for piece in pieces(shape, most):
        steps.append(shape)
        if len(steps) == 7:
            signal.raise_signal(signal.SIGINT)
        yield piece
casts.pieces = watched
try:
    call(x)
except KeyboardInterrupt:
    print(len(steps))
"""


@pytest.mark.parametrize("case", ["float32", *slow("float16", "strides", "activation")])
def test_a_long_cast_ends_on_ctrl_c(case: str) -> None:
    done = run_python("-c", CAST, case)
    assert done.stdout == "7\n", (case, done)


GOES_ON = """
import signal
import numpy as np
import dwconv

x = np.random.default_rng(0).standard_normal((2, 300, 300, 64), np.float32)
layer = dwconv.DepthwiseConv2D(25, padding="same")
expected = layer(x)
during = []
signal.signal(signal.SIGPROF, lambda *_: during.append(1))
signal.setitimer(signal.ITIMER_PROF, 0.01, 0.01)  # of CPU time: 90 ms and more
y = layer(x)
count = len(during)
signal.setitimer(signal.ITIMER_PROF, 0)
assert (y == expected).all()
assert count >= 2, count  # handlers run while it computes
"""


@pytest.mark.slow
def test_a_handler_that_raises_nothing_lets_the_call_go_on() -> None:
    done = run_python("-c", GOES_ON)
    assert done.returncode == 0, done


def elsewhere(function: Any) -> Any:
    """What a function returns in another thread, where nothing is cut."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join()
    return results[0]


#: Of 20 ms and more each, as the core estimates them for portable kernels: 1.5 ns a multiply-add.
CASES: list[tuple[tuple[int, int, int, int], dict[str, Any]]] = [
    ((3, 60, 60, 64), {"kernel_size": 9, "padding": "same"}),
    ((1, 150, 120, 48), {"kernel_size": 7, "padding": "same", "activation": "gelu"}),
    ((2, 90, 90, 40), {"kernel_size": 11, "strides": 2, "depth_multiplier": 2}),
    ((1, 1, 30000, 32), {"kernel_size": (1, 31)}),
    ((3, 2, 800, 900), {"kernel_size": 3, "data_format": "channels_first"}),
    ((1, 3, 250, 270), {"kernel_size": (13, 9), "data_format": "channels_first"}),
    ((1, 1, 500, 500), {"kernel_size": 11, "padding": "same", "data_format": "channels_first"}),
    ((1, 2, 600, 600), {"kernel_size": 7, "dilation_rate": 2, "data_format": "channels_first"}),
]


@pytest.mark.parametrize("case", [CASES[0], *slow(*CASES[1:])], ids=str)
@pytest.mark.parametrize("num_threads", [1, 2])
def test_a_call_that_is_cut_gives_the_same_bits(
    case: tuple[tuple[int, int, int, int], dict[str, Any]], num_threads: int
) -> None:
    shape, arguments = case
    x = np.random.default_rng(1).standard_normal(shape, np.float32)
    layer = DepthwiseConv2D(**arguments)
    layer.build(shape)
    plan = layer.plan(shape, isa="portable", num_threads=num_threads)  # takes longest: is cut
    out = np.full(plan.y_shape, np.nan, np.float32)
    expected = elsewhere(lambda: plan(x))
    assert_same_bits(plan(x, out), expected, (shape, arguments))
    assert_same_bits(layer(x), expected, (shape, arguments))
    parts = np.full(plan.y_shape, np.nan, np.float32)
    for part in (1, 0):
        plan.run_part(x, parts, part, 2)
    assert_same_bits(parts, expected, (shape, arguments))


@pytest.mark.parametrize("num_threads", [2, *slow(1)])
@pytest.mark.parametrize("strides", [1, *slow(2)])
@pytest.mark.parametrize("multiplier", [1, *slow(2)])
def test_gradients_that_are_cut_have_the_same_bits(
    num_threads: int, strides: int, multiplier: int
) -> None:
    rng = np.random.default_rng(2)
    shape = (3, 70, 80, 24)
    spec = ops.ConvSpec((9, 9), (strides, strides), "same", (1, 1), multiplier)
    x = rng.standard_normal(shape, np.float32)
    kernel = rng.standard_normal(spec.kernel_shape(24), np.float32)
    dy = rng.standard_normal(spec.output_shape(shape), np.float32)
    plan = gradients.make_plan(spec, shape, x.dtype, kernel, "portable")

    def run() -> tuple[Any, ...]:
        return gradients.run(plan, dy, x, num_threads)

    for name, got, wanted in zip(("dx", "dkernel", "dbias"), run(), elsewhere(run), strict=True):
        assert_same_bits(got, wanted, (name, num_threads, strides, multiplier))


@pytest.mark.parametrize("shape", [(5, 3, 4, 2), (1, 7, 3, 5), (1, 1, 9, 3), (0, 3, 2, 2), (4,)])
def test_large_arrays_are_cast_in_pieces(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python notices a signal between two pieces."""
    source = np.random.default_rng(3).standard_normal(shape).astype(">f8").T.copy().T
    source.ravel()[:1] = 1e300
    for at_once in (1, 5, 100):
        monkeypatch.setattr(casts, "PIECE", at_once)
        for dtype in ("f4", "f2", "f8"):
            with np.errstate(all="ignore"):
                wanted = source.astype(dtype)
            with np.errstate(all="raise"):
                got = casts.cast(source, np.dtype(dtype))
            assert got.flags.c_contiguous
            assert_same_bits(got, np.ascontiguousarray(wanted), (shape, at_once, dtype))
