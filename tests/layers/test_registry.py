"""The mechanism that all four registries share: names, config dicts of every generation, errors."""

from __future__ import annotations

import copy
import pickle
import sys
from typing import Any

import numpy as np
import pytest

from dwconv import activations, constraints, initializers, regularizers
from dwconv.arguments import nearest, read_axes, read_integer, read_number
from dwconv.registry import Configured, Registry

MODULES = {
    "activation": activations,
    "initializer": initializers,
    "regularizer": regularizers,
    "constraint": constraints,
}
OBJECTS = {k: v for k, v in MODULES.items() if k != "activation"}
BUILTIN_CLASSES = [
    (module, getattr(module, name))
    for module in OBJECTS.values()
    for name in module.names()
    if ">" not in name
]


class Shift(Configured):
    """A made-up kind of object."""

    def __init__(self, amount: Any = 1) -> None:
        self.amount = read_number("amount", amount)

    def __call__(self, x: Any) -> Any:
        return x + self.amount

    def get_config(self) -> dict[str, Any]:
        return {"amount": self.amount}


@pytest.fixture
def shifts() -> Registry[Any]:
    registry: Registry[Any] = Registry("shift", "keras.shifts")
    registry.add("Shift", Shift, "shift", "move")
    registry.add_alias("shift_two", "Shift", amount=2)
    return registry


# -- forms that are accepted


@pytest.mark.parametrize(
    "config",
    [
        "Shift",
        "shift",
        "move",
        Shift,
        Shift(),
        {"class_name": "Shift", "config": {}},
        {"class_name": "Shift", "config": None},
        {"class_name": "Shift"},
        {"class_name": "move", "config": {"amount": [1.0]}},
        {"name": "Shift", "amount": 1},
        {"class_name": "Shift", "config": {"amount": 1, "dtype": "float32", "name": "a"}},
        {
            "module": "keras.shifts",
            "class_name": "Shift",
            "config": {"amount": np.float64(1)},
            "registered_name": None,
        },
        {
            "module": "tensorflow.keras.shifts",
            "class_name": "Shift",
            "config": {"amount": 1},
            "registered_name": "Shift",
            "shared_object_id": 3,
        },
    ],
)
def test_every_form_of_a_builtin(shifts: Registry[Any], config: Any) -> None:
    assert shifts.get(config) == Shift(1)


def test_none_and_presets(shifts: Registry[Any]) -> None:
    assert shifts.get(None) is None
    assert shifts.deserialize(None) is None
    assert shifts.serialize(None) is None
    assert shifts.get("shift_two") == Shift(2)
    assert shifts.get({"class_name": "shift_two", "config": {"amount": 5}}) == Shift(5)


def test_callables_are_returned_as_they_are(shifts: Registry[Any]) -> None:
    def plain(x: Any) -> Any:
        return x

    assert shifts.get(plain) is plain
    assert shifts.serialize(plain) == {
        "module": "builtins",
        "class_name": "function",
        "config": "plain",
        "registered_name": "function",
    }


# -- errors


@pytest.mark.parametrize("bad", [5, 1.5, [], object(), {}, {"config": {}}, b"Shift"])
def test_other_things_are_refused(shifts: Registry[Any], bad: Any) -> None:
    with pytest.raises(ValueError, match=r"expected .*; received"):
        shifts.get(bad)


@pytest.mark.parametrize("bad", [{"class_name": 3, "config": {}}, {"class_name": "S", "config": 3}])
def test_malformed_dicts(shifts: Registry[Any], bad: Any) -> None:
    with pytest.raises(ValueError, match=r"expected a shift config .*received"):
        shifts.deserialize(bad)


def test_deserialize_takes_no_objects(shifts: Registry[Any]) -> None:
    with pytest.raises(ValueError, match="expected a shift config"):
        shifts.deserialize(Shift())


@pytest.mark.parametrize(
    ("kind", "wrong", "right"),
    [
        ("activation", "rleu", "relu"),
        ("activation", "LeakyReLU", "leaky_relu"),
        ("activation", "softMax", "softmax"),
        ("initializer", "glorot_unifrom", "glorot_uniform"),
        ("initializer", "GlorotUnifrom", "GlorotUniform"),
        ("initializer", "ZEROS", "Zeros"),
        ("regularizer", "l1_L2", "l1_l2"),
        ("constraint", "Maxnorm", "MaxNorm"),
        ("constraint", "NonNegative", "NonNeg"),
    ],
)
def test_unknown_names_give_the_nearest(kind: str, wrong: str, right: str) -> None:
    with pytest.raises(
        ValueError, match=f"known {kind}; received '{wrong}'; nearest known:"
    ) as error:
        MODULES[kind].get(wrong)
    assert f"'{right}'" in str(error.value)


@pytest.mark.parametrize("kind", MODULES)
def test_hopeless_names_give_all(kind: str) -> None:
    module = MODULES[kind]
    with pytest.raises(ValueError, match="known: ") as error:
        module.get("???")
    assert all(name in str(error.value) for name in module.names())
    with pytest.raises(ValueError, match="received ''"):
        module.get("")


