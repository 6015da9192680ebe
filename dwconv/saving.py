"""Files -> layers and models. The other way is `DepthwiseConv2D.save` and `Sequential.save`;
docs/format.md says which files are written and read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

from . import activations, casts, constraints, dtypes, initializers, regularizers
from .folding import Folder
from .formats import (
    Arrays,
    Contents,
    Document,
    FormatError,
    PathLike,
    entries,
    keras_json,
    kinds,
    native,
    short,
    sizes,
    store,
)
from .formats.budget import Budget
from .formats.entries import LayerEntry
from .formats.kinds import Kind
from .formats.untrusted import parse_json
from .layers import dtype_policy, inputs
from .layers.config import generation_of
from .layers.depthwise_conv import DepthwiseConv
from .layers.depthwise_conv1d import DepthwiseConv1D
from .layers.depthwise_conv2d import DepthwiseConv2D
from .layers.quantized_depthwise_conv2d import QuantizedDepthwiseConv2D, from_document
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
CustomObjects: TypeAlias = Mapping[str, Any]


AnyLayer: TypeAlias = DepthwiseConv | QuantizedDepthwiseConv2D


class Layers(dict[str, AnyLayer]):
    """The depthwise layers of a file by path, 'outer/inner' for those of models in models.

    Those of bytes, which ONNX and TensorFlow Lite have, are of `QuantizedDepthwiseConv2D`.

    Attributes:
        kinds: path -> what the layer is in the file: 'DepthwiseConv2D', 'DepthwiseConv1D',
            'DepthwiseConv2D in TimeDistributed', 'Conv2D with groups', 'depthwise half of
            SeparableConv2D', 'QuantizedDepthwiseConv2D'.
        folded: with `fold`: path -> the paths of the layers that are part of this one now, in the
            order of the model.
        unfolded: with `fold`: path -> why nothing is folded into this layer, or why the batch
            normalization or the activation that comes next is not.
        skipped: path -> the class name of a layer that is not here, inputs left out; after it, for
            what is or may be a depthwise layer, ': ' and the reason.
        kind: for people: what wrote the file and how.
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kinds: dict[str, str] = {}
        self.folded: dict[str, tuple[str, ...]] = {}
        self.unfolded: dict[str, str] = {}
        self.skipped: dict[str, str] = {}
        self.kind = kind


def load(path: PathLike, *, mmap: bool = False, custom_objects: CustomObjects | None = None) -> Any:
    """The layer or `Sequential` in a file, a `QuantizedDepthwiseConv2D`, too: its config, names
    included, and its weights to the bit.

    Args:
        path: .safetensors, .npz, .keras, .json, or Keras' HDF5 under any name, or the folder that
            Keras 3 has not zipped; .weights.h5 if the architecture is beside it, see `load_layers`.
        mmap: map the weights of a .safetensors file into memory instead of reading them. They are
            read when they are packed, at the first call; the file may be replaced (`save` does
            that) but must not be changed in place or cut while the layer lives.
        custom_objects: as of `load_layers`.

    A layer that was not built when it was saved is not built afterwards, nor is one from a .json
    file. A file of Keras is read if it is a Sequential of depthwise layers and models of such alone
    (`load_layers` reads any). Nothing in a file is executed; a function of the user's that the
    config names must be among `custom_objects` or have been registered before.

    Raises FormatError (a ValueError), which names the file and what is wrong, for one that is
    truncated, damaged, foreign or newer; OSError.

    Example:
        >>> DepthwiseConv2D(3, input_shape=(8, 8, 4)).save("dw.safetensors")
        >>> load("dw.safetensors").kernel_size
        (3, 3)
    """
    with store.reading(path, mmap) as contents:
        if contents.document is None and not _is_keras(path):
            raise FormatError(f"{contents.kind}; `load_weights` reads the weights of others")
        document, generation, budget = _architecture(path, contents, None)
        if document.get("class_name") == entries.QUANTIZED and isinstance(
            contents.weights, native.Tensors
        ):
            return from_document(document, contents.weights.arrays)
        reader = _Reader(contents, generation, custom_objects or {})
        found = list(reader.found(document, budget, skip=False))
        foreign = [
            each.entry
            for each in found
            if not (each.is_whole and isinstance(each.layer, DepthwiseConv))
        ]
        if foreign:
            raise FormatError(
                f"expected depthwise layers alone; received {short(foreign[0].path)}, a "
                f"{short(foreign[0].class_name)[1:-1]}. `load_layers` reads the others"
            )
        layers = {
            each.entry.names: each.layer for each in found if isinstance(each.layer, DepthwiseConv)
        }
        if entries.children(document) is None or keras_json.is_layer_alone(document):
            if len(layers) != 1:
                raise FormatError(f"expected one depthwise layer; received {len(layers)}")
            (layer,) = layers.values()
            return layer
        try:
            return _model(document, (), layers)
        except FormatError:
            raise
        except _CONFIG_ERRORS as error:
            raise FormatError(f"model: {error}") from error


