"""The gradients as functions: against float64, and to the bit in the documented order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from support import FLOATS, Case, assert_close, assert_same_bits, gradient_reference, lanes
from support.gradient_reference import output_shape

import dwconv
from dwconv import isa as isas

Array = NDArray[Any]


def draw(case: Case) -> tuple[Array, Array, Array]:
    """x (N, H, W, C), kernel, dy (N, OH, OW, C*M), standard normal."""
    x, kernel, _ = replace(case, data_format="channels_last").arrays()
    dy = np.random.default_rng(case.seed + 1).standard_normal(output_shape(case))
    return x, kernel, dy.astype(case.dtype)


def gradients(
    case: Case, x: Array, kernel: Array, dy: Array, isa: str | None = None
) -> tuple[Array, Array, Array]:
    """(dx, dkernel, dbias) by the library for channels_last arrays, in the case's layout."""
    first = case.data_format == "channels_first"
    if first:
        x, dy = (array.transpose(0, 3, 1, 2) for array in (x, dy))
    options: Any = {
        "strides": case.strides,
        "padding": case.padding,
        "dilation_rate": case.dilation_rate,
        "data_format": case.data_format,
        "isa": isa,
    }
    dx = dwconv.depthwise_conv2d_input_grad(dy, kernel, x.shape, **options)
    dkernel = dwconv.depthwise_conv2d_kernel_grad(dy, x, kernel.shape, **options)
    dbias = dwconv.depthwise_conv2d_bias_grad(dy, data_format=case.data_format, isa=isa)
    assert dx.flags.c_contiguous
    return (dx.transpose(0, 2, 3, 1) if first else dx), dkernel, dbias


NAMES = ("dx", "dkernel", "dbias")

small = st.integers(1, 4)
margins = st.tuples(st.integers(0, 5), st.integers(0, 5))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Any convolution; channels around the lane counts, sizes around the tiles'."""
    # Half of them with the kernel widths and strides that have kernels of their own.
    common = draw(st.booleans())
    size, stride = draw(st.sampled_from([3, 5, 7])), draw(st.integers(1, 2))
    any_size = (draw(st.integers(1, 5)), draw(st.integers(1, 6)))
    return Case(
        size=(draw(st.integers(1, 8)), draw(st.integers(1, 20))),
        channels=draw(st.one_of(st.integers(1, 20), st.sampled_from([24, 31, 32, 33, 40]))),
        kernel_size=(draw(st.sampled_from([size, 1, 3])), size) if common else any_size,
        multiplier=draw(st.sampled_from([1, 1, 2, 3, 5])),
        strides=(draw(small), stride) if common else (draw(small), draw(small)),
        padding=draw(st.one_of(st.sampled_from(["valid", "same"]), st.tuples(margins, margins))),
        dilation_rate=(draw(st.integers(1, 3)), 1 if common else draw(st.integers(1, 4))),
        batch=draw(st.integers(0, 3)),
        data_format=draw(st.sampled_from(["channels_last", "channels_first"])),
        dtype=draw(st.sampled_from(FLOATS)),
        seed=draw(st.integers(0, 2**32 - 1)),
    )


@settings(max_examples=400)
@given(case=cases())
def test_against_float64(case: Case) -> None:
    """On every instruction set; the results are the same to the bit, too."""
    assume(all(output_shape(case)[1:]))
    x, kernel, dy = draw(case)
    expected = gradient_reference.in_float64(case, x, kernel, dy)
    limits = gradient_reference.bounds(case, x, kernel, dy)
    portable = gradients(case, x, kernel, dy, "portable")
    for isa in isas.available():
        found = gradients(case, x, kernel, dy, isa)
        for i, name in enumerate(NAMES):
            assert_close(found[i], expected[i], limits[i], (name, case, isa))
            assert_same_bits(found[i], portable[i], (name, case, isa))


def ordered_cases(isa: str, dtype: str) -> list[Case]:
    """Each kernel once: with whole blocks and an overlapping one, and with fewer channels than a
    vector has; a row of whole tiles, edges and a remainder.
    """
    many = lanes(isa, dtype) + 1
    found = []
    for width in (3, 5, 7):
        for stride in (1, 2):
            found.append(
                Case((5, 22), many, (2, width), 1, (1, stride), "same", batch=2, dtype=dtype)
            )
            found.append(Case((4, 13), many, (3, width), 2, (2, stride), "same", dtype=dtype))
    found += [
        Case((4, 9), 3, (3, 3), 1, padding="same", dtype=dtype, batch=2),
        Case((4, 9), 1, (2, 6), 3, (1, 3), padding=((0, 3), (4, 1)), dtype=dtype),
        Case((5, 12), many, (2, 3), 1, (2, 3), "same", (3, 2), dtype=dtype),
        Case((3, 5), many, (2, 2), 1, padding=((3, 2), (2, 4)), dtype=dtype),
        Case((5, 12), 2, (2, 5), 3, (1, 1), "same", (2, 2), dtype=dtype),
    ]
    return found


@pytest.mark.slow
def test_documented_order(isa: str, dtype: str) -> None:
    """To the bit on multiply-adds of rational arithmetic, which trust neither CPU nor library."""
    for case in ordered_cases(isa, dtype):
        x, kernel, dy = draw(case)
        expected = gradient_reference.in_order(case, x, kernel, dy)
        for name, found, wanted in zip(
            NAMES, gradients(case, x, kernel, dy, isa), expected, strict=True
        ):
            assert_same_bits(found, wanted, (name, case, isa))
