"""What is computed from what: the graph in a model's config, as any generation of Keras writes it.

A Sequential is a chain. A functional model lists the calls of each layer in `inbound_nodes`:

    Keras 1, 2   [["conv", 0, 0, {"training": false}]]: the tensors that the layer was called with,
                 each as the layer that made it, which call of that layer, and which of its outputs;
                 then the other arguments. A function such as tf.nn.relu6 lacks the outer list:
                 ["conv", 0, 0, {}]. The other arguments may hold tensors, too.
    Keras 3      {"args": [...], "kwargs": {...}}, in which a tensor is
                 {"class_name": "__keras_tensor__", "config": {"keras_history": ["conv", 0, 0]}}

A model within the model is followed as if its layers stood in the place of its call.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from . import Document, entries, short
from .budget import Budget

Names: TypeAlias = tuple[str, ...]

# Models whose calls are what the config says. A user's class may call its layers in any way.
_CHAINS = ("Sequential",)
_FUNCTIONAL = ("Functional", "Model")
_INPUT = "InputLayer"
_CONSTANT = "_CONSTANT_VALUE"


@dataclass(eq=False)
class Value:
    """A tensor."""

    #: The calls that take it.
    uses: list[Call] = field(default_factory=list)
    #: Whether the whole model returns it.
    is_output: bool = False


@dataclass(eq=False)
class Call:
    """A call of a layer."""

    #: The names of the models around the layer, except for the outermost one, and its own name.
    names: Names
    #: The layer's item in the config.
    item: Document
    #: The tensors that it was called with, in order.
    tensors: list[Value]
    #: The other arguments by name. Those without a name have their position: '0', '1'.
    arguments: Mapping[str, Any]
    _outputs: dict[int, Value] = field(default_factory=dict)

    def output(self, number: int = 0) -> Value:
        """One of the tensors that it returns."""
        return self._outputs.setdefault(number, Value())

    def outputs(self) -> Iterable[Value]:
        """Those that somebody takes, or the model returns."""
        return self._outputs.values()


class Graph:
    """The calls of the layers in a document; `budget` is that of the file that it comes from, None
    for one of the caller's own.
    """

    def __init__(self, document: Document, budget: Budget | None = None) -> None:
        self._budget = budget
        self._calls: dict[Names, list[Call]] = {}
        self._order: list[Call] = []
        self._lost: dict[Names, str] = {}
        outputs = self._model(document, (), None)
        for value in outputs if isinstance(outputs, list) else ():
            value.is_output = True

    def calls(self, names: Names) -> list[Call]:
        """The calls of a layer; all of them, unless `lost` gives a reason."""
        return self._calls.get(names, [])

    def all_calls(self) -> Iterator[Call]:
        """Those of all layers, each after those that make its tensors, as far as they are known."""
        return iter(self._order)

    def lost(self, names: Names) -> str | None:
        """Why the calls of a layer are not known; None if they are."""
        found = (self._lost.get(names[:depth]) for depth in range(max(1, len(names))))
        return next(filter(None, found), None)

    # ---- models ----------------------------------------------------------------------------------

    def _model(self, item: Document, names: Names, given: _Given | None) -> _Made:
        """What a model returns if it is called with `given`; None: with inputs of its own."""
        kind = item.get("class_name")
        try:
            if not entries.is_keras(item) or kind not in (*_CHAINS, *_FUNCTIONAL):
                raise _LostError(f"its class, {short(kind)}, may call its layers in any way")
            if kind in _CHAINS:
                return self._chain(item, names, given)
            return self._functional(item, names, given)
        except _LostError as error:
            self._lost[names] = f"the graph of {_described(names)} is not known: {error}"
            return self._call(item, names, given or _Given([]))

    def _chain(self, item: Document, names: Names, given: _Given | None) -> _Made:
        made: _Made = [Value()] if given is None else given.tensors
        for layer in entries.children(item) or ():
            if layer.get("class_name") == _INPUT:
                continue
            tensors = made if isinstance(made, list) else [made.output()]
            made = self._layer(layer, names, _Given(tensors), 1)
        return made if isinstance(made, list) else [made.output()]

    def _functional(self, item: Document, names: Names, given: _Given | None) -> list[Value]:
        config = item["config"]
        if not isinstance(config, Mapping):
            raise _LostError(f"expected a dict as config; received a {type(config).__name__}")
        layers = {entries.name_of(layer): layer for layer in entries.children(item) or ()}
        nodes = {name: self._nodes(layer) for name, layer in layers.items()}
        results = list(_tensors(config.get("output_layers")))
        mentioned = [*results, *(t for many in nodes.values() for node in many for t in node.given)]
        first = _first_calls(mentioned, nodes)

        made: dict[_Key, _Made] = {}
        inputs = config.get("input_layers")
        for tensor, value in zip(_tensors(inputs), _inputs(inputs, given), strict=True):
            made[tensor.name, 0] = [value]

        # A call waits for those that make its tensors.
        missing: dict[_Key, set[_Key]] = {}
        users: dict[_Key, list[_Key]] = {}
        for name, many in nodes.items():
            for number, node in enumerate(many):
                here = (name, number)
                if here in made:
                    continue
                sources = {(t.name, t.call - first[t.name]) for t in node.given}
                # Not `- made.keys()`, which walks over all keys, for each call.
                missing[here] = {source for source in sources if source not in made}
                for source in missing[here]:
                    users.setdefault(source, []).append(here)
        ready = deque(here for here, sources in missing.items() if not sources)

        def value_of(tensor: _Tensor) -> Value:
            key = (tensor.name, tensor.call - first[tensor.name])
            found = made.get(key)
            if isinstance(found, Call):
                return found.output(tensor.output)
            if found is None or not 0 <= tensor.output < len(found):
                raise _LostError(f"nothing makes {short(list(tensor))}")
            return found[tensor.output]

        while ready:
            here = ready.popleft()
            del missing[here]
            name, number = here
            node = nodes[name][number]
            call = _Given([value_of(tensor) for tensor in node.given], node.arguments, node.keys)
            made[here] = self._layer(layers[name], names, call, len(nodes[name]))
            for user in users.get(here, ()):
                missing[user].discard(here)
                if not missing[user]:
                    ready.append(user)
        if missing:
            raise _LostError(f"nothing makes the inputs of {short(next(iter(missing))[0])}")
        return [value_of(tensor) for tensor in results]

    def _nodes(self, layer: Document) -> list[_Node]:
        """The calls of a layer."""
        nodes = layer.get("inbound_nodes")
        if not isinstance(nodes, list):
            raise _LostError(f"{short(entries.name_of(layer))} has no list of inbound_nodes")
        found = []
        for each in nodes:
            node = _node(each)
            if self._budget is not None:
                self._budget.step(1 + len(node.given) // 4)
            found.append(node)
        return found

    def _layer(self, item: Document, around: Names, given: _Given, calls: int) -> _Made:
        """What one of `calls` calls of a layer or a model returns."""
        names = (*around, entries.name_of(item))
        if entries.children(item) is None:
            return self._call(item, names, given)
        if calls == 1:
            return self._model(item, names, given)
        # Followed once for each call, models in models would make a large graph of a small file.
        self._lost[names] = f"{_described(names)} is called {calls} times"
        return self._call(item, names, given)

    def _call(self, item: Document, names: Names, given: _Given) -> Call:
        call = Call(names, item, given.tensors, given.arguments)
        for value in dict.fromkeys(given.tensors):
            value.uses.append(call)
        self._calls.setdefault(names, []).append(call)
        self._order.append(call)
        return call


class _LostError(Exception):
    """Why a model's graph is not known."""


