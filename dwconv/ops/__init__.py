"""The operation without a layer: convolution, its gradients and what a plan tells of itself."""

from .convolution import (
    FUSED_ACTIVATIONS,
    Array,
    Operation,
    Plan,
    activated_shape,
    depthwise_conv2d,
    finished,
    make_plan,
    run,
    split_activation,
)
from .spec import ConvSpec

__all__ = [
    "FUSED_ACTIVATIONS",
    "Array",
    "ConvSpec",
    "Operation",
    "Plan",
    "activated_shape",
    "depthwise_conv2d",
    "finished",
    "make_plan",
    "run",
    "split_activation",
]
