"""dwconv in JAX: depthwise convolutions on the CPU as calls that XLA makes itself.

`depthwise_conv2d` is the operation, under jit, grad, jvp, vmap, checkpoint and shard_map.
`accelerate(fn)` replaces the depthwise convolutions in a function of JAX. `DepthwiseConv` is a
module of Flax (`dwconv.jax.linen`, `dwconv.jax.nnx`).

Needs JAX: `pip install dwconv[jax]`.
"""

try:
    import jax as _jax  # noqa: F401
except ImportError as error:
    raise ImportError(
        "dwconv.jax: expected an installed JAX; received none (pip install dwconv[jax])",
        name=error.name,
        path=error.path,
    ) from error

try:
    from . import _ffi as _ffi  # type: ignore[attr-defined]
except ImportError as error:
    raise ImportError(
        "dwconv.jax: expected its compiled part, which this build of dwconv has not, or not for "
        f"this Python ({error}). With a C++ compiler: DWCONV_JAX=1 pip install --force-reinstall "
        "--no-deps --no-binary dwconv dwconv; in a clone: DWCONV_JAX=1 pip install -e .",
        name=error.name,
        path=error.path,
    ) from error

from .operators import depthwise_conv2d
from .rewriting import accelerate

__all__ = ["accelerate", "depthwise_conv2d"]
