"""Batch normalizations and activations in a model file as part of the depthwise layers before them.

Whatever is folded is exact, as the model computes when it does not train. So the graph has to say
that a layer is called once, that its output goes to one place, and what is called there with which
arguments.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from . import activations
from .activations import Activation
from .arguments import read_bool, read_number, unwrap
from .formats import Document, FormatError, Weights, entries, short
from .formats.budget import Budget
from .formats.entries import LayerEntry
from .formats.graph import Call, Graph, Names, Value
from .layers import batch_norm, dtype_policy
from .layers.depthwise_conv import DepthwiseConv
from .naming import snake_case

_BATCH_NORMS = frozenset(
    {
        "BatchNormalization",
        "BatchNormalizationV1",
        "BatchNormalizationV2",
        "SyncBatchNormalization",
        "SyncBatchNorm",
    }
)
_ACTIVATIONS = frozenset({"Activation", "ReLU", "LeakyReLU", "ELU", "Softmax", "ThresholdedReLU"})
#: Layers that return their input unless they train.
_IDENTITIES = frozenset(
    {
        "ActivityRegularization",
        "AlphaDropout",
        "Dropout",
        "GaussianDropout",
        "GaussianNoise",
        "SpatialDropout2D",
    }
)

#: TensorFlow's functions in models of Keras 2 (class TFOpLambda): our activation, our names of
#: their parameters, their defaults where ours differ.
_FUNCTIONS: dict[str, tuple[str, dict[str, str], dict[str, Any]]] = {
    "math.sigmoid": ("sigmoid", {}, {}),
    "math.softplus": ("softplus", {}, {}),
    "math.tanh": ("tanh", {}, {}),
    "nn.elu": ("elu", {}, {}),
    "nn.gelu": ("gelu", {"approximate": "approximate"}, {"approximate": False}),
    "nn.leaky_relu": ("leaky_relu", {"alpha": "negative_slope"}, {"negative_slope": 0.2}),
    "nn.relu": ("relu", {}, {}),
    "nn.relu6": ("relu6", {}, {}),
    "nn.selu": ("selu", {}, {}),
    "nn.sigmoid": ("sigmoid", {}, {}),
    "nn.silu": ("silu", {}, {}),
    "nn.softplus": ("softplus", {}, {}),
    "nn.softsign": ("softsign", {}, {}),
    "nn.swish": ("silu", {}, {}),
    "nn.tanh": ("tanh", {}, {}),
}
#: The modules of Keras 3 whose functions are in models as classes: keras.ops.relu6 as Relu6.
_OPERATIONS = (".ops.nn", ".activations.activations")

#: What multiplies and what adds, by the class or the function.
_ARITHMETIC = {
    "Add": "add",
    "__operators__.add": "add",
    "math.add": "add",
    "Multiply": "multiply",
    "math.multiply": "multiply",
    "Divide": "divide",
    "TrueDivide": "divide",
    "math.divide": "divide",
    "math.truediv": "divide",
}
#: The names of the second operand, for Keras 3 its position.
_SECOND = ("y", "x2", "1")


class Folder:
    """Folds into the layers of one document.

    Attributes:
        folded, unfolded: see `saving.Layers`.
        gone: the names of the layers that are folded into others and called nowhere else.
    """

    def __init__(
        self,
        document: Document,
        layers: Iterable[LayerEntry],
        weights: Weights,
        generation: int | None,
        custom_objects: Mapping[str, Any] | None = None,
        budget: Budget | None = None,
    ) -> None:
        self._graph = Graph(document, budget)
        self._entries = {entry.names: entry for entry in layers}
        self._weights = weights
        self._generation = generation
        self._custom_objects = custom_objects
        self.folded: dict[str, tuple[str, ...]] = {}
        self.unfolded: dict[str, str] = {}
        self.gone: set[Names] = set()

    def fold(self, entry: LayerEntry, layer: DepthwiseConv, is_whole: bool = True) -> DepthwiseConv:
        """The layer that was loaded for an entry, with what follows it in the graph.

        is_whole: whether the layer is all that the entry is.
        """
        chain = _Chain(layer)
        if entry.wrappers:
            reason, is_refusal = f"it is within a {_plain(entry.wrappers[-1])}", True
        elif not is_whole:
            reason, is_refusal = f"it is only a part of a {_plain(entry.class_name)}", True
        elif "CLASS_NAME" not in vars(type(layer)):
            reason, is_refusal = f"its class is the user's, {type(layer).__name__}", True
        else:
            reason, is_refusal = self._follow(entry.names, chain)
        try:
            layer = chain.layer()
        except (ValueError, TypeError) as error:  # weights that its dtype cannot hold
            self.unfolded[entry.path] = str(error)
            return layer
        if chain.calls:
            self.folded[entry.path] = tuple("/".join(call.names) for call in chain.calls)
            self.gone.update(
                call.names for call in chain.calls if len(self._graph.calls(call.names)) == 1
            )
        if is_refusal or not chain.calls:
            self.unfolded[entry.path] = reason
        return layer

    def _follow(self, names: Names, chain: _Chain) -> tuple[str, bool]:
        """Adds to the chain what can be folded.

        Returns why it ends, and whether it ends at a batch normalization or an activation.
        """
        lost = self._graph.lost(names)
        if lost is not None:
            return lost, True
        calls = self._graph.calls(names)
        if len(calls) != 1:
            return f"{_path(names)} is called {len(calls)} times", True
        here = calls[0]
        try:
            _check_plain(here)
            while True:
                here = self._step(here, chain)
        except _StopError as stop:
            return str(stop), any(map(self._is_foldable, here.output().uses))

    def _step(self, here: Call, chain: _Chain) -> Call:
        """Adds to the chain what takes the output of a call; returns the last call of that."""
        gate = self._gate(here.output())
        if gate is not None and chain.is_linear:
            activation, calls = gate
            chain.add(calls, activation=activation)
            return calls[-1]
        call = _only_use(here)
        if _is(call, _IDENTITIES):
            _check_plain(call)
            _check_dtype(call, chain.start)
            chain.add([call])
            return call
        activation = self._activation(call)
        if activation is None and not _is(call, _BATCH_NORMS):
            raise _StopError(f"{_path(here.names)} is followed by {_described(call)}")
        if not chain.is_linear:
            raise _StopError(f"{_described(call)} follows the activation {chain.shown}")
        _check_dtype(call, chain.start)
        if activation is not None:
            chain.add([call], activation=activation)
        else:
            chain.add([call], after=self._batch_norm(call, chain.start))
        return call

    def _is_foldable(self, call: Call) -> bool:
        try:
            return _is(call, _BATCH_NORMS) or self._activation(call) is not None
        except _StopError:
            return True

    # ---- batch normalization ---------------------------------------------------------------------

    def _batch_norm(self, call: Call, layer: DepthwiseConv) -> batch_norm.Affine:
        """What a batch normalization does to the layer's output."""
        _check_plain(call)
        config, what = _config(call), _described(call)
        count = len(self._graph.calls(call.names))
        if count != 1:
            raise _StopError(f"{what} is called {count} times")
        # Modes 1 and 2 of Keras 1 have no moving statistics.
        for option in ("mode", "renorm", "virtual_batch_size", "adjustment"):
            if unwrap(config.get(option)):
                raise _StopError(f"{what} has {option}={short(config[option])}")
        axis, wanted = unwrap(config.get("axis", -1)), layer._config.spec.channel_axis
        if axis not in (wanted, wanted - layer._rank - 2):
            raise _StopError(f"{what} has the axis {short(axis)}; the channels have {wanted}")
        if layer.kernel is None:
            raise _StopError(f"{what}: expected a file with weights; received an architecture")
        try:
            used = {
                "gamma": read_bool("scale", config.get("scale", True)),
                "beta": read_bool("center", config.get("center", True)),
                "mean": True,
                "variance": True,
            }
            names = [name for name, is_used in used.items() if is_used]
            entry = self._entries.get(call.names)
            if entry is None:
                raise FormatError("expected a layer; received a model")
            arrays = self._weights.weights_at(entry) or []
            if len(arrays) != len(names):
                raise FormatError(f"expected {len(names)} weights; received {len(arrays)}")
            given: dict[str, Any] = {**dict.fromkeys(used), **dict(zip(names, arrays, strict=True))}
            epsilon = read_number("epsilon", config.get("epsilon", 1e-3))
            return batch_norm.affine(layer, **given, epsilon=epsilon)
        except (ValueError, TypeError) as error:
            raise _StopError(f"{what}: {error}") from error

    # ---- activations -----------------------------------------------------------------------------

    def _activation(self, call: Call) -> Any:
        """The function that a call computes; None for one that is no activation."""
        kind, config = call.item["class_name"], _config(call)
        try:
            if _is(call, _ACTIVATIONS):
                _check_plain(call)
                described = {"class_name": kind, "config": config}
                generation = self._generation or (3 if "module" in call.item else 2)
                return activations.deserialize(described, self._custom_objects, generation)
            if kind == "TFOpLambda":
                return _tensorflow_function(call)
            operation = str(call.item.get("module")).endswith(_OPERATIONS)
            if operation and entries.is_keras(call.item):
                _check_plain(call)
                given = {name: value for name, value in config.items() if name != "name"}
                found = activations.get(snake_case(kind))
                return found.with_parameters(**given) if isinstance(found, Activation) else None
        except (ValueError, TypeError) as error:
            raise _StopError(f"{_described(call)}: {error}") from error
        return None

    def _gate(self, value: Value) -> tuple[Activation, list[Call]] | None:
        """silu or hard_silu where a model multiplies a value by its sigmoid or hard sigmoid, and
        the calls that do that; None for another use of the value.

        So MobileNetV3 of Keras 2 computes hard_swish: x * (ReLU(6)(x + 3) * (1 / 6)).
        """
        if value.is_output or len(value.uses) != 2:
            return None
        for product, start in (value.uses, value.uses[::-1]):
            found = self._sigmoid(start)
            if found is None or _arithmetic(product) != ("multiply", None):
                continue
            activation, calls = found
            result = calls[-1].output()
            if product.tensors in ([value, result], [result, value]) and _uses(result) == [product]:
                return activation, [*calls, product]
        return None

    def _sigmoid(self, call: Call) -> tuple[Activation, list[Call]] | None:
        """silu and the calls, where these compute a sigmoid; hard_silu for a hard one."""
        try:
            activation = self._activation(call)
            if activation == activations.sigmoid:
                return activations.silu, [call]
            if activation == activations.hard_sigmoid:
                return activations.hard_silu, [call]
            if _arithmetic(call) != ("add", 3):
                return None
            clip = _only_use(call)
            scale = _only_use(clip)
            clipped = activations.relu.with_parameters(max_value=6)
            if self._activation(clip) not in (activations.relu6, clipped):
                return None
        except _StopError:
            return None
        kind, number = _arithmetic(scale)
        factor = number if kind == "multiply" else 1 / number if kind == "divide" and number else 0
        if factor and math.isclose(factor, 1 / 6, rel_tol=1e-6):
            return activations.hard_silu, [call, clip, scale]
        return None


