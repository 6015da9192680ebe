"""Where the Kerases keep a layer's weights in an HDF5 file.

By name: whole models (below `model_weights`) and weights of Keras 1 and 2, and the whole models of
Keras 3 that end in .h5:

    attribute layer_names   the names of the outermost layers; a long list also comes in pieces,
                            layer_names0, layer_names1, ...
    <layer>                 attribute weight_names, in the order of the layer's weights, the same
    <layer>/<weight name>   dw/dw/depthwise_kernel:0; of a model within the model
                            inner/dw/depthwise_kernel:0, in Keras 3 inner/inner/dw/kernel

By place: `.weights.h5` and the inside of `.keras`. Weights have numbers, layers the name of their
class and how many of it come before them in the model around them:

    layers/depthwise_conv2d, layers/depthwise_conv2d_1, layers/functional/layers/...
                            each with vars/0, vars/1
    _layer_checkpoint_dependencies/depthwise_conv2d, ..._2, ..._4
                            the same in TensorFlow 2.12 and 2.13, which count layers with weights
                            twice
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

import numpy as np

from ..dtypes import is_bfloat16
from . import Arrays, Contents, FormatError, NoWeights, Weights, Where, entries, hdf5, short
from .budget import Budget
from .untrusted import parse_json

_KERNELS = ("depthwise_kernel", "kernel")
_CONTAINERS = ("layers", "_layer_checkpoint_dependencies")
_KEY = "depthwise_conv2d"
_MAX_DEPTH = 64
#: Bytes that libhdf5 may need to write a file, weights aside. Where an allocation of its own fails
#: the process dies (2.0.0: SIGSEGV), so that this is tried before.
_MEMORY = 16 << 20


def load(file: BinaryIO, budget: Budget) -> Contents:
    """What an HDF5 file of any Keras holds: a whole model, or weights alone."""
    root = hdf5.File(file, budget).root
    config = root.attribute("model_config")
    version = root.attribute("keras_version")
    version = version if isinstance(version, str) else None
    if config is None:
        weights = of_group(root, budget)
        kind = "weights by place" if isinstance(weights, _ByPlace) else "weights by name"
        by = f" of Keras {short(version)[1:-1]}" if version else ""
        return Contents(f"HDF5{by}, {kind} alone", generation(version), None, weights)
    if not isinstance(config, str):
        raise FormatError(f"model_config: expected JSON in a string; received {short(config)}")
    document = entries.top(parse_json(config, "model_config", budget))
    group = root.get("model_weights")
    # The whole models of Keras 1's first years have no group of their own for the weights.
    weights = of_group(root if group is None else group, budget)
    by = f" of Keras {short(version)[1:-1]}" if version else ""
    return Contents(f"HDF5{by}, a whole model", generation(version), document, weights)


def generation(version: str | None) -> int | None:
    """1, 2 or 3 out of '2.15.0', '2.2.4-tf'; None if it is none of them."""
    major = (version or "").partition(".")[0]
    return int(major) if major in ("1", "2", "3") else None


def of_group(group: hdf5.Group, budget: Budget) -> Weights:
    """The weights in a group."""
    if {"layer_names", "layer_names0"} & set(group.attributes()):
        return _ByName(group, budget)
    return _ByPlace(group, budget)


def dump(weights: dict[tuple[tuple[str, int], ...], Arrays], file: BinaryIO) -> None:
    """Writes an HDF5 file with weights by place. ImportError without h5py, MemoryError unless
    _MEMORY is to be had.
    """
    bytearray(_MEMORY)
    try:
        import h5py
    except ImportError as error:
        raise ImportError(
            "this format needs h5py to be written; install it with: pip install 'dwconv[keras]'"
        ) from error
    watched = _Watched(file)
    try:
        with h5py.File(watched, "w") as root:
            root.create_group("vars")
            for counts, arrays in weights.items():
                path = "".join(f"layers/{_numbered(*count)}/" for count in counts)
                for number, name in enumerate(("kernel", "bias")):
                    if name in arrays:
                        where = f"{path}vars/{number}"
                        root[where] = np.ascontiguousarray(arrays[name])
                        if is_bfloat16(
                            arrays[name].dtype
                        ):  # HDF5 has no such type: bytes and a word
                            root[where].attrs["dtype"] = "bfloat16"
    except BaseException:
        if watched.error is None:
            raise
    if watched.error is not None:
        raise watched.error


class _Watched:
    """A file for h5py that keeps the first error of the file itself: libhdf5 makes others of it
    (RuntimeError: Can't decrement id ref count) or goes on.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: BaseException | None = None

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._file, name)

        def call(*arguments: Any) -> Any:
            try:
                return found(*arguments)
            except BaseException as error:
                self.error = self.error or error
                raise

        return call if callable(found) else found


