"""`dwconv.fold_batch_norm`, compared with the convolution and the normalization in float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support import assert_close
from support.layers import draw, isolate

import dwconv
from dwconv import DepthwiseConv2D, fold_batch_norm

C, M = 3, 2
EPSILON = 1e-3


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)


def layer_of(**arguments: Any) -> DepthwiseConv2D:
    """A layer for C channels with weights that are no zeros."""
    options = {"kernel_size": (3, 2), "depth_multiplier": M, "name": "dw", **arguments}
    options.setdefault("bias_initializer", "ones")
    first = options.get("data_format") == "channels_first"
    layer = DepthwiseConv2D(**options)
    layer.build((None, C, 8, 9) if first else (None, 8, 9, C))
    return layer


def statistics(dtype: str = "float32") -> dict[str, NDArray[Any]]:
    """gamma, beta, mean, variance: with negative gammas, and variances from small to large."""
    gamma, beta, mean = (draw(C * M, seed=seed, dtype=dtype) for seed in (1, 2, 3))
    return {
        "gamma": gamma,
        "beta": beta,
        "mean": mean,
        "variance": np.geomspace(1e-4, 10, C * M).astype(dtype),
    }


def truth(
    layer: DepthwiseConv2D, x: NDArray[Any], given: dict[str, Any], epsilon: float, size: bool
) -> NDArray[np.float64]:
    """Convolution, then normalization, in float64; `size`: of magnitudes, all terms added up."""
    axis = 1 if layer.data_format == "channels_first" else 3
    parts = [x, layer.kernel, layer.bias, *given.values()]
    parts = [None if part is None else part.astype(np.float64) for part in parts]
    if size:
        parts = [None if part is None else np.abs(part) for part in parts]
    x, kernel, bias, gamma, beta, mean, variance = parts
    y = dwconv.reference.depthwise_conv2d(
        x,
        kernel,
        bias,
        strides=layer.strides,
        padding=layer.padding,
        dilation_rate=layer.dilation_rate,
        data_format=layer.data_format,
    )
    y = np.moveaxis(y, axis, -1)
    y = (y + mean if size else y - mean) / np.sqrt(variance + epsilon)
    y = y * (1 if gamma is None else gamma) + (0 if beta is None else beta)
    return np.moveaxis(y, -1, axis)


def check(layer: DepthwiseConv2D, given: dict[str, Any], epsilon: float = EPSILON) -> None:
    """That the folded layer's output is the truth, within what rounding may do."""
    folded = fold_batch_norm(layer, **given, epsilon=epsilon)
    shape = (2, C, 8, 9) if layer.data_format == "channels_first" else (2, 8, 9, C)
    x = draw(*shape, seed=4).astype(layer.compute_dtype)
    y = folded(x)
    assert y.dtype == layer.compute_dtype
    # Weights are rounded once to their dtype, and once to the dtype that computes; y once. The sum
    # of the taps and the bias is in float32 or float64; folding takes up to 6 roundings in float64.
    taps = int(np.prod(layer.kernel_size))
    single = np.finfo(np.float64 if layer.compute_dtype == np.float64 else np.float32)
    outer = 2.0**-7 if layer.compute_dtype.name == "bfloat16" else np.finfo(y.dtype).eps
    bound = 3 * float(outer) + (taps + 2 + 6) * float(single.eps)
    size = truth(layer, x, given, epsilon, size=True)
    expected = truth(layer, x, given, epsilon, size=False)
    assert_close(y.astype(np.float64), expected, bound * size, (layer, given))


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"use_bias": False},
        {"data_format": "channels_first"},
        {"padding": "same", "strides": 2},
        {"padding": "same", "dilation_rate": (1, 2)},
        {"strides": 2, "dilation_rate": 2, "allow_strided_dilation": True},
        {"depth_multiplier": M, "kernel_size": 5},
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "mixed_float16"])
def test_output(arguments: dict[str, Any], dtype: str) -> None:
    check(layer_of(**arguments, dtype=dtype), statistics())


def test_bfloat16() -> None:
    pytest.importorskip("ml_dtypes")
    check(layer_of(dtype="bfloat16"), statistics())


@pytest.mark.parametrize("missing", [["gamma"], ["beta"], ["gamma", "beta"]], ids=str)
@pytest.mark.parametrize("use_bias", [True, False])
def test_without_scale_or_center(missing: list[str], use_bias: bool) -> None:
    check(layer_of(use_bias=use_bias), {**statistics(), **dict.fromkeys(missing)})


