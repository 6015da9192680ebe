"""The layer: arguments, building, calling, weights, penalties, copies."""

from __future__ import annotations

import copy
import inspect
import pickle
import threading
from functools import partial
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import assert_same_bits
from support.layers import check_output, draw, isolate

import dwconv
from dwconv import DepthwiseConv2D
from dwconv.layers.config import ARGUMENTS


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)


def built(channels: int = 3, **arguments: Any) -> DepthwiseConv2D:
    """A layer with weights that are not what its initializers make, bias included."""
    layer = DepthwiseConv2D(**{"kernel_size": 3, **arguments})
    first = layer.data_format == "channels_first"
    layer.build((None, channels, None, None) if first else (None, None, None, channels))
    layer.set_weights([draw(*w.shape, seed=i) for i, w in enumerate(layer.weights)])
    return layer


# ---- results -------------------------------------------------------------------------------------


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"kernel_size": (2, 3), "depth_multiplier": 2},
        {"strides": (2, 1), "activation": "relu"},
        {"dilation_rate": (1, 2), "use_bias": False, "activation": "relu6"},
        {"dtype": "float64", "kernel_size": 1},
    ],
)
def test_output_is_the_references(
    arguments: dict[str, Any], padding: str, data_format: str
) -> None:
    layer = built(padding=padding, data_format=data_format, **arguments)
    for seed, batch in enumerate((1, 3)):
        x = draw(batch, 7, 8, 3, seed=seed)
        if data_format == "channels_first":
            x = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
        y = layer(x)
        check_output(layer, x, y)
        assert y.shape == layer.compute_output_shape(x.shape)
        assert y.flags.c_contiguous
        assert_same_bits(layer(x), y, layer)  # by the plan that the first call left


def test_output_worked_out_by_hand() -> None:
    # Two channels, M 2: output channel c*M + m; kernel (1, 2): y = x[w]*k[0] + x[w+1]*k[1] + bias.
    kernel = np.array([[[[1, 2], [3, 4]], [[10, 20], [30, 40]]]])
    layer = DepthwiseConv2D((1, 2), depth_multiplier=2, weights=[kernel, [0, 1, 2, 3]])
    x = np.array([[[[1, 5], [2, 6], [3, 7]]]])
    expected = [[[[21, 43, 197, 263], [32, 65, 230, 307]]]]
    assert layer(x).tolist() == expected


def test_same_padding_puts_the_odd_pixel_after() -> None:
    # n 4, k 3, s 2: out 2, total (2-1)*2 + 3 - 4 = 1, before 0, after 1.
    layer = DepthwiseConv2D((1, 3), strides=2, padding="same", weights=[np.ones((1, 3, 1, 1)), [0]])
    assert layer(np.arange(1, 5).reshape(1, 1, 4, 1)).ravel().tolist() == [6, 7]


def test_a_padded_tap_contributes_nothing_even_if_its_weight_is_infinite() -> None:
    kernel = np.zeros((1, 3, 1, 1), np.float32)
    kernel[0, 0] = np.nan
    kernel[0, 1] = 2
    layer = DepthwiseConv2D((1, 3), padding="same", weights=[kernel, [0]])
    y = layer(np.array([[[[1.0], [3.0]]]], np.float32)).ravel()
    assert y[0] == 2
    assert np.isnan(y[1])


@pytest.mark.parametrize("dtype", ["float64", "int64", "uint8", "bool", "float16", ">f4"])
def test_an_input_of_another_dtype_is_cast(dtype: str) -> None:
    layer = built()
    x = (draw(1, 5, 5, 3) * 10).clip(0, 100).astype(dtype)
    assert_same_bits(layer(x), layer(x.astype(np.float32)), dtype)


def test_inputs_in_any_form() -> None:
    layer = built()
    x = draw(1, 6, 6, 3)
    expected = layer(x)
    wide = np.zeros((1, 6, 6, 6), np.float32)
    wide[..., ::2] = x
    frozen = x.copy()
    frozen.flags.writeable = False
    unaligned = np.frombuffer(b"\0" + x.tobytes(), np.float32, offset=1).reshape(x.shape)
    forms = {
        "list": x.tolist(),
        "strided": wide[..., ::2],
        "Fortran": np.asfortranarray(x),
        "frozen": frozen,
        "unaligned": unaligned,
    }
    for name, form in forms.items():
        assert_same_bits(layer(form), expected, name)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("activation", [None, "relu", "tanh"])
def test_bfloat16_is_computed_in_float32_and_rounded_once(
    data_format: str, activation: Any
) -> None:
    bfloat16 = ml_dtypes.bfloat16
    layer = built(data_format=data_format, activation=activation, dtype="bfloat16")
    x = draw(2, 3, 5, 3).astype(bfloat16)
    kernel, bias = (array.astype(np.float32) for array in layer.get_weights())
    same = {"data_format": data_format, "activation": activation}
    wide = DepthwiseConv2D(3, weights=[kernel, bias], **same)(x.astype(np.float32))
    y = layer(x)
    assert y.dtype == bfloat16
    assert (y == wide.astype(bfloat16)).all()
    assert (layer(x.astype(np.float64)) == y).all()
    y = dwconv.depthwise_conv2d(x, kernel.astype(bfloat16), bias.astype(bfloat16), **same)
    assert y.dtype == bfloat16
    assert (y == wide.astype(bfloat16)).all()
    mixed = DepthwiseConv2D(3, dtype="mixed_bfloat16", weights=[kernel, bias], **same)
    assert (mixed(x) == y).all()
    assert (mixed.variable_dtype, mixed.compute_dtype) == (np.float32, bfloat16)


