"""The layers in a model's config, as any generation of Keras writes it, and where each one is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..naming import snake_case
from ..registry import KERAS_PACKAGES
from . import Document, FormatError, Where, short
from .budget import LAYER_STEPS, Budget

DEPTHWISE = "DepthwiseConv2D"
_MAX_DEPTH = 32  # of models within models
_MAX_NAME = 1000  # characters, of a class, too; paths repeat those of the models around
#: Layers, and depthwise ones among them: some ten times what the largest networks have. One of the
#: latter with all that a config may say takes half a millisecond to make.
_MAX_LAYERS = 20_000
_MAX_DEPTHWISE = 1_000


@dataclass(frozen=True, eq=False)
class Place(Where):
    """One layer in a document."""

    #: The layer's item in the config: class_name, config, in Keras 3 build_config and others.
    item: Document
    class_name: str
    #: Whether the models around it are trainable.
    trainable: bool

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
        """Whether it is Keras' layer of that name, not a user's."""
        module = self.item.get("module")
        foreign = isinstance(module, str) and module.partition(".")[0] not in KERAS_PACKAGES
        return self.class_name == DEPTHWISE and not foreign


def top(value: Any) -> Document:
    """The outermost item out of a parsed JSON: an item, its config alone, or 2.2.4's bare list of
    layers.
    """
    if isinstance(value, list):
        return {"class_name": "Sequential", "config": value}
    if not isinstance(value, dict):
        raise FormatError(f"expected the config of a model; received {type(value).__name__}")
    if "config" not in value:  # what get_config() of a model or a layer gives
        kind = "Sequential" if isinstance(value.get("layers"), list) else DEPTHWISE
        return {"class_name": kind, "config": value}
    return value


def items_of(item: Document) -> list[Any] | None:
    """The items within a model's; None for a layer's."""
    config = item.get("config")
    if isinstance(config, list):
        return None if item.get("class_name") == DEPTHWISE else config
    layers = config.get("layers") if isinstance(config, Mapping) else None
    return layers if isinstance(layers, list) else None


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


def walk(document: Document, budget: Budget | None = None) -> Iterator[Place]:
    """The layers in a document, in order, those of inner models in their place.

    `budget` is that of the file that the document comes from; None for one of the caller's own.
    FormatError for what is none, for two layers of one name and for models nested too deep.
    """
    if items_of(document) is None:
        yield Place((), (), document, _class_of(document), True)
    else:
        depthwise = 0
        for layers, place in enumerate(_within(document, (), (), True, 0, budget), 1):
            depthwise += place.is_depthwise
            if budget is not None:
                budget.step(LAYER_STEPS if place.is_depthwise else 1)
            if layers > _MAX_LAYERS or depthwise > _MAX_DEPTHWISE:
                raise FormatError(
                    f"expected at most {_MAX_LAYERS} layers, {_MAX_DEPTHWISE} of them depthwise; "
                    "received more"
                )
            yield place


def _within(
    item: Document,
    names: tuple[str, ...],
    counts: tuple[tuple[str, int], ...],
    trainable: bool,
    outer: int,
    budget: Budget | None,
) -> Iterator[Place]:
    # `outer`: characters of the path, which each layer in this model repeats.
    if len(names) > _MAX_DEPTH:
        raise FormatError(f"expected models nested {_MAX_DEPTH} deep at most; received more")
    config = item.get("config")
    if isinstance(config, Mapping):
        trainable = trainable and config.get("trainable") is not False
    number: Counter[str] = Counter()
    seen: set[str] = set()
    for inner in items_of(item) or ():
        kind = _class_of(inner)
        name = name_of(inner)
        if name in seen:
            raise FormatError(f"expected names of layers once; received {short(name)} twice")
        seen.add(name)
        length = outer + len(name) + 1
        if budget is not None:
            budget.name(length + len(kind))
        key = snake_case(kind)
        here = ((*names, name), (*counts, (key, number[key])))
        number[key] += 1
        if items_of(inner) is None:
            yield Place(*here, inner, kind, trainable)
        else:
            yield from _within(inner, *here, trainable, length, budget)


def _class_of(item: Any) -> str:
    if not isinstance(item, dict) or not isinstance(item.get("config"), (dict, list)):
        raise FormatError(f"expected an item with class_name and config; received {short(item)}")
    kind = item.get("class_name")
    if not isinstance(kind, str) or len(kind) > _MAX_NAME:
        raise FormatError(
            f"class_name: expected a string of at most {_MAX_NAME} characters; "
            f"received {short(kind)}"
        )
    return kind
