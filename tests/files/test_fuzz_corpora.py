"""What the fuzzer has found to be different, as files: read or refused, nothing else."""

from __future__ import annotations

import json
import re
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
from support import ROOT
from support.layers import isolate

import dwconv
from dwconv import DepthwiseConv2D, FormatError

CORPUS = ROOT / "tests" / "fuzz" / "corpus"

SUFFIXES = {
    "safetensors": ".safetensors",
    "npz": ".npz",
    "keras": ".keras",
    "hdf5": ".h5",
    "weights": ".weights.h5",
    "json": ".json",
    "onnx": ".onnx",
    "tflite": ".tflite",
}


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)


def test_wisdom(tmp_path: Path) -> None:
    path = tmp_path / "wisdom.json"
    read = 0
    with zipfile.ZipFile(CORPUS / "wisdom.zip") as corpus:
        for name in corpus.namelist():
            path.write_bytes(corpus.read(name))
            with suppress(FormatError):
                dwconv.wisdom.load(path)
                read += 1
    dwconv.wisdom.forget()
    assert 0 < read < len(corpus.namelist())


def test_config() -> None:
    made = 0
    with zipfile.ZipFile(CORPUS / "config.zip") as corpus:
        for name in corpus.namelist():
            text = corpus.read(name)
            if re.search(rb"[0-9]{3}", text):  # a model that is built takes the memory it asks for
                continue
            with suppress(ValueError, TypeError):  # of json, too
                value = json.loads(text)
                with suppress(ValueError, TypeError):
                    DepthwiseConv2D.from_config(value)
                    made += 1
                dwconv.Sequential.from_config(value)
                made += 1
    assert made > 0


@pytest.mark.parametrize("target", SUFFIXES)
def test_corpora(target: str, tmp_path: Path) -> None:
    if target in ("onnx", "tflite"):
        pytest.importorskip(target)
    path = tmp_path / f"input{SUFFIXES[target]}"
    layer = DepthwiseConv2D((1, 2), name="dw")
    layer.build((None, 4, 4, 2))
    count = loaded = 0
    with zipfile.ZipFile(CORPUS / f"{target}.zip") as corpus:
        for name in corpus.namelist():
            path.write_bytes(corpus.read(name))
            count += 1
            for read in (dwconv.load_layers, dwconv.load, layer.load_weights):
                try:
                    with suppress(FormatError):
                        read(path)
                        loaded += 1
                except BaseException as error:
                    raise AssertionError(f"{target}.zip, {name}: {error!r}") from error
    assert count >= 40
    assert loaded > 0
