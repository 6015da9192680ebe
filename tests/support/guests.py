"""Calls of everything public with objects that are not what they seem: `guests.py SEED COUNT`.

Run by test_guests.py in a process of its own, since what it looks for would kill the process. Each
case is printed before it runs. A guest stands on an array whose bytes are known. So a call either
raises a documented exception or gives what a plain copy of that array gives; and memory around
each array that is written keeps its pattern.
"""

from __future__ import annotations

import array
import contextlib
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

import dwconv
from dwconv import _core, activations, constraints, ops, regularizers
from dwconv.layers import backward
from dwconv.ops import gradients

Array = np.ndarray[Any, Any]

#: What a call may raise; anything else, a crash above all, is a fault.
ERRORS = (TypeError, ValueError, BufferError, MemoryError, NotImplementedError)
BIG = (1, 3000, 3000, 4)
POISON = 0xA5
MARGIN = 4096


class Liar(np.ndarray[Any, Any]):
    """Whatever NumPy asks of the struct is right, and everything asked of Python is not."""

    shape = property(lambda self: BIG)  # type: ignore[assignment]
    strides = property(lambda self: (0, 0, 0, 0))  # type: ignore[assignment]
    ndim = property(lambda self: 4)  # type: ignore[assignment]
    size = property(lambda self: 36_000_000)  # type: ignore[assignment]
    nbytes = property(lambda self: 144_000_000)  # type: ignore[assignment]
    itemsize = property(lambda self: 4)  # type: ignore[assignment]
    dtype = property(lambda self: np.dtype(np.float32))  # type: ignore[assignment]


class ShapeLiar(np.ndarray[Any, Any]):
    """As a cropped image that tells its size before."""

    shape = property(lambda self: BIG)  # type: ignore[assignment]


class FlagLiar(np.ndarray[Any, Any]):
    """Says that it may be written, and that it is contiguous."""

    @property
    def flags(self) -> Any:
        return np.zeros(3).flags


class Converted:
    """Only __array__, which returns a lying subclass."""

    def __init__(self, base: Array) -> None:
        self.base = base

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.base.view(Liar)


class Pretender:
    """Not an array, though isinstance says so."""

    __class__ = np.ndarray  # type: ignore[assignment]
    shape, ndim, dtype = (1, 6, 7, 4), 4, np.dtype(np.float32)


class OtherDevice:
    """An array in the memory of a GPU, as DLPack tells it."""

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0

    def __dlpack__(self, **_: Any) -> Any:
        raise BufferError("in the memory of device 2")


class OnlyDLPack:
    """An array of a library that speaks DLPack and nothing else."""

    def __init__(self, base: Array) -> None:
        self.base = base

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.base.__dlpack_device__()

    def __dlpack__(self, **options: Any) -> Any:
        return self.base.__dlpack__(**options)


def strided(base: Array) -> Array:
    wide = np.zeros((*base.shape[:-1], 2 * base.shape[-1]), base.dtype)
    wide[..., ::2] = base
    return wide[..., ::2]


def unaligned(base: Array) -> Array:
    result = np.empty(base.nbytes + 1, np.uint8)[1:].view(base.dtype).reshape(base.shape)
    result[...] = base
    return result


def frozen(base: Array) -> Array:
    result = base.copy()
    result.flags.writeable = False
    return result


