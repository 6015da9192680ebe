"""`DepthwiseConv1D`: its arguments; `depthwise_conv.py` has what it does.

Shape letters: N batch, L length, C input channels, M depth multiplier, k kernel length, OL output
length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from numpy.typing import ArrayLike, DTypeLike

from .. import _core
from ..arguments import (
    BoolLike,
    DataFormat,
    IntLike,
    PaddingLike1D,
    SingleLike,
    Threads,
)
from .config import ARGUMENTS, LayerConfig, unknown_keywords
from .depthwise_conv import DepthwiseConv, FunctionLike, InitializerLike
from .dtype_policy import DTypePolicy
from .settings import Setting


@_core.enable_fast_calls
class DepthwiseConv1D(DepthwiseConv):
    """Depthwise convolution of sequences: Keras' DepthwiseConv1D, and `DepthwiseConv2D` along one
    axis.

    Called with x (N, L, C), or (N, C, L) if channels_first, it returns an array (N, OL, C*M), or
    (N, C*M, OL). Channel c*M + m is the activation of channel c of x convolved with
    kernel[:, c, m], plus bias[c*M + m]; `dwconv.depthwise_conv1d` has the formula. Its bits are
    those of a `DepthwiseConv2D` for images of height 1.

    All that is said of `DepthwiseConv2D` holds for it, with these differences:

    Args:
        kernel_size, strides, dilation_rate: an int, or a sequence of one, which is what the
            attributes are, as in Keras.
        padding: 'valid', 'same' or 'causal', in any case; or elements on both sides, an int or
            (left, right). 'causal' is (k - 1) * dilation_rate elements on the left, so that no
            output depends on later elements: that of Keras' Conv1D, and of the DepthwiseConv1D of
            Keras 2. Keras 3 has none: its formats (.keras, .weights.h5, .json) refuse a layer with
            it, as they do one with elements.
        depthwise_initializer: the kernel's shape is (k, C, M).
        input_shape: (L, C) or (C, L); batch_input_shape with N.

    Example:
        >>> layer = DepthwiseConv1D(2, padding="causal", depthwise_initializer="ones")
        >>> layer(np.float32([[[1], [2], [3]]]))[0, :, 0]  # N L C = 1 3 1
        array([1., 3., 5.], dtype=float32)
        >>> [weight.shape for weight in layer.get_weights()]
        [(2, 1, 1), (1,)]
    """

    CLASS_NAME = "DepthwiseConv1D"
    _rank = 1

    kernel_size = Setting[tuple[int]]("(k,).", fixed=True)
    strides = Setting[tuple[int]]("In pixels.", fixed=True)
    dilation_rate = Setting[tuple[int]]("In pixels.", fixed=True)

    def __init__(
        self,
        kernel_size: SingleLike,
        strides: SingleLike = 1,
        padding: PaddingLike1D = "valid",
        depth_multiplier: IntLike = 1,
        data_format: DataFormat | None = None,
        *,
        dilation_rate: SingleLike = 1,
        activation: FunctionLike = None,
        use_bias: BoolLike = True,
        depthwise_initializer: InitializerLike = "glorot_uniform",
        bias_initializer: InitializerLike = "zeros",
        depthwise_regularizer: FunctionLike = None,
        bias_regularizer: FunctionLike = None,
        activity_regularizer: FunctionLike = None,
        depthwise_constraint: FunctionLike = None,
        bias_constraint: FunctionLike = None,
        input_shape: Sequence[IntLike | None] | None = None,
        batch_input_shape: Sequence[IntLike | None] | None = None,
        batch_size: IntLike | None = None,
        dtype: DTypeLike | Mapping[str, Any] | DTypePolicy | None = None,
        name: str | None = None,
        trainable: BoolLike | None = True,
        weights: Sequence[ArrayLike] | None = None,
        num_threads: Threads = None,
        allow_strided_dilation: BoolLike = False,
        **unknown: NoReturn,  # no value has this type: checkers refuse every other keyword
    ) -> None:
        if unknown:
            raise unknown_keywords(unknown, ARGUMENTS | {"weights", "num_threads"}, self.CLASS_NAME)
        config = LayerConfig.read(
            kernel_size=kernel_size,
            strides=strides,
            padding=padding,
            depth_multiplier=depth_multiplier,
            data_format=data_format,
            dilation_rate=dilation_rate,
            activation=activation,
            use_bias=use_bias,
            depthwise_initializer=depthwise_initializer,
            bias_initializer=bias_initializer,
            depthwise_regularizer=depthwise_regularizer,
            bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer,
            depthwise_constraint=depthwise_constraint,
            bias_constraint=bias_constraint,
            dtype=dtype,
            name=name,
            trainable=trainable,
            allow_strided_dilation=allow_strided_dilation,
            rank=self._rank,
        )
        super().__init__(config, input_shape, batch_input_shape, batch_size, weights, num_threads)
