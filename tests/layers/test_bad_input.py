"""What is wrong gives the documented exception, which says what was expected; nothing changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import dwconv
from dwconv import _core
from dwconv.ops import ConvSpec, epilogue

Array = NDArray[Any]


def call(**change: Any) -> None:
    """A good call, x (1, 6, 7, 4), kernel (3, 3, 4, 2), bias (8,), out (1, 4, 5, 8), changed."""
    arguments: dict[str, Any] = {
        "x": np.ones((1, 6, 7, 4), np.float32),
        "kernel": np.ones((3, 3, 4, 2), np.float32),
        "bias": np.ones(8, np.float32),
        "out": np.full((1, 4, 5, 8), 7, np.float32),
        **change,
    }
    arrays = {name: value for name, value in arguments.items() if isinstance(value, np.ndarray)}
    copies = {name: array.copy() for name, array in arrays.items()}
    try:
        dwconv.depthwise_conv2d(**arguments)
    finally:
        for name, array in arrays.items():
            assert np.array_equal(array, copies[name]), f"{name} was written to"


def zeros(*shape: int) -> Array:
    return np.zeros(shape, np.float32)


def test_the_call_is_good() -> None:
    with pytest.raises(AssertionError, match="out was written to"):
        call()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        # Rank and shape.
        ({"x": zeros(6, 7, 4)}, r"^x: expected rank 4, \(N, H, W, C\); received shape \(6, 7, 4\)"),
        ({"x": zeros(1, 1, 6, 7, 4)}, "^x: expected rank 4"),
        ({"x": np.float32(1)}, r"^x: expected rank 4.*received shape \(\)"),
        ({"x": zeros(6, 7, 4), "data_format": "channels_first"}, r"rank 4, \(N, C, H, W\)"),
        ({"kernel": zeros(3, 3, 4)}, r"^kernel: expected shape .* received shape \(3, 3, 4\)"),
        ({"kernel": zeros(3, 3, 5, 2)}, "^kernel: expected shape .* C = 4, the channels of x"),
        ({"kernel": zeros(3, 3, 1, 2)}, "^kernel: expected shape"),
        (
            {"x": zeros(1, 4, 7, 6), "data_format": "channels_first", "kernel": zeros(3, 3, 6, 1)},
            "= 4",
        ),
        ({"bias": zeros(4)}, r"^bias: expected shape \(C\*M,\) = \(8,\); received shape \(4,\)"),
        ({"bias": zeros(8, 1)}, "^bias: expected shape"),
        ({"bias": np.float32(1)}, "^bias: expected shape"),
        # Zero sizes.
        ({"x": zeros(1, 0, 7, 4)}, "^x: expected positive sizes"),
        ({"x": zeros(1, 6, 0, 4)}, "^x: expected positive sizes"),
        ({"x": zeros(1, 6, 7, 0), "kernel": zeros(3, 3, 0, 2)}, "^x: expected positive sizes"),
        ({"x": zeros(0, 6, 0, 4)}, "^x: expected positive sizes"),
        ({"kernel": zeros(0, 3, 4, 2)}, "^kernel: expected shape .* positive sizes"),
        ({"kernel": zeros(3, 0, 4, 2)}, "^kernel: "),
        ({"kernel": zeros(3, 3, 4, 0), "bias": zeros(0)}, "^kernel: "),
        # Numbers.
        ({"strides": 0}, "^strides: expected .*; received 0"),
        ({"strides": (1, -1)}, "^strides: "),
        ({"strides": True}, "^strides: "),
        ({"strides": (1, 1, 1)}, "^strides: "),
        ({"strides": 1.5}, "^strides: "),
        ({"strides": None}, "^strides: "),
        ({"strides": 2**63}, "^strides: "),
        ({"dilation_rate": 0}, "^dilation_rate: "),
        ({"dilation_rate": (1, -(2**63))}, "^dilation_rate: "),
        ({"dilation_rate": 2**64}, "^dilation_rate: "),
        ({"padding": "full"}, "^padding: expected .*; received 'full'"),
        ({"padding": (1, -1)}, "^padding: "),
        ({"padding": ((0, 0), (0, -1))}, "^padding: "),
        ({"padding": ((0, 0), (0, 2**63))}, "^padding: "),
        ({"data_format": "NHWC"}, "^data_format: "),
        ({"activation": "no_such"}, "no_such"),
        ({"isa": "no_such"}, "^isa: "),
        # An output without a pixel.
        ({"kernel": zeros(7, 3, 4, 2)}, "^height: .* kernel of 7; received 6"),
        ({"kernel": zeros(3, 8, 4, 2)}, "^width: .* kernel of 8; received 7"),
        ({"dilation_rate": (3, 1)}, "^height: .* 3 with dilation 3"),
        ({"dilation_rate": 2**63 - 1}, "^height: "),
        ({"dilation_rate": (1, 2**62)}, "^width: "),
        ({"kernel": zeros(8, 3, 4, 2), "padding": ((1, 0), (0, 0))}, "^height: "),
    ],
)
def test_value_errors(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(**change)


@pytest.mark.parametrize("other", ["c8", "O", "U3", "S3", "M8[s]", "V4"])
@pytest.mark.parametrize("name", ["x", "kernel", "bias"])
def test_what_is_no_number(name: str, other: str) -> None:
    shape = {"x": (1, 6, 7, 4), "kernel": (3, 3, 4, 2), "bias": (8,)}[name]
    with pytest.raises(TypeError, match=f"^{name}: expected an array of floats or integers"):
        call(**{name: np.zeros(shape, other)})


def test_two_integers() -> None:
    with pytest.raises(TypeError, match="received x of uint8 and kernel of int64"):
        call(x=np.ones((1, 6, 7, 4), np.uint8), kernel=np.ones((3, 3, 4, 2), np.int64))


def test_ragged_lists() -> None:
    with pytest.raises(ValueError, match="inhomogeneous"):
        call(x=[[[[1.0], [2.0, 3.0]]]])


# ---- out -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape", [(1, 4, 5, 4), (4, 5, 8), (1, 8, 4, 5), (2, 4, 5, 8), (1, 4, 5, 8, 1), (0,), ()]
)
def test_out_of_another_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(
        ValueError, match=r"^out: expected shape \(1, 4, 5, 8\); received"
    ) as caught:
        call(out=np.full(shape, 7, np.float32))
    assert str(caught.value).endswith(f"received shape {shape}")


@pytest.mark.parametrize("other", ["float64", "float16", "int32", ">f4", "complex64", "object"])
def test_out_of_another_dtype(other: str) -> None:
    out = np.zeros((1, 4, 5, 8), other)
    with pytest.raises(TypeError, match=r"^out: expected dtype float32; received dtype") as caught:
        call(out=out)
    assert str(caught.value).endswith(other)


def test_out_read_only() -> None:
    out = np.full((1, 4, 5, 8), 7, np.float32)
    out.flags.writeable = False
    with pytest.raises(ValueError, match=r"^out: expected a writable array"):
        call(out=out)


def test_out_not_an_array() -> None:
    with pytest.raises(TypeError, match=r"^out: expected a NumPy array of shape .*list"):
        call(out=[[0.0]])


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_out_is_x(data_format: str) -> None:
    x, kernel = np.ones((1, 3, 3, 3), np.float32), np.ones((1, 1, 3, 1), np.float32)
    with pytest.raises(ValueError, match=r"^out: expected an array apart from x"):
        call(x=x, kernel=kernel, bias=None, out=x, data_format=data_format)


@pytest.mark.parametrize("name", ["x", "kernel", "bias"])
@pytest.mark.parametrize("place", ["first", "last", "all"])
def test_out_overlaps(name: str, place: str) -> None:
    """One element in common is enough, at either end of the array."""
    shape = {"x": (1, 6, 7, 4), "kernel": (3, 3, 4, 2), "bias": (8,)}[name]
    size, out_size = int(np.prod(shape)), 1 * 4 * 5 * 8
    memory = np.arange(600, dtype=np.float32)
    array = memory[200 : 200 + size].reshape(shape)
    start = {"first": 200 - out_size + 1, "last": 200 + size - 1, "all": 200}[place]
    out = memory[start : start + out_size].reshape(1, 4, 5, 8)
    with pytest.raises(ValueError, match=f"^out: expected an array apart from {name}"):
        call(**{name: array, "out": out})


def test_out_touches() -> None:
    """The neighbours on both sides are not an overlap."""
    memory = np.arange(600, dtype=np.float32)
    x = memory[200 : 200 + 168].reshape(1, 6, 7, 4)
    for start in (200 - 160, 200 + 168):
        out = memory[start : start + 160].reshape(1, 4, 5, 8)
        dwconv.depthwise_conv2d(x, np.zeros((3, 3, 4, 2), np.float32), out=out)
        assert (out == 0).all()
    assert np.array_equal(x.ravel(), np.arange(200, 368))


def test_out_overlaps_as_another_dtype() -> None:
    """Backwards, with gaps and as integers: it is the memory that counts."""
    memory = np.zeros((1, 6, 7, 8), np.float32)
    with pytest.raises(ValueError, match=r"^out: expected an array apart from x"):
        call(x=memory.view(np.int64)[:, ::-1], out=memory[:, :4, :5])


def test_an_overlap_too_hard_to_tell_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """NumPy's exact search is exponential: its work is bounded, an undecided pair refused."""
    memory = np.zeros(4000, np.float32)

    def view(start: int, *steps: int) -> Array:
        strides = [4 * step for step in steps]
        return np.lib.stride_tricks.as_strided(memory[start:], (3, 3, 3, 3), strides)

    x, out = view(0, 171, 77, 97, 216), view(5, 151, 102, 228, 118)
    kernel = np.ones((1, 1, 3, 1), np.float32)
    assert not np.shares_memory(x, out)
    dwconv.depthwise_conv2d(x, kernel, out=out)  # within the bound: found to be apart
    monkeypatch.setattr(epilogue, "_OVERLAP_WORK", 1)
    with pytest.raises(ValueError, match=r"^out: expected an array apart from x"):
        dwconv.depthwise_conv2d(x, kernel, out=out)


