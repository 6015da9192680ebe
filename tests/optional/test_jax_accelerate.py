"""`dwconv.jax.accelerate` and the modules of Flax, against JAX and Flax themselves. Skipped without
JAX.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

jax: Any = pytest.importorskip("jax")
try:
    import dwconv.jax  # noqa: F401
except ImportError as error:  # a build without its compiled part
    pytest.skip(str(error), allow_module_level=True)

import jax.numpy as jnp  # noqa: E402
from jax import lax  # noqa: E402

from dwconv.jax import accelerate  # noqa: E402

SEED = 29


def normal(*shape: int, seed: int = SEED) -> Any:
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32))


def convolutions(function: Any, *arguments: Any) -> tuple[int, int]:
    """(ours, XLA's) in what a function is compiled from."""
    text = function.lower(*arguments).as_text()
    return text.count("@dwconv."), text.count("stablehlo.convolution")


def depthwise(x: Any, kernel: Any, **options: Any) -> Any:
    numbers = options.pop("dimension_numbers", ("NHWC", "HWIO", "NHWC"))
    options = {"window_strides": (1, 1), "padding": "SAME", **options}
    channels = x.shape[numbers[0].index("C")]
    return lax.conv_general_dilated(
        x, kernel, dimension_numbers=numbers, feature_group_count=channels, **options
    )


CASES: list[Any] = [
    ((2, 9, 8, 6), (3, 3, 1, 6), {}),
    ((2, 9, 8, 6), (3, 3, 1, 12), {"window_strides": (2, 2)}),
    ((2, 9, 8, 6), (3, 2, 1, 12), {"padding": ((2, 1), (0, 1)), "rhs_dilation": (2, 1)}),
    ((2, 8, 9, 6), (1, 1, 1, 6), {"window_strides": (2, 3), "padding": "VALID"}),
    ((2, 6, 9, 8), (12, 1, 3, 3), {"dimension_numbers": ("NCHW", "OIHW", "NCHW")}),
    ((9, 8, 2, 6), (6, 1, 3, 3), {"dimension_numbers": ("HWNC", "OIHW", "NHWC")}),
]


@pytest.mark.parametrize(("x_shape", "kernel_shape", "options"), CASES, ids=str)
def test_a_step_with_its_gradients(x_shape: Any, kernel_shape: Any, options: Any) -> None:
    """The convolution and both of its gradients are found, and equal XLA's."""

    def step(x: Any, kernel: Any) -> Any:
        return jax.value_and_grad(
            lambda x, kernel: (depthwise(x, kernel, **options) ** 2).sum(), (0, 1)
        )(x, kernel)

    x, kernel = normal(*x_shape), normal(*kernel_shape, seed=SEED + 1)
    fast, plain = accelerate(step), jax.jit(step)
    assert convolutions(fast, x, kernel) == (3, 0)
    for found, expected in zip(
        jax.tree.leaves(fast(x, kernel)), jax.tree.leaves(plain(x, kernel)), strict=True
    ):
        # At most 2 * 9 * 8 * 12 products of sums of 9, in two orders.
        bound = 2 * (1728 + 9) * np.finfo(np.float32).eps * float(abs(expected).max())
        assert float(abs(found - expected).max()) <= bound, (SEED, x_shape, kernel_shape)


@pytest.mark.parametrize(
    ("x_shape", "kernel_shape", "options"),
    [
        ((1, 6, 6, 4), (3, 3, 2, 4), {"feature_group_count": 2}),  # groups of two channels
        ((1, 6, 6, 1), (3, 3, 1, 4), {"feature_group_count": 1}),  # an ordinary convolution
        ((1, 6, 6, 4), (3, 3, 4, 4), {"feature_group_count": 1}),
        ((1, 6, 6, 4), (3, 3, 1, 8), {"feature_group_count": 4, "padding": ((-1, 0), (0, 0))}),
    ],
    ids=str,
)
def test_what_is_left(x_shape: Any, kernel_shape: Any, options: Any) -> None:
    def other(x: Any, kernel: Any) -> Any:
        return lax.conv_general_dilated(
            x,
            kernel,
            (1, 1),
            options.get("padding", "SAME"),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=options["feature_group_count"],
        )

    x, kernel = normal(*x_shape), normal(*kernel_shape)
    assert convolutions(accelerate(other), x, kernel) == (0, 1)
    assert bool((accelerate(other)(x, kernel) == jax.jit(other)(x, kernel)).all())


def test_inside_of_other_primitives() -> None:
    x, kernel = normal(1, 6, 6, 4), normal(3, 3, 1, 4)

    def model(x: Any, kernel: Any, flag: Any) -> Any:
        x, _ = lax.scan(lambda x, _: (jnp.tanh(depthwise(x, kernel)), None), x, length=2)
        x = jax.checkpoint(lambda x: jnp.sin(depthwise(x, kernel)))(x)
        x = jax.jit(depthwise)(x, kernel)
        x = lax.fori_loop(0, 2, lambda _, x: depthwise(x, kernel), x)
        return lax.cond(flag, lambda x: depthwise(x, kernel), lambda x: x, x)

    fast = accelerate(model)
    assert convolutions(fast, x, kernel, True)[1] == 0
    for flag in (True, False):
        found, expected = fast(x, kernel, flag), jax.jit(model)(x, kernel, flag)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)  # seven layers
    gradients = jax.grad(lambda k: fast(x, k, True).sum())(kernel)
    expected = jax.grad(lambda k: model_unrolled(x, k).sum())(kernel)
    np.testing.assert_allclose(gradients, expected, rtol=1e-3, atol=1e-2)


