"""Files -> layers and models. The other way is `DepthwiseConv2D.save` and `Sequential.save`;
docs/format.md says which files are written and read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from .arguments import read_data_format
from .formats import (
    Arrays,
    Contents,
    Document,
    FormatError,
    PathLike,
    Weights,
    entries,
    keras_json,
    short,
    store,
)
from .formats.budget import Budget
from .formats.entries import Place
from .formats.untrusted import parse_json
from .layers import inputs
from .layers.config import generation_of
from .layers.depthwise_conv2d import DepthwiseConv2D
from .layers.sequential import Sequential

# What can come of values that no config has; ArithmeticError: an integer beyond all floats.
_CONFIG_ERRORS = (
    ValueError,
    TypeError,
    ArithmeticError,
    LookupError,
    AttributeError,
    RecursionError,
)

Names: TypeAlias = tuple[str, ...]


class Layers(dict[str, DepthwiseConv2D]):
    """The depthwise layers of a file by path, 'outer/inner' for those of models in models.

    Attributes:
        skipped: path -> class name of the layers that are not depthwise ones, inputs left out.
        kind: for people: what wrote the file and how.
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.skipped: dict[str, str] = {}
        self.kind = kind


def load(path: PathLike, *, mmap: bool = False) -> Any:
    """The `DepthwiseConv2D` or `Sequential` in a file: its config, names included, and its weights
    to the bit.

    Args:
        path: .safetensors, .npz, .keras, .json, or Keras' .h5, .hdf5; .weights.h5 if the
            architecture is beside it, see `load_layers`.
        mmap: map the weights of a .safetensors file into memory instead of reading them. They are
            read when they are packed, at the first call; the file may be replaced (`save` does
            that) but must not be changed in place or cut while the layer lives.

    A layer that was not built when it was saved is not built afterwards, nor is one from a .json
    file. A file of Keras is read if it is a Sequential of depthwise layers and models of such alone
    (`load_layers` reads any). Nothing in a file is executed; a function of the user's that the
    config names must have been registered before.

    Raises ValueError for an unknown suffix; FormatError (a ValueError), which names the file and
    what is wrong, for one that is truncated, damaged, foreign or newer; OSError.

    Example:
        >>> DepthwiseConv2D(3, input_shape=(8, 8, 4)).save("dw.safetensors")
        >>> load("dw.safetensors").kernel_size
        (3, 3)
    """
    with store.reading(path, mmap) as contents:
        if contents.document is None and not _is_keras(path):
            raise FormatError(f"{contents.kind}; `load_weights` reads the weights of others")
        document, generation, budget = _architecture(path, contents, None)
        found = _layers(contents.weights, document, generation, contents.own, budget)
        foreign = [place for place in found if not place.is_depthwise]
        if foreign:
            raise FormatError(
                f"expected depthwise layers alone; received {short(foreign[0].path)}, a "
                f"{short(foreign[0].class_name)[1:-1]}. `load_layers` reads the others"
            )
        layers = {place.names: layer for place, layer in found.items() if layer is not None}
        if entries.items_of(document) is None or keras_json.is_layer_alone(document):
            (layer,) = layers.values()
            return layer
        try:
            return _model(document, (), layers)
        except FormatError:
            raise
        except _CONFIG_ERRORS as error:
            raise FormatError(f"model: {error}") from error


def load_layers(path: PathLike, config: Any = None) -> Layers:
    """All depthwise layers in a model file of any generation of Keras, or in one of ours.

    Args:
        path: .h5, .hdf5, .keras, .json or one of ours: a whole model, an architecture (then the
            layers are not built), or weights alone.
        config: the architecture, for weights alone: a config dict, JSON as text, or the path of a
            JSON file. None: the file beside it of the same name but for the suffix, .json.

    Returns a dict, path -> layer, with weights, frozen state (of the models around it, too) and
    dtype, in the model's order. Its `.skipped` names the other layers, with their classes. The
    parts of a SeparableConv2D are not ours. '/' in a layer's own name, as some Keras 2 models have,
    is '_' in the name of our layer.

    Raises as `load` does; FormatError also for weights that do not fit the architecture.
    """
    with store.reading(path) as contents:
        document, generation, budget = _architecture(path, contents, config)
        found = _layers(contents.weights, document, generation, contents.own, budget)
    layers = Layers(contents.kind)
    for place, layer in found.items():
        if layer is not None:
            layers[place.path] = layer
        else:
            layers.skipped[place.path] = place.class_name
    return layers


