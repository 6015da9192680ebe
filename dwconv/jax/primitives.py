"""Three primitives of JAX and their rules: the convolution, its derivative, its gradients.

    convolution(x, kernel, bias) -> y                    with the activation
    tangent(x, kernel, dx, dkernel, dbias) -> dy         linear in the last three; without one
    gradients(dy, x, kernel) -> dx, dkernel, dbias       those that are wanted

The tangent's transpose is the gradients, which one call of the C core computes together. Both are
sums of convolutions and gradients when they are differentiated again, so that every order of
forward and reverse mode is there.

On the CPU they are calls of the C core that XLA makes (`_ffi`), elsewhere JAX's own operations.
A mapped axis joins the batch. Where each element has a kernel of its own, or is to have a gradient
of its own, it joins the channels instead.

Shape letters: N batch, H height, W width, C input channels, M depth multiplier, kh/kw kernel
height/width, OH/OW output height/width. dtypes: float32 and float64. A bias of shape (0,) is none.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from .. import _core
from .. import isa as isas
from ..activations import Fused
from ..ops.spec import ConvSpec
from . import _ffi, plain

Array: TypeAlias = Any  # of JAX
Avals: TypeAlias = Any

LINEAR = Fused("linear")


@dataclass(frozen=True)
class Call:
    """What a call is besides its arrays. It can be hashed: it is a parameter in a jaxpr.

    spec         the geometry, padding in pixels
    activation   of the convolution
    num_threads  at most; 0: as many as XLA's own pool has
    isa          the instruction set, or None for the default
    ieee         whether denormal numbers are not flushed
    """

    spec: ConvSpec
    activation: Fused = LINEAR
    num_threads: int = 0
    isa: str | None = None
    ieee: bool = False

    @property
    def linear(self) -> Call:
        """Without the activation."""
        return replace(self, activation=LINEAR)

    def attributes(self, x_shape: Sequence[int], dtype: Any) -> dict[str, Any]:
        """What both calls of `_ffi` take, for an x of that shape and dtype."""
        return {
            "sizes": np.array(self.spec.descriptor(tuple(x_shape)), np.int64),
            "dtype": np.int64(_DTYPES[np.dtype(dtype)]),
            "ieee": self.ieee,
            "isa": np.int64(_core.ISA_NAMES.index(isas.resolve(self.isa))),
            "num_threads": np.int64(self.num_threads),
        }


#: dtype -> its number in dw_dtype.
_DTYPES = {np.dtype(np.float32): 0, np.dtype(np.float64): 1}


@functools.cache
def _register() -> None:
    """Tells XLA of the calls, once, when the first is compiled: JAX then has a backend. One that
    comes later would be told of the calls before the types of their states, and refuse them.
    """
    jax.local_devices(backend="cpu")
    types = _ffi.types()
    for name, handlers in _ffi.targets().items():
        jax.ffi.register_ffi_type(name, types[name], platform="cpu")
        jax.ffi.register_ffi_target(name, handlers, platform="cpu")


convolution_p = Primitive("dwconv_convolution")
tangent_p = Primitive("dwconv_tangent")
gradients_p = Primitive("dwconv_gradients")
gradients_p.multiple_results = True


def convolution(x: Array, kernel: Array, bias: Array | None, call: Call) -> Array:
    """y"""
    bias = jnp.zeros((0,), x.dtype) if bias is None else bias
    return convolution_p.bind(*_all_varying(x, kernel, bias), call=call)


def tangent(*arrays: Array, call: Call) -> Array:
    """dy, of x, kernel, dx, dkernel, dbias"""
    return tangent_p.bind(*_all_varying(*arrays), call=call)


def gradients(
    dy: Array, x: Array | None, kernel: Array | None, call: Call, shapes: Any = None
) -> list[Array | None]:
    """[dx, dkernel, dbias]. dx if the kernel is given, the others if x is; else None.

    shapes: (of x, of kernel), for one that is not given.
    """
    x_shape, kernel_shape = (x.shape, kernel.shape) if shapes is None else shapes  # type: ignore[union-attr]
    none = jnp.zeros((0,), dy.dtype)
    found = gradients_p.bind(
        *_all_varying(dy, none if x is None else x, none if kernel is None else kernel),
        call=call.linear,
        x_shape=tuple(x_shape),
        kernel_shape=tuple(kernel_shape),
        wants=(kernel is not None, x is not None),
    )
    return [
        None if kernel is None else found[0],
        *((None, None) if x is None else found[1:]),
    ]


def _all_varying(*arrays: Array) -> tuple[Array, ...]:
    """In a shard_map: all arrays vary along the axes along which any does. The transpose of that
    sums a gradient over the devices that share a kernel.
    """
    axes = [jax.typeof(array).manual_axis_type.varying for array in arrays]
    union = frozenset().union(*axes)
    return tuple(
        jax.lax.pcast(array, tuple(sorted(union - own)), to="varying") if union - own else array
        for array, own in zip(arrays, axes, strict=True)
    )


# ---- shapes --------------------------------------------------------------------------------------


def _shaped(like: Any, shape: Sequence[Any]) -> Any:
    """The type of an array of `shape`, of the dtype of `like` and varying as it does."""
    sharding = like.sharding
    if len(shape) != len(like.shape):
        sharding = sharding.update(spec=jax.sharding.PartitionSpec(*[None] * len(shape)))
    return like.update(shape=tuple(shape), sharding=sharding, weak_type=False)


def _convolution_type(x: Any, kernel: Any, bias: Any, *, call: Call) -> Any:
    return _shaped(x, call.spec.output_shape(x.shape))


def _tangent_type(x: Any, kernel: Any, dx: Any, dkernel: Any, dbias: Any, *, call: Call) -> Any:
    return _shaped(x, call.spec.output_shape(x.shape))


def _gradients_type(
    dy: Any, x: Any, kernel: Any, *, call: Call, x_shape: Any, kernel_shape: Any, wants: Any
) -> list[Any]:
    wants_x, wants_weights = wants
    return [
        _shaped(dy, x_shape if wants_x else (0,)),
        _shaped(dy, kernel_shape if wants_weights else (0,)),
        _shaped(dy, (kernel_shape[2] * kernel_shape[3],) if wants_weights else (0,)),
    ]


convolution_p.def_abstract_eval(_convolution_type)
tangent_p.def_abstract_eval(_tangent_type)
gradients_p.def_abstract_eval(_gradients_type)


# ---- how they are computed -----------------------------------------------------------------------


@functools.lru_cache(maxsize=1024)
def _compiled(primitive: Any, parameters: tuple[tuple[str, Any], ...]) -> Any:
    return jax.jit(functools.partial(primitive.bind, **dict(parameters)))


def _by_jit(primitive: Any) -> Any:
    """How a primitive runs where nothing is compiled: as a program of its own."""
    return lambda *arrays, **parameters: _compiled(primitive, tuple(parameters.items()))(*arrays)


for _primitive in (convolution_p, tangent_p, gradients_p):
    _primitive.def_impl(_by_jit(_primitive))


def _convolution_on_cpu(ctx: Any, *operands: Any, call: Call) -> Any:
    _register()
    x = ctx.avals_in[0]
    return jax.ffi.ffi_lowering("dwconv.convolution")(
        ctx,
        *operands,
        activation=np.int64(_core.FUSED_ACTIVATIONS.index(call.activation.name)),
        alpha=np.float64(call.activation.alpha),
        **call.attributes(x.shape, x.dtype),
    )


def _gradients_on_cpu(
    ctx: Any, *operands: Any, call: Call, x_shape: Any, kernel_shape: Any, wants: Any
) -> Any:
    _register()
    wants_x, wants_weights = wants
    return jax.ffi.ffi_lowering("dwconv.gradient")(
        ctx,
        *operands,
        wants_x=wants_x,
        wants_weights=wants_weights,
        **call.attributes(x_shape, ctx.avals_in[0].dtype),
    )


def _convolution_elsewhere(x: Array, kernel: Array, bias: Array, *, call: Call) -> Array:
    y = plain.convolution(x, kernel, call.spec)
    if bias.shape[0]:
        y = plain.add_bias(y, bias, call.spec)
    return plain.activate(y, call.activation)


def _gradients_elsewhere(
    dy: Array, x: Array, kernel: Array, *, call: Call, x_shape: Any, kernel_shape: Any, wants: Any
) -> list[Array]:
    wants_x, wants_weights = wants
    none = jnp.zeros((0,), dy.dtype)
    dx, dkernel, dbias = plain.gradients(
        dy,
        x if wants_weights else jnp.zeros(x_shape, dy.dtype),
        kernel if wants_x else jnp.zeros(kernel_shape, dy.dtype),
        call.spec,
    )
    return [dx if wants_x else none, *((dkernel, dbias) if wants_weights else (none, none))]


def _tangent_anywhere(
    x: Array, kernel: Array, dx: Array, dkernel: Array, dbias: Array, *, call: Call
) -> Array:
    dy = convolution(dx, kernel, None, call) + convolution(x, dkernel, None, call)
    return plain.add_bias(dy, dbias, call.spec) if dbias.shape[0] else dy


mlir.register_lowering(convolution_p, _convolution_on_cpu, platform="cpu")
mlir.register_lowering(gradients_p, _gradients_on_cpu, platform="cpu")
mlir.register_lowering(
    convolution_p, mlir.lower_fun(_convolution_elsewhere, multiple_results=False)
)
mlir.register_lowering(gradients_p, mlir.lower_fun(_gradients_elsewhere, multiple_results=True))
mlir.register_lowering(tangent_p, mlir.lower_fun(_tangent_anywhere, multiple_results=False))


# ---- derivatives ---------------------------------------------------------------------------------


def _instantiated(tangents: Sequence[Any], arrays: Sequence[Array]) -> list[Array]:
    return [
        jnp.zeros_like(array) if type(tangent) is ad.Zero else tangent
        for tangent, array in zip(tangents, arrays, strict=True)
    ]


def _convolution_jvp(arrays: Any, tangents: Any, *, call: Call) -> tuple[Array, Array]:
    x, kernel, bias = arrays
    linear = call.linear
    y = convolution_p.bind(x, kernel, bias, call=linear)
    dy = tangent(x, kernel, *_instantiated(tangents, arrays), call=linear)
    if call.activation == LINEAR:
        return y, dy
    return jax.jvp(lambda y: plain.activate(y, call.activation), (y,), (dy,))


def _sum(terms: Sequence[Array], zero: Array) -> Array:
    return functools.reduce(jnp.add, terms) if terms else jnp.zeros_like(zero)


def _tangent_jvp(arrays: Any, tangents: Any, *, call: Call) -> tuple[Array, Array]:
    x, kernel, dx, dkernel, _ = arrays
    x_dot, kernel_dot, dx_dot, dkernel_dot, dbias_dot = tangents
    y = tangent_p.bind(*arrays, call=call)
    terms = []
    if any(type(dot) is not ad.Zero for dot in (dx_dot, dkernel_dot, dbias_dot)):
        dots = _instantiated((dx_dot, dkernel_dot, dbias_dot), arrays[2:])
        terms.append(tangent(x, kernel, *dots, call=call))
    if type(x_dot) is not ad.Zero:
        terms.append(convolution(x_dot, dkernel, None, call))
    if type(kernel_dot) is not ad.Zero:
        terms.append(convolution(dx, kernel_dot, None, call))
    return y, _sum(terms, y)


def _gradients_jvp(
    arrays: Any, tangents: Any, *, call: Call, x_shape: Any, kernel_shape: Any, wants: Any
) -> tuple[list[Array], list[Array]]:
    dy, x, kernel = arrays
    dy_dot, x_dot, kernel_dot = tangents
    wants_x, wants_weights = wants
    shapes = (x_shape, kernel_shape)
    parameters = {"call": call, "x_shape": x_shape, "kernel_shape": kernel_shape, "wants": wants}
    found = gradients_p.bind(*arrays, **parameters)
    dots: list[list[Array]] = [[], [], []]
    if type(dy_dot) is not ad.Zero:
        for terms, dot in zip(dots, gradients_p.bind(dy_dot, x, kernel, **parameters), strict=True):
            terms.append(dot)
    if wants_x and type(kernel_dot) is not ad.Zero:
        dots[0].append(gradients(dy, None, kernel_dot, call, shapes)[0])
    if wants_weights and type(x_dot) is not ad.Zero:
        dots[1].append(gradients(dy, x_dot, None, call, shapes)[1])
    return found, [_sum(terms, array) for terms, array in zip(dots, found, strict=True)]


ad.primitive_jvps[convolution_p] = _convolution_jvp
ad.primitive_jvps[tangent_p] = _tangent_jvp
ad.primitive_jvps[gradients_p] = _gradients_jvp

# Transposes: of what is linear in the arguments that are undefined.
_unknown = ad.is_undefined_primal


def _tangent_transpose(
    ct: Array, x: Array, kernel: Array, dx: Any, dkernel: Any, dbias: Any, *, call: Call
) -> list[Array | None]:
    wants_weights = _unknown(dkernel) or _unknown(dbias)
    found = gradients(
        ct,
        x if wants_weights else None,
        kernel if _unknown(dx) else None,
        call,
        (x.shape, kernel.shape),
    )
    if _unknown(dbias) and not dbias.aval.shape[0]:
        found[2] = None  # there is none: zero
    return [
        None,
        None,
        found[0] if _unknown(dx) else None,
        found[1] if _unknown(dkernel) else None,
        found[2] if _unknown(dbias) else None,
    ]


def _convolution_transpose(
    ct: Array, x: Any, kernel: Any, bias: Any, *, call: Call
) -> list[Array | None]:
    """Of a convolution in x alone or in the kernel alone; a tangent has no bias and no
    activation.
    """
    if _unknown(x):
        return [gradients(ct, None, kernel, call, (x.aval.shape, kernel.shape))[0], None, None]
    return [None, gradients(ct, x, None, call, (x.shape, kernel.aval.shape))[1], None]


def _gradients_transpose(
    cts: Any,
    dy: Any,
    x: Any,
    kernel: Any,
    *,
    call: Call,
    x_shape: Any,
    kernel_shape: Any,
    wants: Any,
) -> list[Array | None]:
    """dx is linear in dy and in the kernel, dkernel in dy and in x, dbias in dy."""
    ct_x, ct_kernel, ct_bias = (None if type(ct) is ad.Zero else ct for ct in cts)
    wants_x, wants_weights = wants
    shapes = (x_shape, kernel_shape)
    if _unknown(dy):
        terms = []
        if wants_x and ct_x is not None:
            terms.append(convolution(ct_x, kernel, None, call))
        if wants_weights and ct_kernel is not None:
            terms.append(convolution(x, ct_kernel, None, call))
        if wants_weights and ct_bias is not None:
            terms.append(
                plain.add_bias(jnp.zeros(dy.aval.shape, dy.aval.dtype), ct_bias, call.spec)
            )
        total = functools.reduce(jnp.add, terms) if terms else jnp.zeros_like(dy.aval)
        return [total, None, None]
    if _unknown(x):
        dx = None if ct_kernel is None else gradients(dy, None, ct_kernel, call, shapes)[0]
        return [None, dx, None]
    dkernel = None if ct_x is None else gradients(dy, ct_x, None, call, shapes)[1]
    return [None, None, dkernel]


ad.primitive_transposes[tangent_p] = _tangent_transpose
ad.primitive_transposes[convolution_p] = _convolution_transpose
ad.primitive_transposes[gradients_p] = _gradients_transpose


# ---- mapped axes ---------------------------------------------------------------------------------


def _size(arrays: Sequence[Array], axes: Sequence[int | None]) -> int:
    sizes = (
        array.shape[axis] for array, axis in zip(arrays, axes, strict=True) if axis is not None
    )
    return int(next(sizes))


def _in_front(array: Array, axis: int | None, size: int) -> Array:
    """With the mapped axis as the first; repeated where it is not mapped."""
    if axis is None:
        return jnp.broadcast_to(array, (size, *array.shape))
    return jnp.moveaxis(array, axis, 0)


def _into_batch(array: Array, axis: int, size: int) -> Array:
    """(B, N, ...) -> (B*N, ...), wherever B is."""
    array = jnp.moveaxis(array, axis, 0)
    return array.reshape(size * array.shape[1], *array.shape[2:])


def _out_of_batch(array: Array, size: int) -> Array:
    return array.reshape(size, array.shape[0] // size, *array.shape[1:])


def _into_channels(array: Array, axis: int | None, size: int, at: int) -> Array:
    """With the mapped axis in front of axis `at` and joined with it."""
    array = jnp.moveaxis(_in_front(array, axis, size), 0, at)
    return array.reshape(*array.shape[:at], size * array.shape[at + 1], *array.shape[at + 2 :])


def _out_of_channels(array: Array, size: int, at: int) -> Array:
    split = array.reshape(*array.shape[:at], size, array.shape[at] // size, *array.shape[at + 1 :])
    return jnp.moveaxis(split, at, 0)


def _map_convolution(arrays: Any, axes: Any, *, call: Call) -> tuple[Array, int]:
    (x, kernel, bias), size = arrays, _size(arrays, axes)
    x_axis, kernel_axis, bias_axis = axes
    if kernel_axis is None and bias_axis is None:
        y = convolution_p.bind(_into_batch(x, x_axis, size), kernel, bias, call=call)
        return _out_of_batch(y, size), 0
    at = call.spec.channel_axis
    y = convolution_p.bind(
        _into_channels(x, x_axis, size, at),
        _into_channels(kernel, kernel_axis, size, 2),
        _into_channels(bias, bias_axis, size, 0),
        call=call,
    )
    return _out_of_channels(y, size, at), 0


def _map_tangent(arrays: Any, axes: Any, *, call: Call) -> tuple[Array, int]:
    (x, kernel, dx, dkernel, dbias), size = arrays, _size(arrays, axes)
    if all(axis is None for axis in (axes[1], axes[3], axes[4])):
        x, dx = (
            _into_batch(_in_front(array, axis, size), 0, size)
            for array, axis in ((x, axes[0]), (dx, axes[2]))
        )
        return _out_of_batch(tangent_p.bind(x, kernel, dx, dkernel, dbias, call=call), size), 0
    at = call.spec.channel_axis
    places = (at, 2, at, 2, 0)
    dy = tangent_p.bind(
        *(
            _into_channels(array, axis, size, place)
            for array, axis, place in zip(arrays, axes, places, strict=True)
        ),
        call=call,
    )
    return _out_of_channels(dy, size, at), 0


def _map_gradients(
    arrays: Any, axes: Any, *, call: Call, x_shape: Any, kernel_shape: Any, wants: Any
) -> tuple[list[Array], list[int]]:
    (dy, x, kernel), size = arrays, _size(arrays, axes)
    wants_x, wants_weights = wants
    at = call.spec.channel_axis
    if not wants_weights and axes[2] is None:  # dx alone, with one kernel
        dx, *none = gradients_p.bind(
            _into_batch(dy, axes[0], size),
            x if axes[1] is None else jnp.moveaxis(x, axes[1], 0)[0],  # of shape (0,)
            kernel,
            call=call,
            x_shape=(size * x_shape[0], *x_shape[1:]),
            kernel_shape=kernel_shape,
            wants=wants,
        )
        empty = [jnp.broadcast_to(array, (size, 0)) for array in none]
        return [_out_of_batch(dx, size), *empty], [0, 0, 0]

    def wide(shape: Any, place: int) -> tuple[int, ...]:
        return (*shape[:place], size * shape[place], *shape[place + 1 :])

    dx, dkernel, dbias = gradients_p.bind(
        _into_channels(dy, axes[0], size, at),
        _into_channels(x, axes[1], size, at if wants_weights else 0),
        _into_channels(kernel, axes[2], size, 2 if wants_x else 0),
        call=call,
        x_shape=wide(x_shape, at),
        kernel_shape=wide(kernel_shape, 2),
        wants=wants,
    )
    return [
        _out_of_channels(dx, size, at if wants_x else 0),
        _out_of_channels(dkernel, size, 2 if wants_weights else 0),
        _out_of_channels(dbias, size, 0),
    ], [0, 0, 0]


batching.primitive_batchers[convolution_p] = _map_convolution
batching.primitive_batchers[tangent_p] = _map_tangent
batching.primitive_batchers[gradients_p] = _map_gradients