def model_unrolled(x: Any, kernel: Any) -> Any:
    for _ in range(2):
        x = jnp.tanh(depthwise(x, kernel))
    x = jnp.sin(depthwise(x, kernel))
    for _ in range(4):
        x = depthwise(x, kernel)
    return x


def test_keywords_static_arguments_and_structures() -> None:
    def model(parameters: Any, x: Any, *, train: str) -> Any:
        y = depthwise(x, parameters["kernel"])
        return {"y": y if train == "no" else -y, "n": 3}

    parameters, x = {"kernel": normal(3, 3, 1, 4)}, normal(1, 6, 6, 4)
    fast = accelerate(model, static_argnames="train")
    found = fast(parameters, x, train="no")
    assert bool((found["y"] == -fast(parameters, x, train="yes")["y"]).all())
    assert int(found["n"]) == 3


def test_bfloat16_is_rounded_once() -> None:
    x, kernel = normal(1, 6, 6, 4).astype(jnp.bfloat16), normal(3, 3, 1, 4).astype(jnp.bfloat16)
    y = accelerate(depthwise)(x, kernel)
    wide = accelerate(depthwise)(x.astype(jnp.float32), kernel.astype(jnp.float32))
    assert bool((y == wide.astype(jnp.bfloat16)).all())


def test_a_loss_goes_down_as_with_jax() -> None:
    """Twenty steps of gradient descent have the same losses."""
    x, target = normal(4, 8, 8, 6), normal(4, 8, 8, 6, seed=SEED + 2)
    start = {"kernel": normal(3, 3, 1, 6) * 0.1, "mix": normal(6, 6) * 0.1}

    def loss(parameters: Any) -> Any:
        y = jax.nn.relu(depthwise(x, parameters["kernel"]) @ parameters["mix"])
        return ((y - target) ** 2).mean()

    def step(parameters: Any) -> Any:
        value, gradients = jax.value_and_grad(loss)(parameters)
        return value, jax.tree.map(lambda p, g: p - 0.1 * g, parameters, gradients)

    curves = []
    for compiled in (jax.jit(step), accelerate(step)):
        parameters, curve = start, []
        for _ in range(20):
            value, parameters = compiled(parameters)
            curve.append(float(value))
        curves.append(curve)
    assert curves[0][-1] < curves[0][0]
    np.testing.assert_allclose(curves[1], curves[0], rtol=1e-5)


# ---- Flax ----------------------------------------------------------------------------------------


def test_linen() -> None:
    pytest.importorskip("flax")
    from flax import linen

    from dwconv.jax.linen import DepthwiseConv

    x = normal(2, 9, 8, 6)
    options: Any = {"strides": 2, "padding": ((1, 0), (2, 1))}
    conv = linen.Conv(12, (3, 3), feature_group_count=6, **options)
    variables = conv.init(jax.random.key(0), x)
    ours = DepthwiseConv(12, (3, 3), **options)
    mine = ours.init(jax.random.key(0), x)
    assert jax.tree.map(jnp.shape, mine) == jax.tree.map(jnp.shape, variables)
    np.testing.assert_allclose(
        ours.apply(variables, x), conv.apply(variables, x), rtol=1e-5, atol=1e-5
    )


def test_nnx() -> None:
    pytest.importorskip("flax")
    from flax import nnx

    from dwconv.jax.nnx import DepthwiseConv

    x = normal(2, 9, 8, 6)
    conv = nnx.Conv(6, 12, (3, 3), feature_group_count=6, rngs=nnx.Rngs(0))
    ours = DepthwiseConv(6, 12, (3, 3), rngs=nnx.Rngs(1))
    nnx.update(ours, nnx.state(conv, nnx.Param))
    np.testing.assert_allclose(ours(x), conv(x), rtol=1e-5, atol=1e-5)
    step = nnx.jit(nnx.value_and_grad(lambda module, x: (module(x) ** 2).sum()))
    found, expected = jax.tree.leaves(step(ours, x)), jax.tree.leaves(step(conv, x))
    assert len(found) == 3
    for mine, theirs in zip(found, expected, strict=True):  # sums of 144 products and of 1728
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-3)
