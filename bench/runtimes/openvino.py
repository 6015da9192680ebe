"""OpenVINO: group convolution, bias and ReLU, on one thread; preset input and output."""

from __future__ import annotations

from functools import partial

import numpy as np
import openvino as ov
from openvino import opset13 as ops
from openvino.preprocess import PrePostProcessor
from problem import Array, Problem

from . import Variant

CONFIG = {
    "INFERENCE_NUM_THREADS": 1,
    "NUM_STREAMS": 1,
    "PERFORMANCE_HINT": "LATENCY",
    "INFERENCE_PRECISION_HINT": "f32",  # it would take bfloat16 where the CPU has it
    "ENABLE_CPU_PINNING": False,  # the process is pinned already
}


def start() -> str:
    return f"OpenVINO {ov.__version__.partition('-')[0]}"


def prepare(problem: Problem) -> list[Variant]:
    variants = [variant("NCHW", model(problem), problem.nchw, (0, 2, 3, 1))]
    if not problem.channels_first:
        layouts = PrePostProcessor(model(problem))
        layouts.input().tensor().set_layout(ov.Layout("NHWC"))
        layouts.input().model().set_layout(ov.Layout("NCHW"))
        layouts.output().tensor().set_layout(ov.Layout("NHWC"))
        layouts.output().model().set_layout(ov.Layout("NCHW"))
        variants.append(variant("NHWC", layouts.build(), problem.nhwc, (0, 1, 2, 3)))
    return variants


def model(problem: Problem) -> ov.Model:
    shape = problem.shape
    x = ops.parameter(problem.nchw.shape, problem.x.dtype, name="x")
    kernel = problem.grouped_kernel.reshape(shape.channels, shape.multiplier, 1, *shape.kernel_size)
    (top, bottom), (left, right) = shape.same_padding
    y = ops.group_convolution(
        x,
        ops.constant(kernel),
        list(shape.strides),
        [top, left],
        [bottom, right],
        list(shape.dilation_rate),
    )
    y = ops.relu(ops.add(y, ops.constant(problem.bias.reshape(1, -1, 1, 1))))
    return ov.Model([y], [x], "depthwise")


def variant(name: str, made: ov.Model, x: Array, to_nhwc: tuple[int, ...]) -> Variant:
    compiled = ov.Core().compile_model(made, "CPU", CONFIG)
    request = compiled.create_infer_request()
    request.set_input_tensor(ov.Tensor(x, shared_memory=True))
    y = np.empty(tuple(compiled.output().shape), x.dtype)
    request.set_output_tensor(ov.Tensor(y, shared_memory=True))

    # Half the overhead of start_async and wait; without share_outputs it would copy y.
    call = partial(request.infer, share_outputs=True)

    def result() -> Array:
        assert x.size  # the request does not keep its input alive, this function does
        return y.transpose(to_nhwc)

    return Variant(name, call, result)