def load_layers(
    path: PathLike,
    config: Any = None,
    *,
    on_error: Literal["raise", "skip"] = "raise",
    custom_objects: CustomObjects | None = None,
    fold: bool = False,
) -> Layers:
    """All depthwise layers in a model file of any generation of Keras, of ONNX or TensorFlow Lite,
    or in one of ours.

    Args:
        path: a file of Keras under any name, a folder that Keras 3 has not zipped, or a file of
            ours: a whole model, an architecture (then the layers are not built), or weights alone;
            a model of ONNX or TensorFlow Lite.
        config: the architecture, for weights alone: a config dict, JSON as text, or the path of a
            JSON file. None: the file beside it with the same name and the suffix .json.
        on_error: what a depthwise layer that cannot be read leads to: 'raise', an error that names
            it, or 'skip', a line in `.skipped` that says why. What is wrong with the file as a
            whole is an error in either case.
        custom_objects: name -> what it stands for, as in Keras: activations, initializers,
            regularizers, constraints, and subclasses of `DepthwiseConv2D` for layers of the user's
            classes. They come before the built-in and the registered ones.
        fold: whether a batch normalization after a layer, and the activation after that, become
            part of the layer where the graph of the model makes that exact; docs/format.md has the
            rules. `.folded` says what became part of which layer, `.unfolded` why not more. What is
            folded is not in `.skipped`.

    Returns a dict, path -> layer, with weights, frozen state (of the models around it, too) and
    dtype, in the model's order. Besides Keras' DepthwiseConv2D there are, under the names of their
    layers: such a layer in a wrapper (TimeDistributed, tfmot's), a Conv2D with one channel in each
    of its groups, and the first half of a SeparableConv2D, without bias and activation; `.kinds`
    tells. Their `.skipped` names the other layers, with their classes. '/' in a layer's own name,
    as some Keras 2 models have, is '_' in the name of our layer.

    Raises as `load` does; FormatError also for weights that do not fit the architecture; ValueError
    for another `on_error`; ImportError for ONNX and TensorFlow Lite without their extras.
    """
    if on_error not in ("raise", "skip"):
        raise ValueError(f"on_error: expected 'raise' or 'skip'; received {on_error!r}")
    with store.reading(path) as contents:
        document, generation, budget = _architecture(path, contents, config)
        if on_error == "skip":
            document = entries.mended(document)
        reader = _Reader(contents, generation, custom_objects or {})
        layers = Layers(contents.kind)
        found = list(reader.found(document, budget, skip=on_error == "skip"))
        if fold:
            folder = Folder(
                document,
                [each.entry for each in found],
                contents.weights,
                generation,
                custom_objects,
                budget,
            )
            found = _folded(layers, folder, found)
        for entry, kind, layer, reason in found:
            if layer is not None:
                layers[entry.path] = layer
                layers.kinds[entry.path] = entry.class_name if kind is None else kind.label
            if layer is None or reason is not None:
                named = entry.class_name if reason is None else f"{entry.class_name}: {reason}"
                layers.skipped[entry.path] = named
            if not entries.is_keras(entry.item) and layer is None and entry.error is None:
                layers.skipped.update(_within(contents, entry))
    return layers


def image_sizes(
    path: PathLike, config: Any = None, image: tuple[int, int] | None = None
) -> dict[str, tuple[int, int]]:
    """(height, width) of what each layer of a model file is called with, by its path, for images of
    that size; None: of the size that the model's input has. Layers of which that is not known are
    left out. `config` and errors as of `load_layers`.
    """
    with store.reading(path) as contents:
        document, _, budget = _architecture(path, contents, config)
        list(entries.walk(document, budget))  # checks all of it
        found = sizes.of_inputs(document, image, budget)
    return {"/".join(names): size for names, size in found.items()}


