"""The functional operation: every kind of input, every kind of out, every option once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support import FLOATS, Case, assert_close, assert_same_bits, run_python, tolerance

import dwconv
from dwconv import activations, ops

Array = NDArray[Any]

CASES = [
    Case((9, 11), 32, padding="same"),
    Case((9, 12), 32, padding="same", strides=(2, 2), activation="relu"),
    Case((8, 8), 19, strides=(2, 1), activation="relu6", batch=2),
    Case((13, 14), 17, padding="same", dilation_rate=(2, 3)),
    Case((13, 14), 5, padding="SAME", strides=(3, 2), dilation_rate=(2, 1), multiplier=2),
    Case((6, 7), 3, (5, 2), multiplier=4, padding=((3, 1), (0, 6)), bias=False),
    Case((1, 1), 1, (1, 1)),
    Case((5, 5), 9, (7, 7), padding="same"),
    Case((2, 3), 8, (2, 2), padding=((5, 5), (4, 4))),  # whole windows of padding
]


@pytest.mark.parametrize("case", CASES, ids=repr)
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_against_the_reference(case: Case, data_format: str, dtype: str, isa: str) -> None:
    case = replace(case, dtype=dtype, data_format=data_format)
    x, kernel, bias = case.arrays()
    y = dwconv.depthwise_conv2d(x, kernel, bias, isa=isa, **case.options())
    expected = dwconv.reference.depthwise_conv2d(x, kernel, bias, **case.options())
    bound = tolerance(x, kernel, bias, **case.options())
    assert y.dtype == np.dtype(dtype)
    assert y.flags.c_contiguous
    assert_close(y, expected, bound, (case, isa))


def test_defaults_are_kerass() -> None:
    """Stride 1, valid, no dilation, channels_last, linear, no bias."""
    x, kernel, _ = Case().arrays()
    plain = dwconv.depthwise_conv2d(x, kernel)
    assert plain.shape == (1, 3, 4, 3)
    explicit = dwconv.depthwise_conv2d(
        x,
        kernel,
        np.zeros(3),
        strides=(1, 1),
        padding=((0, 0), (0, 0)),
        dilation_rate=[1, 1],  # type: ignore[arg-type]
        data_format=None,
        activation="linear",
        isa=dwconv.isa.default(),
    )
    assert_same_bits(plain, explicit, "defaults")


class Subclass(np.ndarray[Any, Any]):
    pass


def read_only(array: Array) -> Array:
    array = array.copy()
    array.flags.writeable = False
    return array


def unaligned(array: Array) -> Array:
    memory = np.empty(array.nbytes + 1, np.uint8)[1:]
    result = memory.view(array.dtype).reshape(array.shape)
    result[...] = array
    assert not result.flags.aligned
    return result


def every_other(array: Array) -> Array:
    spread = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
    spread[..., ::2] = array
    return spread[..., ::2]


KINDS: dict[str, Callable[[Array], Any]] = {
    "read-only": read_only,
    "Fortran order": np.asfortranarray,
    "every other": every_other,
    "backwards": lambda a: a[::-1].copy()[::-1],
    "byte-swapped": lambda a: a.astype(a.dtype.newbyteorder()),
    "unaligned": unaligned,
    "subclass": lambda a: a.view(Subclass),
    "memoryview": lambda a: memoryview(np.ascontiguousarray(a)),  # type: ignore[arg-type]
    "object that gives an array": lambda a: type("Gives", (), {"__array__": lambda *_, **__: a})(),
}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_arrays(kind: str, dtype: str) -> None:
    """All the same to the bit; x, kernel and bias unchanged."""
    case = Case(channels=9, multiplier=2, padding="same", batch=2, dtype=dtype)
    arrays = case.arrays()
    expected = dwconv.depthwise_conv2d(*arrays, **case.options())
    converted = [KINDS[kind](array) for array in arrays if array is not None]
    y = dwconv.depthwise_conv2d(*converted, **case.options())
    assert type(y) is np.ndarray
    assert_same_bits(y, expected, (kind, case))
    for array, original in zip(converted, arrays, strict=True):
        assert np.array_equal(np.asarray(array), np.asarray(original))


def test_odd_strides_of_single_pixels() -> None:
    """NumPy calls an array contiguous whatever the strides of its dimensions of size 1."""
    x = np.lib.stride_tricks.as_strided(np.arange(12.0), (1, 3, 1, 4), (7, 32, 999, 8))
    assert x.flags.c_contiguous
    y = dwconv.depthwise_conv2d(x, np.ones((3, 1, 4, 1)))
    assert y.ravel().tolist() == [12, 15, 18, 21]


def test_lists() -> None:
    y = dwconv.depthwise_conv2d([[[[1], [2]]]], [[[[0.5, 2]]]], [10, 20])
    assert y.tolist() == [[[[10.5, 22], [11, 24]]]]
    assert y.dtype == np.float64  # what NumPy makes of a list of Python floats


@pytest.mark.parametrize("other", ["u1", "i1", "?", "i8", ">i4", "f2", ">f4"])
def test_other_dtypes_are_cast(other: str) -> None:
    case = Case(padding="same")
    _, kernel, bias = case.arrays()
    x = np.random.default_rng(1).integers(0, 2, (1, 5, 6, 3)).astype(other)
    expected = dwconv.depthwise_conv2d(x.astype(np.float32), kernel, bias)
    assert_same_bits(dwconv.depthwise_conv2d(x, kernel, bias), expected, other)
    weights = np.random.default_rng(2).integers(0, 2, kernel.shape).astype(other)
    numbers = x.astype(np.float32)
    expected = dwconv.depthwise_conv2d(numbers, weights.astype(np.float32), bias)
    assert_same_bits(dwconv.depthwise_conv2d(numbers, weights, bias), expected, other)


def test_the_wider_float_is_computed() -> None:
    x, kernel, bias = Case(dtype="float64").arrays()
    assert bias is not None
    for x_dtype, kernel_dtype in (("f4", "f8"), ("f8", "f4")):
        narrow_x, narrow_kernel = x.astype(x_dtype), kernel.astype(kernel_dtype)
        y = dwconv.depthwise_conv2d(narrow_x, narrow_kernel, bias)
        expected = dwconv.depthwise_conv2d(narrow_x.astype("f8"), narrow_kernel.astype("f8"), bias)
        assert_same_bits(y, expected, (x_dtype, kernel_dtype))


def test_the_bias_is_cast() -> None:
    x, kernel, bias = Case().arrays()
    assert bias is not None
    y = dwconv.depthwise_conv2d(x, kernel, bias.astype("f8") + 1e-12)
    assert_same_bits(y, dwconv.depthwise_conv2d(x, kernel, bias), "bias in float64")


@pytest.mark.parametrize("activation", [None, "relu6", np.tanh])
def test_float16_rounds_once(activation: Any) -> None:
    """The float32 computation, activation included, and one rounding."""
    x, kernel, bias = Case((7, 8), 19, padding="same", dtype="float16").arrays()
    assert bias is not None
    y = dwconv.depthwise_conv2d(x, kernel, bias, activation=activation)
    wide = [array.astype(np.float32) for array in (x, kernel, bias)]
    expected = dwconv.depthwise_conv2d(*wide, activation=activation).astype(np.float16)
    assert_same_bits(y, expected, activation)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_empty_batch(data_format: str, isa: str, dtype: str) -> None:
    case = Case((5, 8), 9, multiplier=2, batch=0, data_format=data_format, dtype=dtype)
    x, kernel, bias = case.arrays()
    y = dwconv.depthwise_conv2d(x, kernel, bias, isa=isa, **case.options())
    assert y.shape == ((0, 18, 3, 6) if data_format == "channels_first" else (0, 3, 6, 18))
    assert y.dtype == np.dtype(dtype)
    assert dwconv.depthwise_conv2d(x, kernel, bias, out=y, **case.options()) is y


# ---- activation ----------------------------------------------------------------------------------


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_activation_function(data_format: str) -> None:
    """Called once, on the whole output in its own layout: softmax over the last axis is one use."""
    case = Case(batch=2, multiplier=2, data_format=data_format)
    x, kernel, bias = case.arrays()
    seen = []

    def softmax(y: Array) -> Array:
        seen.append(y.shape)
        e = np.exp(y - y.max(axis=-1, keepdims=True))
        return np.asarray(e / e.sum(axis=-1, keepdims=True))

    options = case.options()
    y = dwconv.depthwise_conv2d(x, kernel, bias, **{**options, "activation": softmax})
    assert seen == [y.shape]
    linear = dwconv.depthwise_conv2d(x, kernel, bias, **options)
    assert_same_bits(y, softmax(linear), data_format)


def test_activation_function_may_widen() -> None:
    """What it returns is cast to the result's dtype."""
    x, kernel, _ = Case().arrays()
    y = dwconv.depthwise_conv2d(x, kernel, activation=lambda y: y.astype("f8") * 2)
    assert_same_bits(y, dwconv.depthwise_conv2d(x, kernel) * 2, "widened")


