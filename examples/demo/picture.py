"""The picture that the demo writes: the photograph, what each filter makes of it, and its edges."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

WIDTH = 1800  # pixels of the PNG
DPI = 150

PAPER, INK, MUTED = "#14161a", "#f2efe9", "#8f959e"


def write(path: Path, photo: Array, y: Array, caption: str) -> tuple[int, int]:
    """Writes a PNG and returns its (width, height) in pixels.

    photo: (H, W, 3) in [0, 1]; y: (OH, OW, 9), channel c*3 + m as in `filters.NAMES`.
    """
    figure, height = compose(photo, y, caption)
    figure.savefig(path, dpi=DPI, facecolor=PAPER)
    return WIDTH, height


def compose(photo: Array, y: Array, caption: str) -> tuple[Any, int]:
    """The figure, WIDTH pixels wide, and its height in pixels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height, width = photo.shape[:2]
    blur, across, down = y[..., 0::3], y[..., 1::3], y[..., 2::3]
    panels = [
        ("Input", "", photo),
        ("Gaussian blur", "7 × 7, each colour on its own", np.clip(blur, 0, 1)),
        ("Sobel x", "how fast it brightens to the right", _signed(across)),
        ("Sobel y", "how fast it brightens downwards", _signed(down)),
        ("Gradient magnitude", "√(x² + y²) of each colour", _magnitude(across, down)),
        ("Gradient direction", "as hue", _direction(across, down)),
    ]

    # In pixels, from the left and from the top.
    margin, gap, head = 60, 36, 150
    columns = 3 if width >= 0.75 * height else 6  # 6: of a portrait, in one row
    rows = len(panels) // columns
    label = 78 if columns == 3 else 130  # a narrow panel has its note below its title, in two lines
    cell_w = (WIDTH - 2 * margin - (columns - 1) * gap) / columns
    cell_h = cell_w * height / width
    total = round(head + rows * (cell_h + label))
    figure = Figure(figsize=(WIDTH / DPI, total / DPI), dpi=DPI, facecolor=PAPER)
    FigureCanvasAgg(figure)

    def text(x: float, y: float, string: str, size: float, color: str, **more: Any) -> None:
        figure.text(x / WIDTH, 1 - y / total, string, size=size, color=color, va="top", **more)

    text(margin, 44, "One depthwise convolution", 19, INK, weight="bold")
    text(margin, 96, caption, 9.5, MUTED)
    for index, (title, note, image) in enumerate(panels):
        left = margin + index % columns * (cell_w + gap)
        top = head + index // columns * (cell_h + label)
        axes = figure.add_axes(
            (left / WIDTH, 1 - (top + cell_h) / total, cell_w / WIDTH, cell_h / total)
        )
        axes.imshow(image, interpolation="lanczos", aspect="auto")
        axes.set_axis_off()
        text(left, top + cell_h + 12, title, 11, INK, weight="bold")
        if columns == 3:
            text(left + cell_w, top + cell_h + 15, note, 8.5, MUTED, ha="right")
        else:
            text(left, top + cell_h + 50, textwrap.fill(note, 24), 8.5, MUTED)
    return figure, total


def _scale(*images: Array) -> float:
    """What the strongest hundredth begins at: brighter than that is clipped."""
    return max(float(np.percentile(np.abs(np.stack(images)), 99)), 1e-6)


def _signed(slope: Array) -> Array:
    """Grey for zero, brighter for positive, darker for negative; a colour's slope in its colour."""
    return np.clip(0.5 + 0.5 * slope / _scale(slope), 0, 1)


def _magnitude(across: Array, down: Array) -> Array:
    magnitude = np.hypot(across, down)
    return np.clip(magnitude / _scale(magnitude), 0, 1) ** 0.7


def _direction(across: Array, down: Array) -> Array:
    """Hue: the direction of the mean gradient of the colours; brightness: its magnitude."""
    from matplotlib.colors import hsv_to_rgb

    x, y = across.mean(axis=-1), down.mean(axis=-1)
    magnitude = np.hypot(x, y)
    value = np.clip(magnitude / _scale(magnitude), 0, 1) ** 0.6
    hue = np.arctan2(y, x) / (2 * np.pi) % 1
    return np.asarray(hsv_to_rgb(np.stack([hue, np.full_like(hue, 0.75), value], axis=-1)))
