"""Models of one quantized depthwise convolution, for ONNX Runtime and LiteRT: for the
bench and for tests.

A problem is a dict: x (N, H, W, C), kernel (kh, kw, C, M) int8, bias int32, kernel_scale (C*M,),
x_scale, x_zero_point, y_scale, y_zero_point (a NumPy int8 or uint8), strides, padding 'same' or
'valid', dilation_rate, activation.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def onnx_model(problem: dict[str, Any]) -> bytes:
    """A QLinearConv of x (N, C, H, W); without an activation, which it does not have."""
    import onnx

    x, kernel, zero = problem["x"], problem["kernel"], problem["y_zero_point"]
    size, channels, multiplier = kernel.shape[:2], *kernel.shape[2:]
    weights = kernel.transpose(2, 3, 0, 1).reshape(channels * multiplier, 1, *size)
    values = {
        "x_scale": np.float32(problem["x_scale"]),
        "x_zero": x.dtype.type(problem["x_zero_point"]),
        "w": np.ascontiguousarray(weights),
        "w_scale": problem["kernel_scale"],
        "w_zero": np.zeros(channels * multiplier, np.int8),
        "y_scale": np.float32(problem["y_scale"]),
        "y_zero": zero,
        "bias": problem["bias"],
    }
    pads = [0, 0, 0, 0]
    if problem["padding"] == "same":  # of its own name it says: no dilation
        for axis in (0, 1):
            stride, reach = (
                problem["strides"][axis],
                (size[axis] - 1) * problem["dilation_rate"][axis],
            )
            last = (x.shape[1 + axis] - 1) // stride * stride
            missing = max(0, last + reach + 1 - x.shape[1 + axis])
            pads[axis], pads[axis + 2] = missing // 2, missing - missing // 2
    node = onnx.helper.make_node(
        "QLinearConv",
        ["x", "x_scale", "x_zero", "w", "w_scale", "w_zero", "y_scale", "y_zero", "bias"],
        ["y"],
        name="dw",
        group=channels,
        strides=problem["strides"],
        dilations=problem["dilation_rate"],
        pads=pads,
    )
    count, height, width, _ = x.shape
    kinds = onnx.helper.np_dtype_to_tensor_dtype
    graph = onnx.helper.make_graph(
        [node],
        "g",
        [onnx.helper.make_tensor_value_info("x", kinds(x.dtype), (count, channels, height, width))],
        [onnx.helper.make_tensor_value_info("y", kinds(np.asarray(zero).dtype), None)],
        [onnx.numpy_helper.from_array(np.asarray(v), k) for k, v in values.items()],
    )
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8
    )
    return bytes(model.SerializeToString())


def onnx_result(problem: dict[str, Any], optimized: bool = True) -> Any:
    """Of ONNX Runtime, (N, OH, OW, C*M)."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        onnx_model(problem), options, providers=["CPUExecutionProvider"]
    )
    x = np.ascontiguousarray(problem["x"].transpose(0, 3, 1, 2))
    return session.run(None, {"x": x})[0].transpose(0, 2, 3, 1)


def litert_model(problem: dict[str, Any], y_shape: tuple[int, ...]) -> bytes:
    """A DEPTHWISE_CONV_2D of int8, with a scale for each channel."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    x, kernel, bias = problem["x"], problem["kernel"], problem["bias"]
    count = kernel.shape[2] * kernel.shape[3]
    kernel = kernel.reshape(1, *kernel.shape[:2], count)
    made = schema.ModelT()
    made.version = 3
    made.buffers = [schema.BufferT() for _ in range(3)]  # the first one is empty by definition
    for buffer, array in zip(made.buffers[1:], (kernel, bias), strict=True):
        buffer.data = np.ascontiguousarray(array).view(np.uint8).ravel()

    def tensor(name: str, array: Any, buffer: int, scale: Any, zero: int) -> Any:
        of = schema.TensorT()
        of.name, of.shape, of.buffer = name, list(array.shape), buffer
        kinds = {"int8": schema.TensorType.INT8, "int32": schema.TensorType.INT32}
        of.type = kinds[array.dtype.name]
        of.quantization = schema.QuantizationParametersT()
        of.quantization.scale = [float(one) for one in np.atleast_1d(scale)]
        of.quantization.zeroPoint = [zero] * len(of.quantization.scale)
        of.quantization.quantizedDimension = array.ndim - 1 if np.ndim(scale) else 0
        return of

    options = schema.DepthwiseConv2DOptionsT()
    same = problem["padding"] == "same"
    options.padding = schema.Padding.SAME if same else schema.Padding.VALID
    options.strideH, options.strideW = problem["strides"]
    options.dilationHFactor, options.dilationWFactor = problem["dilation_rate"]
    options.depthMultiplier = problem["kernel"].shape[3]
    options.fusedActivationFunction = {
        None: schema.ActivationFunctionType.NONE,
        "relu": schema.ActivationFunctionType.RELU,
        "relu6": schema.ActivationFunctionType.RELU6,
    }[problem["activation"]]
    operator = schema.OperatorT()
    operator.opcodeIndex = 0
    operator.inputs, operator.outputs = [0, 1, 2], [3]
    operator.builtinOptionsType = schema.BuiltinOptions.DepthwiseConv2DOptions
    operator.builtinOptions = options
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.DEPTHWISE_CONV_2D
    code.version = 3
    made.operatorCodes = [code]
    scale = problem["kernel_scale"]
    y = np.empty(y_shape, np.int8)
    graph = schema.SubGraphT()
    graph.name = "main"
    graph.tensors = [
        tensor("x", x, 0, problem["x_scale"], int(problem["x_zero_point"])),
        tensor("kernel", kernel, 1, scale, 0),
        tensor("bias", bias, 2, np.float32(problem["x_scale"]) * scale, 0),
        tensor("y", y, 0, problem["y_scale"], int(problem["y_zero_point"])),
    ]
    graph.inputs, graph.outputs, graph.operators = [0], [3], [operator]
    made.subgraphs = [graph]
    builder = flatbuffers.Builder(kernel.nbytes + 4096)
    builder.Finish(made.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def litert_interpreter(problem: dict[str, Any], y_shape: tuple[int, ...], delegates: bool) -> Any:
    """An interpreter whose input is set; with XNNPACK, or with LiteRT's own kernels."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kinds = OpResolverType
    resolver = kinds.AUTO if delegates else kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(
        model_content=litert_model(problem, y_shape),
        num_threads=1,
        experimental_op_resolver_type=resolver,
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], problem["x"])
    return interpreter


def litert_result(problem: dict[str, Any], y_shape: tuple[int, ...], delegates: bool) -> Any:
    """Of LiteRT, (N, OH, OW, C*M)."""
    interpreter = litert_interpreter(problem, y_shape, delegates)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
