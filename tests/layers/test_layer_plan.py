"""layer.plan, and the short way that a layer's calls take: what goes it, and what must not."""

from __future__ import annotations

import copy
import gc
import itertools
import pickle
import sys
import weakref
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray
from support import assert_same_bits
from support.layers import draw, isolate

import dwconv
from dwconv import DepthwiseConv2D, config

Array = NDArray[Any]


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)


def made(**arguments: Any) -> DepthwiseConv2D:
    """A layer for 5 channels with weights of its own."""
    layer = DepthwiseConv2D(**{"kernel_size": 3, "padding": "same", **arguments})
    first = layer.data_format == "channels_first"
    layer.build((None, 5, None, None) if first else (None, None, None, 5))
    layer.set_weights([draw(*w.shape, seed=i) for i, w in enumerate(layer.weights)])
    return layer


class Subclass(np.ndarray[Any, Any]):
    pass


def unaligned(array: Array) -> Array:
    result = np.empty(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
    result[...] = array
    return result


def spread(array: Array) -> Array:
    wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
    wide[..., ::2] = array
    return wide[..., ::2]


FORMS: dict[str, Any] = {
    "plain": lambda a: a,
    "list": lambda a: a.tolist(),
    "strided": spread,
    "Fortran": np.asfortranarray,
    "byte-swapped": lambda a: a.astype(a.dtype.newbyteorder()),
    "unaligned": unaligned,
    "subclass": lambda a: a.view(Subclass),
    "float64": lambda a: a.astype(np.float64),
    "metadata": lambda a: a.astype(np.dtype(a.dtype.str, metadata={"unit": "m"})),
}
OUTS: dict[str, Any] = {
    "plain": lambda a: a,
    "strided": spread,
    "Fortran": np.asfortranarray,
    "unaligned": unaligned,
    "subclass": lambda a: a.view(Subclass),
}

LAYERS: list[dict[str, Any]] = [
    {},
    {"activation": "relu6", "depth_multiplier": 2},
    {"data_format": "channels_first"},
    {"activation": "tanh"},
    {"activation": "glu", "depth_multiplier": 2},
    {"dtype": "float16", "activation": "relu"},
    {"dtype": "bfloat16"},
    {"activity_regularizer": "l2"},
]


@pytest.mark.parametrize("arguments", LAYERS, ids=str)
def test_a_plan_gives_what_the_layer_gives(arguments: dict[str, Any], isa: str) -> None:
    """For x in any form, into an out of any form or none, to the bit."""
    layer = made(**arguments)
    x = draw(2, 6, 7, 5).astype(layer.compute_dtype)
    if layer.data_format == "channels_first":
        x = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    expected = layer(x)
    plan = layer.plan(x.shape, isa=isa)
    dtype = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}.get(str(layer.dtype), "f4")
    for name, form in FORMS.items():
        if name in ("byte-swapped", "metadata") and dtype is ml_dtypes.bfloat16:
            continue  # that has neither
        given = form(x)
        assert_same_bits(layer(given), expected, (arguments, name))
        y = plan(given)
        assert type(y) is np.ndarray
        assert_same_bits(y, expected, (arguments, name, isa))
    for (x_name, form), (name, out_form) in itertools.product(FORMS.items(), OUTS.items()):
        if x_name in ("plain", "strided") or name == "plain":
            if x_name in ("byte-swapped", "metadata") and dtype is ml_dtypes.bfloat16:
                continue
            out = out_form(np.zeros(expected.shape, dtype))
            assert plan(form(x), out=out) is out
            assert_same_bits(np.asarray(out), expected, (arguments, x_name, name))


