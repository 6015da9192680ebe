"""A function of JAX and its gradients, the depthwise convolutions computed by dwconv: three lines.

DWCONV_JAX=1 pip install --no-binary dwconv 'dwconv[jax]'      (docs/howto/jax.md)
python examples/accelerate_jax.py
"""

import time
from typing import Any

import jax
import jax.numpy as jnp

from dwconv.jax import accelerate


def model(parameters: Any, x: Any) -> Any:
    """Depthwise separable blocks, as in MobileNet; x (N, H, W, C)."""
    for kernel, mix in parameters:
        x = jax.lax.conv_general_dilated(
            x,
            kernel,
            (1, 1),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=x.shape[3],
        )
        x = jax.nn.relu6(x @ mix)
    return x


def loss(parameters: Any, x: Any) -> Any:
    return (model(parameters, x) ** 2).mean()


def seconds(step: Any, *arguments: Any) -> float:
    """The best of five calls."""
    times = []
    for _ in range(5):
        began = time.perf_counter()
        jax.block_until_ready(step(*arguments))
        times.append(time.perf_counter() - began)
    return min(times)


if __name__ == "__main__":
    keys = jax.random.split(jax.random.key(0), 9)
    parameters = [
        (jax.random.normal(a, (3, 3, 1, 64)) / 3, jax.random.normal(b, (64, 64)) / 8)
        for a, b in zip(keys[:4], keys[4:8], strict=True)
    ]
    x = jax.random.normal(keys[8], (2, 32, 32, 64))
    before, after = jax.jit(jax.value_and_grad(loss)), accelerate(jax.value_and_grad(loss))
    (value, _), (same, _) = before(parameters, x), after(parameters, x)
    print(f"loss {float(value):.6f}, with dwconv {float(same):.6f}")
    print(f"{1e3 * seconds(before, parameters, x):.1f} ms a step before")
    print(f"{1e3 * seconds(after, parameters, x):.1f} ms after")
    assert jnp.allclose(value, same, rtol=1e-4)
