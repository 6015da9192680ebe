"""Quantized depthwise layers out of ONNX and TensorFlow Lite: to the bit what the operators say,
or a reason.

The files are made here; `tests/optional/test_quantized_peers.py` has the runtimes beside them.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import ROOT, assert_same_bits, graph_files
from support import quantized_graphs as graphs
from support.quantized_graphs import Network

import dwconv
from dwconv import DepthwiseConv2D, FormatError, QuantizedDepthwiseConv2D, load_layers, reference
from dwconv.__main__ import main

DATA = ROOT / "tests" / "data"

WAYS: dict[str, Callable[[Network], bytes]] = {
    "linear": graphs.onnx_bytes,
    "between": lambda network: graphs.onnx_bytes(network, graphs.between_nodes(network)),
}


def image(network: Network) -> Any:
    limits = np.iinfo(network.x_dtype)
    rng = np.random.default_rng(7)
    x = rng.integers(limits.min, limits.max, (2, *graphs.SIZE, 6), endpoint=True)
    return x.astype(network.x_dtype)


def check(layer: Any, network: Network, **geometry: Any) -> None:
    """The layer gives the reference's bits, which took the operator's own numbers."""
    assert type(layer) is QuantizedDepthwiseConv2D
    kernel, scales, bias = network.arrays()
    x = image(network)
    expected = reference.quantized_depthwise_conv2d(
        x,
        kernel,
        bias,
        x_scale=np.float32(network.x_scale),
        x_zero_point=network.x_zero_point,
        kernel_scale=scales,
        y_scale=np.float32(network.y_scale),
        y_zero_point=network.y_dtype(network.y_zero_point),
        activation=network.activation,
        **geometry,
    )
    assert len(np.unique(expected)) > 20  # spread over bytes
    assert_same_bits(layer(x), expected, network)


def onnx_layers(tmp_path: Path, data: bytes, **arguments: Any) -> Any:
    path = tmp_path / "m.onnx"
    path.write_bytes(data)
    return load_layers(path, **arguments)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("attributes", "geometry"),
    [
        ({}, {}),
        ({"pads": [1, 1, 1, 1]}, {"padding": "same"}),
        ({"pads": [1, 1, 1, 1], "strides": [2, 2]}, {"padding": ((1, 1), (1, 1)), "strides": 2}),
        ({"pads": [0, 2, 1, 0]}, {"padding": ((0, 1), (2, 0))}),
        ({"auto_pad": "SAME_UPPER", "strides": [2, 2]}, {"padding": "same", "strides": 2}),
        (
            {"auto_pad": "SAME_LOWER", "strides": [2, 2]},  # of 8 columns: one on the left
            {"padding": ((1, 1), (1, 0)), "strides": 2},
        ),
        ({"auto_pad": "VALID", "dilations": [2, 1]}, {"dilation_rate": (2, 1)}),
    ],
    ids=str,
)
def test_onnx_geometry(tmp_path: Path, way: str, attributes: Any, geometry: Any) -> None:
    network = Network(attributes=attributes)
    layers = onnx_layers(tmp_path, WAYS[way](network))
    assert list(layers) == ["dw"]
    assert layers.kinds == {"dw": "QuantizedDepthwiseConv2D"}
    check(layers["dw"], network, **geometry)


NUMBERS = [
    Network(),
    Network(multiplier=2),
    Network(per_channel=False),
    Network(has_bias=False),
    Network(x_dtype=np.uint8, y_dtype=np.uint8, x_zero_point=200, y_zero_point=128),
    Network(kernel_dtype=np.uint8, kernel_zero_points=np.full(6, 128)),
    Network(kernel_dtype=np.uint8, kernel_zero_points=np.full(1, 128), per_channel=False),
    Network(bias_scale=1 + 2**-23),  # as a product of float64 may be rounded
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("network", NUMBERS, ids=str)
def test_onnx_numbers(tmp_path: Path, way: str, network: Network) -> None:
    check(onnx_layers(tmp_path, WAYS[way](network))["dw"], network)


@pytest.mark.parametrize("activation", ["relu", "relu6"])
def test_onnx_activations(tmp_path: Path, activation: str) -> None:
    network = Network(activation=activation, y_zero_point=-100)
    layers = onnx_layers(tmp_path, WAYS["between"](network))
    check(layers["dw"], network)
    assert layers.skipped["x_dq"] == "DequantizeLinear"


@pytest.mark.parametrize("network", NUMBERS, ids=str)
def test_tflite_numbers(tmp_path: Path, network: Network) -> None:
    layers = load_layers(graphs.tflite_file(tmp_path / "m.tflite", network))
    assert layers.kinds == {"dw": "QuantizedDepthwiseConv2D"}
    check(layers["dw"], network, padding="same")


@pytest.mark.parametrize("activation", ["relu", "relu6"])
def test_tflite_options(tmp_path: Path, activation: str) -> None:
    network = Network(activation=activation, y_zero_point=-100)
    fields = {"StrideH": 2, "StrideW": 2, "Padding": 1}
    layers = load_layers(graphs.tflite_file(tmp_path / "m.tflite", network, **fields))
    check(layers["dw"], network, strides=2)


# ---- what is refused -----------------------------------------------------------------------------


def refused_onnx() -> dict[str, tuple[Callable[[], bytes], str]]:
    """Name -> a file, and what the reason says."""
    plain = Network()

    def changed(way: Any, network: Network = plain, **changes: Any) -> Callable[[], bytes]:
        return lambda: graphs.onnx_bytes(network, way(network), **changes)

    def edited(edit: Callable[[list[Any]], Any], network: Network = plain) -> Callable[[], bytes]:
        def make() -> bytes:
            nodes = graphs.between_nodes(network)
            return graphs.onnx_bytes(network, edit(nodes) or nodes)

        return make

    def without(operator: str) -> Callable[[list[Any]], list[Any]]:
        """Without the first node of that operator: the next takes what it took."""

        def edit(nodes: list[Any]) -> list[Any]:
            gone = next(node for node in nodes if node.op_type == operator)
            for node in nodes:
                for place, name in enumerate(node.input):
                    if name == gone.output[0]:
                        node.input[place] = gone.input[0]
                for place, name in enumerate(node.output):
                    if name == gone.input[0]:
                        node.output[place] = gone.output[0]
            return [node for node in nodes if node is not gone]

        return edit

    def attribute(place: int, name: str, value: Any) -> Callable[[list[Any]], None]:
        def edit(nodes: list[Any]) -> None:
            onnx = pytest.importorskip("onnx")
            kept = [each for each in nodes[place].attribute if each.name != name]
            del nodes[place].attribute[:]
            nodes[place].attribute.extend([*kept, onnx.helper.make_attribute(name, value)])

        return edit

    def twice(nodes: list[Any]) -> list[Any]:
        onnx = pytest.importorskip("onnx")
        return [*nodes, onnx.helper.make_node("Relu", ["c"], ["other"], name="relu")]

    def floats(nodes: list[Any]) -> None:
        nodes[3].input[2] = "bs"

    linear, between = graphs.linear_nodes, graphs.between_nodes
    relu6 = Network(activation="relu6")
    beyond = Network(kernel_dtype=np.uint8, kernel_zero_points=np.full(6, 100))
    return {
        "weights less zero points": (changed(linear, beyond), "less their zero point are within"),
        "zero points of int32": (
            changed(linear, wz=np.zeros(6, np.int32)),
            "zero points of weights: expected one byte or 6",
        ),
        "five zero points": (changed(linear, wz=np.zeros(5, np.int8)), "expected one byte or 6"),
        "seven scales": (changed(linear, ws=np.ones(7, np.float32)), "expected 1 to 6 numbers"),
        "two scales": (changed(linear, ws=np.ones(2, np.float32)), "expected one float32 or 6"),
        "a scale of 0": (changed(linear, ws=np.zeros(6, np.float32)), "positive numbers"),
        "scales of x": (changed(linear, xs=np.ones(6, np.float32)), "expected 1 to 1 numbers"),
        "scale of float16": (changed(linear, xs=np.float16(1)), "x_scale: expected float32"),
        "x of int16": (changed(linear, xz=np.int16(1)), "x_zero_point: expected one of int8"),
        "y of int16": (changed(between, yz=np.int16(1)), "y_zero_point: expected one of int8"),
        "weights of floats": (
            changed(linear, w=np.zeros((6, 1, 3, 3), np.float32)),
            "expected weights of int8 or uint8; received float32",
        ),
        "weights of int16": (
            changed(between, w=np.zeros((6, 1, 3, 3), np.int16)),
            "expected weights of int8 or uint8; received int16",
        ),
        "a bias of floats": (changed(linear, b=np.zeros(6, np.float32)), "bias: expected dtype"),
        "a short bias": (changed(linear, b=np.zeros(5, np.int32)), "bias: expected shape"),
        "a scale that is computed": (changed(linear, drop=["ws"]), "outside of the graph"),
        "bias in other units": (
            changed(between, plain.but(bias_scale=1.001)),
            "bias: expected a scale of x_scale",
        ),
        "a bias with a zero point": (changed(between, bz=np.ones(6, np.int32)), "zero point of 0"),
        "a bias as it is": (edited(floats), "bias: expected int32 through DequantizeLinear"),
        "scales of the other axis": (edited(attribute(1, "axis", 1)), "axis: expected 0"),
        "blocks": (edited(attribute(1, "block_size", 3)), "block_size"),
        "x of floats": (edited(without("DequantizeLinear")), "comes from no DequantizeLinear"),
        "y of floats": (edited(without("QuantizeLinear")), "one QuantizeLinear alone"),
        "y twice": (edited(twice), "one QuantizeLinear alone"),
        "another clip": (
            changed(between, relu6, six=np.float32(5)),
            r"Clip: expected bounds 0 and 6; received \[0.0, 5.0\]",
        ),
        "pads below 0": (changed(linear, plain.but(attributes={"pads": [-1, 0, 0, 0]})), "padding"),
    }


REFUSED_ONNX = refused_onnx()


@pytest.mark.parametrize("name", REFUSED_ONNX)
def test_onnx_that_is_refused(tmp_path: Path, name: str) -> None:
    make, reason = REFUSED_ONNX[name]
    data = make()
    with pytest.raises(FormatError, match=reason):
        onnx_layers(tmp_path, data)
    layers = onnx_layers(tmp_path, data, on_error="skip")
    assert "dw" not in layers
    assert layers.skipped["dw"].partition(": ")[0].endswith("DepthwiseConv2D")


def test_onnx_sums_of_int32(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    node = onnx.helper.make_node("ConvInteger", ["x", "w"], ["y"], name="dw", group=6)
    with pytest.raises(FormatError, match="sums of int32"):
        onnx_layers(tmp_path, graphs.onnx_bytes(Network(), [node]))


def affine_tensor(kind: int, scales: Any = (0.05,), zeros: Any = (5,)) -> Any:
    return ("t", (1, *graphs.SIZE, 6), kind, None, (scales, zeros, 0))


def refused_tflite() -> dict[str, tuple[Network, dict[str, Any], str]]:
    """Name -> network, changes, and what the reason says."""
    plain = Network()
    kernel, scales, bias = plain.arrays()
    flat = kernel.reshape(1, 3, 3, 6)
    of = graph_files

    def weights(kind: int, values: Any, s: Any = scales, z: Any = (0,) * 6, axis: int = 3) -> Any:
        return {"w": ("w", flat.shape, kind, values, (s, z, axis))}

    beyond = plain.but(kernel_dtype=np.uint8, kernel_zero_points=np.full(6, 100))
    return {
        "weights less zero points": (beyond, {}, "less their zero point are within"),
        "zero points beyond bytes": (
            plain,
            weights(of.INT8, flat, z=(1 << 40,) * 6),
            "zero points of weights that a byte can hold",
        ),
        "x of floats": (
            plain,
            {"x": ("x", (1, *graphs.SIZE, 6), of.FLOAT, None)},
            "expected x of int8 or uint8; received type 0",
        ),
        "x of int16": (plain, {"x": affine_tensor(of.INT16)}, "x of int8 or uint8; received int16"),
        "y of int16": (plain, {"y": affine_tensor(of.INT16)}, "y of int8 or uint8; received int16"),
        "x without scale": (
            plain,
            {"x": affine_tensor(of.INT8, (), ())},
            "x: expected one scale; received 0",
        ),
        "two scales of y": (
            plain,
            {"y": affine_tensor(of.INT8, (1.0, 1.0), (0, 0))},
            "y: expected one scale; received 2",
        ),
        "zero point beyond int8": (
            plain,
            {"x": affine_tensor(of.INT8, (1.0,), (128,))},
            "x_zero_point: expected an integer",
        ),
        "two scales": (
            plain,
            weights(of.INT8, flat, (1.0, 1.0), (0, 0)),
            "weights: expected one scale or 6; received 2",
        ),
        "five zero points": (
            plain,
            weights(of.INT8, flat, z=(0,) * 5),
            "expected a zero point for each scale; received 5",
        ),
        "scales of another axis": (
            plain,
            weights(of.INT8, flat, axis=0),
            "along the last of their four axes",
        ),
        "a scale that is no number": (
            plain.but(has_bias=False),
            weights(of.INT8, flat, (float("nan"),) * 6),
            "positive numbers",
        ),
        "weights that are computed": (plain, weights(of.INT8, None), "weights are computed"),
        "weights of int16": (
            plain,
            weights(of.INT16, flat.astype("i2")),
            "expected floats, or weights of int8; received int16",
        ),
        "bias of floats": (
            plain,
            {"b": ("b", bias.shape, of.FLOAT, bias.astype("f4"))},
            "bias: expected int32; received type 0",
        ),
        "bias in other units": (plain.but(bias_scale=1.001), {}, "bias: expected a scale of"),
        "another activation": (
            plain,
            {"FusedActivationFunction": 2},
            "activation: expected one of",
        ),
    }


REFUSED_TFLITE = refused_tflite()


@pytest.mark.parametrize("name", REFUSED_TFLITE)
def test_tflite_that_is_refused(tmp_path: Path, name: str) -> None:
    network, changes, reason = REFUSED_TFLITE[name]
    path = graphs.tflite_file(tmp_path / "m.tflite", network, **changes)
    with pytest.raises(FormatError, match=reason):
        load_layers(path)
    assert "dw" not in load_layers(path, on_error="skip")


def test_onnx_padding_beyond_all_sizes(tmp_path: Path) -> None:
    """A layer may have it; no image gets a result."""
    network = Network(attributes={"pads": [1 << 62, 0, 0, 0]})
    layer = onnx_layers(tmp_path, graphs.onnx_bytes(network))["dw"]
    with pytest.raises((ValueError, MemoryError)):
        layer(image(network))


# ---- what else reads them ------------------------------------------------------------------------


@pytest.fixture(params=["onnx", "tflite"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"m.{request.param}"
    if request.param == "tflite":
        return graphs.tflite_file(path, Network())
    path.write_bytes(graphs.onnx_bytes(Network()))
    return path


def test_commands(file: Path, capsys: Any) -> None:
    assert main(["inspect", str(file), "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)["layers"]
    assert told["Depthwise layer"] == "dw (QuantizedDepthwiseConv2D)"
    assert told["Dtype"] == "int8 to int8"
    assert told["Kernel (kh, kw, C, M)"] == "(3, 3, 6, 1)"
    target = file.with_name("dw.safetensors")
    assert main(["convert", str(file), str(target)]) == 0
    x = image(Network())
    assert_same_bits(dwconv.load(target)(x), load_layers(file)["dw"](x), file.suffix)


def test_others(file: Path, tmp_path: Path) -> None:
    """Nothing is folded into one, its weights are none of a layer of floats, `tune` leaves it."""
    assert type(load_layers(file, fold=True)["dw"]) is QuantizedDepthwiseConv2D
    with pytest.raises(FormatError, match="kernel_scale"):
        DepthwiseConv2D(3).load_weights(file)
    with pytest.raises(FormatError):
        dwconv.load(file)


def test_a_class_of_that_name_in_a_keras_file(tmp_path: Path) -> None:
    """A user's class may have the name; only graphs of other frameworks have such layers."""
    item = {"class_name": "QuantizedDepthwiseConv2D", "config": {"name": "dw"}}
    model = {"class_name": "Sequential", "config": {"name": "m", "layers": [item]}}
    path = tmp_path / "m.json"
    path.write_text(json.dumps(model))
    assert load_layers(path).skipped == {"dw": "QuantizedDepthwiseConv2D"}
    item["dwconv_quantized"] = True  # type: ignore[assignment]
    for written in (model, item):
        path.write_text(json.dumps(written))
        for read in (load_layers, dwconv.load):
            with pytest.raises(FormatError):
                read(path)