def test_nearest_prefers_the_spelling_of_the_question() -> None:
    known = ["he_normal", "HeNormal", "he_uniform"]
    assert nearest("he_norml", known)[0] == "he_normal"
    assert nearest("HeNorml", known)[0] == "HeNormal"


def test_unknown_arguments_give_the_nearest(shifts: Registry[Any]) -> None:
    with pytest.raises(
        ValueError, match="arguments of Shift; received 'amout'; nearest known: 'am"
    ):
        shifts.get({"class_name": "Shift", "config": {"amout": 3}})
    with pytest.raises(ValueError, match="it has no arguments"):
        constraints.get({"class_name": "NonNeg", "config": {"axis": 3}})


# -- nothing is imported or run


@pytest.mark.parametrize("kind", MODULES)
def test_modules_in_configs_are_never_imported(kind: str) -> None:
    for name in ("this", "this.that"):
        sys.modules.pop("this", None)
        for registered in (None, "Zen", "this>Zen"):
            config = {
                "module": name,
                "class_name": "Zen",
                "config": {},
                "registered_name": registered,
            }
            with pytest.raises(ValueError, match=f"expected a registered {kind}"):
                MODULES[kind].get(config)
        assert "this" not in sys.modules


def test_a_foreign_class_is_not_taken_for_the_builtin_of_that_name() -> None:
    config = {
        "module": "elsewhere",
        "class_name": "Zeros",
        "config": {},
        "registered_name": "Zeros",
    }
    with pytest.raises(ValueError, match="expected a registered initializer; received 'Zeros'"):
        initializers.get(config)
    config = {**config, "module": "keras.initializers", "registered_name": "elsewhere>Zeros"}
    with pytest.raises(ValueError, match="expected a registered initializer"):
        initializers.get(config)


@pytest.mark.parametrize("kind", MODULES)
def test_lambdas_are_not_run(kind: str) -> None:
    config = {"class_name": "__lambda__", "config": {"value": "4wEA"}}
    with pytest.raises(ValueError, match="never run"):
        MODULES[kind].get(config)
    with pytest.raises(ValueError, match="received a lambda"):
        MODULES[kind].serialize(lambda x: x)


# -- registering


@pytest.fixture(params=OBJECTS, ids=str)
def module(request: pytest.FixtureRequest, registering: None) -> Any:
    return OBJECTS[request.param]


def test_registered_classes_round_trip(module: Any) -> None:
    @module.register(package="mine")
    class Own:
        def __init__(self, a: int = 1) -> None:
            self.a = a

        def __call__(self, *args: Any) -> Any:
            return self.a

        def get_config(self) -> dict[str, Any]:
            return {"a": self.a}

    config = module.serialize(Own(7))
    assert config == {
        "module": None,
        "class_name": "Own",
        "config": {"a": 7},
        "registered_name": "mine>Own",
    }
    assert module.deserialize(config).a == 7
    for name in ("Own", "mine>Own"):
        assert type(module.get(name)) is Own
        assert module.get({"class_name": name, "config": {"a": 3}}).a == 3
    assert type(module.get(Own)) is Own
    assert "mine>Own" in module.names()


def test_registered_functions_round_trip(module: Any) -> None:
    @module.register("twice")
    def double(*args: Any) -> Any:
        return 2

    assert double() == 2
    config = module.serialize(double)
    assert config["config"] == "Custom>twice"
    assert module.deserialize(config) is double
    assert module.get("twice") is double
    assert module.get("Custom>twice") is double
    with pytest.raises(ValueError, match="expected no arguments"):
        module.get({"class_name": "twice", "config": {"a": 3}})


def test_ways_to_register(module: Any) -> None:
    @module.register
    def bare(*args: Any) -> None: ...

    @module.register("pkg>inner")
    def prefixed(*args: Any) -> None: ...

    assert module.get("Custom>bare") is bare
    assert module.get("pkg>inner") is prefixed


def test_builtins_come_first_and_two_packages_must_be_named(module: Any) -> None:
    builtin = module.names()[0]

    def one(*args: Any) -> None: ...

    def two(*args: Any) -> None: ...

    module.register(builtin)(one)
    assert module.get(builtin) is not one
    assert module.get(f"Custom>{builtin}") is one
    module.register("same", package="a")(one)
    module.register("same", package="b")(two)
    assert module.get("b>same") is two
    with pytest.raises(ValueError, match=r"expected one of \['a>same', 'b>same'\]"):
        module.get("same")


@pytest.mark.parametrize("name", ["", "a>b>c", ">", "dwconv>x"])
def test_bad_names_to_register(module: Any, name: str) -> None:
    with pytest.raises(ValueError, match=r"expected a (name|package)"):
        module.register(name)(print)