def test_float16_is_computed_in_float32_and_rounded_once() -> None:
    # 2048 + 1 + 1: in float16 each sum would round back to 2048; rounding once gives 2050.
    layer = DepthwiseConv2D((1, 3), dtype="float16", weights=[np.ones((1, 3, 1, 1)), [0]])
    y = layer(np.array([[[[2048], [1], [1]]]]))
    assert y.dtype == np.float16
    assert y.item() == 2050
    # The activation comes before the rounding: 2049 + tanh-like changes would be lost otherwise.
    layer.activation = lambda y: y - 2049
    assert layer(np.array([[[[2048], [1], [0]]]])).item() == 0


@pytest.mark.parametrize("dtype", ["float16", "mixed_float16"])
def test_a_wider_input_is_rounded_before_the_computation(dtype: str) -> None:
    # 2049 is 2048 in float16, so that the sum with -2048 is 0, not 1.
    layer = DepthwiseConv2D(1, dtype=dtype, weights=[np.ones((1, 1, 1, 1)), [-2048]])
    for wide in (np.float32, np.float64, np.int64):
        assert layer(np.full((1, 1, 1, 1), 2049, wide)).item() == 0


def test_mixed_float16_keeps_float32_weights_and_computes_with_them_rounded() -> None:
    kernel = np.full((1, 1, 1, 1), 1 + 2**-20)
    layer = DepthwiseConv2D(1, dtype="mixed_float16", use_bias=False, weights=[kernel])
    y = layer(np.ones((1, 1, 1, 1)))
    assert (y.dtype, y.item()) == (np.float16, 1)
    assert layer.get_weights()[0].dtype == layer.variable_dtype == layer.dtype == np.float32
    assert layer.get_weights()[0].item() == 1 + 2**-20
    assert layer.compute_dtype == np.float16


def test_float16_overflows_quietly_to_infinity() -> None:
    layer = DepthwiseConv2D(1, dtype="float16", weights=[np.full((1, 1, 1, 1), 2.0), [0]])
    with np.errstate(all="raise"):
        assert layer(np.full((1, 1, 1, 1), 60000.0)).item() == np.inf
        assert layer(np.full((1, 1, 1, 1), 1e6)).item() == np.inf


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_softmax_acts_on_the_last_axis(data_format: str) -> None:
    layer = built(data_format=data_format)
    x = draw(2, 6, 7, 3) if data_format == "channels_last" else draw(2, 3, 6, 7)
    plain = layer(x).astype(np.float64)
    layer.activation = "softmax"
    expected = np.exp(plain) / np.exp(plain).sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(layer(x), expected, rtol=1e-5)


def test_an_activation_may_halve_the_last_axis() -> None:
    layer = built(depth_multiplier=2)
    x = draw(1, 5, 5, 3)
    plain = layer(x)
    layer.activation = "glu"
    assert layer.compute_output_shape((None, 5, 5, 3)) == (None, 3, 3, 3)
    expected = plain[..., :3] / (1 + np.exp(-plain[..., 3:].astype(np.float64)))
    np.testing.assert_allclose(layer(x), expected, rtol=1e-5)


def test_setting_the_activation_takes_effect_after_a_call() -> None:
    layer = built(activation="relu")
    x = draw(1, 5, 5, 3)
    assert layer(x).min() == 0
    layer.activation = None
    assert layer(x).min() < 0
    check_output(layer, x, layer(x))


@pytest.mark.parametrize("bad", [lambda y: y[..., :1], lambda y: y.astype(complex), lambda y: None])
def test_a_bad_activation_is_an_error(bad: Any) -> None:
    layer = built(activation=bad)
    with pytest.raises(ValueError, match=r"depthwise_conv2d: expected a function that returns"):
        layer(draw(1, 5, 5, 3))


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_an_empty_batch_gives_an_empty_output(dtype: str, data_format: str) -> None:
    layer = built(dtype=dtype, data_format=data_format, depth_multiplier=2, activation="tanh")
    shape = (0, 5, 6, 3) if data_format == "channels_last" else (0, 3, 5, 6)
    y = layer(np.zeros(shape))
    assert y.shape == ((0, 3, 4, 6) if data_format == "channels_last" else (0, 6, 3, 4))
    assert y.dtype == dtype


