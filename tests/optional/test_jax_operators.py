"""`dwconv.jax` against JAX's own convolution in float64, and our layer to the bit. Skipped without
JAX.
"""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=2")

import numpy as np
import pytest

import dwconv

jax: Any = pytest.importorskip("jax")
try:
    import dwconv.jax
except ImportError as error:  # a build without its compiled part
    pytest.skip(str(error), allow_module_level=True)

import jax.numpy as jnp  # noqa: E402
from jax.sharding import AxisType, PartitionSpec  # noqa: E402
from jax.test_util import check_grads  # noqa: E402

from dwconv.jax import depthwise_conv2d  # noqa: E402

SEED = 23
DTYPES = ["float32", "float64", "float16", "bfloat16"]
GEOMETRIES: list[dict[str, Any]] = [
    {"padding": "same"},
    {"strides": (2, 1), "padding": ((2, 1), (0, 1))},
    {"padding": "same", "dilation_rate": (1, 2), "data_format": "channels_first"},
    {"strides": (2, 3), "dilation_rate": (2, 1)},
]
geometries = pytest.mark.parametrize("geometry", GEOMETRIES, ids=repr)


@pytest.fixture(autouse=True)
def _float64() -> Any:
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


def arrays(dtype: str = "float32", first: bool = False, multiplier: int = 2) -> Any:
    """x (2, 9, 8, 6), kernel (3, 3, 6, M), bias."""
    rng = np.random.default_rng(SEED)
    x = rng.standard_normal((2, 6, 9, 8) if first else (2, 9, 8, 6))
    kernel, bias = rng.standard_normal((3, 3, 6, multiplier)), rng.standard_normal(6 * multiplier)
    return tuple(jnp.asarray(array).astype(dtype) for array in (x, kernel, bias))


def theirs(x: Any, kernel: Any, bias: Any, **geometry: Any) -> Any:
    """By JAX alone."""
    first = geometry.get("data_format") == "channels_first"
    letters = "NCHW" if first else "NHWC"
    padding = geometry.get("padding", "valid")
    y = jax.lax.conv_general_dilated(
        x,
        kernel.reshape(*kernel.shape[:2], 1, -1),
        geometry.get("strides", (1, 1)),
        padding.upper() if isinstance(padding, str) else padding,
        rhs_dilation=geometry.get("dilation_rate", (1, 1)),
        dimension_numbers=(letters, "HWIO", letters),
        feature_group_count=kernel.shape[2],
    )
    return y + (bias[:, None, None] if first else bias)


@geometries
@pytest.mark.parametrize("dtype", DTYPES)
def test_forward(dtype: str, geometry: dict[str, Any]) -> None:
    first = geometry.get("data_format") == "channels_first"
    tensors = arrays(dtype, first)
    y = jax.jit(lambda *t: depthwise_conv2d(*t, **geometry))(*tensors)
    wide = [tensor.astype("float64") for tensor in tensors]
    expected = theirs(*wide, **geometry)
    # 9 fused multiply-adds and, for a dtype that is only stored, one rounding of the result.
    # float64: XLA's own sum rounds as often again.
    size = theirs(*(abs(tensor) for tensor in wide), **geometry)
    computed = "float64" if dtype == "float64" else "float32"
    stored = float(jnp.finfo(dtype).eps)
    bound = size * 20 * float(jnp.finfo(computed).eps)
    bound = bound + (0 if dtype == computed else abs(expected) * stored)
    if dtype == "float16":
        bound = bound + float(jnp.finfo(dtype).smallest_normal) * stored  # subnormal results
    assert y.dtype == dtype
    assert bool((abs(y.astype("float64") - expected) <= bound).all()), (SEED, dtype, geometry)


@pytest.mark.parametrize("activation", ["relu6", "silu", "gelu_tanh", "leaky_relu"])
def test_the_bits_are_those_of_the_layer(activation: str) -> None:
    x, kernel, bias = arrays()
    options: Any = {"padding": "same", "activation": activation}
    y = jax.jit(lambda *t: depthwise_conv2d(*t, num_threads=2, **options))(x, kernel, bias)
    ours = dwconv.depthwise_conv2d(np.asarray(x), np.asarray(kernel), np.asarray(bias), **options)
    assert np.array_equal(np.asarray(y), ours)


def test_functions_of_jax_as_activations() -> None:
    tensors = arrays()
    fused = depthwise_conv2d(*tensors, activation=jax.nn.relu)
    after = depthwise_conv2d(*tensors, activation=lambda y: jnp.where(y < 0, 0, y))
    assert bool((fused == after).all())


@geometries
def test_gradients(geometry: dict[str, Any]) -> None:
    tensors = arrays("float64", geometry.get("data_format") == "channels_first")

    def loss(convolution: Any) -> Any:
        return jax.grad(lambda *t: jnp.sum(convolution(*t, **geometry) ** 2), (0, 1, 2))

    ours, others = jax.jit(loss(depthwise_conv2d))(*tensors), jax.jit(loss(theirs))(*tensors)
    for found, expected in zip(ours, others, strict=True):
        # Sums of at most 2 * 9 * 8 products of sums of 9; both sides round, in other orders.
        bound = (144 + 9) * 2 * np.finfo("float64").eps * 20 * float(abs(expected).max())
        assert float(abs(found - expected).max()) <= bound, (SEED, geometry)


