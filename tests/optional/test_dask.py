"""Dask arrays give the bits of the function on the whole array, whatever the chunks."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest

import dwconv

da = pytest.importorskip("dask.array")
hypothesis = pytest.importorskip("hypothesis")
import dask  # noqa: E402
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

import dwconv.dask as dwd  # noqa: E402


@st.composite
def cuts(draw, size):
    """Chunks of an axis, cut anywhere."""
    edges = draw(st.sets(st.integers(1, size - 1), max_size=3)) if size > 1 else set()
    edges = [0, *sorted(edges), size]
    return tuple(np.diff(edges).tolist())


pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))


@st.composite
def problems(draw):
    sizes = [draw(st.integers(1, high)) for high in (3, 12, 12, 5)]
    kernel = (draw(st.integers(1, 4)), draw(st.integers(1, 4)), sizes[3], draw(st.integers(1, 2)))
    side = st.tuples(st.integers(0, 5), st.integers(0, 5))
    arguments = {
        "strides": draw(pairs),
        "dilation_rate": draw(pairs),
        "padding": draw(st.one_of(st.sampled_from(["same", "valid"]), st.tuples(side, side))),
        "data_format": draw(st.sampled_from(["channels_last", "channels_first"])),
    }
    order = (0, 1, 2, 3) if arguments["data_format"] == "channels_last" else (0, 3, 1, 2)
    shape = tuple(sizes[axis] for axis in order)
    chunks = tuple(draw(cuts(size)) for size in shape)
    return shape, kernel, chunks, arguments, draw(st.integers(0, 2**31))


def same_bits(result, expected):
    assert result.dtype == expected.dtype
    assert result.shape == expected.shape
    assert result.tobytes() == expected.tobytes()


def outcome(function, *args, **kwargs):
    """(result, None), or (None, the message of the ValueError)."""
    try:
        return function(*args, **kwargs), None
    except ValueError as error:
        return None, str(error)


def values(rng, shape, dtype):
    if np.dtype(dtype).kind == "i":
        return rng.integers(-100, 100, shape).astype(dtype)
    return rng.standard_normal(shape).astype(dtype)


@settings(max_examples=150, deadline=None)
@given(problems(), st.sampled_from(["f4", "f8", "f2", "i2"]), st.data())
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
    assert asked is None or y.chunks == asked
    result = y.compute(scheduler="sync")
    same_bits(result, expected)
    assert y.map_blocks(lambda b: np.full((1,) * 4, b.size)).compute(scheduler="sync").sum() == (
        expected.size
    )


@settings(max_examples=60, deadline=None)
@given(problems(), st.sampled_from(["f4", "f8", "f2"]), st.data())
def test_kernel_gradient_has_the_bits_of_the_function(problem, dtype, data):
    shape, kernel_shape, chunks, arguments, seed = problem
    rng = np.random.default_rng(seed)
    x = values(rng, shape, dtype)
    try:
        y_shape = dwconv.depthwise_conv2d(x, values(rng, kernel_shape, dtype), **arguments).shape
    except ValueError:
        hypothesis.reject()
    dy = values(rng, y_shape, dtype)
    lazy_dy = da.from_array(dy, chunks=tuple(data.draw(cuts(size)) for size in y_shape))
    expected = dwconv.depthwise_conv2d_kernel_grad(dy, x, kernel_shape, **arguments)
    lazy = dwd.depthwise_conv2d_kernel_grad(
        lazy_dy, da.from_array(x, chunks=chunks), kernel_shape, **arguments
    )
    same_bits(lazy.compute(scheduler="sync"), expected)


def test_kernel_gradient_flushes_denormal_sums_as_the_core_does():
    """Sums of images that cancel to a denormal number."""
    x = np.ones((2, 1, 1, 1), np.float32)
    dy = np.array([1.5, -1.25], np.float32).reshape(2, 1, 1, 1) * np.float32(2.0**-126)
    expected = dwconv.depthwise_conv2d_kernel_grad(dy, x, (1, 1, 1, 1))
    lazy = dwd.depthwise_conv2d_kernel_grad(
        da.from_array(dy, chunks=1), da.from_array(x, chunks=1), (1, 1, 1, 1)
    )
    same_bits(lazy.compute(scheduler="sync"), expected)


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
    dwd._plan.cache_clear()
    x = da.ones((6, 8, 8, 2), chunks=(1, 8, 8, 2))
    for _ in range(2):
        kernel = np.arange(18.0).reshape(3, 3, 2, 1)
        dwd.depthwise_conv2d(x, kernel).compute(scheduler="sync")
    assert dwd._plan.cache_info().misses == 1
    assert dwd._plan.cache_info().hits == 11


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
    ],
    ids=["object", "complex", "empty", "rank", "small", "channels", "kernel"],
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
    with pytest.raises(ValueError, match="fuses"):
        dwd.depthwise_conv2d(x, kernel, activation="softmax")
    with pytest.raises(ValueError, match="multiples of M"):
        dwd.depthwise_conv2d(x, kernel, chunks=(4, 6, 6, (1, 3)))
    with pytest.raises(TypeError, match="dtype"):
        dwd.depthwise_conv2d(x, kernel, dtype="c8")


def test_no_images():
    x = np.zeros((0, 6, 6, 2), "f4")
    kernel = np.ones((3, 3, 2, 1), "f4")
    lazy = da.from_array(x)
    same_bits(
        dwd.depthwise_conv2d(lazy, kernel).compute(scheduler="sync"),
        dwconv.depthwise_conv2d(x, kernel),
    )


def _killing(block, path):
    """Kills the worker that computes it, the first time."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return block
    os.kill(os.getpid(), signal.SIGKILL)
    return None


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_cluster_with_a_killed_worker_has_the_same_bits(tmp_path, method):
    distributed = pytest.importorskip("distributed")
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip("no fork here")
    rng = np.random.default_rng(5)
    x = rng.standard_normal((4, 40, 40, 3)).astype("f4")
    kernel = rng.standard_normal((5, 5, 3, 1)).astype("f4")
    killer = tmp_path / "killed"
    with (
        dask.config.set({"distributed.worker.multiprocessing-method": method}),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, host="127.0.0.1"
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        lazy = da.from_array(x, chunks=(1, 17, 13, 2))
        y = dwd.depthwise_conv2d(lazy, kernel, padding="same", strides=2)
        y = y.map_blocks(_killing, str(killer), dtype=y.dtype, meta=y._meta)
        result = client.compute(y).result(timeout=60)
    assert killer.exists()
    same_bits(result, dwconv.depthwise_conv2d(x, kernel, padding="same", strides=2))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_layer_in_a_pool_of_processes(method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip("no fork here")
    layer = dwconv.DepthwiseConv2D(3, padding="same")
    x = np.random.default_rng(6).standard_normal((6, 9, 9, 2)).astype("f4")
    expected = layer(x)
    pool = ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method))
    with pool:
        parts = list(pool.map(pickle.loads(pickle.dumps(layer)), np.split(x, 3)))
    same_bits(np.concatenate(parts), expected)