@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilation=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.sampled_from(["valid", "same"]),
    channels=st.integers(1, 5),
    multiplier=st.integers(1, 3),
    first=st.booleans(),
    batch=st.integers(0, 2),
)
@settings(max_examples=60)
def test_any_layer_agrees_with_the_reference_or_refuses(
    size: tuple[int, int],
    kernel: tuple[int, int],
    strides: tuple[int, int],
    dilation: tuple[int, int],
    padding: str,
    channels: int,
    multiplier: int,
    first: bool,
    batch: int,
) -> None:
    if strides != (1, 1):
        dilation = (1, 1)
    layer = DepthwiseConv2D(
        kernel,
        strides,
        padding,
        multiplier,
        "channels_first" if first else "channels_last",
        dilation_rate=dilation,
    )
    x = draw(batch, *((channels, *size) if first else (*size, channels)))
    too_small = padding == "valid" and any(
        n < (k - 1) * d + 1 for n, k, d in zip(size, kernel, dilation, strict=True)
    )
    if too_small:
        with pytest.raises(ValueError, match=r"makes an empty output"):
            layer(x)
        assert not layer.built
        return
    y = layer(x)
    assert y.shape == layer.compute_output_shape(x.shape) == layer.output_shape
    check_output(layer, x, y)


# ---- arguments -----------------------------------------------------------------------------------


def test_the_signature_has_the_documented_order() -> None:
    parameters = inspect.signature(DepthwiseConv2D).parameters
    positional = [p.name for p in parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert positional == ["kernel_size", "strides", "padding", "depth_multiplier", "data_format"]
    assert {*parameters} == ARGUMENTS | {"weights", "num_threads", "unknown"}
    assert {"activation", "trainable", "batch_input_shape"} <= ARGUMENTS


@pytest.mark.parametrize("name", ["kernel_size", "strides", "dilation_rate"])
@pytest.mark.parametrize(
    ("value", "expected"),
    [(2, (2, 2)), ([1, 2], (1, 2)), ((3.0, 1.0), (3, 1)), (np.int32(2), (2, 2)), (2.0, (2, 2))],
)
def test_pairs(name: str, value: Any, expected: tuple[int, int]) -> None:
    layer = DepthwiseConv2D(**{"kernel_size": 3, name: value})
    assert getattr(layer, name) == expected
    assert all(type(part) is int for part in getattr(layer, name))


@pytest.mark.parametrize("name", ["kernel_size", "strides", "dilation_rate"])
@pytest.mark.parametrize("value", [0, -1, True, 1.5, (1, 2, 3), (1,), "3", None, (2, 0), np.nan])
def test_bad_pairs_name_argument_and_value(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{name}: expected .*; received") as caught:
        DepthwiseConv2D(**{"kernel_size": 3, name: value})
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"padding": "causal"}, "padding: expected 'valid', 'same', an integer"),
        ({"padding": (1, 1, 1)}, "padding: expected 'valid', 'same', an integer"),
        ({"depth_multiplier": 0}, "depth_multiplier: expected a positive integer"),
        ({"depth_multiplier": 1.5}, "depth_multiplier: expected a positive integer"),
        ({"data_format": "NHWC"}, "data_format: expected 'channels_last'"),
        ({"use_bias": 1}, "use_bias: expected True or False; received 1"),
        ({"trainable": "yes"}, "trainable: expected True or False; received 'yes'"),
        ({"name": "a/b"}, "name: expected a non-empty string without '/'; received 'a/b'"),
        ({"name": ""}, "name: expected a non-empty string"),
        ({"name": 3}, "name: expected a non-empty string"),
        ({"strides": 2, "dilation_rate": (1, 2)}, r"received strides=\(2, 2\) and dilation_rate="),
        ({"dtype": "int16"}, "dtype: expected one of float16, bfloat16, float32, float64, int32"),
        ({"dtype": "complex64"}, "dtype: expected one of"),
        ({"dtype": "no such"}, "dtype: expected one of .* received 'no such'"),
        ({"dtype": object()}, "dtype: expected one of"),
        (
            {"dtype": {"class_name": "Foo", "config": {}}},
            "class_name of DTypePolicy, ",
        ),
        ({"activation": "rellu"}, "^activation: expected .*; received 'rellu'; .*'relu'"),
        ({"activation": 3}, "^activation: expected .*; received 3"),
        *(
            ({f"{weight}_{kind}": wrong}, f"^{weight}_{kind}: expected .*'{wrong}'; .*'{near}'")
            for kind, wrong, near in (
                ("initializer", "gloro_uniform", "glorot_uniform"),
                ("regularizer", "l1l3", "l1l2"),
                ("constraint", "maxnrm", "maxnorm"),
            )
            for weight in ("depthwise", "bias")
        ),
        (
            {"activity_regularizer": {"class_name": "L1", "config": {"l1": -1}}},
            "^activity_reg.*l1: ",
        ),
        ({"input_shape": (3, 3)}, "input_shape: expected three sizes"),
        ({"input_shape": "abc"}, "input_shape: expected a sequence"),
        ({"input_shape": (3, -3, 3)}, "input_shape: expected integers >= 0 or None; received -3"),
        ({"batch_input_shape": (3, 3, 3)}, "batch_input_shape: expected four sizes"),
        ({"batch_size": -1}, "batch_size: expected integers >= 0"),
        ({"weights": np.zeros(2)}, r"weights: expected \[kernel, bias\] as a list; received"),
        ({"weights": [np.zeros((3, 3, 2, 1))]}, r"\[kernel, bias\] as a list; received 1 items"),
        (
            {"weights": [np.zeros((3, 3, 2, 1)), [0, 0]], "use_bias": False},
            r"\[kernel\], there being no bias, as a list; received 2 items",
        ),
        (
            {"weights": [np.zeros((3, 3, 2, 2)), [0, 0]]},
            r"\(3, 3, any, 1\); received \(3, 3, 2, 2\)",
        ),
        ({"weights": [np.zeros((3, 3, 2, 1)), [0]]}, r"the bias: expected shape \(2,\)"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DepthwiseConv2D(**{"kernel_size": 3, **arguments})
    # What failed used up no name.
    assert DepthwiseConv2D(3).name == "depthwise_conv2d"


def test_weights_that_are_not_numbers_are_a_type_error() -> None:
    with pytest.raises(TypeError, match=r"weights\[0\], the kernel: expected an array of floats"):
        DepthwiseConv2D(1, use_bias=False, weights=[[[[["a"]]]]])


def test_unknown_keywords_are_named_with_the_nearest_valid_one() -> None:
    message = r"'actvation' \(nearest known: 'activation'.*\), 'stride' \(nearest known: 'strides'"
    for make in (DepthwiseConv2D, partial(dwconv.layer_depthwise_conv_2d, None)):
        with pytest.raises(TypeError, match=message):
            make(3, actvation="relu", stride=None)
    with pytest.raises(TypeError, match=message):
        DepthwiseConv2D.from_config({"kernel_size": 3, "actvation": "relu", "stride": 2})


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (None, "float32"),
        ("float64", "float64"),
        (np.float64, "float64"),
        (np.dtype(">f4"), "float32"),
        (float, "float64"),
        ("half", "float16"),
        ("bfloat16", "bfloat16"),
        (ml_dtypes.bfloat16, "bfloat16"),
        ({"class_name": "DTypePolicy", "config": {"name": "bfloat16"}}, "bfloat16"),
        ({"class_name": "Policy", "config": {"name": "float16"}}, "float16"),
        (
            {
                "module": "keras",
                "class_name": "DTypePolicy",
                "config": {"name": "float64"},
                "registered_name": None,
            },
            "float64",
        ),
    ],
)
def test_dtypes(dtype: Any, expected: str) -> None:
    layer = DepthwiseConv2D(1, dtype=dtype)
    assert layer.dtype.name == expected
    assert layer.dtype_policy.name == expected
    assert layer(np.ones((1, 1, 1, 1))).dtype.name == expected
    assert [w.dtype.name for w in layer.get_weights()] == [expected, expected]