# ---- the architecture ----------------------------------------------------------------------------


def _is_keras(path: PathLike) -> bool:
    return not Path(path).name.lower().endswith((".safetensors", ".npz"))


def _architecture(
    path: PathLike, contents: Contents, config: Any
) -> tuple[Document, int | None, Budget | None]:
    """(document, generation, budget): from the file, else from `config`, else from the file beside
    it. The budget is that of the file or the text; None for a dict of the caller's own.
    """
    if contents.document is not None:
        if config is not None:
            raise ValueError(f"config: expected None, {os.fspath(path)!r} having its own")
        return contents.document, contents.generation, contents.budget
    budget = None
    if isinstance(config, Mapping):
        document, generation = entries.top(dict(config)), None
    elif isinstance(config, str) and config.lstrip().startswith(("{", "[")):
        budget = Budget(len(config))
        document, generation = entries.top(parse_json(config, "config", budget)), None
    else:
        if config is None:
            config = store.architecture_beside(path)
        if config is None:
            raise FormatError(
                f"{contents.kind}: expected the architecture, as `config` of load_layers or beside "
                f"it, in {store.architecture_names(path)[0]}"
            )
        with store.reading(config) as beside:
            if beside.document is None:
                raise FormatError(f"expected an architecture; received {beside.kind}")
            document, generation, budget = beside.document, beside.generation, beside.budget
    version = document.get("keras_version")
    if generation is None and isinstance(version, str):
        generation = int(version[0]) if version[:1] in ("1", "2", "3") else None
    if entries.items_of(document) is None:  # a layer alone is the only one of its model
        document = {"class_name": "Sequential", "config": {"name": "alone", "layers": [document]}}
    return document, contents.generation or generation, budget


# ---- layers --------------------------------------------------------------------------------------


def _layers(
    weights: Weights,
    document: Document,
    generation: int | None,
    own: bool,
    budget: Budget | None,
) -> dict[Place, DepthwiseConv2D | None]:
    """For each layer but inputs: ours with its weights, None for one of another class."""
    found: dict[Place, DepthwiseConv2D | None] = {}
    expected: list[str] = []
    for place in list(entries.walk(document, budget)):  # all of it is checked before any is made
        if not place.is_depthwise:
            if own and entries.items_of(document) is None:
                raise FormatError(
                    f"class_name: expected {entries.DEPTHWISE}; received {short(place.class_name)}"
                )
            if place.class_name != "InputLayer":
                found[place] = None
            continue
        arrays = weights.of(place)
        try:
            layer = _layer(place, generation, arrays)
            expected += _restore(layer, place, arrays, own)
        except FormatError:
            raise
        except _CONFIG_ERRORS as error:
            where = "layer" if not place.names else f"layer {short(place.path)}"
            raise FormatError(f"{where}: {error}") from error
        found[place] = layer
    if own:
        received = sorted(getattr(weights, "arrays", {}))
        if received != sorted(expected):
            raise FormatError(
                f"expected the tensors {short(sorted(expected))}; received {short(received)}"
            )
    return found