def test_calls_of_a_plan() -> None:
    layer = made()
    x = draw(1, 6, 7, 5)
    plan, out = layer.plan(x.shape), np.zeros((1, 6, 7, 5), np.float32)
    expected = layer(x)
    for y in (plan(x), plan(x, None), plan(x, out=None), plan(x=x), plan(out=None, x=x)):
        assert_same_bits(y, expected, "new")
    for positional, keywords in (((x, out), {}), ((x,), {"out": out}), ((), {"x": x, "out": out})):
        out[...] = 0
        assert plan(*positional, **keywords) is out
        assert_same_bits(out, expected, "out")
    out[...] = 0
    assert plan(x, out=out) is out  # as the compiler of Python calls it
    assert_same_bits(out, expected, "out")
    for arguments, keywords in (
        ((), {}),
        ((x, out, 1), {}),
        ((x,), {"outs": out}),
        ((x, out), {"out": out}),
    ):
        with pytest.raises(TypeError, match=r"__call__|argument"):
            plan(*arguments, **keywords)


def test_calls_of_a_layer() -> None:
    """`training` and `inputs` are Keras' names; a convolution does the same in training."""
    layer, x = made(), draw(1, 6, 7, 5)
    expected = layer(x)
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
        ((), {"x": x}),
        ((), {"inputs": x}),
        ((x,), {"training": False}),
        ((x,), {"training": True, "num_threads": 1}),
        ((), {"inputs": x, "training": None}),
    ]
    for arguments, keywords in calls:
        assert_same_bits(layer(*arguments, **keywords), expected, str(keywords))
    wrong: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
        ((), {}),
        ((x, x), {}),
        ((x,), {"x": x}),
        ((x,), {"mode": 1}),
        ((), {"training": True}),
    ]
    for arguments, keywords in wrong:
        with pytest.raises(TypeError, match=r"__call__|argument|expected one input"):
            layer(*arguments, **keywords)