@pytest.mark.parametrize("epsilon", [0, 1e-7, 1.0, np.float32(0.5)])
def test_epsilon(epsilon: float) -> None:
    check(layer_of(), statistics(), epsilon)


def test_the_default_epsilon_is_that_of_keras() -> None:
    layer, given = layer_of(), statistics()
    np.testing.assert_array_equal(
        fold_batch_norm(layer, **given).kernel, fold_batch_norm(layer, **given, epsilon=1e-3).kernel
    )


def test_rounded_once() -> None:
    """The float32 next to the product in float64, where a float32 product would be another."""
    layer, given = layer_of(), statistics("float64")
    wide = [layer.kernel.astype(float), layer.bias.astype(float)]
    scale = given["gamma"] / np.sqrt(given["variance"] + EPSILON)
    folded = fold_batch_norm(layer, **given, epsilon=EPSILON)
    kernel = wide[0] * scale.reshape(C, M)
    # 4 roundings in float64 may move what lies between two float32 numbers by that much.
    error = np.abs(folded.kernel - kernel) - np.spacing(np.abs(folded.kernel)) / 2
    assert (error <= 4 * np.finfo(float).eps * np.abs(kernel)).all()
    narrow = layer.kernel * scale.astype(np.float32).reshape(C, M)
    assert (folded.kernel != narrow).any()


def test_what_the_new_layer_is() -> None:
    layer = layer_of(
        strides=2,
        depthwise_regularizer="l2",
        bias_constraint="non_neg",
        activity_regularizer="l1",
        use_bias=False,
        trainable=False,
        num_threads=2,
    )
    before = layer.get_weights(), layer.get_config()
    folded = fold_batch_norm(layer, **statistics())
    assert folded.get_config() == {
        **layer.get_config(),
        "use_bias": True,
        "depthwise_regularizer": None,
        "bias_constraint": None,
        "activity_regularizer": None,
    }
    assert folded.input_shape == layer.input_shape
    assert folded.num_threads == 2
    np.testing.assert_equal((layer.get_weights(), layer.get_config()), before)
    folded.activation = "relu6"
    x = draw(1, 8, 9, C)
    linear = fold_batch_norm(layer, **statistics())(x)
    np.testing.assert_array_equal(folded(x), np.clip(linear, 0, 6))


def test_arrays_are_copied() -> None:
    given = statistics()
    folded = fold_batch_norm(layer_of(), **given)
    before = folded.get_weights()
    for array in given.values():
        array[:] = 7
    np.testing.assert_equal(folded.get_weights(), before)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"gamma": np.ones(5)}, ValueError, r"gamma: expected shape \(6,\); received \(5,\)"),
        ({"beta": np.ones((1, 6))}, ValueError, r"beta: expected shape \(6,\); received \(1, 6\)"),
        ({"mean": 0.0}, ValueError, r"mean: expected shape \(6,\); received \(\)"),
        ({"mean": ["a"] * 6}, TypeError, "mean: expected an array of floats"),
        ({"variance": None}, TypeError, "variance: expected an array"),
        (
            {"variance": [1, 1, -2, 1, 1, 1]},
            ValueError,
            r"variance: expected positive .* received -1\.999 for channel 2",
        ),
        ({"variance": [np.nan] * 6}, ValueError, "variance: expected positive .* received nan"),
        ({"epsilon": "small"}, ValueError, "epsilon: expected a finite number"),
        ({"gamma": [np.inf] * 6}, ValueError, "expected a folded kernel that float32 holds"),
        ({"beta": [1e39] * 6}, ValueError, "expected a folded bias that float32 holds"),
    ],
    ids=str,
)
def test_errors(change: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        fold_batch_norm(layer_of(), **{**statistics(), "epsilon": EPSILON, **change})


def test_layers_that_cannot() -> None:
    with pytest.raises(ValueError, match="expected a built layer; received 'dw'"):
        fold_batch_norm(DepthwiseConv2D(3, name="dw"), **statistics())
    with pytest.raises(ValueError, match="expected the activation linear; received relu"):
        fold_batch_norm(layer_of(activation="relu"), **statistics())
    integers = layer_of(dtype="int32", depthwise_initializer="ones")
    with pytest.raises(TypeError, match="expected a layer of floats; received int32"):
        fold_batch_norm(integers, **statistics())
    half = layer_of(dtype="mixed_float16", depthwise_initializer="ones")
    with pytest.raises(ValueError, match="expected a folded kernel that float16 holds"):
        fold_batch_norm(half, **{**statistics(), "gamma": np.full(C * M, 1e6)})
