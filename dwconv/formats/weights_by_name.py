"""Weights in HDF5 that go by the names of their layers: Keras 1 and 2, and `.h5` of Keras 3.

    attribute layer_names   the names of the outermost layers, in order; a long list also comes in
                            pieces, layer_names0, layer_names1, ...
    <layer>                 attribute weight_names, in the order of the layer's weights, the same
    <layer>/<weight name>   dw/dw/depthwise_kernel:0; of a model within the model
                            inner/dw/depthwise_kernel:0, in Keras 3 inner/inner/dw/kernel

Keras restores them by order. Names say less: in graph mode TensorFlow 1 gave the weights of layer
`dw` the name dw_1/depthwise_kernel where another model of the session had a `dw`, and those of
`dw_1` dw_1_1/... So the order decides here, too, if what it yields fits the layers: the shapes of
kernels and the presence of biases. Names decide where the order does not fit, since the file is of
another model, or of one of which we do not know all.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..arguments import unwrap
from ..messages import LONGEST
from . import Arrays, FormatError, LayerPath, hdf5, short
from .budget import Budget
from .entries import DEPTHWISE, DEPTHWISE_1D, PLAIN, LayerEntry

_DEPTHWISE_KERNEL, _POINTWISE_KERNEL = "depthwise_kernel", "pointwise_kernel"
_KERNELS = (_DEPTHWISE_KERNEL, "kernel")
_STATISTICS = ("moving_mean",)
#: The first weight of a batch normalization -> the statistics that come after it, maybe later.
_NORMS = {
    "gamma": ("moving_mean", "moving_variance"),
    "beta": ("moving_mean", "moving_variance"),
    "moving_mean": ("moving_variance",),
}
_NORMALIZATION = ("gamma", "beta", "moving_mean", "moving_variance")
#: Layers whose weights are asked for, and a weight that each of them has.
_MARKS = {
    DEPTHWISE: _KERNELS,
    DEPTHWISE_1D: _KERNELS,
    "SeparableConv2D": (_DEPTHWISE_KERNEL,),
    "Conv2D": ("kernel",),
    "BatchNormalization": _STATISTICS,
    "BatchNormalizationV1": _STATISTICS,
    "BatchNormalizationV2": _STATISTICS,
    "SyncBatchNormalization": _STATISTICS,
}


class _Owner(NamedTuple):
    """What a weight's name says that it belongs to, and its weights in order: name -> path."""

    name: str
    leaves: dict[str, str]


