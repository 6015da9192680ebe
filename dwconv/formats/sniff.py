"""Any file of any Keras: which format it is says its first bytes, not its name."""

from __future__ import annotations

from typing import BinaryIO

from . import Contents, FormatError, Reader, hdf5, keras_json, keras_weights, keras_zip, short
from .budget import Budget

_SIGNATURES: dict[bytes, Reader] = {
    hdf5.SIGNATURE: keras_weights,
    b"PK": keras_zip,
    b"{": keras_json,
    b"[": keras_json,
}


def load(file: BinaryIO, budget: Budget) -> Contents:
    """What a file holds. FormatError for anything but HDF5, zip and JSON."""
    head = file.read(64)
    file.seek(0)
    if not head:
        raise FormatError("truncated: expected a file of Keras; received an empty one")
    for signature, module in _SIGNATURES.items():
        if head.lstrip(b" \t\r\n").startswith(signature):
            return module.load(file, budget)
    if hdf5.SIGNATURE.startswith(head) or b"PK\3\4".startswith(head):
        raise FormatError(f"truncated: expected a whole file; received {len(head)} bytes")
    raise FormatError(f"expected HDF5, zip or JSON of a Keras; received {short(head[:16])}")
