"""The operation against the reference over random sizes and options, with derived tolerances."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support import FLOATS, Case, assert_close, assert_same_bits, tolerance

import dwconv
from dwconv import isa as isas

Draw = st.DrawFn

small = st.integers(1, 4)
margins = st.tuples(st.integers(0, 4), st.integers(0, 4))


@st.composite
def cases(draw: Draw) -> Case:
    """Any convolution; channels around the lane counts, sizes around the tiles'."""
    # Half of them with the kernel sizes and strides that have kernels of their own.
    common = draw(st.booleans())
    stride = draw(st.integers(1, 2))
    return Case(
        size=(draw(st.integers(1, 14)), draw(st.integers(1, 14))),
        channels=draw(st.one_of(st.integers(1, 20), st.sampled_from([24, 31, 32, 33, 40]))),
        kernel_size=(3, 3) if common else (draw(st.integers(1, 5)), draw(st.integers(1, 5))),
        multiplier=1 if common else draw(small),
        strides=(stride, stride) if common else (draw(small), draw(small)),
        padding=draw(st.one_of(st.sampled_from(["valid", "same"]), st.tuples(margins, margins))),
        dilation_rate=(draw(st.integers(1, 3)), draw(st.integers(1, 3))),
        batch=draw(st.integers(0, 2)),
        data_format=draw(st.sampled_from(["channels_last", "channels_first"])),
        activation=draw(st.sampled_from([None, "relu", "relu6"])),
        bias=draw(st.booleans()),
        dtype=draw(st.sampled_from(FLOATS)),
        seed=draw(st.integers(0, 2**32 - 1)),
    )


def fits(case: Case) -> bool:
    """Whether the output has a pixel at all."""
    (top, bottom), (left, right) = ((0, 0), (0, 0)) if case.padding == "valid" else case.padding
    reach = [(k - 1) * d + 1 for k, d in zip(case.kernel_size, case.dilation_rate, strict=True)]
    return top + case.size[0] + bottom >= reach[0] and left + case.size[1] + right >= reach[1]


@st.composite
def too_small(draw: Draw) -> Case:
    """A convolution whose kernel reaches beyond the padded image, along one axis at least."""
    case = draw(cases())
    axis, kernel = draw(st.integers(0, 1)), draw(st.integers(2, 5))
    beyond = (kernel - 1) * case.dilation_rate[axis]  # one less than the kernel's reach
    size = draw(st.integers(1, beyond))
    before = draw(st.integers(0, beyond - size))
    along = before, draw(st.integers(0, beyond - size - before))
    across = draw(margins)

    def with_axis(pair: tuple[Any, Any], value: Any) -> tuple[Any, Any]:
        return (value, pair[1]) if axis == 0 else (pair[0], value)

    return replace(
        case,
        size=with_axis(case.size, size),
        kernel_size=with_axis(case.kernel_size, kernel),
        padding=draw(st.sampled_from(["valid", with_axis((across, across), along)])),
    )


@pytest.mark.slow
@settings(max_examples=600)
@given(case=cases())
def test_against_the_reference(case: Case) -> None:
    """On every instruction set; the results are the same to the bit, too."""
    assume(case.padding == "same" or fits(case))
    x, kernel, bias = case.arrays()
    expected = dwconv.reference.depthwise_conv2d(x, kernel, bias, **case.options())
    bound = tolerance(x, kernel, bias, **case.options())
    results = {
        isa: dwconv.depthwise_conv2d(x, kernel, bias, isa=isa, **case.options())
        for isa in isas.available()
    }
    for isa, y in results.items():
        assert_close(y, expected, bound, (case, isa))
        assert_same_bits(y, results["portable"], (case, isa))


@settings(max_examples=100)
@given(case=too_small())
def test_empty_outputs_are_refused(case: Case) -> None:
    assert not fits(case)
    with pytest.raises(ValueError, match=r"^(height|width): .*empty output"):
        dwconv.depthwise_conv2d(*case.arrays(), **case.options())


@settings(max_examples=60)
@given(case=cases(), factor=st.sampled_from([-2.0, 0.5, 4.0]))
def test_linear(case: Case, factor: float) -> None:
    """Powers of two scale without rounding: the result scales to the bit."""
    assume(case.padding == "same" or fits(case))
    x, kernel, _ = case.arrays()
    options: dict[str, Any] = {**case.options(), "activation": None}
    y = dwconv.depthwise_conv2d(x, kernel, **options)
    scaled = dwconv.depthwise_conv2d(x * x.dtype.type(factor), kernel, **options)
    assert np.array_equal(scaled, y * y.dtype.type(factor)), case
