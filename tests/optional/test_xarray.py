"""Labelled arrays: values of the function, coordinates of the middle taps."""

from __future__ import annotations

import numpy as np
import pytest

import dwconv

xarray = pytest.importorskip("xarray")
pytest.importorskip("dask.array")
import dwconv.xarray as dwx  # noqa: E402


def image():
    values = np.random.default_rng(1).standard_normal((2, 3, 4, 11, 14)).astype("f4")
    coords = {
        "time": [10, 20],
        "band": list("rgb"),
        "level": [1, 2, 3, 4],
        "y": np.arange(11) * 2.0,
        "x": np.arange(14) * 3.0,
        "area": (("y", "x"), np.arange(11 * 14).reshape(11, 14)),
        "epoch": 5,
    }
    dims = ("time", "band", "level", "y", "x")
    return xarray.DataArray(values, dims=dims, coords=coords, attrs={"unit": "K"}, name="t")


@pytest.mark.parametrize("lazy", [False, True], ids=["memory", "dask"])
@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_values_and_coordinates(lazy, strides, padding):
    x = image()
    kernel = np.random.default_rng(2).standard_normal((3, 3, 3, 1)).astype("f4")
    flat = x.values.transpose(0, 2, 3, 4, 1).reshape(8, 11, 14, 3)
    expected = dwconv.depthwise_conv2d(flat, kernel, strides=strides, padding=padding)
    if lazy:
        x = x.chunk({"time": 1, "level": 3, "y": 5, "x": 4, "band": 2})
    y = dwx.depthwise_conv2d(
        x, kernel, channel="band", strides=strides, padding=padding, keep_attrs=True
    )
    assert (y.chunks is not None) == lazy
    assert y.dims == x.dims
    assert y.attrs == {"unit": "K"}
    assert y.name == "t"
    got = y.values.transpose(0, 2, 3, 4, 1).reshape(expected.shape)
    assert got.tobytes() == expected.tobytes()
    # The coordinates pass through a kernel that takes the middle pixel.
    middle = np.zeros((3, 3, 1, 1))
    middle[1, 1] = 1
    for name, grid in (
        ("y", x.y.values[:, None]),
        ("x", x.x.values[None]),
        ("area", x.area.values),
    ):
        whole = np.broadcast_to(grid, (11, 14))[None, :, :, None]
        under = dwconv.depthwise_conv2d(whole * 1.0, middle, strides=strides, padding=padding)
        under = under[0, :, :, 0]
        received = np.broadcast_to(
            y[name].values[:, None] if name == "y" else y[name].values, under.shape
        )
        assert np.array_equal(received, under), name
    assert list(y.band.values) == list("rgb")
    assert int(y.epoch) == 5


def test_without_channel_or_batch_and_a_middle_in_the_padding():
    x = xarray.DataArray(np.arange(20.0).reshape(4, 5), dims=("y", "x"), coords={"y": range(4)})
    y = dwx.depthwise_conv2d(x, np.ones((1, 1, 1, 1)))
    assert np.array_equal(y.values, x.values)
    wide = dwx.depthwise_conv2d(x, np.ones((3, 3, 1, 1)), padding=((3, 3), (0, 0)))
    assert wide.shape == (8, 3)
    assert "y" not in wide.coords


@pytest.mark.parametrize("keep", [True, False])
def test_attributes_by_the_option(keep):
    with xarray.set_options(keep_attrs=keep):
        y = dwx.depthwise_conv2d(image(), np.ones((1, 1, 3, 1)), channel="band")
    assert bool(y.attrs) == keep


def test_errors():
    with pytest.raises(ValueError, match="dims"):
        dwx.depthwise_conv2d(image(), np.ones((1, 1, 3, 1)), dims=("lat", "lon"))
    with pytest.raises(ValueError, match="kernel"):
        dwx.depthwise_conv2d(image(), np.ones((1, 1, 3, 2)), channel="band")


def test_activations_of_lazy_arrays():
    x, kernel = image(), np.ones((2, 2, 3, 1), "f4")
    arguments = {"channel": "band", "activation": "softmax"}
    expected = dwx.depthwise_conv2d(x, kernel, **arguments)
    lazy = dwx.depthwise_conv2d(x.chunk({"band": 2, "y": 4}), kernel, **arguments)
    assert lazy.chunks is not None
    assert lazy.values.tobytes() == expected.values.tobytes()
    assert np.allclose(expected.sum("band"), 1)
