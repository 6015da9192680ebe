"""What the formats of this package share, whatever their container: metadata around a document,
tensors by name. docs/format.md specifies both.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from .._version import __version__
from . import Arrays, Contents, Document, FormatError, LayerPath, NoWeights, short
from .budget import Budget
from .untrusted import parse_object, too_much

FORMAT = "dwconv"
VERSION = 1

#: Bytes of JSON. Enough for the config of any layer with room for an initializer that is an array,
#: little enough that a hostile one cannot fill the memory.
MAX_HEADER = 4 << 20

_ARRAYS = "An initializer that is a large array is part of the config."

#: What a tensor may be called, at the end of its path.
NAMES = ("kernel", "bias")


def metadata(document: Document) -> dict[str, str]:
    """What says that a file is ours, and the document. ValueError for one that JSON cannot hold or
    that is larger than MAX_HEADER.
    """
    try:
        text = json.dumps(document)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"expected a config that JSON can hold; {error}") from error
    check_length(len(text))
    excess = too_much(text.encode())
    if excess:
        raise ValueError(f"{excess}. {_ARRAYS}")
    return {
        "format": FORMAT,
        "format_version": str(VERSION),
        "writer": f"dwconv {__version__}",
        "layer": text,
    }


def check_length(length: int) -> None:
    """ValueError for metadata that a reader would refuse."""
    if length > MAX_HEADER:
        raise ValueError(
            f"expected a config of at most {MAX_HEADER} bytes as JSON; received {length}. {_ARRAYS}"
        )


def document(metadata: Any, budget: Budget) -> Document | None:
    """The document in the metadata; None unless they say that they are ours. FormatError for what
    is damaged or newer.
    """
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        return None
    return _document(metadata, budget)


def contents(container: str, document: Document | None, arrays: Arrays) -> Contents:
    """What a file with these holds."""
    if document is None:
        kind = f"{container}, but not from dwconv: its metadata have no 'format': {FORMAT!r}"
        return Contents(kind, None, None, Tensors(arrays))
    return Contents(f"{container} of dwconv", 3, document, Tensors(arrays), is_native=True)


def _document(metadata: dict[str, Any], budget: Budget) -> Document:
    version = metadata.get("format_version")
    if not isinstance(version, str) or not version.isascii() or not version.isdigit():
        raise FormatError(f"format_version: expected digits; received {short(version)}")
    if len(version) > 9 or int(version) > VERSION:
        raise FormatError(
            f"newer than dwconv {__version__}: expected format version {VERSION} at most; received "
            f"{short(version)}, written by {short(metadata.get('writer'))}"
        )
    if int(version) < 1:
        raise FormatError(f"format_version: expected 1 or more; received {short(version)}")
    text = metadata.get("layer")
    if not isinstance(text, str):
        raise FormatError(f"layer: expected JSON in a string; received {short(text)}")
    return parse_object(text, "layer", budget)


class Tensors(NoWeights):
    """Weights by name."""

    def __init__(self, arrays: Arrays) -> None:
        self.arrays = arrays

    def weights_at(self, path: LayerPath) -> list[NDArray[Any]] | None:
        """See `Weights`: the kernel, then the bias."""
        return list(self.tensors_at(path).values()) or None

    def tensors_at(self, path: LayerPath) -> Arrays:
        """The kernel and the bias of a layer, as far as they are there."""
        prefix = "".join(f"{name}/" for name in path.names)
        found = {name: self.arrays.get(prefix + name) for name in NAMES}
        return {name: array for name, array in found.items() if array is not None}

    def find_depthwise(self, path: LayerPath | None = None) -> Mapping[str, Arrays | FormatError]:
        """See `Weights`."""
        found: dict[str, Arrays] = {}
        if path is not None:
            return found  # all tensors in a file of ours belong to its document's layers
        for tensor, array in self.arrays.items():
            owner, _, name = tensor.rpartition("/")
            if name in NAMES:
                found.setdefault(owner or "layer", {})[name] = array
        return {owner: arrays for owner, arrays in found.items() if "kernel" in arrays}
