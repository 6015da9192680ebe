"""Whatever an argument is, an error says what was expected and what came."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.layers import isolate

import dwconv
from dwconv import DepthwiseConv2D, Sequential


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)


VALUES: list[Any] = [
    *(None, True, -1, 0, 1.5, float("nan"), float("inf"), 10**30, 1j),
    *("x", "", b"x", (), (1,), (1, 2, 3), [None], [[1, 2], [3]], range(2), {}, {"a": 1}, set()),
    *(object(), abs, int, np.float64(2), np.int8(2), np.datetime64("2020-01-01")),
    *(np.array(2), np.array([1, 2, 3]), np.ones((2, 2)), np.array("a"), np.ma.masked),
]

X, KERNEL = np.ones((1, 4, 4, 2), np.float32), np.ones((3, 3, 2, 1), np.float32)


def layer() -> DepthwiseConv2D:
    return DepthwiseConv2D(3, padding="same", input_shape=(4, 4, 2), weights=[KERNEL, np.ones(2)])


def built() -> DepthwiseConv2D:
    made = layer()
    made.build()
    return made


def setting(name: str) -> Callable[[Any], Any]:
    return lambda value: setattr(built(), name, value)


def constructing(name: str) -> Callable[[Any], Any]:
    return lambda value: DepthwiseConv2D(**{"kernel_size": 3, name: value})


def convolving(name: str) -> Callable[[Any], Any]:
    return lambda value: dwconv.depthwise_conv2d(X, KERNEL, **{name: value})


CALLS: dict[str, Callable[[Any], Any]] = {
    **{
        f"DepthwiseConv2D({name})": constructing(name)
        for name in """kernel_size strides padding depth_multiplier data_format dilation_rate
        activation use_bias depthwise_initializer bias_initializer depthwise_regularizer
        bias_regularizer activity_regularizer depthwise_constraint bias_constraint input_shape
        batch_input_shape batch_size dtype name trainable weights num_threads
        allow_strided_dilation""".split()
    },
    **{
        f"layer.{name} = ": setting(name)
        for name in """activation name trainable depthwise_initializer bias_regularizer
        activity_regularizer bias_constraint num_threads""".split()
    },
    **{
        f"depthwise_conv2d({name})": convolving(name)
        for name in """bias strides padding dilation_rate data_format activation out isa
        num_threads""".split()
    },
    "depthwise_conv2d(x)": lambda value: dwconv.depthwise_conv2d(value, KERNEL),
    "depthwise_conv2d(kernel)": lambda value: dwconv.depthwise_conv2d(X, value),
    "input_grad(dy)": lambda value: dwconv.depthwise_conv2d_input_grad(value, KERNEL, X.shape),
    "input_grad(shape)": lambda value: dwconv.depthwise_conv2d_input_grad(X, KERNEL, value),
    "kernel_grad(x)": lambda value: dwconv.depthwise_conv2d_kernel_grad(X, value, KERNEL.shape),
    "kernel_grad(shape)": lambda value: dwconv.depthwise_conv2d_kernel_grad(X, X, value),
    "bias_grad(dy)": dwconv.depthwise_conv2d_bias_grad,
    "layer(x)": lambda value: layer()(value),
    "layer(num_threads)": lambda value: layer()(X, num_threads=value),
    "build": lambda value: layer().build(value),
    "compute_output_shape": lambda value: layer().compute_output_shape(value),
    "plan(shape)": lambda value: layer().plan(value),
    "plan(isa)": lambda value: layer().plan(X.shape, isa=value),
    "set_weights": lambda value: built().set_weights(value),
    "set_weights of two": lambda value: built().set_weights([value, value]),
    "vjp": lambda value: layer().vjp(value),
    "pullback": lambda value: layer().vjp(X)[1](value),
    "from_config(generation)": lambda value: DepthwiseConv2D.from_config(
        {"kernel_size": 3, "activation": "relu"}, generation=value
    ),
    "Input(shape)": lambda value: dwconv.Input(value),
    "Input(batch_size)": lambda value: dwconv.Input((4, 4, 2), value),
    "Input(dtype)": lambda value: dwconv.Input((4, 4, 2), dtype=value),
    "Sequential": lambda value: Sequential(value),
    "Sequential(trainable)": lambda value: Sequential(trainable=value),
    "Sequential.add": lambda value: Sequential().add(value),
    "Sequential.build": lambda value: Sequential([layer()]).build(value),
    "model(x)": lambda value: Sequential([layer()])(value),
    "model.set_weights": lambda value: Sequential([layer()]).set_weights(value),
    "Sequential.from_config": lambda value: Sequential.from_config(value),
    **{
        f"{module.__name__.rpartition('.')[2]}.{function}": getattr(module, function)
        for module in (
            dwconv.activations,
            dwconv.initializers,
            dwconv.regularizers,
            dwconv.constraints,
        )
        for function in ("get", "serialize", "deserialize")
    },
}


@pytest.mark.parametrize("call", CALLS)
def test_what_was_expected_and_what_came(call: str) -> None:
    found = [(value, error) for value in VALUES if (error := error_of(CALLS[call], value))]
    assert found  # else the values try nothing
    for value, error in found:
        assert isinstance(error, (TypeError, ValueError)), (call, value, error)
        for word in ("expected", "received"):
            assert word in str(error), (call, value, error)


def error_of(call: Callable[[Any], Any], value: Any) -> Exception | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of NumPy's, about casting complex numbers
        try:
            call(value)
        except Exception as error:
            return error
    return None
