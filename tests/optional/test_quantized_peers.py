"""Quantized convolutions beside those of ONNX Runtime and LiteRT, where these are installed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import ROOT, assert_same_bits
from support import quantized_graphs as graphs

import dwconv

sys.path.insert(0, str(ROOT / "bench"))
import quantized_models as models


def problem(seed: int, **changes: Any) -> dict[str, Any]:
    """One of random numbers, whose results spread over bytes."""
    rng = np.random.default_rng(seed)
    made: dict[str, Any] = {
        "size": (13, 15),
        "kernel_size": (3, 3),
        "channels": 70,
        "multiplier": 1,
        "strides": (1, 1),
        "dilation_rate": (1, 1),
        "padding": "same",
        "activation": None,
        "x_dtype": np.int8,
        "y_dtype": np.int8,
        **changes,
    }
    limits, y_limits = np.iinfo(made.pop("x_dtype")), np.iinfo(made.pop("y_dtype"))
    channels, multiplier = made.pop("channels"), made.pop("multiplier")
    size, kernel_size = made.pop("size"), made.pop("kernel_size")
    outputs, taps = channels * multiplier, kernel_size[0] * kernel_size[1]

    def draw(low: int, high: int, *shape: int) -> Any:
        return rng.integers(low, high, shape, endpoint=True)

    return {
        "x": draw(limits.min, limits.max, 2, *size, channels).astype(limits.dtype),
        "kernel": draw(-127, 127, *kernel_size, channels, multiplier).astype(np.int8),
        "bias": draw(-9000, 9000, outputs).astype(np.int32),
        "x_scale": np.float32(rng.uniform(0.01, 0.1)),
        "x_zero_point": int(draw(limits.min, limits.max)),
        "kernel_scale": rng.uniform(0.001, 0.01, outputs).astype(np.float32),
        "y_scale": np.float32(rng.uniform(0.02, 0.05) * taps**0.5),
        "y_zero_point": y_limits.dtype.type(draw(y_limits.min, y_limits.max)),
        **made,
    }


def ours(of: dict[str, Any]) -> Any:
    arguments = dict(of)
    arrays = arguments.pop("x"), arguments.pop("kernel"), arguments.pop("bias")
    return dwconv.quantized_depthwise_conv2d(*arrays, **arguments)


GEOMETRIES: list[dict[str, Any]] = [
    {},
    {"strides": (2, 2)},
    {"strides": (2, 2), "size": (14, 16), "padding": "valid"},
    {"kernel_size": (5, 5)},
    {"kernel_size": (5, 5), "strides": (2, 2)},
    {"kernel_size": (2, 4), "channels": 33},
    {"dilation_rate": (2, 2), "channels": 8},
    {"multiplier": 2, "channels": 9},
    {"channels": 1, "size": (7, 7)},
    {"channels": 960, "size": (7, 7)},
]


@pytest.mark.parametrize("optimized", [True, False])
@pytest.mark.parametrize("x_dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_onnx_runtime(geometry: dict[str, Any], x_dtype: Any, optimized: bool) -> None:
    """To the bit; its operator wants y of the type of x."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    for seed in range(5):
        of = problem(seed, x_dtype=x_dtype, y_dtype=x_dtype, **geometry)
        y = ours(of)
        assert len(np.unique(y)) > 20  # results spread, of few pixels, too
        theirs = models.onnx_result(of, optimized)
        assert_same_bits(np.ascontiguousarray(theirs), y, (seed, geometry, x_dtype))


@pytest.mark.parametrize("activation", [None, "relu", "relu6"])
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_litert_with_xnnpack(geometry: dict[str, Any], activation: str | None) -> None:
    """To the bit: it multiplies in float32, too."""
    pytest.importorskip("ai_edge_litert")
    for seed in range(5):
        of = problem(seed, activation=activation, **geometry)
        y = ours(of)
        theirs = models.litert_result(of, y.shape, delegates=True)
        assert_same_bits(theirs, y, (seed, geometry, activation))


def in_fixed_point(of: dict[str, Any]) -> tuple[Any, Any]:
    """LiteRT's own result, and where it rounds a second time from just the middle of two numbers.

    Its multiplier has 31 bits and a shift; the product is rounded to the bits that the shift drops,
    then those are: ties upwards in its vectors, away from 0 in what is left of the channels.
    (`MultiplyByQuantizedMultiplier` in tensorflow/lite/kernels/internal/common.cc.)
    """
    numbers = of["x"].astype(np.int64) - of["x_zero_point"]
    geometry = {name: of[name] for name in ("strides", "padding", "dilation_rate")}
    exact = dwconv.reference.depthwise_conv2d(numbers, of["kernel"], of["bias"], **geometry)
    sums = exact.astype(np.int64)
    scale = float(of["x_scale"]) * of["kernel_scale"].astype(np.float64) / float(of["y_scale"])
    fraction, exponent = np.frexp(scale)
    multiplier, shift = np.rint(fraction * 2.0**31).astype(np.int64), -exponent.astype(np.int64)
    product = sums * multiplier
    nudge = np.where(product >= 0, 2**30, 1 - 2**30)
    high = np.trunc((product + nudge) / 2.0**31).astype(np.int64)  # exact: below 2**53
    half = 1 << (shift - 1)  # each multiplier is below 1/2
    whole = (high + half) >> shift
    tie = (high & (2 * half - 1)) == half
    low, most = -128, 127
    return np.clip(whole + int(of["y_zero_point"]), low, most).astype(np.int8), tie


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_litert_in_fixed_point(geometry: dict[str, Any]) -> None:
    """Its own kernels are as they are described, and differ from ours by one, where they round
    twice, alone.
    """
    pytest.importorskip("ai_edge_litert")
    for seed in range(5):
        of = problem(seed, **geometry)
        y = ours(of)
        theirs = models.litert_result(of, y.shape, delegates=False)
        described, tie = in_fixed_point(of)
        assert (tie | (theirs == described)).all(), (seed, geometry)
        assert (np.abs(theirs.astype(int) - described) <= tie).all(), (seed, geometry)
        difference = np.abs(theirs.astype(int) - y)
        assert difference.max() <= 1, (seed, geometry)
        assert not difference[~tie].any(), (seed, geometry)


