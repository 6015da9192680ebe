"""DepthwiseConv1D and its function: against sums in NumPy, to the bit against height 1."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import assert_same_bits
from support.layers import isolate

import dwconv
from dwconv import DepthwiseConv1D, DepthwiseConv2D, Sequential, depthwise_conv1d, optimizers
from dwconv.ops.gradients import depthwise_conv2d_input_grad, depthwise_conv2d_kernel_grad

rng = np.random.default_rng(15)


def same_bits(found: Any, expected: Any) -> None:
    assert_same_bits(found, expected, f"seed 15, shape {np.shape(expected)}")


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)


def by_hand(
    x: Any, kernel: Any, bias: Any, stride: int, padding: Any, dilation: int, first: bool
) -> Any:
    """The sum as Keras defines it, tap by tap over a padded copy; float64."""
    x = np.moveaxis(x, 1, 2) if first else x
    length, reach = x.shape[1], (kernel.shape[0] - 1) * dilation
    if padding == "causal":
        sides = (reach, 0)
    elif padding == "valid":
        sides = (0, 0)
    elif padding == "same":
        total = max((-(-length // stride) - 1) * stride + reach + 1 - length, 0)
        sides = (total // 2, total - total // 2)
    else:
        sides = (padding, padding) if isinstance(padding, int) else padding
    x = np.pad(x.astype(np.float64), ((0, 0), sides, (0, 0)))
    outputs = (x.shape[1] - reach - 1) // stride + 1
    y = np.zeros((len(x), outputs, *kernel.shape[1:]))
    for k in range(kernel.shape[0]):
        taps = x[:, k * dilation : k * dilation + (outputs - 1) * stride + 1 : stride]
        y += taps[..., np.newaxis] * kernel[k].astype(np.float64)
    y = y.reshape(len(x), outputs, -1) + (0 if bias is None else bias)
    return np.moveaxis(y, 2, 1) if first else y


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("padding", ["valid", "same", "causal", 2, (3, 1)])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 5), (2, 3)])
@pytest.mark.parametrize(("channels", "multiplier", "k"), [(32, 1, 3), (3, 2, 4)])
def test_against_sums_and_height_1(
    channels: int,
    multiplier: int,
    k: int,
    stride: int,
    dilation: int,
    padding: Any,
    data_format: Any,
    isa: str,
) -> None:
    first = data_format == "channels_first"
    x = rng.standard_normal((2, channels, 37) if first else (2, 37, channels)).astype("f")
    kernel = rng.standard_normal((k, channels, multiplier)).astype("f")
    bias = rng.standard_normal(channels * multiplier).astype("f")
    arguments: dict[str, Any] = {
        "strides": stride,
        "padding": padding,
        "dilation_rate": dilation,
        "data_format": data_format,
    }
    y = depthwise_conv1d(x, kernel, bias, isa=isa, **arguments)
    expected = by_hand(x, kernel, bias, stride, padding, dilation, first)
    assert y.shape == expected.shape
    size = by_hand(abs(x), abs(kernel), abs(bias), stride, padding, dilation, first)
    assert (np.abs(y - expected) <= (k + 2) * np.finfo(np.float32).eps * size).all()

    layer = DepthwiseConv1D(
        k,
        depth_multiplier=multiplier,
        weights=[kernel, bias],
        allow_strided_dilation=True,
        **arguments,
    )
    assert layer.compute_output_shape(x.shape) == y.shape
    same_bits(layer.plan(x.shape, isa=isa)(x), y)
    for _ in range(2):
        same_bits(layer(x), depthwise_conv1d(x, kernel, bias, **arguments))
    same_bits(layer(x[:1]), layer(x)[:1])

    sides = {"causal": ((k - 1) * dilation, 0), 2: (2, 2)}.get(padding, padding)
    flat = DepthwiseConv2D(
        (1, k),
        (1, stride),
        sides if isinstance(sides, str) else ((0, 0), sides),
        multiplier,
        data_format,
        dilation_rate=(1, dilation),
        weights=[kernel[np.newaxis], bias],
        allow_strided_dilation=True,
    )
    row = 2 if first else 1
    same_bits(
        flat.plan(np.expand_dims(x, row).shape, isa=isa)(np.expand_dims(x, row)),
        np.expand_dims(y, row),
    )


def test_causal_outputs_depend_on_no_later_element() -> None:
    x, kernel = rng.standard_normal((1, 30, 4)), rng.standard_normal((3, 4, 1))
    y = depthwise_conv1d(x, kernel, padding="causal", dilation_rate=4)
    x[:, 17:] = np.nan
    again = depthwise_conv1d(x, kernel, padding="causal", dilation_rate=4)
    same_bits(again[:, :17], y[:, :17])
    assert np.isnan(again[:, 17:]).any()


def test_config_is_that_of_keras() -> None:
    """What keras.layers.DepthwiseConv1D(3, 2, 'same', 2, activation='relu').get_config() has."""
    layer = DepthwiseConv1D(3, 2, "same", 2, activation="relu", name="dw")
    found = layer.get_config()
    assert found["kernel_size"] == (3,)
    assert found["strides"] == (2,)
    assert found["dilation_rate"] == (1,)
    assert found["padding"] == "same"
    assert (layer.kernel_size, layer.strides, layer.dilation_rate) == ((3,), (2,), (1,))
    assert sorted(found) == sorted(DepthwiseConv2D(3).get_config())
    again = DepthwiseConv1D.from_config(json.loads(json.dumps(found)))
    assert again.same_config(layer)
    assert not DepthwiseConv2D((1, 3)).same_config(layer)
    for padding in ("causal", 2, (3, 1)):
        layer = DepthwiseConv1D(3, padding=padding, dilation_rate=2)
        again = DepthwiseConv1D.from_config(json.loads(json.dumps(layer.get_config())))
        assert again.same_config(layer)
        assert again.padding == ((2, 2) if padding == 2 else padding)
    x = rng.standard_normal((1, 9, 4)).astype("f")
    layer = DepthwiseConv1D(3, padding="causal")
    layer(x)
    for other in (copy.copy(layer), pickle.loads(pickle.dumps(layer))):
        same_bits(other(x), layer(x))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"kernel_size": (1, 3)}, "kernel_size: expected a positive integer"),
        ({"kernel_size": 3, "strides": (1, 2)}, "strides: expected"),
        ({"kernel_size": 3, "padding": "full"}, "padding: expected 'valid', 'same', 'causal'"),
        ({"kernel_size": 3, "padding": ((0, 0), (1, 1))}, "padding: expected"),
        ({"kernel_size": 3, "input_shape": (8, 8, 4)}, "input_shape: expected two sizes"),
        ({"kernel_size": 3, "strides": 2, "dilation_rate": 2}, "allow_strided_dilation"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        DepthwiseConv1D(**arguments)


def test_wrong_inputs() -> None:
    layer = DepthwiseConv1D(3, name="dw")
    with pytest.raises(ValueError, match=r"dw: expected an input of rank 3, \(N, L, C\)"):
        layer(np.zeros((1, 8, 8, 4), np.float32))
    with pytest.raises(ValueError, match="length: expected an input"):
        layer(np.zeros((1, 2, 4), np.float32))
    with pytest.raises(ValueError, match=r"x: expected rank 3, \(N, C, L\)"):
        depthwise_conv1d(np.zeros((8, 4)), np.zeros((3, 4, 1)), data_format="channels_first")
    with pytest.raises(ValueError, match=r"kernel: expected shape \(k, C, M\)"):
        depthwise_conv1d(np.zeros((1, 8, 4)), np.zeros((1, 3, 4, 1)))
    with pytest.raises(TypeError, match="DepthwiseConv1D: unexpected keyword argument 'stride'"):
        DepthwiseConv1D(3, stride=2)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="padding: expected 'valid', 'same', an integer"):
        DepthwiseConv2D(3, padding="causal")  # type: ignore[arg-type]


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("activation", [None, "silu"])
def test_gradients(activation: str | None, data_format: Any) -> None:
    """To the bit those of height 1, which are tested; and by finite differences in float64."""
    first = data_format == "channels_first"
    shape = (2, 3, 11) if first else (2, 11, 3)
    x, kernel = rng.standard_normal(shape), rng.standard_normal((3, 3, 2))
    layer = DepthwiseConv1D(
        3,
        padding="causal",
        depth_multiplier=2,
        dilation_rate=2,
        activation=activation,
        data_format=data_format,
        weights=[kernel, rng.standard_normal(6)],
        dtype="float64",
    )
    y, pullback = layer.vjp(x)
    dy = rng.standard_normal(y.shape)
    grads = pullback(dy)
    assert grads.input is not None
    assert grads.input.shape == x.shape
    assert grads.kernel is not None
    assert grads.kernel.shape == kernel.shape
    if activation is None:
        row = 2 if first else 1
        arguments: dict[str, Any] = {
            "padding": ((0, 0), (4, 0)),
            "dilation_rate": (1, 2),
            "data_format": data_format,
        }
        tall = np.expand_dims(dy, row)
        dx = depthwise_conv2d_input_grad(
            tall, kernel[np.newaxis], np.expand_dims(x, row).shape, **arguments
        )
        same_bits(grads.input, np.squeeze(dx, row))
        dk = depthwise_conv2d_kernel_grad(tall, np.expand_dims(x, row), (1, 3, 3, 2), **arguments)
        same_bits(grads.kernel, dk[0])
    step = 1e-6
    for index in [(0, 0, 0), (1, 2, 2)]:
        moved = x.copy()
        moved[index] += step
        slope = ((layer(moved) - y) * dy).sum() / step
        assert abs(slope - grads.input[index]) < 1e-4


def test_training_and_folding() -> None:
    """A causal filter is found; a batch normalization is folded."""
    x = rng.standard_normal((4, 64, 3)).astype("f")
    wanted = depthwise_conv1d(x, np.float32([[[1]] * 3, [[-2]] * 3]), padding="causal")
    layer = DepthwiseConv1D(2, padding="causal")
    adam = optimizers.Adam(0.05)
    losses = []
    for _ in range(150):
        y, pullback = layer.vjp(x)
        losses.append(float(np.square(y - wanted).mean()))
        adam.apply(layer, pullback(2 * (y - wanted) / y.size, input=False))
    assert losses[-1] < losses[0] / 100
    folded = dwconv.fold_batch_norm(layer, [2] * 3, [1] * 3, [0] * 3, [1] * 3, epsilon=0)
    assert isinstance(folded, DepthwiseConv1D)
    np.testing.assert_allclose(folded(x), layer(x) * 2 + 1, atol=1e-5)


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".keras", ".json"])
@pytest.mark.parametrize("alone", [True, False])
def test_files(suffix: str, alone: bool, tmp_path: Path) -> None:
    x = rng.standard_normal((1, 12, 4)).astype("f")
    layer = DepthwiseConv1D(3, padding="same", dilation_rate=2, name="dw")
    model: Any = layer if alone else Sequential([layer, DepthwiseConv1D(2, 2, name="second")])
    y = model(x)
    path = tmp_path / f"file{suffix}"
    model.save(path)
    again = dwconv.load(path)
    assert type(again) is type(model)
    if suffix != ".json":  # which has no weights, so that nothing is built
        assert again.get_config() == model.get_config()
    layers = dwconv.load_layers(path)
    assert all(type(each) is DepthwiseConv1D for each in layers.values())
    assert set(layers.kinds.values()) == {"DepthwiseConv1D"}
    if suffix != ".json":
        same_bits(again(x), y)
        same_bits(next(iter(layers.values()))(x), layer(x))
    if suffix == ".keras":
        fresh = DepthwiseConv1D(3, padding="same", dilation_rate=2, name="dw")
        fresh.load_weights(path)
        same_bits(fresh(x), layer(x))


def test_what_keras_has_not_stays_in_our_files(tmp_path: Path) -> None:
    x = rng.standard_normal((1, 12, 4)).astype("f")
    image = rng.standard_normal((1, 9, 8, 4)).astype("f")
    cases: list[tuple[Any, Any]] = [
        (DepthwiseConv1D(3, padding="causal", name="dw"), x),
        (DepthwiseConv1D(3, padding=(2, 1), name="dw"), x),
        (DepthwiseConv2D(3, padding=((1, 0), (2, 1)), name="dw"), image),
    ]
    for layer, array in cases:
        y = layer(array)
        for suffix in (".safetensors", ".npz"):
            layer.save(tmp_path / f"own{suffix}")
            again = dwconv.load(tmp_path / f"own{suffix}")
            assert again.same_config(layer)
            same_bits(again(array), y)
        for suffix in (".keras", ".json"):
            for each in (layer, Sequential([layer])):
                with pytest.raises(ValueError, match=r"dw: padding: expected 'valid' or 'same'"):
                    each.save(tmp_path / f"other{suffix}")
                assert not (tmp_path / f"other{suffix}").exists()


@pytest.mark.parametrize(
    ("padding", "full"),
    [(1, ((1, 1), (1, 1))), ((1, 2), ((1, 1), (2, 2))), (((0, 1), (2, 3)), ((0, 1), (2, 3)))],
)
def test_explicit_padding_of_images(padding: Any, full: Any) -> None:
    """In the layer, its plan, config and gradients as in the function."""
    x, kernel = rng.standard_normal((2, 9, 8, 5)).astype("f"), rng.standard_normal((3, 3, 5, 1))
    layer = DepthwiseConv2D(3, padding=padding, weights=[kernel.astype("f")], use_bias=False)
    assert layer.padding == full
    y = layer(x)
    assert layer.compute_output_shape(x.shape) == y.shape
    same_bits(y, dwconv.depthwise_conv2d(x, kernel.astype("f"), padding=padding))
    wide = np.pad(x, ((0, 0), *full, (0, 0)))
    np.testing.assert_array_equal(y, dwconv.depthwise_conv2d(wide, kernel.astype("f")))
    same_bits(layer.plan(x.shape)(x), y)
    again = DepthwiseConv2D.from_config(json.loads(json.dumps(layer.get_config())))
    assert again.padding == full
    grads = layer.vjp(x)[1](np.ones_like(y))
    same_bits(
        grads.input,
        depthwise_conv2d_input_grad(np.ones_like(y), kernel.astype("f"), x.shape, padding=full),
    )


def test_functions_of_r() -> None:
    x = np.zeros((2, 8, 4), np.float32)
    assert dwconv.layer_depthwise_conv_1d(x, 3, padding="causal").shape == (2, 8, 4)
    layer = dwconv.layer_depthwise_conv_1d(None, 3.0, 2.0, depth_multiplier=2.0, name="dw")
    assert isinstance(layer, DepthwiseConv1D)
    assert layer.compute_output_shape((None, 9, 4)) == (None, 4, 8)
    model = dwconv.layer_depthwise_conv_1d(layer, 2)
    assert isinstance(model, Sequential)
    assert dwconv.layer_depthwise_conv_1d(model, 2) is model