def _folded(layers: Layers, folder: Folder, found: list[_Found]) -> list[_Found]:
    """What is left of `found` when all is folded that can be; `layers` takes the report."""
    folded = [
        each
        if not isinstance(each.layer, DepthwiseConv)
        else each._replace(layer=folder.fold(each.entry, each.layer, each.is_whole))
        for each in found
    ]
    layers.folded, layers.unfolded = folder.folded, folder.unfolded
    return [each for each in folded if each.entry.names not in folder.gone]


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
        document, generation = entries.as_entry(dict(config)), None
    elif isinstance(config, str) and config.lstrip().startswith(("{", "[")):
        budget = Budget(len(config))
        document, generation = entries.as_entry(parse_json(config, "config", budget)), None
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
    if entries.children(document) is None and document.get("class_name") in entries.PLAIN:
        # A layer alone is the only one of its model.
        document = {"class_name": "Sequential", "config": {"name": "alone", "layers": [document]}}
    return document, contents.generation or generation, budget


# ---- layers --------------------------------------------------------------------------------------


class _Found(NamedTuple):
    """A layer of the document, as what it was found, ours, and why there is none or not all."""

    entry: LayerEntry
    kind: Kind | None
    layer: AnyLayer | None
    reason: str | None

    @property
    def is_told(self) -> bool:
        """Whether it is more than a layer of another class."""
        return self.layer is not None or self.reason is not None

    @property
    def is_whole(self) -> bool:
        """Whether our layer is all that the document's is."""
        return self.layer is not None and (self.kind is None or self.kind.is_whole)


