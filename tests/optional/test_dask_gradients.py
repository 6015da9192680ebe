"""Gradients over Dask arrays have the bits of the functions, whatever the chunks."""

from __future__ import annotations

import numpy as np
import pytest

import dwconv

da = pytest.importorskip("dask.array")
hypothesis = pytest.importorskip("hypothesis")
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from support.chunked import cuts, outcome, problems, same_bits, values  # noqa: E402

import dwconv.dask as dwd  # noqa: E402

FLOATS = ["f4", "f8", "f2"]
try:
    from ml_dtypes import bfloat16
except ImportError:
    pass
else:
    FLOATS.append(bfloat16)


def drawn_dy(problem, dtype, data):
    """(dy, the same in chunks, rng) for a problem that has an output."""
    shape, kernel_shape, _, arguments, seed = problem
    rng = np.random.default_rng(seed)
    y, refusal = outcome(
        dwconv.depthwise_conv2d, np.zeros(shape, "f4"), np.zeros(kernel_shape, "f4"), **arguments
    )
    hypothesis.assume(refusal is None)
    dy = values(rng, y.shape, dtype)
    return dy, da.from_array(dy, chunks=tuple(data.draw(cuts(size)) for size in y.shape)), rng


@pytest.mark.slow
@settings(max_examples=30)
@given(problems(), st.sampled_from(FLOATS), st.data())
def test_kernel_and_bias(problem, dtype, data):
    shape, kernel_shape, chunks, arguments, _ = problem
    dy, lazy_dy, rng = drawn_dy(problem, dtype, data)
    x = values(rng, shape, dtype)
    expected = dwconv.depthwise_conv2d_kernel_grad(dy, x, kernel_shape, **arguments)
    lazy = dwd.depthwise_conv2d_kernel_grad(
        lazy_dy, da.from_array(x, chunks=chunks), kernel_shape, **arguments
    )
    same_bits(lazy.compute(scheduler="sync"), expected)
    layout = {"data_format": arguments["data_format"]}
    same_bits(
        dwd.depthwise_conv2d_bias_grad(lazy_dy, **layout).compute(scheduler="sync"),
        dwconv.depthwise_conv2d_bias_grad(dy, **layout),
    )


@pytest.mark.slow
@settings(max_examples=50)
@given(problems(), st.sampled_from(FLOATS), st.data())
def test_input(problem, dtype, data):
    shape, kernel_shape, _, arguments, _ = problem
    dy, lazy_dy, rng = drawn_dy(problem, dtype, data)
    kernel = values(rng, kernel_shape, dtype)
    asked = None
    if data.draw(st.booleans()):
        asked = tuple(data.draw(cuts(size)) for size in shape)
    lazy = dwd.depthwise_conv2d_input_grad(lazy_dy, kernel, shape, chunks=asked, **arguments)
    assert lazy.shape == shape
    expected = dwconv.depthwise_conv2d_input_grad(dy, kernel, shape, **arguments)
    same_bits(lazy.compute(scheduler="sync"), expected)


def test_reads_no_more_of_dy_than_its_pixels_lead_to():
    """Rows 16 to 31 of 64 under a 5x5 kernel: dy's rows 14 to 33."""
    dy = da.zeros((1, 64, 64, 2), chunks=(1, 16, 16, 2))
    dx = dwd.depthwise_conv2d_input_grad(dy, np.ones((5, 5, 2, 1)), dy.shape, padding="same")
    assert dx.chunks[1] == (16, 16, 16, 16)
    graph = dict(dx.dask.layers[dx.name])
    _, _, pieces = graph[dx.name, 0, 1, 0, 0]
    rows = {}
    for key in pieces:
        rows[key[2]] = graph[key][0].limits[1] if key[0] != dy.name else (0, 16)
    assert rows == {0: (14, 16), 1: (0, 16), 2: (0, 2)}


def test_kernel_gradient_flushes_denormal_sums_as_the_core_does():
    """Sums of images that cancel to a denormal number."""
    x = np.ones((2, 1, 1, 1), np.float32)
    dy = np.array([1.5, -1.25], np.float32).reshape(2, 1, 1, 1) * np.float32(2.0**-126)
    expected = dwconv.depthwise_conv2d_kernel_grad(dy, x, (1, 1, 1, 1))
    lazy = dwd.depthwise_conv2d_kernel_grad(
        da.from_array(dy, chunks=1), da.from_array(x, chunks=1), (1, 1, 1, 1)
    )
    same_bits(lazy.compute(scheduler="sync"), expected)


def test_no_images():
    dy, kernel = np.zeros((0, 4, 4, 2), "f4"), np.ones((3, 3, 2, 1), "f4")
    x = np.zeros((0, 6, 6, 2), "f4")
    lazy_dy, lazy_x = da.from_array(dy), da.from_array(x)
    for lazy, expected in (
        (
            dwd.depthwise_conv2d_kernel_grad(lazy_dy, lazy_x, kernel.shape),
            dwconv.depthwise_conv2d_kernel_grad(dy, x, kernel.shape),
        ),
        (dwd.depthwise_conv2d_bias_grad(lazy_dy), dwconv.depthwise_conv2d_bias_grad(dy)),
        (
            dwd.depthwise_conv2d_input_grad(lazy_dy, kernel, x.shape),
            dwconv.depthwise_conv2d_input_grad(dy, kernel, x.shape),
        ),
    ):
        same_bits(lazy.compute(scheduler="sync"), expected)


@pytest.mark.parametrize("wrong", ["shape", "integers", "rank"])
def test_errors_are_the_functions_when_the_graph_is_made(wrong):
    x, kernel = np.zeros((1, 6, 6, 2)), np.zeros((3, 3, 2, 1))
    dy = {
        "shape": np.zeros((1, 5, 4, 2)),
        "integers": np.zeros((1, 4, 4, 2), int),
        "rank": np.zeros((4, 4, 2)),
    }[wrong]
    lazy_dy, lazy_x = da.from_array(dy), da.from_array(x)
    calls = [
        ("depthwise_conv2d_kernel_grad", (dy, x, kernel.shape), (lazy_dy, lazy_x, kernel.shape)),
        ("depthwise_conv2d_input_grad", (dy, kernel, x.shape), (lazy_dy, kernel, x.shape)),
    ]
    if wrong != "shape":
        calls.append(("depthwise_conv2d_bias_grad", (dy,), (lazy_dy,)))
    for name, arguments, lazy in calls:
        with pytest.raises((TypeError, ValueError)) as expected:
            getattr(dwconv, name)(*arguments)
        with pytest.raises(expected.type) as raised:
            getattr(dwd, name)(*lazy)
        assert str(raised.value) == str(expected.value)
