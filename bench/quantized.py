"""Quantized convolutions beside float32's and beside ONNX Runtime and LiteRT, one thread.

    python bench/quantized.py [--json FILE]

For the depthwise layers of MobileNet V2: microseconds per call in the fastest burst, in turns.
ONNX Runtime (its operator for channels last) and LiteRT (with XNNPACK, its default) are timed where
they are installed, with the packages onnx and ai-edge-litert.
"""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import machine
import numpy as np
import quantized_models as models
from turns import in_turns

import dwconv

#: (height and width, channels, stride)
SHAPES = [
    (112, 32, 1),
    (112, 96, 2),
    (56, 144, 1),
    (56, 144, 2),
    (28, 192, 1),
    (28, 192, 2),
    (14, 384, 1),
    (14, 576, 1),
    (14, 576, 2),
    (7, 960, 1),
]
ROUNDS, SECONDS = 15, 0.03  # of a burst of each contender


def problem(size: int, channels: int, stride: int) -> dict[str, Any]:
    """One as `quantized_models` describes it."""
    rng = np.random.default_rng(0)
    return {
        "x": rng.integers(-128, 128, (1, size, size, channels)).astype(np.int8),
        "kernel": rng.integers(-127, 128, (3, 3, channels, 1)).astype(np.int8),
        "bias": rng.integers(-999, 999, channels).astype(np.int32),
        "x_scale": np.float32(0.05),
        "x_zero_point": 3,
        "kernel_scale": rng.uniform(0.001, 0.01, channels).astype(np.float32),
        "y_scale": np.float32(0.1),
        "y_zero_point": np.int8(-5),
        "strides": (stride, stride),
        "dilation_rate": (1, 1),
        "padding": "same",
        "activation": None,
    }


def contenders(of: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    """Name -> a call that computes the layer."""
    arguments = dict(of)
    x = arguments.pop("x")
    layer = dwconv.QuantizedDepthwiseConv2D(**arguments)
    y = layer(x)
    floats = dwconv.DepthwiseConv2D(
        3,
        strides=of["strides"],
        padding="same",
        weights=[of["kernel"].astype(np.float32), of["bias"].astype(np.float32)],
    )
    float_x = x.astype(np.float32)
    plan = floats.plan(x.shape, num_threads=1)
    float_y = plan(float_x)
    found: dict[str, Callable[[], Any]] = {
        "int8": lambda: layer(x, out=y, num_threads=1),
        "float32": lambda: plan(float_x, out=float_y),
    }
    with contextlib.suppress(ImportError):
        found["onnxruntime"] = onnx_runtime(of, y)
    with contextlib.suppress(ImportError):
        found["LiteRT"] = models.litert_interpreter(of, y.shape, delegates=True).invoke
    return found


def onnx_runtime(of: dict[str, Any], y: Any) -> Callable[[], Any]:
    """QLinearConv for channels last, of arrays that are bound once."""
    import onnx
    import onnxruntime

    model = onnx.load_from_string(models.onnx_model(of))
    model.graph.node[0].domain = "com.microsoft"
    model.graph.node[0].attribute.append(onnx.helper.make_attribute("channels_last", 1))
    model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    sizes = model.graph.input[0].type.tensor_type.shape.dim
    for dimension, size in zip(sizes, of["x"].shape, strict=True):
        dimension.dim_value = size
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    bound = session.io_binding()
    bound.bind_ortvalue_input("x", onnxruntime.OrtValue.ortvalue_from_numpy(of["x"]))
    bound.bind_ortvalue_output("y", onnxruntime.OrtValue.ortvalue_from_numpy(np.empty_like(y)))
    return lambda: session.run_with_iobinding(bound)


def fastest(calls: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Microseconds per call of each, in its fastest burst."""
    found = in_turns(calls, rounds=ROUNDS, burst=SECONDS)
    return {name: 1e6 * min(times) for name, times in found.items()}


def geometric_mean(ratios: list[float]) -> float:
    return float(np.exp(np.mean(np.log(ratios))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path, help="a file for the figures")
    arguments = parser.parse_args()
    print(f"{machine.this_machine()}; microseconds, one thread")
    rows = []
    for size, channels, stride in SHAPES:
        times = fastest(contenders(problem(size, channels, stride)))
        rows.append({"shape": [size, size, channels], "stride": stride, "microseconds": times})
        text = "  ".join(f"{name} {value:7.1f}" for name, value in times.items())
        print(f"{size:3} x {size:3} x {channels:3}, stride {stride}:  {text}", flush=True)
    for name in rows[0]["microseconds"]:
        if name != "int8":
            ratios = [row["microseconds"][name] / row["microseconds"]["int8"] for row in rows]
            mean, least = geometric_mean(ratios), min(ratios)
            print(
                f"{name}: {mean:.2f} times as long as int8 (geometric mean), at least {least:.2f}"
            )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