def test_errors_of_a_plan() -> None:
    layer = made()
    plan = layer.plan((1, 6, 7, 5))
    x = draw(1, 6, 7, 5)
    for wrong in (x[0], x[:, :5], draw(2, 6, 7, 5), 3.0):
        with pytest.raises(ValueError, match=r"x: expected shape \(1, 6, 7, 5\); received shape"):
            plan(wrong)
    with pytest.raises(TypeError, match="x: expected an array of floats or integers"):
        plan(x.astype(complex))
    frozen = np.zeros_like(x)
    frozen.flags.writeable = False
    memory = np.zeros(x.size + 5, np.float32)
    late, early = memory[5:].reshape(x.shape), memory[:-5].reshape(x.shape)
    for out, kind, message in (
        (x.tolist(), TypeError, "out: expected a NumPy array"),
        (np.zeros((1, 6, 7, 4), np.float32), ValueError, r"out: expected shape \(1, 6, 7, 5\)"),
        (np.zeros(x.shape), TypeError, "out: expected dtype float32; received dtype float64"),
        (np.zeros(x.shape, ">f4"), TypeError, "out: expected dtype float32; received dtype >f4"),
        (frozen, ValueError, "out: expected a writable array"),
        (x, ValueError, "out: expected an array apart from x"),
    ):
        with pytest.raises(kind, match=message):
            plan(x, out)
    for a, b in ((late, early), (early, late)):
        with pytest.raises(ValueError, match="out: expected an array apart from x"):
            plan(a, out=b)
    beside = np.zeros((2, *x.shape), np.float32)  # one after the other is fine
    beside[0] = x
    assert_same_bits(plan(beside[0], out=beside[1]), layer(x), "beside")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((1, 6, 7),), "expected an input of rank 4"),
        (((1, 6, 7, 4),), "expected 5 channels"),
        (((None, 6, 7, 5),), r"input_shape: expected known sizes; received \(None, 6, 7, 5\)"),
        (((1, 0, 7, 5),), "height"),
        (((1, 6, 7, 5), 0), "num_threads: expected a positive integer .*; received 0"),
        (((1, 6, 7, 5), 1, "mmx"), "isa: expected one of"),
    ],
)
def test_plans_that_cannot_be(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made().plan(*arguments)


def test_a_plan_builds_the_layer() -> None:
    layer = DepthwiseConv2D(3)
    with pytest.raises(ValueError, match="empty output"):
        layer.plan((1, 2, 2, 4))
    assert not layer.built
    plan = layer.plan((1, 4.0, 5, 4), num_threads=1.0)
    assert layer.input_shape == (1, 4, 5, 4)
    x = draw(1, 4, 5, 4)
    assert_same_bits(plan(x), layer(x), layer)


@pytest.mark.parametrize("form", ["layer", "plan", "out"])
def test_nothing_is_allocated(form: str) -> None:
    """By a plan with out: no object and no block. A call without it: none that stays."""
    layer = made(activation="relu")
    x, out = draw(1, 9, 9, 5), np.zeros((1, 9, 9, 5), np.float32)
    plan = layer.plan(x.shape)
    calls = {"layer": lambda: layer(x), "plan": lambda: plan(x), "out": lambda: plan(x, out=out)}
    call = calls[form]
    for _ in range(10):
        call()
    dwconv.trim_memory()
    if form != "out":
        call()
    idle, blocks = dwconv.config.idle_memory(), sys.getallocatedblocks()
    for _ in range(100):
        call()
    assert sys.getallocatedblocks() - blocks < 10  # what pytest does meanwhile; not 100
    assert dwconv.config.idle_memory() == idle == (0 if form == "out" else 1664)  # 1620, rounded up


def test_a_plan_keeps_what_it_was_made_with() -> None:
    layer = made(activation="relu")
    x = draw(1, 6, 7, 5)
    plan, expected = layer.plan(x.shape), layer(x)
    layer.activation = "tanh"
    layer.set_weights([w * 2 for w in layer.weights])
    assert_same_bits(plan(x), expected, "old")
    assert not np.array_equal(layer(x), expected)


# ---- the short way -------------------------------------------------------------------------------


def test_changes_take_effect_at_the_next_call() -> None:
    layer = made(depthwise_constraint="non_neg")
    x = draw(1, 6, 7, 5)

    def check(context: str) -> Array:
        for _ in range(2):
            kernel, bias = layer.get_weights()
            y = layer(x)
            wanted = dwconv.depthwise_conv2d(
                x, kernel, bias, padding="same", activation=layer.activation
            )
            assert_same_bits(y, wanted, context)
        return y

    first = check("as built")
    layer.set_weights([w + 1 for w in layer.weights])
    second = check("other weights")
    assert not np.array_equal(first, second)
    layer.set_weights([-w for w in layer.weights])
    layer.apply_constraints()
    check("constraints")
    layer.activation = "relu"
    check("activation in the kernel")
    layer.activation = "tanh"
    check("activation after it")
    layer.activation = None
    check("no activation")
    layer.activity_regularizer = "l1"
    assert layer.losses == []
    y = layer(x)
    assert layer.losses == [pytest.approx(0.01 * np.abs(y.astype(np.float64)).sum())]
    layer(np.zeros_like(x))
    assert layer.losses != [pytest.approx(0.01 * np.abs(y.astype(np.float64)).sum())]
    layer.activity_regularizer = None
    check("no regularizer")


def test_several_shapes_in_turn() -> None:
    """More than a layer keeps plans for; arrays of equal size and other shape are told apart."""
    layer = made()
    shapes = [(n, h, 12 // h, 5) for n in (1, 2, 3) for h in (1, 2, 3, 4, 6)]
    expected = {shape: layer(draw(*shape)).copy() for shape in shapes}
    for shape in [*shapes, *shapes[::-1], *(s for s in shapes for _ in range(2))]:
        assert_same_bits(layer(draw(*shape)), expected[shape], shape)


def test_another_dtype_of_the_same_shape_is_cast() -> None:
    layer = made()
    x = draw(1, 6, 7, 5)
    layer(x)
    for dtype in ("f8", "f2", "i4", "u4", ">f4"):
        other = (x * 4).astype(dtype) if dtype != "u4" else np.abs(x * 4).astype(dtype)
        assert_same_bits(layer(other), layer(other.astype(np.float32)), dtype)


def test_a_subclass_may_have_its_own_call() -> None:
    class Twice(DepthwiseConv2D):
        def __call__(self, x: Any) -> Any:
            return 2 * super().__call__(x)

    layer = Twice(3, padding="same")
    x = draw(1, 6, 7, 5)
    y = layer(x)
    plain = DepthwiseConv2D(3, padding="same", weights=layer.get_weights())
    for _ in range(2):
        assert_same_bits(layer(x), 2 * plain(x), "twice")
    assert_same_bits(layer(x), y, "twice")


def test_layers_in_cycles_are_collected() -> None:
    class Holder:
        def act(self, y: Array) -> Array:
            return y

    holder = Holder()
    layer = made(activation=holder.act)
    holder.layer = layer  # type: ignore[attr-defined]
    layer(draw(1, 6, 7, 5))
    layer.note = layer.plan((1, 6, 7, 5))  # type: ignore[attr-defined]
    gone = weakref.ref(holder)
    del holder, layer
    gc.collect()
    assert gone() is None


# ---- describe ------------------------------------------------------------------------------------


def test_description() -> None:
    layer = made(strides=(2, 1), depth_multiplier=2, activation="relu")
    plan = layer.plan((2, 8, 9, 5), isa="portable")
    told = plan.describe()
    fields = told.as_dict()
    candidates = fields.pop("candidates")  # dicts there
    assert fields == {field: getattr(told, field) for field in fields}
    assert [one["strategy"] for one in candidates] == [one.strategy for one in told.candidates]
    assert (told.x_shape, told.y_shape) == ((2, 8, 9, 5), (2, 4, 9, 10))
    assert (told.x_bytes, told.y_bytes) == (2 * 8 * 9 * 5 * 4, 2 * 4 * 9 * 10 * 4)
    # SAME, H 8, stride 2, kernel 3: pads (0, 1), so the last of 4 rows has 2 taps: 11 in all; W 9,
    # stride 1: pads (1, 1): 3 * 9 - 2.
    assert told.multiply_adds == 2 * 11 * 25 * 10
    assert (told.isa, told.activation, told.activation_after) == ("portable", "relu", None)
    assert told.kernel.endswith("_portable")
    assert told.weight_bytes >= (9 + 1) * 10 * 4
    text = str(told)
    for fact in (told.kernel, "(2, 8, 9, 5)", "5500 multiply-adds", "relu, in the kernel"):
        assert fact in text
    assert "besides" not in text


def test_description_of_what_comes_besides() -> None:
    layer = made(data_format="channels_first", dtype="float16", activation="softmax")
    told = layer.plan((1, 5, 600, 700)).describe()
    assert (told.x_shape, told.y_shape) == ((1, 5, 600, 700),) * 2
    assert (told.dtype, told.compute_dtype, told.activation) == ("float16", "float32", "linear")
    text = str(told)
    for fact in ("softmax, by NumPy afterwards", "besides     computed in float32", "MiB"):
        assert fact in text
    assert "million multiply-adds" in text


def test_a_plan_of_the_kernel_alone() -> None:
    """It takes what the kernel takes, and stays where it is."""
    kernel = np.ones((3, 3, 2, 1), np.float32)
    plan = dwconv.ops.make_plan(dwconv.ops.ConvSpec((3, 3)), (1, 4, 4, 2), kernel, None)
    x = draw(1, 4, 4, 2)
    assert_same_bits(plan(x), dwconv.depthwise_conv2d(x, kernel), "kernel alone")
    with pytest.raises(TypeError, match="x: expected dtype float32; received dtype float64"):
        plan(x.astype(np.float64))
    with pytest.raises(TypeError, match="a plan of the kernel alone: expected a plan of a layer"):
        pickle.dumps(plan)
    assert weakref.ref(plan)() is plan


# ---- copies --------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", LAYERS, ids=str)
def test_plans_are_pickled_and_copied_by_their_recipe(arguments: dict[str, Any]) -> None:
    layer = made(**arguments)
    shape = (2, 5, 6, 7) if layer.data_format == "channels_first" else (2, 6, 7, 5)
    x = draw(*shape).astype(layer.compute_dtype)
    config.set_denormals("ieee")
    try:
        plan = layer.plan(shape, num_threads=1, isa="portable")
    finally:
        config.set_denormals("flush")
    expected = plan(x)
    layer.set_weights([w * 2 for w in layer.weights])  # a plan keeps the ones that it was made with
    for again in (copy.copy(plan), copy.deepcopy(plan), pickle.loads(pickle.dumps(plan))):
        assert again is not plan
        assert_same_bits(again(x), expected, arguments)
        assert again.describe() == plan.describe()
        assert (again.isa, again.describe().denormals) == (plan.isa, plan.describe().denormals)
    assert weakref.ref(plan)() is plan


def test_a_recipe_does_not_see_later_changes() -> None:
    spec, kernel = dwconv.ops.ConvSpec((3, 3)), draw(3, 3, 2, 1)
    bare = dwconv.ops.Epilogue("plan", np.dtype(np.float32))
    plan = dwconv.ops.make_plan(spec, (1, 4, 4, 2), kernel, None, "linear", None, bare)
    x = draw(1, 4, 4, 2)
    expected = plan(x)
    kernel[...] = 0
    assert_same_bits(copy.copy(plan)(x), expected, "recipe")


def test_a_plan_of_another_machine() -> None:
    """One that was asked for no instruction set has the default one; another is an error."""
    plan = made().plan((1, 6, 7, 5))
    assert plan.isa.encode() not in pickle.dumps(plan)
    wanted = pickle.dumps(made().plan((1, 6, 7, 5), isa="portable"))
    with pytest.raises(ValueError, match="isa: expected one of"):
        pickle.loads(wanted.replace(b"portable", b"riscvvec"))


def python_calls(function: Callable[[], Any]) -> list[str]:
    """The names of the Python functions that it calls."""
    calls: list[str] = []

    def notice(frame: Any, event: str, _: Any) -> None:
        if event == "call":
            calls.append(frame.f_code.co_name)

    sys.setprofile(notice)
    try:
        function()
    finally:
        sys.setprofile(None)
    return calls[1:]  # without the function itself


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_what_a_call_costs_in_python(data_format: str) -> None:
    """Nothing for a shape that was seen before. For another one each size is worked out once; the
    core does so for itself.
    """
    layer = made(data_format=data_format)
    first = data_format == "channels_first"
    small, large = ((1, 5, 6, 7), (1, 5, 8, 7)) if first else ((1, 6, 7, 5), (1, 8, 7, 5))
    x, new = draw(*small), draw(*large)
    unbuilt = DepthwiseConv2D(3, padding="same", data_format=data_format)
    for each in (layer, unbuilt):
        config.forget_plans()
        count = Counter(python_calls(lambda: each(new)))  # noqa: B023
        # One for the height and one for the width.
        assert (count["output_size"], count["padding_amounts"]) == (2, 2)
        assert not count["read_pair"], "arguments are read at construction"
        assert python_calls(lambda: each(new)) == []  # noqa: B023
    layer(x)
    assert python_calls(lambda: layer(x)) == []


def test_a_call_that_is_assigned_to_the_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """As mocks and profilers do it: the way around Python must not be taken any more."""
    layer, x = made(), draw(1, 6, 7, 5)
    y = layer(x)
    seen: list[Any] = []

    def noticed(self: DepthwiseConv2D, x: Any) -> Any:
        seen.append(self)
        return original(self, x)

    original = DepthwiseConv2D.__call__
    with monkeypatch.context() as patch:
        patch.setattr(DepthwiseConv2D, "__call__", noticed)
        assert_same_bits(layer(x), y, "assigned")
        assert seen == [layer]
    assert_same_bits(layer(x), y, "back again")
    assert seen == [layer]