@pytest.mark.parametrize(
    "wrong", [lambda y: y.sum(), lambda y: y[..., :1], lambda y: y * 1j, lambda y: None]
)
def test_activation_function_of_another_shape_or_kind(wrong: Any) -> None:
    x, kernel, _ = Case().arrays()
    out = np.full((1, 3, 4, 3), 7, np.float32)
    with pytest.raises(ValueError, match="activation: expected a function that returns shape"):
        dwconv.depthwise_conv2d(x, kernel, activation=wrong, out=out)
    assert (out == 7).all()


def test_activation_function_that_raises() -> None:
    x, kernel, _ = Case().arrays()
    out = np.full((1, 3, 4, 3), 7, np.float32)
    with pytest.raises(ZeroDivisionError):
        dwconv.depthwise_conv2d(x, kernel, activation=lambda y: 1 / 0, out=out)
    assert (out == 7).all()


@pytest.mark.parametrize("wrong", ["no_such_activation", 3, ["relu"]], ids=repr)
def test_activation_unknown(wrong: Any) -> None:
    x, kernel, _ = Case().arrays()
    with pytest.raises(ValueError, match=r"expected.*received"):
        dwconv.depthwise_conv2d(x, kernel, activation=wrong)


@pytest.mark.parametrize("name", ops.FUSED_ACTIVATIONS)
def test_fused(name: str) -> None:
    """By name, and as the function that the name stands for."""
    if name == "gelu_tanh":
        activation = activations.gelu.with_parameters(approximate=True)
    else:
        activation = activations.get(name)
        assert ops.split_activation(name) == ops.split_activation(activation)
    fused, finish = ops.split_activation(activation)
    assert (fused.name, finish) == (name, None)
    assert fused.alpha == {"leaky_relu": 0.2, "elu": 1}.get(name, 0)