def test_many_nodes_that_share_weights(tmp_path: Path) -> None:
    """Each asks for the same 60 KB: the file's budget ends that."""
    onnx = pytest.importorskip("onnx")
    network = Network()
    nodes = []
    for number in range(100):
        (node,) = graphs.linear_nodes(network)
        node.name, node.output[0] = f"n{number}", f"y{number}"
        nodes.append(node)
    big = np.zeros((6, 1, 100, 100), np.int8)
    data = graphs.onnx_bytes(network, nodes, w=big)
    assert onnx.ModelProto.FromString(data).graph.node[99].name == "n99"
    with pytest.raises(FormatError, match="each part of the file once"):
        onnx_layers(tmp_path, data)


# ---- files of real writers -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["ort-1.32-qdq.onnx", "ort-1.32-qoperator.onnx", "tf-2.21-int8.tflite"]
)
def test_files_of_real_writers(tmp_path: Path, name: str) -> None:
    """Each has a depthwise layer with what their runtime computes with it, floats in and out."""
    pytest.importorskip(name.rpartition(".")[2])
    path = tmp_path / name
    path.write_bytes(gzip.decompress((DATA / f"{name}.gz").read_bytes()))
    with np.load(DATA / "quantized-outputs.npz") as outputs:
        x, expected = outputs[f"{name} x"], outputs[f"{name} y"]
    (layer,) = load_layers(path).values()
    assert type(layer) is QuantizedDepthwiseConv2D
    assert layer.activation in ("linear", "relu", "relu6")
    assert len(np.unique(layer.kernel_scale)) == 8  # per channel
    y = layer.dequantize_output(layer(layer.quantize_input(x)))
    assert len(np.unique(expected)) > 20
    assert_same_bits(y, expected, name)
