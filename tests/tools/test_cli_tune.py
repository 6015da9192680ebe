"""`dwconv tune`: what is measured, what is written, what is wrong usage."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import ROOT

import dwconv
from dwconv import planning, wisdom
from dwconv.__main__ import main
from dwconv.saving import image_sizes

DATA = ROOT / "tests" / "data"


@pytest.fixture(autouse=True)
def nothing_known() -> Iterator[None]:
    wisdom.forget()
    yield
    wisdom.forget()
    dwconv.config.set_num_threads(1)


@pytest.fixture
def blocks(tmp_path: Path) -> Path:
    name = "keras-3-blocks.keras"
    path = tmp_path / name
    path.write_bytes(gzip.decompress((DATA / f"{name}.gz").read_bytes()))
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(["tune", *arguments])
    return status, *capsys.readouterr()


def test_shapes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    target = tmp_path / "wisdom.json"
    shapes = ("14x14x40", "9x12x24,k5x3,s2", "8x8x3,m4", "14x14x40,k3,d1")  # the last: the first
    status, out, _ = run(capsys, *shapes, "--ms", "300", "--json", "-o", str(target))
    assert status == 0
    document = json.loads(out)
    assert [row["problem"] for row in document["layers"]] == [
        *("14x14x40 k3x3", "9x12x24 k5x3 s2", "8x8x3 k3x3 m4", "14x14x40 k3x3"),
    ]
    assert document["layers"][0] == document["layers"][3]
    for row in document["layers"]:
        assert row["gain"] >= 1
        assert row["best_seconds"] > 0
        assert (row["gain"] == 1) == (row["best"] == row["estimated"])
    assert len(planning.all_known()) == 3
    wisdom.forget()
    assert wisdom.load(target) == (3, 0)
    layer = dwconv.DepthwiseConv2D(3, padding="same")
    found = layer.plan((5, 14, 14, 40)).describe()
    assert (found.planned_by, found.strategy) == ("wisdom", document["layers"][0]["best"])


def test_a_model(blocks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All of its depthwise layers, with the sizes for which Keras built them."""
    layers = dwconv.load_layers(blocks)
    status, out, err = run(capsys, str(blocks), "--ms", "100", "--threads", "2")
    assert (status, err) == (0, "")
    for path, layer in layers.items():
        height, width = layer.input_shape[1:3]
        assert any(path in line and f" {height}x{width}x" in line for line in out.splitlines())
    assert f"{len(layers)} layers" in out
    assert "2 threads" in out


def test_a_layer_of_one_dimension(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """It is measured for the length that it was built for; --input, of images, says nothing."""
    path = tmp_path / "layer.safetensors"
    layer = dwconv.DepthwiseConv1D(3, depth_multiplier=2, padding="same", input_shape=(40, 24))
    layer.build()
    layer.save(path)
    for arguments in ([], ["--input", "5,6"]):
        status, out, _ = run(capsys, str(path), "--ms", "100", "--json", *arguments)
        assert status == 0
        document = json.loads(out)
        assert [row["problem"] for row in document["layers"]] == ["1x40x24 k1x3 m2"]
        assert document["unknown_sizes"] == []
    wisdom.forget()
    open_ended = dwconv.DepthwiseConv1D(3, input_shape=(None, 24))
    open_ended.build()
    open_ended.save(path)
    status, _, err = run(capsys, str(path))
    assert status == 1
    assert "received 1 without" in err


def test_sizes_through_the_graph_are_those_that_keras_built_for(blocks: Path) -> None:
    layers = dwconv.load_layers(blocks)
    found = image_sizes(blocks)
    assert len(layers) >= 3
    assert {path: found[path] for path in layers} == {
        path: layer.input_shape[1:3] for path, layer in layers.items()
    }


CHAIN = {
    "class_name": "Sequential",
    "config": {
        "name": "model",
        "layers": [
            {"class_name": name, "config": {"name": name.lower(), **config}}
            for name, config in (
                ("InputLayer", {"batch_shape": [None, None, None, 3]}),
                ("ZeroPadding2D", {"padding": [[0, 1], [2, 3]]}),  # + 1, + 5
                ("Conv2D", {"kernel_size": 3, "strides": 2, "padding": "valid", "filters": 4}),
                ("ReLU", {}),
                ("MaxPooling2D", {"pool_size": [2, 3], "padding": "same"}),  # strides: the size
                ("UpSampling2D", {"size": 4}),
                ("Cropping2D", {"cropping": [1, 2]}),
                ("DepthwiseConv2D", {"kernel_size": 3, "strides": 1, "padding": "valid"}),
                ("Lambda", {}),
                ("AveragePooling2D", {"pool_size": 2}),
            )
        ],
    },
}


def test_sizes_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    path.write_text(json.dumps(CHAIN), encoding="utf-8")
    assert image_sizes(path) == {}  # it takes any size
    assert image_sizes(path, image=(32, 20)) == {
        "zeropadding2d": (32, 20),
        "conv2d": (33, 25),
        "relu": (16, 12),
        "maxpooling2d": (16, 12),
        "upsampling2d": (8, 4),
        "cropping2d": (32, 16),
        "depthwiseconv2d": (30, 12),
        "lambda": (28, 10),  # and nobody knows what comes after it
    }
    assert "conv2d" in image_sizes(path, image=(1, 1))
    assert "relu" not in image_sizes(path, image=(1, 1))  # smaller than the kernel


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["14x14x8", "--threads", "0"], "--threads: num_threads: expected"),
        (["14x14x8", "--ms", "0"], "--ms: expected"),
        (["14x14x8", "--input", "4"], "--input: expected H,W"),
        (["0x14x8"], "0x14x8: expected positive sizes"),
        (["14x14x8,k0"], "kernel_size: expected"),
        (["14x14x9999999999,k9"], "at most 2\\*\\*28 weights"),
        (["no-such-file.keras"], "No such file"),
    ],
)
def test_wrong_usage(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (2, "")
    assert message.replace("\\", "") in err


def test_nothing_is_written_where_it_cannot_be(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    target = tmp_path / "no folder" / "wisdom.json"
    status, _, err = run(capsys, "8x8x8", "--ms", "5", "-o", str(target))
    assert status == 2
    assert "No such file or directory" in err
