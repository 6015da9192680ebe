"""The demo: its filters, its files and its picture."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import ROOT, slow

import dwconv
from dwconv.__main__ import main as command_line
from dwconv.cli import CommandError
from dwconv.cli import demo as command

sys.path.insert(0, str(ROOT / "examples" / "demo"))

import filters

for _module in ("matplotlib", "PIL", "scipy", "skimage"):
    pytest.importorskip(_module, reason=f"the demo needs {_module}: pip install '.[demo]'")

import demo  # noqa: E402
import picture  # noqa: E402
import training  # noqa: E402
from PIL import Image  # noqa: E402


@pytest.fixture(autouse=True)
def no_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "_SECONDS", 0.0)


def assert_picture(path: Path, photo_shape: tuple[int, int]) -> None:
    """A PNG of the expected size in which no panel is blank."""
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    pixels = np.asarray(Image.open(path))
    height, width = pixels.shape[:2]
    assert width == picture.WIDTH
    columns = 3
    cell = width // columns
    assert height > 2 * photo_shape[0] / photo_shape[1] * cell * 0.9
    for row in range(2):
        for column in range(columns):
            panel = pixels[
                row * height // 2 : (row + 1) * height // 2, column * cell : (column + 1) * cell, :3
            ]
            middle = panel[panel.shape[0] // 3 : -panel.shape[0] // 3, cell // 4 : -cell // 4]
            assert middle.std() > 5, f"panel {row}, {column} is blank"


@pytest.mark.slow
def test_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "new" / "folder"
    assert demo.main(["--output", str(output)]) == 0
    out = capsys.readouterr().out
    assert "identical to the bit" in out
    assert "FAILED" not in out
    for line in ("photograph", "layer", "error", "latency", "NumPy", "SciPy"):
        assert line in out
    assert_picture(output / "chelsea-filtered.png", (300, 451))
    layer = dwconv.load(output / "filters.safetensors")
    np.testing.assert_array_equal(layer.get_weights()[0], filters.bank(3))


def test_demo_without_its_extra(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "skimage.data", None)
    assert demo.main(["--output", str(tmp_path / "out")]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("dwconv demo: needs more packages (matplotlib, ")
    assert "scikit-image" in err
    assert err.endswith("pip install '.[demo]'\n")
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_train(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The known filters are found, and drawn."""
    assert demo.main(["--train", "--output", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "FAILED" not in out
    for line in ("photograph", "to learn    441 weights", "trained", "loss", "weights     within"):
        assert line in out
    pixels = np.asarray(Image.open(tmp_path / "chelsea-training.png"))[..., :3]
    assert pixels.shape == (900, picture.WIDTH, 3)
    curves, filters_ = pixels[160:760, 150:880], pixels[180:760, 1040:1720]
    assert curves.std() > 5
    assert filters_.std() > 30


def test_training_that_fails_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(training, "MOST_STEPS", 2)
    photo = np.random.default_rng(0).random((20, 20, 3)).astype(np.float32)
    assert training.run("noise", photo, tmp_path / "curve.png") == 1
    assert "FAILED" in capsys.readouterr().out


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "CMYK"])
def test_own_photo(mode: str, tmp_path: Path) -> None:
    """Every kind of image file becomes (H, W, 3) float32 in [0, 1]."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60), np.uint8)
    path = tmp_path / ("mine.tif" if mode == "CMYK" else "mine.png")
    Image.fromarray(pixels).convert(mode).save(path)
    name, photo = demo._own_photo(path)
    assert (name, photo.shape, str(photo.dtype)) == (path.name, (40, 60, 3), "float32")
    if mode != "P":  # whose palette has fewer greys
        wanted = np.repeat(pixels[:, :, np.newaxis] / 255, 3, axis=2)
        np.testing.assert_allclose(photo, wanted, atol=1e-6)
    assert photo.std() > 0.1


def test_own_photo_of_16_bits(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, (40, 60)).astype(np.uint16)
    Image.fromarray(pixels).save(tmp_path / "deep.png")
    photo = demo._own_photo(tmp_path / "deep.png")[1]
    np.testing.assert_allclose(photo[:, :, 1], pixels / 65535, atol=1e-6)


def test_own_photo_is_upright(tmp_path: Path) -> None:
    image = Image.fromarray(np.zeros((40, 60, 3), np.uint8))
    exif = image.getexif()
    exif[0x0112] = 6  # orientation: to be turned by 90 degrees
    image.save(tmp_path / "turned.jpg", exif=exif)
    assert demo._own_photo(tmp_path / "turned.jpg")[1].shape == (60, 40, 3)


def test_own_image(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "mine.png")
    assert demo.main(["--image", str(tmp_path / "mine.png"), "--output", str(tmp_path)]) == 0
    assert_picture(tmp_path / "mine-filtered.png", (40, 60))


def test_image_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "text.png"
    text.write_text("not an image")
    cut = tmp_path / "cut.png"
    Image.fromarray(np.full((90, 90, 3), 7, np.uint8)).save(cut)
    cut.write_bytes(cut.read_bytes()[:-40])
    tiny = tmp_path / "tiny.png"
    Image.fromarray(np.zeros((6, 90, 3), np.uint8)).save(tiny)
    for path, reason in (
        (tmp_path / "none.png", "no such file"),
        (text, "cannot read"),
        (cut, "cannot read"),
        (tiny, "expected at least 7 x 7 and at most 50000000 pixels; received 6 x 90"),
    ):
        assert demo.main(["--image", str(path), "--output", str(tmp_path / "out")]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("dwconv demo: --image: ")
        assert reason in err
        assert str(path) in err
        assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_output_that_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert demo.main(["--output", str(tmp_path / "file")]) == 2
    assert capsys.readouterr().err.startswith("dwconv demo: --output: ")


def test_filters() -> None:
    kernel = filters.bank(2)
    assert kernel.shape == (7, 7, 2, 3)
    assert kernel.dtype == np.float32
    blur, across, down = np.moveaxis(kernel[:, :, 0], -1, 0).astype(np.float64)
    np.testing.assert_allclose(blur.sum(), 1, rtol=1e-6)
    assert (blur > 0).all()
    np.testing.assert_array_equal(across, down.T)
    np.testing.assert_allclose(across.sum(), 0, atol=1e-7)
    # A step of height 1 to the right gives 1, to the left -1, one downwards nothing.
    step = (np.arange(7) > 3).astype(float)
    np.testing.assert_allclose((across * step).sum(), 1, rtol=1e-6)
    np.testing.assert_allclose((across * step[::-1]).sum(), -1, rtol=1e-6)
    np.testing.assert_allclose((across * step[:, np.newaxis]).sum(), 0, atol=1e-7)


@pytest.mark.parametrize("other", [filters.with_numpy, filters.with_scipy])
def test_what_is_compared_computes_the_same(other) -> None:  # type: ignore[no-untyped-def]
    x = np.random.default_rng(0).random((2, 19, 23, 3), np.float32)
    kernel = filters.bank(3)
    expected = dwconv.reference.depthwise_conv2d(x, kernel)
    eps = np.finfo(np.float32).eps
    # One rounding more per tap than with fused multiply-adds.
    bound = (2 * 49 + 2) * eps * dwconv.reference.depthwise_conv2d(x, np.abs(kernel))
    assert (np.abs(other(x, kernel) - expected) <= bound).all()


@pytest.mark.parametrize("size", [(300, 451), *slow((451, 300), (900, 90), (40, 200), (400, 301))])
def test_captions_do_not_overlap(size: tuple[int, int]) -> None:
    """Of landscapes and portraits: no text crosses another one or the edge."""
    photo = np.random.default_rng(0).random((*size, 3), np.float32)
    y = np.random.default_rng(1).random((size[0] - 6, size[1] - 6, 9), np.float32)
    figure, height = picture.compose(photo, y, "A name. DepthwiseConv2D(7) in float32")
    figure.canvas.draw()
    boxes = [(text.get_text(), text.get_window_extent()) for text in figure.texts]
    boxes = [(text, box) for text, box in boxes if text]
    assert len(boxes) == 2 + 6 + 5  # head and caption, titles, notes
    for i, (text, box) in enumerate(boxes):
        assert box.x0 >= 0, text
        assert box.x1 <= picture.WIDTH, text
        assert 0 <= box.y0 <= box.y1 <= height, text
        for other, its in boxes[:i]:
            assert not box.overlaps(its), (text, other, size)


def test_the_bar_of_training_ends_full(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    photo = np.random.default_rng(0).random((40, 40, 3)).astype(np.float32)
    training.learn(training.sharpened(photo), filters.bank(3))
    *_, last, wiped = capsys.readouterr().err.split("\r")
    assert last.endswith("] 100/100")
    assert "." not in last
    assert wiped == "\x1b[K"


def test_the_command_runs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`dwconv demo` hands its arguments on in a clone, and says where the demo is elsewhere."""
    words: list[Any] = []

    class Done:
        returncode = 3

    monkeypatch.setattr(command.subprocess, "run", lambda line, **_: words.extend(line) or Done)
    monkeypatch.setattr(command, "_PROGRAM", ROOT / "examples" / "demo" / "demo.py")
    assert command_line(["demo", "--train", "--output", "x"]) == 3
    assert words[1:] == [str(ROOT / "examples" / "demo" / "demo.py"), "--train", "--output", "x"]
    monkeypatch.setattr(command, "_PROGRAM", tmp_path / "demo.py")
    with pytest.raises(CommandError, match=r"received an installed package.* run: make demo$"):
        command.run([])
