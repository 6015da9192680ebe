"""channels_first has kernels of its own: the bits of channels_last, from every instruction set."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from support import Case, assert_same_bits, lanes
from test_bits import special
from test_ops_properties import fits

import dwconv
from dwconv import _core, ops
from dwconv import isa as isas

Array = NDArray[Any]
Draw = st.DrawFn

DTYPES = ("float32", "float64", "int32")


def planar_kernels(isa: str) -> list[dict[str, Any]]:
    """The kernels of channels first with compile-time sizes."""
    listed = _core.kernels(isa, "float32")
    return [k for k in listed if k["family"] == "nchw" and k["variant"] == "plain"]


def sizes() -> list[tuple[int, int, int]]:
    """(kh, kw, stride) of these kernels of all instruction sets."""
    found = {
        (k["kernel_h"], k["kernel_w"], k["stride"]): None
        for isa in _core.ISA_NAMES
        for k in planar_kernels(isa)
    }
    return list(found)


def test_the_kernels_are_listed() -> None:
    assert sizes() == [(3, 3, 1), (3, 3, 2), (5, 5, 1), (5, 5, 2), (7, 7, 1), (7, 7, 2)]


def plan(case: Case, arrays: tuple[Array, Array, Array | None], isa: str, first: bool) -> Any:
    """A plan of the core for x (N, H, W, C), which takes it as it is or with channels first."""
    x, kernel, bias = arrays
    spec = replace(case, data_format="channels_first" if first else "channels_last").spec
    return ops.Plan(spec, spec.from_nhwc(*x.shape), kernel, bias, case.activation or "linear", isa)


def arrays_of(case: Case) -> tuple[Array, Array, Array | None]:
    """Numbers among which there are NaN, infinities, -0 and others that betray a wrong order."""
    dtype = "float64" if case.dtype == "int32" else case.dtype
    shape = (case.batch, *case.size, case.channels)
    x = special(shape, dtype, case.seed)
    kernel = special((*case.kernel_size, case.channels, case.multiplier), dtype, case.seed + 1)
    bias = special((case.channels * case.multiplier,), dtype, case.seed + 2) if case.bias else None
    if case.dtype != "int32":
        return x, kernel, bias
    rng = np.random.default_rng(case.seed)  # any bits: sums and products wrap
    ints = [rng.integers(-(2**31), 2**31, a.shape).astype("int32") for a in (x, kernel)]
    b = None if bias is None else rng.integers(-(2**31), 2**31, bias.shape).astype("int32")
    return ints[0], ints[1], b


def check(case: Case, isa_names: tuple[str, ...]) -> None:
    arrays = arrays_of(case)
    x = arrays[0]
    last = plan(case, arrays, "portable", first=False)
    expected = last(x, np.empty(last.y_shape, x.dtype)).transpose(0, 3, 1, 2)
    for isa in isa_names:
        made = plan(case, arrays, isa, first=True)
        y = made(np.ascontiguousarray(x.transpose(0, 3, 1, 2)), np.empty(made.y_shape, x.dtype))
        assert_same_bits(y, expected, (case, isa, made.kernel_name))


@st.composite
def cases(draw: Draw) -> Case:
    """Rows of up to two and a half vectors of the widest; half of them for the sized kernels."""
    sized = draw(st.booleans())
    kh, kw, stride = draw(st.sampled_from(sizes()))
    small = st.integers(1, 3)
    margin = st.tuples(st.integers(0, 9), st.integers(0, 9))
    dtype = draw(st.sampled_from(DTYPES))
    return Case(
        size=(draw(st.integers(1, 16)), draw(st.integers(1, 40 * stride))),
        channels=draw(small),
        kernel_size=(kh, kw) if sized else (draw(st.integers(1, 6)), draw(st.integers(1, 6))),
        multiplier=draw(small),
        strides=(stride, stride) if sized else (draw(small), draw(small)),
        padding=draw(
            st.one_of(st.sampled_from(["valid", "same", "same"]), st.tuples(margin, margin))
        ),
        dilation_rate=(draw(small), draw(small)) if not sized or stride == 1 else (1, 1),
        batch=draw(st.integers(0, 2)),
        activation=draw(st.sampled_from([None, "relu", "relu6"] + ["silu"] * (dtype != "int32"))),
        bias=draw(st.booleans()),
        dtype=dtype,
        seed=draw(st.integers(0, 2**32 - 4)),
    )


@settings(max_examples=500)
@given(case=cases())
def test_as_channels_last(case: Case) -> None:
    assume(case.padding == "same" or fits(case))
    check(case, isas.available())


@pytest.mark.parametrize("dtype", DTYPES[:2])
def test_every_width(dtype: str, isa: str) -> None:
    """Of each sized kernel: one vector with lanes to spare, a full one, overlapping ones, several
    inner ones in a row; and rows of more than one band.
    """
    vector = lanes(isa, dtype)
    for number, (kh, kw, stride) in enumerate(sizes()):
        for out_w in (*range(1, vector + 3), 2 * vector, 3 * vector + 1, 5 * vector):
            height = 260 if out_w == 3 * vector + 1 else (kh + number) * stride
            case = Case(
                (height, out_w * stride),
                channels=2,
                kernel_size=(kh, kw),
                strides=(stride, stride),
                padding="same" if out_w % 2 else ((2, 3), (kw - 1, kw // 2)),
                dtype=dtype,
                seed=out_w,
            )
            check(case, (isa,))


def test_every_kernel_is_reached(isa: str) -> None:
    """By rows as wide as above: of AVX-512 also the one with narrow vectors."""
    names = set()
    for kh, kw, stride in sizes():
        for out_w in (5, 16):
            case = Case((9, out_w * stride), 1, (kh, kw), strides=(stride, stride), padding="same")
            names.add(plan(case, arrays_of(case), isa, first=True).kernel_name)
    expected = {kernel["name"] for kernel in planar_kernels(isa)}
    assert names == (expected or {"planar_general_portable"})


@pytest.mark.parametrize("weight", [np.nan, np.inf, -np.inf])
def test_padded_taps_are_skipped(weight: float, dtype: str, isa: str) -> None:
    """Weights that only ever meet padding do no harm, nor does a sum of -0 become +0."""
    for kernel_w, width in ((3, 1), (5, 2), (7, 3), (4, 1)):
        kernel = np.full((kernel_w, kernel_w, 1, 1), -1, dtype)
        kernel[:, [0, -1]] = weight
        x = np.zeros((1, 1, 9, width), dtype)
        bias = np.full(1, -0.0, dtype)
        y = dwconv.depthwise_conv2d(
            x, kernel, bias, padding="same", data_format="channels_first", isa=isa
        )
        assert_same_bits(y, np.full_like(x, -0.0), (kernel_w, width, isa))


def test_nothing_is_copied(isa: str) -> None:
    """A contiguous x goes to the core as it is, and the core writes to `out`: no transposing."""
    x = np.ones((1, 64, 40, 40), np.float32)
    kernel = np.ones((3, 3, 64, 1), np.float32)
    spec = ops.ConvSpec((3, 3), padding="same", data_format="channels_first")
    made = ops.make_plan(spec, x.shape, kernel, None, isa=isa)
    out = np.empty(made.y_shape, np.float32)
    tracemalloc.start()
    try:
        assert ops.run(made, x, dtype=x.dtype, out=out) is out
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < x.nbytes / 4, (peak, isa)
    assert out.max() == 9
