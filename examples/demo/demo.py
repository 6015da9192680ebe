"""A photograph through a layer: checked, saved, loaded, timed and drawn.

    python examples/demo/demo.py [--image FILE] [--output DIR] [--train]

`make demo` runs it in a clone. Exit status: 0 done, 1 failed (a check that does not hold, a missing
package), 2 wrong usage.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from io import TextIOWrapper
from pathlib import Path
from statistics import median
from typing import Any

import filters
import numpy as np
from numpy.typing import NDArray

from dwconv import DepthwiseConv2D, isa, load, reference
from dwconv.cli import CommandError
from dwconv.cli.info import cpu_name
from dwconv.cli.output import Parser
from dwconv.terminal import printable

Array = NDArray[Any]

_EXTRA = "needs more packages ({}); install them with: pip install '.[demo]'"

_SECONDS = 0.5  # of measuring, per implementation
_MOST_PIXELS = 50_000_000  # of an image: 9 float32 outputs for each are 1.8 GB


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; `arguments` are sys.argv[1:] by default."""
    parser = Parser(
        prog="dwconv demo", description="Filter a photograph and write a picture of the result."
    )
    parser.add_argument(
        "--image",
        type=Path,
        metavar="FILE",
        help="an image of your own; the default is a photograph from scikit-image",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        default=Path("demo"),
        help="where to write (default: demo)",
    )
    parser.add_argument(
        "--train", action="store_true", help="learn the filters from the photograph instead"
    )
    chosen = parser.parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # what a terminal cannot show is no reason to fail
            stream.reconfigure(errors="backslashreplace")
    try:
        return run(chosen.image, chosen.output, chosen.train)
    except CommandError as error:
        print(f"dwconv demo: {printable(error)}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130  # as a shell reports SIGINT


def run(image: Path | None, output: Path, train: bool = False) -> int:
    """Prints what it does and writes into the directory `output`; 0 if every check holds.

    train: learn the filters instead, from the photograph and what they make of it.
    """
    _require_extra()
    import picture
    import training

    name, photo = _own_photo(image) if image else _photo()
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"--output: {error.strerror}: {output}", exit_status=2) from None

    stem = image.stem if image else "chelsea"
    if train:
        return training.run(name, photo, output / f"{stem}-training.png")

    x = photo[np.newaxis]  # (1, H, W, 3)
    layer = DepthwiseConv2D(
        filters.SIZE,
        depth_multiplier=len(filters.NAMES),
        use_bias=False,
        data_format="channels_last",
    )
    layer.build(x.shape)
    layer.set_weights([filters.bank(3)])
    y = layer(x)
    print(f"photograph  {printable(name)}, {photo.shape[0]} x {photo.shape[1]} pixels")
    print(f"layer       {layer!r}")
    print(f"output      {y.shape} {y.dtype}: {', '.join(filters.NAMES)} of each colour")

    within = _print_error(x, layer.get_weights()[0], y)
    identical = _print_saved(layer, x, y, output / "filters.safetensors")
    _print_latency(layer, x)
    path = output / f"{stem}-filtered.png"
    caption = f"{name}. dwconv.DepthwiseConv2D({filters.SIZE}, depth_multiplier=3) in float32"
    width, height = picture.write(path, photo, y[0], caption)
    print(f"picture     {printable(path)}, {width} x {height}")
    return 0 if within and identical else 1


def _require_extra() -> None:
    missing = []
    for module, package in (
        ("matplotlib", "matplotlib"),
        ("PIL.Image", "pillow"),
        ("scipy.ndimage", "scipy"),
        ("skimage.data", "scikit-image"),
    ):
        try:
            __import__(module)
        except ImportError:
            missing.append(package)
    if missing:
        raise CommandError(_EXTRA.format(", ".join(missing)))


def _photo() -> tuple[str, Array]:
    """Chelsea the cat, 300 x 451, which ships inside scikit-image; public domain (CC0)."""
    from skimage import data

    pixels = np.asarray(data.chelsea(), np.float32)  # type: ignore[no-untyped-call, unused-ignore]
    return "Chelsea, by Stéfan van der Walt (CC0)", pixels / np.float32(255)


def _own_photo(path: Path) -> tuple[str, Array]:
    """Name and (H, W, 3) float32 in [0, 1] of an image file, turned upright as its EXIF says."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            width, height = image.size
            if min(height, width) < filters.SIZE or height * width > _MOST_PIXELS:
                raise CommandError(
                    f"--image: {path}: expected at least {filters.SIZE} x {filters.SIZE} and at "
                    f"most {_MOST_PIXELS} pixels; received {height} x {width}",
                    exit_status=2,
                )
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I"):  # 16 bits of grey, which convert() would clip
                grey = np.clip(np.asarray(upright, np.float32) / 65535, 0, 1)
                return path.name, np.repeat(grey[:, :, np.newaxis], 3, axis=2)
            pixels = np.asarray(upright.convert("RGB"), np.float32)
            return path.name, pixels / np.float32(255)
    except FileNotFoundError:
        raise CommandError(f"--image: no such file: {path}", exit_status=2) from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CommandError(f"--image: cannot read {path}: {reason}", exit_status=2) from None


def _print_error(x: Array, kernel: Array, y: Array) -> bool:
    """The error against the reference beside its bound (check.bound says where that is from)."""
    expected = reference.depthwise_conv2d(x, kernel)
    taps = kernel.shape[0] * kernel.shape[1]
    bound = reference.depthwise_conv2d(np.abs(x), np.abs(kernel))
    bound *= (taps + 2) * np.finfo(y.dtype).eps
    error = np.abs(y - expected)
    within = bool((error <= bound).all())
    share = float((error[bound > 0] / bound[bound > 0]).max(initial=0))
    print(
        f"error       {error.max():.1e} at most against the float64 reference; "
        f"{share:.3f} of its bound{'' if within else ': FAILED'}"
    )
    return within


def _print_saved(layer: DepthwiseConv2D, x: Array, y: Array, path: Path) -> bool:
    layer.save(path)
    again = load(path)(x)
    identical = bool(again.dtype == y.dtype and again.tobytes() == y.tobytes())
    verdict = "identical to the bit" if identical else "NOT identical: FAILED"
    print(f"saved       {printable(path)}, loaded again: output {verdict}")
    return identical


def _print_latency(layer: DepthwiseConv2D, x: Array) -> None:
    kernel = layer.get_weights()[0]
    ours = _milliseconds(lambda: layer(x))
    print(
        f"latency     {'dwconv':<8}{ours:>9.2f} ms   ({isa.default()} on {cpu_name()}, one thread)"
    )
    for name, other in (("NumPy", filters.with_numpy), ("SciPy", filters.with_scipy)):
        theirs = _milliseconds(lambda other=other: other(x, kernel))  # type: ignore[misc]
        print(f"            {name:<8}{theirs:>9.2f} ms   {theirs / ours:.2g} times as long")


def _milliseconds(call: Callable[[], object]) -> float:
    """The median of as many calls as fit the time, at least 3, after one that does not count."""
    call()
    times: list[float] = []
    end = time.perf_counter() + _SECONDS
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return median(times) * 1e3


if __name__ == "__main__":
    sys.exit(main())
