"""Quantized convolutions against NumPy integers, to the bit, with every kernel."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support import ROOT, assert_same_bits, run_python
from support.quantized import KERNELS, Quantized, bytes_of

import dwconv
from dwconv import _core

Array = NDArray[Any]

SHAPES = [
    # The kernels of one size: rows in pairs and one left over, narrow images, edges of any width.
    Quantized((1, 1)),
    Quantized((1, 2)),
    Quantized((2, 1)),
    Quantized((6, 9), x_dtype="uint8", x_zero_point=0, y_zero_point=-128, activation="relu"),
    Quantized((7, 8), batch=2, y_dtype="uint8", activation="relu6", y_zero_point=0),
    Quantized((5, 7), padding="valid", bias=False),
    Quantized((4, 5), padding=((0, 3), (4, 1)), x_zero_point=-128),
    Quantized((8, 10), strides=(2, 2), x_zero_point=127),
    Quantized((7, 9), strides=(2, 2), x_dtype="uint8", x_zero_point=255, y_zero_point=127),
    Quantized((9, 11), strides=(2, 2), padding="valid", y_dtype="uint8", y_zero_point=255),
    Quantized((6, 7), kernel_size=(5, 5)),
    Quantized((9, 10), kernel_size=(5, 5), strides=(2, 2), x_dtype="uint8"),
    # The general kernel.
    Quantized((5, 9), kernel_size=(1, 1), padding="valid"),
    Quantized((5, 9), kernel_size=(2, 4)),
    Quantized((9, 8), kernel_size=(7, 7)),
    Quantized((9, 5), kernel_size=(9, 2), padding="valid"),
    Quantized((7, 6), kernel_size=(5, 2), strides=(3, 1), padding=((2, 1), (0, 2))),
    Quantized((9, 10), dilation_rate=(2, 3), x_dtype="uint8", x_zero_point=130),
    Quantized((2, 2), kernel_size=(2, 2), padding=((4, 4), (5, 3))),  # whole windows of padding
    Quantized((4, 5), multiplier=2),
    Quantized((4, 5), multiplier=3, strides=(2, 2), batch=2),
    # Results beyond bytes, beyond int32, and beyond the first digits of float32.
    Quantized((5, 6), size_of_y=30, y_zero_point=-128),
    Quantized((5, 6), size_of_y=1e9, y_dtype="uint8", y_zero_point=17),
    Quantized((5, 6), size_of_y=1e35, extreme=True),
    Quantized((5, 6), size_of_y=1e-42),
    Quantized((6, 7), extreme=True, x_zero_point=127),
    Quantized((6, 7), extreme=True, x_zero_point=-128, size_of_y=0.003),
    Quantized((6, 7), extreme=True, x_dtype="uint8", x_zero_point=0, size_of_y=0.003),
    Quantized((8, 9), extreme=True, strides=(2, 2), x_dtype="uint8", x_zero_point=255),
]


def cases(width: int) -> Iterator[Quantized]:
    """Each shape for blocks of every kind: a part of a vector, whole ones, one that begins earlier;
    the sized kernels for every tail.
    """
    for shape in SHAPES:
        for channels in (1, width - 1, width, 2 * width + 3):
            yield replace(shape, channels=channels, seed=channels)
    for shape in (Quantized((3, 4)), Quantized((3, 4), strides=(2, 2), y_dtype="uint8")):
        for channels in range(1, width + 2):
            yield replace(shape, channels=channels, seed=channels)


@pytest.mark.parametrize(("isa", "kernels"), KERNELS)
def test_to_the_bit(isa: str, kernels: str) -> None:
    """As NumPy's integers, to the bit."""
    for case in cases(bytes_of(kernels)):
        plan = case.plan(isa, kernels)
        assert plan.kernels == kernels
        assert_same_bits(plan(case.arrays()[0]), case.expected(), (case, isa, kernels))


def test_every_usable_kernel_is_found() -> None:
    """Each instruction set has kernels for bytes; the portable ones need nothing."""
    assert {isa for isa, _ in KERNELS} == set(_core.available_isas())
    assert ("portable", "portable") in KERNELS


