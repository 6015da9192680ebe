"""A folder: what Keras 3 puts into a `.keras` file, not zipped (`model.save(path, zipped=False)`).
For other folders of models, an error that says what they are and what to do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from . import (
    Contents,
    FormatError,
    UnreadableWeights,
    Weights,
    hdf5,
    keras_json,
    keras_weights,
    plain,
    short,
)
from .budget import Budget
from .keras_zip import CONFIG, MAX_METADATA, METADATA, WEIGHTS
from .untrusted import MAX_JSON, parse_json, parse_object


@contextmanager
def reading(path: Path) -> Iterator[Contents]:
    """What the folder holds, as long as its file of weights is open."""
    if not (path / CONFIG).is_file():
        raise FormatError(_not_ours(path))
    version = None
    if (path / METADATA).is_file():
        text = _read(path / METADATA, MAX_METADATA)
        version = parse_object(text, METADATA, Budget(len(text))).get("keras_version")
        version = version if isinstance(version, str) else None
    text = _read(path / CONFIG, MAX_JSON)
    is_whole = (path / WEIGHTS).is_file()
    budget = Budget(len(text) + ((path / WEIGHTS).stat().st_size if is_whole else 0))
    config = parse_json(text, CONFIG, budget)
    kind = f"folder of Keras {short(version)[1:-1] if version else '?'}, a whole model"
    generation = keras_weights.generation(version)
    if not is_whole:
        others = sorted(each.name for each in path.iterdir())
        reason = f"expected the weights as {WEIGHTS}; received {short(others)}"
        found = keras_json.contents(kind, config, generation, UnreadableWeights(reason))
        yield replace(found, budget=budget)
        return
    with plain.reading(path / WEIGHTS) as file:
        try:
            weights: Weights = keras_weights.of_group(hdf5.File(file, budget).root, budget)
        except FormatError as error:
            weights = UnreadableWeights(f"{WEIGHTS}: {error}")
        yield replace(keras_json.contents(kind, config, generation, weights), budget=budget)


def _read(path: Path, most: int) -> bytes:
    with plain.reading(path) as file:
        return file.read(most + 1)


def _not_ours(path: Path) -> str:
    """What a folder is, and what to do."""
    if any((path / name).exists() for name in ("saved_model.pb", "saved_model.pbtxt")):
        return (
            "expected a file of Keras; received a folder that is a SavedModel of TensorFlow. Load "
            "it where TensorFlow is, with the Keras that wrote it, and save it again: "
            "keras.models.load_model(folder).save('model.keras'), or 'model.h5' before 2.12"
        )
    if (path / "checkpoint").exists() or any(path.glob("*.index")):
        return (
            "expected a file of Keras; received a folder with a checkpoint of TensorFlow. Load it "
            "into its model, with model.load_weights, and save that: model.save('model.keras')"
        )
    return f"expected a file, or a folder that has {CONFIG}, as Keras 3 writes it; received another"
