"""Weights in HDF5 that go by the places of their layers: `.weights.h5`, and the inside of `.keras`.

Weights have numbers, layers the name of their class and how many of it come before them in the
model around them:

    layers/depthwise_conv2d, layers/depthwise_conv2d_1, layers/functional/layers/...
                            each with vars/0, vars/1
    layers/time_distributed/layer
                            what a wrapper wraps
    _layer_checkpoint_dependencies/depthwise_conv2d, ..._2, ..._4
                            the same as layers/ in TensorFlow 2.12 and 2.13, which count layers with
                            weights twice
    blocks/conv2d, stem     layers of a subclassed model, by its attributes

A layer that is in the model twice, of two inner models, has its weights at the first place alone.
Where an item of a damaged config has no class, the number of groups of a class tells whether it is
one of them.
"""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from numpy.typing import NDArray

from . import WRAPPED, Arrays, FormatError, LayerPath, hdf5, short
from .budget import Budget
from .entries import LayerEntry, Malformed

_CONTAINERS = ("layers", "_layer_checkpoint_dependencies")
_KEY = re.compile(r"depthwise_conv[12]d(_\d{1,9})?")
_NOT_LAYERS = ("vars", "optimizer")
_MAX_DEPTH = 64
#: Layers whose weights are asked for.
_SHARED = ("DepthwiseConv2D", "SeparableConv2D", "Conv2D", "BatchNormalization")


