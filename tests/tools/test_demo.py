"""The demo: its filters, its files and its picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import dwconv
from dwconv.__main__ import main
from dwconv.cli import filters

for _module in ("matplotlib", "PIL", "scipy", "skimage"):
    pytest.importorskip(_module, reason=f"the demo needs {_module}: pip install 'dwconv[demo]'")

from PIL import Image  # noqa: E402

from dwconv.cli import demo, picture, training  # noqa: E402


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


def test_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "new" / "folder"
    assert main(["demo", "--output", str(output)]) == 0
    out = capsys.readouterr().out
    assert "identical to the bit" in out
    assert "FAILED" not in out
    for line in ("photograph", "layer", "error", "latency", "NumPy", "SciPy"):
        assert line in out
    assert_picture(output / "chelsea-filtered.png", (300, 451))
    layer = dwconv.load(output / "filters.safetensors")
    np.testing.assert_array_equal(layer.get_weights()[0], filters.bank(3))


def test_train(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The known filters are found, and drawn."""
    assert main(["demo", "--train", "--output", str(tmp_path)]) == 0
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
    assert main(["demo", "--image", str(tmp_path / "mine.png"), "--output", str(tmp_path)]) == 0
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
        assert main(["demo", "--image", str(path), "--output", str(tmp_path / "out")]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("dwconv demo: --image: ")
        assert reason in err
        assert str(path) in err
        assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_output_that_is_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["demo", "--output", str(tmp_path / "file")]) == 2
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
