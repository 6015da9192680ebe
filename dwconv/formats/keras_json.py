"""The architecture alone, as `to_json` of any Keras writes it. What is written here is what Keras 3
writes, with what only dwconv needs under a key `dwconv`, which Keras ignores: from that a layer,
which Keras can hold in a model only, comes back as a layer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, BinaryIO

from .._version import __version__
from . import Arrays, Contents, Document, FormatError, NoWeights, Weights, entries, short
from .budget import Budget
from .keras_weights import generation
from .untrusted import MAX_JSON, parse_json, too_much

OWN_KEY = "dwconv"


def dump(document: Document, arrays: Arrays, file: BinaryIO) -> None:
    """Writes a file; the arrays are left out. ValueError for a document that JSON cannot hold."""
    file.write(text(document))


def text(document: Document) -> bytes:
    """The JSON of a document for Keras. ValueError for one that JSON cannot hold, and for a padding
    that Keras does not have.
    """
    _check_padding(document)
    try:
        content = json.dumps(to_keras(document)).encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"expected a config that JSON can hold; {error}") from error
    excess = too_much(content)
    if excess:
        raise ValueError(f"{excess}. An initializer that is a large array is part of the config.")
    return content


def load(file: BinaryIO, budget: Budget) -> Contents:
    """What a file holds."""
    content = file.read(MAX_JSON + 1)
    value = parse_json(content, "the architecture", budget)
    version = value.get("keras_version") if isinstance(value, dict) else None
    version = version if isinstance(version, str) else None
    by = f" of Keras {short(version)[1:-1]}" if version else ""
    return contents(f"JSON{by}, an architecture alone", value, generation(version), NoWeights())


def contents(kind: str, value: Any, generation: int | None, weights: Weights) -> Contents:
    """What a file with the architecture `value`, parsed JSON, holds."""
    document = entries.as_entry(value)
    ours = document.get(OWN_KEY)
    if not isinstance(ours, dict):
        return Contents(kind, generation, document, weights)
    kind = f"{kind}, by dwconv"
    layer = ours.get("layer")
    if layer is not None:
        only = [item for item in entries.children(document) or [] if _class(item) != "InputLayer"]
        if len(only) != 1 or not isinstance(only[0], dict) or not isinstance(layer, dict):
            raise FormatError(f"{OWN_KEY}: expected a model of one layer; received {short(only)}")
        # As it was: alone, with its own input shapes instead of the model's.
        alone = {**only[0], **{key: layer.get(key) for key in _ALONE}}
        document = {**document, "config": {"name": "alone", "layers": [alone]}, OWN_KEY: ours}
    return Contents(kind, 3, document, weights)


_ALONE = ("build_config", "batch_input_shape")
_OURS_ALONE = "allow_strided_dilation"


def is_layer_alone(document: Document) -> bool:
    """Whether a layer, not a model, was written."""
    ours = document.get(OWN_KEY)
    return isinstance(ours, dict) and ours.get("layer") is not None


def _check_padding(item: Document) -> None:
    """ValueError for a layer whose padding has no name in Keras 3."""
    inner = entries.children(item)
    for each in inner or ():
        _check_padding(each)
    config = item.get("config")
    if inner is not None or item.get("class_name") not in entries.PLAIN or not config:
        return
    if config.get("padding", "valid") not in ("valid", "same"):
        dimensions = "1D" if item["class_name"] == entries.DEPTHWISE_1D else "2D"
        raise ValueError(
            f"{config.get('name')}: padding: expected 'valid' or 'same', which Keras 3 has; "
            f"received {config['padding']!r}. A .safetensors or .npz file keeps it; in Keras it is "
            f"a ZeroPadding{dimensions} before a layer with padding='valid'"
        )


def _class(item: Any) -> Any:
    return item.get("class_name") if isinstance(item, dict) else None


def to_keras(document: Document) -> Document:
    """What every Keras 3 reads: a layer in a Sequential, dtypes by name."""
    ours: Document = {"version": __version__}
    if entries.children(document) is None:
        ours["layer"] = {key: document.get(key) for key in _ALONE}
        document = _in_model(document)
    whole: Document = {
        "module": "keras",
        "class_name": "Sequential",
        "config": document["config"],
        "registered_name": None,
        "build_config": document.get("build_config"),
        OWN_KEY: ours,
    }
    if whole["build_config"] is None:
        del whole["build_config"]
    plain: Document = _plain(whole)
    return plain


def _in_model(layer: Document) -> Document:
    """A model of one layer."""
    item: Document = {
        "module": "keras.layers",
        "class_name": layer["class_name"],
        "config": layer["config"],
        "registered_name": None,
    }
    built = layer.get("build_config")
    shape = built["input_shape"] if built else layer.get("batch_input_shape")
    layers = [item]
    config: Document = {"name": "sequential", "trainable": True, "dtype": "float32"}
    if built:
        item["build_config"] = built
    if shape is not None:
        dtype = _plain(layer["config"]["dtype"])
        # Keras' inputs have the dtype that the layer computes in.
        dtype = str(dtype).removeprefix("mixed_")
        inputs = {"batch_shape": shape, "dtype": dtype, "sparse": False, "name": "input_layer"}
        layers.insert(
            0,
            {
                "module": "keras.layers",
                "class_name": "InputLayer",
                "config": inputs,
                "registered_name": None,
            },
        )
        config["build_input_shape"] = shape
    config["layers"] = layers
    return {"config": config, "build_config": {"input_shape": shape} if built else None}


def _plain(value: Any) -> Any:
    """The same with dtype policies as names, which all versions take; the dicts only some do. And
    without an argument that Keras does not have: it computes strides with dilation unasked.
    """
    if isinstance(value, Mapping):
        if value.get("class_name") == "DTypePolicy" and isinstance(value.get("config"), Mapping):
            return value["config"]["name"]
        return {key: _plain(item) for key, item in value.items() if key != _OURS_ALONE}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
