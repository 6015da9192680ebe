"""Networks for PyTorch with random weights, written from their papers: no package of models, no
downloads.

MobileNetV2 (Sandler et al. 2018, table 2), MobileNetV3-Large (Howard et al. 2019, table 1),
EfficientNet-B0 (Tan and Le 2019, table 1).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn


class ConvNormAct(nn.Sequential):
    """A convolution with 'same' padding, a batch normalization and an activation."""

    def __init__(self, i: int, o: int, k: int, s: int, act: Any, groups: int = 1) -> None:
        layers = [nn.Conv2d(i, o, k, s, k // 2, groups=groups, bias=False), nn.BatchNorm2d(o)]
        super().__init__(*layers, *([] if act is None else [act()]))


class Squeeze(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, channels: int, inside: int, act: Any, gate: Any) -> None:
        super().__init__()
        self.down, self.act = nn.Conv2d(channels, inside, 1), act()
        self.up, self.gate = nn.Conv2d(inside, channels, 1), gate()

    def forward(self, x: Any) -> Any:
        return x * self.gate(self.up(self.act(self.down(x.mean((2, 3), keepdim=True)))))


class Inverted(nn.Module):
    """An inverted residual block."""

    def __init__(
        self, i: int, wide: int, o: int, k: int, s: int, act: Any, squeeze: Any = None
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [] if wide == i else [ConvNormAct(i, wide, 1, 1, act)]
        layers.append(ConvNormAct(wide, wide, k, s, act, groups=wide))
        if squeeze is not None:
            layers.append(squeeze(i, wide))
        layers.append(ConvNormAct(wide, o, 1, 1, None))
        self.layers, self.residual = nn.Sequential(*layers), s == 1 and i == o

    def forward(self, x: Any) -> Any:
        y = self.layers(x)
        return x + y if self.residual else y


class Head(nn.Module):
    """The mean of each channel, then linear layers."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Any) -> Any:
        return self.layers(x.mean((2, 3)))


def mobilenet_v2() -> nn.Module:
    act, layers, i = nn.ReLU6, [ConvNormAct(3, 32, 3, 2, nn.ReLU6)], 32
    for t, c, n, s in (
        *((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)),
        *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
    ):
        for j in range(n):
            layers.append(Inverted(i, t * i, c, 3, s if j == 0 else 1, act))
            i = c
    return nn.Sequential(*layers, ConvNormAct(320, 1280, 1, 1, act), Head(nn.Linear(1280, 1000)))


def mobilenet_v3_large() -> nn.Module:
    def squeeze(_: int, wide: int) -> nn.Module:
        return Squeeze(wide, max(8, int(wide / 4 + 4) // 8 * 8), nn.ReLU, nn.Hardsigmoid)

    layers, i = [ConvNormAct(3, 16, 3, 2, nn.Hardswish)], 16
    for k, wide, o, se, act, s in (
        *((3, 16, 16, 0, nn.ReLU, 1), (3, 64, 24, 0, nn.ReLU, 2), (3, 72, 24, 0, nn.ReLU, 1)),
        *((5, 72, 40, 1, nn.ReLU, 2), (5, 120, 40, 1, nn.ReLU, 1), (5, 120, 40, 1, nn.ReLU, 1)),
        *((3, 240, 80, 0, nn.Hardswish, 2), (3, 200, 80, 0, nn.Hardswish, 1)),
        *((3, 184, 80, 0, nn.Hardswish, 1), (3, 184, 80, 0, nn.Hardswish, 1)),
        *((3, 480, 112, 1, nn.Hardswish, 1), (3, 672, 112, 1, nn.Hardswish, 1)),
        *((5, 672, 160, 1, nn.Hardswish, 2), (5, 960, 160, 1, nn.Hardswish, 1)),
        (5, 960, 160, 1, nn.Hardswish, 1),
    ):
        layers.append(Inverted(i, wide, o, k, s, act, squeeze if se else None))
        i = o
    head = Head(nn.Linear(960, 1280), nn.Hardswish(), nn.Linear(1280, 1000))
    return nn.Sequential(*layers, ConvNormAct(160, 960, 1, 1, nn.Hardswish), head)


def efficientnet_b0() -> nn.Module:
    def squeeze(i: int, wide: int) -> nn.Module:
        return Squeeze(wide, i // 4, nn.SiLU, nn.Sigmoid)

    layers, i = [ConvNormAct(3, 32, 3, 2, nn.SiLU)], 32
    for t, k, c, n, s in (
        *((1, 3, 16, 1, 1), (6, 3, 24, 2, 2), (6, 5, 40, 2, 2), (6, 3, 80, 3, 2)),
        *((6, 5, 112, 3, 1), (6, 5, 192, 4, 2), (6, 3, 320, 1, 1)),
    ):
        for j in range(n):
            layers.append(Inverted(i, t * i, c, k, s if j == 0 else 1, nn.SiLU, squeeze))
            i = c
    return nn.Sequential(
        *layers, ConvNormAct(320, 1280, 1, 1, nn.SiLU), Head(nn.Linear(1280, 1000))
    )


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "MobileNetV2": mobilenet_v2,
    "MobileNetV3-Large": mobilenet_v3_large,
    "EfficientNet-B0": efficientnet_b0,
}


def make(name: str, memory_format: Any) -> nn.Module:
    """One of NETWORKS, whose normalizations have seen some pictures."""
    torch.manual_seed(0)
    made = NETWORKS[name]().to(memory_format=memory_format)
    with torch.no_grad():
        made.train()(torch.randn(4, 3, 64, 64).to(memory_format=memory_format))
    return made
