"""R's `layer_depthwise_conv_2d`."""

from __future__ import annotations

from typing import Any

from .depthwise_conv2d import DepthwiseConv2D
from .sequential import Sequential, is_layer


def layer_depthwise_conv_2d(
    object: Any,  # noqa: A002 (R's name)
    kernel_size: Any,
    strides: Any = (1, 1),
    padding: str | None = "valid",
    depth_multiplier: Any = 1,
    data_format: str | None = None,
    activation: Any = None,
    use_bias: Any = True,
    depthwise_initializer: Any = "glorot_uniform",
    bias_initializer: Any = "zeros",
    depthwise_regularizer: Any = None,
    bias_regularizer: Any = None,
    activity_regularizer: Any = None,
    depthwise_constraint: Any = None,
    bias_constraint: Any = None,
    input_shape: Any = None,
    batch_input_shape: Any = None,
    batch_size: Any = None,
    dtype: Any = None,
    name: str | None = None,
    trainable: Any = None,
    weights: Any = None,
    *,
    dilation_rate: Any = (1, 1),
    num_threads: Any = None,
    allow_strided_dilation: Any = None,
    **unknown: Any,
) -> Any:
    """R's function of that name: makes a `DepthwiseConv2D` and composes it with `object`.

    object: None gives the layer itself. A `Sequential` is returned with the layer added to it.
    Another layer gives a new `Sequential` of both. An input, an array or `Input(...)`, gives the
    layer's output for it.

    The other arguments are those of `DepthwiseConv2D` in the order of the R document; None, R's
    NULL, stands for each default. Raises what these raise.

    Example:
        >>> layer_depthwise_conv_2d(np.zeros((1, 8, 8, 4)), 3, strides=1, padding="same").shape
        (1, 8, 8, 4)
    """
    arguments = {key: value for key, value in locals().items() if value is not None}
    for name in ("object", "unknown"):
        arguments.pop(name, None)
    arguments["kernel_size"] = kernel_size  # for its own error
    layer = DepthwiseConv2D(**arguments, **unknown)
    if object is None:
        return layer
    if isinstance(object, Sequential):
        object.add(layer)
        return object
    if is_layer(object):
        return Sequential([object, layer])
    return layer(object)
