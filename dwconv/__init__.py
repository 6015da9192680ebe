"""Depthwise convolution on a CPU, as Keras defines it."""

from . import activations, constraints, initializers, isa, reference, regularizers
from ._version import __version__
from .formats import FormatError
from .layer import DepthwiseConv2D
from .ops import depthwise_conv2d
from .saving import load

__all__ = [
    "DepthwiseConv2D",
    "FormatError",
    "__version__",
    "activations",
    "constraints",
    "depthwise_conv2d",
    "initializers",
    "isa",
    "load",
    "reference",
    "regularizers",
]
