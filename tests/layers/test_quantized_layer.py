"""`QuantizedDepthwiseConv2D`: calls, files, and how it is made of a layer of floats."""

from __future__ import annotations

import copy
import json
import pickle
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import assert_same_bits

import dwconv
from dwconv import DepthwiseConv2D, FormatError, QuantizedDepthwiseConv2D, reference

OPTIONS: dict[str, Any] = {
    "x_scale": 0.05,
    "x_zero_point": np.uint8(7),
    "y_scale": 0.3,
    "y_zero_point": np.int8(-9),
    "strides": (2, 1),
    "padding": ((1, 0), (2, 1)),
    "dilation_rate": (1, 2),
    "activation": "relu6",
}


def arrays(channels: int = 20, multiplier: int = 1, seed: int = 3) -> tuple[Any, Any, Any]:
    """kernel, bias, kernel_scale"""
    rng = np.random.default_rng(seed)
    kernel = rng.integers(-128, 127, (3, 2, channels, multiplier), endpoint=True).astype(np.int8)
    bias = rng.integers(-500, 500, channels * multiplier).astype(np.int32)
    return kernel, bias, rng.uniform(0.001, 0.02, channels * multiplier).astype(np.float32)


def make(**changes: Any) -> QuantizedDepthwiseConv2D:
    kernel, bias, scale = arrays()
    return QuantizedDepthwiseConv2D(
        kernel, bias, kernel_scale=scale, name="dw", **{**OPTIONS, **changes}
    )


def images(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 255, shape, endpoint=True).astype(np.uint8)


def test_calls() -> None:
    """As the reference, for several sizes of images and batches, again and again."""
    layer = make()
    kernel, bias, scale = arrays()
    for shape in [(1, 5, 6, 20), (3, 5, 6, 20), (0, 5, 6, 20), (2, 9, 4, 20), (1, 5, 6, 20)]:
        x = images(*shape)
        y = layer(x)
        expected = reference.quantized_depthwise_conv2d(
            x, kernel, bias, kernel_scale=scale, **OPTIONS
        )
        assert_same_bits(y, expected, shape)
        assert layer.compute_output_shape(shape) == y.shape
        out = np.empty_like(y)
        assert layer(x, out=out, num_threads=2) is out
        assert_same_bits(out, y, shape)


def test_sizes_of_images_beyond_those_that_are_kept() -> None:
    layer = make()
    for width in [*range(3, 30), 3]:
        x = images(1, 4, width, 20)
        fresh = make()(x)
        assert_same_bits(layer(x), fresh, width)


def test_threads_that_share_it() -> None:
    layer, wrong = make(), []
    inputs = [images(1, 4, width, 20) for width in range(3, 23)]
    expected = [make()(x) for x in inputs]

    def work() -> None:
        for x, wanted in zip(inputs * 5, expected * 5, strict=True):
            if not np.array_equal(layer(x), wanted):
                wrong.append(x.shape)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_it_is_frozen() -> None:
    kernel, bias, scale = arrays()
    layer = QuantizedDepthwiseConv2D(kernel, bias, kernel_scale=scale, **OPTIONS)
    x = images(1, 5, 6, 20)
    before = layer(x)
    kernel[:] = 0  # a copy was made
    assert_same_bits(layer(x), before, "after a change of the caller's")
    for array in (layer.kernel, layer.bias, layer.kernel_scale):
        assert array is not None
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