# ---- sizes beyond memory -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "padding",
    [
        ((2**40, 0), (0, 2**20)),  # 2**60 pixels of 32 bytes: more than 2**63 bytes
        ((2**61, 2**61), (0, 0)),
        ((2**63 - 1, 0), (0, 0)),
        ((2**62, 2**62), (2**62, 2**62)),  # the padded size itself overflows
        ((0, 2**46), (0, 0)),  # fits 64 bits, not the memory
    ],
)
def test_huge_padding(padding: Any, isa: str) -> None:
    with pytest.raises(MemoryError):
        call(padding=padding, out=None, isa=isa)


@pytest.mark.parametrize("batch", [0, 1])
def test_huge_strides_are_fine(batch: int, isa: str) -> None:
    """One output, or two with the padding in between: nothing overflows on the way to it."""
    x, kernel = zeros(batch, 5, 5, 9) + 1, zeros(3, 3, 9, 1) + 1
    y = dwconv.depthwise_conv2d(x, kernel, strides=2**63 - 1, isa=isa)
    assert np.array_equal(y, np.full((batch, 1, 1, 9), 9))
    y = dwconv.depthwise_conv2d(x, kernel, strides=(2**62, 2**40), padding="same", isa=isa)
    assert y.shape == (batch, 1, 1, 9)
    far = ((0, 2**62), (2**61, 0))
    y = dwconv.depthwise_conv2d(x, kernel, strides=(2**62, 2**61), padding=far, isa=isa)
    assert y.shape == (batch, 2, 2, 9)
    expected = zeros(batch, 2, 2, 9)
    expected[:, 0, 1] = 9
    assert np.array_equal(y, expected)


