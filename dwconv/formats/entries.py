"""The layers in a model's config, as any generation of Keras writes it, and where each one is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..naming import snake_case
from ..registry import KERAS_PACKAGES
from . import WRAPPED, Document, FormatError, LayerPath, Step, short
from .budget import LAYER_STEPS, Budget

DEPTHWISE, DEPTHWISE_1D = "DepthwiseConv2D", "DepthwiseConv1D"
#: The classes of Keras that are depthwise convolutions and nothing else.
PLAIN = (DEPTHWISE, DEPTHWISE_1D)
_MODELS = ("Sequential", "Functional", "Model")
#: The class of a frozen layer of int8 weights.
QUANTIZED = "QuantizedDepthwiseConv2D"
#: Key of an item that stands for a node of another framework: it is a layer of that class.
OF_BYTES = "dwconv_quantized"
#: Key of an item that stands for a node of another framework: what of the node is not in it.
WITHOUT = "dwconv_without"
_MAX_DEPTH = 32  # of models within models, and of wrappers
_MAX_NAME = 1000  # characters, of a class, too; paths repeat those of the models around
#: Layers, and depthwise ones among them: some ten times what the largest networks have. One of the
#: latter with all that a config may say takes half a millisecond to make.
_MAX_LAYERS = 20_000
MAX_DEPTHWISE = 1_000


@dataclass(frozen=True, eq=False)
class LayerEntry(LayerPath):
    """One layer in a document."""

    #: The layer's item in the config: class_name, config, in Keras 3 build_config and others.
    item: Document
    class_name: str
    #: Whether the models around it are trainable.
    trainable: bool
    #: Whether the whole model, and then what each name in `names` stands for, says that it is
    #: trainable.
    flags: tuple[bool, ...] = ()
    #: The classes of the wrappers around it, outermost first: TimeDistributed.
    wrappers: tuple[str, ...] = ()

    @property
    def error(self) -> str | None:
        """Why the item is none of a layer, in a document that was `mended`."""
        return self.item.reason if isinstance(self.item, Malformed) else None

    @property
    def path(self) -> str:
        """The names, as people write them; a layer's own for a layer alone."""
        return "/".join(self.names) or name_of(self.item)

    @property
    def config(self) -> Document:
        """The constructor's arguments."""
        config: Document = self.item["config"]
        return config

    @property
    def is_depthwise(self) -> bool:
        """Whether it is a depthwise layer of Keras' own, not a user's, and nothing is around it but
        models.
        """
        return self.class_name in PLAIN and is_keras(self.item) and not self.wrappers


class Malformed(dict[str, Any]):
    """What stands in a document for an item that is none of a layer, with the name and the class
    that this has, if any.
    """

    #: The class of an item that has none.
    UNKNOWN = "?"

    def __init__(self, item: Any, name: str, reason: str) -> None:
        kind = item.get("class_name") if isinstance(item, dict) else None
        known = isinstance(kind, str) and len(kind) <= _MAX_NAME
        super().__init__(class_name=kind if known else self.UNKNOWN, config={"name": name})
        if isinstance(item, dict) and isinstance(item.get("inbound_nodes"), list):
            self["inbound_nodes"] = item["inbound_nodes"]
        self.reason = reason


def mended(document: Document) -> Document:
    """The document with a `Malformed` in the place of each item that `walk` would refuse, so that
    one such item does not hide the others.
    """
    return document if children(document) is None else _mended_model(document, 0)


def _mended_model(model: Document, depth: int) -> Document:
    items: list[Document] = []
    seen: set[str] = set()
    for number, item in enumerate(children(model) or ()):
        try:
            _class_of(item)
            name = name_of(item)
            if name in seen:
                raise _twice(name)
            items.append(_mended(item, depth + 1))
        except FormatError as error:
            name = _name_of_malformed(item, number, seen)
            items.append(Malformed(item, name, str(error)))
        seen.add(name)
    config = model["config"]
    return {**model, "config": items if isinstance(config, list) else {**config, "layers": items}}