def test_names_count_up_and_given_ones_do_not() -> None:
    names = [DepthwiseConv2D(1, name=n).name for n in (None, "mine", None, None)]
    assert names == ["depthwise_conv2d", "mine", "depthwise_conv2d_1", "depthwise_conv2d_2"]

    class MyHTTPConv2DLayer(DepthwiseConv2D):
        pass

    assert MyHTTPConv2DLayer(1).name == "my_http_conv2d_layer"


def test_names_are_unique_between_threads() -> None:
    names: list[str] = []
    threads = [
        threading.Thread(target=lambda: names.extend(DepthwiseConv2D(1).name for _ in range(50)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(names)) == len(names) == 200


def test_data_format_comes_from_keras_json(tmp_path: Path) -> None:
    (tmp_path / "keras.json").write_text('{"image_data_format": "channels_first"}')
    assert DepthwiseConv2D(3).data_format == "channels_first"
    assert DepthwiseConv2D(3).get_config()["data_format"] == "channels_first"
    assert DepthwiseConv2D(3, data_format="Channels_Last").data_format == "channels_last"
    (tmp_path / "keras.json").write_text("{")
    with pytest.warns(RuntimeWarning, match=r"keras\.json: expected"):
        assert DepthwiseConv2D(3).data_format == "channels_last"


@pytest.mark.parametrize(
    "name",
    [
        *("kernel_size", "strides", "padding", "depth_multiplier", "data_format", "use_bias"),
        *("dilation_rate", "dtype_policy", "allow_strided_dilation"),
    ],
)
def test_what_plans_depend_on_is_fixed(name: str) -> None:
    layer = DepthwiseConv2D(3)
    before = getattr(layer, name)
    with pytest.raises(AttributeError, match=name):
        setattr(layer, name, before)


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("activation", "relu", dwconv.activations.relu),
        ("trainable", np.False_, False),
        ("name", "other", "other"),
        ("depthwise_initializer", "ones", dwconv.initializers.Ones()),
        ("bias_initializer", None, dwconv.initializers.Zeros()),
        ("depthwise_regularizer", "l2", dwconv.regularizers.L2()),
        (
            "bias_regularizer",
            {"class_name": "L1", "config": {"l1": 1.0}},
            dwconv.regularizers.L1(1),
        ),
        ("activity_regularizer", abs, abs),
        ("depthwise_constraint", "non_neg", dwconv.constraints.NonNeg()),
        ("bias_constraint", None, None),
    ],
)
def test_what_may_be_set_is_read_as_at_construction(name: str, value: Any, kept: Any) -> None:
    layer = built()
    setattr(layer, name, value)
    assert getattr(layer, name) == kept
    assert layer.built
    if name not in ("trainable", "bias_constraint", "activity_regularizer"):
        written = layer.get_config()[name]
        assert written == DepthwiseConv2D(3, **{name: value}).get_config()[name]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("activation", "nope"), ("trainable", 1), ("name", "a/b"), ("name", None)),
        *(("depthwise_initializer", "no"), ("bias_regularizer", 3), ("bias_constraint", "no")),
    ],
)
def test_what_is_no_value_of_a_setting(name: str, value: Any) -> None:
    layer = built()
    before = getattr(layer, name)
    with pytest.raises(ValueError, match=f"^{name}: expected"):
        setattr(layer, name, value)
    assert getattr(layer, name) == before