def test_derivatives_of_second_order() -> None:
    x, kernel, bias = (array[..., :2] for array in arrays("float64"))
    x, kernel, bias = x[:1, :4, :4], kernel[:, :, :2], jnp.tile(bias, 2)

    def activated(*t: Any) -> Any:
        return depthwise_conv2d(*t, padding="same", activation="tanh")

    check_grads(activated, (x, kernel, bias), order=2, modes=("fwd", "rev"))


@pytest.mark.parametrize("axes", [(0, None, None), (1, None, None), (0, 2, None), (None, 0, 0)])
def test_vmap(axes: Any) -> None:
    """A mapped axis, of values and of gradients, is a loop."""
    x, kernel, bias = arrays("float64")
    stacked = [
        array if axis is None else jnp.stack([array, 2 - array, array**2], axis)
        for array, axis in zip((x, kernel, bias), axes, strict=True)
    ]

    def value_and_gradients(*t: Any) -> Any:
        return jax.value_and_grad(lambda *t: (depthwise_conv2d(*t) ** 2).sum(), (0, 1, 2))(*t)

    mapped = jax.vmap(value_and_gradients, in_axes=axes)(*stacked)
    for i in range(3):
        one = value_and_gradients(
            *(
                array if axis is None else jnp.take(array, i, axis)
                for array, axis in zip(stacked, axes, strict=True)
            )
        )
        for found, expected in zip(jax.tree.leaves(mapped), jax.tree.leaves(one), strict=True):
            np.testing.assert_allclose(found[i], expected, rtol=1e-12, atol=1e-12)


def test_weights_that_change() -> None:
    """A compiled call packs new weights, also where they lie in the same memory."""
    x, kernel, bias = arrays()
    call = jax.jit(depthwise_conv2d)
    for factor in (1, 2, 2, 4):  # exact: powers of two
        y = call(x, kernel * factor, bias * factor)
        assert bool((y == factor * call(x, kernel, bias)).all())


def test_donated_buffers() -> None:
    x, kernel, _ = arrays()
    expected = depthwise_conv2d(x, kernel[..., :1], padding="same")
    call = jax.jit(lambda x, kernel: depthwise_conv2d(x, kernel, padding="same"), donate_argnums=0)
    y = call(x + 0, kernel[..., :1])
    assert bool((y == expected).all())


def test_checkpoint() -> None:
    tensors = arrays("float64")

    def loss(call: Any) -> Any:
        return jax.grad(lambda x, *rest: call(x, *rest).sum())(*tensors)

    def call(*t: Any) -> Any:
        return jnp.sin(depthwise_conv2d(*t))

    assert bool((loss(jax.checkpoint(call)) == loss(call)).all())


def test_shard_map() -> None:
    """The gradient of a kernel that two devices share is the sum of theirs."""
    x, kernel, _ = arrays("float64")
    if jax.device_count() < 2:
        pytest.skip("one device: JAX was started before XLA_FLAGS")
    mesh = jax.make_mesh((2,), ("d",), axis_types=(AxisType.Auto,))

    def loss(x: Any, kernel: Any) -> Any:
        return (depthwise_conv2d(x, kernel) ** 2).sum()

    sharded = jax.shard_map(
        lambda x, kernel: jax.lax.psum(loss(x, kernel), "d"),
        mesh=mesh,
        in_specs=(PartitionSpec("d"), PartitionSpec()),
        out_specs=PartitionSpec(),
    )
    found, expected = jax.jit(jax.grad(sharded, 1))(x, kernel), jax.grad(loss, 1)(x, kernel)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_pmap() -> None:
    x, kernel, _ = arrays()
    if jax.device_count() < 2:
        pytest.skip("one device: JAX was started before XLA_FLAGS")
    y = jax.pmap(lambda x: depthwise_conv2d(x, kernel))(x[:, None])
    assert bool((y[:, 0] == depthwise_conv2d(x, kernel)).all())


def test_another_platform_gets_jax_alone() -> None:
    def loss(x: Any, kernel: Any) -> Any:
        return depthwise_conv2d(x, kernel, activation="silu").sum()

    x, kernel, _ = arrays()
    traced = jax.jit(jax.grad(loss, (0, 1))).trace(x, kernel)
    assert "dwconv" not in traced.lower(lowering_platforms=("cuda",)).as_text()
    assert "@dwconv." in traced.lower(lowering_platforms=("cpu",)).as_text()


def test_an_empty_batch() -> None:
    x, kernel, bias = arrays()
    gradients = jax.grad(lambda *t: depthwise_conv2d(*t).sum(), (0, 1, 2))(x[:0], kernel, bias)
    assert [float(abs(g).sum()) for g in gradients] == [0, 0, 0]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"kernel": jnp.zeros((3, 3, 5, 1))}, ValueError, "kernel: expected shape"),
        ({"bias": jnp.zeros(5)}, ValueError, "bias: expected shape"),
        ({"x": jnp.zeros((1, 4, 4, 6), int)}, TypeError, "x: expected bfloat16, float16"),
        ({"padding": "causal"}, ValueError, "padding: expected"),
        ({"activation": "softmax"}, ValueError, "activation: expected None, one of linear"),
        ({"num_threads": 0}, ValueError, "num_threads: expected a positive"),
    ],
)
def test_errors(change: dict[str, Any], error: type[Exception], message: str) -> None:
    call = {"x": jnp.zeros((1, 4, 4, 6)), "kernel": jnp.zeros((3, 3, 6, 1)), **change}
    with pytest.raises(error, match=message):
        depthwise_conv2d(**call)