def _mended(item: Document, depth: int) -> Document:
    """A layer, or a model or a wrapper with what is in it. FormatError if it is too deep."""
    if depth > _MAX_DEPTH:
        raise FormatError(f"expected models nested {_MAX_DEPTH} deep at most; received more")
    if children(item) is not None:
        return _mended_model(item, depth)
    inner = wrapped(item)
    if inner is None:
        return item
    try:
        _class_of(inner)
        name_of(inner)
        inner = _mended(inner, depth + 1)
    except FormatError as error:
        inner = Malformed(inner, _name_of_malformed(inner, 0, set()), str(error))
    return {**item, "config": {**item["config"], "layer": inner}}


def _name_of_malformed(item: Any, number: int, seen: set[str]) -> str:
    """Its name, unless it has none or one of another layer."""
    config = item.get("config") if isinstance(item, dict) else None
    name = config.get("name") if isinstance(config, Mapping) else None
    if name is None and isinstance(item, dict):
        name = item.get("name")
    known = isinstance(name, str) and 0 < len(name) <= _MAX_NAME
    found = str(name) if known and name not in seen else f"item {number}"
    while found in seen:
        found += "'"
    return found


def _twice(name: str) -> FormatError:
    return FormatError(f"expected names of layers once; received {short(name)} twice")


def is_keras(item: Document) -> bool:
    """Whether an item's class is Keras' own, not a user's class of that name.

    Keras 3 writes a user's class with a module of the user's, or with none and a registered_name:
    'package>name' or the plain name. Keras 2 writes 'package>name' as class_name. Their own have
    their modules, if any, and no registered_name or, with the module, their plain name.
    """
    kind, module, registered = (item.get(k) for k in ("class_name", "module", "registered_name"))
    if not isinstance(kind, str) or ">" in kind or isinstance(item, Malformed):
        return False
    if module is None:
        return registered in (None, "")
    ours = isinstance(module, str) and module.partition(".")[0] in KERAS_PACKAGES
    return ours and registered in (None, "", kind)


def as_entry(value: Any) -> Document:
    """The outermost item out of a parsed JSON: an item, its config alone, or 2.2.4's bare list of
    layers.
    """
    if isinstance(value, list):
        return {"class_name": "Sequential", "config": value}
    if not isinstance(value, dict):
        raise FormatError(f"expected the config of a model; received {type(value).__name__}")
    if (
        "config" not in value and "class_name" not in value
    ):  # what get_config() of a model or a layer gives
        kind = "Sequential" if isinstance(value.get("layers"), list) else DEPTHWISE
        return {"class_name": kind, "config": value}
    return value


def children(item: Document) -> list[Any] | None:
    """The items within a model's; None for a layer's."""
    config = item.get("config")
    if isinstance(config, list):
        return None if item.get("class_name") in PLAIN else config
    layers = config.get("layers") if isinstance(config, Mapping) else None
    return layers if isinstance(layers, list) else None


def wrapped(item: Document) -> Document | None:
    """The item of the layer that a wrapper such as TimeDistributed wraps; None for other layers."""
    config = item.get("config")
    inner = config.get("layer") if isinstance(config, Mapping) else None
    if isinstance(inner, dict) and isinstance(inner.get("config"), (dict, list)):
        return inner if isinstance(inner.get("class_name"), str) else None
    return None


def name_of(item: Document) -> str:
    """The name of a layer or a model; its class's in snake_case where there is none."""
    config = item.get("config")
    name = config.get("name") if isinstance(config, Mapping) else None
    name = item.get("name") if name is None else name
    if name is None:
        return snake_case(str(item.get("class_name")))
    if not isinstance(name, str) or not 0 < len(name) <= _MAX_NAME:
        raise FormatError(
            f"name: expected a string of 1 to {_MAX_NAME} characters; received {short(name)}"
        )
    return name


def walk(document: Document, budget: Budget | None = None) -> Iterator[LayerEntry]:
    """The layers in a document, in order, those of inner models in their place.

    A wrapper is an entry of its own; the layer that it wraps, or those of a model that it wraps,
    come after it. `budget` is that of the file that the document comes from; None for one of the
    caller's own. FormatError for what is none, for two layers of one name and for models nested too
    deep.
    """
    walker = _Walker(budget)
    if children(document) is None:
        kind = _class_of(document)
        flags = (_says_trainable(document),)
        yield from walker.one(LayerEntry((), (), document, kind, True, flags))
    else:
        trainable = _says_trainable(document)
        yield from walker.members(document, _Around((), (), trainable, (trainable,), ()), 0)