class ByName:
    """The weights below a group with layer_names."""

    def __init__(self, group: hdf5.Group, budget: Budget) -> None:
        self._group = group
        self._budget = budget
        self._generation: int | None = None
        #: The groups of the outermost layers, where the order says another name than their own.
        self._renamed: dict[str, str] = {}
        self._blocks: dict[str, list[LayerEntry]] = {}
        self._members: dict[str, _Members] = {}

    def bind(self, paths: Sequence[LayerEntry], generation: int | None) -> None:
        """See `Weights`."""
        self._generation = generation
        for path in paths:
            if path.names:
                self._blocks.setdefault(path.names[0], []).append(path)
        self._renamed = self._by_order()

    def weights_at(self, path: LayerPath) -> list[NDArray[Any]] | None:
        """See `Weights`."""
        if not path.names:
            raise FormatError(
                "expected the config of a model, whose layers have names; received a layer's"
            )
        outermost = self._renamed.get(path.names[0], path.names[0])
        group = self._group.get(outermost)
        if group is None:
            raise FormatError(
                f"expected the weights of layer {short(path.names[0])}; received none"
            )
        if len(path.names) == 1:
            paths = _texts(group, "weight_names", self._budget)
        else:
            paths = self._members_of(path.names[0], outermost, group).of(path)
        arrays = []
        for weight in paths:
            dataset = group.get(weight)
            if dataset is None:
                raise FormatError(
                    f"{short('/'.join(path.names))}: expected the dataset {short(weight)}; "
                    "received none"
                )
            arrays.append(dataset.array())
        return arrays or None

    def _members_of(self, block: str, outermost: str, group: hdf5.Group) -> _Members:
        if block not in self._members:
            names = _texts(group, "weight_names", self._budget)
            entries = self._blocks.get(block, [])
            self._members[block] = _Members(group, names, entries, self._generation, self._budget)
        return self._members[block]

    # ---- the outermost layers --------------------------------------------------------------------

    def _by_order(self) -> dict[str, str]:
        """Outermost layer -> group, for those that the order pairs with a group of another name."""
        names = _texts(self._group, "layer_names", self._budget)
        blocks = [
            name
            for name, entries in self._blocks.items()
            if not (len(entries) == 1 and entries[0].class_name == "InputLayer")
        ]
        known = set(self._blocks) - set(blocks)
        filed = [name for name in names if name not in known]
        if filed[: len(blocks)] == blocks:
            return {}
        # Inputs, whose names differ between sessions, have no weights; nor has an activation.
        asked = [name for name in blocks if self._has(name, *_MARKS)]
        depthwise = [name for name in asked if self._has(name, *PLAIN)]
        for groups, layers in ((names, list(self._blocks)), (filed, blocks)):
            if len(groups) == len(layers):
                pairs = dict(zip(layers, groups, strict=True))
                if all(self._fits(name, pairs[name]) for name in depthwise):
                    return {name: pairs[name] for name in asked if name != pairs[name]}
        if set(depthwise) <= set(names):
            return {}
        # The architecture is of another session, or lacks layers: those with such weights in order.
        holding = [name for name in names if self._holds(name)]
        if len(holding) != len(depthwise) or not all(map(self._fits, depthwise, holding)):
            return {}
        return {
            name: group for name, group in zip(depthwise, holding, strict=True) if name != group
        }

    def _has(self, name: str, *classes: str) -> bool:
        return any(entry.class_name in classes for entry in self._blocks[name])

    def _holds(self, name: str) -> bool:
        """Whether a group has the weights of a depthwise layer, by what Keras 1 and 2 call them."""
        group = self._group.get(name)
        paths = [] if group is None else _texts(group, "weight_names", self._budget)
        self._budget.step(len(paths))
        return any(
            _DEPTHWISE_KERNEL in owner.leaves and _POINTWISE_KERNEL not in owner.leaves
            for owner in _owners(paths)
        )

    def _fits(self, name: str, filed: str) -> bool:
        """Whether a group can be that of an outermost layer."""
        group = self._group.get(filed)
        if group is None:
            return False
        entries = self._blocks[name]
        paths = _texts(group, "weight_names", self._budget)
        if len(entries) == 1 and len(entries[0].names) == 1:
            self._budget.step(len(paths))
            return bool(paths) and _fits(group, entries[0], _Owner(name, _leaves(paths)))
        return _Members(group, paths, entries, self._generation, self._budget).fits()

    # ---- without a document ----------------------------------------------------------------------

    def find_depthwise(self, path: LayerPath | None = None) -> Mapping[str, Arrays | FormatError]:
        """See `Weights`."""
        found: dict[str, Arrays | FormatError] = {}
        names = _texts(self._group, "layer_names", self._budget)
        if path is not None and path.names:
            names = [name for name in names if name == path.names[0]]
        for outermost in names:
            group = self._group.get(outermost)
            if group is None:
                continue
            paths = _texts(group, "weight_names", self._budget)
            self._budget.step(len(paths))
            for owner in _owners(paths):
                if _DEPTHWISE_KERNEL in owner.leaves and _POINTWISE_KERNEL not in owner.leaves:
                    self._budget.name(len(outermost) + len(owner.name))
                    same = owner.name == outermost or owner.name.startswith(f"{outermost}/")
                    key = owner.name if same else f"{outermost}/{owner.name}"
                    found[key] = _kernel_and_bias(group, owner)
        return found


