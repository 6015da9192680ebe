"""`dwconv tune`: measures the depthwise layers of models, or shapes, and writes what it finds."""

from __future__ import annotations

import json
import math
import re
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import config, dtypes, isa, load_layers, wisdom
from ..layers import summary
from ..layers.quantized_depthwise_conv2d import QuantizedDepthwiseConv2D
from ..ops.spec import ConvSpec
from ..ops.tuning import Tuned, tune
from ..saving import image_sizes
from . import CommandError, reading
from .progress import progress

_HEADERS = ("Layer", "Problem", "Estimate's choice", "us", "Measured best", "us", "Gain")


class _Problem(NamedTuple):
    name: str  # of the layer; '' for a shape
    spec: ConvSpec
    x_shape: tuple[int, ...]
    kernel: Any
    bias: Any
    dtype: Any

    @property
    def key(self) -> tuple[Any, ...]:
        """What a strategy depends on."""
        return self.spec, self.x_shape, dtypes.compute_dtype(self.dtype)


def run(
    what: Sequence[str],
    threads: str,
    target: Path | None,
    image: str | None,
    config_path: Path | None,
    milliseconds: float,
    as_json: bool,
) -> int:
    """Measures all of it, prints a table or JSON, and writes `target` if given; 0."""
    num_threads = _threads(threads)
    if not 0 < milliseconds <= 1e6:
        raise CommandError(
            f"--ms: expected a number above 0 and up to 1e6; received {milliseconds}", 2
        )
    size = None if image is None else _image(image)
    problems: list[_Problem] = []
    unknown: list[str] = []
    for item in what:
        if (shape := _SHAPE.fullmatch(item)) and not Path(item).exists():
            problems.append(_of_shape(item, shape))
        else:
            found, without = _of_file(Path(item), config_path, size)
            problems += found
            unknown += without
    if not problems:
        raise CommandError(
            f"expected depthwise layers with known sizes; received {len(unknown)} without, "
            "--input says how large images are"
            if unknown
            else "expected depthwise layers; received none"
        )
    different = list({problem.key: problem for problem in problems}.values())
    results: dict[tuple[Any, ...], Tuned] = {}
    for problem in progress(different, "measuring"):
        _, spec, x_shape, kernel, bias, dtype = problem
        seconds = milliseconds / 1000
        results[problem.key] = tune(spec, x_shape, kernel, bias, dtype, num_threads, seconds)
    if target is not None:
        with reading(target):
            wisdom.save(target)
    rows = [(problem, results[problem.key]) for problem in problems]
    if as_json:
        print(json.dumps(_document(rows, unknown, num_threads, target), indent=2))
    else:
        _print(rows, different, results, unknown, num_threads, target)
    return 0


# ---- what to measure -----------------------------------------------------------------------------

#: 56x56x128,k3,s2,d1,m1: H x W x C, then kernel size, stride, dilation, depth multiplier.
_SHAPE = re.compile(r"(\d+)x(\d+)x(\d+)((?:,[ksdm]\d+(?:x\d+)?)*)", re.ASCII)


def _of_shape(text: str, match: re.Match[str]) -> _Problem:
    options: dict[str, Any] = {"k": (3, 3), "s": (1, 1), "d": (1, 1), "m": (1, 1)}
    for option in match[4].split(",")[1:]:
        first, _, second = option[1:].partition("x")
        options[option[0]] = (int(first), int(second or first))
    height, width, channels = (int(size) for size in match.groups()[:3])
    with reading(Path(text)):
        multiplier = options["m"][0]
        spec = ConvSpec.read(
            options["k"], options["s"], "same", options["d"], multiplier, "channels_last"
        )
        if channels < 1 or height < 1 or width < 1:
            raise ValueError(f"{text}: expected positive sizes")
        if channels * multiplier * math.prod(options["k"]) > 1 << 28:
            raise ValueError(f"{text}: expected at most 2**28 weights")
        kernel = np.full(spec.kernel_shape(channels), 0.5, np.float32)
        bias = np.zeros(channels * multiplier, np.float32)
    return _Problem("", spec, (1, height, width, channels), kernel, bias, np.dtype(np.float32))