def test_lambdas_need_a_name_to_register(module: Any) -> None:
    with pytest.raises(ValueError, match="expected a name"):
        module.register()(lambda: None)
    with pytest.raises(ValueError, match="expected a function or class"):
        module.register("x")(3)


def test_custom_objects_win(module: Any) -> None:
    def mine(*args: Any) -> None: ...

    builtin = module.names()[0]
    custom = {builtin: mine, "other": mine}
    assert module.deserialize(builtin, custom) is mine
    assert module.deserialize("other", custom) is mine
    config = {"module": "m", "class_name": "other", "config": {}, "registered_name": "m>other"}
    assert module.deserialize(config, custom) is mine
    with pytest.raises(ValueError, match="nearest known: 'other'"):
        module.deserialize("othr", custom)


def test_unregistered_objects_are_written_but_not_read(module: Any) -> None:
    class Loose:
        def __call__(self, *args: Any) -> None: ...

        def get_config(self) -> dict[str, Any]:
            return {"a": 1}

    config = module.serialize(Loose())
    assert config["class_name"] == "Loose"
    assert config["config"] == {"a": 1}
    with pytest.raises(ValueError, match="expected a registered"):
        module.deserialize(config)
    with pytest.raises(ValueError, match=r"get_config\(\)"):
        module.serialize(object())


# -- the built-in objects


@pytest.mark.parametrize(("module_", "cls"), BUILTIN_CLASSES)
def test_builtins_are_their_config(module_: Any, cls: Any) -> None:
    made = cls()
    config = module_.serialize(made)
    assert config == {
        "module": f"keras.{module_.__name__.rpartition('.')[2]}",
        "class_name": cls.__name__,
        "config": made.get_config(),
        "registered_name": None,
    }
    short = {"class_name": config["class_name"], "config": config["config"]}
    flat = {"name": cls.__name__, **config["config"]}
    for other in (
        module_.deserialize(config),
        module_.deserialize(short),
        module_.deserialize(flat),
        cls.from_config(config["config"]),
        copy.deepcopy(made),
        pickle.loads(pickle.dumps(made)),
        module_.get(cls),
        module_.get(cls.__name__),
    ):
        assert type(other) is cls
        assert other == made
        assert hash(other) == hash(made)
        assert repr(other) == repr(made)
    assert module_.get(made) is made
    assert repr(made).startswith(f"{cls.__name__}(")
    assert eval(repr(made), vars(module_)) == made
    assert made != object()
    assert cls.__doc__


def test_equality_is_by_value() -> None:
    assert constraints.MaxNorm(2) == constraints.MaxNorm(2.0)
    assert constraints.MaxNorm(2) != constraints.MaxNorm(3)
    assert constraints.UnitNorm([0, 1]) == constraints.UnitNorm((0, 1))
    assert regularizers.L1(0.0) != regularizers.L2(0.0)
    assert initializers.Constant([1.0, 2]) == initializers.Constant(np.array([1.0, 2.0]))


# -- reading values


@pytest.mark.parametrize("value", [3, 3.0, np.int8(3), np.float32(3), [3.0], (3,), np.array([3])])
def test_integers(value: Any) -> None:
    result = read_integer("n", value)
    assert result == 3
    assert type(result) is int


@pytest.mark.parametrize("value", [3.5, "3", True, None, [3, 4], float("nan"), float("inf"), []])
def test_not_integers(value: Any) -> None:
    with pytest.raises(ValueError, match="n: expected an integer; received"):
        read_integer("n", value)


@pytest.mark.parametrize("value", ["3", True, None, [3, 4], float("nan"), float("inf"), -1])
def test_not_numbers(value: Any) -> None:
    with pytest.raises(ValueError, match="x: expected a finite number of at least 0; received"):
        read_number("x", value, minimum=0)


def test_numbers_keep_their_type() -> None:
    assert type(read_number("x", 2)) is int
    assert type(read_number("x", np.float32(2))) is float
    assert type(read_number("x", [2.0])) is float


def test_axes() -> None:
    assert read_axes("axis", None) is None
    assert read_axes("axis", 1.0) == 1
    assert read_axes("axis", [1.0]) == 1
    assert read_axes("axis", (0.0, 1)) == [0, 1]
    assert read_axes("axis", np.array([0, 1])) == [0, 1]
    for bad in ([], "0", [0.5, 1], True):
        with pytest.raises(ValueError, match="axis: expected an integer"):
            read_axes("axis", bad)


# -- objects of an installed Keras


def test_objects_of_keras_itself_become_ours() -> None:
    # Built here as Keras would, since the tests do without it.
    members: dict[str, Any] = {
        "__module__": "keras.src.constraints.constraints",
        "__call__": lambda self, w: w,
        "get_config": lambda self: {"max_value": 3, "axis": [0, 1]},
    }
    max_norm = type("MaxNorm", (), members)
    assert constraints.get(max_norm()) == constraints.MaxNorm(3, [0, 1])
    max_norm.__module__ = "elsewhere"
    assert type(constraints.get(max_norm())) is max_norm
