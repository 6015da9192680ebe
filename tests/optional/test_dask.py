"""Dask arrays give the bits of the function on the whole array, whatever the chunks."""

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
from dwconv.dask.convolution import plan_of  # noqa: E402

DTYPES = ["f4", "f8", "f2", "i2"]
try:
    from ml_dtypes import bfloat16
except ImportError:
    pass
else:
    DTYPES.append(bfloat16)
POLICIES = ["float16", "bfloat16", "float32", "float64", "mixed_float16", "mixed_bfloat16"]


@pytest.mark.slow
@settings(max_examples=60)
@given(problems(), st.sampled_from(DTYPES), st.data())
def test_convolution_has_the_bits_of_the_function(problem, dtype, data):
    shape, kernel_shape, chunks, arguments, seed = problem
    rng = np.random.default_rng(seed)
    x, kernel = values(rng, shape, dtype), values(rng, kernel_shape, dtype)
    bias = values(rng, kernel_shape[2] * kernel_shape[3], dtype)
    arguments["activation"] = data.draw(st.sampled_from([None, "relu"]))
    lazy = da.from_array(x, chunks=chunks)
    expected, refusal = outcome(dwconv.depthwise_conv2d, x, kernel, bias, **arguments)
    if refusal is not None:
        assert outcome(dwd.depthwise_conv2d, lazy, kernel, bias, **arguments) == (None, refusal)
        return
    asked = None
    if data.draw(st.booleans()):
        multiplier = kernel_shape[3]
        channel_axis = 1 if arguments["data_format"] == "channels_first" else 3
        asked = tuple(
            tuple(size * multiplier for size in data.draw(cuts(n // multiplier)))
            if axis == channel_axis
            else data.draw(cuts(n))
            for axis, n in enumerate(expected.shape)
        )
    y = dwd.depthwise_conv2d(lazy, kernel, bias, chunks=asked, **arguments)
    if asked is not None:  # empty chunks are left out, but along the batch
        assert y.chunks == (asked[0], *(tuple(n for n in axis if n) for axis in asked[1:]))
    result = y.compute(scheduler="sync")
    same_bits(result, expected)
    assert y.map_blocks(lambda b: np.full((1,) * 4, b.size)).compute(scheduler="sync").sum() == (
        expected.size
    )


@pytest.mark.parametrize(
    ("size", "strides", "place", "side"),
    [(3, 1, 1, 18), (3, 1, 0, 17), (1, 4, 1, 13), (5, 2, 1, 19)],
    ids=["inside", "corner", "stride", "kernel5-stride2"],
)
def test_reads_no_more_than_the_taps_reach(size, strides, place, side):
    """side: (n - 1) * stride + kernel rows for a chunk of n, fewer where the image ends."""
    x = da.zeros((1, 64, 64, 2), chunks=(1, 16, 16, 2))
    y = dwd.depthwise_conv2d(x, np.ones((size, size, 2, 1)), strides=strides, padding="same")
    graph = dict(y.dask.layers[y.name])
    _, _, pieces = graph[y.name, 0, place, place, 0]
    pixels = 0
    for key in pieces:
        rows, columns = (0, 16), (0, 16)
        if key[0] != x.name:
            _, rows, columns, _ = graph[key][0].limits
        pixels += (rows[1] - rows[0]) * (columns[1] - columns[0])
    assert pixels == side * side


def test_plans_are_kept_by_the_process():
    """Equal chunks share a plan, and a second graph with equal weights makes none."""
    plan_of.cache_clear()
    x = da.ones((6, 8, 8, 2), chunks=(1, 8, 8, 2))
    for _ in range(2):
        kernel = np.arange(18.0).reshape(3, 3, 2, 1)
        dwd.depthwise_conv2d(x, kernel).compute(scheduler="sync")
    assert plan_of.cache_info().misses == 1
    assert plan_of.cache_info().hits == 11


def built_layer(kernel_size, shape, **kwargs):
    """A layer built for that shape, with random weights."""
    layer = dwconv.DepthwiseConv2D(kernel_size, **kwargs)
    layer.build(shape)
    rng = np.random.default_rng(4)
    layer.set_weights([rng.standard_normal(each.shape) for each in layer.get_weights()])
    return layer


@pytest.mark.slow
@settings(max_examples=40)
@given(
    problems(),
    st.sampled_from(DTYPES),
    st.sampled_from(
        ["float16", "bfloat16", "float32", "float64", "mixed_float16", "mixed_bfloat16"]
    ),
    st.sampled_from([None, "relu6", "gelu", "softmax"]),
)
def test_dtype_is_that_of_a_layer(problem, x_dtype, policy, activation):
    """The layer, which is called with the whole array, says what `dtype` means."""
    if "bfloat16" in policy:
        pytest.importorskip("ml_dtypes")
    shape, kernel_shape, chunks, arguments, seed = problem
    if arguments["padding"] not in ("same", "valid"):
        arguments["padding"] = "same"
    rng = np.random.default_rng(seed)
    x = values(rng, shape, x_dtype)
    layer, refusal = outcome(
        built_layer,
        kernel_shape[:2],
        shape,
        depth_multiplier=kernel_shape[3],
        activation=activation,
        dtype=policy,
        allow_strided_dilation=True,
        **arguments,
    )
    hypothesis.assume(refusal is None)  # as for an empty output
    lazy = da.from_array(x, chunks=chunks)
    expected = layer(x)
    same_bits(dwd.apply(layer, lazy).compute(scheduler="sync"), expected)
    kernel, bias = layer.get_weights()
    y = dwd.depthwise_conv2d(
        lazy, kernel, bias, activation=activation, dtype=layer.compute_dtype, **arguments
    )
    same_bits(y.compute(scheduler="sync"), expected)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_layers_of_integers(data_format):
    layer = dwconv.DepthwiseConv2D(
        3, dtype="int32", depthwise_initializer="ones", data_format=data_format, activation="relu"
    )
    x = np.random.default_rng(8).integers(-(2**20), 2**20, (2, 7, 8, 9))
    expected = layer(x)
    same_bits(dwd.apply(layer, da.from_array(x, chunks=3)).compute(scheduler="sync"), expected)
    with pytest.raises(TypeError, match="integers"):
        dwd.apply(layer, da.from_array(x * 1.5, chunks=3))


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_models_within_models(data_format):
    model = dwconv.Sequential(
        [
            dwconv.DepthwiseConv2D(3, activation="softmax", data_format=data_format),
            dwconv.Sequential(
                [
                    dwconv.DepthwiseConv2D(
                        (2, 3), dtype="mixed_float16", use_bias=False, data_format=data_format
                    ),
                    dwconv.DepthwiseConv2D(2, activation="glu", data_format=data_format),
                ]
            ),
        ]
    )
    shape = (2, 8, 12, 6) if data_format == "channels_last" else (2, 3, 9, 13)
    x = np.random.default_rng(9).standard_normal(shape).astype("f4")
    expected = model(x)
    lazy = dwd.apply(model, da.from_array(x, chunks=4))
    assert lazy.shape == expected.shape
    same_bits(lazy.compute(scheduler="sync"), expected)
    with pytest.raises(ValueError, match="model with a layer"):
        dwd.apply(dwconv.Sequential(), lazy)


def test_layers_and_models():
    rng = np.random.default_rng(3)
    model = dwconv.Sequential(
        [
            dwconv.DepthwiseConv2D(3, padding="same", activation="relu"),
            dwconv.DepthwiseConv2D(2, strides=2, depth_multiplier=2),
        ]
    )
    x = rng.standard_normal((2, 13, 11, 3)).astype("f4")
    expected = model(x)
    lazy = dwd.apply(model, da.from_array(x, chunks=(1, 5, 4, 2)))
    same_bits(lazy.compute(scheduler="sync"), expected)
    with pytest.raises(ValueError, match="weights"):
        dwd.apply(dwconv.DepthwiseConv2D(3), lazy)
    with pytest.raises(TypeError, match="layer: expected"):
        dwd.apply(lambda x: x, lazy)


@pytest.mark.parametrize(
    ("x", "kernel"),
    [
        (np.zeros((1, 4, 4, 2), object), np.zeros((3, 3, 2, 1))),
        (np.zeros((1, 4, 4, 2), complex), np.zeros((3, 3, 2, 1))),
        (np.zeros((1, 0, 4, 2)), np.zeros((3, 3, 2, 1))),
        (np.zeros((4, 4, 2)), np.zeros((3, 3, 2, 1))),
        (np.zeros((1, 2, 2, 2)), np.zeros((3, 3, 2, 1))),
        (np.zeros((1, 4, 4, 3)), np.zeros((3, 3, 2, 1))),
        (np.zeros((1, 4, 4, 2)), np.zeros((3, 3, 2))),
        (np.zeros((1, 4, 4, 0)), np.zeros((3, 3, 0, 1))),
        (np.zeros((1, 4, 4, 2), "U2"), np.zeros((3, 3, 2, 1))),
        (np.zeros((1, 4, 4, 2), "M8[s]"), np.zeros((3, 3, 2, 1))),
        (np.zeros((1, 4, 4, 2), "i8"), np.zeros((3, 3, 2, 1), "i4")),
        (np.zeros((1, 4, 4, 2)), np.zeros((3, 3, 2, 1), object)),
    ],
    ids=[
        "object",
        "complex",
        "empty",
        "rank",
        "small",
        "channels",
        "kernel",
        "no-channels",
        "text",
        "time",
        "wide-integers",
        "object-kernel",
    ],
)
def test_errors_are_the_functions_when_the_graph_is_made(x, kernel):
    with pytest.raises((TypeError, ValueError)) as expected:
        dwconv.depthwise_conv2d(x, kernel)
    with pytest.raises(expected.type) as raised:
        dwd.depthwise_conv2d(da.from_array(x, chunks=x.shape), kernel)
    assert str(raised.value) == str(expected.value)


def test_other_errors_when_the_graph_is_made():
    kernel = np.zeros((3, 3, 2, 2))
    x = da.zeros((4, 8, 8, 2))
    unknown = x[da.from_array(np.array([True, False, True, True]))]
    with pytest.raises(ValueError, match="known sizes"):
        dwd.depthwise_conv2d(unknown, kernel)
    with pytest.raises(TypeError, match="Dask array"):
        dwd.depthwise_conv2d(np.zeros((4, 8, 8, 2)), kernel)
    with pytest.raises(ValueError, match="one chunk along axis 3"):
        dwd.depthwise_conv2d(x, kernel, activation="softmax", chunks=(4, 6, 6, (2, 2)))
    with pytest.raises(ValueError, match="multiples of M"):
        dwd.depthwise_conv2d(x, kernel, chunks=(4, 6, 6, (1, 3)))
    with pytest.raises(TypeError, match="dtype"):
        dwd.depthwise_conv2d(x, kernel, dtype="c8")
    with pytest.raises(ValueError, match="known sizes"):
        dwd.apply(dwconv.Sequential([built_layer(3, (1, 8, 8, 2))]), unknown)
    masked = da.from_array(np.ma.masked_array(np.zeros((4, 8, 8, 2)), False))
    with pytest.raises(TypeError, match="mask"):
        dwd.depthwise_conv2d(masked, kernel)


def test_no_images():
    x = np.zeros((0, 6, 6, 2), "f4")
    kernel = np.ones((3, 3, 2, 1), "f4")
    lazy = da.from_array(x)
    same_bits(
        dwd.depthwise_conv2d(lazy, kernel).compute(scheduler="sync"),
        dwconv.depthwise_conv2d(x, kernel),
    )
