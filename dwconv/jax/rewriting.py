"""`accelerate`: the depthwise convolutions of a function of JAX, found in its jaxpr and replaced.

A jaxpr holds them as `conv_general_dilated`, in three forms: the convolution itself
(feature_group_count == C), its gradient with respect to x (dy dilated by the strides) and with
respect to the kernel (batch_group_count == C). `matching` recognizes them; here the jaxpr is
evaluated with other operations in their place.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from .matching import replacement


def accelerate(fn: Callable[..., Any], **options: Any) -> Any:
    """`fn` with its depthwise convolutions computed by dwconv, compiled by `jax.jit`.

    Args:
        fn: a function of JAX: a model, a loss, a whole training step with its gradients. It may be
            a `jax.jit` already. What is in a `jax.shard_map` inside of it is left as it is: there,
            accelerate the function that is mapped.
        options: of `jax.jit`, such as static_argnums, static_argnames and donate_argnums.

    Returns:
        A function of the same arguments. Convolutions of two dimensions with as many groups as
        channels are replaced, and their gradients, of float16, bfloat16, float32 and float64; all
        else is as it was. `jax.grad` and `jax.vmap` of the result use dwconv, too.
    """

    @functools.wraps(fn)
    def rewritten(*args: Any, **kwargs: Any) -> Any:
        leaves, tree = jax.tree.flatten((args, kwargs))
        arrays = [leaf for leaf in leaves if isinstance(leaf, jax.Array)]

        def of_arrays(*arrays: Any) -> Any:
            given = iter(arrays)
            filled = [next(given) if isinstance(leaf, jax.Array) else leaf for leaf in leaves]
            args, kwargs = jax.tree.unflatten(tree, filled)
            return fn(*args, **kwargs)

        traced, shapes = jax.make_jaxpr(of_arrays, return_shape=True)(*arrays)
        results = _evaluate(traced.jaxpr, traced.consts, arrays)
        return jax.tree.unflatten(jax.tree.structure(shapes), results)

    return jax.jit(rewritten, **options)


def _evaluate(jaxpr: Jaxpr, consts: Sequence[Any], arguments: Sequence[Any]) -> list[Any]:
    values: dict[Any, Any] = {}

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, Literal) else values[atom]

    values.update(zip(jaxpr.constvars, consts, strict=True))
    values.update(zip(jaxpr.invars, arguments, strict=True))
    for equation in jaxpr.eqns:
        inputs = [read(atom) for atom in equation.invars]
        found = replacement(equation)
        if found is not None:
            outputs = [found(*inputs)]
        else:
            parameters = equation.primitive.get_bind_params(_rewritten_parameters(equation))
            with equation.ctx.manager:
                outputs = equation.primitive.bind(*inputs, **parameters)
            if not equation.primitive.multiple_results:
                outputs = [outputs]
        values.update(zip(equation.outvars, outputs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _rewritten_parameters(equation: Any) -> dict[str, Any]:
    """The parameters of a primitive that calls functions, such as scan or jit, with theirs
    rewritten where there is something to rewrite.
    """
    if equation.primitive.name == "shard_map":  # its jaxpr is one inside of a mesh
        return dict(equation.params)
    return {name: _rewritten(value) for name, value in equation.params.items()}


def _rewritten(value: Any) -> Any:
    if isinstance(value, (tuple, list)) and any(_has_some(item) for item in value):
        return type(value)(_rewritten(item) for item in value)
    if not _has_some(value):
        return value
    closed = value if isinstance(value, ClosedJaxpr) else ClosedJaxpr(value, ())
    types = [
        jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype, weak_type=v.aval.weak_type)
        for v in closed.jaxpr.invars
    ]
    made = jax.make_jaxpr(lambda *arrays: _evaluate(closed.jaxpr, closed.consts, arrays))(*types)
    if isinstance(value, ClosedJaxpr):
        return made
    return value if made.consts else made.jaxpr


@functools.lru_cache(maxsize=4096)
def _jaxpr_has_some(jaxpr: Any) -> bool:
    return any(
        replacement(equation) is not None
        or (
            equation.primitive.name != "shard_map"
            and any(_has_some(value) for value in equation.params.values())
        )
        for equation in jaxpr.eqns
    )


def _has_some(value: Any) -> bool:
    """Whether a parameter is a jaxpr, or holds one, with something to replace."""
    if isinstance(value, ClosedJaxpr):
        return _jaxpr_has_some(value.jaxpr)
    if isinstance(value, Jaxpr):
        return _jaxpr_has_some(value)
    return isinstance(value, (tuple, list)) and any(_has_some(item) for item in value)
