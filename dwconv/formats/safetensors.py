"""dwconv's native format, a safetensors file with a document in its metadata. docs/format.md
specifies it.

The library `safetensors` writes and reads the bytes. The header is read here as well, before it:
the library takes the last of two tensors of one name and hands out no metadata for bytes in memory.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from typing import Any, BinaryIO

import numpy as np
import safetensors
import safetensors.numpy

from .._version import __version__
from . import Arrays, Document, FormatError

FORMAT = "dwconv"
VERSION = 1

#: Bytes of header that are read. Enough for the config of any layer with room for an initializer
# that is an  array, little enough that a hostile header cannot fill the memory.
MAX_HEADER = 4 << 20

_LENGTH_BYTES = 8
_DTYPES = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "I32": "<i4"}


def dump(document: Document, arrays: Arrays) -> bytes:
    """The bytes of a file. ValueError for a document that JSON cannot hold or that is larger than
    MAX_HEADER.
    """
    try:
        text = json.dumps(document)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"expected a config that JSON can hold; {error}") from error
    metadata = {
        "format": FORMAT,
        "format_version": str(VERSION),
        "writer": f"dwconv {__version__}",
        "layer": text,
    }
    content = safetensors.numpy.save(arrays, metadata)
    length = int.from_bytes(content[:_LENGTH_BYTES], "little")
    if length > MAX_HEADER:
        raise ValueError(
            f"expected a config of at most {MAX_HEADER} bytes as JSON; received {length}. "
            "An initializer that is a large array is part of the config."
        )
    return content


def load(file: BinaryIO) -> tuple[Document, Arrays]:
    """(document, arrays) of a file, read from one open handle, so that a file replaced meanwhile
    cannot mix in.

    FormatError for anything that is not a whole file of this format and of a version known here.
    """
    size = os.fstat(file.fileno()).st_size
    prefix = file.read(_LENGTH_BYTES)
    if len(prefix) < _LENGTH_BYTES:
        raise FormatError(f"truncated: expected 8 bytes of header length; received {len(prefix)}")
    length = int.from_bytes(prefix, "little")
    if length > size - _LENGTH_BYTES:
        raise FormatError(
            f"truncated, or no safetensors file: expected {length} bytes of header; "
            f"received {size - _LENGTH_BYTES}"
        )
    if length > MAX_HEADER:
        raise FormatError(
            f"no file of dwconv: expected a header of at most {MAX_HEADER} bytes; received {length}"
        )
    raw = file.read(length)
    header = _json(raw, "the header")
    document = _document(header.get("__metadata__"))
    expected = _LENGTH_BYTES + length + _data_bytes(header)
    if size != expected:
        what = "truncated" if size < expected else "data after the end"
        raise FormatError(f"{what}: expected {expected} bytes in all; received {size}")
    return document, _arrays(prefix + raw + file.read())


def _json(raw: bytes | str, what: str) -> dict[str, Any]:
    """The JSON object in `raw`; FormatError for anything else, and for a key that comes twice."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) < len(pairs):
            twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
            raise FormatError(f"{what}: expected each key once; received {_short(twice)} twice")
        return result

    try:
        value = json.loads(raw, object_pairs_hook=unique)
    except FormatError:
        raise
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{what}: expected JSON; {error}") from error
    if not isinstance(value, dict):
        raise FormatError(f"{what}: expected a JSON object; received {type(value).__name__}")
    return value


def _document(metadata: Any) -> Document:
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        found = metadata.get("format") if isinstance(metadata, dict) else None
        raise FormatError(
            f"a safetensors file, but not from dwconv: expected the metadata 'format': '{FORMAT}'; "
            f"received {_short(found)}"
        )
    version = metadata.get("format_version")
    if not isinstance(version, str) or not version.isascii() or not version.isdigit():
        raise FormatError(f"format_version: expected digits; received {_short(version)}")
    if len(version) > 9 or int(version) > VERSION:
        raise FormatError(
            f"newer than dwconv {__version__}: expected format version {VERSION} at most; received "
            f"{_short(version)}, written by {_short(metadata.get('writer'))}"
        )
    if int(version) < 1:
        raise FormatError(f"format_version: expected 1 or more; received {_short(version)}")
    text = metadata.get("layer")
    if not isinstance(text, str):
        raise FormatError(f"layer: expected JSON in a string; received {_short(text)}")
    return _json(text, "layer")


def _data_bytes(header: dict[str, Any]) -> int:
    """Bytes after the header, by the tensors' offsets, which the library checks in detail."""
    end = 0
    for name, tensor in header.items():
        if name == "__metadata__":
            continue
        offsets = tensor.get("data_offsets") if isinstance(tensor, dict) else None
        stop = offsets[1] if isinstance(offsets, list) and len(offsets) == 2 else None
        if type(stop) is not int or not 0 <= stop < 2**63:
            raise FormatError(
                f"tensor {_short(name)}: expected two data_offsets; received {_short(offsets)}"
            )
        end = max(end, stop)
    return end


def _short(value: Any) -> str:
    """A repr for a message; what a file holds can be long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _arrays(content: bytes) -> Arrays:
    try:
        tensors = safetensors.deserialize(content)  # type: ignore[no-untyped-call]
    except safetensors.SafetensorError as error:
        raise FormatError(f"damaged: {error}") from error
    arrays: Arrays = {}
    for name, tensor in tensors:
        dtype = tensor["dtype"]
        if dtype not in _DTYPES:
            known = ", ".join(_DTYPES)
            raise FormatError(
                f"tensor {_short(name)}: expected a dtype of {known}; received {dtype}"
            )
        array = np.frombuffer(tensor["data"], _DTYPES[dtype]).reshape(tensor["shape"])
        arrays[name] = array.astype(array.dtype.newbyteorder("="), copy=False)
    return arrays
