"""`DepthwiseConv2d`, a module in the place of a depthwise `torch.nn.Conv2d`."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from .operators import depthwise_conv2d


class DepthwiseConv2d(nn.Conv2d):
    """A `torch.nn.Conv2d` with `groups == in_channels`, computed by dwconv on the CPU.

    Arguments, parameters and state_dict are those of `torch.nn.Conv2d`: weight (C*M, 1, kh, kw),
    bias (C*M,). out_channels is a multiple of in_channels; None: the same. activation and alpha: as
    in `dwconv.torch.depthwise_conv2d`. On another device than the CPU PyTorch computes it, as far
    as it has no activation.

    ValueError for other groups than in_channels and another padding_mode than 'zeros', and what
    `torch.nn.Conv2d` raises.
    """

    # Of the class, for modules that `accelerate` or a file has made one of these.
    activation: str = "linear"
    alpha: float = 0.0

    def __init__(
        self,
        in_channels: int,
        out_channels: int | None = None,
        kernel_size: Any = 3,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int | None = None,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
        *,
        activation: str = "linear",
        alpha: float = 0.0,
    ) -> None:
        groups = in_channels if groups is None else groups
        if groups != in_channels:
            raise ValueError(f"groups: expected in_channels, {in_channels}; received {groups}")
        if padding_mode != "zeros":
            raise ValueError(f"padding_mode: expected 'zeros'; received {padding_mode!r}")
        super().__init__(
            in_channels,
            in_channels if out_channels is None else out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            "zeros",
            device,
            dtype,
        )
        self.activation, self.alpha = activation, alpha

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W), or (C, H, W) for one image, -> (N, C*M, OH, OW), or (C*M, OH, OW)."""
        if x.device.type != "cpu" and self.activation == "linear":
            return super().forward(x)
        images = x.unsqueeze(0) if x.dim() == 3 else x
        y = depthwise_conv2d(
            images,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self.dilation,
            activation=self.activation,
            alpha=self.alpha,
        )
        return y.squeeze(0) if x.dim() == 3 else y

    def extra_repr(self) -> str:
        """That of nn.Conv2d, and the activation if there is one."""
        more = "" if self.activation == "linear" else f", activation={self.activation}"
        return super().extra_repr() + more
