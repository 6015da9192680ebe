"""Depthwise layers out of ONNX and TensorFlow Lite: each gives what its operator says it computes.

The files are made here with the packages of the formats, and the yardstick is the float64
reference, called with the operator's own arguments.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.graph_files import (
    ADD,
    DEPTHWISE,
    DEQUANTIZE,
    FLOAT,
    HALF,
    INT8,
    conv,
    onnx_file,
    options,
    small,
    tflite_file,
    weight,
)

import dwconv
from dwconv import DepthwiseConv2D, FormatError, load_layers, reference
from dwconv.__main__ import main
from dwconv.formats import interchange


def close(layer: Any, x: Any, kernel: Any, bias: Any, padding: Any, **arguments: Any) -> None:
    """The layer of x against the reference, within the bound of CONTRIBUTING."""
    expected = reference.depthwise_conv2d(x, kernel, bias, padding=padding, **arguments)
    bound = reference.depthwise_conv2d(
        np.abs(x),
        np.abs(kernel),
        None if bias is None else np.abs(bias),
        padding=padding,
        **arguments,
    )
    taps = kernel.shape[0] * kernel.shape[1]
    received = layer(x)
    assert received.shape == expected.shape
    assert (np.abs(received - expected) <= (taps + 2) * np.finfo("f4").eps * bound).all()


# ---- ONNX ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("multiplier", [1, 2])
@pytest.mark.parametrize(
    ("attributes", "padding"),
    [
        ({}, "valid"),
        ({"auto_pad": "SAME_UPPER", "strides": [2, 2]}, "same"),
        ({"pads": [1, 2, 1, 2]}, "same"),
        ({"auto_pad": "VALID", "strides": [2, 1], "dilations": [1, 2]}, "valid"),
        ({"pads": [2, 4, 2, 4], "dilations": [2, 2]}, "same"),
    ],
    ids=["nothing", "same-upper", "pads", "strides-dilations", "dilated"],
)
def test_onnx(tmp_path: Path, attributes: Any, padding: str, multiplier: int) -> None:
    kernel, stored, bias = weight(multiplier)
    nodes = [conv(group=6, kernel_shape=[3, 5], **attributes)]
    layers = load_layers(onnx_file(tmp_path / "a.onnx", nodes, {"w": stored, "b": bias}))
    assert list(layers) == ["dw"]
    assert layers.kinds == {"dw": "DepthwiseConv2D"}
    assert layers.kind.startswith("ONNX, IR version ")
    layer = layers["dw"]
    assert layer.data_format == "channels_first"
    assert layer.padding == padding
    x = np.random.default_rng(2).standard_normal((2, 6, 11, 12)).astype("f4")
    close(
        layer,
        x,
        kernel,
        bias,
        padding,
        strides=tuple(attributes.get("strides", (1, 1))),
        dilation_rate=tuple(attributes.get("dilations", (1, 1))),
        data_format="channels_first",
    )


@pytest.mark.parametrize(("height", "padding"), [(11, "same"), (12, "valid"), ("H", "valid")])
def test_onnx_padding_that_depends_on_the_size(tmp_path: Path, height: Any, padding: str) -> None:
    """pads of 1 with strides of 2 are 'same' for an odd size alone; else they are told."""
    kernel, stored, bias = weight(size=(3, 3))
    nodes = [conv(group=6, pads=[1, 1, 1, 1], strides=[2, 2])]
    path = onnx_file(tmp_path / "a", nodes, {"w": stored, "b": bias}, (None, 6, height, 13))
    layers = load_layers(path)
    layer = layers["dw"]
    assert layer.padding == padding
    x = np.random.default_rng(2).standard_normal((2, 6, 11, 13)).astype("f4")
    explicit = ((1, 1), (1, 1))
    if padding == "valid":
        assert layers.kinds == {"dw": f"DepthwiseConv2D without its padding {explicit}"}
        close(
            lambda x: layer(np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))),
            x,
            kernel,
            bias,
            explicit,
            strides=(2, 2),
            data_format="channels_first",
        )
    else:
        close(layer, x, kernel, bias, explicit, strides=(2, 2), data_format="channels_first")


def test_onnx_what_is_skipped_and_why(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    _, stored, bias = weight()
    made = onnx.helper.make_node
    nodes = [
        conv(("x", "w"), "a", name="first", group=6),
        made("Identity", ["w"], ["same_w"]),
        conv(("a", "same_w", "b"), "b1", name="features/dw", group=6),
        made("Relu", ["b1"], ["c"], name="relu"),
        conv(("c", "full"), "d", name="full"),
        conv(("d", "pairs"), "e", name="pairs", group=3),
        made("DequantizeLinear", ["w8", "scale"], ["deq"], name="deq"),
        conv(("e", "deq"), "f", name="int8", group=6),
        made("Sigmoid", ["w"], ["sw"], name="computes"),
        conv(("f", "sw"), "g", name="computed", group=6),
        conv(("g", "w", "missing"), "h", name="no-bias", group=6),
        conv(("h", "w"), "i", name="lower", group=6, auto_pad="SAME_LOWER"),
        conv(("i", "w"), "j", name="wrong", group=6, strides=[1]),
        made("Conv2D", ["j"], ["k"], domain="custom", name="foreign"),
        made("Relu", ["k"], ["y"], name="relu"),
    ]
    tensors = {
        "w": stored,
        "b": bias,
        "full": np.zeros((6, 6, 1, 1), "f4"),
        "pairs": np.zeros((6, 2, 1, 1), "f4"),
        "w8": stored.astype("i1"),
        "scale": np.ones((), "f4"),
    }
    path = onnx_file(tmp_path / "a.onnx", nodes, tensors)
    layers = load_layers(path, on_error="skip")
    assert list(layers) == ["first", "features/dw", "lower"]
    assert layers["features/dw"].name == "features_dw"
    assert not layers["first"].use_bias
    assert layers.kinds["lower"] == "DepthwiseConv2D without its padding SAME_LOWER"
    skipped = layers.skipped
    assert skipped["full"] == skipped["pairs"] == "Conv"
    assert skipped["relu"] == "Relu"
    assert skipped["relu_1"] == "Relu"
    assert skipped["foreign"] == "custom.Conv2D"
    for name, reason in {
        "int8": "its weights are of bytes, but its input comes from no DequantizeLinear",
        "computed": "its weights are computed, by Sigmoid",
        "no-bias": "its weights come from outside of the graph",
        "wrong": "strides: expected two positive ints; received [1]",
    }.items():
        assert skipped[name].startswith("DepthwiseConv2D: ")
        assert reason in skipped[name]
    with pytest.raises(FormatError, match=r"int8.*comes from no DequantizeLinear"):
        load_layers(path)
    with pytest.raises(FormatError, match="ONNX graph"):
        dwconv.load(onnx_file(tmp_path / "b.onnx", nodes[:1], tensors))


@pytest.mark.parametrize("dtype", ["float16", "float64", "bfloat16"])
def test_onnx_dtypes(tmp_path: Path, dtype: str) -> None:
    if dtype == "bfloat16":
        dtype = pytest.importorskip("ml_dtypes").bfloat16
    kernel, stored, _ = weight()
    path = onnx_file(tmp_path / "a", [conv(("x", "w"), group=6)], {"w": stored.astype(dtype)})
    (layer,) = load_layers(path).values()
    assert layer.variable_dtype == np.dtype(dtype)
    assert (np.asarray(layer.kernel) == kernel.astype(dtype)).all()


def test_onnx_opens_no_other_file(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    _, stored, _ = weight()
    (tmp_path / "secret").write_bytes(stored.tobytes())
    path = onnx_file(tmp_path / "a.onnx", [conv(("x", "w"), group=6)], {"w": stored})
    model = onnx.ModelProto.FromString(path.read_bytes())
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="secret")
    path.write_bytes(model.SerializeToString())
    with pytest.raises(FormatError, match="another file, which is not opened"):
        load_layers(path)


def test_onnx_that_asks_for_much_memory(tmp_path: Path) -> None:
    """A million empty nodes of two bytes each are refused before an object is made of each."""
    pytest.importorskip("onnx")
    graph = b"\x0a\x00" * (1 << 20)
    length = len(graph)
    varint = bytes(
        [length & 127 | 128, length >> 7 & 127 | 128, length >> 14 & 127 | 128, length >> 21]
    )
    path = tmp_path / "a.onnx"
    path.write_bytes(b"\x08\x08" + b"\x3a" + varint + graph)
    with pytest.raises(FormatError, match="steps"):
        load_layers(path)


# ---- TensorFlow Lite -----------------------------------------------------------------------------


@pytest.mark.parametrize("told", [True, False], ids=["multiplier", "by-channels"])
@pytest.mark.parametrize(
    ("padding", "strides", "dilation"),
    [("same", (2, 2), (1, 1)), ("valid", (1, 1), (2, 1)), ("valid", (1, 2), (1, 1))],
)
@pytest.mark.parametrize(("number", "activation"), [(0, "linear"), (3, "relu6"), (2, "hard_tanh")])
def test_tflite(
    tmp_path: Path,
    told: bool,
    padding: str,
    strides: Any,
    dilation: Any,
    number: int,
    activation: str,
) -> None:
    kernel, _, bias = weight(2)
    fields = options(
        Padding=int(padding == "valid"),
        FusedActivationFunction=number,
        StrideH=strides[0],
        StrideW=strides[1],
        DilationHFactor=dilation[0],
        DilationWFactor=dilation[1],
        **({"DepthMultiplier": 2} if told else {}),
    )
    tensors = [
        ("x", (1, 11, 12, 6), FLOAT, None),
        ("w", (1, 3, 5, 12), FLOAT, kernel.reshape(1, 3, 5, 12)),
        ("b", (12,), FLOAT, bias),
        ("model/dw", (1, 1, 1, 12), FLOAT, None),
    ]
    path = tflite_file(tmp_path / "a", tensors, [(DEPTHWISE, (0, 1, 2), (3,), fields)])
    layers = load_layers(path)
    assert layers.kind == "TensorFlow Lite, version 3 of the schema"
    layer = layers["model/dw"]
    assert getattr(layer.activation, "name", None) == activation
    assert np.asarray(layer.kernel).tobytes() == kernel.tobytes()
    assert np.asarray(layer.bias).tobytes() == bias.tobytes()
    linear = DepthwiseConv2D.from_config({**layer.get_config(), "activation": None})
    linear.build((None, 11, 12, 6))
    linear.set_weights(layer.get_weights())
    x = np.random.default_rng(2).standard_normal((2, 11, 12, 6)).astype("f4")
    close(linear, x, kernel, bias, padding, strides=strides, dilation_rate=dilation)


def test_tflite_what_is_skipped_and_why(tmp_path: Path) -> None:
    kernel, _, _ = weight()
    flat = kernel.reshape(1, 3, 5, 6)
    image = (1, 11, 12, 6)
    tensors = [
        ("x", image, FLOAT, None),
        ("half", flat.shape, HALF, flat.astype("f2")),
        ("wide", flat.shape, FLOAT, None),
        ("int8", flat.shape, INT8, flat.astype("i1")),
        ("of halves", image, FLOAT, None),
        ("quantized", image, FLOAT, None),
        ("added", image, FLOAT, None),
        ("computed", image, FLOAT, None),
    ]
    operators = [
        (DEQUANTIZE, (1,), (2,), None),
        (DEPTHWISE, (0, 2, -1), (4,), options(DepthMultiplier=1)),
        (DEPTHWISE, (4, 3), (5,), options(DepthMultiplier=1)),
        (ADD, (5, 5), (6,), None),
        (DEPTHWISE, (6, 6), (7,), options(DepthMultiplier=1)),
    ]
    layers = load_layers(tflite_file(tmp_path / "a", tensors, operators), on_error="skip")
    assert list(layers) == ["of halves"]
    kernel_of_halves = np.asarray(layers["of halves"].kernel)
    assert kernel_of_halves.dtype == np.float32
    assert (kernel_of_halves == kernel.astype("f2")).all()
    assert "expected x of int8 or uint8; received type 0" in layers.skipped["quantized"]
    assert "its weights are computed, by ADD" in layers.skipped["computed"]
    assert layers.skipped["added"] == "ADD"
    assert layers.skipped["wide"] == "DEQUANTIZE"


# ---- both ----------------------------------------------------------------------------------------


KINDS = ["onnx", "tflite"]


@pytest.mark.parametrize("kind", KINDS)
def test_commands_and_load_weights(tmp_path: Path, kind: str, capsys: Any) -> None:
    path = tmp_path / f"m.{kind}"
    kernel = small(path, kind)
    assert main(["inspect", str(path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["layers"][0]["Depthwise layer"] == "dw"
    assert told["layers"][0]["Kernel (kh, kw, C, M)"] == "(3, 5, 6, 1)"
    target = tmp_path / "dw.safetensors"
    assert main(["convert", str(path), str(target)]) == 0
    assert dwconv.load(target).kernel.tobytes() == kernel.tobytes()
    layer = DepthwiseConv2D((3, 5))
    layer.load_weights(path)
    assert layer.kernel.tobytes() == kernel.tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_without_the_package(tmp_path: Path, kind: str, monkeypatch: Any, capsys: Any) -> None:
    path = tmp_path / f"m.{kind}"
    small(path, kind)
    monkeypatch.setitem(__import__("sys").modules, kind, None)
    with pytest.raises(ImportError, match=rf"pip install 'dwconv\[{kind}\]'"):
        load_layers(path)
    assert main(["inspect", str(path)]) == 1
    assert "pip install" in capsys.readouterr().err


def test_names_are_unique() -> None:
    taken = {"a", "a_1", "a_3"}
    numbers: Counter[str] = Counter()
    for count in range(4, 10):
        taken.add(interchange._unused("a", "Conv", taken, numbers))
        assert len(taken) == count
    assert interchange._unused("", "Conv", taken, numbers) == "Conv"