@pytest.mark.parametrize(
    ("changes", "x", "error", "message"),
    [
        ({}, np.zeros((1, 5, 6, 20), np.int8), TypeError, "^x: expected dtype uint8"),
        ({}, np.zeros((1, 5, 6, 20)), TypeError, "^x: expected dtype uint8"),
        ({}, np.zeros((5, 6, 20), np.uint8), ValueError, "^x: expected rank 4"),
        ({}, np.zeros((1, 5, 6, 19), np.uint8), ValueError, "^kernel: expected shape"),
        ({"activation": "gelu"}, None, ValueError, "^activation: "),
        ({"x_scale": -1}, None, ValueError, "^x_scale: "),
        ({"y_zero_point": 200}, None, ValueError, "^y_zero_point: "),
        ({"name": "a/b"}, None, ValueError, "^name: "),
    ],
)
def test_bad_arguments(
    changes: dict[str, Any], x: Any, error: type[Exception], message: str
) -> None:
    kernel, bias, scale = arrays()
    options = {"name": "dw", **OPTIONS, **changes}
    with pytest.raises(error, match=message):
        QuantizedDepthwiseConv2D(kernel, bias, kernel_scale=scale, **options)(x)


# ---- files ---------------------------------------------------------------------------------------


def assert_same_layer(a: QuantizedDepthwiseConv2D, b: QuantizedDepthwiseConv2D) -> None:
    assert a.get_config() == b.get_config()
    for one, other in ((a.kernel, b.kernel), (a.bias, b.bias), (a.kernel_scale, b.kernel_scale)):
        if one is None:
            assert other is None
        else:
            assert_same_bits(one, other, "a copy")
    x = images(2, 5, 6, 20).astype(a.x_zero_point.dtype)
    assert_same_bits(a(x), b(x), "a copy")


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
@pytest.mark.parametrize("bias", [True, False])
def test_files(suffix: str, bias: bool, tmp_path: Path) -> None:
    kernel, biases, scale = arrays()
    options = {**OPTIONS, "y_zero_point": np.uint8(3), "x_scale": 1 / 3}
    layer = QuantizedDepthwiseConv2D(
        kernel, biases if bias else None, kernel_scale=scale, **options, name="one"
    )
    layer(images(1, 4, 4, 20))
    path = tmp_path / f"layer{suffix}"
    layer.save(path)
    found = dwconv.load(path)
    assert type(found) is QuantizedDepthwiseConv2D
    assert_same_layer(layer, found)


def test_other_suffixes(tmp_path: Path) -> None:
    for name in ("a.keras", "a.json", "a.h5", "a"):
        with pytest.raises(ValueError, match=r"^path: expected a name that ends in .safetensors"):
            make().save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_config_goes_through_json() -> None:
    layer = make()
    config = json.loads(json.dumps(layer.get_config()))
    again = QuantizedDepthwiseConv2D.from_config(
        config, layer.kernel, layer.bias, layer.kernel_scale
    )
    assert_same_layer(layer, again)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("x_scale"), "expected a value of 'x_scale'"),
        (lambda c: c.pop("y_dtype"), "expected a value of 'y_dtype'"),
        (lambda c: c.update(y_dtype="int16"), "y_dtype: expected int8 or uint8"),
        (lambda c: c.update(x_dtype=[1]), "x_dtype: expected int8 or uint8"),
        (lambda c: c.update(x_zero_point=256), "zero_point: expected an integer from 0 to 255"),
        (lambda c: c.update(x_scale="a"), "x_scale: expected a positive number"),
        (lambda c: c.update(more=1), "unknown"),
        (lambda c: c.update(strides=0), "strides: "),
        (lambda c: c.update(activation=["relu"]), "activation: "),
        (lambda c: c.update(name=3), "name: "),
    ],
)
def test_damaged_files(change: Any, message: str, tmp_path: Path) -> None:
    """Each is a FormatError that names the file."""
    from dwconv.formats import store
    from dwconv.layers import quantized_depthwise_conv2d as module

    layer = make()
    config = layer.get_config()
    change(config)
    path = tmp_path / "bad.safetensors"
    document = {"class_name": module.CLASS_NAME, "config": config}
    assert layer.bias is not None
    tensors = {"kernel": layer.kernel, "bias": layer.bias, "kernel_scale": layer.kernel_scale}
    store.write(path, document, tensors)
    with pytest.raises(FormatError, match=f"bad.safetensors: .*{message}"):
        dwconv.load(path)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"kernel": np.zeros((3, 3, 2, 1), np.int8)}, "expected a config, a kernel"),
        ({"kernel": np.zeros((3, 3, 2, 1), np.float32)}, "kernel: expected dtype int8"),
        ({"kernel": np.zeros((3, 3, 2), np.int8)}, "kernel: expected shape"),
        ({"bias": np.zeros(2, np.float32)}, "bias: expected dtype int32"),
        ({"bias": np.zeros(3, np.int32)}, "bias: expected shape"),
        ({"kernel_scale": np.zeros(2, np.float32)}, "kernel_scale: expected positive"),
        ({"other": np.zeros(2, np.float32)}, "expected arrays"),
    ],
)
def test_damaged_tensors(tensors: dict[str, Any], message: str, tmp_path: Path) -> None:
    from dwconv.formats import store
    from dwconv.layers import quantized_depthwise_conv2d as module

    good = {"kernel": np.zeros((3, 3, 2, 1), np.int8), "kernel_scale": np.ones(2, np.float32)}
    written = tensors if message.startswith("expected a config") else {**good, **tensors}
    path = tmp_path / "bad.npz"
    config = {**make().get_config(), "padding": "same", "dilation_rate": 1, "strides": 1}
    store.write(path, {"class_name": module.CLASS_NAME, "config": config}, written)
    with pytest.raises(FormatError, match=f"bad.npz: .*{message}"):
        dwconv.load(path)