#: Name -> an object that stands on a copy of an array; None where nothing can be said of its bytes.
GUESTS: dict[str, Callable[[Array], Any]] = {
    "plain": lambda a: a.copy(),
    "liar": lambda a: a.copy().view(Liar),
    "shape liar": lambda a: a.copy().view(ShapeLiar),
    "small shape liar": lambda a: np.zeros((1, 1, 1, 1), a.dtype).view(ShapeLiar),
    "empty liar": lambda a: np.zeros((0,), a.dtype).view(Liar),
    "flag liar": lambda a: frozen(a).view(FlagLiar),
    "strided flag liar": lambda a: strided(a).view(FlagLiar),
    "converted": lambda a: Converted(a.copy()),
    "pretender": lambda a: Pretender(),
    "other device": lambda a: OtherDevice(),
    "DLPack": lambda a: OnlyDLPack(a.copy()),
    "memoryview": lambda a: memoryview(a.copy()),
    "read-only memoryview": lambda a: memoryview(frozen(a)),
    "strided memoryview": lambda a: memoryview(strided(a)),
    "bytes": lambda a: memoryview(a.tobytes()),
    "bytearray": lambda a: bytearray(a.tobytes()),
    "cast bytearray": lambda a: memoryview(bytearray(a.tobytes())).cast("f"),
    "array.array": lambda a: array.array("f", a.astype(np.float32).ravel().tolist()),
    "ctypes": lambda a: np.ctypeslib.as_ctypes(a.copy()),
    "released": lambda a: released(a),
    "strided": strided,
    "Fortran": np.asfortranarray,
    "reversed": lambda a: a[:, ::-1].copy()[:, ::-1] if a.ndim > 1 else a[::-1].copy()[::-1],
    "broadcast": lambda a: np.broadcast_to(a.ravel()[:1], a.shape),
    "unaligned": unaligned,
    "read-only": frozen,
    "byte-swapped": lambda a: a.astype(a.dtype.newbyteorder()),
    "metadata": lambda a: a.astype(np.dtype(a.dtype.str, metadata={"unit": "m"})),
    "float64": lambda a: a.astype(np.float64),
    "float16": lambda a: a.astype(np.float16),
    "int64": lambda a: a.astype(np.int64),
    "bool": lambda a: a.astype(bool),
    "complex": lambda a: a.astype(complex),
    "object": lambda a: a.astype(object),
    "text": lambda a: a.astype(str),
    "structured": lambda a: a.view([("low", "u2"), ("high", "u2")]),
    "masked": lambda a: np.ma.masked_array(a, a > 0),
    "matrix": lambda a: np.asmatrix(a.reshape(len(a), -1)),
    "one more axis": lambda a: a[None],
    "one axis less": lambda a: a[0],
    "scalar": lambda a: a.ravel()[0],
    "empty": lambda a: a[:0],
    "list": lambda a: a.tolist(),
    "ragged": lambda a: [[1.0], [1.0, 2.0]],
    "None": lambda a: None,
    "dict": lambda a: {},
    "itself": lambda a: a,  # where it is read already: overlaps
}


#: Guests that hold the bytes of their array, whatever they are called.
SAME_BYTES = {"plain", "liar", "shape liar", "memoryview", "strided", "Fortran", "unaligned"}
SUMS = {"l1", "l2", "l1_l2", "max_norm", "unit_norm"}  # and their gradients


def released(base: Array) -> Any:
    view = memoryview(base.copy())
    view.release()
    return view


class Canary:
    """An array with poisoned memory on both sides."""

    def __init__(self, shape: tuple[int, ...], dtype: Any = np.float32) -> None:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        self.memory = np.full(size + 2 * MARGIN, POISON, np.uint8)
        self.array = self.memory[MARGIN : MARGIN + size].view(dtype).reshape(shape)
        self.array[...] = 7

    def check(self) -> None:
        assert (self.memory[:MARGIN] == POISON).all(), "written before the array"
        assert (self.memory[-MARGIN:] == POISON).all(), "written behind the array"


