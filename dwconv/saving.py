"""Files -> layers. The other way is `DepthwiseConv2D.save`; docs/format.md specifies the native
format.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import files
from .formats import Arrays, Document, FormatError
from .layer import DepthwiseConv2D

#: class_name in a file -> class.
LAYERS: dict[str, type[DepthwiseConv2D]] = {"DepthwiseConv2D": DepthwiseConv2D}

# What can come of values that no config has; ArithmeticError: an integer beyond all floats.
_CONFIG_ERRORS = (
    ValueError,
    TypeError,
    ArithmeticError,
    LookupError,
    AttributeError,
    RecursionError,
)


def load(path: files.PathLike) -> DepthwiseConv2D:
    """The layer that `DepthwiseConv2D.save` wrote: its config, name included, and its weights to
    the bit.

    A layer that was not built when it was saved is not built afterwards. Nothing in a file is
    executed; a function of the user's that the config names must have been registered before.

    Raises ValueError for an unknown suffix; FormatError (a ValueError), which names the file and
    what is wrong, for one that is truncated, damaged, foreign or newer; OSError.
    """
    document, arrays = files.read(path)
    with files.naming(path):
        return _layer(document, arrays)


def _layer(document: Document, arrays: Arrays) -> DepthwiseConv2D:
    kind, config = document.get("class_name"), document.get("config")
    if not isinstance(kind, str) or kind not in LAYERS:
        known = ", ".join(LAYERS)
        raise FormatError(f"class_name: expected {known}; received {kind!r}")
    if not isinstance(config, Mapping):
        raise FormatError(f"config: expected a dict; received {type(config).__name__}")
    declared = document.get("batch_input_shape")
    try:
        layer = LAYERS[kind].from_config({**config, "batch_input_shape": declared}, generation=3)
        _restore(layer, document.get("build_config"), arrays)
    except FormatError:
        raise
    except _CONFIG_ERRORS as error:
        raise FormatError(f"layer: {error}") from error
    return layer


def _restore(layer: DepthwiseConv2D, build_config: Any, arrays: Arrays) -> None:
    """Builds the layer with its weights from the file, if it was built when it was saved."""
    names = ["kernel", "bias"][: 1 + layer.use_bias] if build_config is not None else []
    if sorted(arrays) != sorted(names):
        raise FormatError(f"expected the tensors {names}; received {sorted(arrays)}")
    for name, array in arrays.items():
        # The library casts silently; a file whose tensors disagree with its config was not written
        # here.
        if array.dtype != layer.variable_dtype:
            raise FormatError(
                f"tensor {name!r}: expected dtype {layer.variable_dtype}; received {array.dtype}"
            )
    if build_config is None:
        return
    if not isinstance(build_config, Mapping):
        raise FormatError(f"build_config: expected a dict; received {build_config!r}")
    layer._start_with([arrays[name] for name in names])
    # None is for callers who declared a shape; a file has to say.
    layer.build(build_config.get("input_shape", ()))