@pytest.mark.parametrize("isa", _core.available_isas())
def test_the_function(isa: str) -> None:
    case = Quantized((9, 11), channels=70, batch=2, activation="relu6", y_dtype="uint8")
    x, kernel, bias, scale = case.arrays()
    y = dwconv.quantized_depthwise_conv2d(
        x, kernel, bias, kernel_scale=scale, isa=isa, **case.options()
    )
    assert_same_bits(y, case.expected(), (case, isa))


@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize("batch", [0, 1, 3])
def test_threads(rows: int, batch: int) -> None:
    """The bits of one thread, from any number of them, for work that is worth several."""
    case = Quantized((rows, 60), channels=200, batch=batch, kernel_size=(3, 3))
    x, expected = case.arrays()[0], case.expected()
    for isa, kernels in KERNELS:
        plan = case.plan(isa, kernels)
        for threads in (2, 3, 8):
            assert_same_bits(plan(x, num_threads=threads), expected, (case, kernels, threads))


def test_a_plan_for_any_batch() -> None:
    case = Quantized((4, 5), channels=40, batch=3)
    x, plan = case.arrays()[0], case.plan("portable", None)
    for batch in (0, 1, 3):
        assert_same_bits(plan(x[:batch]), case.expected()[:batch], (case, batch))


def test_ties_are_rounded_to_even() -> None:
    """sum / 2 for each sum: .5 goes to the even neighbour, below zero, too."""
    sums = np.arange(-9, 10, dtype=np.int8)
    for isa in _core.available_isas():
        y = dwconv.quantized_depthwise_conv2d(
            sums.reshape(1, 1, -1, 1),
            np.ones((1, 1, 1, 1), np.int8),
            x_scale=1,
            x_zero_point=0,
            kernel_scale=0.5,
            y_scale=1,
            y_zero_point=np.int8(1),
            isa=isa,
        )
        expected = [-4, -4, -4, -3, -2, -2, -2, -1, 0, 0, 0, 1, 2, 2, 2, 3, 4, 4, 4]
        assert (y.ravel() - 1).tolist() == expected, isa


def test_sums_are_modulo_2_to_the_32() -> None:
    for isa in _core.available_isas():
        y = dwconv.quantized_depthwise_conv2d(
            np.full((1, 1, 1, 1), 100, np.int8),
            np.full((1, 1, 1, 1), 100, np.int8),
            np.array([2**31 - 1], np.int32),
            x_scale=1,
            x_zero_point=0,
            kernel_scale=2.0**-28,
            y_scale=1,
            y_zero_point=np.int8(0),
            isa=isa,
        )
        assert y.item() == -8, isa  # (2**31 - 1 + 10000 - 2**32) / 2**28


# ---- arguments -----------------------------------------------------------------------------------

GOOD: dict[str, Any] = {
    "x": np.zeros((1, 4, 4, 2), np.int8),
    "kernel": np.zeros((3, 3, 2, 1), np.int8),
    "bias": np.zeros(2, np.int32),
    "x_scale": 1.0,
    "x_zero_point": 0,
    "kernel_scale": [1.0, 2.0],
    "y_scale": 1.0,
    "y_zero_point": np.int8(0),
}


