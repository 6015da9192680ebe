"""File formats: bytes <-> what a layer or a model is, and its weights.

A document is a dict that JSON can hold, an item of a model's config as Keras writes it: class_name,
config, and what else the format needs. Weights are arrays by name: `kernel` and `bias` of a layer
alone, `outer/inner/kernel` of one in models. A module of a format that is written has

    dump(document, arrays, file)        ValueError for what the format cannot hold, ImportError
                                        without the extra that it needs; MemoryError, OSError.
                                        `file` is empty, has a name and can be read and sought

and one of a format that is read

    load(file, budget) -> Contents      FormatError, which does not name the file: the caller
                                        knows it

None knows layers. `dwconv.formats.store` has the list. Nothing in a file is ever executed or
imported, sizes are checked against the file before anything is allocated, and all work is charged
to the budget of the open file.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .. import dtypes
from ..messages import short as short
from ..naming import snake_case
from .budget import Budget
from .errors import FormatError as FormatError

PathLike: TypeAlias = str | os.PathLike[str]
Document: TypeAlias = dict[str, Any]
Arrays: TypeAlias = dict[str, NDArray[Any]]


class Step(NamedTuple):
    """From a model to a layer in it."""

    class_name: str
    #: How many layers before it have the same class in snake_case, as Keras 3 and 2 make that.
    number: int
    number_2: int

    @classmethod
    def of(cls, class_name: str, numbers: Counter[tuple[int, str]]) -> Step:
        """The step to the next layer of a model; `numbers` counts its layers."""
        # What a user registers is written as 'package>name' by Keras 2.
        class_name = class_name.rpartition(">")[2]
        keys = [(generation, snake_case(class_name, generation)) for generation in (3, 2)]
        step = cls(class_name, *(numbers[key] for key in keys))
        numbers.update(keys)
        return step

    def key(self, generation: int) -> tuple[str, int]:
        """The class in snake_case and the number, as that generation of Keras has them."""
        number = self.number if generation == 3 else self.number_2
        return snake_case(self.class_name, generation), number


#: From a wrapper to what it wraps.
WRAPPED = Step("", 0, 0)


@dataclass(frozen=True, eq=False)
class LayerPath:
    """Where a layer is in a model; equal to itself alone."""

    #: The names of the models around it, except for the outermost, and its own; () for a layer
    #: alone.
    names: tuple[str, ...]
    #: The way to it, a step for each of these names.
    steps: tuple[Step, ...]


class Weights(Protocol):
    """The weights in a file."""

    def bind(self, paths: Sequence[Any], generation: int | None) -> None:
        """Tells all layers of the model (`entries.LayerEntry`, in order) and which Keras wrote it,
        before the first `weights_at`: Keras finds weights by the order of the layers.
        """
        ...

    def weights_at(self, path: LayerPath) -> list[NDArray[Any]] | None:
        """The weights of a layer, in Keras' order; None if it has none.

        FormatError if the file should have them but does not.
        """
        ...

    def find_depthwise(self, path: LayerPath | None = None) -> Mapping[str, Arrays | FormatError]:
        """Weights that are found without a document, or why they cannot be read: those of depthwise
        layers by what they are called, or, within the layer at `path` of a user's class, also by
        their shapes.
        """
        ...


@dataclass(frozen=True)
class Contents:
    """What a file holds."""

    #: For people: what wrote it and how.
    kind: str
    #: 1, 2 or 3: whose meaning names have (hard_sigmoid). None: what the document itself says.
    generation: int | None
    #: None if the file has weights alone.
    document: Document | None
    weights: Weights
    #: Whether it is from this package, and so has exactly what its document says.
    is_native: bool = False
    #: What reading it may still cost.
    budget: Budget | None = None


class Writer(Protocol):
    """What a module of a format that is written offers."""

    def dump(self, document: Document, arrays: Arrays, file: BinaryIO) -> None: ...


class Reader(Protocol):
    """What a module of a format that is read offers."""

    def load(self, file: BinaryIO, budget: Budget) -> Contents: ...


class NoWeights:
    """The weights in a file that has none."""

    def bind(self, paths: Sequence[Any], generation: int | None) -> None:
        """Nothing depends on the layers."""

    def weights_at(self, path: LayerPath) -> list[NDArray[Any]] | None:
        """None."""
        return None

    def find_depthwise(self, path: LayerPath | None = None) -> Mapping[str, Arrays | FormatError]:
        """None."""
        return {}


class UnreadableWeights(NoWeights):
    """The weights in a file whose architecture alone can be read."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def weights_at(self, path: LayerPath) -> list[NDArray[Any]] | None:
        """FormatError."""
        raise FormatError(self._reason)

    def find_depthwise(self, path: LayerPath | None = None) -> Mapping[str, Arrays | FormatError]:
        """FormatError."""
        raise FormatError(self._reason)


def bfloat16(what: str, halves: NDArray[Any]) -> NDArray[Any]:
    """An array of two little-endian bytes each as bfloat16, in native byte order, without a copy
    where that is enough. FormatError without the package that NumPy has the dtype from.
    """
    dtype = dtypes.named("bfloat16")
    if dtype is None:
        raise FormatError(f"{what}: expected the package ml_dtypes, for bfloat16; received none")
    return halves.view("<u2").astype(np.uint16, copy=False).view(dtype)
