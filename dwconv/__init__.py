"""Depthwise convolution on a CPU, as Keras defines it."""

from . import isa, reference
from ._version import __version__
from .ops import depthwise_conv2d

__all__ = ["__version__", "depthwise_conv2d", "isa", "reference"]
