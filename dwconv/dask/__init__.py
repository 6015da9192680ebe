"""Dask arrays: a depthwise convolution and its gradients by tasks, with the bits of one call.

Each chunk of a result is one task. It takes exactly the pixels that its taps reach, as slices of
the chunks that hold them, and pads only where the image ends. So strided axes have no halo that is
not needed, and no task holds a neighbour as a whole. The extra `dwconv[dask]` installs Dask.
"""

from __future__ import annotations

from .convolution import apply, depthwise_conv2d
from .gradients import (
    depthwise_conv2d_bias_grad,
    depthwise_conv2d_input_grad,
    depthwise_conv2d_kernel_grad,
)

__all__ = [
    "apply",
    "depthwise_conv2d",
    "depthwise_conv2d_bias_grad",
    "depthwise_conv2d_input_grad",
    "depthwise_conv2d_kernel_grad",
]
