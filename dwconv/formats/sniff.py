"""A file of any format: the first bytes decide, not the name."""

from __future__ import annotations

import os
from typing import BinaryIO

from . import (
    Contents,
    FormatError,
    Reader,
    hdf5,
    keras_json,
    keras_weights,
    keras_zip,
    npz,
    onnx,
    safetensors,
    short,
    tflite,
)
from .budget import Budget
from .untrusted import Archive

_ZIP = b"PK"
_SIGNATURES: dict[bytes, Reader] = {
    hdf5.SIGNATURE: keras_weights,
    b"{": keras_json,
    b"[": keras_json,
}
#: What people also call a model: (where, which bytes, what it is, what to do).
_OTHERS = (
    (0, b"\x08", "a message such as saved_model.pb", "take Keras' own file"),
    (0, b"\x80", "a pickle, which is a program", "save the model with Keras, as .keras or .h5"),
)


def load(file: BinaryIO, budget: Budget) -> Contents:
    """What a file holds. FormatError for what no reader knows."""
    head = file.read(64)
    file.seek(0)
    if not head:
        raise FormatError("truncated: expected a file of Keras; received an empty one")
    return _reader(head, file, budget).load(file, budget)


def _reader(head: bytes, file: BinaryIO, budget: Budget) -> Reader:
    if head.startswith(_ZIP):
        return _of_archive(file, budget)
    if head[4:8] == tflite.SIGNATURE:
        return tflite
    # The version of the format comes first: 3 or more in ONNX since 2017, 1 in a saved_model.pb.
    if head[:1] == b"\x08" and 3 <= int.from_bytes(head[1:2], "little") < 0x80:
        return onnx
    length = int.from_bytes(head[:8], "little")  # of a header, which is JSON
    if head[8:9] == b"{" and length <= budget.size - 8:
        return safetensors
    for signature, module in _SIGNATURES.items():
        if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(signature):
            return module
    if hdf5.SIGNATURE.startswith(head) or b"PK\3\4".startswith(head):
        raise FormatError(f"truncated: expected a whole file; received {len(head)} bytes")
    for at, mark, what, advice in _OTHERS:
        if head[at:].startswith(mark):
            raise FormatError(f"expected HDF5, zip or JSON of a Keras; received {what}: {advice}")
    raise FormatError(f"expected HDF5, zip or JSON of a Keras; received {short(head[:16])}")


def _of_archive(file: BinaryIO, budget: Budget) -> Reader:
    names = Archive(file, budget).names()
    file.seek(0, os.SEEK_SET)
    is_npz = bool(names) and all(name.endswith(".npy") for name in names)
    return npz if is_npz else keras_zip
