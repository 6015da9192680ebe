"""The demo with --train: a layer learns its filters from a photograph."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filters
import numpy as np
from numpy.typing import NDArray
from picture import DPI, INK, MUTED, PAPER, WIDTH

from dwconv import DepthwiseConv2D, depthwise_conv2d, isa
from dwconv.cli.info import cpu_name
from dwconv.cli.progress import bar
from dwconv.initializers import GlorotUniform
from dwconv.optimizers import Adam
from dwconv.terminal import printable

Array = NDArray[Any]

TOLERANCE = 1e-3  # of each weight; the largest one is 0.2
LEARNING_RATE = 0.02
MOST_STEPS = 500  # some 110 do for the photograph


@dataclass(frozen=True)
class Run:
    """What training left behind: one loss and one largest error of a weight per step."""

    losses: list[float]
    errors: list[float]
    start: Array  # kernels (kh, kw, C, M)
    learned: Array
    known: Array
    seconds: float

    @property
    def agrees(self) -> bool:
        """Whether all weights are as close as TOLERANCE."""
        return self.errors[-1] <= TOLERANCE


def run(name: str, photo: Array, path: Path) -> int:
    """Trains on photo (H, W, 3), prints and draws what happens; 0 if the weights agree."""
    x = sharpened(photo)
    known = filters.bank(x.shape[3])
    print(f"photograph  {printable(name)}, sharpened: {x.shape[1]} x {x.shape[2]} pixels")
    print(f"to learn    {known.size} weights: {', '.join(filters.NAMES)} of each colour")
    done = learn(x, known)
    steps = len(done.losses)
    print(
        f"trained     {steps} steps of Adam in {done.seconds:.1f} s "
        f"({isa.default()} on {cpu_name()}, one thread)"
    )
    print(f"loss        {done.losses[0]:.1e} at first, {done.losses[-1]:.1e} in the end")
    verdict = "" if done.agrees else ": FAILED"
    print(f"weights     within {done.errors[-1]:.1e} of the known ones{verdict}")
    width, height = draw(path, done, f"{name}. {known.size} weights, Adam, mean squared error")
    print(f"picture     {printable(path)}, {width} x {height}")
    return 0 if done.agrees else 1


def sharpened(photo: Array) -> Array:
    """(1, H - 2, W - 2, C): the photograph less its blur, of standard deviation 1.

    Neighbours in a photograph look alike: of its patches of 7 x 7 the flat ones are some 1e5 times
    as strong as the finest, and gradient descent needs steps in proportion. After a Laplacian it is
    a factor of 10.
    """
    weights = np.array([[-1, -2, -1], [-2, 12, -2], [-1, -2, -1]], np.float32) / 16
    laplacian = np.repeat(weights[:, :, np.newaxis, np.newaxis], photo.shape[2], axis=2)
    x = depthwise_conv2d(photo[np.newaxis], laplacian)
    return x / np.float32(max(float(x.std()), 1e-6))


def learn(x: Array, known: Array) -> Run:
    """Gradient descent on the mean squared difference to what `known` makes of x."""
    target = depthwise_conv2d(x, known)
    layer = DepthwiseConv2D(
        known.shape[:2],
        depth_multiplier=known.shape[3],
        use_bias=False,
        data_format="channels_last",
        depthwise_initializer=GlorotUniform(seed=1),
    )
    layer.build(x.shape)
    start = layer.get_weights()[0]
    optimizer = Adam(LEARNING_RATE)
    losses: list[float] = []
    errors: list[float] = []
    began = time.perf_counter()
    with bar("training") as show:
        for step in range(MOST_STEPS):
            y, pullback = layer.vjp(x)
            difference = y - target
            losses.append(float(np.mean(np.square(difference))))
            errors.append(float(np.abs(layer.weights[0] - known).max()))
            show(_percent(errors, step), 100)
            if errors[-1] <= TOLERANCE:
                break
            dy = difference * np.float32(2 / difference.size)
            optimizer.apply(layer, pullback(dy, input=False))
        show(100, 100)
    seconds = time.perf_counter() - began
    return Run(losses, errors, start, layer.get_weights()[0], known, seconds)


def _percent(errors: list[float], step: int) -> int:
    """How far training is: of the way to TOLERANCE, in powers of ten, or of the steps."""
    way = np.log(max(errors[0] / TOLERANCE, 1 + 1e-9))
    gone = np.log(errors[0] / max(min(errors), TOLERANCE))
    return int(100 * max(gone / way, step / MOST_STEPS))


def draw(path: Path, done: Run, caption: str) -> tuple[int, int]:
    """Writes loss and error beside the filters of one colour; returns the PNG's (width, height)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height = 900
    figure = Figure(figsize=(WIDTH / DPI, height / DPI), dpi=DPI, facecolor=PAPER)
    FigureCanvasAgg(figure)
    figure.text(0.033, 0.95, "Learning a filter bank", size=19, color=INK, va="top", weight="bold")
    figure.text(0.033, 0.893, caption, size=9.5, color=MUTED, va="top")

    axes = figure.add_axes((0.075, 0.115, 0.43, 0.68), facecolor=PAPER)
    axes.semilogy(done.losses, color="#5cc8ff", linewidth=2, label="loss")
    axes.semilogy(done.errors, color="#ffb454", linewidth=2, label="largest error of a weight")
    axes.axhline(TOLERANCE, color=MUTED, linewidth=1, linestyle=(0, (4, 4)))
    axes.text(0, TOLERANCE * 1.15, f"{TOLERANCE:g}", size=8.5, color=MUTED)
    axes.set_xlabel("step", color=MUTED)
    axes.tick_params(colors=MUTED, which="both", labelsize=8.5)
    axes.grid(color=MUTED, alpha=0.15)
    for spine in axes.spines.values():
        spine.set_color(MUTED)
        spine.set_alpha(0.4)
    axes.legend(facecolor=PAPER, edgecolor=PAPER, labelcolor=INK, fontsize=9.5)

    rows = (("at the start", done.start), ("learned", done.learned), ("known", done.known))
    left, size, step_x, step_y = 0.585, 0.105, 0.132, 0.255
    for row, (label, kernel) in enumerate(rows):
        bottom = 0.795 - size * WIDTH / height - row * step_y
        for m, title in enumerate(filters.NAMES):
            panel = figure.add_axes((left + m * step_x, bottom, size, size * WIDTH / height))
            limit = float(np.abs(done.known[:, :, 0, m]).max())
            panel.imshow(kernel[:, :, 0, m], cmap="RdBu_r", vmin=-limit, vmax=limit)
            panel.set_axis_off()
            if row == 0:
                panel.set_title(title, size=10, color=INK, pad=7)
        figure.text(
            left - 0.014,
            bottom + size * WIDTH / height / 2,
            label,
            size=9.5,
            color=MUTED,
            rotation=90,
            ha="center",
            va="center",
        )
    figure.savefig(path, dpi=DPI, facecolor=PAPER)
    return WIDTH, height