def _numbered(key: str, number: int) -> str:
    return f"{key}_{number}" if number else key


class _ByPlace(NoWeights):
    def __init__(self, root: hdf5.Group, budget: Budget) -> None:
        self._root = root
        self._budget = budget
        #: By the address of a group of layers: their names by class, in order.
        self._sorted: dict[int, dict[str, list[str]]] = {}

    def of(self, place: Where) -> Arrays | None:
        here: hdf5.Group | None = self._root
        for key, number in place.counts:
            assert here is not None
            here = self._child(here, key, number)
            if here is None:
                if not any(self._root.get(container) for container in _CONTAINERS):
                    return None  # nothing in this model was ever built
                raise FormatError(
                    f"expected the weights of layer {'/'.join(place.names)!r}; received none"
                )
        assert here is not None
        return _variables(here)

    def _child(self, group: hdf5.Group, key: str, number: int) -> hdf5.Group | None:
        """The group of the layer that `number` of its class come before."""
        layers = group.get(_CONTAINERS[0])
        if layers is not None:
            return layers.get(_numbered(key, number))
        layers = group.get(_CONTAINERS[1])
        if layers is None:
            return None
        if layers.address not in self._sorted:
            self._sorted[layers.address] = _by_class(layers.names())
        found = self._sorted[layers.address].get(key, [])
        return layers.get(found[number]) if number < len(found) else None

    def unnamed(self) -> dict[str, Arrays]:
        return dict(self._search(self._root, (), 0))

    def _search(
        self, group: hdf5.Group, path: tuple[str, ...], depth: int
    ) -> Iterator[tuple[str, Arrays]]:
        if depth > _MAX_DEPTH:
            raise FormatError(
                f"{group.path}: expected models nested {_MAX_DEPTH} deep at most; received more"
            )
        for container in _CONTAINERS:
            inner = group.get(container)
            for key in inner.names() if inner is not None else ():
                child = cast(hdf5.Group, cast(hdf5.Group, inner).get(key))
                arrays = _variables(child) if re.fullmatch(rf"{_KEY}(_\d{{1,9}})?", key) else None
                self._budget.step(4)
                self._budget.name(sum(map(len, path)) + len(key))
                if arrays is not None:
                    named = cast(hdf5.Group, child.get("vars")).attribute("name")  # Keras 3.6
                    last = named if isinstance(named, str) else key
                    yield "/".join((*path, last)), arrays
                else:
                    yield from self._search(child, (*path, key), depth + 1)


def _by_class(names: list[str]) -> dict[str, list[str]]:
    """The names of layers by the class in them, in the order of their numbers: {'dense': ['dense',
    'dense_1']}. A class may end in a number itself, so `dense_1` is also the first of its own.
    """
    found: dict[str, list[tuple[int, str]]] = {}
    for name in names:
        found.setdefault(name, []).append((0, name))
        match = re.search(r"_(\d{1,9})$", name)
        if match is not None:
            found.setdefault(name[: match.start()], []).append((int(match[1]), name))
    return {key: [name for _, name in sorted(numbered)] for key, numbered in found.items()}


def _variables(group: hdf5.Group) -> Arrays | None:
    variables = group.get("vars")
    names = [] if variables is None else variables.names()
    if variables is None or not names:
        return None
    arrays: Arrays = {}
    for name, key in (("kernel", "0"), ("bias", "1")):
        member = variables.get(key)
        if member is not None:
            arrays[name] = member.array()
    if set(names) - {"0", "1"} or "kernel" not in arrays:
        raise FormatError(
            f"{variables.path}: expected 0, a kernel, and 1, a bias; received {short(names)}"
        )
    return arrays


