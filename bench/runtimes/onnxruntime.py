"""ONNX Runtime: Conv and Relu, which it fuses, on one thread; input and output bound beforehand."""

from __future__ import annotations

from functools import partial

import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from problem import Problem

from . import Variant

TYPES = {"float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE}


def start() -> str:
    return f"ONNX Runtime {ort.__version__}"


def prepare(problem: Problem) -> list[Variant]:
    """With its blocked layout NCHWc, reorders included, and without."""
    content = model(problem)
    levels = ort.GraphOptimizationLevel
    return [
        variant("NCHWc", content, levels.ORT_ENABLE_ALL, problem),
        variant("NCHW", content, levels.ORT_ENABLE_EXTENDED, problem),
    ]


def variant(
    name: str, content: bytes, level: ort.GraphOptimizationLevel, problem: Problem
) -> Variant:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = level
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    height, width, channels = problem.shape.output
    y = ort.OrtValue.ortvalue_from_shape_and_type(
        (1, channels, height, width), problem.x.dtype.type
    )
    binding = session.io_binding()
    binding.bind_ortvalue_input("x", ort.OrtValue.ortvalue_from_numpy(problem.nchw))
    binding.bind_ortvalue_output("y", y)
    call = partial(session.run_with_iobinding, binding)
    return Variant(name, call, lambda: y.numpy().transpose(0, 2, 3, 1))


def model(problem: Problem) -> bytes:
    shape = problem.shape
    (top, bottom), (left, right) = shape.same_padding
    height, width, channels = shape.output
    kind = TYPES[str(problem.x.dtype)]
    conv = helper.make_node(
        "Conv",
        ["x", "kernel", "bias"],
        ["sum"],
        group=shape.channels,
        kernel_shape=shape.kernel_size,
        strides=shape.strides,
        dilations=shape.dilation_rate,
        pads=[top, left, bottom, right],
    )
    graph = helper.make_graph(
        [conv, helper.make_node("Relu", ["sum"], ["y"])],
        "depthwise",
        [helper.make_tensor_value_info("x", kind, problem.nchw.shape)],
        [helper.make_tensor_value_info("y", kind, (1, channels, height, width))],
        [
            numpy_helper.from_array(problem.grouped_kernel, "kernel"),
            numpy_helper.from_array(problem.bias, "bias"),
        ],
    )
    opsets = [helper.make_opsetid("", 17)]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    return bytes(made.SerializeToString())
