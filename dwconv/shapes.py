"""Sizes: checked arguments, padding and output shapes. Pure arithmetic, no arrays.

Shape letters: N batch, H height, W width, C input channels, M depth multiplier, kh/kw kernel
height/width, OH/OW output height/width. Every pair is (height, width).
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, cast

import numpy as np

INT64_MAX = 2**63 - 1

DataFormat: TypeAlias = Literal["channels_last", "channels_first"]
Pair: TypeAlias = tuple[int, int]
ExplicitPadding: TypeAlias = tuple[Pair, Pair]  # ((top, bottom), (left, right))
Padding: TypeAlias = Literal["valid", "same"] | ExplicitPadding
Size: TypeAlias = int | None  # None: not known yet


# ---- arguments -----------------------------------------------------------------------------------


def integer(value: Any, minimum: int) -> int | None:
    """`value` as an int from `minimum` to 2**63 - 1, or None if it is not one.

    Python and NumPy integers and whole floats (R sends 3.0) are integers; bools are not.
    """
    if isinstance(value, (bool, np.bool_)):
        return None
    if isinstance(value, (float, np.floating)):
        if not math.isfinite(value) or value != int(value):
            return None
        value = int(value)
    try:
        number = operator.index(value)
    except TypeError:
        return None
    return number if minimum <= number <= INT64_MAX else None


def _items(value: Any) -> Sequence[Any] | None:
    """The elements of a list, tuple, range or one-dimensional array; None for anything else."""
    if isinstance(value, np.ndarray):
        return list(value) if value.ndim == 1 else None
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray)):
        return value
    return None


def positive_int(value: Any, name: str) -> int:
    """`value` as an int of at least 1; `name` is the argument that the ValueError names."""
    number = integer(value, minimum=1)
    if number is None:
        raise ValueError(f"{name}: expected a positive integer below 2**63; received {value!r}")
    return number


def pair(value: Any, name: str) -> Pair:
    """An int or two ints, (height, width), as two ints of at least 1.

    NumPy integers and whole floats such as 3.0 are fine. ValueError, which names the argument
    `name` and the value, for anything else: bools, zero, negatives, other lengths, integers of more
    than 64 bits.
    """
    items = _items(value)
    parts = [value, value] if items is None else items
    numbers = [number for part in parts if (number := integer(part, minimum=1)) is not None]
    if len(parts) != 2 or len(numbers) != 2:
        raise ValueError(
            f"{name}: expected a positive integer or two, (height, width), below 2**63; "
            f"received {value!r}"
        )
    return numbers[0], numbers[1]


def normalize_padding(padding: Any, *, explicit: bool = True) -> Padding:
    """'valid' or 'same' in any case or, if `explicit`, ((top, bottom), (left, right)) of ints >= 0.

    ValueError for anything else.
    """
    if isinstance(padding, str) and padding.lower() in ("valid", "same"):
        return cast('Literal["valid", "same"]', padding.lower())
    if explicit:
        sides = [_items(side) for side in _items(padding) or ()]
        numbers = [
            number
            for side in sides
            for part in side or ()
            if (number := integer(part, minimum=0)) is not None
        ]
        if [len(side or ()) for side in sides] == [2, 2] and len(numbers) == 4:
            top, bottom, left, right = numbers
            return (top, bottom), (left, right)
    wanted = "'valid', 'same' or ((top, bottom), (left, right)) of integers >= 0 and below 2**63"
    if not explicit:
        wanted = "'valid' or 'same'"
    raise ValueError(f"padding: expected {wanted}; received {padding!r}")


def normalize_data_format(data_format: Any) -> DataFormat:
    """'channels_last' (N, H, W, C) or 'channels_first' (N, C, H, W), in any case.

    None means channels_last; the layer, for which it means what Keras is configured to, asks
    `config.image_data_format` instead. ValueError for anything else.
    """
    if data_format is None:
        return "channels_last"
    if isinstance(data_format, str) and data_format.lower() in ("channels_last", "channels_first"):
        return cast(DataFormat, data_format.lower())
    raise ValueError(
        f"data_format: expected 'channels_last', 'channels_first' or None; received {data_format!r}"
    )


# ---- sizes ---------------------------------------------------------------------------------------


def padding_amounts(
    size: int, kernel: int, stride: int, padding: str | Pair, dilation: int
) -> Pair:
    """Padding (before, after) of one dimension of `size` pixels.

    'same' is TensorFlow's (https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2):
    out = ceil(size / stride),
    total = max((out - 1) * stride + (kernel - 1) * dilation + 1 - size, 0),
    before = total // 2; the odd pixel comes after.
    """
    if padding == "valid":
        return 0, 0
    if padding == "same":
        out = -(-size // stride)
        total = max((out - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
        return total // 2, total - total // 2
    return cast(Pair, padding)


def explicit_padding(
    size: Pair, kernel_size: Pair, strides: Pair, padding: Padding, dilation_rate: Pair
) -> ExplicitPadding:
    """Any padding as ((top, bottom), (left, right)) for an input of `size` (H, W)."""
    vertical, horizontal = _per_dimension(padding)
    return (
        padding_amounts(size[0], kernel_size[0], strides[0], vertical, dilation_rate[0]),
        padding_amounts(size[1], kernel_size[1], strides[1], horizontal, dilation_rate[1]),
    )


def output_size(
    size: Size, kernel: int, stride: int, padding: str | Pair, dilation: int, name: str = "size"
) -> Size:
    """Output length of one dimension of `size` pixels; None for None.

    out = floor((before + size + after - ((kernel - 1) * dilation + 1)) / stride) + 1
    (Dumoulin and Visin, 'A guide to convolution arithmetic for deep learning', relationship 15).
    padding: 'valid', 'same' or (before, after); `name` is the dimension that the ValueError for an
    empty or negative output names.
    """
    if size is None:
        return None
    before, after = padding_amounts(size, kernel, stride, padding, dilation)
    reach = (kernel - 1) * dilation + 1
    if before + size + after < reach:
        dilated = (
            f"{kernel}" if dilation == 1 else f"{kernel} with dilation {dilation} (reaches {reach})"
        )
        raise ValueError(
            f"{name}: expected an input that, padded, is no smaller than the kernel of {dilated}; "
            f"received {size} with padding {(before, after)}, which makes an empty output"
        )
    return (before + size + after - reach) // stride + 1


def output_shape(
    input_shape: Sequence[Any],
    kernel_size: Any,
    strides: Any = 1,
    padding: Any = "valid",
    dilation_rate: Any = 1,
    depth_multiplier: Any = 1,
    data_format: Any = None,
) -> tuple[Size, Size, Size, Size]:
    """Shape of the output for an input (N, H, W, C), or (N, C, H, W) if channels_first.

    N, H and W may be None, unknown, and are None in the output then. Returns (N, OH, OW, C*M), or
    (N, C*M, OH, OW). Raises ValueError for an argument that is none, for sizes that are not
    positive (N may be 0) and for an output that would be empty.
    """
    kernel_h, kernel_w = pair(kernel_size, "kernel_size")
    stride_h, stride_w = pair(strides, "strides")
    dilation_h, dilation_w = pair(dilation_rate, "dilation_rate")
    multiplier = positive_int(depth_multiplier, "depth_multiplier")
    vertical, horizontal = _per_dimension(normalize_padding(padding))
    first = normalize_data_format(data_format) == "channels_first"

    batch, height, width, channels = _input_sizes(input_shape, first)
    out_h = output_size(height, kernel_h, stride_h, vertical, dilation_h, "height")
    out_w = output_size(width, kernel_w, stride_w, horizontal, dilation_w, "width")
    if first:
        return batch, channels * multiplier, out_h, out_w
    return batch, out_h, out_w, channels * multiplier


def _per_dimension(padding: Padding) -> tuple[str | Pair, str | Pair]:
    return (padding, padding) if isinstance(padding, str) else padding


def _input_sizes(input_shape: Any, channels_first: bool) -> tuple[Size, Size, Size, int]:
    """(N, H, W, C) of a shape in either layout."""
    letters = "(N, C, H, W)" if channels_first else "(N, H, W, C)"
    sizes = _items(input_shape)
    if sizes is None or len(sizes) != 4:
        raise ValueError(f"input_shape: expected four sizes, {letters}; received {input_shape!r}")
    batch, height, width, channels = [
        sizes[i] for i in ((0, 2, 3, 1) if channels_first else (0, 1, 2, 3))
    ]
    known: list[Size] = []
    for name, size, minimum in (("batch", batch, 0), ("height", height, 1), ("width", width, 1)):
        number = None if size is None else integer(size, minimum)
        if size is not None and number is None:
            raise ValueError(
                f"input_shape: expected the {name} in {letters} to be None or an integer "
                f">= {minimum}; received {input_shape!r}"
            )
        known.append(number)
    channel_count = integer(channels, minimum=1)
    if channel_count is None:
        raise ValueError(
            f"input_shape: expected the channels in {letters} to be a positive integer; "
            f"received {input_shape!r}"
        )
    return known[0], known[1], known[2], channel_count
