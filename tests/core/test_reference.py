"""The reference against SciPy, against nested loops, and against figures worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import signal  # type: ignore[import-untyped,unused-ignore]
from support import Case, assert_close, tolerance

from dwconv import reference


def by_loops(
    x: NDArray[Any], kernel: NDArray[Any], bias: Any, strides: Any, pads: Any, dilation: Any
) -> NDArray[Any]:
    """Straight from the definition, on Python floats."""
    count, height, width, channels = x.shape
    kernel_h, kernel_w, _, multiplier = kernel.shape
    (top, bottom), (left, right) = pads
    rows = range(-top, height + bottom - (kernel_h - 1) * dilation[0], strides[0])
    columns = range(-left, width + right - (kernel_w - 1) * dilation[1], strides[1])
    y = np.zeros((count, len(rows), len(columns), channels * multiplier))
    for n, i, j, oc in np.ndindex(*y.shape):
        total = 0.0 if bias is None else float(bias[oc])
        c, m = divmod(oc, multiplier)
        for ki, kj in np.ndindex(kernel_h, kernel_w):
            h, w = rows[i] + ki * dilation[0], columns[j] + kj * dilation[1]
            if 0 <= h < height and 0 <= w < width:
                total += float(x[n, h, w, c]) * float(kernel[ki, kj, c, m])
        y[n, i, j, oc] = total
    return y


@pytest.mark.parametrize(
    "case",
    [
        Case(dtype="float64"),
        Case(batch=2, strides=(2, 1), multiplier=2, dtype="float64"),
        Case((7, 9), 2, (2, 4), strides=(1, 3), dilation_rate=(2, 1), dtype="float64"),
        Case(padding=((1, 0), (3, 2)), strides=(2, 2), dilation_rate=(2, 3), dtype="float64"),
        Case(kernel_size=(2, 1), padding=((9, 9), (0, 0)), dtype="float64"),  # windows of padding
        Case((1, 1), kernel_size=(1, 1), bias=False, dtype="float64"),
        Case((1, 2), 2, (3, 5), multiplier=3, padding=((1, 1), (2, 2)), dtype="float64"),
    ],
    ids=repr,
)
def test_loops(case: Case) -> None:
    x, kernel, bias = case.arrays()
    pads = ((0, 0), (0, 0)) if case.padding == "valid" else case.padding
    expected = by_loops(x, kernel, bias, case.strides, pads, case.dilation_rate)
    actual = reference.depthwise_conv2d(x, kernel, bias, **case.options())
    assert_close(actual, expected, tolerance(x, kernel, bias, **case.options()), case)


@pytest.mark.parametrize("kernel_size", [(1, 1), (3, 3), (2, 5), (4, 4)])
@pytest.mark.parametrize("padding", ["valid", "same"])
def test_scipy(kernel_size: tuple[int, int], padding: str) -> None:
    """SciPy's own 'same' puts an even kernel's odd pixel before: padded here by hand."""
    case = Case((8, 9), 2, kernel_size, 2, padding=padding, bias=False, dtype="float64")
    x, kernel, _ = case.arrays()
    padded = x[0]
    if padding == "same":
        padded = np.pad(x[0], [((k - 1) // 2, k // 2) for k in kernel_size] + [(0, 0)])
    actual = reference.depthwise_conv2d(x, kernel, padding=padding)
    bound = tolerance(x, kernel, None, padding=padding)
    for c, m in np.ndindex(2, 2):
        expected = signal.correlate2d(padded[..., c], kernel[:, :, c, m], mode="valid")
        assert_close(actual[0, :, :, c * 2 + m], expected, bound[0, :, :, c * 2 + m], case)


def test_strides_and_dilation_with_scipy() -> None:
    """A stride takes every s-th output; a dilated kernel has zeros between its taps."""
    case = Case((11, 12), 1, (3, 2), strides=(2, 3), dilation_rate=(2, 3), dtype="float64")
    x, kernel, _ = case.arrays()
    spread = np.zeros((5, 4))
    spread[::2, ::3] = kernel[:, :, 0, 0]
    expected = signal.correlate2d(x[0, :, :, 0], spread, mode="valid")[::2, ::3]
    actual = reference.depthwise_conv2d(x, kernel, **case.options())
    bound = tolerance(x, kernel, None, **case.options())
    assert_close(actual[0, :, :, 0], expected, bound[0, :, :, 0], case)


def test_by_hand() -> None:
    """1..9; a kernel that takes its upper left tap once and its lower right one ten times."""
    x = np.arange(1.0, 10).reshape(1, 3, 3, 1)
    kernel = np.array([[1.0, 0], [0, 10]]).reshape(2, 2, 1, 1)
    assert reference.depthwise_conv2d(x, kernel)[0, :, :, 0].tolist() == [[51, 62], [84, 95]]
    # SAME, size 3, kernel 2, stride 2: two outputs, one pixel of padding, after.
    y = reference.depthwise_conv2d(x, kernel, [0.5], strides=2, padding="Same")
    assert y[0, :, :, 0].tolist() == [[51.5, 3.5], [7.5, 9.5]]


def test_output_channel_is_c_times_m_plus_m() -> None:
    x = np.array([1.0, 10]).reshape(1, 1, 1, 2)
    kernel = np.array([[1.0, 2, 3], [4, 5, 6]]).reshape(1, 1, 2, 3)
    assert reference.depthwise_conv2d(x, kernel).ravel().tolist() == [1, 2, 3, 40, 50, 60]


def test_channels_first() -> None:
    case = Case(batch=2, multiplier=2, padding="same", strides=(2, 1))
    x, kernel, bias = case.arrays()
    options = {**case.options(), "data_format": "channels_first"}
    first = reference.depthwise_conv2d(x.transpose(0, 3, 1, 2), kernel, bias, **options)
    last = reference.depthwise_conv2d(x, kernel, bias, **case.options())
    assert np.array_equal(first, last.transpose(0, 3, 1, 2))


@pytest.mark.parametrize("weight", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("padding", ["same", ((1, 1), (1, 1))])
def test_padded_taps_add_nothing(weight: float, padding: Any) -> None:
    """The upper kernel row touches no pixel in the first output row."""
    x, kernel = np.ones((1, 4, 4, 1)), np.ones((3, 3, 1, 1))
    kernel[0] = weight
    y = reference.depthwise_conv2d(x, kernel, padding=padding)[0, :, :, 0]
    assert y[0].tolist() == [4, 6, 6, 4]
    assert not np.isfinite(y[1:]).any()


def test_activations() -> None:
    x = np.array([-np.inf, -1, -0.0, 3, 7, np.nan]).reshape(1, 1, 6, 1)

    def run(activation: Any) -> NDArray[Any]:
        kernel = np.ones((1, 1, 1, 1))
        return reference.depthwise_conv2d(x, kernel, activation=activation).ravel()

    assert np.array_equal(run(None), x.ravel(), equal_nan=True)
    assert np.array_equal(run("linear"), x.ravel(), equal_nan=True)
    assert np.array_equal(run("ReLU"), [0, 0, 0, 3, 7, np.nan], equal_nan=True)
    assert np.array_equal(run("relu6"), [0, 0, 0, 3, 6, np.nan], equal_nan=True)
    assert np.array_equal(run(lambda y: y * 2), 2 * x.ravel(), equal_nan=True)


def test_float64_inside() -> None:
    """float32 sums would lose the one."""
    x = np.array([2.0**30, 1, -(2.0**30)], np.float32).reshape(1, 1, 3, 1)
    y = reference.depthwise_conv2d(x, np.ones((1, 3, 1, 1), np.float32))
    assert y.dtype == np.float64
    assert y.item() == 1.0


@pytest.mark.parametrize("which", ["x", "kernel", "bias"])
@pytest.mark.parametrize("bad", [np.complex64(1j), "1", None, np.datetime64(1, "s")])
def test_what_holds_no_real_numbers(which: str, bad: Any) -> None:
    arguments = {"x": np.ones((1, 4, 4, 2)), "kernel": np.ones((3, 3, 2, 1)), "bias": np.ones(2)}
    arguments[which] = np.full(arguments[which].shape, bad)
    with pytest.raises(TypeError, match=f"^{which}: expected an array of floats or integers"):
        reference.depthwise_conv2d(**arguments)


@pytest.mark.parametrize("integer", [np.uint8, np.uint64, np.int32, float, np.float16, np.array])
def test_integers_of_any_kind(integer: Any) -> None:
    x, kernel = np.arange(24.0).reshape(1, 4, 6, 1), np.arange(6.0).reshape(2, 3, 1, 1)
    plain: Any = {"strides": (1, 2), "padding": ((1, 0), (2, 1)), "dilation_rate": 2}
    other: Any = {
        "strides": (integer(1), integer(2)),
        "padding": ((integer(1), integer(0)), (integer(2), integer(1))),
        "dilation_rate": integer(2),
    }
    wanted = reference.depthwise_conv2d(x, kernel, **plain)
    np.testing.assert_array_equal(reference.depthwise_conv2d(x, kernel, **other), wanted)
    for bad in (True, 1.5, "1", np.nan):
        with pytest.raises(ValueError, match=r"^strides: expected an integer"):
            reference.depthwise_conv2d(x, kernel, strides=bad)
        with pytest.raises(ValueError, match=r"^padding: expected an integer"):
            reference.depthwise_conv2d(x, kernel, padding=((bad, 0), (0, 0)))


def test_empty_batch() -> None:
    y = reference.depthwise_conv2d(np.ones((0, 4, 5, 2)), np.ones((3, 3, 2, 3)), np.ones(6))
    assert y.shape == (0, 2, 3, 6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": np.ones((4, 4, 2))}, "rank 4"),
        ({"kernel": np.ones((3, 3, 2))}, "rank 4"),
        ({"kernel": np.ones((3, 3, 3, 1))}, "as many channels"),
        ({"kernel": np.ones((0, 3, 2, 1))}, "no size 0"),
        ({"x": np.ones((1, 0, 4, 2))}, "no size 0"),
        ({"bias": np.ones(3)}, "bias of shape"),
        ({"kernel": np.ones((5, 5, 2, 1))}, "holds the dilated kernel"),
        ({"strides": 0}, "^strides"),
        ({"dilation_rate": (1, -1)}, "^dilation_rate"),
        ({"padding": "full"}, "^padding"),
        ({"padding": ((0, -1), (0, 0))}, "^padding"),
        ({"data_format": "NHWC"}, "^data_format"),
        ({"activation": "gelu"}, "^activation"),
    ],
)
def test_refuses(change: dict[str, Any], message: str) -> None:
    arguments = {"x": np.ones((1, 4, 4, 2)), "kernel": np.ones((3, 3, 2, 1)), **change}
    with pytest.raises(ValueError, match=message):
        reference.depthwise_conv2d(**arguments)