def test_copies() -> None:
    layer = make()
    layer(images(1, 5, 6, 20))
    for other in (pickle.loads(pickle.dumps(layer)), copy.deepcopy(layer), copy.copy(layer)):
        assert_same_layer(layer, other)
        assert not other.kernel.flags.writeable


# ---- from floats ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("activation", [None, "relu", "relu6"])
@pytest.mark.parametrize("use_bias", [True, False])
def test_quantize(dtype: str, activation: str | None, use_bias: bool) -> None:
    """Near the layer of floats, within the sum of what is rounded:

    each x by x_scale / 2, each weight by kernel_scale / 2, the bias by half of their product, y by
    y_scale / 2; products of both roundings, and those of float32, are less than the rest of it.
    """
    rng = np.random.default_rng(5)
    channels = 9
    kernel = rng.standard_normal((3, 3, channels, 2)).astype(np.float32)
    bias = rng.standard_normal(2 * channels).astype(np.float32)
    layer = DepthwiseConv2D(
        3,
        strides=2,
        padding="same",
        depth_multiplier=2,
        activation=activation,
        use_bias=use_bias,
        weights=[kernel, bias] if use_bias else [kernel],
    )
    x = rng.standard_normal((2, 9, 11, channels)).astype(np.float32)
    small = layer.quantize(x, dtype)
    assert small.x_zero_point.dtype == small.y_zero_point.dtype == dtype
    assert small.name == layer.name
    y = small.dequantize_output(small(small.quantize_input(x)))
    geometry: dict[str, Any] = {"strides": 2, "padding": "same"}
    x_step, w_step = float(small.x_scale) / 2, small.kernel_scale.astype(np.float64) / 2
    steps = w_step.reshape(1, 1, channels, 2) * np.ones((3, 3, 1, 1))
    bound = reference.depthwise_conv2d(
        np.full_like(x, x_step), np.abs(kernel) + steps, **geometry
    ) + reference.depthwise_conv2d(np.abs(x), steps, **geometry)
    bound += 2 * x_step * w_step + float(small.y_scale) * 0.501
    assert (np.abs(y - layer(x)) <= bound).all()
    # It computes something: errors are small beside what it computes.
    assert np.abs(y - layer(x)).mean() < 0.02 * np.ptp(layer(x))


def test_quantized_weights_are_symmetric() -> None:
    kernel = np.float32([[[[-2.0], [0.5], [0.0]]]])
    layer = DepthwiseConv2D(1, weights=[kernel, np.float32([1, -1, 3])])
    small = layer.quantize(np.float32([[[[1, 1, 1]]]]))
    assert small.kernel.ravel().tolist() == [-127, 127, 0]
    assert_same_bits(small.kernel_scale[:2], np.float32([2 / 127, 0.5 / 127]), "scales")
    y = small.dequantize_output(small(small.quantize_input(np.float32([[[[1, 1, 1]]]]))))
    assert np.abs(y - [-1, -0.5, 3]).max() <= float(small.y_scale)


