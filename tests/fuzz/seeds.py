"""Writes first inputs of the fuzzer: `python tests/fuzz/seeds.py build/fuzz-files`, a folder per
target, from which `make fuzz-files ARGS=--merge` takes what the corpora do not have.

They are small files of each format, by dwconv and, from tests/data, by real Kerases; graphs of ONNX
and TensorFlow Lite by the packages of these formats, and by real quantizers.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

import dwconv

sys.path.insert(0, str(Path(__file__).parents[1]))  # for the helpers of the tests
from support import graph_files, quantized_graphs

DATA = Path(__file__).parents[1] / "data"

#: Bytes of the largest seed: a fuzzer gets nowhere with large ones.
LARGEST = 100_000


def things() -> dict[str, Any]:
    """Layers and models to save."""
    layer = dwconv.DepthwiseConv2D((1, 2), name="dw", activation="relu", bias_regularizer="l2")
    layer.build((None, 4, 4, 2))
    inner = dwconv.DepthwiseConv2D((1, 2), name="deep", dtype="float16", use_bias=False)
    inner.build((None, 4, 3, 2))
    constant = dwconv.initializers.Constant(np.arange(4.0).reshape(1, 2, 2, 1))
    other = dwconv.DepthwiseConv2D((1, 2), name="dw", depthwise_initializer=constant)
    model = dwconv.Sequential(
        [dwconv.Input((4, 4, 2)), layer, dwconv.Sequential([inner], name="inner")], name="model"
    )
    return {"layer": layer, "model": model, "unbuilt": other}


def write_graphs(folder: Path) -> None:
    """Graphs of the other frameworks, with each thing that their readers look at."""
    for kind in ("onnx", "tflite"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        graph_files.small(folder / kind / f"small.{kind}", kind)
    kernel, stored, bias = graph_files.weight(2)
    write_onnx(folder / "onnx", stored, bias)
    write_tflite(folder / "tflite", kernel.reshape(1, 3, 5, 12), bias)
    write_quantized(folder)


def write_onnx(folder: Path, stored: Any, bias: Any) -> None:
    """Padding and strides; weights by nodes; integers."""
    from onnx import helper, numpy_helper

    padded = [
        graph_files.conv(group=6, name="same", auto_pad="SAME_UPPER", strides=[2, 2], output="z"),
        graph_files.conv(("z", "v"), group=12, name="dw", pads=[1, 2, 1, 2], dilations=[2, 2]),
    ]
    tensors = {"w": stored, "b": bias, "v": stored[:, :, :, :3]}
    graph_files.onnx_file(folder / "padded.onnx", padded, tensors, (1, 6, 11, 12))
    computed = [
        helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(stored, "c")),
        helper.make_node("Identity", ["c"], ["w"]),
        graph_files.conv(("x", "w"), output="z", group=6),
        helper.make_node("DequantizeLinear", ["q", "s"], ["v"]),
        graph_files.conv(("z", "v"), group=12, name="halves"),
    ]
    tensors = {"q": stored.astype("i1"), "s": np.float32(0.5)}
    graph_files.onnx_file(folder / "computed.onnx", computed, tensors)
    integers = [helper.make_node("ConvInteger", ["x", "q"], ["y"], group=6)]
    graph_files.onnx_file(folder / "integers.onnx", integers, {"q": stored.astype("i1")})


def write_tflite(folder: Path, kernel: Any, bias: Any) -> None:
    """Weights of float16 that are widened, of int8, and made by an addition."""
    of = graph_files
    tensors = [
        ("x", (1, 11, 12, 6), of.FLOAT, None),
        ("halves", (1, 3, 5, 12), of.HALF, kernel.astype("f2")),
        ("w", (1, 3, 5, 12), of.FLOAT, None),
        ("b", (12,), of.FLOAT, bias),
        ("dw", (1, 9, 8, 12), of.FLOAT, None),
        ("q", (1, 3, 5, 12), of.INT8, kernel.astype("i1")),
        ("int8", (1, 9, 8, 12), of.FLOAT, None),
    ]
    halves = [
        (of.DEQUANTIZE, (1,), (2,), None),
        (of.DEPTHWISE, (0, 2, 3), (4,), of.options(Padding=1, DepthMultiplier=2, StrideH=2)),
        (of.DEPTHWISE, (0, 5), (6,), of.options(FusedActivationFunction=3)),
    ]
    of.tflite_file(folder / "halves.tflite", tensors, halves)
    added = [
        (of.ADD, (1, 1), (2,), None),
        (of.DEPTHWISE, (0, 2, 3), (4,), of.options(FusedActivationFunction=1)),
    ]
    of.tflite_file(folder / "added.tflite", tensors, added)


def write_quantized(folder: Path) -> None:
    """Layers of bytes: by one operator, and between others."""
    of = quantized_graphs
    plain = of.Network(multiplier=2, attributes={"pads": [1, 1, 1, 1], "strides": [2, 2]})
    unsigned = of.Network(
        kernel_dtype=np.uint8,
        kernel_zero_points=np.full(1, 128),
        per_channel=False,
        activation="relu6",
        attributes={"auto_pad": "SAME_LOWER"},
    )
    for name, network in {"plain": plain, "unsigned": unsigned}.items():
        (folder / "onnx" / f"linear-{name}.onnx").write_bytes(of.onnx_bytes(network))
        data = of.onnx_bytes(network, of.between_nodes(network))
        (folder / "onnx" / f"between-{name}.onnx").write_bytes(data)
        of.tflite_file(folder / "tflite" / f"{name}.tflite", network)


def write(folder: Path) -> None:
    """The seeds of every target."""
    suffixes = {
        "safetensors": ".safetensors",
        "npz": ".npz",
        "keras": ".keras",
        "weights": ".weights.h5",
        "json": ".json",
    }
    for target in (*suffixes, "hdf5", "config", "wisdom"):
        (folder / target).mkdir(parents=True, exist_ok=True)
    problem = "9x9x8 k3x3 s1x1 d1x1 p1.1.1.1 m1 float32 channels_last t1"
    for isa in dwconv.isa.available():
        dwconv.planning.remember(isa, problem, f"general_{isa}")
    dwconv.wisdom.save(folder / "wisdom" / "some.json")
    dwconv.wisdom.forget()
    dwconv.wisdom.save(folder / "wisdom" / "none.json")
    for name, thing in things().items():
        for target, suffix in suffixes.items():
            thing.save(folder / target / f"{name}{suffix}")
        text = json.dumps(thing.get_config())
        (folder / "config" / f"{name}.json").write_text(text, encoding="utf-8")
    write_graphs(folder)
    for path in sorted(DATA.glob("*.gz")):
        name = path.name.removesuffix(".gz")
        content = gzip.decompress(path.read_bytes())
        if len(content) > LARGEST or name.endswith("-output.json"):
            continue
        targets = {".keras": "keras", ".json": "json", ".onnx": "onnx", ".tflite": "tflite"}
        target = targets.get(Path(name).suffix, "hdf5")
        target = "weights" if name.endswith(("-weights.h5", ".weights.h5")) else target
        (folder / target / name).write_bytes(content)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
