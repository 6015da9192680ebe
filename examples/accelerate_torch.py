"""A model of PyTorch, its depthwise convolutions computed by dwconv: three lines.

pip install 'dwconv[torch]'
python examples/accelerate_torch.py
"""

import time

import torch
from torch import nn

import dwconv.torch


def block(channels: int) -> nn.Sequential:
    """A depthwise separable block, as in MobileNet."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU6(),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU6(),
    )


def seconds(model: nn.Module, x: torch.Tensor) -> float:
    """The best of ten calls."""
    times = []
    for _ in range(10):
        began = time.perf_counter()
        model(x)
        times.append(time.perf_counter() - began)
    return min(times)


if __name__ == "__main__":
    torch.manual_seed(0)
    model = nn.Sequential(*(block(96) for _ in range(6))).eval()
    model = model.to(memory_format=torch.channels_last)
    x = torch.randn(1, 96, 56, 56).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        expected, before = model(x), seconds(model, x)
        print(dwconv.torch.accelerate(model))
        difference = float((model(x) - expected).abs().max())
        print(f"{1e3 * before:.2f} ms before, {1e3 * seconds(model, x):.2f} ms after")
    print(
        f"largest difference: {difference:.1e}, of values up to {float(expected.abs().max()):.1e}"
    )
