"""Makes the quantized networks of this folder, and what their runtimes compute with them:

    python tests/data/make_quantized.py onnx      # with onnx and onnxruntime
    python tests/data/make_quantized.py tflite    # with tensorflow

One depthwise convolution of 8 channels with random weights, quantized by the framework's own tool
with a scale for each channel. quantized-outputs.npz: '<name> x' and '<name> y', floats.
"""

from __future__ import annotations

import gzip
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
CHANNELS, SIZE = 8, 9


def examples() -> Any:
    return np.random.default_rng(0).standard_normal((20, SIZE, SIZE, CHANNELS)).astype(np.float32)


def weights() -> tuple[Any, Any]:
    """(3, 3, C, 1) and (C,), as different in size as those of networks"""
    rng = np.random.default_rng(1)
    kernel = rng.standard_normal((3, 3, CHANNELS, 1)) * rng.uniform(0.1, 2, (CHANNELS, 1))
    return kernel.astype(np.float32), rng.standard_normal(CHANNELS).astype(np.float32)


def keep(name: str, data: bytes, x: Any, y: Any) -> None:
    """x and y: (N, H, W, C) floats."""
    (HERE / f"{name}.gz").write_bytes(gzip.compress(data, 9, mtime=0))
    path = HERE / "quantized-outputs.npz"
    outputs: dict[str, Any] = {}
    if path.exists():
        with np.load(path) as kept:
            outputs.update(kept)
    outputs.update({f"{name} x": np.ascontiguousarray(x), f"{name} y": np.ascontiguousarray(y)})
    np.savez_compressed(path, **outputs)


def of_onnx() -> None:
    """By ONNX Runtime's quantize_static, in both of its ways."""
    import onnx
    import onnxruntime
    from onnxruntime import quantization

    kernel, bias = weights()
    made = onnx.helper
    nodes = [
        made.make_node(
            "Conv", ["x", "w", "b"], ["c"], "dw", group=CHANNELS, pads=[1] * 4, strides=[2, 2]
        ),
        made.make_node("Relu", ["c"], ["y"], "relu"),
    ]
    graph = made.make_graph(
        nodes,
        "g",
        [made.make_tensor_value_info("x", onnx.TensorProto.FLOAT, (1, CHANNELS, SIZE, SIZE))],
        [made.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [
            onnx.numpy_helper.from_array(np.ascontiguousarray(kernel.transpose(2, 3, 0, 1)), "w"),
            onnx.numpy_helper.from_array(bias, "b"),
        ],
    )
    model = made.make_model(graph, opset_imports=[made.make_opsetid("", 13)], ir_version=8)
    version = ".".join(onnxruntime.__version__.split(".")[:2])

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._images = iter(examples()[:, None].transpose(0, 1, 4, 2, 3))

        def get_next(self) -> Any:
            image = next(self._images, None)
            return None if image is None else {"x": image}

    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "a.onnx", Path(folder) / "b.onnx"
        source.write_bytes(model.SerializeToString())
        for name, way in (
            ("qdq", quantization.QuantFormat.QDQ),
            ("qoperator", quantization.QuantFormat.QOperator),
        ):
            quantization.quantize_static(
                source,
                target,
                Reader(),
                quant_format=way,
                per_channel=True,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
            )
            data = target.read_bytes()
            session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
            x = examples()[:1]
            (y,) = session.run(None, {"x": np.ascontiguousarray(x.transpose(0, 3, 1, 2))})
            keep(f"ort-{version}-{name}.onnx", data, x, y.transpose(0, 2, 3, 1))


def of_tflite() -> None:
    """By TensorFlow's converter."""
    import tensorflow as tf

    kernel, bias = weights()

    @tf.function(input_signature=[tf.TensorSpec((1, SIZE, SIZE, CHANNELS), tf.float32)])
    def network(x: Any) -> Any:
        y = tf.nn.depthwise_conv2d(x, kernel, (1, 2, 2, 1), "SAME")
        return tf.nn.relu6(tf.nn.bias_add(y, bias))

    converter = tf.lite.TFLiteConverter.from_concrete_functions([network.get_concrete_function()])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image[None]] for image in examples())
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    data = converter.convert()
    version = ".".join(tf.__version__.split(".")[:2])
    interpreter = tf.lite.Interpreter(model_content=data)
    interpreter.allocate_tensors()
    x = examples()[:1]
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    y = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    keep(f"tf-{version}-int8.tflite", data, x, y)


if __name__ == "__main__":
    {"onnx": of_onnx, "tflite": of_tflite}[sys.argv[1]]()