@dataclass(frozen=True)
class _Around:
    """What layers in one model have in common."""

    names: tuple[str, ...]
    steps: tuple[Step, ...]
    trainable: bool
    flags: tuple[bool, ...]
    wrappers: tuple[str, ...]


class _Walker:
    """One walk; counts what it finds."""

    def __init__(self, budget: Budget | None) -> None:
        self._budget = budget
        self._layers = self._depthwise = 0

    def members(self, item: Document, around: _Around, length: int) -> Iterator[LayerEntry]:
        """The layers in a model; `length`: characters of its path, which each of them repeats."""
        if len(around.names) > _MAX_DEPTH:
            raise FormatError(f"expected models nested {_MAX_DEPTH} deep at most; received more")
        numbers: Counter[tuple[int, str]] = Counter()
        seen: set[str] = set()
        for inner in children(item) or ():
            kind, name = _class_of(inner), name_of(inner)
            if name in seen:
                raise _twice(name)
            seen.add(name)
            step = Step.of(kind, numbers)
            yield from self._item(inner, kind, name, step, around, length)

    def _item(
        self, item: Document, kind: str, name: str, step: Step, around: _Around, length: int
    ) -> Iterator[LayerEntry]:
        length += len(name) + 1
        if self._budget is not None:
            self._budget.name(length + len(kind))
        here = LayerEntry(
            (*around.names, name),
            (*around.steps, step),
            item,
            kind,
            around.trainable,
            (*around.flags, _says_trainable(item)),
            around.wrappers,
        )
        trainable = around.trainable and here.flags[-1]
        within = _Around(here.names, here.steps, trainable, here.flags, around.wrappers)
        if children(item) is not None:
            yield from self.members(item, within, length)
            return
        yield from self.one(here)
        inner = wrapped(item)
        if inner is not None:
            if len(here.names) > _MAX_DEPTH:
                raise FormatError(f"expected wrappers {_MAX_DEPTH} deep at most; received more")
            wrappers = (*around.wrappers, kind)
            within = _Around(here.names, here.steps, trainable, here.flags, wrappers)
            inner_kind = _class_of(inner)
            yield from self._item(inner, inner_kind, name_of(inner), WRAPPED, within, length)

    def one(self, entry: LayerEntry) -> Iterator[LayerEntry]:
        """The entry, counted."""
        is_made = _is_made(entry)
        self._layers += 1
        self._depthwise += is_made
        if self._budget is not None:
            self._budget.step(LAYER_STEPS if is_made else 1)
        if self._layers > _MAX_LAYERS or self._depthwise > MAX_DEPTHWISE:
            raise FormatError(
                f"expected at most {_MAX_LAYERS} layers, {MAX_DEPTHWISE} of them depthwise; "
                "received more"
            )
        yield entry


def _is_made(entry: LayerEntry) -> bool:
    """Whether a layer of ours is made of it; `kinds` has the whole truth."""
    if entry.class_name == "Conv2D" and isinstance(entry.item["config"], Mapping):
        return entry.item["config"].get("groups") not in (None, 1)
    return entry.class_name in (*PLAIN, "SeparableConv2D", QUANTIZED)


def _says_trainable(item: Document) -> bool:
    config = item.get("config")
    return not (isinstance(config, Mapping) and config.get("trainable") is False)


def _class_of(item: Any) -> str:
    if not isinstance(item, dict) or not isinstance(item.get("config"), (dict, list)):
        raise FormatError(f"expected an item with class_name and config; received {short(item)}")
    kind = item.get("class_name")
    if not isinstance(kind, str) or len(kind) > _MAX_NAME:
        raise FormatError(
            f"class_name: expected a string of at most {_MAX_NAME} characters; "
            f"received {short(kind)}"
        )
    config = item["config"]
    layers = config.get("layers", []) if isinstance(config, dict) else []
    if kind in _MODELS and not isinstance(layers, list):
        raise FormatError(f"layers: expected a list; received {short(layers)}")
    return kind