def call(**changes: Any) -> Array:
    arguments = {**GOOD, **changes}
    x, kernel = arguments.pop("x"), arguments.pop("kernel")
    return dwconv.quantized_depthwise_conv2d(x, kernel, **arguments)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"x": np.zeros((1, 4, 4, 2))}, TypeError, "^x: expected dtype int8 or uint8; received fl"),
        ({"x": np.zeros((4, 4, 2), np.int8)}, ValueError, "^x: expected rank 4"),
        ({"kernel": np.zeros((3, 3, 2, 1), np.uint8)}, TypeError, "^kernel: expected dtype int8"),
        ({"kernel": np.zeros((3, 3, 3, 1), np.int8), "kernel_scale": 1}, ValueError, "^kernel: "),
        ({"kernel": np.zeros((5, 3, 2, 1), np.int8)}, ValueError, "height"),
        ({"bias": np.zeros(2)}, TypeError, "^bias: expected dtype int32; received float64"),
        ({"bias": np.zeros(3, np.int32)}, ValueError, "^bias: expected shape"),
        ({"x_scale": 0.0}, ValueError, "^x_scale: expected positive"),
        ({"x_scale": float("nan")}, ValueError, "^x_scale: expected positive"),
        ({"y_scale": [1.0, 2.0]}, ValueError, "^y_scale: expected a positive number"),
        ({"y_scale": 1e-60}, ValueError, "^y_scale: expected positive numbers within float32"),
        ({"kernel_scale": [1.0, 2.0, 3.0]}, ValueError, "^kernel_scale: .* an array of 2"),
        ({"kernel_scale": [1.0, -2.0]}, ValueError, "^kernel_scale: expected positive"),
        ({"x_scale": 1e30, "y_scale": 1e-30}, ValueError, "^kernel_scale: expected x_scale"),
        ({"x_zero_point": 128}, ValueError, "^x_zero_point: expected an integer from -128 to 127"),
        ({"y_zero_point": -129}, ValueError, "^y_zero_point: expected an integer from -128 to 127"),
        ({"y_zero_point": 0.5}, ValueError, "^y_zero_point: expected an integer"),
        ({"activation": "gelu"}, ValueError, "^activation: expected None or one of"),
        ({"padding": "causal"}, ValueError, "^padding: "),
        ({"isa": "none"}, ValueError, "isa"),
        ({"num_threads": 0}, ValueError, "^num_threads: "),
        ({"out": np.zeros((1, 2, 2, 2), np.uint8)}, TypeError, "^out: expected dtype int8"),
        ({"out": np.zeros((1, 2, 2, 3), np.int8)}, ValueError, "^out: expected shape"),
    ],
)
def test_bad_arguments(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call(**changes)


def test_the_dtype_of_y_is_that_of_its_zero_point() -> None:
    assert call(y_zero_point=np.uint8(3)).dtype == np.uint8
    assert call(y_zero_point=3).dtype == np.int8  # x's
    assert call(y_zero_point=np.int64(3)).dtype == np.int8


def test_out() -> None:
    out = np.full((1, 2, 2, 2), 9, np.int8)
    assert call(out=out, y_zero_point=np.int8(7)) is out
    assert (out == 7).all()
    x = np.zeros((1, 6, 6, 2), np.int8)
    with pytest.raises(ValueError, match=r"^out: expected an array apart from x"):
        call(x=x, out=x[:, :4].reshape(-1)[:32].reshape(1, 4, 4, 2))


def test_strided_arrays_and_others() -> None:
    case = Quantized((6, 7), channels=20)
    x, kernel, bias, scale = case.arrays()
    wide = np.zeros((1, 6, 14, 40), np.int8)
    wide[:, :, ::2, ::2] = x
    y = dwconv.quantized_depthwise_conv2d(
        wide[:, :, ::2, ::2], kernel[::-1][::-1], bias, kernel_scale=scale, **case.options()
    )
    assert_same_bits(y, case.expected(), case)


# ---- memory --------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="mprotect is POSIX")
@pytest.mark.parametrize(("isa", "kernels"), KERNELS)
def test_nothing_outside_is_touched(isa: str, kernels: str) -> None:
    """x and out between guard pages, at either end."""
    code = f"""
        import sys
        sys.path.append({str(ROOT / "tests" / "core")!r})
        import test_quantized
        test_quantized.check_guard_pages({isa!r}, {kernels!r})
    """
    done = run_python("-c", "\n".join(line.strip() for line in code.splitlines()))
    last = "\n".join(done.stdout.splitlines()[-1:])
    assert done.returncode == 0, f"exit status {done.returncode} in: {last}\n{done.stderr}"
    assert "at the end" in last  # it has run at all


def check_guard_pages(isa: str, kernels: str) -> None:
    from support.guard_pages import Room

    rooms = [Room(16), Room(32)]
    for case in cases(bytes_of(kernels)):
        x, plan = case.arrays()[0], case.plan(isa, kernels)
        expected = plan(x)
        for at_end in (False, True):
            print(case, kernels, "at the end" if at_end else "at the start", flush=True)
            placed = rooms[0].place(x, at_end, writable=False)
            out = rooms[1].place(np.zeros_like(expected), at_end, writable=True)
            plan(placed, out)
            assert_same_bits(out, expected, (case, kernels))
            assert rooms[1].margins_are_untouched(), (case, kernels)
