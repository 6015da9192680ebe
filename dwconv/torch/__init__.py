"""dwconv in PyTorch: an operator and a module for the CPU.

`depthwise_conv2d` is the operator `dwconv::depthwise_conv2d` of `torch.library`, with gradients.
`DepthwiseConv2d` is a module with the parameters of a depthwise `torch.nn.Conv2d`.
`accelerate(model)` replaces those of a model, with batch normalizations and activations;
`restore(model)` undoes it. `use_compiled_operators()` makes each call cheaper, where there is a C++
compiler.

Needs PyTorch: `pip install dwconv[torch]`.
"""

import os as _os

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    raise ImportError(
        "dwconv.torch: expected an installed PyTorch; received none (pip install dwconv[torch])",
        name=error.name,
        path=error.path,
    ) from error

from .accelerating import accelerate, restore
from .compiled import VARIABLE as _VARIABLE
from .compiled import use_compiled_operators
from .modules import DepthwiseConv2d
from .operators import depthwise_conv2d

__all__ = [
    "DepthwiseConv2d",
    "accelerate",
    "depthwise_conv2d",
    "restore",
    "use_compiled_operators",
]

if _os.environ.get(_VARIABLE, "0") not in ("", "0"):
    use_compiled_operators()