def test_names_of_keras_2() -> None:
    layer = DepthwiseConv2D(3)
    assert layer.depthwise_kernel is None
    layer.build((None, 5, 5, 2))
    assert_same_bits(layer.depthwise_kernel, layer.kernel, "kernel")


def test_masks_are_passed_on() -> None:
    layer = DepthwiseConv2D(3)
    assert layer.supports_masking
    mask = np.ones((1, 5), bool)
    assert layer.compute_mask(np.ones((1, 5, 5, 2)), mask) is mask
    assert layer.compute_mask(np.ones((1, 5, 5, 2))) is None


# ---- strides together with dilation --------------------------------------------------------------


def test_strides_with_dilation_where_they_are_allowed() -> None:
    both: dict[str, Any] = {"strides": 2, "dilation_rate": (1, 3), "padding": "same"}
    with pytest.raises(ValueError, match="allow_strided_dilation=True computes both"):
        DepthwiseConv2D(3, **both)
    layer = DepthwiseConv2D(3, **both, allow_strided_dilation=True)
    x = draw(2, 9, 10, 3)
    y = layer(x)
    check_output(layer, x, y)
    assert y.shape == layer.compute_output_shape(x.shape) == (2, 5, 5, 3)
    gradient = layer.vjp(x)[1](np.ones_like(y)).input
    expected = dwconv.depthwise_conv2d_input_grad(np.ones_like(y), layer.kernel, x.shape, **both)
    assert_same_bits(gradient, expected, "dL/dx")
    for again in (DepthwiseConv2D.from_config(layer.get_config()), copy.copy(layer)):
        assert again.allow_strided_dilation
        assert again.same_config(layer)
    assert layer.get_config()["allow_strided_dilation"] is True
    assert "allow_strided_dilation" not in DepthwiseConv2D(3).get_config()
    with pytest.raises(ValueError, match=r"^allow_strided_dilation: expected True or False"):
        DepthwiseConv2D(3, allow_strided_dilation="yes")


def test_strides_with_dilation_in_configs_of_keras_3() -> None:
    """Keras 3 computes them; Keras 1 and 2 do not, and nobody knows who wrote a bare dict."""
    config = {"name": "both", "kernel_size": [3, 3], "strides": [2, 2], "dilation_rate": [2, 2]}
    layer = DepthwiseConv2D.from_config(config, generation=3)
    assert layer.allow_strided_dilation
    x = draw(1, 9, 9, 2)
    check_output(layer, x, layer(x))
    for generation in (None, 1, 2):
        with pytest.raises(ValueError, match="expected strides or dilation_rate to be 1"):
            DepthwiseConv2D.from_config(config, generation=generation)
    plain = DepthwiseConv2D.from_config({**config, "strides": [1, 1]}, generation=3)
    assert not plain.allow_strided_dilation
    entry = {"module": "keras.layers", "class_name": "DepthwiseConv2D", "config": config}
    assert dwconv.Sequential.from_config({"layers": [entry]}).layers[0].allow_strided_dilation


# ---- build ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "shape"),
    [
        ({"kernel_size": 9}, (None, 4, 4, 2)),
        ({"kernel_size": (1, 3)}, (1, None, 2, 2)),
        ({"kernel_size": 3, "dilation_rate": 4}, (None, 8, 9, 2)),
        ({"kernel_size": 3, "data_format": "channels_first"}, (None, 2, 2, 9)),
        ({"kernel_size": 3}, (1, 0, 9, 2)),
        ({"kernel_size": 1, "activation": "glu", "data_format": "channels_first"}, (1, 2, 3, 5)),
    ],
)
def test_build_refuses_what_a_call_would(arguments: dict[str, Any], shape: Any) -> None:
    layer = DepthwiseConv2D(**arguments)
    with pytest.raises(ValueError, match="expected"):
        layer.build(shape)
    assert not layer.built
    x = np.ones([1 if size is None else size for size in shape])
    with pytest.raises(ValueError, match="expected"):
        layer(x)


def test_repr_shows_what_is_not_default() -> None:
    layer = DepthwiseConv2D(3, 2, activation="relu", dtype="float64")
    shown = "<DepthwiseConv2D name='depthwise_conv2d', kernel_size=(3, 3), strides=(2, 2), "
    assert repr(layer) == f"{shown}activation='relu', dtype='float64', not built>"
    layer.build((None, 8, 8, 5))
    assert repr(layer).endswith(", built for 5 channels>")


# ---- building ------------------------------------------------------------------------------------


