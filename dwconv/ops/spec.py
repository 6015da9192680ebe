"""The geometry of a depthwise convolution: one value, read and checked once.

Shape letters: N batch, H height, W width, L length, C input channels, M depth multiplier, kh/kw
kernel height/width, k kernel length, OH/OW output height/width. Every pair is (height, width).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from ..arguments import (
    DataFormat,
    ExplicitPadding,
    Padding,
    Pair,
    Size,
    read_data_format,
    read_padding,
    read_pair,
    read_positive_int,
    read_shape,
    read_single,
)
from ..shapes import explicit_padding, output_size, per_dimension

T = TypeVar("T")
WholeShape = tuple[Size, ...]
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ConvSpec:
    """Kernel size, strides, dilation, padding, depth multiplier, layout and rank.

    `ConvSpec.read` makes one of arguments in any spelling, `ConvSpec.for_kernel` of a kernel's
    shape. The constructor takes values as they are; the C core refuses those that make no
    convolution. A spec knows neither the size of an image nor the number of channels: its methods
    take a whole shape, (N, H, W, C), or (N, C, H, W) if channels_first.

    A convolution of rank 1 is one of height 1 whose arrays lack that axis: x (N, L, C) or
    (N, C, L), the kernel (k, C, M). Every pair is (1, its value).
    """

    kernel_size: Pair
    strides: Pair = (1, 1)
    padding: Padding = "valid"
    dilation_rate: Pair = (1, 1)
    depth_multiplier: int = 1
    data_format: DataFormat = "channels_last"
    rank: int = 2

    @classmethod
    def read(
        cls,
        kernel_size: Any,
        strides: Any = 1,
        padding: Any = "valid",
        dilation_rate: Any = 1,
        depth_multiplier: Any = 1,
        data_format: Any = None,
        rank: int = 2,
    ) -> ConvSpec:
        """A spec of checked arguments; ValueError, which names the argument, for any other."""
        pair = read_pair if rank == 2 else _read_of_rank_1
        return cls(
            pair("kernel_size", kernel_size),
            pair("strides", strides),
            read_padding(padding, rank),
            pair("dilation_rate", dilation_rate),
            read_positive_int("depth_multiplier", depth_multiplier),
            read_data_format(data_format),
            rank,
        )

    @classmethod
    def for_kernel(
        cls,
        kernel_shape: Sequence[int],
        strides: Any = 1,
        padding: Any = "valid",
        dilation_rate: Any = 1,
        data_format: Any = None,
        rank: int = 2,
    ) -> ConvSpec:
        """A spec of checked arguments for a kernel (kh, kw, C, M), or (k, C, M). ValueError for any
        other.
        """
        if len(kernel_shape) != rank + 2 or 0 in (*kernel_shape[:rank], kernel_shape[-1]):
            raise ValueError(
                f"kernel: expected shape {_KERNEL_LETTERS[rank]} with positive sizes; "
                f"received shape {tuple(kernel_shape)}"
            )
        *size, _, multiplier = kernel_shape
        return cls.read(size, strides, padding, dilation_rate, multiplier, data_format, rank)

    # ---- layout ----------------------------------------------------------------------------------

    @property
    def channels_first(self) -> bool:
        """Whether shapes are (N, C, H, W) instead of (N, H, W, C)."""
        return self.data_format == "channels_first"

    @property
    def channel_axis(self) -> int:
        """The index of C in a whole shape."""
        return 1 if self.channels_first else self.rank + 1

    @property
    def letters(self) -> str:
        """A whole shape as messages write it."""
        pixels = "L" if self.rank == 1 else "H, W"
        return f"(N, C, {pixels})" if self.channels_first else f"(N, {pixels}, C)"

    def to_nhwc(self, shape: Sequence[T]) -> tuple[T, T, T, T]:
        """(N, H, W, C) of a whole shape. (Of rank 1 the T of H is an int.)"""
        if self.data_format == "channels_last":
            batch, *pixels, channels = shape
        else:
            batch, channels, *pixels = shape
        height, width = pixels if self.rank == 2 else (cast(T, 1), *pixels)
        return batch, height, width, channels

    def from_nhwc(self, batch: T, height: T, width: T, channels: T) -> tuple[T, ...]:
        """The whole shape of these sizes."""
        pixels = (width,) if self.rank == 1 else (height, width)
        if self.data_format == "channels_last":
            return (batch, *pixels, channels)
        return (batch, channels, *pixels)

    # ---- sizes -----------------------------------------------------------------------------------

    def kernel_shape(self, channels: int) -> Shape:
        """(kh, kw, C, M), or (k, C, M)"""
        return (*self.kernel_size[2 - self.rank :], channels, self.depth_multiplier)

    def output_shape(self, input_shape: Sequence[Size]) -> WholeShape:
        """The output's whole shape for an input's, of positive ints or None; None where that has
        None. N may be 0.

        ValueError for an output that would be empty.
        """
        batch, height, width, channels = self.to_nhwc(input_shape)
        (kernel_h, kernel_w), (stride_h, stride_w) = self.kernel_size, self.strides
        (dilation_h, dilation_w), multiplier = self.dilation_rate, self.depth_multiplier
        vertical, horizontal = per_dimension(self.padding)
        return self.from_nhwc(
            batch,
            output_size(height, kernel_h, stride_h, vertical, dilation_h, "height"),
            output_size(
                width,
                kernel_w,
                stride_w,
                horizontal,
                dilation_w,
                "length" if self.rank == 1 else "width",
            ),
            None if channels is None else channels * multiplier,
        )

    def padding_for(self, height: int, width: int) -> ExplicitPadding:
        """((top, bottom), (left, right)) in pixels for an input of that size."""
        return explicit_padding(
            (height, width), self.kernel_size, self.strides, self.padding, self.dilation_rate
        )

    def descriptor(self, input_shape: Shape) -> tuple[int, ...]:
        """The geometry for inputs of a whole shape as the C core has it: the sizes in `dw_desc`, in
        the order of csrc/dwconv.h, then whether the layout is channels first.
        """
        batch, height, width, channels = self.to_nhwc(input_shape)
        (top, bottom), (left, right) = self.padding_for(height, width)
        return (
            *(batch, height, width, channels),
            self.depth_multiplier,
            *self.kernel_size,
            *self.strides,
            *self.dilation_rate,
            *(top, bottom, left, right),
            self.channels_first,
        )

    # ---- checks ----------------------------------------------------------------------------------

    def read_input_shape(
        self, owner: str, input_shape: Any, channels: int | None = None
    ) -> WholeShape:
        """A whole input shape: N, H and W may be None, unknown, C may not, and N may be 0.

        ValueError, which begins with `owner`, for anything else and for other channels than
        `channels` (None: any).
        """
        sizes = read_shape(f"{owner}: input shape", input_shape)
        if len(sizes) != self.rank + 2:
            raise ValueError(
                f"{owner}: expected an input of rank {self.rank + 2}, {self.letters}; "
                f"received shape {sizes}"
            )
        batch, height, width, received = self.to_nhwc(sizes)
        if received is None:
            raise ValueError(
                f"{owner}: expected a known number of channels in {self.letters}; "
                f"received shape {sizes}"
            )
        if channels is not None and received != channels:
            raise ValueError(
                f"{owner}: expected {channels} channels in {self.letters}; received shape {sizes}"
            )
        if received == 0:
            raise ValueError(
                f"{owner}: expected at least one channel in {self.letters}; received shape {sizes}"
            )
        if height == 0 or width == 0:
            what = "length" if self.rank == 1 else "height and width"
            raise ValueError(
                f"{owner}: expected {what} in {self.letters} to be >= 1; received shape {sizes}"
            )
        return self.from_nhwc(batch, height, width, received)

    def check_array_shape(self, argument: str, shape: Sequence[int]) -> None:
        """ValueError unless an array of that shape has its rank and positive sizes; N may be 0."""
        if len(shape) != self.rank + 2:
            raise ValueError(
                f"{argument}: expected rank {self.rank + 2}, {self.letters}; "
                f"received shape {tuple(shape)}"
            )
        if 0 in shape[1:]:
            raise ValueError(
                f"{argument}: expected positive sizes in {self.letters}, only N may be 0; "
                f"received shape {tuple(shape)}"
            )

    def check_kernel(self, shape: Sequence[int], input_shape: Shape) -> None:
        """ValueError unless a kernel's shape is (kh, kw, C, M) for an input's whole shape."""
        channels = input_shape[self.channel_axis]
        if tuple(shape) != self.kernel_shape(channels):
            hint = TORCH_HINT if _is_torch_weight(shape, channels) else ""
            raise ValueError(
                f"kernel: expected shape {_KERNEL_LETTERS[self.rank]} = "
                f"{self.kernel_shape(channels)}, with C = {channels}, the channels of x; "
                f"received shape {tuple(shape)}{hint}"
            )

    def check_bias(self, shape: Sequence[int], input_shape: Shape) -> None:
        """ValueError unless a bias's shape is (C*M,) for an input's whole shape."""
        outputs = input_shape[self.channel_axis] * self.depth_multiplier
        if tuple(shape) != (outputs,):
            raise ValueError(
                f"bias: expected shape (C*M,) = ({outputs},); received shape {tuple(shape)}"
            )


def _read_of_rank_1(argument: str, value: Any) -> Pair:
    return 1, read_single(argument, value)


_KERNEL_LETTERS = {1: "(k, C, M)", 2: "(kh, kw, C, M)"}
#: What follows a message where a weight of PyTorch's came.
TORCH_HINT = ". A weight of PyTorch's, (C*M, 1, kh, kw), needs dwconv.from_torch_weight"


def _is_torch_weight(shape: Sequence[int], channels: int) -> bool:
    """Whether a kernel that does not fit would, as a depthwise weight of PyTorch's."""
    return len(shape) == 4 and shape[1] == 1 and channels > 0 and shape[0] % channels == 0
