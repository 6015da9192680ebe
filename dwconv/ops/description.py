"""What a plan has decided, for a program and for a reader."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

#: Strategies that a description lists besides the plan's own.
RUNNERS_UP = 4


@dataclass(frozen=True)
class Candidate:
    """A way to compute a problem, with the seconds of a call: what the planner estimates for one
    thread, and what it has measured, for the plan's threads; None if it has not.
    """

    strategy: str
    estimated_seconds: float
    measured_seconds: float | None


@dataclass(frozen=True)
class Description:
    """How a plan computes: why a shape is fast or slow. `str()` of it is for reading, `as_dict()`
    for programs.

    x_shape, y_shape   of the arrays, in their layout
    dtype              of the result; x and the weights are cast to `compute_dtype`
    data_format        of the arrays, which the kernel takes as they are
    activation         the one in the kernel
    activation_after   the one that NumPy applies to the whole output afterwards; None: none
    isa                the instruction set
    num_threads        threads of a call: as many as asked for, or as the work is worth
    denormals          'flush' or 'ieee', see `dwconv.config`
    kernel             name of the kernel that does most of the work: its size, stride, tile, ISA; a
                       'general' one has no tile
    strategy           name of the kernel, and how it is used: see docs/tuning.md
    planned_by         who has chosen it: 'estimate', 'measure' (for this plan), 'wisdom' (before)
    candidates         it and the next best ways to compute this, as `Candidate`s: those that were
                       measured, the fastest first, then the others in the order of the estimates.
                       They would give the same bits
    lanes              elements of one of its vectors
    tile_h, tile_w     outputs that share the inputs they have in common
    merged_pixels      pixels that share vectors, there being few channels; 1: none do
    blocks             vectors that the channels (of the merged pixels) fill; for channels_first
                       those that the columns of a row fill
    plan_bytes         what the plan itself takes: its weights in each arrangement, and tables
    shared_bytes       of these, what other plans with the same weights count for
    weight_bytes       of the packed weights, once
    multiply_adds      of one call; taps in the padding are skipped and do not count
    x_bytes, y_bytes   what the kernel reads and writes
    """

    x_shape: tuple[int, ...]
    y_shape: tuple[int, ...]
    dtype: str
    compute_dtype: str
    data_format: str
    activation: str
    activation_after: str | None
    isa: str
    num_threads: int
    denormals: str
    planned_by: str
    candidates: tuple[Candidate, ...]
    kernel: str
    strategy: str
    lanes: int
    tile_h: int
    tile_w: int
    merged_pixels: int
    blocks: int
    plan_bytes: int
    shared_bytes: int
    weight_bytes: int
    multiply_adds: int
    x_bytes: int
    y_bytes: int

    def as_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)

    def __str__(self) -> str:
        rows = {
            "x": f"{self.x_shape} {self.data_format}",
            "y": f"{self.y_shape} {self.dtype}",
            "kernel": f"{self.kernel}: {self._tile()}",
            "weights": f"{_bytes(self.weight_bytes)} packed",
            "memory": f"{_bytes(self.plan_bytes)}, of the plan itself",
            "work": f"{_count(self.multiply_adds)} multiply-adds; reads {_bytes(self.x_bytes)}, "
            f"writes {_bytes(self.y_bytes)}",
            "activation": f"{self.activation}, in the kernel",
        }
        if self.activation_after is not None:
            rows["activation"] = f"{self.activation_after}, by NumPy afterwards"
        if self.denormals != "flush":
            rows["denormals"] = "IEEE's, not flushed to zero"
        if self.num_threads > 1:
            rows["threads"] = f"up to {self.num_threads}"
        rows["strategy"] = f"{_times(self.candidates[0])}, {_PLANNED_BY[self.planned_by]}"
        for i, candidate in enumerate(self.candidates[1:]):
            rows[f"next {i + 1}"] = _times(candidate)
        if self.dtype != self.compute_dtype:
            rows["besides"] = f"computed in {self.compute_dtype}"
        width = max(map(len, rows))
        return "\n".join(f"{name:<{width}}  {text}" for name, text in rows.items())

    def _tile(self) -> str:
        vectors = "1 vector" if self.blocks == 1 else f"{self.blocks} vectors"
        channels = f"{vectors} of {self.lanes} {self.compute_dtype}"
        if self.merged_pixels > 1:
            channels += f" for {self.merged_pixels} pixels"
        return f"tiles of {self.tile_h} x {self.tile_w} outputs, {channels}"


_PLANNED_BY = {
    "estimate": "chosen by the estimate",
    "measure": "chosen by measuring",
    "wisdom": "known from measuring before",
}


def _times(candidate: Candidate) -> str:
    """'k3x3s1_t2x7_avx2+aligned: 12.3 us estimated, 11.9 us measured'"""
    text = f"{candidate.strategy}: {candidate.estimated_seconds * 1e6:.3g} us estimated"
    measured = candidate.measured_seconds
    return text if measured is None else f"{text}, {measured * 1e6:.3g} us measured"


def _bytes(count: int) -> str:
    """'784 KiB', '1.5 MiB'"""
    size = float(count)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.4g} {unit}"
        size /= 1024
    return f"{size:.4g} GiB"


def _count(number: int) -> str:
    """'1.81 million', '92160'"""
    for limit, word in ((10**9, "billion"), (10**6, "million")):
        if number >= limit:
            return f"{number / limit:.3g} {word}"
    return str(number)
