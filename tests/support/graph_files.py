"""Small files of ONNX and TensorFlow Lite, made with the packages of these formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest


def weight(multiplier: int = 1, size: Any = (3, 5), seed: int = 1) -> Any:
    """(kernel (kh, kw, 6, M), the same as ONNX has it, bias)"""
    rng = np.random.default_rng(seed)
    kernel = rng.standard_normal((*size, 6, multiplier)).astype("f4")
    stored = np.stack(
        [kernel[:, :, i // multiplier, i % multiplier] for i in range(6 * multiplier)]
    )
    return kernel, stored[:, None], rng.standard_normal(6 * multiplier).astype("f4")


def onnx_file(path: Path, nodes: Any, tensors: Any, size: Any = (None, 6, "H", "W")) -> Path:
    """A model of these nodes; x is its input, y its output."""
    onnx = pytest.importorskip("onnx")
    made = onnx.helper
    graph = made.make_graph(
        nodes,
        "g",
        [made.make_tensor_value_info("x", onnx.TensorProto.FLOAT, size)],
        [made.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(array, name) for name, array in tensors.items()],
    )
    path.write_bytes(made.make_model(graph, producer_name="test").SerializeToString())
    return path


def conv(inputs: Any = ("x", "w", "b"), output: str = "y", **attributes: Any) -> Any:
    onnx = pytest.importorskip("onnx")
    name = attributes.pop("name", "dw")
    return onnx.helper.make_node("Conv", list(inputs), [output], name=name, **attributes)


def tflite_file(path: Path, tensors: Any, operators: Any) -> Path:
    """A model. tensors: (name, shape, type, data or None) and, of bytes, (scales, zero points,
    axis); operators: (code, inputs, outputs, options of a depthwise convolution or None).
    """
    tflite = pytest.importorskip("tflite")
    import flatbuffers

    b = flatbuffers.Builder(1024)

    def vector(start: Any, items: Any, put: Any) -> Any:
        start(b, len(items))
        for item in reversed(items):
            put(item)
        return b.EndVector()

    buffers, made = [None], []
    for name, shape, kind, data, *numbers in tensors:
        buffers.append(None if data is None else np.asarray(data).tobytes())
        made.append((b.CreateString(name), shape, kind, len(buffers) - 1, *numbers))
    data_offsets = [None if data is None else b.CreateByteVector(data) for data in buffers]
    buffer_tables = []
    for data in data_offsets:
        tflite.BufferStart(b)
        if data is not None:
            tflite.BufferAddData(b, data)
        buffer_tables.append(tflite.BufferEnd(b))
    tensor_tables = []
    for name, shape, kind, number, *numbers in made:
        sizes = vector(tflite.TensorStartShapeVector, shape, b.PrependInt32)
        quantization = None
        if numbers:
            scales, zeros, axis = numbers[0]
            start = tflite.QuantizationParametersStartScaleVector
            scale_vector = vector(start, scales, b.PrependFloat32)
            start = tflite.QuantizationParametersStartZeroPointVector
            zero_vector = vector(start, zeros, b.PrependInt64)
            tflite.QuantizationParametersStart(b)
            tflite.QuantizationParametersAddScale(b, scale_vector)
            tflite.QuantizationParametersAddZeroPoint(b, zero_vector)
            tflite.QuantizationParametersAddQuantizedDimension(b, axis)
            quantization = tflite.QuantizationParametersEnd(b)
        tflite.TensorStart(b)
        tflite.TensorAddShape(b, sizes)
        tflite.TensorAddType(b, kind)
        tflite.TensorAddBuffer(b, number)
        tflite.TensorAddName(b, name)
        if quantization is not None:
            tflite.TensorAddQuantization(b, quantization)
        tensor_tables.append(tflite.TensorEnd(b))
    codes = sorted({code for code, *_ in operators})
    code_tables = []
    for code in codes:
        tflite.OperatorCodeStart(b)
        tflite.OperatorCodeAddDeprecatedBuiltinCode(b, min(code, 127))
        tflite.OperatorCodeAddBuiltinCode(b, code)
        code_tables.append(tflite.OperatorCodeEnd(b))
    operator_tables = []
    for code, inputs, outputs, options in operators:
        ins = vector(tflite.OperatorStartInputsVector, inputs, b.PrependInt32)
        outs = vector(tflite.OperatorStartOutputsVector, outputs, b.PrependInt32)
        table = None
        if options is not None:
            tflite.DepthwiseConv2DOptionsStart(b)
            for field, value in options.items():
                getattr(tflite, f"DepthwiseConv2DOptionsAdd{field}")(b, value)
            table = tflite.DepthwiseConv2DOptionsEnd(b)
        tflite.OperatorStart(b)
        tflite.OperatorAddOpcodeIndex(b, codes.index(code))
        tflite.OperatorAddInputs(b, ins)
        tflite.OperatorAddOutputs(b, outs)
        if table is not None:
            tflite.OperatorAddBuiltinOptionsType(b, tflite.BuiltinOptions.DepthwiseConv2DOptions)
            tflite.OperatorAddBuiltinOptions(b, table)
        operator_tables.append(tflite.OperatorEnd(b))
    all_tensors = vector(
        tflite.SubGraphStartTensorsVector, tensor_tables, b.PrependUOffsetTRelative
    )
    all_operators = vector(
        tflite.SubGraphStartOperatorsVector, operator_tables, b.PrependUOffsetTRelative
    )
    tflite.SubGraphStart(b)
    tflite.SubGraphAddTensors(b, all_tensors)
    tflite.SubGraphAddOperators(b, all_operators)
    graph = tflite.SubGraphEnd(b)
    all_codes = vector(tflite.ModelStartOperatorCodesVector, code_tables, b.PrependUOffsetTRelative)
    graphs = vector(tflite.ModelStartSubgraphsVector, [graph], b.PrependUOffsetTRelative)
    all_buffers = vector(tflite.ModelStartBuffersVector, buffer_tables, b.PrependUOffsetTRelative)
    tflite.ModelStart(b)
    tflite.ModelAddVersion(b, 3)
    tflite.ModelAddOperatorCodes(b, all_codes)
    tflite.ModelAddSubgraphs(b, graphs)
    tflite.ModelAddBuffers(b, all_buffers)
    b.Finish(tflite.ModelEnd(b), file_identifier=b"TFL3")
    path.write_bytes(bytes(b.Output()))
    return path


DEPTHWISE, DEQUANTIZE, ADD = 4, 6, 0
FLOAT, HALF, INT32, UINT8, INT16, INT8 = 0, 1, 2, 3, 7, 9


def options(**fields: Any) -> Any:
    return {"StrideH": 1, "StrideW": 1, "DilationHFactor": 1, "DilationWFactor": 1, **fields}


def small(path: Path, kind: str) -> Any:
    """Writes a file with one layer, 'dw', by 'onnx' or 'tflite'; returns its kernel."""
    kernel, stored, bias = weight()
    if kind == "onnx":
        onnx_file(path, [conv(group=6)], {"w": stored, "b": bias})
        return kernel
    tensors = [
        ("x", (1, 11, 12, 6), FLOAT, None),
        ("w", (1, 3, 5, 6), FLOAT, kernel.reshape(1, 3, 5, 6)),
        ("b", (6,), FLOAT, bias),
        ("dw", (1, 1, 1, 6), FLOAT, None),
    ]
    tflite_file(path, tensors, [(DEPTHWISE, (0, 1, 2), (3,), options(DepthMultiplier=1))])
    return kernel
