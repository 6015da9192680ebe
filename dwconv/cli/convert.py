"""`dwconv convert`: from any file that is read to any format that is written."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from .. import FormatError, load, load_layers
from ..terminal import printable
from . import CommandError, reading


def run(source: Path, target: Path, config: Path | None, layer: str | None) -> int:
    """Writes `target` and says what it holds; 0."""
    with reading(source):
        layers = load_layers(source, config, on_error="skip")
        saveable, what = _chosen(source, layers, config, layer)
    with reading(target):
        saveable.save(target)
    print(printable(f"read     {source}: {layers.kind}"))
    print(printable(f"written  {target}: {what}, {target.stat().st_size:,} bytes"))
    # The pointwise half of what is written is skipped under the same path.
    others = dict.fromkeys([*layers, *layers.skipped]) if layer else layers.skipped
    others = {path: None for path in others if path != layer}
    if others:
        print(printable(f"left out {len(others)}: {', '.join(others)}"))
    return 0


def _chosen(source: Path, layers: Any, config: Path | None, layer: str | None) -> tuple[Any, str]:
    """The layer or model to write, and what to call it."""
    names = ", ".join(layers)
    if layer is not None:
        if layer not in layers and ": " in layers.skipped.get(layer, ""):
            raise CommandError(f"{source}: layer {layer}: {layers.skipped[layer]}")
        if layer not in layers:
            raise CommandError(f"--layer: expected one of {names}; received {layer}", 2)
        return layers[layer], f"layer {layer}"
    if config is None and not layers.skipped:
        with suppress(FormatError):  # a model that is no Sequential
            return load(source), f"all of it, {names}"
    if len(layers) != 1:
        raise CommandError(f"{source}: expected --layer with one of: {names or 'none'}", 2)
    ((path, only),) = layers.items()
    return only, f"layer {path}"
