"""Denormal numbers: flushed to zero unless IEEE's are asked for; the bits of IEEE's are in
test_bits.py, the caller's floating-point state in c/test_api.c.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support import Case, assert_same_bits, run_python

import dwconv
from dwconv import config, isa, ops
from dwconv.ops import gradients

Array = NDArray[Any]


def tiny(dtype: str, power: int = 0) -> float:
    """The least normal number times 2**power."""
    return float(np.finfo(dtype).tiny) * 2.0**power


def is_denormal(array: Array) -> Array:
    return (array != 0) & (abs(array) < np.finfo(array.dtype).tiny)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("activation", [None, "relu", "tanh"])
def test_inputs_weights_biases_and_results(
    data_format: str, activation: str | None, dtype: str, isa: str
) -> None:
    """A denormal in any of them, one at a time; in outputs without a valid tap, too."""
    half = tiny(dtype, -1)
    root = np.sqrt(tiny(dtype, -3))  # a product of two of them is denormal
    for x, weight, bias in ((half, 1, 0), (1, half, 0), (0, 1, half), (root, root, 0)):
        shape = (1, 5, 6, 19) if data_format == "channels_last" else (1, 19, 5, 6)
        arrays = np.full(shape, x, dtype), np.full((3, 3, 19, 1), weight, dtype)
        options: dict[str, Any] = {"padding": ((4, 4), (4, 4)), "data_format": data_format}
        options.update(activation=activation, isa=isa)
        context = f"{x}, {weight}, {bias}"
        y = dwconv.depthwise_conv2d(*arrays, np.full(19, -bias, dtype), **options)
        assert not y.any(), context
        config.set_denormals("ieee")
        y = dwconv.depthwise_conv2d(*arrays, np.full(19, bias, dtype), **options)
        config.set_denormals("flush")
        assert is_denormal(y).any(), context


CASES = [
    Case((5, 6), 19, padding="same"),
    Case((14, 14), 64, padding="same", activation="silu"),
    Case((9, 8), 3, (5, 5), multiplier=2, strides=(2, 2), activation="gelu"),
    Case((9, 20), 4, padding="same", data_format="channels_first", activation="leaky_relu"),
    Case((8, 7), 5, (4, 2), dilation_rate=(2, 1), activation="elu"),
]


def special(shape: tuple[int, ...], dtype: str, rng: np.random.Generator) -> Array:
    """Numbers whose products and sums are on both sides of the least normal one."""
    root = np.sqrt(tiny(dtype))
    scales = np.array([tiny(dtype, -4), tiny(dtype, 1), root, root * 4, 1, 0, 1 / root])
    return (rng.standard_normal(shape) * rng.choice(scales, shape)).astype(dtype)


def test_flushed_bits() -> None:
    """All instruction sets give the same, and nothing denormal."""
    isas = isa.available()
    for case, dtype, seed in itertools.product(CASES, ("float32", "float64"), range(3)):
        rng = np.random.default_rng(seed)
        x, kernel, bias = (special(a.shape, dtype, rng) for a in case.arrays() if a is not None)
        first = None
        for name in isas:
            y = dwconv.depthwise_conv2d(x, kernel, bias, isa=name, **case.options())
            context = f"{case}, {dtype}, seed {seed}, {name}"
            assert not is_denormal(y).any(), context
            assert_same_bits(y, y if first is None else first, context)
            first = y
        if case.data_format == "channels_last":
            check_gradients(case, x, kernel, isas)


def check_gradients(case: Case, x: Array, kernel: Array, isas: tuple[str, ...]) -> None:
    options = {name: case.options()[name] for name in ("strides", "padding", "dilation_rate")}
    shape = dwconv.depthwise_conv2d(x, kernel, **options).shape
    dy = special(shape, x.dtype.name, np.random.default_rng(1))
    first: list[Array] | None = None
    for name in isas:
        found = [
            gradients.depthwise_conv2d_input_grad(dy, kernel, x.shape, isa=name, **options),
            gradients.depthwise_conv2d_kernel_grad(dy, x, kernel.shape, isa=name, **options),
        ]
        for i, gradient in enumerate(found):
            assert not is_denormal(gradient).any(), f"{case}, {name}, gradient {i}"
            if first is not None:
                assert_same_bits(gradient, first[i], f"{case}, {name}, gradient {i}")
        first = first or found


# ---- the setting ---------------------------------------------------------------------------------


def test_plans_keep_what_was_set() -> None:
    layer = dwconv.DepthwiseConv2D(1, weights=[np.ones((1, 1, 1, 1), "f"), np.zeros(1, "f")])
    x = np.full((1, 2, 2, 1), tiny("float32", -1), "f")
    flushing = layer.plan(x.shape)
    config.set_denormals("ieee")
    try:
        ieee = layer.plan(x.shape)
    finally:
        config.set_denormals("flush")
    assert (flushing(x).any(), ieee(x).all()) == (False, True)
    assert (flushing.describe().denormals, ieee.describe().denormals) == ("flush", "ieee")
    assert "IEEE" in str(ieee.describe())
    assert "IEEE" not in str(flushing.describe())


def test_settings_that_are_none() -> None:
    for wrong in ("IEEE", None, 1):
        with pytest.raises(ValueError, match="denormals: expected 'flush' or 'ieee'; received"):
            config.set_denormals(wrong)  # type: ignore[arg-type]
    assert config.denormals() == "flush"


def test_the_variable() -> None:
    code = "from dwconv import config; print(config.denormals())"
    assert run_python("-c", code, DWCONV_DENORMALS="ieee").stdout == "ieee\n"
    assert run_python("-c", code, DWCONV_DENORMALS="").stdout == "flush\n"
    use = "import dwconv; dwconv.depthwise_conv2d([[[[1.0]]]], [[[[1.0]]]])"
    done = run_python("-c", use, DWCONV_DENORMALS="zero")
    assert "DWCONV_DENORMALS: expected 'flush' or 'ieee'; received 'zero'" in done.stderr


def test_plans_of_the_core_know_it_too() -> None:
    plan = ops.make_plan(ops.ConvSpec((1, 1)), (1, 3, 3, 1), np.ones((1, 1, 1, 1), "f"), None)
    assert plan.ieee is False