def test_examples_of_several_arrays() -> None:
    layer = DepthwiseConv2D(1, weights=[np.float32([[[[1.0]]]]), np.float32([0])])
    small = layer.quantize(np.full((1, 2, 2, 1), value, np.float32) for value in (-1, 3, 2))
    assert float(small.x_scale) == np.float32(4 / 255)
    assert int(small.x_zero_point) == -128 + round(255 / 4)
    x = np.float32([[[[-1]], [[3]], [[100]], [[-100]], [[np.nan]], [[0]]]])
    found = small.quantize_input(x).ravel().tolist()
    assert found == [-128, 127, 127, -128, int(small.x_zero_point), int(small.x_zero_point)]


def test_a_large_bias_fits() -> None:
    """Beside tiny weights the scale is the bias's."""
    layer = DepthwiseConv2D(1, weights=[np.float32([[[[1e-12]]]]), np.float32([5])])
    small = layer.quantize(np.ones((1, 1, 1, 1), np.float32))
    y = small.dequantize_output(small(small.quantize_input(np.ones((1, 1, 1, 1), np.float32))))
    assert abs(y.item() - 5) <= float(small.y_scale)


def test_zeros() -> None:
    layer = DepthwiseConv2D(1, weights=[np.zeros((1, 1, 1, 1)), np.zeros(1)])
    small = layer.quantize(np.zeros((1, 1, 1, 1), np.float32))
    x = np.zeros((1, 1, 1, 1), np.float32)
    assert small.dequantize_output(small(small.quantize_input(x))).item() == 0


@pytest.mark.parametrize(
    ("arguments", "x", "dtype", "message"),
    [
        ({"activation": "gelu"}, np.ones((1, 3, 3, 1)), "int8", "expected an activation of"),
        ({"data_format": "channels_first"}, np.ones((1, 1, 3, 3)), "int8", "channels_last"),
        ({}, np.ones((1, 3, 3, 1)), "int16", "^dtype: expected int8 or uint8"),
        ({}, [], "int8", "^calibration: expected one array"),
        ({}, np.ones((0, 3, 3, 1)), "int8", "^calibration: expected one array"),
        ({}, np.full((1, 3, 3, 1), np.nan), "int8", "^calibration: expected finite"),
    ],
)
def test_what_cannot_be_quantized(
    arguments: dict[str, Any], x: Any, dtype: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        DepthwiseConv2D(3, **arguments).quantize(x, dtype)


def test_no_examples_at_all() -> None:
    with pytest.raises(TypeError, match=r"^calibration: expected an array .* received NoneType"):
        DepthwiseConv2D(3).quantize(None)  # type: ignore[arg-type]


@pytest.mark.parametrize("multiplier", [2, 3, 4, 8])
def test_depth_multiplier(multiplier: int) -> None:
    """The bits of one channel at a time."""
    rng = np.random.default_rng(multiplier)
    x = rng.integers(-128, 128, (2, 5, 6, 3)).astype(np.int8)
    kernel = rng.integers(-128, 128, (3, 3, 3, multiplier)).astype(np.int8)
    options = {"x_scale": 0.1, "x_zero_point": np.int8(4), "y_scale": 0.2}
    options |= {"kernel_scale": 0.02, "y_zero_point": np.uint8(9), "padding": "same"}
    y = QuantizedDepthwiseConv2D(kernel, **options)(x)
    for c in range(3):
        for m in range(multiplier):
            one = QuantizedDepthwiseConv2D(kernel[..., c : c + 1, m : m + 1], **options)
            assert (y[..., c * multiplier + m] == one(x[..., c : c + 1])[..., 0]).all()
