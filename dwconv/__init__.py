"""Depthwise convolution on a CPU, as Keras defines it."""

from typing import TYPE_CHECKING, Any

try:
    from . import _core as _core
except ImportError as error:
    from .binding.missing import explain

    raise ImportError(explain(error), name=error.name, path=error.path) from error

from . import activations, config, constraints, initializers, isa, reference, regularizers
from ._version import __version__
from .binding.embedding import get_include
from .config import trim_memory
from .layers.depthwise_conv1d import DepthwiseConv1D
from .layers.depthwise_conv2d import DepthwiseConv2D
from .layers.inputs import Input
from .layers.r_interface import layer_depthwise_conv_1d, layer_depthwise_conv_2d
from .layers.sequential import Sequential
from .ops.convolution import depthwise_conv1d, depthwise_conv2d

if TYPE_CHECKING:
    from . import optimizers, wisdom
    from .formats import FormatError
    from .layers.batch_norm import fold_batch_norm
    from .layers.quantized_depthwise_conv2d import QuantizedDepthwiseConv2D
    from .ops.gradients import (
        depthwise_conv2d_bias_grad,
        depthwise_conv2d_input_grad,
        depthwise_conv2d_kernel_grad,
    )
    from .ops.quantized import quantized_depthwise_conv2d
    from .saving import load, load_layers
    from .torch_weights import from_torch_weight, to_torch_weight

__all__ = [
    "DepthwiseConv1D",
    "DepthwiseConv2D",
    "FormatError",
    "Input",
    "QuantizedDepthwiseConv2D",
    "Sequential",
    "__version__",
    "activations",
    "config",
    "constraints",
    "depthwise_conv1d",
    "depthwise_conv2d",
    "depthwise_conv2d_bias_grad",
    "depthwise_conv2d_input_grad",
    "depthwise_conv2d_kernel_grad",
    "fold_batch_norm",
    "from_torch_weight",
    "get_include",
    "initializers",
    "isa",
    "layer_depthwise_conv_1d",
    "layer_depthwise_conv_2d",
    "load",
    "load_layers",
    "optimizers",
    "quantized_depthwise_conv2d",
    "reference",
    "regularizers",
    "to_torch_weight",
    "trim_memory",
    "wisdom",
]


#: Names in modules that are imported when they are first used: files and training are half of what
#: importing the package would take.
_LATE = {
    "FormatError": "formats",
    "QuantizedDepthwiseConv2D": "layers.quantized_depthwise_conv2d",
    "depthwise_conv2d_bias_grad": "ops.gradients",
    "depthwise_conv2d_input_grad": "ops.gradients",
    "depthwise_conv2d_kernel_grad": "ops.gradients",
    "fold_batch_norm": "layers.batch_norm",
    "from_torch_weight": "torch_weights",
    "load": "saving",
    "load_layers": "saving",
    "quantized_depthwise_conv2d": "ops.quantized",
    "to_torch_weight": "torch_weights",
}

#: Modules that are imported when they are first used.
_LATE_MODULES = {"gradients": "ops.gradients", "optimizers": "optimizers", "wisdom": "wisdom"}


def __getattr__(name: str) -> Any:
    """A name of those, which is an ordinary attribute from then on."""
    path = _LATE.get(name) or _LATE_MODULES.get(name)
    if path is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module = import_module(f".{path}", __name__)
    globals()[name] = getattr(module, name) if name in _LATE else module
    return globals()[name]


def __dir__() -> list[str]:
    return sorted(__all__)
