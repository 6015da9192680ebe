"""dwconv in Keras 3: its depthwise layers on the CPU, with the backends JAX and PyTorch.

`accelerate(model)` is the model with its DepthwiseConv2D and SeparableConv2D computed by dwconv.
`DepthwiseConv2D` and `SeparableConv2D` are the layers, in the place of Keras'. With TensorFlow and
other backends they are Keras' own: a call that leaves TensorFlow's graph gained nothing.

Needs Keras 3, and `dwconv[jax]` or `dwconv[torch]` for its backend.
"""

try:
    import keras as _keras
except ImportError as error:
    raise ImportError(
        "dwconv.keras: expected an installed Keras 3; received none (pip install keras)",
        name=error.name,
        path=error.path,
    ) from error

if str(_keras.__version__).startswith(("0.", "1.", "2.")):
    raise ImportError(
        "dwconv.keras: expected Keras 3; received an older one. Models of tf_keras: "
        "dwconv.load and dwconv.load_layers read their files"
    )

from .accelerating import accelerate, replaced, restore
from .layers import DepthwiseConv2D, SeparableConv2D

__all__ = ["DepthwiseConv2D", "SeparableConv2D", "accelerate", "replaced", "restore"]