def test_built_by_the_first_call() -> None:
    layer = DepthwiseConv2D((2, 3), depth_multiplier=2)
    assert not layer.built
    assert layer.get_weights() == layer.weights == []
    assert layer.kernel is layer.bias is None
    layer(draw(1, 5, 5, 4))
    assert [w.shape for w in layer.get_weights()] == [(2, 3, 4, 2), (8,)]
    assert layer.count_params() == 2 * 3 * 4 * 2 + 8
    assert layer.input_shape == (1, 5, 5, 4)
    assert layer.output_shape == (1, 4, 3, 8)
    # glorot_uniform with fans kh*kw*C and kh*kw*M: within sqrt(6 / (24 + 12)).
    kernel, bias = layer.get_weights()
    assert 0 < np.abs(kernel).max() <= np.sqrt(6 / 36)
    assert len(np.unique(kernel)) > 40
    assert not bias.any()


def test_none_means_the_documented_initializers() -> None:
    layer = DepthwiseConv2D(3, depthwise_initializer=None, bias_initializer=None)
    assert layer.same_config(DepthwiseConv2D(3))


def test_initializers_in_every_form() -> None:
    array = draw(2, 2, 3, 1)
    assert (built_kernel(depthwise_initializer=array) == array).all()
    assert (built_kernel(depthwise_initializer="ones") == 1).all()
    config = {"class_name": "Constant", "config": {"value": 2}}
    assert (built_kernel(depthwise_initializer=config) == 2).all()
    seen: list[tuple[Any, Any]] = []

    def mine(shape: tuple[int, ...], dtype: Any = None) -> Any:
        seen.append((shape, dtype))
        return np.full(shape, 7)

    assert (built_kernel(depthwise_initializer=mine) == 7).all()
    assert seen == [((2, 2, 3, 1), np.dtype("float32"))]
    seeded = dwconv.initializers.get({"class_name": "HeNormal", "config": {"seed": 1}})
    first, second = (built_kernel(depthwise_initializer=seeded) for _ in range(2))
    assert_same_bits(first, second, seeded)


def built_kernel(**arguments: Any) -> Any:
    layer = DepthwiseConv2D(2, **arguments)
    layer.build((None, 4, 4, 3))
    return layer.kernel


def test_an_initializer_that_makes_another_shape_is_an_error() -> None:
    layer = DepthwiseConv2D(2, depthwise_initializer=lambda shape, dtype: np.zeros((1, 2)))
    with pytest.raises(ValueError, match=r"depthwise_initializer: expected shape \(2, 2, 3, 1\)"):
        layer.build((None, 4, 4, 3))
    assert not layer.built


def test_building_again_keeps_the_weights() -> None:
    layer = built()
    before = layer.get_weights()
    layer.build((1, 9, 9, 3))
    assert all((a == b).all() for a, b in zip(before, layer.get_weights(), strict=True))
    with pytest.raises(ValueError, match="expected 3 channels"):
        layer.build((1, 9, 9, 4))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (
            (None, 5, 5),
            r"expected an input of rank 4, \(N, H, W, C\); received shape \(None, 5, 5\)",
        ),
        ((None, 5, 5, None), "expected a known number of channels"),
        ((None, 5, 5, 0), "expected at least one channel"),
        (None, "expected an input_shape, here or at construction"),
        ("abcd", "expected a sequence of sizes"),
    ],
)
def test_shapes_that_cannot_be_built_for(shape: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DepthwiseConv2D(3).build(shape)


def test_declared_shapes() -> None:
    layer = DepthwiseConv2D(3, input_shape=(8.0, None, 3), batch_size=2)
    assert not layer.built
    assert layer.input_shape == (2, 8, None, 3)
    assert layer.output_shape == (2, 6, None, 3)
    with pytest.raises(ValueError, match="expected 3 channels"):
        layer(draw(1, 8, 8, 4))
    layer.build()
    assert layer.kernel is not None
    wins = DepthwiseConv2D(
        3, input_shape=(1, 1, 1), batch_input_shape=(None, 8, 8, 3), batch_size=9
    )
    assert wins.input_shape == (None, 8, 8, 3)
    with pytest.raises(AttributeError, match="neither"):
        _ = DepthwiseConv2D(3).input_shape


@pytest.mark.parametrize("how", ["call", "build", "symbolic"])
def test_weights_given_at_construction_are_applied_however_it_is_built(how: str) -> None:
    kernel, bias = draw(3, 3, 2, 1), draw(2, seed=1)
    layer = DepthwiseConv2D(3, weights=[kernel, bias], depthwise_initializer="zeros")
    originals = kernel.copy(), bias.copy()
    kernel[...] = 0
    bias[...] = 0
    with pytest.raises(ValueError, match="expected 2 channels"):
        layer.build((None, 5, 5, 3))
    if how == "call":
        layer(draw(1, 5, 5, 2))
    elif how == "build":
        layer.build((None, 5, 5, 2))
    else:
        from dwconv.layers.inputs import Input

        layer(Input((5, 5, 2)))
    for actual, original in zip(layer.get_weights(), originals, strict=True):
        assert_same_bits(actual, original, how)
    assert "weights" not in layer.get_config()


def test_two_threads_build_a_layer_once() -> None:
    layer = DepthwiseConv2D(3, name="shared")
    x = draw(1, 6, 6, 4)
    barrier = threading.Barrier(4)
    results: list[Any] = []

    def call() -> None:
        barrier.wait()
        results.append(layer(x))

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for y in results:
        check_output(layer, x, y)


# ---- calling with what does not fit --------------------------------------------------------------


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (np.zeros((5, 5, 3)), ValueError, "depthwise_conv2d: expected an input of rank 4"),
        (np.zeros((1, 5, 5, 4)), ValueError, r"expected 3 channels in \(N, H, W, C\)"),
        (np.zeros((1, 2, 5, 3)), ValueError, "depthwise_conv2d: height: .* an empty output"),
        (np.zeros((1, 5, 2, 3)), ValueError, "depthwise_conv2d: width: .* an empty output"),
        (np.zeros((1, 5, 0, 3)), ValueError, "width in .* >= 1"),
        (np.zeros((1, 5, 5, 3), complex), TypeError, "received dtype complex"),
        (np.full((1, 5, 5, 3), "a"), TypeError, "received dtype"),
        ("image.png", TypeError, "x: expected an array; received a str"),
    ],
)
@pytest.mark.parametrize("is_built", [True, False])
def test_bad_inputs(x: Any, error: type[Exception], message: str, is_built: bool) -> None:
    layer = built() if is_built else DepthwiseConv2D(3, input_shape=(5, 5, 3))
    with pytest.raises(error, match=message):
        layer(x)
    assert layer.built == is_built