def _kernel_and_bias(group: hdf5.Group, owner: _Owner) -> Arrays | FormatError:
    """The weights of a depthwise layer, or why they cannot be read."""
    arrays = {}
    for kind, leaf in (("kernel", _DEPTHWISE_KERNEL), ("bias", "bias")):
        if leaf in owner.leaves:
            dataset = group.get(owner.leaves[leaf])
            try:
                if dataset is None:
                    raise FormatError(
                        f"expected the dataset {short(owner.leaves[leaf])}; received none"
                    )
                arrays[kind] = dataset.array()
            except FormatError as error:
                return error
    return arrays


class _Members:
    """The weights of an outermost model or wrapper, by the layers in it."""

    def __init__(
        self,
        group: hdf5.Group,
        paths: list[str],
        entries: list[LayerEntry],
        generation: int | None,
        budget: Budget,
    ) -> None:
        budget.step(len(paths) + sum(1 + len(entry.names) // 4 for entry in entries))
        self._group = group
        self._budget = budget
        self._owners = _owners(paths)
        self._entries = [entry for entry in entries if entry.class_name in _MARKS]
        self._orders = [_in_order_of_weights(self._entries, generation), self._entries]
        self._found: dict[LayerPath, _Owner] = {}
        self._ends: dict[str, dict[str, list[_Owner]]] = {}  # by family
        for kind in (*PLAIN, "SeparableConv2D", "Conv2D", "BatchNormalization"):
            self._found.update(self._by_order(kind))

    def of(self, path: LayerPath) -> list[str]:
        """The paths of a layer's weights, in order; [] if the model has none."""
        if not self._owners:
            return []
        owner = self._found.get(path) or self._by_name(path)
        entry = path if isinstance(path, LayerEntry) else None
        if entry is not None and entry.class_name in PLAIN:
            # A wrapper's own weights, such as a mask, may have the same owner.
            kernel = next((owner.leaves[leaf] for leaf in _KERNELS if leaf in owner.leaves), None)
            if kernel is not None:
                return [kernel, *(owner.leaves[leaf] for leaf in ("bias",) if leaf in owner.leaves)]
        mixed = any(leaf in owner.leaves for leaf in _KERNELS)
        if entry is not None and _MARKS.get(entry.class_name) is _STATISTICS and mixed:
            # Keras 3.0 names no layer in the weights of a model within the model.
            return [owner.leaves[leaf] for leaf in _NORMALIZATION if leaf in owner.leaves]
        return list(owner.leaves.values())

    def fits(self) -> bool:
        """Whether every depthwise layer has found weights that fit it."""
        for entry in self._entries:
            if entry.class_name in PLAIN:
                try:
                    owner = self._found.get(entry) or self._by_name(entry)
                except FormatError:
                    return False
                if not _fits(self._group, entry, owner):
                    return False
        return True

    def _by_order(self, kind: str) -> dict[LayerPath, _Owner]:
        """The layers of one class with their weights; {} if there are more or fewer of these, or
        they do not fit.
        """
        owners = [owner for owner in self._owners if _is_of(kind, owner)]
        best: tuple[int, dict[LayerPath, _Owner]] = (-1, {})
        for order in self._orders:
            entries = [entry for entry in order if _family(entry) == kind]
            for candidates in (owners, self._shaped(entries, owners)):
                if len(candidates) == len(entries):
                    pairs = list(zip(entries, candidates, strict=True))
                    if all(_fits(self._group, *pair) for pair in pairs):
                        # TensorFlow 1.8 wrote frozen layers in their place. Where either order
                        # fits, names tell.
                        agreed = sum(_agree(*pair) for pair in pairs)
                        if agreed > best[0]:
                            best = (agreed, dict(pairs))
                        break
        return best[1]

    def _shaped(self, entries: list[LayerEntry], owners: list[_Owner]) -> list[_Owner]:
        """Of weights that another class may have, too, those that some of these layers can have:
        Keras 3 calls the kernels of all layers the same.
        """
        if not entries or entries[0].class_name not in PLAIN:
            return []
        shapes = {_wanted_shape(entry) for entry in entries}
        self._budget.step(len(owners))
        return [owner for owner in owners if _shape_of(self._group, owner) in shapes]

    def _by_name(self, path: LayerPath) -> _Owner:
        """The weights whose name ends in the layer's, with some or all of the models around it.

        TensorFlow 1 makes a name that is there already another one, dw_1.
        """
        family = _family(path) if isinstance(path, LayerEntry) else DEPTHWISE
        if family not in self._ends:
            self._ends[family] = _by_ends(owner for owner in self._owners if _is_of(family, owner))
        ends = self._ends[family]
        whole = "/".join(path.names)
        for end in (whole, "/".join(path.names[1:]), path.names[-1], f"{path.names[-1]}_#"):
            found = ends.get(end, [])
            if found and found[0].name == end:  # such a one comes first
                return found[0]
            if len(found) == 1:
                return found[0]
            if found:
                names = [owner.name for owner in found[:LONGEST]]
                raise FormatError(
                    f"{short(whole)}: expected one layer of that name; received {short(names)}"
                )
        raise FormatError(f"{short(whole)}: expected its weights; received others")


def _by_ends(owners: Iterable[_Owner]) -> dict[str, list[_Owner]]:
    """The owners by the ends of their names, those first whose name is that."""
    found: dict[str, list[_Owner]] = {}
    whole: dict[str, list[_Owner]] = {}
    for owner in owners:
        whole.setdefault(owner.name, []).append(owner)
        for end in _ends(owner.name):
            found.setdefault(end, []).append(owner)
        plain = re.sub(r"_\d{1,9}$", "", owner.name)
        if plain != owner.name:
            for end in {plain, *_ends(plain)}:
                found.setdefault(f"{end}_#", []).append(owner)
    for name, named in whole.items():
        found[name] = [*reversed(named), *found.get(name, ())]
    return found


def _in_order_of_weights(entries: list[LayerEntry], generation: int | None) -> list[LayerEntry]:
    """Layers in the order of their weights: first those that are trainable.

    A model that is not trainable has first the weights of its layers that say they are, then the
    others; in Keras 3 all in the order of the layers.
    """
    numbers: dict[tuple[int, str], int] = {}  # of models and layers, by that of the model around
    first: list[int] = []  # by that number: the place of its first layer

    def key(place: int, entry: LayerEntry) -> list[int]:
        # For each model within: whether its list is the second, and where it stands in that.
        last = len(entry.names)
        trainable = [True] * (last + 2)  # from this depth on
        for depth in reversed(range(1, last + 1)):
            trainable[depth] = entry.flags[depth] and trainable[depth + 1]
        frozen = next((depth for depth in range(1, last) if not entry.flags[depth]), last)
        found: list[int] = []
        around = -1
        for depth, name in enumerate(entry.names, 1):
            around = numbers.setdefault((around, name), len(numbers))
            if around == len(first):
                first.append(place)
            if depth > 1:
                second = not trainable[depth] and not (generation == 3 and depth > frozen)
                found += [int(second), first[around]]
        return found

    keys = {entry: key(place, entry) for place, entry in enumerate(entries)}
    return sorted(entries, key=keys.__getitem__)


def _owners(paths: list[str]) -> list[_Owner]:
    """The owners of weights, in the order of their first ones.

    Two layers can have one name, in two models within a model: what begins a layer's weights begins
    another owner. Only a batch normalization's moving statistics stand apart from its other
    weights: nothing trains them.
    """
    found: list[_Owner] = []
    waiting: dict[tuple[str, str], deque[_Owner]] = {}  # for a statistic: (name, leaf)
    for path in paths:
        name, leaf = _split(path)
        owner = found[-1] if found and found[-1].name == name else None
        if waiting.get((name, leaf)):
            owner = waiting[name, leaf].popleft()
        elif owner is not None and _begins(leaf, owner):
            owner = None
        if owner is None:
            owner = _Owner(name, {})
            found.append(owner)
            if leaf in _NORMS:
                for statistic in _NORMS[leaf]:
                    waiting.setdefault((name, statistic), deque()).append(owner)
        owner.leaves[leaf] = path
    return found


def _begins(leaf: str, last: _Owner) -> bool:
    """Whether a weight is the first of another layer than the weights before, of the same name."""
    if leaf == "beta":
        return "gamma" not in last.leaves or leaf in last.leaves
    return leaf in last.leaves or leaf in ("gamma", *_KERNELS)


def _leaves(paths: list[str]) -> dict[str, str]:
    return {_split(path)[1]: path for path in paths}


def _split(path: str) -> tuple[str, str]:
    """('inner/dw', 'depthwise_kernel') out of 'inner/dw/depthwise_kernel:0'. In Keras 3 a name may
    have a colon.
    """
    owner, _, leaf = path.rpartition("/")
    return owner, leaf.partition(":")[0]


def _ends(owner: str) -> Iterator[str]:
    """'b/dw' and 'dw' for 'a/b/dw'; the last eight at most."""
    parts = owner.split("/")
    return ("/".join(parts[i:]) for i in range(max(1, len(parts) - 8), len(parts)))


def _is_of(kind: str, owner: _Owner) -> bool:
    """Whether weights can be those of a layer of that class, by what they are called."""
    separable = _POINTWISE_KERNEL in owner.leaves
    return separable == (kind == "SeparableConv2D") and any(
        mark in owner.leaves for mark in _MARKS[kind]
    )


def _family(entry: LayerEntry) -> str:
    """The class whose weights have the same names."""
    kind = entry.class_name
    return "BatchNormalization" if _MARKS[kind] is _STATISTICS else kind


def _agree(entry: LayerEntry, owner: _Owner) -> bool:
    return owner.name.rpartition("/")[2] == entry.names[-1]


def _shape_of(group: hdf5.Group, owner: _Owner) -> tuple[tuple[int, ...], int, bool] | None:
    """(kernel size, M, bias or not) of a depthwise layer with these weights; None if there is no
    such layer.
    """
    path = next((owner.leaves[leaf] for leaf in _KERNELS if leaf in owner.leaves), None)
    if path is None:  # Keras 1 has names of its own: the order says which is which
        path = next(iter(owner.leaves.values()))
    dataset = group.get(path)
    if dataset is None or len(dataset.shape) not in (3, 4):
        return None
    return dataset.shape[:-2], dataset.shape[-1], len(owner.leaves) > 1


def _wanted_shape(entry: LayerEntry) -> tuple[tuple[int, ...], int, bool]:
    config: Mapping[str, Any] = entry.config if isinstance(entry.config, Mapping) else {}
    size = config.get("kernel_size")
    sizes = tuple(map(_integer, size)) if isinstance(size, (list, tuple)) else (_integer(size),)
    multiplier = _integer(unwrap(config.get("depth_multiplier", 1)))
    if len(sizes) == 1 and entry.class_name == DEPTHWISE:
        sizes *= 2
    return sizes, multiplier, config.get("use_bias") is not False


def _integer(value: Any) -> int:
    """An int, also of R's 3.0; -1 for what is none, which fits nothing."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if type(value) is int else -1


def _fits(group: hdf5.Group, entry: LayerEntry, owner: _Owner) -> bool:
    """Whether weights can be those of a depthwise layer, by the kernel's shape and their number.
    Nothing is known of other layers.
    """
    if entry.class_name not in PLAIN or entry.error is not None:
        return True
    found, wanted = _shape_of(group, owner), _wanted_shape(entry)
    if found is None:
        return False
    own = len(owner.leaves) == 1 + wanted[2] or ("bias" in owner.leaves) == wanted[2]
    return found[:2] == wanted[:2] and own


def _texts(group: hdf5.Group, name: str, budget: Budget) -> list[str]:
    """An attribute that is a list of texts, whole or in the pieces that Keras makes of a long
    one.
    """
    value: Any = group.attribute(name)
    if value is None:
        value, number = [], 0
        while True:
            piece = group.attribute(f"{name}{number}")
            if not isinstance(piece, list):
                break
            budget.step(1 + len(piece) // 64)  # a copy: another group may have the same header
            value += piece
            number += 1
    if isinstance(value, np.ndarray) and value.size == 0:
        return []  # NumPy has no type for an empty list
    if not isinstance(value, list):
        raise FormatError(f"{group.path}: {name}: expected texts; received {short(value)}")
    return value
