"""Small files of quantized networks: a depthwise convolution of bytes, as ONNX and TensorFlow Lite
write one.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support import graph_files

SIZE = (7, 8)


@dataclass(frozen=True)
class Network:
    """One layer of 6 channels, by default a plain one; the fields are what files may say."""

    multiplier: int = 1
    x_dtype: Any = np.int8
    y_dtype: Any = np.int8
    x_zero_point: int = 5
    y_zero_point: int = 3
    x_scale: float = 0.05
    y_scale: float = 0.04
    #: None: of int8; else an array of uint8 or int8 less which the weights are the kernel.
    kernel_zero_points: Any = None
    kernel_dtype: Any = np.int8
    per_channel: bool = True
    has_bias: bool = True
    activation: str = "linear"
    bias_scale: float = 1.0
    attributes: dict[str, Any] = field(default_factory=dict)
    seed: int = 0

    def but(self, **changes: Any) -> Network:
        return replace(self, **changes)

    @property
    def outputs(self) -> int:
        return 6 * self.multiplier

    def arrays(self) -> tuple[Any, Any, Any]:
        """kernel (3, 3, 6, M) int8, its scales (6*M,) or one, bias (6*M,) or None"""
        rng = np.random.default_rng(self.seed)
        kernel = rng.integers(-127, 127, (3, 3, 6, self.multiplier), endpoint=True).astype(np.int8)
        scales = rng.uniform(0.001, 0.01, self.outputs if self.per_channel else 1)
        bias = rng.integers(-3000, 3000, self.outputs).astype(np.int32)
        return kernel, scales.astype(np.float32), bias if self.has_bias else None

    def stored(self) -> Any:
        """The weights (6*M, 1, 3, 3) as ONNX has them, with their zero points."""
        kernel, _, _ = self.arrays()
        moved = kernel.transpose(2, 3, 0, 1).reshape(self.outputs, 1, 3, 3)
        if self.kernel_zero_points is None:
            return np.ascontiguousarray(moved.astype(self.kernel_dtype))
        zeros = np.asarray(self.kernel_zero_points).reshape(-1, 1, 1, 1).astype(int)
        return (moved.astype(int) + zeros).astype(self.kernel_dtype)

    def constants(self) -> dict[str, Any]:
        """The tensors of an ONNX file."""
        _, scales, bias = self.arrays()
        zeros = self.kernel_zero_points
        if zeros is None:
            zeros = np.zeros(self.outputs if self.per_channel else 1, self.kernel_dtype)
        made = {
            "xs": np.float32(self.x_scale),
            "xz": self.x_dtype(self.x_zero_point),
            "w": self.stored(),
            "ws": scales if self.per_channel else scales[0],
            "wz": np.asarray(zeros, self.kernel_dtype).reshape(() if not self.per_channel else -1),
            "ys": np.float32(self.y_scale),
            "yz": self.y_dtype(self.y_zero_point),
        }
        if bias is not None:
            made["b"] = bias
            made["bs"] = (np.float32(self.x_scale) * scales * np.float32(self.bias_scale)).astype(
                np.float32
            )
            made["bz"] = np.zeros(scales.shape, np.int32)
            if not self.per_channel:
                made["bs"], made["bz"] = made["bs"][0], made["bz"][0]
        return made


def linear_nodes(network: Network) -> list[Any]:
    """QLinearConv."""
    onnx = pytest.importorskip("onnx")
    inputs = ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz", *(["b"] if network.has_bias else [])]
    return [
        onnx.helper.make_node(
            "QLinearConv", inputs, ["y"], name="dw", group=6, **network.attributes
        )
    ]


def between_nodes(network: Network) -> list[Any]:
    """A Conv between DequantizeLinear and QuantizeLinear."""
    onnx = pytest.importorskip("onnx")
    made = onnx.helper.make_node
    nodes = [
        made("DequantizeLinear", ["x", "xs", "xz"], ["xf"], name="x_dq"),
        made("DequantizeLinear", ["w", "ws", "wz"], ["wf"], name="w_dq", axis=0),
    ]
    inputs = ["xf", "wf"]
    if network.has_bias:
        nodes.append(made("DequantizeLinear", ["b", "bs", "bz"], ["bf"], name="b_dq", axis=0))
        inputs.append("bf")
    nodes.append(made("Conv", inputs, ["c"], name="dw", group=6, **network.attributes))
    last = "c"
    if network.activation == "relu":
        nodes.append(made("Relu", ["c"], ["a"], name="relu"))
        last = "a"
    if network.activation == "relu6":
        nodes.append(made("Clip", ["c", "zero", "six"], ["a"], name="clip"))
        last = "a"
    nodes.append(made("QuantizeLinear", [last, "ys", "yz"], ["y"], name="y_q"))
    return nodes


def onnx_bytes(network: Network, nodes: Any = None, drop: Any = (), **changes: Any) -> bytes:
    """The file; nodes: those of `linear_nodes` by default. drop: constants to leave out; changes:
    constants to have instead.
    """
    onnx = pytest.importorskip("onnx")
    made = onnx.helper
    constants = {
        **network.constants(),
        "zero": np.float32(0),
        "six": np.float32(6),
        **changes,
    }
    nodes = linear_nodes(network) if nodes is None else nodes
    used = {name for node in nodes for name in node.input}
    kind = made.np_dtype_to_tensor_dtype
    graph = made.make_graph(
        nodes,
        "g",
        [made.make_tensor_value_info("x", kind(np.dtype(network.x_dtype)), (1, 6, *SIZE))],
        [made.make_tensor_value_info("y", kind(np.dtype(network.y_dtype)), None)],
        [
            onnx.numpy_helper.from_array(np.asarray(value), name)
            for name, value in constants.items()
            if name in used and name not in drop
        ],
    )
    model = made.make_model(graph, opset_imports=[made.make_opsetid("", 13)], ir_version=8)
    return bytes(model.SerializeToString())


def tflite_file(path: Path, network: Network, **changes: Any) -> Path:
    """The same as TensorFlow Lite has it. changes: fields of the options; 'x', 'w', 'b', 'y':
    other tensors, as `graph_files.tflite_file` takes them.
    """
    kernel, scales, bias = network.arrays()
    zeros = np.zeros(scales.size, int)
    if network.kernel_zero_points is not None:
        zeros = np.asarray(network.kernel_zero_points, int).reshape(-1)
    values = (kernel.reshape(1, 3, 3, -1).astype(int) + zeros).astype(network.kernel_dtype)
    of = {np.int8: graph_files.INT8, np.uint8: graph_files.UINT8}

    def affine(name: str, dtype: Any, scale: float, zero: int, channels: int) -> Any:
        return name, (1, *SIZE, channels), of[dtype], None, ([scale], [zero], 0)

    tensors = {
        "x": affine("x", network.x_dtype, network.x_scale, network.x_zero_point, 6),
        "w": ("w", values.shape, of[network.kernel_dtype], values, (scales, zeros, 3)),
        "y": affine("dw", network.y_dtype, network.y_scale, network.y_zero_point, network.outputs),
    }
    if bias is not None:
        bias_scales = np.float32(network.x_scale) * scales * np.float32(network.bias_scale)
        numbers = (bias_scales, np.zeros(scales.size, int), 0)
        tensors["b"] = ("b", bias.shape, graph_files.INT32, bias, numbers)
    fields = {name: value for name, value in changes.items() if name not in "xwby"}
    tensors.update({name: value for name, value in changes.items() if name in "xwby"})
    places = {name: place for place, name in enumerate(tensors)}
    number = {"linear": 0, "relu": 1, "relu6": 3}[network.activation]
    options = graph_files.options(
        DepthMultiplier=network.multiplier, **{"FusedActivationFunction": number, **fields}
    )
    inputs = [places["x"], places["w"], *([places["b"]] if "b" in places else [])]
    operator = (graph_files.DEPTHWISE, inputs, [places["y"]], options)
    return graph_files.tflite_file(path, list(tensors.values()), [operator])