def test_complex_input_of_a_planned_shape() -> None:
    layer = built()
    layer(np.zeros((1, 5, 5, 3)))
    with pytest.raises(TypeError, match="complex"):
        layer(np.zeros((1, 5, 5, 3), complex))


def test_compute_output_shape() -> None:
    layer = DepthwiseConv2D(3, (2, 1), "same", 2)
    assert layer.compute_output_shape((None, 7, 8, 3)) == (None, 4, 8, 6)
    assert layer.compute_output_shape([2, None, None, 3.0]) == (2, None, None, 6)
    first = DepthwiseConv2D(3, data_format="channels_first", dilation_rate=2)
    assert first.compute_output_shape((None, 3, 7, 8)) == (None, 3, 3, 4)
    with pytest.raises(ValueError, match="rank 4"):
        layer.compute_output_shape((7, 8, 3))
    with pytest.raises(ValueError, match="makes an empty output"):
        first.compute_output_shape((1, 3, 4, 8))
    layer.build((None, 7, 8, 3))
    with pytest.raises(ValueError, match="expected 3 channels"):
        layer.compute_output_shape((None, 7, 8, 4))


# ---- weights -------------------------------------------------------------------------------------


def test_get_weights_copies_and_weights_are_read_only() -> None:
    layer = built()
    x = draw(1, 5, 5, 3)
    before = layer(x)
    for array in layer.get_weights():
        array[...] = 0
    assert_same_bits(layer(x), before, layer)
    for array in [*layer.weights, layer.kernel, layer.bias]:
        assert array is not None
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.flags.writeable = True


def test_set_weights_takes_effect_after_a_call_and_copies() -> None:
    layer = built()
    x = draw(1, 5, 5, 3)
    layer(x)
    kernel, bias = draw(3, 3, 3, 1, seed=5, dtype="float64"), draw(3, seed=6)
    layer.set_weights([kernel, bias])
    kernel_then = kernel.copy()
    kernel[...] = 0
    assert_same_bits(layer.get_weights()[0], kernel_then.astype(np.float32), layer)
    check_output(layer, x, layer(x))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "received 0 items"),
        ([np.zeros((3, 3, 3, 1))], "received 1 items"),
        (np.zeros((3, 3, 3, 1)), "as a list; received ndarray"),
        ([np.zeros((3, 3, 1, 3)), np.zeros(3)], r"the kernel: expected shape \(3, 3, 3, 1\)"),
        ([np.zeros((3, 3, 3, 1)), np.zeros(1)], r"the bias: expected shape \(3,\); received"),
    ],
)
def test_set_weights_that_do_not_fit_change_nothing(values: Any, message: str) -> None:
    layer = built()
    before = layer.get_weights()
    with pytest.raises(ValueError, match=message):
        layer.set_weights(values)
    for actual, expected in zip(layer.get_weights(), before, strict=True):
        assert_same_bits(actual, expected, message)


def test_weights_of_a_layer_that_is_not_built() -> None:
    layer = DepthwiseConv2D(3)
    with pytest.raises(ValueError, match="call build first"):
        layer.set_weights([np.zeros((3, 3, 1, 1)), [0]])
    with pytest.raises(ValueError, match="call build first"):
        layer.count_params()


def test_calls_from_threads_while_weights_change_see_old_or_new_ones() -> None:
    layer = DepthwiseConv2D(1, use_bias=False, weights=[np.full((1, 1, 1, 1), 1.0)])
    x = np.ones((1, 8, 8, 1), np.float32)
    layer(x)
    stop = threading.Event()
    wrong: list[Any] = []

    def call() -> None:
        while not stop.is_set():
            values = np.unique(layer(x[:, : np.random.default_rng().integers(1, 9)]))
            if values.tolist() not in ([1.0], [2.0]):
                wrong.append(values)

    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    for i in range(200):
        layer.set_weights([np.full((1, 1, 1, 1), 1.0 + i % 2)])
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert (layer(x) == 2).all()