class _ByName(NoWeights):
    def __init__(self, group: hdf5.Group, budget: Budget) -> None:
        self._group = group
        self._budget = budget
        self._inner: dict[int, _Inner] = {}  # by the address of an outermost model's group

    def of(self, place: Where) -> Arrays | None:
        if not place.names:
            raise FormatError(
                "expected the config of a model, whose layers have names; received a layer's"
            )
        outermost = place.names[0]
        group = self._group.get(outermost)
        if group is None:
            raise FormatError(f"expected the weights of layer {short(outermost)}; received none")
        if len(place.names) == 1:
            paths = _texts(group, "weight_names", self._budget)
        else:
            if group.address not in self._inner:
                names = _texts(group, "weight_names", self._budget)
                self._inner[group.address] = _Inner(names)
            paths = self._inner[group.address].of(place.names)
        if not paths:
            return None
        path = "/".join(place.names)
        if len(paths) > 2:
            raise FormatError(
                f"{short(path)}: expected a kernel and a bias; received {short(paths)}"
            )
        arrays: Arrays = {}
        for kind, weight in zip(("kernel", "bias"), paths, strict=False):
            dataset = group.get(weight)
            if dataset is None:
                raise FormatError(
                    f"{short(path)}: expected the dataset {short(weight)}; received none"
                )
            arrays[kind] = dataset.array()
        return arrays

    def unnamed(self) -> dict[str, Arrays]:
        found: dict[str, Arrays] = {}
        for outermost in _texts(self._group, "layer_names", self._budget):
            group = self._group.get(outermost)
            paths = [] if group is None else _texts(group, "weight_names", self._budget)
            owners: dict[str, list[str]] = {}
            self._budget.step(len(paths))
            for path in paths:
                owners.setdefault(_split(path)[0], []).append(path)
            for owner, own in owners.items():
                leaves = {_split(path)[1] for path in own}
                if _KERNELS[0] not in leaves or "pointwise_kernel" in leaves:  # SeparableConv2D
                    continue
                arrays = {}
                for kind, path in zip(("kernel", "bias"), own, strict=False):
                    dataset = cast(hdf5.Group, group).get(path)
                    if dataset is not None:
                        arrays[kind] = dataset.array()
                same = owner == outermost or owner.startswith(f"{outermost}/")
                self._budget.name(len(outermost) + len(owner))
                found[owner if same else f"{outermost}/{owner}"] = arrays
        return found


def _split(path: str) -> tuple[str, str]:
    """('inner/dw', 'depthwise_kernel') out of 'inner/dw/depthwise_kernel:0'."""
    owner, _, leaf = path.partition(":")[0].rpartition("/")
    return owner, leaf


class _Inner:
    """The weights of an outermost model, by the layer in it that owns them.

    The layer's name stands before the weight's, below none, some or all of the models around it;
    TensorFlow 1 makes a name that is there already another one, dw_1.
    """

    def __init__(self, paths: list[str]) -> None:
        self._empty = not paths
        self._paths: dict[str, list[str]] = {}
        for path in paths:
            self._paths.setdefault(_split(path)[0], []).append(path)
        self._kernels: set[str] = set()  # the owners of one
        self._ends: dict[str, list[str]] = {}
        for owner, own in self._paths.items():
            own.sort(key=lambda path: _split(path)[1] not in _KERNELS)
            if _split(own[0])[1] not in _KERNELS:
                continue
            self._kernels.add(owner)
            for end in {owner, *_ends(owner)}:
                self._ends.setdefault(end, []).append(owner)
            numbered = re.sub(r"_\d{1,9}$", "", owner)
            if numbered != owner:
                for end in {numbered, *_ends(numbered)}:
                    self._ends.setdefault(f"{end}_#", []).append(owner)

    def of(self, names: tuple[str, ...]) -> list[str]:
        """The paths of a layer's weights, the kernel's first; [] if the model has none."""
        if self._empty:
            return []
        whole = "/".join(names)
        for end in (whole, "/".join(names[1:]), names[-1], f"{names[-1]}_#"):
            found = self._ends.get(end, [])
            if end in self._kernels:
                return self._paths[end]
            if len(found) == 1:
                return self._paths[found[0]]
            if found:
                raise FormatError(
                    f"{short(whole)}: expected one layer of that name; received {short(found)}"
                )
        raise FormatError(f"{short(whole)}: expected its weights; received others")


def _ends(owner: str) -> list[str]:
    """'b/dw' and 'dw' for 'a/b/dw'; the last eight at most."""
    parts = owner.split("/")
    return ["/".join(parts[i:]) for i in range(max(1, len(parts) - 8), len(parts))]


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
