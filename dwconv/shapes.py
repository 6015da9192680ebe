"""Arithmetic of sizes: padding and outputs of one dimension. No arrays, no checks of arguments.

`dwconv.ops.spec.ConvSpec` puts two dimensions together. Every pair is (height, width).
"""

from __future__ import annotations

from typing import cast

from .arguments import ExplicitPadding, Padding, Pair, Size


def padding_amounts(
    size: int, kernel: int, stride: int, padding: str | Pair, dilation: int
) -> Pair:
    """Padding (before, after) of one dimension of `size` pixels.

    'causal' is all before: no output sees a later pixel. 'same' is TensorFlow's (https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2):
    out = ceil(size / stride),
    total = max((out - 1) * stride + (kernel - 1) * dilation + 1 - size, 0),
    before = total // 2; the odd pixel comes after.
    """
    if padding == "valid":
        return 0, 0
    if padding == "causal":
        return (kernel - 1) * dilation, 0
    if padding == "same":
        out = -(-size // stride)
        total = max((out - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
        return total // 2, total - total // 2
    return cast(Pair, padding)


def explicit_padding(
    size: Pair, kernel_size: Pair, strides: Pair, padding: Padding, dilation_rate: Pair
) -> ExplicitPadding:
    """Any padding as ((top, bottom), (left, right)) for an input of `size` (H, W)."""
    vertical, horizontal = per_dimension(padding)
    return (
        padding_amounts(size[0], kernel_size[0], strides[0], vertical, dilation_rate[0]),
        padding_amounts(size[1], kernel_size[1], strides[1], horizontal, dilation_rate[1]),
    )


def per_dimension(padding: Padding) -> tuple[str | Pair, str | Pair]:
    """The padding of the rows and of the columns."""
    return (padding, padding) if isinstance(padding, str) else padding


def output_size(
    size: Size, kernel: int, stride: int, padding: str | Pair, dilation: int, name: str = "size"
) -> Size:
    """Output length of one dimension of `size` pixels; None for None.

    out = floor((before + size + after - ((kernel - 1) * dilation + 1)) / stride) + 1
    (Dumoulin and Visin, 'A guide to convolution arithmetic for deep learning', relationship 15).
    padding: 'valid', 'same', 'causal' or (before, after). Raises ValueError, which names the
    dimension `name`, for an empty output.
    """
    if size is None:
        return None
    if padding == "same":
        return -(-size // stride)
    dilated = (kernel - 1) * dilation + 1
    before, after = padding_amounts(size, kernel, stride, padding, dilation)
    if before + size + after < dilated:
        text = str(kernel)
        if dilation != 1:
            text = f"{kernel} with dilation {dilation} (reaches {dilated})"
        raise ValueError(
            f"{name}: expected an input that, padded, is no smaller than the kernel of {text}; "
            f"received {size} with padding {(before, after)}, which makes an empty output"
        )
    return (before + size + after - dilated) // stride + 1