def test_fused_with_parameters() -> None:
    """What the core has under another name, or with alpha; what it has not is called afterwards."""
    relu, elu = activations.relu.with_parameters, activations.elu.with_parameters
    assert ops.split_activation(None) == (("linear", 0), None)
    assert ops.split_activation(relu(max_value=6)) == (("relu6", 0), None)
    assert ops.split_activation(relu(negative_slope=0.3)) == (("leaky_relu", 0.3), None)
    assert ops.split_activation(elu(alpha=2)) == (("elu", 2), None)
    for other in (
        relu(max_value=5),
        relu(threshold=1),
        relu(negative_slope=0.1, max_value=6),
        activations.softmax,
        activations.hard_sigmoid_k2,
    ):
        assert ops.split_activation(other) == (("linear", 0), other)


@pytest.mark.parametrize("name", ["softmax", "softplus", "hard_sigmoid_k2"])
def test_activation_by_name(name: str) -> None:
    arrays = Case(multiplier=2).arrays()
    y = dwconv.depthwise_conv2d(*arrays, activation=name)
    expected = np.asarray(activations.get(name)(dwconv.depthwise_conv2d(*arrays)))
    assert_same_bits(y, expected, name)


# ---- out -----------------------------------------------------------------------------------------


def strided(shape: tuple[int, ...], dtype: str) -> Array:
    return np.zeros((*shape[:-1], 3 * shape[-1]), dtype)[..., ::3]


OUTS: dict[str, Callable[[tuple[int, ...], str], Array]] = {
    "plain": np.zeros,
    "strided": strided,
    "Fortran order": lambda shape, dtype: np.zeros(shape, dtype, order="F"),
    "backwards": lambda shape, dtype: np.zeros(shape, dtype)[:, ::-1],
    "unaligned": lambda shape, dtype: unaligned(np.zeros(shape, dtype)),
    "subclass": lambda shape, dtype: np.zeros(shape, dtype).view(Subclass),
}


@pytest.mark.parametrize("kind", OUTS)
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("dtype", [*FLOATS, "float16"])
def test_out(kind: str, data_format: str, dtype: str) -> None:
    case = Case((6, 7), 9, multiplier=2, batch=2, data_format=data_format, dtype=dtype)
    arrays = case.arrays()
    expected = dwconv.depthwise_conv2d(*arrays, **case.options())
    out = OUTS[kind](expected.shape, dtype)
    assert dwconv.depthwise_conv2d(*arrays, **case.options(), out=out) is out
    assert_same_bits(np.asarray(out), expected, (kind, case))


def test_out_strided_leaves_the_gaps() -> None:
    case = Case()
    arrays = case.arrays()
    memory = np.full((1, 3, 4, 9), 7, np.float32)
    dwconv.depthwise_conv2d(*arrays, out=memory[..., ::3])
    assert (memory[..., 1::3] == 7).all()
    assert (memory[..., 2::3] == 7).all()