class ByPlace:
    """The weights below a group."""

    def __init__(self, root: hdf5.Group, budget: Budget) -> None:
        self._root = root
        self._budget = budget
        self._generations = (3, 2)
        #: By the address of a group of layers: their names by class and number.
        self._sorted: dict[int, dict[str, _Numbered]] = {}
        #: Of layers that have no place of their own: the place of the same layer elsewhere.
        self._shared: dict[LayerPath, LayerPath] = {}
        #: Of layers whose name others have, too: their classes and configs, as texts.
        self._described: dict[LayerPath, str] = {}
        #: The numbers of layers beside such; -1: it has no place of its own.
        self._numbers: dict[LayerPath, int] = {}
        #: The numbers of layers and models that come after items without a class, by their names;
        #: -1: not known.
        self._after_unknown: dict[tuple[str, ...], int] = {}

    def bind(self, paths: Sequence[LayerEntry], generation: int | None) -> None:
        """See `Weights`."""
        if generation == 2:
            self._generations = (2, 3)
        self._place_among_unknown(paths)
        asked = [path for path in paths if path.names and path.class_name in _SHARED]
        homeless = [path for path in asked if not self._has_weights(path)]
        if not homeless or len(homeless) == len(asked):
            return
        named: dict[str, list[LayerEntry]] = {}
        for path in asked:
            named.setdefault(path.names[-1], []).append(path)
        # Each is compared with all of its name.
        self._budget.step(sum(len(named[path.names[-1]]) for path in asked))
        self._described = {
            path: _described(path) if len(named[path.names[-1]]) > 1 else "" for path in asked
        }
        twice = [path for path in homeless if any(self._others(path, named))]
        if generation == 2:
            twice = self._renumber(paths, homeless, named) or twice
        housed = {path for path in asked if self._has_weights(path)}
        for path in twice:
            homes = [other for other in self._others(path, named) if other in housed]
            if len(homes) == 1:
                self._shared[path] = homes[0]

    def _place_among_unknown(self, paths: Sequence[LayerEntry]) -> None:
        around = {path.names[:-1] for path in paths if path.class_name == Malformed.UNKNOWN}
        for names in sorted(around, key=len):
            depth = len(names)
            within = [path for path in paths if path.names[:depth] == names]
            self._budget.step(len(within))
            #: The layers and models directly within; None: an item without a class.
            members: dict[tuple[str, ...], tuple[str, int] | None] = {}
            for path in within:
                unknown = len(path.names) == depth + 1 and path.class_name == Malformed.UNKNOWN
                key = None if unknown else path.steps[depth].key(self._generations[0])
                members.setdefault(path.names[: depth + 1], key)
            group = self._group_at(LayerPath(names, within[0].steps[:depth]))
            layers = None if group is None else group.get(_CONTAINERS[0])
            unknown_ones = sum(key is None for key in members.values())
            known = Counter(key[0] for key in members.values() if key is not None)
            before = 0
            for member, key in members.items():
                if key is None:
                    before += 1
                    continue
                there = 0
                while layers is not None and layers.get(numbered(key[0], there)) is not None:
                    self._budget.step()
                    there += 1
                if there == known[key[0]]:  # none of them is of this class
                    continue
                every = there == known[key[0]] + unknown_ones
                if before:
                    self._after_unknown[member] = key[1] + before if every else -1

    def _renumber(
        self,
        paths: Sequence[LayerEntry],
        homeless: list[LayerEntry],
        named: dict[str, list[LayerEntry]],
    ) -> list[LayerEntry]:
        """Keras 2 does not count a layer that is there for the second time: numbers the layers
        beside it without it, and returns those that are there twice.
        """
        members: dict[tuple[tuple[str, ...], str], list[LayerEntry]] = {}
        for path in paths:
            if path.steps and path.steps[-1] is not WRAPPED:
                members.setdefault((path.names[:-1], path.steps[-1].key(2)[0]), []).append(path)
        twice: list[LayerEntry] = []
        for path in homeless:
            group = members.pop((path.names[:-1], path.steps[-1].key(2)[0]), [])
            missing = [member for member in group if not self._has_weights(member)]
            again = [member for member in group if self._comes_again(member, named)]
            comes_again = set(again)
            if comes_again.issuperset(missing):  # TensorFlow 2.12 does count it
                twice += missing
            elif len(again) == len(missing):
                twice += again
                single = [member for member in group if member not in comes_again]
                self._numbers.update({member: number for number, member in enumerate(single)})
                self._numbers.update(dict.fromkeys(again, -1))
        return twice

    def _others(self, path: LayerEntry, named: dict[str, list[LayerEntry]]) -> Iterator[LayerEntry]:
        """The entries elsewhere that may be of the same layer."""
        for other in named[path.names[-1]]:
            if other is not path and self._same(other, path):
                yield other

    def _comes_again(self, path: LayerEntry, named: dict[str, list[LayerEntry]]) -> bool:
        """Whether an entry before may be of the same layer."""
        before = itertools.takewhile(lambda other: other is not path, named.get(path.names[-1], []))
        return any(self._same(other, path) for other in before)

    def _same(self, home: LayerEntry, path: LayerEntry) -> bool:
        """Whether two entries describe one layer, which two models share."""
        described = self._described.get(path)
        return described is not None and self._described.get(home) == described

    def weights_at(self, path: LayerPath) -> list[NDArray[Any]] | None:
        """See `Weights`."""
        path = self._shared.get(path, path)
        group = self._group_at(path)
        if group is None and -1 in self._after_unknown.values():
            raise FormatError(
                "an item before it has no class: it is not known which weights it has"
            )
        if group is None:
            if not any(self._root.get(container) for container in _CONTAINERS):
                return None  # nothing in this model was ever built
            raise FormatError(
                f"expected the weights of layer {short('/'.join(path.names))}; received none"
            )
        found = _variables(group)
        if path.steps and path.steps[-1] is WRAPPED:
            found = self._wrapped(path, found)
        return [dataset.array() for dataset in found] or None

    def _wrapped(self, path: LayerPath, found: list[hdf5.Group]) -> list[hdf5.Group]:
        """The weights of a wrapped layer: a wrapper that rounds kernels holds them itself."""
        if found and len(found[0].shape) > 1:
            return found
        around = self._group_at(LayerPath(path.names[:-1], path.steps[:-1]))
        own = [] if around is None else _variables(around)
        return [*own[:1], *found] if own and len(own[0].shape) > 1 else found

    def _group_at(self, path: LayerPath) -> hdf5.Group | None:
        here: hdf5.Group | None = self._root
        for depth, step in enumerate(path.steps, 1):
            if here is None:
                return None
            if step is WRAPPED:
                here = here.get("layer")
                continue
            keys = [step.key(generation) for generation in self._generations]
            if step is path.steps[-1] and path in self._numbers:
                keys = [(key, self._numbers[path]) for key, _ in keys]
            moved = self._after_unknown.get(path.names[:depth])
            if moved is not None:
                keys = [(key, moved) for key, _ in keys]
            found = (self._member(here, *key) for key in keys)
            here = next((group for group in found if group is not None), None)
        return here

    def _has_weights(self, path: LayerPath) -> bool:
        group = self._group_at(path)
        variables = None if group is None else group.get("vars")
        return variables is not None and bool(variables.names())

    def _member(self, group: hdf5.Group, key: str, number: int) -> hdf5.Group | None:
        """The group of the layer that `number` of its class come before."""
        layers = group.get(_CONTAINERS[0])
        if number < 0:
            return None
        if layers is not None:
            return layers.get(numbered(key, number))
        layers = group.get(_CONTAINERS[1])
        if layers is None:
            return None
        if layers.address not in self._sorted:
            self._sorted[layers.address] = _by_class(layers.names())
        found = self._sorted[layers.address].get(key)
        if found is None:
            return None
        if 2 * number in found.names:
            return layers.get(found.names[2 * number])
        if found.are_even or number >= len(found.names):
            return None
        return layers.get(found.in_order[number])  # those without weights count once

    # ---- without a document ----------------------------------------------------------------------

    def find_depthwise(self, path: LayerPath | None = None) -> Mapping[str, Arrays | FormatError]:
        """See `Weights`."""
        group = self._root if path is None else self._group_at(path)
        return {} if group is None else dict(self._search(group, (), 0, path is not None))

    def _search(
        self, group: hdf5.Group, path: tuple[str, ...], depth: int, by_shape: bool
    ) -> Iterator[tuple[str, Arrays | FormatError]]:
        if depth > _MAX_DEPTH:
            raise FormatError(
                f"{group.path}: expected models nested {_MAX_DEPTH} deep at most; received more"
            )
        for key in group.names():
            child = None if key in _NOT_LAYERS else group.get(key)
            if child is None or child.is_dataset:
                continue
            self._budget.step(4)
            self._budget.name(sum(map(len, path)) + len(key))
            variables = child.get("vars")
            named = None if variables is None else variables.attribute("name")  # Keras 3.6
            called = _KEY.fullmatch(key) or (isinstance(named, str) and _KEY.fullmatch(named))
            found = _variables(child)
            if found and (called or (by_shape and _is_depthwise(found))):
                last = named if isinstance(named, str) and _KEY.fullmatch(key) else key
                yield "/".join((*path, last)), _kernel_and_bias(child, found)
            else:
                below = path if key in _CONTAINERS else (*path, key)
                yield from self._search(child, below, depth + 1, by_shape)


