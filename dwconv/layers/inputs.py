"""Input shapes: reading and checking them, and symbolic inputs, which are a shape without data.

Shape letters: N batch, H height, W width, C channels. A whole shape is (N, H, W, C), or (N, C, H,
W) if channels_first; a size is None where it is not known yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from .. import naming
from ..arguments import Size, read_shape, read_size
from ..dtypes import DType
from ..messages import short
from . import dtype_policy

WholeShape: TypeAlias = tuple[Size, ...]


@dataclass(frozen=True)
class SymbolicTensor:
    """The shape (None: not known yet) and dtype of an array that is not there."""

    shape: WholeShape
    dtype: DType
    name: str

    @property
    def ndim(self) -> int:
        """Number of dimensions, the batch included."""
        return len(self.shape)

    def __array__(self, *_: Any, **__: Any) -> np.ndarray[Any, Any]:
        raise TypeError(f"expected an array with data; received {short(self)}")


def Input(  # noqa: N802 (Keras' name)
    shape: Sequence[Any] | None = None,
    batch_size: Any = None,
    dtype: Any = None,
    name: str | None = None,
    batch_shape: Sequence[Any] | None = None,
) -> SymbolicTensor:
    """A symbolic input, for `Sequential` and for layers called on it.

    Args:
        shape: (H, W, C), or (C, H, W) for channels_first layers: without the batch; None where
            unknown.
        batch_size: N, if it is known.
        dtype: of any real numbers: a name or NumPy dtype; None is float32.
        name: None: 'input_layer', 'input_layer_1', ...
        batch_shape: the shape with N, instead of `shape` and `batch_size`.

    Raises ValueError for other values, and unless exactly one of shape and batch_shape is given.
    """
    twice = batch_shape is not None and (shape is not None or batch_size is not None)
    if twice or (shape is None and batch_shape is None):
        raise ValueError(
            "expected shape (and, if known, batch_size), or batch_shape alone; received "
            f"shape={short(shape)}, batch_size={short(batch_size)}, "
            f"batch_shape={short(batch_shape)}"
        )
    if shape is None:
        sizes = read_shape("batch_shape", batch_shape)
    else:
        sizes = (read_size("batch_size", batch_size), *read_shape("shape", shape))
    return SymbolicTensor(
        sizes, dtype_policy.read_input(dtype), naming.given_or_unique(name, "InputLayer")
    )


def declared_shape(
    input_shape: Any, batch_input_shape: Any, batch_size: Any, rank: int = 2
) -> WholeShape | None:
    """The whole shape that a layer's arguments declare; None if they declare none.

    batch_input_shape wins, as in Keras 2. ValueError unless the shape has four sizes; of rank 1
    three.
    """
    batch = read_size("batch_size", batch_size)
    if batch_input_shape is not None:
        sizes = read_shape("batch_input_shape", batch_input_shape)
        if len(sizes) != rank + 2:
            words = {1: "three", 2: "four"}[rank]
            raise ValueError(f"batch_input_shape: expected {words} sizes; received {short(sizes)}")
        return sizes
    if input_shape is None:
        return None
    sizes = read_shape("input_shape", input_shape)
    if len(sizes) != rank + 1:
        words = {1: "two", 2: "three"}[rank]
        raise ValueError(
            f"input_shape: expected {words} sizes, without the batch; received {short(sizes)}"
        )
    return (batch, *sizes)
