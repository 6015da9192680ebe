"""`dwconv convert`: from any file that is read to any format that is written."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from .. import FormatError, load, load_layers
from ..terminal import printable
from . import CommandError, not_read, reading

_SHOWN = 100  # names in a message


def run(source: Path, target: Path, config: Path | None, layer: str | None) -> int:
    """Writes `target`, or a file for each layer, and says what it holds; 0."""
    with reading(source):
        layers = load_layers(source, config, on_error="skip")
        if "*" in target.name and layer is None:
            files = list(_each(source, target, layers))
        else:
            files = [(target, *_chosen(source, layers, config, layer))]
    for i, (path, saveable, what) in enumerate(files):
        with reading(path):
            saveable.save(path)
        if i == 0:
            print(printable(f"read     {source}: {layers.kind}"))
        print(printable(f"written  {path}: {what}, {path.stat().st_size:,} bytes"))
    # The pointwise half of what is written is skipped under the same path.
    others = dict.fromkeys([*layers, *layers.skipped]) if layer else layers.skipped
    others = {path: None for path in others if path != layer}
    if others:
        print(printable(f"left out {len(others)}: {', '.join(others)}"))
    return 0


def _each(source: Path, target: Path, layers: Any) -> Iterator[tuple[Path, Any, str]]:
    """A file for each layer: `*` in its name is the layer's path, with '.' for '/'."""
    if not layers:
        raise _none(source, layers)
    taken: dict[str, str] = {}
    for path, layer in layers.items():
        name = target.name.replace("*", path.replace("/", "."))
        if name in taken:
            raise CommandError(f"{target}: {taken[name]} and {path} would both be {name}")
        taken[name] = path
        yield target.with_name(name), layer, f"layer {path}"


def _none(source: Path, layers: Any) -> CommandError:
    """That the file has no depthwise layer, or why its first one cannot be read."""
    for path, why in not_read(layers.skipped).items():
        return CommandError(f"{source}: layer {path}: {why}")
    return CommandError(f"{source}: expected depthwise layers; it has none")


def _some(layers: Any) -> str:
    """Names for a message: a file may have a thousand."""
    first = list(itertools.islice(layers, _SHOWN))
    rest = len(layers) - len(first)
    return ", ".join(first) + (f" and {rest} others" if rest else "")


def _chosen(source: Path, layers: Any, config: Path | None, layer: str | None) -> tuple[Any, str]:
    """The layer or model to write, and what to call it."""
    names = _some(layers)
    if layer is not None:
        reasons = not_read(layers.skipped)
        if layer not in layers and layer in reasons:
            raise CommandError(f"{source}: layer {layer}: {reasons[layer]}")
        if not layers:
            raise _none(source, layers)
        if layer not in layers:
            raise CommandError(f"--layer: expected one of {names}; received {layer}", 2)
        return layers[layer], f"layer {layer}"
    if config is None and not layers.skipped:
        with suppress(FormatError):  # a model that is no Sequential
            return load(source), f"all of it, {names}"
    if not layers:
        raise _none(source, layers)
    if len(layers) != 1:
        raise CommandError(
            f"{source}: expected --layer with one of: {names}; or '*' in OUT, which "
            "stands for the name of each layer",
            2,
        )
    ((path, only),) = layers.items()
    return only, f"layer {path}"
