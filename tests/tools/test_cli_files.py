"""The commands about files: inspect and convert."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from support import ROOT
from support.layers import isolate

import dwconv
from dwconv.__main__ import main

DATA = ROOT / "tests" / "data"


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)
    for name in (
        *("tf-2.15-mixed.h5", "keras-2.2.4-mixed-weights.h5", "keras-2.2.4-mixed.json"),
        "keras-3-blocks.keras",
    ):
        (tmp_path / name).write_bytes(gzip.decompress((DATA / f"{name}.gz").read_bytes()))
    (tmp_path / "keras-2.2.4-mixed.json").rename(tmp_path / "architecture.json")
    monkeypatch.chdir(tmp_path)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(arguments)
    return status, *capsys.readouterr()


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("│┃").replace("┃", "│").split("│")]


def test_inspect(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "inspect", "tf-2.15-mixed.h5")
    lines = out.splitlines()
    assert (status, err) == (0, "")
    assert lines[0] == "file     tf-2.15-mixed.h5, 35,424 bytes"
    assert lines[1] == "kind     HDF5 of Keras 2.15.0, a whole model"
    rows = [cells(line) for line in lines if line.startswith("│")]
    plain = ["(1, 1)", "valid", "(1, 1)"]  # strides, padding, dilation
    assert rows == [
        ["frozen", "(2, 2, 2, 1)", *plain, "relu", "yes", "float32", "no", "10"],
        ["inner/deep", "(1, 2, 2, 1)", *plain, "linear", "yes", "float32", "yes", "6"],
        [
            "inner/separable (depthwise half of SeparableConv2D)",
            *("(1, 1, 2, 1)", *plain, "linear", "no", "float32", "yes", "2"),
        ],
        ["last", "(2, 2, 2, 2)", *plain, "linear", "no", "float32", "yes", "16"],
    ]
    assert "not read inner/separable, SeparableConv2D: its pointwise half" in lines
    start = "skipped  5: conv (Conv2D), norm (BatchNormalization), relu (ReLU)"
    assert any(line.startswith(start) for line in lines)
    assert max(map(len, lines[-2:])) <= 100


def test_inspect_with_folding(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "inspect", "--fold", "keras-3-blocks.keras")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert "folded   into v3: v3_norm, v3_last" in lines
    assert "unfolded shared: 'shared' is called 2 times" in lines
    skipped = _skipped(out)
    assert skipped
    assert "v3_norm" not in skipped
    status, out, _ = run(capsys, "inspect", "keras-3-blocks.keras")
    assert "folded" not in out
    assert "v3_norm (BatchNormalization)" in _skipped(out)


def _skipped(out: str) -> str:
    """The list of skipped layers, its wrapped lines joined."""
    return " ".join(out[out.index("\nskipped  ") :].split())


def test_inspect_weights_alone(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "inspect", "keras-2.2.4-mixed-weights.h5")
    assert status == 0
    assert "config   none: --config" in out
    assert [cells(line)[:3] for line in out.splitlines() if line.startswith("│")] == [
        ["frozen", "(2, 2, 2, 1)", "yes"],
        ["inner/deep", "(1, 2, 2, 1)", "yes"],
        ["last", "(2, 2, 2, 2)", "no"],
    ]
    status, out, _ = run(
        capsys, "inspect", "keras-2.2.4-mixed-weights.h5", "--config", "architecture.json"
    )
    assert status == 0
    assert "skipped  5" in out
    status, out, _ = run(capsys, "inspect", "architecture.json")
    assert status == 0
    assert "(2, 2, ?, 2)" in out


def test_convert_writes_all_layers(capsys: pytest.CaptureFixture[str]) -> None:
    status, text, _ = run(capsys, "convert", "tf-2.15-mixed.h5", "*.npz")
    assert status == 0
    layers = dwconv.load_layers("tf-2.15-mixed.h5")
    assert len(layers) >= 3
    for path, layer in layers.items():
        name = f"{path.replace('/', '.')}.npz"
        assert f"written  {name}: layer {path}" in text
        loaded = dwconv.load(name)
        assert loaded.same_config(layer)
        for old, new in zip(layer.get_weights(), loaded.get_weights(), strict=True):
            assert old.tobytes() == new.tobytes()


def test_convert(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(
        capsys, "convert", "tf-2.15-mixed.h5", "deep.safetensors", "--layer", "inner/deep"
    )
    assert (status, err) == (0, "")
    assert "written  deep.safetensors: layer inner/deep" in out
    assert "left out 8: frozen, inner/separable, last, conv" in out
    for source, target in (
        ("deep.safetensors", "deep.npz"),
        ("deep.npz", "deep.keras"),
        ("deep.keras", "again.safetensors"),
    ):
        assert run(capsys, "convert", source, target)[0] == 0
    whole = dwconv.load_layers("tf-2.15-mixed.h5")["inner/deep"]
    again = dwconv.load("again.safetensors")
    assert again.same_config(whole)
    assert [w.tobytes() for w in again.weights] == [w.tobytes() for w in whole.weights]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["inspect", "none.h5"], 2, "No such file or directory: none.h5"),
        (["inspect", "."], 1, "expected a file, or a folder that has config.json"),
        (["inspect", "broken.keras"], 1, "broken.keras: truncated"),
        (["convert", "tf-2.15-mixed.h5", "x.npz"], 2, "--layer with one of: frozen, inner/deep"),
        (["convert", "tf-2.15-mixed.h5", "x.npz", "--layer", "conv"], 2, "expected one of frozen"),
        (["convert", "tf-2.15-mixed.h5", "x.h5", "--layer", "last"], 2, "expected a name that"),
        (["convert", "keras-2.2.4-mixed-weights.h5", "x.npz"], 1, "expected the architecture"),
        (["convert", "input.json", "x.npz"], 1, "input.json: expected depthwise layers; it has"),
        (["convert", "input.json", "x.npz", "--layer", "x"], 1, "expected depthwise layers; it"),
        (["convert", "input.json", "*.npz"], 1, "expected depthwise layers; it has none"),
        (["convert", "stride.json", "x.npz"], 1, "stride.json: layer d: DepthwiseConv2D: "),
        (["convert", "stride.json", "x.npz", "--layer", "x"], 1, "layer d: DepthwiseConv2D: "),
        (["convert", "stride.json", "*.npz"], 1, "strides"),
    ],
)
def test_what_is_wrong_is_one_line(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: list[str],
    status: int,
    message: str,
) -> None:
    (tmp_path / "broken.keras").write_bytes(b"PK\3\4")
    (tmp_path / "input.json").write_text('{"class_name": "InputLayer", "config": {"name": "x"}}')
    config = {"name": "d", "kernel_size": [3, 3], "strides": [0, 1]}
    layer = {"class_name": "DepthwiseConv2D", "config": config}
    (tmp_path / "stride.json").write_text(json.dumps(layer))
    found, out, err = run(capsys, *arguments)
    assert (found, out) == (status, "")
    assert err.startswith(f"dwconv {arguments[0]}: ")
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "x.npz").exists()
