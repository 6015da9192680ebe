"""Boxes of pixels as tasks that cut them out of an array's chunks; the words of all graphs."""

from __future__ import annotations

import functools
import hashlib
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import dask.array as da
import numpy as np
from dask.highlevelgraph import HighLevelGraph
from numpy.typing import NDArray

from .. import dtypes
from ..ops.convolution import Fused
from ..ops.spec import ConvSpec

Array: TypeAlias = NDArray[Any]
Range: TypeAlias = tuple[int, int]  # start, stop
Cuts: TypeAlias = tuple[int, ...]  # the sizes of the chunks of an axis
Graph: TypeAlias = dict[Any, Any]
Grid: TypeAlias = tuple[int, ...]  # how many pieces a box has along each axis


@dataclass(frozen=True)
class Recipe:
    """What all tasks of a convolution have in common. `ieee` is the caller's setting: the result
    must not depend on a worker's.
    """

    spec: ConvSpec
    dtype: dtypes.DType
    fused: Fused
    num_threads: int | None
    ieee: bool
    cast_first: bool = False  # x to dtype, before it is cast to what is computed in


class Gather:
    """Tasks that cut boxes out of an array's chunks."""

    def __init__(self, x: Any, name: str) -> None:
        self.graph: Graph = {}
        self._x, self._name = x, f"slice-{name}"

    def __call__(self, box: Sequence[Range]) -> tuple[Grid, list[Any]]:
        """How many pieces a box is made of along each axis, and their keys, the last axis first
        to change. A piece that is not a whole chunk is a task of its own, where the chunk is.
        """
        axes = [
            list(_overlaps(cuts, *limits)) for cuts, limits in zip(self._x.chunks, box, strict=True)
        ]
        keys: list[Any] = []
        for parts in itertools.product(*axes):
            key = (self._x.name, *(part[0] for part in parts))
            limits = tuple(part[1] for part in parts)
            if not all(part[2] for part in parts):
                cut = (self._name, *key[1:], *itertools.chain(*limits))
                self.graph[cut] = (Take(limits), key)
                key = cut
            keys.append(key)
        return tuple(map(len, axes)), keys


def ranges(cuts: Cuts) -> Iterator[Range]:
    """(start, stop) of each chunk."""
    stops = list(itertools.accumulate(cuts))
    return zip([0, *stops[:-1]], stops, strict=True) if stops else iter(())


def cuts_at(ends: Sequence[int], size: int) -> Cuts:
    """Chunks of an axis that is cut at the `ends` that lie in it."""
    edges = sorted({0, size, *(min(max(end, 0), size) for end in ends)})
    return tuple(stop - start for start, stop in itertools.pairwise(edges))


def _overlaps(cuts: Cuts, start: int, stop: int) -> Iterator[tuple[int, Range, bool]]:
    """Of the chunks that overlap start:stop their number, the part in them, and whether that is
    all. An empty range takes nothing of one chunk.
    """
    found = False
    for index, (low, high) in enumerate(ranges(cuts)):
        first, last = max(start, low), min(stop, high)
        if first < last or (start == stop and not found and low <= start <= high):
            found = True
            yield index, (first - low, last - low), (first, last) == (low, high)


def check_dask(argument: str, x: Any) -> None:
    """TypeError for what is no Dask array, ValueError for one whose chunks have unknown sizes."""
    if not isinstance(x, da.Array):
        raise TypeError(f"{argument}: expected a Dask array; received {type(x)}")
    if any(math.isnan(size) for size in x.shape):
        raise ValueError(
            f"{argument}: expected chunks of known sizes (compute_chunk_sizes finds them); "
            f"received shape {x.shape}"
        )
    if isinstance(x._meta, np.ma.MaskedArray):
        dtypes.read_array(argument, x._meta)  # for its error


def lazy(name: str, graph: Graph, arrays: Sequence[Any], chunks: Any, dtype: dtypes.DType) -> Any:
    """The array whose chunks are the tasks `(name, ...)` of the graph, which uses these arrays."""
    layers = HighLevelGraph.from_collections(name, graph, dependencies=arrays)
    make: Any = da.Array  # for mypy: Dask has no types
    return make(layers, name, chunks, meta=np.empty((0,) * len(chunks), dtype))


def asked_chunks(chunks: Any, shape: Sequence[int], dtype: dtypes.DType, own: Any) -> Any:
    """The chunks that `chunks` means, in any form that Dask takes; None: `own`. Empty ones are left
    out, but along the batch.
    """
    if chunks is None:
        return own
    if isinstance(chunks, dict):
        chunks = tuple(chunks.get(axis, own[axis]) for axis in range(len(own)))
    normalize: Any = da.core.normalize_chunks  # for mypy: Dask has no types
    asked = normalize(chunks, tuple(shape), dtype=dtype, previous_chunks=own)
    return tuple(
        cuts if axis == 0 else tuple(size for size in cuts if size)
        for axis, cuts in enumerate(asked)
    )


# ---- tasks: what runs on a worker ----------------------------------------------------------------


class Weights:
    """Kernel and bias of some channels; two of equal bytes are the same key of a cache."""

    def __init__(self, kernel: Array, bias: Array | None) -> None:
        self.kernel, self.bias = kernel.copy(), None if bias is None else bias.copy()
        digest = hashlib.sha256()
        for array in (self.kernel, self.bias):
            if array is not None:
                digest.update(f"{array.dtype.str}{array.dtype.name}{array.shape}".encode())
                digest.update(array.tobytes())
        self._digest = digest.digest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Weights) and self._digest == other._digest

    def __hash__(self) -> int:
        return hash(self._digest)


@dataclass(frozen=True)
class Constant:
    """A task without inputs: its value goes to a worker once, not with each task that uses it."""

    value: Any

    def __call__(self) -> Any:
        return self.value


@dataclass(frozen=True)
class Take:
    """A part of a chunk, copied: a view would keep the whole chunk in memory."""

    limits: tuple[Range, ...]

    def __call__(self, chunk: Any) -> Array:
        part = np.asarray(chunk)[tuple(slice(*limits) for limits in self.limits)]
        return part.copy()


def joined(pieces: list[Any], grid: Grid) -> Array:
    """One array of the pieces of a box."""
    arrays = [np.asarray(piece) for piece in pieces]
    for axis in reversed(range(len(grid))):
        step = grid[axis]
        if step > 1:
            arrays = [
                np.concatenate(arrays[i : i + step], axis) for i in range(0, len(arrays), step)
            ]
    (array,) = arrays
    return array


#: Plans that a worker process keeps: an image has nine kinds of chunks, edges and corners included.
kept = functools.lru_cache(64)
