"""Depthwise convolution on a CPU, as Keras defines it."""

from . import (
    activations,
    config,
    constraints,
    initializers,
    isa,
    optimizers,
    reference,
    regularizers,
)
from ._version import __version__
from .config import trim_memory
from .embedding import get_include
from .formats import FormatError
from .gradients import (
    depthwise_conv2d_bias_grad,
    depthwise_conv2d_input_grad,
    depthwise_conv2d_kernel_grad,
)
from .inputs import Input
from .layer import DepthwiseConv2D
from .model import Sequential, layer_depthwise_conv_2d
from .ops import depthwise_conv2d
from .saving import load, load_layers

__all__ = [
    "DepthwiseConv2D",
    "FormatError",
    "Input",
    "Sequential",
    "__version__",
    "activations",
    "config",
    "constraints",
    "depthwise_conv2d",
    "depthwise_conv2d_bias_grad",
    "depthwise_conv2d_input_grad",
    "depthwise_conv2d_kernel_grad",
    "get_include",
    "initializers",
    "isa",
    "layer_depthwise_conv_2d",
    "load",
    "load_layers",
    "optimizers",
    "reference",
    "regularizers",
    "trim_memory",
]
