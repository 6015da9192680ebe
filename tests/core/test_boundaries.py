"""What lies beyond the edges: bits of np.pad and 'valid', values of SciPy, no copy of the input."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
import scipy.ndimage
from support import assert_same_bits

from dwconv import depthwise_conv2d
from dwconv.ops.boundaries import BoundaryMode

#: Ours -> np.pad's and SciPy's names for it.
NAMES: dict[str, tuple[str, str]] = {
    "zeros": ("constant", "constant"),
    "reflect": ("reflect", "mirror"),
    "mirror": ("reflect", "mirror"),
    "symmetric": ("symmetric", "reflect"),
    "nearest": ("edge", "nearest"),
    "edge": ("edge", "nearest"),
    "wrap": ("wrap", "wrap"),
}
MODES: Any = list(NAMES)

rng = np.random.default_rng(5)


def same_bits(found: Any, expected: Any) -> None:
    assert_same_bits(found, expected, f"seed 5, shape {np.shape(expected)}")


def test_every_mode_is_tested() -> None:
    assert sorted(NAMES) == sorted(get_args(BoundaryMode))


def padded(x: Any, amounts: Any, mode: str, data_format: str) -> Any:
    sides = [(0, 0), *amounts, (0, 0)]
    if data_format == "channels_first":
        sides = [(0, 0), (0, 0), *amounts]
    return np.pad(x, sides, mode=NAMES[mode][0])  # type: ignore[call-overload]


# Odd and even kernels, strides, dilation; padding wider than the image, which goes around twice;
# images of one row, without an output that lies inside, and large enough for one.
CASES: list[tuple[tuple[int, int], tuple[int, int], int, int, Any]] = [
    ((9, 8), (3, 3), 1, 1, ((1, 1), (1, 1))),
    ((9, 8), (5, 4), 2, 1, ((2, 3), (1, 0))),
    ((12, 11), (3, 3), 1, 3, ((3, 2), (0, 4))),
    ((2, 3), (3, 3), 1, 1, ((7, 8), (9, 5))),
    ((1, 6), (3, 3), 1, 1, ((1, 1), (2, 2))),
    ((4, 1), (5, 1), 3, 1, ((2, 2), (0, 0))),
    ((5, 6), (3, 3), 1, 1, ((0, 0), (0, 0))),
]


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize(("size", "kernel_size", "strides", "dilation", "amounts"), CASES)
@pytest.mark.parametrize("mode", MODES)
def test_the_bits_of_np_pad_and_valid(
    mode: Any,
    size: tuple[int, int],
    kernel_size: tuple[int, int],
    strides: int,
    dilation: int,
    amounts: Any,
    data_format: Any,
) -> None:
    shape = (2, *size, 5) if data_format == "channels_last" else (2, 5, *size)
    x = rng.standard_normal(shape).astype("float32")
    kernel = rng.standard_normal((*kernel_size, 5, 2)).astype("float32")
    bias = rng.standard_normal(10).astype("float32")
    common: dict[str, Any] = {
        "strides": strides,
        "dilation_rate": dilation,
        "data_format": data_format,
        "activation": "relu6",
    }
    before = x.copy()
    y = depthwise_conv2d(x, kernel, bias, padding=amounts, mode=mode, **common)
    expected = depthwise_conv2d(padded(x, amounts, mode, data_format), kernel, bias, **common)
    if mode == "zeros":  # whose taps are skipped: np.pad's zeros may turn -0 into 0
        np.testing.assert_array_equal(y, expected)
    else:
        same_bits(y, expected)
    out = np.full((*expected.shape[:-1], 2 * expected.shape[-1]), 7, "float32")[..., ::2]
    assert depthwise_conv2d(x, kernel, bias, padding=amounts, mode=mode, out=out, **common) is out
    np.testing.assert_array_equal(out, y)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("size", [(7, 9), (1, 1), (2, 5)])
@pytest.mark.parametrize("mode", MODES)
def test_the_values_of_scipy(mode: Any, size: tuple[int, int]) -> None:
    """SciPy's correlate puts the middle of an odd kernel on each pixel: 'same' at stride 1."""
    x, kernel = rng.standard_normal((1, *size, 3)), rng.standard_normal((3, 5, 3, 1))
    y = depthwise_conv2d(x, kernel, padding="same", mode=mode)
    for c in range(3):
        expected = scipy.ndimage.correlate(
            x[0, :, :, c], kernel[:, :, c, 0], mode=NAMES[mode][1], cval=0.0
        )
        bound = 17 * np.finfo(np.float64).eps * np.abs(kernel[..., c, 0]).sum() * np.abs(x).max()
        np.testing.assert_allclose(y[0, :, :, c], expected, rtol=0, atol=bound)


@pytest.mark.parametrize("dtype", ["float16", "float64", "int32"])
def test_dtypes_and_activations_of_the_whole_output(dtype: str) -> None:
    """A function is called once, with all of the output; float16 is rounded once."""
    x = rng.integers(-9, 9, (2, 6, 7, 4)).astype(dtype)
    kernel = rng.integers(-9, 9, (3, 3, 4, 1)).astype(dtype)
    sides = ((1, 1), (1, 1))
    wide = padded(x, sides, "wrap", "channels_last")
    calls = []

    def halved(y: Any) -> Any:
        calls.append(y.shape)
        return y // 2

    for activation in (None, "relu", halved, *(["softmax", "glu"] if dtype != "int32" else [])):
        calls.clear()
        y = depthwise_conv2d(x, kernel, padding=1, mode="wrap", activation=activation)
        assert len(calls) == (activation is halved)
        same_bits(y, depthwise_conv2d(wide, kernel, activation=activation))


def test_only_bands_are_copied() -> None:
    """Traced: the largest array that is allocated besides the output is a band."""
    import tracemalloc

    x, kernel = np.ones((1, 400, 500, 8), np.float32), np.ones((3, 3, 8, 1), np.float32)
    out = np.empty_like(x)
    depthwise_conv2d(x, kernel, padding=1, mode="reflect", out=out)
    tracemalloc.start()
    depthwise_conv2d(x, kernel, padding=1, mode="reflect", out=out)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    band = 3 * 502 * 8 * 4
    assert peak < 8 * band < x.nbytes // 10
    assert (out == 9).all()


def test_wrong_modes() -> None:
    x, kernel = np.ones((1, 4, 4, 1), np.float32), np.ones((3, 3, 1, 1), np.float32)
    for wrong in ("constant", "REFLECT", None, 1, ["wrap"]):
        with pytest.raises(ValueError, match="mode: expected one of 'zeros'"):
            depthwise_conv2d(x, kernel, mode=wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="shares memory"):
        depthwise_conv2d(x, kernel, padding="same", mode="wrap", out=x)
