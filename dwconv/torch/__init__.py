"""dwconv in PyTorch: an operator and a module for the CPU.

`depthwise_conv2d` is the operator `dwconv::depthwise_conv2d` of `torch.library`, with gradients.
`DepthwiseConv2d` is a module with the parameters of a depthwise `torch.nn.Conv2d`.
`accelerate(model)` replaces those of a model, with batch normalizations and activations;
`restore(model)` undoes it.

Needs PyTorch: `pip install dwconv[torch]`.
"""

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    raise ImportError(
        "dwconv.torch: expected an installed PyTorch; received none (pip install dwconv[torch])",
        name=error.name,
        path=error.path,
    ) from error

from .accelerating import accelerate, restore
from .modules import DepthwiseConv2d
from .operators import depthwise_conv2d

__all__ = ["DepthwiseConv2d", "accelerate", "depthwise_conv2d", "restore"]