class Places:
    """Every public callable that takes arrays, as name -> (function, its arguments)."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.shape, self.size = (1, 6, 7, 4), (3, 3)
        self.x = rng.standard_normal(self.shape, np.float32)
        self.kernel = rng.standard_normal((3, 3, 4, 2), np.float32)
        self.bias = rng.standard_normal(8, np.float32)
        self.dy = rng.standard_normal((1, 6, 7, 8), np.float32)
        self.layer = dwconv.DepthwiseConv2D(
            3, padding="same", depth_multiplier=2, weights=[self.kernel, self.bias]
        )
        self.tanh = dwconv.DepthwiseConv2D(
            3, padding="same", depth_multiplier=2, weights=[self.kernel, self.bias],
            activation="softmax",
        )  # fmt: skip
        self.half = dwconv.DepthwiseConv2D(3, padding="same", dtype="float16")
        self.half.build(self.shape)
        self.plan = self.layer.plan(self.shape)
        self.after = self.tanh.plan(self.shape)
        self.spec = ops.ConvSpec((3, 3), (1, 1), "same", (1, 1), 2)
        self.gradient = gradients.make_plan(self.spec, self.shape, self.x.dtype, self.kernel)

    def calls(self) -> dict[str, tuple[Callable[..., Any], list[Array], bool]]:
        """name -> (function of arrays, good arrays, whether the last one is written)."""
        y, options = np.zeros_like(self.dy), {"padding": "same"}

        def core_plan(kernel: Any, bias: Any) -> Any:
            return _core.Plan(self.spec, self.shape, kernel, bias, "linear", "portable")(self.x)

        def core_gradient(which: int) -> Callable[..., Any]:
            def run(dy: Any, x: Any, out: Any) -> Any:
                wanted = [None] * 3
                wanted[which] = out
                self.gradient(dy, x, *wanted)
                return out

            return run

        def pullback(x: Any, dy: Any) -> Any:
            grads = self.layer.vjp(x)[1](dy)
            return grads.input, grads.kernel, grads.bias

        def set_weights(kernel: Any, bias: Any) -> Any:
            layer = dwconv.DepthwiseConv2D(3, depth_multiplier=2)
            layer.build(self.shape)
            layer.set_weights([kernel, bias])
            return layer.get_weights()

        shape, conv = self.x.shape, dwconv.depthwise_conv2d
        calls: dict[str, tuple[Callable[..., Any], list[Array], bool]] = {
            "depthwise_conv2d": (
                lambda x, k, b: conv(x, k, b, **options), [self.x, self.kernel, self.bias], False),
            "depthwise_conv2d(out)": (
                lambda x, k, b, out: conv(x, k, b, out=out, **options),
                [self.x, self.kernel, self.bias, y], True),
            "input grad": (
                lambda dy, k: dwconv.depthwise_conv2d_input_grad(dy, k, shape, **options),
                [self.dy, self.kernel], False),
            "kernel grad": (
                lambda dy, x: dwconv.depthwise_conv2d_kernel_grad(
                    dy, x, self.kernel.shape, **options),
                [self.dy, self.x], False),
            "bias grad": (dwconv.depthwise_conv2d_bias_grad, [self.dy], False),
            "layer": (self.layer, [self.x], False),
            "softmax layer": (self.tanh, [self.x], False),
            "float16 layer": (self.half, [self.x.astype(np.float16)], False),
            "plan": (self.plan, [self.x], False),
            "plan(out)": (self.plan, [self.x, y], True),
            "softmax plan(out)": (self.after, [self.x, y], True),
            "plan.run": (self.plan.run, [self.x], False),
            "plan.run(out)": (self.plan.run, [self.x, y], True),
            "plan.run_part": (
                lambda x, out: self.plan.run_part(x, out, 0, 1) or out, [self.x, y], True),
            "_core.Plan": (core_plan, [self.kernel, self.bias], False),
            "_core.Gradient dx": (
                core_gradient(0), [self.dy, self.x, np.zeros_like(self.x)], True),
            "_core.Gradient dkernel": (
                core_gradient(1), [self.dy, self.x, np.zeros_like(self.kernel)], True),
            "_core.Gradient dbias": (
                core_gradient(2), [self.dy, self.x, np.zeros_like(self.bias)], True),
            "vjp": (pullback, [self.x, self.dy], False),
            "set_weights": (set_weights, [self.kernel, self.bias], False),
            "weights=": (
                lambda k, b: dwconv.DepthwiseConv2D(
                    3, depth_multiplier=2, weights=[k, b])(self.x),
                [self.kernel, self.bias], False),
            "reference": (
                lambda x, k, b: dwconv.reference.depthwise_conv2d(x, k, b, **options),
                [self.x, self.kernel, self.bias], False),
            "activate": (
                lambda out: _core.activate("gelu", 0.0, out, "portable") or out, [self.x], True),
        }  # fmt: skip
        for name in ("relu", "gelu", "softmax", "elu", "tanh"):
            act = activations.get(name)
            calls[name] = act, [self.x], False
            calls[f"{name}.gradient"] = act.gradient, [self.x, self.x + 1], False
        for name in ("l1", "l2", "l1_l2"):
            calls[name] = regularizers.get(name), [self.kernel], False
            calls[f"{name}.gradient"] = regularizers.get(name).gradient, [self.kernel], False
        for name in ("non_neg", "max_norm", "unit_norm"):
            calls[name] = constraints.get(name), [self.kernel], False
        calls |= {
            "Constant": (
                lambda k: dwconv.initializers.Constant(k)(self.kernel.shape), [self.kernel], False),
            "an array as initializer": (
                lambda k: dwconv.initializers.get(k)(self.kernel.shape), [self.kernel], False),
            "a layer's initializer": (
                lambda k: dwconv.DepthwiseConv2D(
                    3, depth_multiplier=2, depthwise_initializer=k)(self.x),
                [self.kernel], False),
            "fold_batch_norm": (
                lambda a, b, c, d: dwconv.fold_batch_norm(
                    self.layer, a, b, c, np.abs(d) + 1).get_weights(),
                [self.bias, self.bias, self.bias, self.bias], False),
            "from_torch_weight": (
                lambda w: dwconv.from_torch_weight(w, 2), [np.zeros((8, 1, 3, 3), "f4")], False),
            "to_torch_weight": (dwconv.to_torch_weight, [self.kernel], False),
            "optimizer": (step, [self.kernel, self.bias], False),
            "set_state": (
                lambda k: state(dwconv.optimizers.SGD(momentum=0.5), k), [self.kernel], False),
        }  # fmt: skip
        return calls


def step(kernel: Any, bias: Any) -> Any:
    layer = dwconv.DepthwiseConv2D(3, depth_multiplier=2, depthwise_initializer="ones")
    layer.build((None, None, None, 4))
    dwconv.optimizers.Adam().apply(layer, backward.Gradients(None, kernel, bias))
    return layer.get_weights()


def state(optimizer: Any, kernel: Any) -> Any:
    optimizer.set_state({"iterations": 1, "kernel/momentum": kernel})
    return optimizer.get_state()["kernel/momentum"]


def numbers(result: Any) -> list[Array]:
    """Copies of the arrays in a result, as NumPy's own class."""
    parts = result if isinstance(result, (tuple, list)) else [result]
    return [np.array(part, copy=True, subok=False) for part in parts]