class _StopError(Exception):
    """Why nothing more is folded."""


class _Chain:
    """A layer and what follows it, as far as that is folded."""

    def __init__(self, start: DepthwiseConv) -> None:
        self.start = start
        self._after: batch_norm.Affine | None = None
        self._activation = start.activation
        #: The calls, and how many there are up to the last one that is no identity.
        self._calls: list[Call] = []
        self._count = 0

    @property
    def is_linear(self) -> bool:
        """Whether there is no activation yet."""
        return bool(self._activation == activations.linear)

    @property
    def shown(self) -> str:
        """The activation, for a message."""
        return str(getattr(self._activation, "name", self._activation))

    @property
    def calls(self) -> list[Call]:
        """What is folded, in order."""
        return self._calls[: self._count]

    def add(
        self, calls: list[Call], after: batch_norm.Affine | None = None, activation: Any = None
    ) -> None:
        """A normalization or an activation; neither for an identity."""
        self._calls += calls
        if after is not None:
            self._after = after if self._after is None else self._after.then(after)
        if activation is not None:
            self._activation = activation
        if after is not None or activation is not None:
            self._count = len(self._calls)

    def layer(self) -> DepthwiseConv:
        """All of it as one layer. ValueError if the layer cannot hold the weights."""
        layer = self.start
        if self._after is not None:
            layer = batch_norm.folded(layer, self._after)
        if layer.activation != self._activation:
            layer.activation = self._activation
        return layer


