"""`DepthwiseConv2D`: its arguments; `depthwise_conv.py` has what it does.

Shape letters: N batch, H height, W width, C input channels, M depth multiplier, kh/kw kernel
height/width, OH/OW output height/width. Every pair is (height, width).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from numpy.typing import ArrayLike, DTypeLike

from .. import _core
from ..arguments import (
    BoolLike,
    DataFormat,
    IntLike,
    PaddingLike,
    Pair,
    PairLike,
    Threads,
)
from .config import ARGUMENTS, LayerConfig, unknown_keywords
from .depthwise_conv import DepthwiseConv, FunctionLike, InitializerLike
from .dtype_policy import DTypePolicy
from .settings import Setting

if TYPE_CHECKING:
    from .quantized_depthwise_conv2d import QuantizedDepthwiseConv2D


@_core.enable_fast_calls
class DepthwiseConv2D(DepthwiseConv):
    """Depthwise convolution: each input channel with its own `depth_multiplier` kernels.

    Called with x (N, H, W, C), or (N, C, H, W) if channels_first, it returns an array (N, OH, OW,
    C*M), or (N, C*M, OH, OW). Channel c*M + m is the activation of channel c of x convolved with
    kernel[:, :, c, m], plus bias[c*M + m]; `dwconv.depthwise_conv2d` has the formula. The first
    call or `build` makes the weights. Any number of threads may call the layer at once.

    x may be anything that NumPy makes an array of real numbers of. An x of another dtype is cast to
    the layer's; only floats are never cast to an int32 layer's. N may be 0. The output is a new
    C-contiguous array of the layer's compute dtype. Its memory is recycled once the array and all
    views of it are gone (`dwconv.config`). For a `SymbolicTensor` the output is another one.

    `layer(x, training=...)`, `layer(inputs=x)` are Keras' ways to write the same call.

    A call raises ValueError for another rank, other channels than at build and an output that would
    be empty; TypeError for a masked array, for what is not real numbers, and for floats if the
    layer is int32; MemoryError.

    Args:
        kernel_size: an int or two, (kh, kw). NumPy integers and whole floats, such as R's 3.0, are
            ints, here and below.
        strides: an int or two, in pixels.
        padding: 'valid' or 'same', in any case; or pixels, as ((top, bottom), (left, right)), as
            two ints, (height, width), each for both sides, or as an int for all four. Keras has the
            names only: its formats (.keras, .weights.h5, .json) refuse a layer with pixels.
        depth_multiplier: M, an int.
        data_format: 'channels_last' or 'channels_first', in any case; None: what
            $KERAS_HOME/keras.json or ~/.keras/keras.json says, else channels_last.
        dilation_rate: an int or two, in pixels. Not together with strides other than 1, as in
            Keras 1 and 2, unless `allow_strided_dilation` says so.
        activation: None, a name, a config dict, a function of the whole output or a layer. It sees
            the output in its data_format: an activation that acts on the last axis, such as
            softmax, acts on the width if channels_first.
        use_bias: whether a bias (C*M,) is added.
        depthwise_initializer, bias_initializer: how weights start: a name, a config dict, an array,
            or a function (shape, dtype=...) -> array; None is the default. The kernel's shape is
            (kh, kw, C, M).
        depthwise_regularizer, bias_regularizer, activity_regularizer: penalties, see `losses`.
        depthwise_constraint, bias_constraint: see `apply_constraints`.
        input_shape: (H, W, C) or (C, H, W), None where unknown: what a `Sequential` starts with.
            A layer alone is still built at its first call, whose x must have that C.
        batch_input_shape: input_shape with N; wins over input_shape and batch_size.
        batch_size: N, for input_shape.
        dtype: of weights, computation and output: float32 (None), float64, int32 (exact, wraps as
            NumPy's does; see below), float16 or bfloat16 (computed in float32 and rounded once;
            bfloat16 needs the package ml_dtypes), 'mixed_float16' or 'mixed_bfloat16'. A name, a
            NumPy dtype or the config dict of a dtype policy of Keras.
        name: without '/'; None: depthwise_conv2d, depthwise_conv2d_1, ...
        trainable: a bool; None is True.
        weights: [kernel] or [kernel, bias] to start with instead of the initializers; copied.
        num_threads: how many threads a call may use, a positive int or 'auto'; None: what
            `dwconv.config.num_threads()` is at the time of the call. It may be set, and
            `layer(x, num_threads=N)` is for one call. It is not part of the config. Outputs have
            the same bits with any number.
        allow_strided_dilation: a bool: whether strides and dilation_rate may both be other than 1.
            Keras 3 computes such a layer, and so does this one then.

    An int32 layer takes integers of any width, cast as NumPy casts them. It refuses floats, since a
    cast would drop their fractions. Its weights must be whole numbers in range. So it needs
    `weights`, or initializers that yield whole numbers (zeros, ones, constant): with the default
    kernel initializer, glorot_uniform, `build` raises ValueError. Its activation must be exact on
    integers: linear, relu (also with a whole slope, bound or threshold), relu6, or a function of
    the user's that returns integers. (Keras on TensorFlow constructs such a layer, but has no int32
    convolution to call.)

    Raises:
        ValueError: a value that an argument cannot have; strides and dilation_rate both other than
            1, unless allowed.
        TypeError: an unknown keyword, an activation that an int32 layer cannot have.

    Example:
        >>> layer = DepthwiseConv2D((1, 2), depth_multiplier=2, depthwise_initializer="ones")
        >>> layer(np.float32([[[[1, 10], [2, 20], [3, 30]]]]))  # N H W C = 1 1 3 2
        array([[[[ 3.,  3., 30., 30.],
                 [ 5.,  5., 50., 50.]]]], dtype=float32)
        >>> [weight.shape for weight in layer.get_weights()]
        [(1, 2, 2, 2), (4,)]
    """

    CLASS_NAME = "DepthwiseConv2D"
    _rank = 2

    kernel_size = Setting[Pair]("(kh, kw).", fixed=True)
    strides = Setting[Pair]("In pixels.", fixed=True)
    dilation_rate = Setting[Pair]("In pixels.", fixed=True)

    def __init__(
        self,
        kernel_size: PairLike,
        strides: PairLike = (1, 1),
        padding: PaddingLike = "valid",
        depth_multiplier: IntLike = 1,
        data_format: DataFormat | None = None,
        *,
        dilation_rate: PairLike = (1, 1),
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
        )
        super().__init__(config, input_shape, batch_input_shape, batch_size, weights, num_threads)

    def quantize(
        self, calibration: ArrayLike | Iterable[ArrayLike], dtype: DTypeLike = "int8"
    ) -> QuantizedDepthwiseConv2D:
        """A frozen layer of int8 weights that computes nearly the same, of bytes.

        Each output channel gets a scale, so that its largest weight is 127 or -127. The scales and
        zero points of input and output follow from the smallest and the largest number that the
        examples lead to, activation included; what lies beyond is saturated later.

        Args:
            calibration: examples of x: an array (N, H, W, C), or an iterable of such.
            dtype: of the quantized x and y, int8 or uint8.

        Raises ValueError for another layout than channels last, another activation than linear,
        relu and relu6, no example, one with NaN or infinity, and another dtype; TypeError for what
        is no array and no iterable; what a call raises.

        Example:
            >>> layer = DepthwiseConv2D(3, weights=[np.ones((3, 3, 2, 1))], use_bias=False)
            >>> small = layer.quantize(np.ones((1, 4, 4, 2)))
            >>> small.dequantize_output(small(small.quantize_input(np.ones((1, 3, 3, 2)))))
            array([[[[9., 9.]]]], dtype=float32)
        """
        from .quantizing import quantized_layer

        return quantized_layer(self, calibration, dtype)
