"""Activations that the core does not fuse, over Dask arrays: the bits of the function."""

from __future__ import annotations

import math

import numpy as np
import pytest

import dwconv
from dwconv import activations

da = pytest.importorskip("dask.array")
pytest.importorskip("hypothesis")
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from support.chunked import cuts, outcome, problems, same_bits, values  # noqa: E402

import dwconv.dask as dwd  # noqa: E402

BY_AXIS = ["softmax", "log_softmax", "sparsemax", "glu"]


def chunked(shape, dtype, chunks, seed=1):
    x = values(np.random.default_rng(seed), shape, dtype)
    return x, da.from_array(x, chunks=chunks)


@pytest.mark.parametrize("name", activations.names())
@pytest.mark.parametrize("dtype", ["f4", "f8", "f2"])
def test_every_activation(name, dtype):
    """More pixels than the 8192 that the activations' own loops take at a time."""
    activation = activations.get(name)
    if activation.name == "threshold":
        activation = activation.with_parameters(threshold=0.5, default_value=-1.0)
    x, lazy = chunked((2, 41, 61, 4), dtype, (1, 17, 23, 3))
    kernel = values(np.random.default_rng(2), (3, 3, 4, 1), dtype)
    expected = dwconv.depthwise_conv2d(x, kernel, padding="same", activation=activation)
    y = dwd.depthwise_conv2d(lazy, kernel, padding="same", activation=activation)
    assert y.shape == expected.shape
    same_bits(y.compute(scheduler="sync"), expected)


@pytest.mark.slow
@settings(max_examples=60)
@given(
    problems(),
    st.sampled_from(["f4", "f8"]),
    st.sampled_from(BY_AXIS),
    st.integers(-4, 3),
    st.data(),
)
def test_functions_of_an_axis(problem, dtype, name, axis, data):
    """Along any axis: chunks of one pixel must not be summed in another order than the whole."""
    shape, kernel_shape, chunks, arguments, seed = problem
    rng = np.random.default_rng(seed)
    x, kernel = values(rng, shape, dtype), values(rng, kernel_shape, dtype)
    activation = activations.get(name).with_parameters(axis=axis)
    lazy = da.from_array(x, chunks=chunks)
    expected, refusal = outcome(
        dwconv.depthwise_conv2d, x, kernel, activation=activation, **arguments
    )
    if refusal is not None:
        received = outcome(dwd.depthwise_conv2d, lazy, kernel, activation=activation, **arguments)
        assert received == (None, refusal)
        return
    asked = None
    if data.draw(st.booleans()):
        channel_axis = 1 if arguments["data_format"] == "channels_first" else 3
        asked = tuple(
            (size,) if i in (axis % 4, channel_axis) else data.draw(cuts(size))
            for i, size in enumerate(expected.shape)
        )
    y = dwd.depthwise_conv2d(lazy, kernel, activation=activation, chunks=asked, **arguments)
    same_bits(y.compute(scheduler="sync"), expected)


def test_sums_of_one_pixel_have_the_order_of_the_whole():
    """40 terms along an axis that is not the last: NumPy adds those of a single pixel pairwise."""
    x, lazy = chunked((24, 40, 3, 2), "f8", (7, 9, 1, 1))  # 24: some round to the same sum
    softmax = activations.softmax.with_parameters(axis=1)
    kernel = np.ones((1, 1, 40, 1))
    arguments = {"data_format": "channels_first", "activation": softmax}
    expected = dwconv.depthwise_conv2d(x, kernel, **arguments)
    alone = [
        dwconv.depthwise_conv2d(x[n : n + 1, :, :1, :1].copy(), kernel, **arguments)
        for n in range(len(x))
    ]
    assert (np.concatenate(alone) != expected[:, :, :1, :1]).any()  # else this shows nothing
    y = dwd.depthwise_conv2d(lazy, kernel, chunks=(1, 40, 1, 1), **arguments)
    assert y.numblocks == (24, 1, 3, 2)
    same_bits(y.compute(scheduler="sync"), expected)


def test_functions_of_the_whole_output_are_called_once_with_it():
    calls = []

    def centred(y):
        calls.append(y.shape)
        return y - y.mean()

    x, lazy = chunked((2, 9, 8, 3), "f4", (1, 4, 3, 2))
    kernel = np.ones((3, 3, 3, 1), "f4")
    expected = dwconv.depthwise_conv2d(x, kernel, activation=centred)
    with pytest.warns(da.PerformanceWarning, match="whole output"):
        y = dwd.depthwise_conv2d(lazy, kernel, activation=centred)
    same_bits(y.compute(scheduler="sync"), expected)
    assert calls == [expected.shape] * 2
    other = dwd.depthwise_conv2d(lazy, kernel, activation=np.abs, chunks=-1)  # asked for: no word
    same_bits(
        other.compute(scheduler="sync"), dwconv.depthwise_conv2d(x, kernel, activation=np.abs)
    )
    assert other.name != y.name


@pytest.mark.usefixtures("registering")
def test_registered_functions_with_a_derivative_are_of_single_elements():
    @activations.register("cubed", package="test_dask", derivative=lambda x: 3 * x * x)
    def cubed(x):
        return x * x * x

    x, lazy = chunked((2, 9, 8, 3), "f4", (1, 4, 3, 2))
    kernel = np.ones((3, 3, 3, 1), "f4")
    y = dwd.depthwise_conv2d(lazy, kernel, activation=cubed)
    assert math.prod(y.numblocks) > 1
    same_bits(y.compute(scheduler="sync"), dwconv.depthwise_conv2d(x, kernel, activation=cubed))


@pytest.mark.parametrize(
    ("activation", "dtype"),
    [
        ("softmax", "i4"),
        ("tanh", "i4"),
        (activations.softmax.with_parameters(axis=7), "f4"),
        ("threshold", "f4"),
        ("no such", "f4"),
        ("glu", "f4"),
    ],
    ids=str,
)
def test_errors_are_the_functions_when_the_graph_is_made(activation, dtype):
    x, lazy = chunked((1, 5, 5, 3), dtype, 2)
    kernel = np.ones((2, 2, 3, 1), dtype)
    with pytest.raises((TypeError, ValueError)) as expected:
        dwconv.depthwise_conv2d(x, kernel, activation=activation)
    with pytest.raises(expected.type) as raised:
        dwd.depthwise_conv2d(lazy, kernel, activation=activation)
    assert str(raised.value) == str(expected.value)


def test_what_a_function_returns_is_checked_when_it_has_run():
    _, lazy = chunked((1, 5, 5, 3), "f4", -1)
    y = dwd.depthwise_conv2d(lazy, np.ones((2, 2, 3, 1)), activation=lambda y: y[:, :1])
    with pytest.raises(ValueError, match="activation: expected a function that returns shape"):
        y.compute(scheduler="sync")