def _of_file(
    path: Path, config_path: Path | None, image: tuple[int, int] | None
) -> tuple[list[_Problem], list[str]]:
    """The layers of a file, and the paths of those whose images are of unknown size."""
    with reading(path):
        layers = load_layers(path, config_path, on_error="skip")
        sizes = image_sizes(path, config_path, image) if layers else {}
    problems, unknown = [], []
    for name, layer in layers.items():
        if isinstance(layer, QuantizedDepthwiseConv2D):  # nothing of these is measured
            continue
        spec = layer._config.spec
        size = sizes.get(name) if spec.rank == 2 else None  # these are of images
        if size is None and (image is None or spec.rank == 1):
            # What it was built for, if the file says that.
            built = getattr(layer, "input_shape", (None,) * (spec.rank + 2))
            _, height, width, _ = spec.to_nhwc(built)
            size = None if height is None or width is None else (height, width)
        if size is None or layer.kernel is None:
            unknown.append(name)
            continue
        x_shape = spec.from_nhwc(1, *size, layer.kernel.shape[-2])
        bias = layer.bias if layer.use_bias else None
        problems.append(
            _Problem(name, spec, x_shape, layer.kernel, bias, np.dtype(layer.compute_dtype))
        )
    return problems, unknown


def _image(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,9})[,x](\d{1,9})", text, re.ASCII)
    if not match or "0" in match.groups():
        raise CommandError(f"--input: expected H,W; received {text!r}", 2)
    return int(match[1]), int(match[2])


def _threads(text: str) -> int:
    try:
        config.set_num_threads(int(text) if text.isascii() and text.isdigit() else text)
    except ValueError as error:
        raise CommandError(f"--threads: {error}", 2) from None
    return config.num_threads()


# ---- what to show --------------------------------------------------------------------------------


def _problem(problem: _Problem) -> str:
    spec = problem.spec
    _, height, width, channels = spec.to_nhwc(problem.x_shape)
    text = f"{height}x{width}x{channels} k{spec.kernel_size[0]}x{spec.kernel_size[1]}"
    for letter, pair in (("s", spec.strides), ("d", spec.dilation_rate)):
        if pair != (1, 1):
            text += f" {letter}{pair[0]}" + (f"x{pair[1]}" if pair[0] != pair[1] else "")
    if spec.depth_multiplier > 1:
        text += f" m{spec.depth_multiplier}"
    compute = dtypes.compute_dtype(problem.dtype).name
    return text if compute == "float32" else f"{text} {compute}"


def _us(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1e6:.4g}"


def _print(
    rows: list[tuple[_Problem, Tuned]],
    different: list[_Problem],
    results: dict[tuple[Any, ...], Tuned],
    unknown: list[str],
    threads: int,
    target: Path | None,
) -> None:
    cells = [
        (
            *(
                problem.name or "-",
                _problem(problem),
                tuned.estimated,
                _us(tuned.estimated_seconds),
            ),
            *("the same" if tuned.best == tuned.estimated else tuned.best, _us(tuned.best_seconds)),
            "-" if tuned.gain is None else f"{tuned.gain:.2f}",
        )
        for problem, tuned in rows
    ]
    print("\n".join(summary.render(_HEADERS, cells)))
    gains = [tuned.gain for tuned in results.values() if tuned.gain is not None]
    if gains:
        print(
            f"{len(rows)} layers, {len(different)} different problems, {threads} thread"
            f"{'s' if threads > 1 else ''}, {isa.default()}: geometric mean of the gain "
            f"{statistics.geometric_mean(gains):.3f}, {sum(gain > 1 for gain in gains)} faster "
            "than estimated"
        )
    for name in unknown:
        print(
            f"not measured: {name}, as the file does not say how large its images are; see --input"
        )
    if target is not None:
        print(f"wrote {target}: dwconv.wisdom.load reads it", file=sys.stderr)


def _document(
    rows: list[tuple[_Problem, Tuned]], unknown: list[str], threads: int, target: Path | None
) -> dict[str, Any]:
    return {
        "isa": isa.default(),
        "threads": threads,
        "wisdom": None if target is None else str(target),
        "layers": [
            {
                "layer": problem.name or None,
                "problem": _problem(problem),
                **tuned._asdict(),
                "gain": tuned.gain,
            }
            for problem, tuned in rows
        ],
        "unknown_sizes": unknown,
    }
