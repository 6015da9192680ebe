"""Writes first inputs of the fuzzer: `python tests/fuzz/seeds.py build/fuzz-files`, a folder per
target, from which `make fuzz-files ARGS=--merge` takes what the corpora do not have.

They are small files of each format, by dwconv and, from tests/data, by real Kerases.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

import dwconv

DATA = Path(__file__).parents[1] / "data"

#: Bytes of the largest seed: a fuzzer gets nowhere with large ones.
LARGEST = 100_000


def things() -> dict[str, Any]:
    """Layers and models to save."""
    layer = dwconv.DepthwiseConv2D((1, 2), name="dw", activation="relu", bias_regularizer="l2")
    layer.build((None, 4, 4, 2))
    inner = dwconv.DepthwiseConv2D((1, 2), name="deep", dtype="float16", use_bias=False)
    inner.build((None, 4, 3, 2))
    constant = dwconv.initializers.Constant(np.arange(4.0).reshape(1, 2, 2, 1))
    other = dwconv.DepthwiseConv2D((1, 2), name="dw", depthwise_initializer=constant)
    model = dwconv.Sequential(
        [dwconv.Input((4, 4, 2)), layer, dwconv.Sequential([inner], name="inner")], name="model"
    )
    return {"layer": layer, "model": model, "unbuilt": other}


def write(folder: Path) -> None:
    """The seeds of every target."""
    suffixes = {
        "safetensors": ".safetensors",
        "npz": ".npz",
        "keras": ".keras",
        "weights": ".weights.h5",
        "json": ".json",
    }
    for target in (*suffixes, "hdf5", "config", "wisdom"):
        (folder / target).mkdir(parents=True, exist_ok=True)
    problem = "9x9x8 k3x3 s1x1 d1x1 p1.1.1.1 m1 float32 channels_last t1"
    for isa in dwconv.isa.available():
        dwconv.planning.remember(isa, problem, f"general_{isa}")
    dwconv.wisdom.save(folder / "wisdom" / "some.json")
    dwconv.wisdom.forget()
    dwconv.wisdom.save(folder / "wisdom" / "none.json")
    for name, thing in things().items():
        for target, suffix in suffixes.items():
            thing.save(folder / target / f"{name}{suffix}")
        text = json.dumps(thing.get_config())
        (folder / "config" / f"{name}.json").write_text(text, encoding="utf-8")
    for path in sorted(DATA.glob("*.gz")):
        name = path.name.removesuffix(".gz")
        content = gzip.decompress(path.read_bytes())
        if len(content) > LARGEST or name.endswith("-output.json"):
            continue
        target = {".keras": "keras", ".json": "json"}.get(Path(name).suffix, "hdf5")
        target = "weights" if name.endswith(("-weights.h5", ".weights.h5")) else target
        (folder / target / name).write_bytes(content)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