class _Reader:
    """Layers of ours out of the entries of one document."""

    def __init__(
        self, contents: Contents, generation: int | None, custom_objects: CustomObjects
    ) -> None:
        self._contents = contents
        self._generation = generation
        self._custom_objects = custom_objects
        self._expected: list[str] = []  # the tensors of a file of ours
        self._name = ""  # of the whole model
        self._tried = 0  # layers of ours that were made, or could not be

    def found(self, document: Document, budget: Budget | None, skip: bool) -> list[_Found]:
        """What is made of each layer but inputs and wrappers of depthwise layers.

        skip: keep the reason why a depthwise layer cannot be read; else raise it.
        """
        layers = list(entries.walk(document, budget))  # all are checked before any is made
        self._name = entries.name_of(document)
        native_layer = self._contents.is_native and entries.children(document) is None
        if native_layer and not layers[0].is_depthwise:
            expected = " or ".join(entries.PLAIN)
            raise FormatError(
                f"class_name: expected {expected}; received {short(layers[0].class_name)}"
            )
        self._contents.weights.bind(layers, self._generation)
        found: list[_Found] = []
        for entry in layers:
            if entry.class_name == "InputLayer":
                continue
            try:
                if entry.error is not None:
                    raise FormatError(f"layer {short(entry.path)}: {entry.error}")
                found.append(self.read(entry))
            except FormatError as error:
                if not skip:
                    raise
                found.append(_Found(entry, None, None, str(error)))
            # `walk` has counted those of Keras' classes. A user's may be such as well.
            if self._tried > entries.MAX_DEPTHWISE:
                raise FormatError(
                    f"expected at most {entries.MAX_DEPTHWISE} depthwise layers; received more"
                )
        self._check_complete()
        # A wrapper is named by what is in it, or what is in it by the wrapper.
        around = {each.entry.names[:-1] for each in found if each.entry.wrappers and each.is_told}
        return [
            each
            for each in found
            if each.is_told or not (each.entry.wrappers or each.entry.names in around)
        ]

    def read(self, entry: LayerEntry) -> _Found:
        """One of them. FormatError, which names it, for a depthwise layer that cannot be read."""
        what = f"layer {short(entry.path)}" if entry.names else "layer"
        try:
            custom = self._custom_class(entry)
            if custom is not None:
                kind = Kind(entry.class_name, dict(entry.config), kinds.kernel_and_bias)
                return _Found(entry, kind, self._layer(entry, kind, custom), None)
            found = kinds.kind_of(entry)
            if found is None:
                reason = None
                if kinds.in_unknown_wrapper(entry):
                    reason = (
                        f"in a {short(entry.wrappers[-1])[1:-1]}, which may change what it does"
                    )
                return _Found(entry, None, None, reason)
            layer = self._layer(entry, found, _CLASSES.get(entry.class_name, DepthwiseConv2D))
            if layer is None:
                reason = "without weights it is not known how many channels a group has"
                return _Found(entry, found, None, reason)
            return _Found(entry, found, layer, None if found.is_plain else found.rest)
        except kinds.NotDepthwiseError:
            return _Found(entry, None, None, None)
        except FormatError as error:
            text = str(error)
            raise error if text.startswith(what) else FormatError(f"{what}: {text}") from error
        except _CONFIG_ERRORS as error:
            raise FormatError(f"{what}: {error}") from error

    def _check_complete(self) -> None:
        """FormatError for tensors in a file of ours that belong to no layer."""
        if isinstance(self._contents.weights, native.Tensors) and self._contents.is_native:
            received = sorted(self._contents.weights.arrays)
            if received != sorted(self._expected):
                raise FormatError(
                    f"expected the tensors {short(sorted(self._expected))}; "
                    f"received {short(received)}"
                )

    def _custom_class(self, entry: LayerEntry) -> type[DepthwiseConv] | None:
        """The user's class for an entry, if it is a depthwise layer of ours."""
        registered = entry.item.get("registered_name")
        for name in (registered, entry.class_name, entry.class_name.rpartition(">")[2]):
            found = self._custom_objects.get(name) if isinstance(name, str) else None
            if isinstance(found, type) and issubclass(found, DepthwiseConv):
                return found
        return None

    def _layer(self, entry: LayerEntry, kind: Kind, make: type[DepthwiseConv]) -> AnyLayer | None:
        """The layer with its weights; None if only weights would show that it is one."""
        if entry.class_name == entries.QUANTIZED and make is DepthwiseConv2D:
            return self._quantized(entry, kind)
        if self._contents.is_native:
            assert isinstance(self._contents.weights, native.Tensors)
            arrays: Arrays | None = self._contents.weights.tensors_at(entry) or None
        else:
            arrays = kind.weights(self._contents.weights, entry)
        if arrays is None and not kind.is_certain:
            return None
        self._tried += 1
        config = self._config(entry, kind, arrays)
        generation = self._generation
        if generation is None and "module" in entry.item:
            generation = generation_of(config)  # as Keras 3 and tf.keras from 2.13 on write
        layer = make.from_config(config, generation=generation)
        layer.trainable = layer.trainable and entry.trainable
        self._restore(layer, entry, arrays)
        return layer

    def _quantized(self, entry: LayerEntry, kind: Kind) -> QuantizedDepthwiseConv2D:
        """The layer of int8 weights; its errors are those of values in a config."""
        self._tried += 1
        arrays = kind.weights(self._contents.weights, entry)
        if arrays is None:
            raise FormatError("expected weights; the file has none")
        config = {**kind.config, "name": entry.names[-1].replace("/", "_")}
        return QuantizedDepthwiseConv2D.from_config(
            config, arrays["kernel"], arrays.get("bias"), arrays["kernel_scale"]
        )

    def _config(self, entry: LayerEntry, kind: Kind, arrays: Arrays | None) -> Document:
        """The arguments, with the user's objects in their places."""
        config = dict(kind.config)
        if isinstance(config.get("name"), str):
            config["name"] = config["name"].replace("/", "_")
        if "dtype" in config:
            # Keras calls a layer of a Sequential by that as well, of other models not.
            paths = (f"{self._name}/{entry.path}", entry.path, entry.path.rpartition("/")[2])
            config["dtype"] = dtype_policy.of_layer(config["dtype"], *paths)
        if config.get("dtype") is None and arrays is not None:
            # Keras 2.2.4 has no dtype in the config: the weights are of what was set for all
            # layers.
            config["dtype"] = arrays["kernel"].dtype
        if self._custom_objects:
            for name, module in _OBJECTS.items():
                if config.get(name) is not None and _is_custom(config[name], self._custom_objects):
                    config[name] = module.deserialize(config[name], self._custom_objects)
        return config

    def _restore(self, layer: DepthwiseConv, entry: LayerEntry, arrays: Arrays | None) -> None:
        """Builds the layer with its weights, if it has them: of our own files exactly if it was
        built.
        """
        built = entry.item.get("build_config")
        is_native = self._contents.is_native
        names = ["kernel", "bias"][: 1 + layer.use_bias]
        if is_native and built is None:
            names = []
        elif arrays is None and not is_native:
            return  # an architecture alone, or a model that was never built
        prefix = "".join(f"{name}/" for name in entry.names)
        received = sorted(arrays or ())
        if received != sorted(names):
            raise FormatError(
                f"expected the tensors {short([prefix + name for name in names])}; "
                f"received {short([prefix + name for name in received])}"
            )
        found = dict(arrays or {})
        for name, array in found.items():
            if array.dtype == layer.variable_dtype:
                continue
            if is_native or not (dtypes.is_float(array.dtype) and dtypes.is_float(layer.dtype)):
                raise FormatError(
                    f"tensor {short(prefix + name)}: expected dtype {layer.variable_dtype}; "
                    f"received {array.dtype}"
                )
            # As Keras does: a config says what weights become.
            found[name] = casts.cast(array, layer.variable_dtype)
        self._expected += [prefix + name for name in names]
        if names:
            layer._start_with([found[name] for name in names], copy=False)
            layer.build(_build_shape(layer, built, found, is_native))