def test_results_are_apart() -> None:
    """Two results never share memory, nor with the input."""
    x, kernel, _ = Case(kernel_size=(1, 1)).arrays()
    first, second = dwconv.depthwise_conv2d(x, kernel), dwconv.depthwise_conv2d(x, kernel)
    assert not np.shares_memory(first, second)
    assert not np.shares_memory(first, x)


def test_out_beside_x_in_one_buffer() -> None:
    """Interleaved, but no element in common: fine."""
    case = Case(padding="same")
    x, kernel, bias = case.arrays()
    memory = np.zeros((1, 5, 6, 6), np.float32)
    memory[..., ::2] = x
    dwconv.depthwise_conv2d(memory[..., ::2], kernel, bias, padding="same", out=memory[..., 1::2])
    expected = dwconv.depthwise_conv2d(x, kernel, bias, padding="same")
    assert_same_bits(memory[..., 1::2], expected, "interleaved")
    assert_same_bits(memory[..., ::2], x, "interleaved")


# ---- plans ---------------------------------------------------------------------------------------


def test_plan_is_the_operation_in_pieces() -> None:
    case = Case((8, 9), 17, multiplier=2, padding="same", strides=(2, 2), batch=3)
    x, kernel, bias = case.arrays()
    plan = ops.make_plan(case.spec, x.shape, kernel, bias, "relu")
    assert (plan.x_shape, plan.y_shape) == (x.shape, (3, 4, 5, 34))
    expected = dwconv.depthwise_conv2d(
        x, kernel, bias, strides=2, padding="same", activation="relu"
    )
    kernel[...] = bias[...] = 0  # type: ignore[index]  # the plan has its own copies
    dtype = np.dtype(np.float32)
    assert_same_bits(ops.run(plan, x, dtype=dtype), expected, case)
    assert_same_bits(ops.run(plan, x * 1, dtype=dtype), expected, case)
    first = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    x, kernel, bias = case.arrays()
    spec = replace(case, data_format="channels_first").spec
    plan = ops.make_plan(spec, first.shape, kernel, bias, "relu")
    assert (plan.x_shape, plan.y_shape) == (first.shape, (3, 34, 4, 5))
    y = ops.run(plan, first, dtype=dtype)
    assert_same_bits(y, expected.transpose(0, 3, 1, 2), case)


def test_threads_share_a_plan(isa: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    case = Case((16, 16), 40, padding="same")
    x, kernel, bias = case.arrays()
    plan = ops.make_plan(case.spec, x.shape, kernel, bias, isa=isa)
    inputs = [x * np.float32(i) for i in range(32)]
    expected = [ops.run(plan, each, dtype=each.dtype) for each in inputs]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda each: ops.run(plan, each, dtype=each.dtype), inputs * 4))
    for result, wanted in zip(results, expected * 4, strict=True):
        assert_same_bits(result, wanted, (case, isa))


# ---- the package ---------------------------------------------------------------------------------


def test_public_names() -> None:
    assert {"__version__", "depthwise_conv2d", "isa", "reference"} <= set(dwconv.__all__)
    assert all(hasattr(dwconv, name) for name in dwconv.__all__)


def test_import_is_light() -> None:
    """Nothing but NumPy, safetensors and the standard library is loaded."""
    done = run_python("-c", "import dwconv, sys; print(*sys.modules)")
    assert done.returncode == 0, done.stderr
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    heavy = {"scipy", "matplotlib", "skimage", "PIL", "h5py", "keras", "tensorflow", "torch"}
    assert not loaded & heavy


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_an_activation_that_halves_the_last_axis(data_format: str) -> None:
    """glu: the first half of the last axis times the sigmoid of the second; the axis is the width
    in channels_first.
    """
    shape = (1, 3, 4, 6) if data_format == "channels_last" else (1, 6, 3, 4)
    x = np.random.default_rng(0).standard_normal(shape)
    kernel = np.ones((1, 1, 6, 1))
    y = dwconv.depthwise_conv2d(x, kernel, data_format=data_format, activation="glu")
    first, second = np.split(x, 2, axis=-1)
    # exp, a sum, a quotient and a product, here and there: eight roundings of half an eps or so.
    np.testing.assert_allclose(y, first / (1 + np.exp(-second)), rtol=8 * np.finfo(float).eps)
    out = np.empty_like(y)
    assert (
        dwconv.depthwise_conv2d(x, kernel, data_format=data_format, activation="glu", out=out)
        is out
    )
    np.testing.assert_array_equal(out, y)