def _kernel_and_bias(group: hdf5.Group, found: list[hdf5.Group]) -> Arrays | FormatError:
    """The weights of a depthwise layer, or why they cannot be read."""
    if len(found) > 2:
        return FormatError(
            f"{group.path}: expected a kernel and a bias; received {len(found)} weights"
        )
    try:
        arrays = [dataset.array() for dataset in found]
    except FormatError as error:
        return error
    return dict(zip(("kernel", "bias"), arrays, strict=False))


def numbered(key: str, number: int) -> str:
    """What Keras calls the layer that `number` of its class come before."""
    return f"{key}_{number}" if number else key


def place(path: LayerPath) -> str:
    """Where Keras 3 keeps a layer: 'layers/functional/layers/depthwise_conv2d_1'."""
    return "/".join(f"{_CONTAINERS[0]}/{numbered(*step.key(3))}" for step in path.steps)


def _described(path: LayerEntry) -> str:
    """What entries of one layer, which two models share, have in common."""
    config = json.dumps(_without_ids(path.config), sort_keys=True, default=repr)
    return f"{path.class_name} {config}"


def _without_ids(value: Any) -> Any:
    """A config without the numbers by which Keras tells that it is of one object."""
    if isinstance(value, dict):
        return {k: _without_ids(v) for k, v in value.items() if k != "shared_object_id"}
    return [_without_ids(item) for item in value] if isinstance(value, list) else value


def _is_depthwise(found: list[hdf5.Group]) -> bool:
    """Whether weights have the shapes of a depthwise layer's and of hardly anything else: a kernel
    (kh, kw, C, M), or (k, C, M), and a bias (C*M,).
    """
    if [len(dataset.shape) for dataset in found] not in ([4, 1], [3, 1]):
        return False
    *_, channels, multiplier = found[0].shape
    return channels > 1 and found[1].shape == (channels * multiplier,)


class _Numbered(NamedTuple):
    """The names of layers of one class, by the numbers in them."""

    names: dict[int, str]
    in_order: list[str]
    are_even: bool


def _by_class(names: list[str]) -> dict[str, _Numbered]:
    """The names of layers by the class and the number in them: {'dense': {0: 'dense', 1:
    'dense_1'}}. A class may end in a number itself, so `dense_1` is also the first of its own.
    """
    found: dict[str, dict[int, str]] = {}
    for name in names:
        found.setdefault(name, {})[0] = name
        match = re.search(r"_(\d{1,9})$", name)
        if match is not None:
            found.setdefault(name[: match.start()], {})[int(match[1])] = name
    return {
        key: _Numbered(
            named, [named[number] for number in sorted(named)], all(n % 2 == 0 for n in named)
        )
        for key, named in found.items()
    }


def _variables(group: hdf5.Group) -> list[hdf5.Group]:
    """A layer's own weights, by their numbers."""
    variables = group.get("vars")
    names = [] if variables is None else variables.names()
    found = []
    for number in range(len(names)):
        member = None if variables is None else variables.get(str(number))
        if member is None:
            raise FormatError(
                f"{group.path}/vars: expected weights 0 to {len(names) - 1}; "
                f"received {short(names)}"
            )
        found.append(member)
    return found