def _layer(place: Place, generation: int | None, arrays: Arrays | None) -> DepthwiseConv2D:
    """The layer without its weights."""
    config = place.item.get("config")
    if not isinstance(config, Mapping):
        raise FormatError(f"config: expected a dict; received {type(config).__name__}")
    config = dict(config)
    if "batch_input_shape" in place.item:
        config["batch_input_shape"] = place.item["batch_input_shape"]
    if isinstance(config.get("name"), str):
        config["name"] = config["name"].replace("/", "_")
    if config.get("dtype") is None and arrays is not None:
        # Keras 2.2.4 has no dtype in the config: the weights are of what was set for all layers.
        config["dtype"] = arrays["kernel"].dtype
    if generation is None and "module" in place.item:  # as Keras 3 and tf.keras from 2.13 on write
        generation = generation_of(config)
    layer = DepthwiseConv2D.from_config(config, generation=generation)
    layer.trainable = layer.trainable and place.trainable
    return layer


def _restore(layer: DepthwiseConv2D, place: Place, arrays: Arrays | None, own: bool) -> list[str]:
    """Builds the layer with its weights, if it has them; returns the paths of what it has to have.

    Of our own files: exactly if it was built.
    """
    built = place.item.get("build_config")
    names = ["kernel", "bias"][: 1 + layer.use_bias]
    if own and built is None:
        names = []
    elif arrays is None and not own:
        return []  # an architecture alone, or a model that was never built
    prefix = "".join(f"{name}/" for name in place.names)
    received = sorted(arrays or ())
    if received != sorted(names):
        raise FormatError(
            f"expected the tensors {short([prefix + name for name in names])}; "
            f"received {short([prefix + name for name in received])}"
        )
    for name, array in (arrays or {}).items():
        # The library casts silently; a file whose tensors disagree with its config is damaged.
        if array.dtype != layer.variable_dtype:
            raise FormatError(
                f"tensor {short(prefix + name)}: expected dtype {layer.variable_dtype}; "
                f"received {array.dtype}"
            )
    if not names:
        return []
    assert arrays is not None
    layer._start_with([arrays[name] for name in names], copy=False)
    layer.build(_build_shape(layer, built, arrays, own))
    return [prefix + name for name in names]


def _build_shape(layer: DepthwiseConv2D, built: Any, arrays: Arrays, own: bool) -> Any:
    """The whole shape that the layer was built for; what an older Keras does not say is open."""
    if own and not isinstance(built, Mapping):
        raise FormatError(f"build_config: expected a dict; received {short(built)}")
    if own:
        return built.get("input_shape", ())  # not None: a file has to say
    shape = built.get("input_shape") if isinstance(built, Mapping) else None
    if shape is not None:
        return shape
    sizes: list[int | None] = [None] * 4
    sizes[inputs.channel_axis(read_data_format(layer.data_format))] = int(arrays["kernel"].shape[2])
    return sizes


# ---- models --------------------------------------------------------------------------------------


def _model(item: Document, names: Names, layers: Mapping[Names, DepthwiseConv2D]) -> Sequential:
    """The Sequential of an item of a config, with these layers in their places."""
    if item.get("class_name") != "Sequential":
        raise FormatError(
            f"class_name: expected Sequential; received {short(item.get('class_name'))}. "
            "`load_layers` reads the layers of other models"
        )
    config = item["config"]
    given = isinstance(config, Mapping)
    inner: list[Any] = []
    start = None
    for each in entries.items_of(item) or ():
        here = (*names, entries.name_of(each))
        if entries.items_of(each) is not None:
            inner.append(_model(each, here, layers))
        elif here in layers:
            inner.append(layers[here])
        elif inner or start is not None:
            raise FormatError(f"expected one input, at the start; received {short(here[-1])}")
        else:
            start = _input(each["config"])
    return Sequential._of(
        entries.name_of(item).replace("/", "_") if given else None,
        inner,
        start,
        config.get("build_input_shape") if given else None,
    )


def _input(config: Mapping[str, Any]) -> inputs.SymbolicTensor:
    shape = config.get("batch_shape") or config.get("batch_input_shape")
    return inputs.Input(batch_shape=shape, dtype=config.get("dtype"), name=config.get("name"))
