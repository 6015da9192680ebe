"""The operation without a layer: convolution, its gradients and what a plan tells of itself."""

from .convolution import FUSED_ACTIVATIONS, depthwise_conv1d, depthwise_conv2d, split_activation
from .epilogue import Array, Epilogue, Plan, activated, activated_shape, run
from .plan import BoundPlan, make_plan
from .spec import ConvSpec

__all__ = [
    "FUSED_ACTIVATIONS",
    "Array",
    "BoundPlan",
    "ConvSpec",
    "Epilogue",
    "Plan",
    "activated",
    "activated_shape",
    "depthwise_conv1d",
    "depthwise_conv2d",
    "make_plan",
    "run",
    "split_activation",
]
