"""Whatever an object says of itself, no byte outside of its memory is read or written."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support import ROOT, assert_same_bits, run_python, slow
from support.layers import draw

from dwconv import DepthwiseConv2D

SCRIPT = str(ROOT / "tests" / "support" / "guests.py")


@pytest.mark.parametrize("seed", [0, *slow(1)])
def test_everything_public_with_guests(seed: int) -> None:
    done = run_python(SCRIPT, str(seed), "4000")
    last = "\n".join(done.stdout.splitlines()[-1:])
    assert done.returncode == 0, f"exit status {done.returncode} in: {last}\n{done.stderr}"
    assert "were taken" in last


# ---- held until the kernel ends ------------------------------------------------------------------

#: Gives back the memory of x, or of out, while a call uses it: in a handler of a signal, which runs
#: in the midst of the call. The signal comes after some CPU time, of which the call takes far more;
#: the call touches every page of both.
TAKEN_AWAY = """
import signal, sys
import numpy as np
import dwconv

form, which = sys.argv[1:]
shape = (1, 1200, 1200, 16)
plan = dwconv.DepthwiseConv2D(25, padding="same").plan(shape)
bytes_ = int(np.prod(shape)) * 4
outcome = []

def make():
    if form == "memoryview":
        owner = bytearray(bytes_)
        view = memoryview(owner).cast("f", shape)
        def give_back():
            view.release()
            owner.clear()
        return view, give_back
    array = np.zeros(shape, np.float32)
    view = array[...] if form == "view" else array
    if form == "subclass":
        view = array.view(type("Subclass", (np.ndarray,), {}))
    return view, lambda: array.resize((1,), refcheck=False)

guest, give_back = make()
other = np.zeros(shape, np.float32)

def meanwhile(*_):
    try:
        give_back()
        outcome.append("given back")
    except (BufferError, ValueError):
        outcome.append("refused")

signal.signal(signal.SIGPROF, meanwhile)
arguments = (guest, other) if which == "x" else (other, guest)
signal.setitimer(signal.ITIMER_PROF, 0.03)
plan.run(*arguments)
print(*outcome)
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="a timer of CPU time")
@pytest.mark.parametrize("which", ["x", "out"])
@pytest.mark.parametrize("form", ["memoryview", "array", *slow("view", "subclass")])
def test_memory_is_not_given_back_while_a_kernel_uses_it(form: str, which: str) -> None:
    done = run_python("-c", TAKEN_AWAY, form, which)
    assert (done.returncode, done.stdout) == (0, "refused\n"), (form, which, done)


def test_memory_may_be_given_back_afterwards() -> None:
    plan = DepthwiseConv2D(3, padding="same").plan((1, 40, 40, 16))
    x, out = np.zeros((1, 40, 40, 16), np.float32), np.zeros((1, 40, 40, 16), np.float32)
    plan.run(x, out)
    plan(x, out)
    x.resize((1,), refcheck=False)
    out.resize((1,), refcheck=False)


# ---- plan.run ------------------------------------------------------------------------------------


def test_run_refuses_arrays_that_overlap() -> None:
    x = draw(2, 9, 11, 8)
    plan = DepthwiseConv2D(3, padding="same").plan(x.shape)
    memory = np.zeros(x.size + 8, np.float32)
    early, late = memory[:-8].reshape(x.shape), memory[8:].reshape(x.shape)
    runs: list[Callable[[Any, Any], Any]] = [
        plan.run,
        lambda a, b: plan.run_part(a, b, 0, 1),
        lambda a, b: plan.run(memoryview(a), memoryview(b)),
        plan,
    ]
    for run in runs:
        for a, b in ((x, x), (early, late), (late, early), (x, x[...])):
            before = a.copy()
            with pytest.raises(ValueError, match=r"^out: expected an array apart from x"):
                run(a, b)
            assert_same_bits(a, before, "untouched")


def test_run_takes_what_has_the_buffer_protocol() -> None:
    x = draw(1, 5, 6, 4)
    plan = DepthwiseConv2D(3, padding="same").plan(x.shape)
    expected = plan(x)
    owner = bytearray(expected.nbytes)
    out = memoryview(owner).cast("f", expected.shape)
    assert plan.run(memoryview(x), out) is out
    assert_same_bits(np.frombuffer(owner, np.float32).reshape(x.shape), expected, "bytearray")


@pytest.mark.parametrize("argument", ["x", "out"])
def test_messages_of_run_name_the_argument(argument: str) -> None:
    x = draw(1, 6, 6, 4)
    plan = DepthwiseConv2D(3, padding="same").plan(x.shape)
    frozen: NDArray[Any] = x.copy()
    frozen.flags.writeable = False
    wide = np.ones((1, 6, 6, 8), np.float32)
    for wrong, kind, message in (
        (x.astype("f8"), TypeError, "expected dtype float32; received dtype float64"),
        (x.astype(">f4"), TypeError, "expected dtype float32; received dtype >f4"),
        (x[0], ValueError, r"expected shape \(1, 6, 6, 4\); received shape \(6, 6, 4\)"),
        (wide[..., ::2], ValueError, "expected a C-contiguous array; received strides"),
        (np.asfortranarray(draw(1, 6, 6, 4)), ValueError, "expected a C-contiguous array"),
        (x.tolist(), TypeError, "expected a NumPy array or another object with the buffer"),
        (b"1234", ValueError, "expected shape"),
        (frozen, ValueError, "expected a writable array; received a read-only one"),
    ):
        if wrong is frozen and argument == "x":
            continue
        pair = (wrong, np.empty_like(x)) if argument == "x" else (x, wrong)
        with pytest.raises(kind, match=f"^{argument}: {message}"):
            plan.run(*pair)
        with pytest.raises(kind, match=f"^{argument}: {message}"):
            plan.run_part(*pair, 0, 1)
