"""The HDF5 files of every Keras: a whole model, or weights alone.

`weights_by_name` and `weights_by_place` say where they keep the weights.
"""

from __future__ import annotations

import os
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from .. import casts
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
    with h5py.File(watched, "w") as root:
        root.create_group("vars")
        for place, arrays in weights.items():
            for number, name in enumerate(("kernel", "bias")):
                if name in arrays and watched.error is None:
                    _write(root, f"{place}/vars/{number}", arrays[name], watched)
    if watched.error is not None:
        raise watched.error


def _write(root: Any, path: str, array: NDArray[Any], watched: _Watched) -> None:
    dataset = root.create_dataset(path, array.shape, array.dtype)
    for piece in casts.pieces(array.shape):
        if watched.error is None:
            dataset[piece] = np.ascontiguousarray(array[piece])
    if is_bfloat16(array.dtype):  # HDF5 has no such type: bytes and a word
        root[path].attrs["dtype"] = "bfloat16"


class _Watched:
    """A file for h5py that libhdf5 never sees fail; `error` is the first error of the file itself.

    A libhdf5 that is told of an error cannot close the file, and crashes the process when that
    ends. So from the first error on, what is written goes nowhere, except small pieces: those are
    the metadata that libhdf5 may read again before it closes the file.
    """

    _SMALL = 1 << 16  # bytes

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._position = self._end = 0
        self._kept: dict[int, bytes] = {}
        self.error: BaseException | None = None

    def _try(self, method: str, *arguments: Any) -> Any:
        """What a method of the file returns; None if it fails, or if the file has failed before."""
        if self.error is None:
            try:
                return getattr(self._file, method)(*arguments)
            except BaseException as error:
                # Without its traceback, which holds h5py's frames: libhdf5 crashes a process that
                # ends before the property list in one of them is gone.
                self.error = error.with_traceback(None)
        return None

    def _moved(self, size: int) -> int:
        self._position += size
        self._end = max(self._end, self._position)
        return size

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        found = self._try("seek", offset, whence)
        if found is None:
            found = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position}.get(whence, self._end)
        self._position = found
        return self._position

    def tell(self) -> int:
        return self._position

    def write(self, piece: Any) -> int:
        size = memoryview(piece).nbytes
        if self._try("write", piece) is None and size <= self._SMALL:
            self._kept[self._position] = bytes(piece)
        return self._moved(size)

    def readinto(self, buffer: Any) -> int:
        size = memoryview(buffer).nbytes
        if self._try("readinto", buffer) is None:
            kept = self._kept.get(self._position, b"")
            buffer[:] = kept[:size].ljust(size, b"\0")
        return self._moved(size)

    def read(self, size: int = -1) -> bytes:
        found = bytearray(max(0, self._end - self._position if size < 0 else size))
        self.readinto(found)
        return bytes(found)

    def truncate(self, size: int | None = None) -> int:
        self._try("truncate", size)
        return self._position if size is None else size

    def flush(self) -> None:
        self._try("flush")