# ---- calls ---------------------------------------------------------------------------------------


def _path(names: Names) -> str:
    return short("/".join(names))


def _plain(class_name: str) -> str:
    return short(class_name)[1:-1]


def _described(call: Call) -> str:
    return f"{_path(call.names)} ({_plain(call.item['class_name'])})"


def _is(call: Call, kinds: frozenset[str]) -> bool:
    return call.item["class_name"] in kinds and entries.is_keras(call.item)


def _config(call: Call) -> Mapping[str, Any]:
    """The arguments of the constructor; a model that cannot be followed may have others."""
    config = call.item["config"]
    return config if isinstance(config, Mapping) else {}


def _uses(value: Value) -> list[Call]:
    """The calls that take a value; none if it is an output of the model."""
    return [] if value.is_output else value.uses


def _only_use(call: Call) -> Call:
    """The one call that takes what a call returns."""
    value, what = call.output(), _path(call.names)
    if value.is_output:
        raise _StopError(f"{what} is an output of the model")
    if len(value.uses) != 1:
        users = " and ".join(_described(use) for use in value.uses[:4]) or "nothing"
        rest = f" and {len(value.uses) - 4} others" if len(value.uses) > 4 else ""
        raise _StopError(f"{what} goes to {users}{rest}")
    return value.uses[0]


