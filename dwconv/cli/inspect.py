"""`dwconv inspect`: what a model file holds, and what of it cannot be read, and why."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

from .. import DepthwiseConv2D, FormatError, load_layers
from ..formats import store
from ..layers import summary
from ..layers.quantized_depthwise_conv2d import QuantizedDepthwiseConv2D
from ..saving import AnyLayer, Layers
from ..terminal import printable
from . import not_read, reading


def run(path: Path, config: Path | None, fold: bool = False, as_json: bool = False) -> int:
    """Prints it, as a table or as JSON; 0. With `fold`, as `load_layers(fold=True)` reads it."""
    with reading(path):
        layers = None
        if config is not None or not _is_weights_alone(path):
            layers = load_layers(path, config, on_error="skip", fold=fold)
        if layers is None:
            kind, rows, notes = _without_document(path)
        else:
            kind, rows = layers.kind, _rows(layers)
            notes = [*_folded(layers), *_skipped(layers)]
        files = [*path.iterdir()] if path.is_dir() else [path]
        size = sum(each.stat().st_size for each in files)
    if as_json:
        headers = _HEADERS if layers is not None else _FEWER
        document = {
            "file": str(path),
            "bytes": size,
            "kind": kind,
            "layers": [dict(zip(headers, row, strict=True)) for row in rows],
            "notes": notes,
        }
        print(json.dumps(document, indent=2))
        return 0
    print(f"file     {printable(path)}, {size:,} bytes")
    print(f"kind     {printable(kind)}")
    if layers is None:
        print("config   none: --config, or a .json file beside it, says what the layers are")
    print("\n".join(summary.render(_HEADERS if layers is not None else _FEWER, rows)))
    for line in notes:
        print(_WRAPPER.fill(printable(line)))
    return 0


# Names stay whole, so that they can be searched for and copied.
_WRAPPER = textwrap.TextWrapper(
    width=100, subsequent_indent=" " * 9, break_long_words=False, break_on_hyphens=False
)

_HEADERS = (
    *("Depthwise layer", "Kernel (kh, kw, C, M)", "Strides", "Padding", "Dilation", "Activation"),
    *("Bias", "Dtype", "Trainable", "Param #"),
)
_FEWER = ("Depthwise layer", "Kernel (kh, kw, C, M)", "Bias", "Dtype", "Param #")


def _rows(layers: Layers) -> list[tuple[str, ...]]:
    return [(_named(layers, path), *_row(layer)) for path, layer in layers.items()]


def _named(layers: Layers, path: str) -> str:
    """The path, and what the layer is in the file if it is no plain DepthwiseConv2D."""
    kind = layers.kinds[path]
    return path if kind == DepthwiseConv2D.__name__ else f"{path} ({kind})"


def _row(layer: AnyLayer) -> tuple[str, ...]:
    if isinstance(layer, QuantizedDepthwiseConv2D):
        return _quantized_row(layer)
    facts = (
        *(str(layer.strides), str(layer.padding), str(layer.dilation_rate)),
        str(getattr(layer.activation, "name", None) or type(layer.activation).__name__),
        *(_yes(layer.use_bias), layer.dtype_policy.name, _yes(layer.trainable)),
    )
    if layer.kernel is None:
        sizes = (*layer.kernel_size, "?", layer.depth_multiplier)
        return f"({', '.join(map(str, sizes))})", *facts, "0 (unbuilt)"
    return str(layer.kernel.shape), *facts, f"{layer.count_params():,}"


def _quantized_row(layer: QuantizedDepthwiseConv2D) -> tuple[str, ...]:
    config = layer.get_config()
    pairs = (tuple(config[name]) for name in ("strides", "dilation_rate"))
    strides, dilation = map(str, pairs)
    padding = config["padding"]
    sides = padding if isinstance(padding, str) else str(tuple(map(tuple, padding)))
    size = layer.kernel.size + (0 if layer.bias is None else layer.bias.size)
    return (
        *(str(layer.kernel.shape), strides, sides, dilation, layer.activation),
        *(_yes(layer.bias is not None), f"{config['x_dtype']} to {config['y_dtype']}"),
        *(_yes(False), f"{size:,}"),
    )


def _folded(layers: Layers) -> list[str]:
    """A line for each layer that has others in it, then one for each reason why not more."""
    lines = [f"folded   into {path}: {', '.join(paths)}" for path, paths in layers.folded.items()]
    return [*lines, *(f"unfolded {path}: {why}" for path, why in layers.unfolded.items())]


def _skipped(layers: Layers) -> list[str]:
    """A line for each layer that has a reason, then one for all others."""
    reasons = not_read(layers.skipped)
    lines = [f"not read {path}, {why}" for path, why in reasons.items()]
    others = [f"{path} ({why})" for path, why in layers.skipped.items() if path not in reasons]
    return [*lines, f"skipped  {len(others)}: {', '.join(others)}"] if others else lines


def _yes(flag: bool) -> str:
    return "yes" if flag else "no"


def _is_weights_alone(path: Path) -> bool:
    """Whether nobody says what the layers are."""
    with store.reading(path) as contents:
        return contents.document is None and not store.architecture_beside(path)


def _without_document(path: Path) -> tuple[str, list[tuple[str, ...]], list[str]]:
    rows: list[tuple[str, ...]] = []
    notes: list[str] = []
    with store.reading(path) as contents:
        for name, arrays in contents.weights.find_depthwise().items():
            if isinstance(arrays, FormatError):
                notes.append(f"not read {name}: {arrays}")
                continue
            kernel: Any = arrays["kernel"]
            total = sum(array.size for array in arrays.values())
            bias = _yes("bias" in arrays)
            rows.append((name, str(kernel.shape), bias, str(kernel.dtype), f"{total:,}"))
        return contents.kind, rows, notes