@pytest.mark.parametrize("kernel_size", [(1, 1), (3, 3)])
def test_huge_dilation(kernel_size: tuple[int, int], isa: str) -> None:
    """SAME pads for any dilation: only the middle tap meets a pixel."""
    x = np.arange(2 * 3 * 9, dtype=np.float32).reshape(1, 2, 3, 9)
    kernel = np.ones((*kernel_size, 9, 1), np.float32)
    y = dwconv.depthwise_conv2d(x, kernel, padding="same", dilation_rate=2**61 - 1, isa=isa)
    assert np.array_equal(y, x)


def test_huge_broadcast() -> None:
    """A few bytes that claim to be more than there is memory."""
    x = np.broadcast_to(np.float32(1), (1, 2**24, 2**24, 4))
    with pytest.raises(MemoryError):
        dwconv.depthwise_conv2d(x, np.ones((3, 3, 4, 1), np.float32))


# ---- the binding itself --------------------------------------------------------------------------


def plan_arguments(**change: Any) -> tuple[Any, ...]:
    good = {
        "x_shape": (1, 6, 7, 4),
        "kernel": np.ones((3, 3, 4, 2), np.float32),
        "bias": np.ones(8, np.float32),
        "activation": "linear",
        "isa": "portable",
    }
    geometry = {name: change.pop(name) for name in tuple(change) if name not in good}
    spec = ConvSpec(**{"kernel_size": (3, 3), "depth_multiplier": 2, **geometry})  # not checked
    return spec, *{**good, **change}.values()


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"x_shape": (1, 6, 7, 5)}, ValueError),
        ({"x_shape": (-1, 6, 7, 4)}, ValueError),
        ({"x_shape": (1, 0, 7, 4)}, ValueError),
        ({"x_shape": (1, 2, 7, 4)}, ValueError),
        ({"x_shape": (2**40, 2**20, 7, 4)}, MemoryError),
        ({"kernel": np.ones((3, 3, 4, 1), np.float32)}, ValueError),
        ({"kernel": np.ones((2, 3, 4, 2), np.float32)}, ValueError),
        (
            {
                "kernel": np.ones((3, 3, 4, 0), np.float32),
                "depth_multiplier": 0,
                "bias": None,
            },
            ValueError,
        ),
        ({"kernel": np.ones((0, 3, 4, 2), np.float32), "kernel_size": (0, 3)}, ValueError),
        ({"kernel": np.ones((3, 3, 4, 2), np.int32)}, TypeError),  # the bias is not
        ({"kernel": np.ones((3, 3, 4, 4), np.float32)[..., ::2]}, ValueError),
        ({"bias": np.ones(7, np.float32)}, ValueError),
        ({"bias": np.ones(8)}, TypeError),
        ({"strides": (0, 1)}, ValueError),
        ({"dilation_rate": (1, -1)}, ValueError),
        ({"padding": ((0, 0), (-1, 0))}, ValueError),
        ({"padding": ((2**62, 2**62), (0, 0))}, MemoryError),
        ({"strides": (2**63, 1)}, OverflowError),
        ({"activation": "softmax"}, KeyError),
        ({"isa": "sse9"}, ValueError),
    ],
)
def test_core_plan(change: dict[str, Any], error: type[Exception]) -> None:
    """The core checks by itself: what slips past Python's checks is an exception, never a crash."""
    _core.Plan(*plan_arguments())
    with pytest.raises(error):
        _core.Plan(*plan_arguments(**change))