def _check_plain(call: Call) -> None:
    """That a layer is called with one tensor, and nothing that changes what it computes."""
    if len(call.tensors) != 1:
        raise _StopError(f"{_described(call)} is called with {len(call.tensors)} tensors")
    for name, value in call.arguments.items():
        if name != "name" and value not in (None, False):
            raise _StopError(f"{_described(call)} is called with {name}={short(value)}")


def _check_dtype(call: Call, layer: DepthwiseConv) -> None:
    """That a layer computes in the dtype of the layer before it."""
    given = _config(call).get("dtype")
    if given is None or not _is(call, _BATCH_NORMS | _ACTIVATIONS | _IDENTITIES):
        return  # functions compute in the dtype of what they are called with
    try:
        policy = dtype_policy.read(given)
    except ValueError as error:
        raise _StopError(f"{_described(call)}: {error}") from error
    if policy.compute != layer.compute_dtype:
        raise _StopError(
            f"{_described(call)} computes in {policy.compute}, the layer in {layer.compute_dtype}"
        )


def _tensorflow_function(call: Call) -> Activation | None:
    """The activation that a function of TensorFlow is; None for another function."""
    found = _FUNCTIONS.get(str(_config(call).get("function")))
    if found is None or len(call.tensors) != 1:
        return None
    name, renamed, parameters = found
    for key, value in call.arguments.items():
        if key in renamed:
            parameters = {**parameters, renamed[key]: value}
        elif key != "name" and value is not None:
            raise _StopError(f"{_described(call)} is called with {key}={short(value)}")
    activation = activations.get(name)
    assert isinstance(activation, Activation)
    return activation.with_parameters(**parameters) if parameters else activation


def _arithmetic(call: Call) -> tuple[str | None, float | None]:
    """('add', 3) for x + 3, ('multiply', None) for x * y; (None, None) for what is neither."""
    item = call.item
    if len(call.tensors) > 2:  # each of a thousand tensors asks, and the arguments may be many
        return None, None
    kind = item["class_name"] if entries.is_keras(item) else None
    if kind == "TFOpLambda":
        kind = _config(call).get("function")
    operation = _ARITHMETIC.get(str(kind))
    numbers = {name: value for name, value in call.arguments.items() if type(value) in (int, float)}
    others = {name: value for name, value in call.arguments.items() if name not in numbers}
    if operation is None or any(v is not None for k, v in others.items() if k != "name"):
        return None, None
    if not numbers:
        return (operation, None) if len(call.tensors) == 2 else (None, None)
    ((name, number), *more) = numbers.items()
    if more or len(call.tensors) != 1 or (operation == "divide" and name not in _SECOND):
        return None, None
    return operation, number
