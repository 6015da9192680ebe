"""What Flax's modules and ours write differently: kernels, pairs and padding."""

from __future__ import annotations

from typing import Any

from ..arguments import ExplicitPadding, Pair, read_pair


def to_depthwise(kernel: Any, channels: int) -> Any:
    """(kh, kw, C, M) of a kernel (kh, kw, 1, C*M) of a Flax `Conv` with feature_group_count=C."""
    kernel_h, kernel_w, _, features = kernel.shape
    return kernel.reshape(kernel_h, kernel_w, channels, features // channels)


def pair(name: str, value: Any) -> Pair:
    """(height, width) of an int or two."""
    return read_pair(name, value if isinstance(value, int) else tuple(value))


def explicit_padding(padding: Any) -> str | ExplicitPadding:
    """'same', 'valid' or ((top, bottom), (left, right)) of what Flax's `Conv` takes: a name, an
    int, two, or two pairs. ValueError for 'CIRCULAR', 'CAUSAL' and anything else.
    """
    if isinstance(padding, str):
        if padding.lower() in ("same", "valid"):
            return padding.lower()
        raise ValueError(f"padding: expected 'SAME', 'VALID' or pixels; received {padding!r}")
    sides = (padding, padding) if isinstance(padding, int) else tuple(padding)
    pairs = tuple((side, side) if isinstance(side, int) else tuple(side) for side in sides)
    if len(pairs) != 2 or any(len(side) != 2 for side in pairs):
        raise ValueError(
            f"padding: expected an int, two, or two pairs of ints; received {padding!r}"
        )
    (top, bottom), (left, right) = pairs
    return (top, bottom), (left, right)
