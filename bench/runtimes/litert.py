"""LiteRT (TensorFlow Lite): a model of one DEPTHWISE_CONV_2D, in its interpreter."""

from __future__ import annotations

from importlib import metadata

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from problem import Problem

from . import Variant


def start() -> str:
    return f"LiteRT {metadata.version('ai-edge-litert')}"


def prepare(problem: Problem) -> list[Variant]:
    """Its default, which is XNNPACK, and its own kernels without that."""
    if problem.channels_first or problem.x.dtype != np.float32:
        return []
    content = model(problem)
    return [
        variant("XNNPACK", content, OpResolverType.AUTO, problem),
        variant("builtin", content, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES, problem),
    ]


def variant(name: str, content: bytes, resolver: OpResolverType, problem: Problem) -> Variant:
    """`invoke` alone is timed: neither set_tensor nor get_tensor, which copy."""
    interpreter = Interpreter(
        model_content=content, num_threads=1, experimental_op_resolver_type=resolver
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], problem.x)
    output = interpreter.get_output_details()[0]["index"]
    return Variant(name, interpreter.invoke, lambda: interpreter.get_tensor(output))


def model(problem: Problem) -> bytes:
    """The flatbuffer of a model with tensors x, kernel (1, kh, kw, C*M), bias and y."""
    shape = problem.shape
    kernel = problem.kernel.reshape(1, *shape.kernel_size, -1)
    made = schema.ModelT()
    made.version = 3
    made.buffers = [schema.BufferT() for _ in range(3)]  # the first one is empty by definition
    for buffer, array in zip(made.buffers[1:], (kernel, problem.bias), strict=True):
        buffer.data = np.ascontiguousarray(array).view(np.uint8).ravel()

    options = schema.DepthwiseConv2DOptionsT()
    options.padding = schema.Padding.SAME
    options.strideH, options.strideW = shape.strides
    options.dilationHFactor, options.dilationWFactor = shape.dilation_rate
    options.depthMultiplier = shape.multiplier
    options.fusedActivationFunction = schema.ActivationFunctionType.RELU

    operator = schema.OperatorT()
    operator.opcodeIndex = 0
    operator.inputs, operator.outputs = [0, 1, 2], [3]
    operator.builtinOptionsType = schema.BuiltinOptions.DepthwiseConv2DOptions
    operator.builtinOptions = options
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.DEPTHWISE_CONV_2D
    code.version = 2 if shape.dilation_rate != (1, 1) else 1
    made.operatorCodes = [code]

    graph = schema.SubGraphT()
    graph.name = "main"
    graph.tensors = [
        tensor("x", problem.x.shape, 0),
        tensor("kernel", kernel.shape, 1),
        tensor("bias", problem.bias.shape, 2),
        tensor("y", (1, *shape.output), 0),
    ]
    graph.inputs, graph.outputs, graph.operators = [0], [3], [operator]
    made.subgraphs = [graph]

    builder = flatbuffers.Builder(kernel.nbytes + 4096)
    builder.Finish(made.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def tensor(name: str, shape: tuple[int, ...], buffer: int) -> schema.TensorT:
    made = schema.TensorT()
    made.name, made.shape, made.buffer = name, list(shape), buffer
    made.type = schema.TensorType.FLOAT32
    return made