def test_core_run() -> None:
    plan = _core.Plan(*plan_arguments())
    x, out = np.ones((1, 6, 7, 4), np.float32), np.full((1, 4, 5, 8), 7, np.float32)
    read_only = out.copy()
    read_only.flags.writeable = False
    for wrong_x, wrong_out in (
        (x.astype("f8"), out),
        (x, out.astype("f8")),
        (x[:, :, ::2], out),
        (x[:, :5], out),
        (x, out[:, :3]),
        (x[0], out),
        (x[:0], out),
        (x, read_only),
        (x.astype(x.dtype.newbyteorder()), out),
        (None, out),
    ):
        with pytest.raises((ValueError, TypeError)):
            plan(wrong_x, wrong_out)  # type: ignore[arg-type]
        assert (out == 7).all()
    plan(x, out)
    assert (out == 3 * 3 + 1).all()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "received None"),
        ({"a": 1}, "received a dict"),
        ("image.npy", r"received a str \(numpy.load reads a file\)"),
        (Path("image.npy"), r"received a PosixPath|a WindowsPath"),
        (b"123", "received a bytes"),
    ],
)
def test_what_is_no_array_is_named_by_its_type(value: Any, message: str) -> None:
    kernel = np.ones((3, 3, 1, 1))
    with pytest.raises(TypeError, match=f"^x: expected an array; {message}"):
        dwconv.depthwise_conv2d(value, kernel)
    with pytest.raises(TypeError, match=f"^x: expected an array; {message}"):
        dwconv.DepthwiseConv2D(3)(value)
