"""Checked arguments and output sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dwconv import reference, shapes
from dwconv.arguments import read_data_format, read_padding, read_pair, read_positive_int
from dwconv.ops import ConvSpec


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, (3, 3)),
        ((1, 2), (1, 2)),
        ([1, 2], (1, 2)),
        (3.0, (3, 3)),
        ([3.0, 2.0], (3, 2)),
        (np.int8(5), (5, 5)),
        (np.float32(4), (4, 4)),
        (np.uint64(7), (7, 7)),
        (np.array([2, 3], np.int16), (2, 3)),
        (np.array([2.0, 3.0]), (2, 3)),
        (np.array(6), (6, 6)),
        (range(1, 3), (1, 2)),
        (2**63 - 1, (2**63 - 1, 2**63 - 1)),
    ],
)
def test_pair(value: Any, expected: tuple[int, int]) -> None:
    result = read_pair("strides", value)
    assert result == expected
    assert [type(number) for number in result] == [int, int]


NOT_PAIRS: list[Any] = [
    *(True, False, np.True_, (True, 1), 0, -1, (3, 0), (0, 3), (-1, 2), 0.0),
    *(1.5, (1, 2.5), float("nan"), float("inf"), -float("inf"), 1e300, 2**63, (1, 2**70), -(2**70)),
    *((), [1], (1, 2, 3), "3", "33", b"33", None, (None, None), {1, 2}, {1: 2, 3: 4}, 1j),
    *(((1, 2), (3, 4)), np.ones((2, 2), int), np.array([1.5, 2]), np.array([], int), Ellipsis),
]


@pytest.mark.parametrize("value", NOT_PAIRS, ids=repr)
def test_pair_refuses(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^kernel_size: expected ") as caught:
        read_pair("kernel_size", value)
    assert str(caught.value).endswith(f"received {value!r}")


@pytest.mark.parametrize("value", [2, 2.0, np.int64(2), np.float16(2)])
def test_positive_int(value: Any) -> None:
    assert read_positive_int("depth_multiplier", value) == 2


@pytest.mark.parametrize("value", [True, 0, -2, 1.5, "2", None, [2], (1, 1), 2**63], ids=repr)
def test_positive_int_refuses(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^depth_multiplier: expected "):
        read_positive_int("depth_multiplier", value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("valid", "valid"),
        ("VALID", "valid"),
        ("Same", "same"),
        (((0, 1), (2, 3)), ((0, 1), (2, 3))),
        ([[0, 1.0], (np.int32(2), 3)], ((0, 1), (2, 3))),
    ],
)
def test_padding(value: Any, expected: Any) -> None:
    assert read_padding(value) == expected


NOT_PADDINGS: list[Any] = [
    *(
        "causal",
        "",
        None,
        True,
        -1,
        (1, -1),
        (1,),
        ((1, 1),),
        ((1, 1), (1,)),
        ((1, 1, 1), (1,)),
        ("valid", "same"),
    ),
    *(((0, -1), (0, 0)), ((0, 0), (0, 0.5)), ((0, 0), (0, True)), ((0, 0), (0, 2**63))),
    ((0, 0), (0, 0), (0, 0)),
]


@pytest.mark.parametrize("value", NOT_PADDINGS, ids=repr)
def test_padding_refuses(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^padding: expected ") as caught:
        read_padding(value)
    assert str(caught.value).endswith(f"received {value!r}")


@pytest.mark.parametrize(
    ("value", "pixels"),
    [
        (0, ((0, 0), (0, 0))),
        (np.int64(1), ((1, 1), (1, 1))),
        (2.0, ((2, 2), (2, 2))),
        ((1, 2), ((1, 1), (2, 2))),
        ([1, (2, 3)], ((1, 1), (2, 3))),
        ([[0, 1], [2, 3]], ((0, 1), (2, 3))),
    ],
)
def test_padding_in_pixels(value: Any, pixels: Any) -> None:
    assert read_padding(value) == pixels


def test_padding_of_rank_1() -> None:
    assert read_padding("CAUSAL", 1) == "causal"
    assert read_padding(2, 1) == ((0, 0), (2, 2))
    assert read_padding([3, 0], 1) == ((0, 0), (3, 0))
    for wrong in (((0, 0), (1, 1)), (1, 2, 3), -1, True, "full"):
        with pytest.raises(ValueError, match="padding: expected 'valid', 'same', 'causal', an"):
            read_padding(wrong, 1)


@pytest.mark.parametrize("value", [None, "channels_last", "Channels_Last"])
def test_data_format_last(value: Any) -> None:
    assert read_data_format(value) == "channels_last"


def test_data_format_first() -> None:
    assert read_data_format("CHANNELS_FIRST") == "channels_first"


@pytest.mark.parametrize("value", ["NHWC", "", 1, ("channels_last",)])
def test_data_format_refuses(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^data_format: expected "):
        read_data_format(value)


def test_same_puts_the_odd_pixel_after() -> None:
    """An even size, kernel 3, stride 2: (0, 1) as in TensorFlow, not (1, 1) as in PyTorch."""
    assert shapes.padding_amounts(8, 3, 2, "same", 1) == (0, 1)
    assert shapes.padding_amounts(7, 3, 2, "same", 1) == (1, 1)
    assert shapes.padding_amounts(8, 3, 1, "same", 1) == (1, 1)
    assert shapes.padding_amounts(8, 4, 1, "same", 1) == (1, 2)
    assert shapes.padding_amounts(8, 3, 1, "same", 4) == (4, 4)
    assert shapes.padding_amounts(5, 1, 3, "same", 1) == (0, 0)  # never negative


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (((None, 28, 28, 3), 3, 1, "same"), (None, 28, 28, 3)),
        (((2, 28, 28, 3), 3, 2, "valid"), (2, 13, 13, 3)),
        (((2, 28, 27, 3), (3, 5), (2, 1), "valid"), (2, 13, 23, 3)),
        (((2, None, 27, 3), 3, 1, "valid", 2), (2, None, 23, 3)),
        (((2, 8, 9, 3), 3, 1, "valid", 1, 4), (2, 6, 7, 12)),
        (((2, 3, 8, 9), 3, 1, "valid", 1, 4, "channels_first"), (2, 12, 6, 7)),
        (((None, 3, None, None), 3, 1, "same", 1, 2, "channels_first"), (None, 6, None, None)),
        (((0, 4, 4, 1), 4), (0, 1, 1, 1)),
        (((1, 4, 4, 1), 2, 1, ((1, 2), (3, 4))), (1, 6, 10, 1)),
    ],
)
def test_output_shape(arguments: tuple[Any, ...], expected: tuple[int | None, ...]) -> None:
    shape, *options = arguments
    spec = ConvSpec.read(*options)
    assert spec.output_shape(spec.read_input_shape("x", shape)) == expected


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((1, 4, 4), {}, "^x: expected an input of rank 4, .N, H, W, C."),
        (4, {}, "^x: .*expected a sequence of sizes; received 4"),
        ((1, 0, 4, 3), {}, "^x: expected height and width in"),
        ((1, 4, -1, 3), {}, "^x: .*>= 0 or None; received -1"),
        ((-1, 4, 4, 3), {}, "^x: .*>= 0 or None; received -1"),
        ((1, 4, 4, None), {}, "^x: expected a known number of channels"),
        ((1, 4, 4, 0), {}, "^x: expected at least one channel"),
        ((1, 2, 4, 3), {}, "^height: .*which makes an empty output"),
        ((1, 4, 2, 3), {}, "^width: .*which makes an empty output"),
        ((1, 4, 4, 3), {"dilation_rate": 2}, r"^height: .*3 with dilation 2 \(reaches 5\)"),
        ((1, 4, 4, 3), {"dilation_rate": 2**62}, "^height: "),
        ((1, 4, 4, 3), {"strides": 0}, "^strides: "),
        ((1, 4, 4, 3), {"depth_multiplier": 0}, "^depth_multiplier: "),
    ],
)
def test_output_shape_refuses(shape: Any, options: dict[str, Any], message: str) -> None:
    def output_shape() -> Any:
        spec = ConvSpec.read(3, **options)
        return spec.output_shape(spec.read_input_shape("x", shape))

    with pytest.raises(ValueError, match=message):
        output_shape()


@given(
    size=st.integers(1, 40),
    kernel=st.integers(1, 6),
    stride=st.integers(1, 6),
    dilation=st.integers(1, 5),
    padding=st.one_of(
        st.sampled_from(["valid", "same"]), st.tuples(st.integers(0, 9), st.integers(0, 9))
    ),
)
def test_sizes_by_counting(
    size: int, kernel: int, stride: int, dilation: int, padding: Any
) -> None:
    """As many outputs as the window has places; SAME is the least padding for its number."""
    before, after = shapes.padding_amounts(size, kernel, stride, padding, dilation)
    reach = (kernel - 1) * dilation + 1
    places = len(range(0, before + size + after - reach + 1, stride))
    if places == 0:
        with pytest.raises(ValueError, match="empty output"):
            shapes.output_size(size, kernel, stride, padding, dilation)
        return
    assert shapes.output_size(size, kernel, stride, padding, dilation) == places
    if padding == "same":
        assert places == -(-size // stride)
        assert after - before in (0, 1)
        assert before + size + after == max((places - 1) * stride + reach, size)


@given(
    shape=st.tuples(st.integers(0, 2), st.integers(1, 9), st.integers(1, 9), st.integers(1, 3)),
    kernel_size=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilation_rate=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    padding=st.sampled_from(["valid", "same", ((1, 0), (2, 3))]),
    multiplier=st.integers(1, 3),
)
def test_output_shape_is_the_references(
    shape: tuple[int, ...],
    kernel_size: tuple[int, int],
    strides: tuple[int, int],
    dilation_rate: tuple[int, int],
    padding: Any,
    multiplier: int,
) -> None:
    x, kernel = np.zeros(shape), np.zeros((*kernel_size, shape[3], multiplier))
    options: dict[str, Any] = {
        "strides": strides,
        "padding": padding,
        "dilation_rate": dilation_rate,
    }
    spec = ConvSpec.read(kernel_size, **options, depth_multiplier=multiplier)
    try:
        expected = reference.depthwise_conv2d(x, kernel, **options).shape
    except ValueError:
        with pytest.raises(ValueError, match="empty output"):
            spec.output_shape(shape)
        return
    assert spec.output_shape(shape) == expected