# ---- layers out of files -------------------------------------------------------------------------


@pytest.mark.parametrize("x_dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_files_of_onnx(geometry: dict[str, Any], x_dtype: Any, tmp_path: Path) -> None:
    """A layer out of the very file that ONNX Runtime runs has its bits."""
    pytest.importorskip("onnxruntime")
    of = problem(0, x_dtype=x_dtype, y_dtype=x_dtype, **geometry)
    if of["kernel"].shape[2] == 1:
        pytest.skip("a group of one channel is an ordinary convolution")
    path = tmp_path / "m.onnx"
    path.write_bytes(models.onnx_model(of))
    (layer,) = dwconv.load_layers(path).values()
    assert_same_bits(layer(of["x"]), np.ascontiguousarray(models.onnx_result(of)), geometry)


BETWEEN = [
    graphs.Network(attributes={"pads": [1, 1, 1, 1], "strides": [2, 2]}),
    graphs.Network(multiplier=2, attributes={"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    graphs.Network(per_channel=False, attributes={"pads": [0, 2, 1, 0]}),
    graphs.Network(has_bias=False, attributes={"dilations": [2, 1]}),
    graphs.Network(x_dtype=np.uint8, y_dtype=np.uint8, x_zero_point=200, y_zero_point=128),
    graphs.Network(activation="relu", y_zero_point=-128),
    graphs.Network(
        x_dtype=np.uint8,
        y_dtype=np.uint8,
        kernel_dtype=np.uint8,
        kernel_zero_points=np.full(1, 128),
        per_channel=False,
    ),
]


@pytest.mark.parametrize("way", ["linear", "between"])
@pytest.mark.parametrize("network", BETWEEN, ids=str)
def test_ways_to_write_one(network: graphs.Network, way: str, tmp_path: Path) -> None:
    """QLinearConv, and a Conv between DequantizeLinear and QuantizeLinear, which ONNX Runtime
    makes one operator of.
    """
    onnxruntime = pytest.importorskip("onnxruntime")
    if way == "linear" and network.activation != "linear":
        pytest.skip("QLinearConv has no activation")
    nodes = graphs.between_nodes(network) if way == "between" else None
    path = tmp_path / "m.onnx"
    path.write_bytes(graphs.onnx_bytes(network, nodes))
    (layer,) = dwconv.load_layers(path).values()
    optimized = tmp_path / "optimized.onnx"
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(optimized)
    # Without it x86 keeps floats around a Conv of int8.
    options.add_session_config_entry("session.qdqisint8allowed", "1")
    session = onnxruntime.InferenceSession(
        path.read_bytes(), options, providers=["CPUExecutionProvider"]
    )
    import onnx

    made = [node.op_type for node in onnx.load(optimized).graph.node]
    assert "QLinearConv" in made, made  # else it computes with floats
    limits = np.iinfo(network.x_dtype)
    rng = np.random.default_rng(3)
    x = rng.integers(limits.min, limits.max, (1, 6, *graphs.SIZE), endpoint=True)
    x = x.astype(network.x_dtype)
    (theirs,) = session.run(None, {"x": x})
    y = layer(np.ascontiguousarray(x.transpose(0, 2, 3, 1)))
    assert len(np.unique(y)) > 20
    assert_same_bits(y, np.ascontiguousarray(theirs.transpose(0, 2, 3, 1)), network)


@pytest.mark.parametrize("activation", [None, "relu", "relu6"])
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_files_of_tflite(geometry: dict[str, Any], activation: str | None, tmp_path: Path) -> None:
    """A layer out of the very file that LiteRT runs has its bits."""
    pytest.importorskip("ai_edge_litert")
    pytest.importorskip("tflite")
    of = problem(0, activation=activation, **geometry)
    shape = ours(of).shape
    path = tmp_path / "m.tflite"
    path.write_bytes(models.litert_model(of, shape))
    (layer,) = dwconv.load_layers(path).values()
    theirs = models.litert_result(of, shape, delegates=True)
    assert_same_bits(layer(of["x"]), theirs, (geometry, activation))
