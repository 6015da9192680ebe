"""ConvSpec: the geometry as one value."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dwconv.ops import ConvSpec

pairs = st.tuples(st.integers(1, 4), st.integers(1, 4))
specs = st.builds(
    ConvSpec,
    kernel_size=pairs,
    strides=pairs,
    padding=st.sampled_from(["valid", "same", ((1, 0), (2, 3))]),
    dilation_rate=pairs,
    depth_multiplier=st.integers(1, 3),
    data_format=st.sampled_from(["channels_last", "channels_first"]),
)
sizes = st.tuples(st.integers(0, 2), st.integers(13, 20), st.integers(13, 20), st.integers(1, 3))


def test_any_spelling_is_the_same_value() -> None:
    spec = ConvSpec.read(
        [3.0, np.int8(2)], np.array([1, 2]), "SAME", 2, np.float32(4), "Channels_First"
    )
    assert spec == ConvSpec((3, 2), (1, 2), "same", (2, 2), 4, "channels_first")
    assert hash(spec) == hash(ConvSpec((3, 2), (1, 2), "same", (2, 2), 4, "channels_first"))
    assert spec != ConvSpec((3, 2), (1, 2), "same", (2, 2), 4, "channels_last")
    with pytest.raises(FrozenInstanceError):
        spec.strides = (1, 1)  # type: ignore[misc]
    for again in (pickle.loads(pickle.dumps(spec)), copy.deepcopy(spec)):
        assert again == spec


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"kernel_size": 0}, "kernel_size"),
        ({"strides": "2"}, "strides"),
        ({"padding": "full"}, "padding"),
        ({"padding": ((1, 1), (1, -1))}, "padding"),
        ({"dilation_rate": (1, True)}, "dilation_rate"),
        ({"depth_multiplier": 1.5}, "depth_multiplier"),
        ({"data_format": "NHWC"}, "data_format"),
    ],
)
def test_messages_begin_with_the_argument(arguments: dict[str, Any], name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}: expected .*received"):
        ConvSpec.read(**{"kernel_size": 3, **arguments})


@pytest.mark.parametrize("shape", [(3, 3, 4), (3, 3, 4, 1, 1), (0, 3, 4, 1), (3, 3, 4, 0), ()])
def test_kernels_that_are_none(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"^kernel: expected shape \(kh, kw, C, M\)"):
        ConvSpec.for_kernel(shape)


@given(spec=specs, nhwc=sizes)
def test_layouts(spec: ConvSpec, nhwc: tuple[int, int, int, int]) -> None:
    """A whole shape in the layout, C in its place, and back."""
    shape = spec.from_nhwc(*nhwc)
    assert spec.to_nhwc(shape) == nhwc
    assert shape[spec.channel_axis] == nhwc[3]
    assert shape == (nhwc if not spec.channels_first else (nhwc[0], nhwc[3], nhwc[1], nhwc[2]))
    assert spec.letters.count(",") == 3
    assert spec.letters.strip("()").split(", ")[spec.channel_axis] == "C"


@given(spec=specs, nhwc=sizes)
def test_the_descriptor_agrees_with_the_output(
    spec: ConvSpec, nhwc: tuple[int, int, int, int]
) -> None:
    """What the C core is told makes the output that the spec says, by counting where the window
    fits.
    """
    shape = spec.from_nhwc(*nhwc)
    batch, height, width, channels, multiplier, *rest = spec.descriptor(shape)
    kernel, strides, dilation = rest[0:2], rest[2:4], rest[4:6]
    padding, first = (rest[6:8], rest[8:10]), rest[10]
    assert (batch, height, width, channels) == nhwc
    assert first == spec.channels_first
    assert spec.kernel_shape(channels) == (*kernel, channels, multiplier)
    out = [
        len(range(0, size + sum(sides) - (taps - 1) * step, stride))
        for size, sides, taps, step, stride in zip(
            (height, width), padding, kernel, dilation, strides, strict=True
        )
    ]
    assert spec.to_nhwc(spec.output_shape(shape)) == (batch, *out, channels * multiplier)


def test_sizes_that_are_not_known() -> None:
    spec = ConvSpec((3, 3), depth_multiplier=2)
    assert spec.output_shape((None, None, 5, 4)) == (None, None, 3, 8)
    assert spec.output_shape((None, 5, None, None)) == (None, 3, None, None)
