"""File formats, one module each: bytes <-> (document, arrays).

A document is a dict that JSON can hold: what the layer is. The arrays are its weights, by name. A
module has

    dump(document, arrays) -> bytes     ValueError for what the format cannot hold
    load(file) -> (document, arrays)    FormatError, which does not name the file: the caller knows
    it

and knows nothing of layers. `dwconv.files` has the list.
"""

from __future__ import annotations

from typing import Any, BinaryIO, Protocol, TypeAlias

from numpy.typing import NDArray

Document: TypeAlias = dict[str, Any]
Arrays: TypeAlias = dict[str, NDArray[Any]]


class FormatError(ValueError):
    """A file that is truncated, damaged, foreign or newer than this version of dwconv; says which
    and why.
    """


class Format(Protocol):
    """What a module of this package offers."""

    def dump(self, document: Document, arrays: Arrays) -> bytes: ...

    def load(self, file: BinaryIO) -> tuple[Document, Arrays]: ...
