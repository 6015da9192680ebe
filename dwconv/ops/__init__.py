"""The operation without a layer: convolution, its gradients and what a plan tells of itself."""

from .convolution import (
    FUSED_ACTIVATIONS,
    Array,
    Operation,
    Plan,
    activated_shape,
    depthwise_conv2d,
    finished,
    nhwc_shape,
    plan,
    run,
    split_activation,
)

__all__ = [
    "FUSED_ACTIVATIONS",
    "Array",
    "Operation",
    "Plan",
    "activated_shape",
    "depthwise_conv2d",
    "finished",
    "nhwc_shape",
    "plan",
    "run",
    "split_activation",
]
