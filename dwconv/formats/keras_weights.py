"""The HDF5 files of every Keras: a whole model, or weights alone.

`weights_by_name` and `weights_by_place` say where they keep the weights.
"""

from __future__ import annotations

from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..dtypes import is_bfloat16
from . import Arrays, Contents, FormatError, UnreadableWeights, Weights, entries, hdf5, short
from .budget import Budget
from .untrusted import parse_json
from .weights_by_name import ByName
from .weights_by_place import ByPlace

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
        kind = "weights by place" if isinstance(weights, ByPlace) else "weights by name"
        by = f" of Keras {short(version)[1:-1]}" if version else ""
        return Contents(f"HDF5{by}, {kind} alone", generation(version), None, weights)
    if not isinstance(config, str):
        raise FormatError(f"model_config: expected JSON in a string; received {short(config)}")
    document = entries.as_entry(parse_json(config, "model_config", budget))
    by = f" of Keras {short(version)[1:-1]}" if version else ""
    return Contents(
        f"HDF5{by}, a whole model", generation(version), document, _weights_of(root, budget)
    )


def _weights_of(root: hdf5.Group, budget: Budget) -> Weights:
    """The weights in a whole model."""
    try:
        group = root.get("model_weights")
        # The whole models of Keras 1's first years have no group of their own for the weights.
        return of_group(root if group is None else group, budget)
    except FormatError as error:
        return UnreadableWeights(str(error))


def generation(version: str | None) -> int | None:
    """1, 2 or 3 out of '2.15.0', '2.2.4-tf'; None if it is none of them."""
    major = (version or "").partition(".")[0]
    return int(major) if major in ("1", "2", "3") else None


def of_group(group: hdf5.Group, budget: Budget) -> Weights:
    """The weights in a group."""
    if {"layer_names", "layer_names0"} & set(group.attributes()):
        return ByName(group, budget)
    return ByPlace(group, budget)


def dump(weights: dict[str, Arrays], file: BinaryIO) -> None:
    """Writes an HDF5 file with weights by the places of their layers, 'layers/depthwise_conv2d'.
    ImportError without h5py, MemoryError unless _MEMORY is to be had.
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
            for place, arrays in weights.items():
                for number, name in enumerate(("kernel", "bias")):
                    if name in arrays:
                        _write(root, f"{place}/vars/{number}", arrays[name])
    except BaseException:
        if watched.error is None:
            raise
    if watched.error is not None:
        raise watched.error


def _write(root: Any, path: str, array: NDArray[Any]) -> None:
    root[path] = np.ascontiguousarray(array)
    if is_bfloat16(array.dtype):  # HDF5 has no such type: bytes and a word
        root[path].attrs["dtype"] = "bfloat16"


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