# ---- one model's nodes ---------------------------------------------------------------------------

_Key: TypeAlias = tuple[str, int]  # a layer's name, and which of its calls
_Made: TypeAlias = "list[Value] | Call"


class _Given(NamedTuple):
    """What a layer is called with; `keys` if it is a dict of tensors."""

    tensors: list[Value]
    arguments: Mapping[str, Any] = {}
    keys: list[str] | None = None


class _Tensor(NamedTuple):
    """A tensor as a config writes it: an output of a call of a layer."""

    name: str
    call: int
    output: int


class _Node(NamedTuple):
    """A call as a config writes it."""

    given: list[_Tensor]
    arguments: dict[str, Any]
    keys: list[str] | None


def _described(names: Names) -> str:
    return f"the model {short('/'.join(names))}" if names else "the model"


def _node(node: Any) -> _Node:
    arguments: dict[str, Any] = {}
    keys: list[str] | None = None
    tensors: list[_Tensor] = []
    if isinstance(node, Mapping) and isinstance(node.get("args"), list):
        arguments = {str(number): value for number, value in enumerate(node["args"])}
        start = arguments.get("0")
        if isinstance(start, Mapping) and "class_name" not in start:
            keys = list(start)
        named = node.get("kwargs") or {}
        if not isinstance(named, Mapping):
            raise _LostError(f"expected the arguments of a call; received {short(named)}")
        arguments.update(named)
    else:
        if isinstance(node, Mapping):
            keys = list(node)
        for number, entry in enumerate(_entries(node)):
            if entry[0] == _CONSTANT:
                arguments[str(number)] = entry[2]
            else:
                tensors += _tensors(entry)
            if len(entry) > 3 and isinstance(entry[3], Mapping):
                arguments.update(entry[3])
    others: dict[str, Any] = {}
    for name, value in arguments.items():
        found = list(_tensors(value))
        tensors += found
        if not found:
            others[name] = value
    return _Node(tensors, others, keys)