_CLASSES: dict[str, type[DepthwiseConv]] = {
    kind.CLASS_NAME: kind for kind in (DepthwiseConv2D, DepthwiseConv1D)
}

#: Arguments that a user's object may be, and where the built-in ones are.
_OBJECTS: dict[str, Any] = {
    "activation": activations,
    "depthwise_initializer": initializers,
    "bias_initializer": initializers,
    "depthwise_regularizer": regularizers,
    "bias_regularizer": regularizers,
    "activity_regularizer": regularizers,
    "depthwise_constraint": constraints,
    "bias_constraint": constraints,
}


def _is_custom(value: Any, custom_objects: CustomObjects) -> bool:
    """Whether a config's value names one of the user's objects."""
    names = [value]
    if isinstance(value, Mapping):
        names = [value.get(key) for key in ("registered_name", "class_name", "config")]
    texts = [name for name in names if isinstance(name, str)]
    plain = [text.rpartition(">")[2] for text in texts]
    return any(text in custom_objects for text in (*texts, *plain))


def _within(contents: Contents, entry: LayerEntry) -> Iterator[tuple[str, str]]:
    """What looks like depthwise layers within a layer or model of a user's class, whose config is
    in its code: path and description.
    """
    try:
        found = contents.weights.find_depthwise(entry)
    except FormatError:
        return
    for path, arrays in found.items():
        if isinstance(arrays, FormatError):
            yield f"{entry.path}/{path}", f"{entries.DEPTHWISE}: {arrays}"
            continue
        shapes = " and ".join(str(array.shape) for array in arrays.values())
        whose = short(entry.class_name)[1:-1]
        yield (
            f"{entry.path}/{path}",
            f"{entries.DEPTHWISE}: the file has its weights, {shapes}, but not its config, which "
            f"is in the code of {whose}; `load_weights` takes them",
        )


def _build_shape(layer: DepthwiseConv, built: Any, arrays: Arrays, is_native: bool) -> Any:
    """The whole shape that the layer was built for; what an older Keras does not say is open."""
    if is_native and not isinstance(built, Mapping):
        raise FormatError(f"build_config: expected a dict; received {short(built)}")
    if is_native:
        return built.get("input_shape", ())  # not None: a file has to say
    shape = built.get("input_shape") if isinstance(built, Mapping) else None
    spec = layer._config.spec
    if isinstance(shape, (list, tuple)) and len(shape) == spec.rank + 2:
        return shape
    return spec.from_nhwc(None, None, None, int(arrays["kernel"].shape[-2]))


# ---- models --------------------------------------------------------------------------------------


def _model(item: Document, names: Names, layers: Mapping[Names, DepthwiseConv]) -> Sequential:
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
    for each in entries.children(item) or ():
        here = (*names, entries.name_of(each))
        if entries.children(each) is not None:
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
