"""`.keras`: a zip archive of config.json, metadata.json and model.weights.h5, as Keras 3 and
TensorFlow's Keras from 2.12 on write it; and what else has that name, which TensorFlow 2.12 gives
to HDF5.
"""

from __future__ import annotations

import io
import json
import tempfile
import time
from pathlib import Path
from typing import BinaryIO

from . import (
    Arrays,
    Contents,
    Document,
    FormatError,
    UnreadableWeights,
    Weights,
    entries,
    hdf5,
    keras_json,
    keras_weights,
    short,
    zip_writer,
)
from .budget import Budget
from .untrusted import Archive, parse_json, parse_object
from .weights_by_place import place

#: The layout that is written; Keras 3.0 began it and every one since reads it.
KERAS_VERSION = "3.0.0"

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
MAX_METADATA = 1 << 16


def dump(document: Document, arrays: Arrays, file: BinaryIO) -> None:
    """Writes a file. ValueError for a document that JSON cannot hold; ImportError without h5py."""
    metadata = {"keras_version": KERAS_VERSION, "date_saved": time.strftime("%Y-%m-%d@%H:%M:%S")}
    config = keras_json.text(document)
    # HDF5 seeks, which a member of an archive cannot. The file has no name, or loses it at once.
    with tempfile.TemporaryFile(dir=Path(file.name).parent) as weights:
        dump_weights(document, arrays, weights)
        with zip_writer.archive(file) as archive:
            zip_writer.add(archive, METADATA, json.dumps(metadata).encode("ascii"))
            zip_writer.add(archive, CONFIG, config)
            zip_writer.add_file(archive, WEIGHTS, weights)


def dump_weights(document: Document, arrays: Arrays, file: BinaryIO) -> None:
    """`.weights.h5` of the same model: the weights alone. ImportError without h5py."""
    alone = entries.children(document) is None
    found = {}
    for entry in entries.walk(keras_json.to_keras(document)):
        if not entry.is_depthwise:  # the input that a model around a layer has
            continue
        owner = "" if alone else "".join(f"{name}/" for name in entry.names)
        own = {name: arrays[owner + name] for name in ("kernel", "bias") if owner + name in arrays}
        if own:
            found[place(entry)] = own
    keras_weights.dump(found, file)


def load(file: BinaryIO, budget: Budget) -> Contents:
    """What an archive holds."""
    archive = Archive(file, budget)
    metadata = parse_object(archive.read(METADATA, MAX_METADATA), METADATA, budget)
    version = metadata.get("keras_version")
    version = version if isinstance(version, str) else None
    generation = keras_weights.generation(version)
    config = parse_json(archive.read(CONFIG), CONFIG, budget)
    by = short(version)[1:-1] if version else "?"
    kind = f"zip of Keras {by}, a whole model"
    return keras_json.contents(kind, config, generation, _weights(archive, budget))


def _weights(archive: Archive, budget: Budget) -> Weights:
    """The weights in an archive; if they cannot be read, the architecture can."""
    if WEIGHTS not in archive.names():
        others = [name for name in archive.names() if name not in (CONFIG, METADATA)]
        return UnreadableWeights(
            f"expected the weights as {WEIGHTS}, not in shards; received {short(others)}"
        )
    try:
        root = hdf5.File(io.BytesIO(archive.read(WEIGHTS)), budget).root
        return keras_weights.of_group(root, budget)
    except FormatError as error:
        return UnreadableWeights(f"{WEIGHTS}: {error}")