def same(a: list[Array], b: list[Array], exact: bool) -> bool:
    return len(a) == len(b) and all(
        x.shape == y.shape
        and x.dtype == y.dtype
        and (x.tobytes() == y.tobytes() if exact else np.allclose(x, y, equal_nan=True))
        for x, y in zip(a, b, strict=True)
    )


def main(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    places = Places(rng)
    calls = places.calls()
    raised = taken = 0
    for number in range(count):
        name = str(rng.choice(list(calls)))
        function, good, writes = calls[name]
        at = int(rng.integers(len(good)))
        kind = str(rng.choice(list(GUESTS)))
        print(f"{number}: {name}, argument {at}: {kind}", flush=True)
        arguments: list[Any] = [each.copy() for each in good]
        canary = Canary(good[-1].shape, good[-1].dtype)
        if writes:
            canary.array[...] = good[-1]
            arguments[-1] = canary.array
        source = canary.array if writes and at == len(good) - 1 else good[at]
        if kind == "itself":
            arguments[at] = arguments[0] if at else arguments[-1]
        else:
            try:
                arguments[at] = GUESTS[kind](source)
            except ERRORS:
                continue  # there is no such guest of this dtype or rank
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                got = numbers(function(*arguments))
        except ERRORS:
            raised += 1
            canary.check()
            continue
        taken += 1
        canary.check()
        if kind in ("itself", "object", "None"):
            continue  # what a plain copy is of, is not said
        if writes and at == len(good) - 1:
            if got[0].shape != good[at].shape or got[0].dtype != good[at].dtype:
                continue  # `activate` takes any shape
            if kind not in SAME_BYTES:
                continue
        # What NumPy reads in the guest, as plain arrays.
        plain = [each.copy() for each in good]
        if not (writes and at == len(good) - 1):
            guest = good[at] if kind == "DLPack" else GUESTS[kind](good[at])
            plain[at] = np.array(guest, subok=False, order="C")
        expected = None
        with contextlib.suppress(*ERRORS):
            expected = numbers(function(*plain))
        # NumPy adds up strided arrays in another order.
        exact = name not in SUMS
        assert expected is None or same(got, expected, exact), "other numbers than of a plain copy"
    print(f"{count} calls: {raised} raised, {taken} were taken")
    assert taken > count // 20 < raised


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
