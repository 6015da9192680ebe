"""A layer to a file, and weights out of a file; `dwconv.saving` makes layers of files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..formats import FormatError, PathLike, store
from .weights import Array

#: What files call the arrays of a layer, in order.
NAMES = ("kernel", "bias")


def save(layer: Any, path: PathLike) -> None:
    """What `DepthwiseConv2D.save` says."""
    arrays = dict(layer._saved_arrays(""))
    store.write(path, document(layer), arrays)


def save_weights(layer: Any, path: PathLike) -> None:
    """What `DepthwiseConv2D.save_weights` says."""
    arrays = layer._built_weights().arrays()
    store.write_weights(path, document(layer), dict(zip(NAMES, arrays, strict=False)))


def load_weights(layer: Any, path: PathLike) -> None:
    """What `DepthwiseConv2D.load_weights` says."""
    found = store.depthwise_weights(path, layer.name)
    with store.naming(path):
        take(layer, found)


def document(layer: Any) -> dict[str, Any]:
    """The item of a model's config that is this layer, with what files need besides."""
    return {
        "class_name": layer.CLASS_NAME,
        "config": layer._config.get_config(),
        "build_config": {"input_shape": layer._build_shape} if layer.built else None,
        "batch_input_shape": layer._declared_shape,
    }


def take(layer: Any, found: Mapping[str, Array]) -> None:
    """Puts weights from a file in the place of the layer's, or builds it with them.

    FormatError for other names, dtypes or shapes; then nothing has changed.
    """
    names = NAMES[: 1 + layer.use_bias]
    if sorted(found) != sorted(names):
        raise FormatError(f"{layer.name}: expected {list(names)}; received {sorted(found)}")
    for name, array in found.items():
        if array.dtype != layer.variable_dtype:
            raise FormatError(
                f"{layer.name}: {name}: expected dtype {layer.variable_dtype}; "
                f"received {array.dtype}"
            )
    values = [found[name] for name in names]
    try:
        if layer.built:
            layer.set_weights(values)
        else:
            layer._build_with(values)
    except (ValueError, TypeError) as error:
        raise FormatError(str(error)) from error
