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
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .. import dtypes
from ..messages import short as short
from .budget import Budget
from .errors import FormatError as FormatError

PathLike: TypeAlias = str | os.PathLike[str]
Document: TypeAlias = dict[str, Any]
Arrays: TypeAlias = dict[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Where:
    """Where a layer is in a model; equal to itself alone."""

    #: The names of the models around it, but for the outermost, and its own; () for a layer alone.
    names: tuple[str, ...]
    #: For the same: class in snake_case, and how many of that class come before it in the model
    #: around it.
    counts: tuple[tuple[str, int], ...]


class Weights(Protocol):
    """The weights in a file."""

    def of(self, place: Where) -> Arrays | None:
        """{'kernel': ..., 'bias': ...} of the layer at a place; None if it has none.

        FormatError if the file should have them but has not.
        """
        ...

    def unnamed(self) -> dict[str, Arrays]:
        """The weights of depthwise layers that are found without a document, by what they are
        called.
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
    own: bool = False
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

    def of(self, place: Where) -> Arrays | None:
        return None

    def unnamed(self) -> dict[str, Arrays]:
        return {}


def bfloat16(what: str, halves: NDArray[Any]) -> NDArray[Any]:
    """An array of two little-endian bytes each as bfloat16, in native byte order, without a copy
    where that is enough. FormatError without the package that NumPy has the dtype from.
    """
    dtype = dtypes.named("bfloat16")
    if dtype is None:
        raise FormatError(f"{what}: expected the package ml_dtypes, for bfloat16; received none")
    return halves.view("<u2").astype(np.uint16, copy=False).view(dtype)