def _entries(value: Any) -> Iterator[Any]:
    """The tensors and constants in lists and dicts, in order, as they are written."""
    stack = [value]
    while stack:
        value = stack.pop()
        if isinstance(value, Mapping):
            if value.get("class_name") == "__keras_tensor__":
                config = value.get("config")
                stack.append(config.get("keras_history") if isinstance(config, Mapping) else None)
            else:
                stack.extend(reversed(list(value.values())))
        elif isinstance(value, list):
            if len(value) in (3, 4) and isinstance(value[0], str) and type(value[1]) is int:
                yield value
            else:
                stack.extend(reversed(value))


def _tensors(value: Any) -> Iterator[_Tensor]:
    """The tensors in lists and dicts, in order."""
    for entry in _entries(value):
        if entry[0] != _CONSTANT:
            if type(entry[2]) is not int:
                raise _LostError(f"expected the number of an output; received {short(entry[2])}")
            yield _Tensor(*entry[:3])


def _first_calls(tensors: Iterable[_Tensor], nodes: Mapping[str, list[_Node]]) -> dict[str, int]:
    """For each layer the number that its first call has: 0, for a model within the model 1 in most
    Kerases, which count the call that made the model.
    """
    last: dict[str, int] = dict.fromkeys(nodes, -1)
    for tensor in tensors:
        if tensor.name not in last:
            raise _LostError(f"there is no layer {short(tensor.name)}")
        last[tensor.name] = max(last[tensor.name], tensor.call)
    return {name: int(0 < len(nodes[name]) == number) for name, number in last.items()}


def _inputs(layers: Any, given: _Given | None) -> list[Value]:
    """The values of a model's inputs, in the order of its `input_layers`."""
    starts = list(_tensors(layers))
    if given is None:
        return [Value() for _ in starts]
    if len(given.tensors) != len(starts):
        raise _LostError(f"it has {len(starts)} inputs and is called with {len(given.tensors)}")
    if len(starts) == 1 or (given.keys is None and isinstance(layers, list)):
        return given.tensors
    wanted = list(layers) if isinstance(layers, Mapping) else [start.name for start in starts]
    if given.keys is None or sorted(given.keys) != sorted(wanted) or len(wanted) != len(starts):
        raise _LostError(f"its inputs are {short(wanted)}; it is called with {short(given.keys)}")
    by_key = dict(zip(given.keys, given.tensors, strict=True))
    return [by_key[name] for name in wanted]
