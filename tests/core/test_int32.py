"""int32, exact and wrapping, through the operation and the layer; the bits are those of `exact`."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support import Case, exact
from support.layers import isolate

import dwconv
from dwconv import DepthwiseConv2D, Sequential, shapes

Array = NDArray[Any]

CASES = [
    Case((8, 9), 35, padding="same", activation="relu"),
    Case((9, 8), 19, padding="same", strides=(2, 2), activation="relu6"),
    Case((6, 7), 5, (2, 3), padding="valid", strides=(1, 2), multiplier=2, batch=2),
    Case((9, 9), 3, (5, 5), padding="same", dilation_rate=(1, 2), bias=False),
]


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)


def draw(*shape: int, seed: int = 0) -> Array:
    """Integers from the whole range, so that sums and products wrap, and both of its ends."""
    limits = np.iinfo(np.int32)
    values = np.random.default_rng(seed).integers(limits.min, limits.max, shape, endpoint=True)
    values.flat[:2] = limits.min, limits.max
    return values.astype(np.int32)


def arrays(case: Case) -> tuple[Array, Array, Array | None]:
    """x (N, H, W, C), kernel, bias."""
    outputs = case.channels * case.multiplier
    kernel = draw(*case.kernel_size, case.channels, case.multiplier, seed=2)
    x = draw(case.batch, *case.size, case.channels, seed=1)
    return x, kernel, draw(outputs, seed=3) if case.bias else None


def expected(case: Case, x: Array, kernel: Array, bias: Array | None) -> Array:
    padding = shapes.explicit_padding(
        case.size, case.kernel_size, case.strides, case.padding, case.dilation_rate
    )
    return exact.depthwise_conv2d(
        *(x, kernel, bias),
        strides=case.strides,
        padding=padding,
        dilation_rate=case.dilation_rate,
        activation=case.activation,
    )


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_operation(case: Case, isa: str) -> None:
    x, kernel, bias = arrays(case)
    wanted = expected(case, x, kernel, bias)
    assert (wanted < 0).any() or case.activation
    y = dwconv.depthwise_conv2d(x, kernel, bias, isa=isa, **case.options())
    assert y.dtype == np.int32
    np.testing.assert_array_equal(y, wanted, err_msg=repr((case, isa)))
    first = replace(case, data_format="channels_first").options()
    y = dwconv.depthwise_conv2d(x.transpose(0, 3, 1, 2), kernel, bias, isa=isa, **first)
    np.testing.assert_array_equal(y, wanted.transpose(0, 3, 1, 2), err_msg=repr((case, isa)))


@pytest.mark.parametrize("case", CASES, ids=repr)
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_layer(case: Case, data_format: str) -> None:
    x, kernel, bias = arrays(case)
    wanted = expected(case, x, kernel, bias)
    if data_format == "channels_first":
        x, wanted = x.transpose(0, 3, 1, 2), wanted.transpose(0, 3, 1, 2)
    layer = DepthwiseConv2D(
        case.kernel_size,
        case.strides,
        case.padding,
        case.multiplier,
        data_format,
        dilation_rate=case.dilation_rate,
        activation=case.activation,
        use_bias=case.bias,
        dtype="int32",
        weights=[array for array in (kernel, bias) if array is not None],
    )
    y = layer(x)
    assert y.dtype == layer.dtype == layer.compute_dtype == np.int32
    np.testing.assert_array_equal(y, wanted, err_msg=repr(case))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(layer))(x), wanted)
    layer.activation = lambda y: y ^ 1  # of the user's, after the convolution
    if case.activation is None:
        np.testing.assert_array_equal(layer(x), wanted ^ 1, err_msg=repr(case))


@pytest.mark.parametrize("dtype", ["i1", "u1", "?", "i2", "u2", ">i4"])
def test_narrower_integers(dtype: str) -> None:
    x = np.random.default_rng(0).integers(0, 2, (1, 5, 6, 3)).astype(dtype)
    kernel, bias = draw(3, 3, 3, 1), draw(3)
    wanted = dwconv.depthwise_conv2d(x.astype(np.int32), kernel, bias)
    layer = DepthwiseConv2D(3, dtype="int32", weights=[kernel, bias])
    for y in (
        dwconv.depthwise_conv2d(x, kernel, bias),
        dwconv.depthwise_conv2d(x, kernel, bias.astype(np.int64)),
        layer(x),
    ):
        assert y.dtype == np.int32
        np.testing.assert_array_equal(y, wanted)
    assert dwconv.depthwise_conv2d(kernel.transpose(2, 0, 1, 3), x[:, :1, :1, :1]).dtype == np.int32


def test_wider_inputs_wrap_as_numpy_casts() -> None:
    layer = DepthwiseConv2D(1, dtype="int32", weights=[np.ones((1, 1, 1, 1)), [1]])
    x = np.array([2**31 - 1, 2**32 + 5, -(2**40)]).reshape(1, 1, 3, 1)
    np.testing.assert_array_equal(layer(x).ravel(), [-(2**31), 6, 1])
    np.testing.assert_array_equal(layer(x.astype(np.uint64)).ravel(), [-(2**31), 6, 1])


def test_floats_are_refused() -> None:
    x, kernel = draw(1, 3, 3, 1), draw(3, 3, 1, 1)
    layer = DepthwiseConv2D(3, dtype="int32", depthwise_initializer="ones")
    for wrong in (np.ones((1, 3, 3, 1)), np.ones((1, 3, 3, 1), np.float16)):
        for _ in range(2):
            with pytest.raises(
                TypeError, match=r"^x: expected integers, the convolution being int"
            ):
                layer(wrong)
            assert not layer.built
    layer(x)
    with pytest.raises(TypeError, match=r"^x: expected integers"):
        layer(np.ones((1, 3, 3, 1), np.float32))
    with pytest.raises(TypeError, match=r"^bias: expected integers, .* received dtype float32"):
        dwconv.depthwise_conv2d(x, kernel, np.ones(1, np.float32))
    out = np.zeros((1, 1, 1, 1), np.int64)
    with pytest.raises(TypeError, match=r"^out: expected dtype int32; received dtype int64"):
        dwconv.depthwise_conv2d(x, kernel, out=out)
    with pytest.raises(
        ValueError, match=r"expected a function that returns shape .* dtype like int"
    ):
        dwconv.depthwise_conv2d(x, kernel, activation=lambda y: y / 2)


# ---- weights -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "initializer",
    [
        "ones",
        dwconv.initializers.Constant(-3),
        np.full((2, 2, 3, 1), 7.0),
        lambda s, dtype: draw(*s),
    ],
    ids=["ones", "constant", "array", "function"],
)
def test_initializers_that_yield_integers(initializer: Any) -> None:
    layer = DepthwiseConv2D(2, dtype="int32", depthwise_initializer=initializer)
    layer.build((None, 4, 4, 3))
    assert [array.dtype for array in layer.weights] == [np.int32, np.int32]
    assert layer.weights[0].any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "depthwise_initializer: GlorotUniform: expected a floating-point dtype; received int"),
        ({"depthwise_initializer": dwconv.initializers.Constant(0.5)}, "whole values in the range"),
        (
            {"depthwise_initializer": "ones", "bias_initializer": lambda s, dtype: np.full(s, 2.5)},
            "bias_initializer: expected whole values in the range of int32; received .*2.5",
        ),
    ],
)
def test_initializers_that_do_not(arguments: dict[str, Any], message: str) -> None:
    layer = DepthwiseConv2D(2, dtype="int32", **arguments)
    with pytest.raises(ValueError, match=message):
        layer.build((None, 4, 4, 3))
    assert not layer.built


@pytest.mark.parametrize("wrong", [0.5, np.nan, np.inf, 2.0**31, 2**31, -(2**31) - 1, 2**63])
def test_weights_are_never_changed_by_the_cast(wrong: Any) -> None:
    kernel = np.full((1, 1, 1, 1), wrong)
    with pytest.raises(ValueError, match=r"weights\[0\], the kernel: expected whole values in the"):
        DepthwiseConv2D(1, dtype="int32", weights=[kernel, [0]])
    layer = DepthwiseConv2D(1, dtype="int32", weights=[np.full((1, 1, 1, 1), 2.0), [0]])
    layer.build((None, 1, 1, 1))
    with pytest.raises(ValueError, match="expected whole values in the range of int32"):
        layer.set_weights([kernel, [0]])
    assert layer.weights[0].item() == 2
    for limit in (-(2**31), 2**31 - 1, 2.0**31 - 1):
        layer.set_weights([np.full((1, 1, 1, 1), limit), [0]])
        assert layer.weights[0].item() == limit


# ---- the rest of a layer -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sigmoid", "softmax", "glu", "leaky_relu", "tanh", "elu"])
def test_activations_that_are_not_exact_are_refused(name: str) -> None:
    with pytest.raises(TypeError, match=r"int32|whole"):
        DepthwiseConv2D(1, dtype="int32", activation=name)
    layer = DepthwiseConv2D(1, dtype="int32")
    with pytest.raises(TypeError, match=r"int32|whole"):
        layer.activation = name
    assert layer.activation == dwconv.activations.get("linear")
    with pytest.raises(TypeError, match=r"int32|whole"):
        dwconv.depthwise_conv2d(draw(1, 2, 2, 2), draw(1, 1, 2, 1), activation=name)


def test_relu_with_whole_parameters() -> None:
    relu = dwconv.activations.get("relu").with_parameters(negative_slope=2, max_value=5)
    layer = DepthwiseConv2D(1, dtype="int32", activation=relu, weights=[np.ones((1, 1, 1, 1)), [0]])
    np.testing.assert_array_equal(layer([[[[-3], [4], [9]]]]).ravel(), [-6, 4, 5])


def test_losses_constraints_config_and_files(tmp_path: Path) -> None:
    layer = DepthwiseConv2D(
        1,
        dtype="int32",
        weights=[np.full((1, 1, 2, 1), -(2**20)), [1, 2]],
        activity_regularizer="l1",
        depthwise_regularizer="l2",
        depthwise_constraint="non_neg",
    )
    layer(np.zeros((1, 1, 1, 2), np.uint8))
    assert layer.losses == pytest.approx([0.03, 0.01 * 2 * 2.0**40])
    assert layer.get_config()["dtype"]["config"] == {"name": "int32"}
    again = DepthwiseConv2D.from_config(layer.get_config())
    assert again.same_config(layer)
    layer.save(tmp_path / "int32.safetensors")
    loaded = dwconv.load(tmp_path / "int32.safetensors")
    for one, other in zip(loaded.get_weights(), layer.get_weights(), strict=True):
        assert one.dtype == np.int32
        np.testing.assert_array_equal(one, other)
    layer.apply_constraints()
    assert layer.weights[0].dtype == np.int32
    assert not layer.weights[0].any()
    layer.depthwise_constraint = dwconv.constraints.get("unit_norm")
    with pytest.raises(TypeError, match="expected a floating-point weight; received int32"):
        layer.apply_constraints()


def test_model() -> None:
    layers = [DepthwiseConv2D(2, dtype="int32", depthwise_initializer="ones") for _ in range(2)]
    model = Sequential([dwconv.Input((4, 4, 1), dtype="int32"), *layers])
    y = model(np.ones((1, 4, 4, 1), np.int64))
    assert y.dtype == np.int32
    assert (y == 16).all()
    assert model(dwconv.Input((4, 4, 1), dtype="uint8")).dtype == np.int32
