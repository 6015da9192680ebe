"""R's `layer_depthwise_conv_2d` and `layer_depthwise_conv_1d`."""

from __future__ import annotations

from typing import Any

from .depthwise_conv import DepthwiseConv
from .depthwise_conv1d import DepthwiseConv1D
from .depthwise_conv2d import DepthwiseConv2D
from .sequential import Sequential, is_layer


def layer_depthwise_conv_2d(
    object: Any,  # noqa: A002 (R's name)
    kernel_size: Any,
    strides: Any = (1, 1),
    padding: Any = "valid",
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
    arguments = dict(locals())
    return _compose(object, DepthwiseConv2D, arguments)


def layer_depthwise_conv_1d(
    object: Any,  # noqa: A002 (R's name)
    kernel_size: Any,
    strides: Any = 1,
    padding: Any = "valid",
    depth_multiplier: Any = 1,
    data_format: str | None = None,
    dilation_rate: Any = 1,
    activation: Any = None,
    use_bias: Any = True,
    depthwise_initializer: Any = "glorot_uniform",
    bias_initializer: Any = "zeros",
    depthwise_regularizer: Any = None,
    bias_regularizer: Any = None,
    activity_regularizer: Any = None,
    depthwise_constraint: Any = None,
    bias_constraint: Any = None,
    **others: Any,
) -> Any:
    """R's function of that name: makes a `DepthwiseConv1D` and composes it with `object`, as
    `layer_depthwise_conv_2d` does.

    The arguments are in the order of the R document; `others` are those of `DepthwiseConv1D`.

    Example:
        >>> layer_depthwise_conv_1d(np.zeros((1, 8, 4)), 3, padding="causal").shape
        (1, 8, 4)
    """
    arguments = dict(locals())
    arguments.update(arguments.pop("others"))
    return _compose(object, DepthwiseConv1D, arguments)


def _compose(object: Any, kind: type[DepthwiseConv], arguments: dict[str, Any]) -> Any:  # noqa: A002
    """A layer of the arguments of a function of R's, composed with `object`, which is one."""
    unknown = arguments.pop("unknown", {})
    given = {key: value for key, value in arguments.items() if value is not None}
    given.pop("object", None)
    given["kernel_size"] = arguments["kernel_size"]  # for its own error
    make: Any = kind
    layer = make(**given, **unknown)
    if object is None:
        return layer
    if isinstance(object, Sequential):
        object.add(layer)
        return object
    if is_layer(object):
        return Sequential([object, layer])
    return layer(object)
