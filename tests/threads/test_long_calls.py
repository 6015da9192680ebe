"""Ctrl-C ends whatever works on large arrays: Python's handlers of signals run often on the way.

A timer's handler notes the CPU time of the main thread. The longest time between two notes is how
long Ctrl-C would wait. As a share of the whole call it depends on no machine and on no load.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support import assert_same_bits, patient, run_python, slow

from dwconv import casts, initializers, reference

Array = NDArray[Any]

#: The cases, by name: a call that works on some millions of elements. `make` prepares it.
LONG_CALLS = """
import signal, sys, time
import numpy as np
import dwconv
from dwconv import activations, casts, constraints, initializers, optimizers
from dwconv import reference, regularizers
from dwconv.formats import plain
from dwconv.layers.backward import Gradients

casts.PIECE = 1 << 17
plain.AT_ONCE = 1 << 19
reference._AT_ONCE = 1 << 15
N = 1 << 22
rng = np.random.default_rng(0)
flat = rng.standard_normal(N, np.float32)
kernel = flat.reshape(2, 2, N // 4, 1)
square = flat.reshape(2048, 2048)
image = flat.reshape(1, 512, 512, 16)
layer = dwconv.DepthwiseConv2D(2, weights=[kernel, np.zeros(N // 4)])
layer.build((None, None, None, N // 4))
whole = np.ones((2, 2, 1 << 22), np.int16)
folder = sys.argv[2]
# For what takes less than a nanosecond an element.
large = np.ones((2, 2, N, 1), np.float32)
many = dwconv.DepthwiseConv2D(2, use_bias=False, weights=[large])
many.build((None, None, None, N))
few = dwconv.DepthwiseConv2D(2048, use_bias=False, weights=[flat.reshape(2048, 2048, 1, 1)])
few.build((None, None, None, 1))

def step(optimizer):
    return lambda: optimizer.apply(many, Gradients(kernel=large))

def saved(suffix):
    path = f"{folder}/{time.monotonic_ns()}{suffix}"  # to free a file that is replaced takes long
    many.save(path)
    return path

def loading(suffix):
    path = saved(suffix)
    return lambda: dwconv.load(path)

def drawn(name, **arguments):
    made = getattr(initializers, name)(seed=1, **arguments)
    return lambda: lambda: made(kernel.shape)

CASES = {
    "RandomNormal": drawn("RandomNormal"),
    "RandomUniform": drawn("RandomUniform"),
    "TruncatedNormal": drawn("TruncatedNormal"),
    "GlorotUniform": drawn("GlorotUniform"),
    "HeNormal": drawn("HeNormal"),
    "Ones": lambda: lambda: initializers.Ones()(large.shape),
    "Constant": lambda: lambda: initializers.Constant(large)(large.shape, "f8"),
    "build": lambda: lambda: dwconv.DepthwiseConv2D(2).build((None, None, None, N // 4)),
    "L1": lambda: lambda: regularizers.L1()(kernel),
    "L2": lambda: lambda: regularizers.L2()(kernel),
    "L1 gradient": lambda: lambda: regularizers.L1().gradient(kernel),
    "L1L2 gradient": lambda: lambda: regularizers.L1L2(1, 1).gradient(kernel),
    "OrthogonalRegularizer": lambda: lambda: regularizers.OrthogonalRegularizer()(square),
    "OrthogonalRegularizer of few": lambda: lambda: regularizers.OrthogonalRegularizer()(
        flat.reshape(8, -1)
    ),
    "OrthogonalRegularizer gradient": lambda: lambda: regularizers.OrthogonalRegularizer(
        mode="columns"
    ).gradient(square),
    "MaxNorm": lambda: lambda: constraints.MaxNorm()(kernel),
    "UnitNorm": lambda: lambda: constraints.UnitNorm(axis=[0, 1])(kernel),
    "MinMaxNorm": lambda: lambda: constraints.MinMaxNorm(axis=2)(kernel),
    "NonNeg": lambda: lambda: constraints.NonNeg()(large),
    "reference": lambda: lambda: reference.depthwise_conv2d(image, np.ones((2, 1, 16, 1))),
    "reference, channels_first": lambda: lambda: reference.depthwise_conv2d(
        image.reshape(1, 16, 512, 512), np.ones((2, 1, 16, 1)), data_format="channels_first",
        activation="relu6",
    ),
    "get_weights": lambda: lambda: many.get_weights(),
    "set_weights": lambda: lambda: many.set_weights([large]),
    "weights of integers": lambda: lambda: dwconv.DepthwiseConv2D(
        2, weights=[large], use_bias=False, dtype="int32"
    ),
    "to_torch_weight": lambda: lambda: dwconv.to_torch_weight(large),
    "from_torch_weight": lambda: lambda: dwconv.from_torch_weight(large.reshape(-1, 1, 2, 2)),
    "fold_batch_norm": lambda: lambda: dwconv.fold_batch_norm(few, [2], [1], [0], [1]),
    "SGD": lambda: step(optimizers.SGD(0.1, momentum=0.9)),
    "Adam": lambda: step(optimizers.Adam()),
    "softmax over rows": lambda: lambda: activations.softmax(square.T),
    "softmax over columns": lambda: lambda: activations.softmax(square, axis=0),
    "softmax gradient": lambda: lambda: activations.softmax.gradient(square, square),
    "mish of a transposed array": lambda: lambda: activations.mish(square.T),
    "relu of integers": lambda: lambda: activations.relu(whole),
    "save safetensors": lambda: lambda: saved(".safetensors"),
    "save npz": lambda: lambda: saved(".npz"),
    "load safetensors": lambda: loading(".safetensors"),
    "load npz": lambda: loading(".npz"),
}

names = sys.argv[1].split("|")
for name in names:
    call = CASES[name]()
    call()  # memory, caches, imports
    tries = []
    for _ in range(3):  # another process may have the caches, or the CPU, in one of them
        notes = []
        signal.signal(signal.SIGALRM, lambda *_: notes.append(time.thread_time()))
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        start = time.thread_time()
        call()
        end = time.thread_time()
        signal.setitimer(signal.ITIMER_REAL, 0)
        times = [start, *notes, end]
        longest = max(b - a for a, b in zip(times, times[1:]))
        tries.append((longest / (end - start), longest, end - start))
    _, longest, whole = min(tries)
    print(f"{name}|{longest}|{whole}")
"""

CASES = [
    line.split('"')[1]
    for line in LONG_CALLS.partition("CASES = {")[2].splitlines()
    if line.startswith('    "')
]

#: One piece is a 32nd of the elements. A signal waits for that share of a call's time at most, and
#: for a tick of the scheduler.
SHARE, TICK = 0.15, 0.002


@pytest.mark.slow
def test_handlers_of_signals_run_often_in_long_calls(tmp_path: Any) -> None:
    done = run_python("-c", LONG_CALLS, "|".join(CASES), str(tmp_path))
    assert done.returncode == 0, done
    rows = [line.split("|") for line in done.stdout.splitlines()]
    assert [row[0] for row in rows] == CASES
    late = {
        name: (float(longest), float(whole))
        for name, longest, whole in rows
        if float(longest) > SHARE * float(whole) + TICK
    }
    assert not late, late


# ---- the same numbers ----------------------------------------------------------------------------

#: What each initializer draws, whole: written down again, without pieces.
DRAWS: dict[str, Callable[[np.random.Generator, tuple[int, ...]], Array]] = {
    "RandomNormal": lambda rng, shape: 0.0 + 0.05 * rng.standard_normal(shape),
    "RandomUniform": lambda rng, shape: rng.uniform(-0.05, 0.05, shape),
    "TruncatedNormal": lambda rng, shape: truncated(rng, shape) * 0.05,
    "HeUniform": lambda rng, shape: rng.uniform(-limit(shape), limit(shape), shape),
    "HeNormal": lambda rng, shape: truncated(rng, shape) * he_deviation(shape),
    "Orthogonal": lambda rng, shape: orthogonal(rng, shape),
}


def truncated(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    values = rng.standard_normal(shape)
    while (wrong := np.abs(values) > 2).any():
        values[wrong] = rng.standard_normal(int(wrong.sum()))
    return values


def limit(shape: tuple[int, ...]) -> float:
    return float(np.sqrt(3 * (2 / (shape[0] * shape[1] * shape[2]))))


def he_deviation(shape: tuple[int, ...]) -> float:
    variance = 2 / (shape[0] * shape[1] * shape[2])
    return float(np.sqrt(variance)) / initializers.TRUNCATED_STDDEV


def orthogonal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    rows, columns = int(np.prod(shape[:-1])), shape[-1]
    q, r = np.linalg.qr(rng.standard_normal((max(rows, columns), min(rows, columns))))
    q = q * np.where(np.diagonal(r) < 0, -1.0, 1.0)
    return (q if rows >= columns else q.T).reshape(shape)


@pytest.mark.parametrize("piece", [1 << 20, 7, *slow(1, 64)])
@pytest.mark.parametrize("name", DRAWS)
def test_values_are_drawn_from_one_stream(
    name: str, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(casts, "PIECE", piece)
    for shape in ((3, 2, 29, 2), (2, 2, 3, 31)):
        for dtype in ("f2", "f4", "f8"):
            with np.errstate(all="ignore"):
                wanted = DRAWS[name](np.random.Generator(np.random.PCG64(5)), shape).astype(dtype)
            got = getattr(initializers, name)(seed=5)(shape, dtype)
            assert_same_bits(got, wanted, (name, shape, dtype, piece))


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_the_reference_computes_block_by_block(
    data_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(6)
    shape = (2, 9, 8, 3) if data_format == "channels_last" else (2, 3, 9, 8)
    x, kernel, bias = (rng.standard_normal(s) for s in (shape, (3, 2, 3, 2), (6,)))
    options: Any = {"strides": (2, 1), "padding": "same", "dilation_rate": (1, 2)}
    options |= {"data_format": data_format, "activation": "relu6"}
    wanted = reference.depthwise_conv2d(x, kernel, bias, **options)
    for at_once in (1, 5, 13, 100):
        monkeypatch.setattr(reference, "_AT_ONCE", at_once)
        got = reference.depthwise_conv2d(x, kernel, bias, **options)
        assert_same_bits(got, wanted, (data_format, at_once))


def blocks(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    for piece in (1 << 20, 1, 3, 20):
        monkeypatch.setattr(casts, "PIECE", piece)
        yield piece


def test_functions_of_an_axis_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    from dwconv import activations

    x = np.random.default_rng(7).standard_normal((3, 4, 6, 2)).transpose(1, 0, 3, 2)
    for name in ("softmax", "log_softmax", "sparsemax", "glu", "mish"):
        act = activations.get(name)
        for axis in (0, 2, -1) if name != "mish" else (None,):
            more = {} if axis is None else {"axis": axis}
            whole = None
            for piece in blocks(monkeypatch):
                y = act(x, **more)
                dx = act.gradient(x, y, **more)
                whole = (y, dx) if whole is None else whole
                for got, wanted in zip((y, dx), whole, strict=True):
                    np.testing.assert_allclose(got, wanted, rtol=1e-14, err_msg=f"{name} {piece}")


# ---- what NumPy and the system do not let go of --------------------------------------------------

#: QR, and the flush of a file, go on in another thread until the main thread has left its wait:
#: they end by an event that comes after KeyboardInterrupt, whatever the time. A wait that Ctrl-C
#: does not end lasts until they give up.
WAITS = """
import os, signal, sys, threading
import numpy as np
import dwconv
from dwconv.formats import store

case, folder, patience = sys.argv[1], sys.argv[2], float(sys.argv[3])
left, ended = threading.Event(), threading.Event()

def slowly(work):
    os.kill(os.getpid(), signal.SIGINT)
    in_time = left.wait(patience)
    result = work()
    print("ended" if in_time else "nobody left", flush=True)
    ended.set()
    return result

path = f"{folder}/layer.npz"
if case == "QR":
    qr = np.linalg.qr
    np.linalg.qr = lambda array: slowly(lambda: qr(array))
    call = lambda: dwconv.initializers.Orthogonal(seed=1)((300, 300))
else:
    layer = dwconv.DepthwiseConv2D(1, use_bias=False, weights=[np.zeros((1, 1, 1000, 1), "f4")])
    layer.build((None, None, None, 1000))
    layer.save(path)
    before = open(path, "rb").read()
    store._SYNCED_AT_ONCE = 1000
    os.fsync = lambda handle: slowly(lambda: os.fstat(handle))  # it is still open
    call = lambda: layer.save(path)
try:
    call()
except KeyboardInterrupt:
    print("interrupted", flush=True)
if case == "fsync":
    assert os.listdir(folder) == ["layer.npz"], os.listdir(folder)
    assert open(path, "rb").read() == before
left.set()
assert ended.wait(patience)
"""


@pytest.mark.parametrize("case", ["fsync", "QR"])
def test_a_wait_for_what_cannot_be_interrupted_ends(case: str, tmp_path: Any) -> None:
    done = run_python("-c", WAITS, case, str(tmp_path), str(patient(20)))
    assert done.stdout.splitlines() == ["interrupted", "ended"], (case, done)


PACKING = """
import signal, time
import numpy as np
import dwconv

channels = 1 << 14
layer = dwconv.DepthwiseConv2D(64, use_bias=False, weights=[np.ones((64, 64, channels, 1), "f4")])
layer.build((1, 64, 64, channels))
spec = dwconv.ops.ConvSpec((64, 64), (1, 1), "valid", (1, 1), 1)
pack = lambda: dwconv.ops.make_plan(spec, (1, 64, 64, channels), layer.kernel, None)
during = []
# Signals and limits count CPU time, which other processes do not spend: one of 5 ms is heard
# within 30 ms, and half of them may be late.
signal.signal(signal.SIGPROF, lambda *_: during.append(1))
pack()
start = time.process_time()
signal.setitimer(signal.ITIMER_PROF, 0.005, 0.005)
pack()
signal.setitimer(signal.ITIMER_PROF, 0)
whole = time.process_time() - start
assert len(during) >= max(1, int(whole / 0.03 / 2)), (len(during), whole)

def stop(*_):
    raise KeyboardInterrupt

signal.signal(signal.SIGPROF, stop)
signal.setitimer(signal.ITIMER_PROF, 0.002)
try:
    pack()
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.slow
def test_packing_of_a_large_kernel_ends_on_ctrl_c() -> None:
    done = run_python("-c", PACKING)
    assert done.stdout == "interrupted\n", done