# ---- training ------------------------------------------------------------------------------------


def test_trainable() -> None:
    layer = built(trainable=False)
    assert layer.trainable_weights == []
    assert len(layer.non_trainable_weights) == 2
    layer.trainable = np.True_
    assert layer.trainable is True
    assert len(layer.trainable_weights) == 2
    assert layer.non_trainable_weights == []
    assert DepthwiseConv2D(3, trainable=None).trainable
    with pytest.raises(ValueError, match="trainable"):
        layer.trainable = 1


def test_losses() -> None:
    layer = DepthwiseConv2D(
        1,
        activation="relu",
        weights=[np.array([[[[2.0], [-3.0]]]]), [1, 1]],
        activity_regularizer={"class_name": "L1", "config": {"l1": 1}},
        depthwise_regularizer={"class_name": "L2", "config": {"l2": 1}},
        bias_regularizer=lambda b: 10 * b.sum(),
    )
    assert layer.losses == []
    layer.build((None, 1, 1, 2))
    assert layer.losses == [13, 20]  # 2^2 + 3^2; 10 * (1 + 1)
    layer(np.ones((2, 1, 1, 2)))  # relu(3), relu(-2), twice: sum 6, by 2 in the batch
    assert layer.losses == [3, 13, 20]
    layer.trainable = False
    assert layer.losses == [3]
    layer(np.ones((0, 1, 1, 2)))
    assert layer.losses == [0]


def test_apply_constraints() -> None:
    layer = DepthwiseConv2D(
        (2, 1),
        weights=[np.array([3.0, 4.0]).reshape(2, 1, 1, 1), [-1]],
        depthwise_constraint={"class_name": "MaxNorm", "config": {"max_value": 1}},
        bias_constraint="non_neg",
    )
    layer.apply_constraints()
    x = np.ones((1, 2, 1, 1))
    assert layer(x).item() == 6
    layer.apply_constraints()
    np.testing.assert_allclose(layer.get_weights()[0].ravel(), [0.6, 0.8], rtol=1e-6)
    assert layer.get_weights()[1].tolist() == [0]
    np.testing.assert_allclose(layer(x), 1.4, rtol=1e-6)
    layer.depthwise_constraint = lambda w: w[0]
    with pytest.raises(ValueError, match=r"the kernel: expected shape"):
        layer.apply_constraints()


# ---- copies --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "duplicate",
    [copy.copy, copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))],
    ids=["copy", "deepcopy", "pickle"],
)
@pytest.mark.parametrize(
    ("activation", "dtype"),
    [
        ("relu", "float32"),
        ("softmax", "float32"),
        ("gelu", "float16"),
        ("elu", "bfloat16"),
        ("tanh", "mixed_bfloat16"),
    ],
)
def test_copies_share_nothing(duplicate: Any, activation: str, dtype: str) -> None:
    layer = built(
        activation=activation, activity_regularizer="l2", input_shape=(5, 5, 3), dtype=dtype
    )
    x = draw(1, 5, 5, 3)
    y = layer(x)
    twin = duplicate(layer)
    assert twin.same_config(layer)
    assert twin.name == layer.name
    assert (twin.input_shape, twin.losses) == (layer.input_shape, layer.losses)
    assert_same_bits(twin(x), y, twin)
    for mine, other in zip(twin.weights, layer.weights, strict=True):
        assert not np.shares_memory(mine, other)
        assert not mine.flags.writeable
    twin.set_weights([np.zeros((3, 3, 3, 1)), np.zeros(3)])
    twin.activity_regularizer.l2 = 5.0
    assert_same_bits(layer(x), y, layer)
    assert layer.activity_regularizer is not twin.activity_regularizer


def test_copies_of_a_layer_with_weights_to_come() -> None:
    layer = DepthwiseConv2D(1, weights=[np.full((1, 1, 1, 1), 2.0), [1]])
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert twin(np.ones((1, 1, 1, 1))).item() == 3
    assert not layer.built


@pytest.mark.parametrize("shape", [(), (36,), (9, 4), (3, 3, 4), (1, 3, 3, 4, 1)])
@pytest.mark.parametrize("is_built", [True, False])
def test_a_file_with_a_kernel_of_another_rank(
    shape: tuple[int, ...], is_built: bool, tmp_path: Path
) -> None:
    path = tmp_path / "weights.npz"
    np.savez(path, kernel=np.ones(shape, np.float32), bias=np.zeros(4, np.float32))
    layer = DepthwiseConv2D(3)
    if is_built:
        layer.build((None, 8, 8, 4))
    before = layer.get_weights()
    with pytest.raises(
        dwconv.FormatError, match=r"weights\.npz: .*kernel: expected shape .*received"
    ):
        layer.load_weights(path)
    assert layer.built == is_built
    for mine, old in zip(layer.get_weights(), before, strict=True):
        assert_same_bits(mine, old, "weights")
