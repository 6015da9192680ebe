"""How large the images are that reach each layer of a model: height and width, from those of its
input through the graph in its config.

Only what keeps, shrinks or grows images in a way that its config says is followed; what comes after
anything else is not known. Numbers of channels and layouts do not matter here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from ..arguments import as_integer, items_of
from ..shapes import explicit_padding, output_size
from . import Document, entries
from .budget import Budget
from .graph import Call, Graph, Names, Value

Image: TypeAlias = tuple[int, int]

#: Layers whose output is as large as the largest of their inputs. (A gate of one pixel is
#: multiplied with all of an image.)
_SAME = frozenset(
    {
        *("Activation", "ActivityRegularization", "Add", "AlphaDropout", "Average"),
        *(
            "BatchNormalization",
            "Concatenate",
            "Dropout",
            "ELU",
            "GaussianDropout",
            "GaussianNoise",
        ),
        *(
            "GroupNormalization",
            "Identity",
            "LayerNormalization",
            "LeakyReLU",
            "Maximum",
            "Minimum",
        ),
        *("Multiply", "Normalization", "PReLU", "ReLU", "Rescaling", "Softmax", "SpatialDropout2D"),
        *("Subtract", "SyncBatchNormalization", "ThresholdedReLU", "UnitNormalization"),
    }
)
_CONVOLUTIONS = frozenset(
    ["Conv2D", "Convolution2D", "DepthwiseConv2D", "SeparableConv2D", "SeparableConvolution2D"]
)
_POOLINGS = frozenset(["AveragePooling2D", "AvgPool2D", "MaxPool2D", "MaxPooling2D"])


def of_inputs(
    document: Document, image: Image | None, budget: Budget | None = None
) -> dict[Names, Image]:
    """(height, width) of what each layer is called with, for images of that size; None: of the size
    that the model's input layer says. Layers of which it is not known are left out.
    """
    image = image or _declared(document)
    if image is None:
        return {}
    graph = Graph(document, budget)
    sizes: dict[Value, Image | None] = {}
    found: dict[Names, Image] = {}
    for call in graph.all_calls():
        given = [sizes.setdefault(value, image) for value in call.tensors]
        known = [size for size in given if size is not None]
        largest = (max(h for h, _ in known), max(w for _, w in known)) if known else None
        if largest is not None:
            found[call.names] = max(found.get(call.names, (0, 0)), largest)
        made = _output(call, largest)
        for value in call.outputs():
            sizes[value] = made
    return found


def _output(call: Call, image: Image | None) -> Image | None:
    kind, config = call.item.get("class_name"), call.item.get("config")
    if image is None or not entries.is_keras(call.item) or not isinstance(config, Mapping):
        return None
    try:
        if kind in _SAME:
            return image
        if kind in _CONVOLUTIONS:
            kernel = config.get("kernel_size", (config.get("nb_row"), config.get("nb_col")))
            dilation = config.get("dilation_rate", 1)
            return _slid(image, config, kernel, config.get("strides", 1), dilation)
        if kind in _POOLINGS:
            size = config.get("pool_size", 2)
            return _slid(image, config, size, config.get("strides") or size, 1)
        if kind in ("ZeroPadding2D", "Cropping2D"):
            name, sign = ("padding", 1) if kind == "ZeroPadding2D" else ("cropping", -1)
            (top, bottom), (left, right) = map(_pair, _pairs(config[name]))
            return _positive(image[0] + sign * (top + bottom), image[1] + sign * (left + right))
        if kind == "UpSampling2D":
            rows, cols = _pair(config["size"])
            return _positive(image[0] * rows, image[1] * cols)
    except (LookupError, TypeError, ValueError, ArithmeticError):  # it says nothing of use
        pass
    return None


def _slid(
    image: Image, config: Mapping[str, Any], kernel: Any, strides: Any, dilation: Any
) -> Image | None:
    """What a window that slides over an image leaves of it."""
    padding = str(config.get("padding", config.get("border_mode", "valid"))).lower()
    sizes, steps, rates = _pair(kernel), _pair(strides), _pair(dilation)
    if padding not in ("same", "valid") or min(*sizes, *steps, *rates) < 1:
        return None
    pads = explicit_padding(image, sizes, steps, padding, rates)  # type: ignore[arg-type]
    height, width = (
        output_size(image[i], sizes[i], steps[i], pads[i], rates[i], "height") for i in (0, 1)
    )
    return None if height is None or width is None else _positive(height, width)


def _pairs(value: Any) -> tuple[Any, Any]:
    items = items_of(value)
    return (value, value) if items is None else (items[0], items[1])


def _pair(value: Any) -> Image:
    first, second = (as_integer(item, 0) for item in _pairs(value))
    if first is None or second is None:
        raise ValueError(value)
    return first, second


def _positive(height: int, width: int) -> Image | None:
    return (height, width) if min(height, width) > 0 and max(height, width) < 2**31 else None


def _declared(document: Document) -> Image | None:
    """Of the first input layer that says it, or of the first layer of a chain."""
    for child in entries.children(document) or ():
        config = child.get("config")
        if not isinstance(config, Mapping):
            continue
        if entries.children(child) is not None:
            return _declared(child)
        shape = items_of(config.get("batch_shape", config.get("batch_input_shape")))
        if shape is None or len(shape) != 4:
            continue
        first = config.get("data_format") == "channels_first" or _is_planar(document)
        sizes = [as_integer(size, 1) for size in (shape[2:] if first else shape[1:3])]
        if sizes[0] is not None and sizes[1] is not None:
            return sizes[0], sizes[1]
        return None
    return None


def _is_planar(document: Document) -> bool:
    """Whether the first layer that has a layout is channels_first."""
    for child in entries.children(document) or ():
        config = child.get("config")
        if isinstance(config, Mapping) and isinstance(config.get("data_format"), str):
            return bool(config["data_format"] == "channels_first")
    return False
