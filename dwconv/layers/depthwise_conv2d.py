"""The layer: Keras' DepthwiseConv2D without Keras.

Shape letters: N batch, H height, W width, C input channels, M depth multiplier, kh/kw kernel
height/width, OH/OW output height/width. Every pair is (height, width).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from .. import (
    activations,
    config,
    constraints,
    dtypes,
    initializers,
    naming,
    ops,
    regularizers,
)
from ..arguments import read_bool, read_num_threads
from ..ops import ConvSpec
from . import configs, dtype_policy, inputs
from .configured import ConfiguredLayer
from .weights import NAMES, Array, Plan, Shape, Weights, read_copy, read_list

if TYPE_CHECKING:
    from ..formats import PathLike
    from . import backward


class DepthwiseConv2D(ConfiguredLayer):
    """Depthwise convolution: each input channel with its own `depth_multiplier` kernels.

    Called with x (N, H, W, C), or (N, C, H, W) if channels_first, it returns an array (N, OH, OW,
    C*M), or (N, C*M, OH, OW): channel c*M + m is channel c of x with kernel[:, :, c, m], plus
    bias[c*M + m], through the activation. `dwconv.depthwise_conv2d` has the formula. The weights
    are made at the first call or by `build`. Calls from many threads at once are fine.

    x may be anything that NumPy makes an array of real numbers of; what has another dtype than the
    layer is cast to it, integers included, but no floats to an int32 layer. The output is a new
    C-contiguous array of the layer's compute dtype, whose memory is recycled when it and all views
    of it are gone (`dwconv.config`); N may be 0. For a `SymbolicTensor` it is one, too. A call
    raises ValueError for another rank, other channels than at build, or an output that would be
    empty; TypeError for what is not real numbers, or not integers if the layer is int32;
    MemoryError.

    Args:
        kernel_size: an int or two, (kh, kw). Here and below whole floats, such as R's 3.0, are
            ints.
        strides: an int or two, in pixels.
        padding: 'valid' or 'same', in any case.
        depth_multiplier: M, an int.
        data_format: 'channels_last' or 'channels_first', in any case; None: what
            $KERAS_HOME/keras.json or ~/.keras/keras.json says, else channels_last.
        dilation_rate: an int or two, in pixels. Not together with strides other than 1, as in
            Keras; the functional operation can do both.
        activation: None, a name, a config dict, a function of the whole output or a layer. It sees
            the output in its data_format: softmax and others that act on the last axis act on the
                width if channels_first.
        use_bias: whether a bias (C*M,) is added.
        depthwise_initializer, bias_initializer: how weights start: a name, a config dict, an array,
            or a function (shape, dtype=...) -> array; None is the default. The kernel's shape is
            (kh, kw, C, M).
        depthwise_regularizer, bias_regularizer, activity_regularizer: penalties, see `losses`.
        depthwise_constraint, bias_constraint: see `apply_constraints`.
        input_shape: (H, W, C) or (C, H, W), None where unknown: what a `Sequential` starts with.
            The layer itself is still built at its first call; C must be the same then.
        batch_input_shape: input_shape with N; wins over input_shape and batch_size.
        batch_size: N, for input_shape.
        dtype: of weights, computation and output: float32 (None), float64, int32 (exact, wrapping
            as NumPy's; see below), float16 or bfloat16 (computed in float32, rounded once;
            bfloat16 needs the package ml_dtypes), 'mixed_float16' or 'mixed_bfloat16'; a name, a
            NumPy dtype or a config dict of a Keras dtype policy.
        name: without '/'; None: depthwise_conv2d, depthwise_conv2d_1, ...
        trainable: a bool; None is True.
        weights: [kernel] or [kernel, bias] to start with instead of the initializers; copied.
        num_threads: how many threads a call may use, a positive int; None: what
            `dwconv.config.num_threads()` is by then. May be set, is no part of the config, and
            `layer(x, num_threads=N)` is for one call. Outputs are the same to the bit.

    An int32 layer takes integer inputs of any width, cast as NumPy casts them, and refuses floats,
    whose fractions a cast would drop. Its weights must be whole numbers in range: give `weights` or
    initializers that yield such (zeros, ones, constant); the default kernel initializer,
    glorot_uniform, does not, which is an error when the layer is built. Of the built-in activations
    those apply that are exact on integers: linear, relu (also with a whole slope, bound or
    threshold) and relu6. A function of the user's must return integers. (Keras on TensorFlow
    constructs such a layer, but has no int32 convolution to call.)

    Raises:
        ValueError: an argument that is none, `strides` together with `dilation_rate`.
        TypeError: an unknown keyword, an activation that an int32 layer cannot have.

    Example:
        >>> layer = DepthwiseConv2D((1, 2), depth_multiplier=2, depthwise_initializer="ones")
        >>> layer(np.float32([[[[1, 10], [2, 20], [3, 30]]]]))  # N H W C = 1 1 3 2
        array([[[[ 3.,  3., 30., 30.],
                 [ 5.,  5., 50., 50.]]]], dtype=float32)
        >>> [weight.shape for weight in layer.get_weights()]
        [(1, 2, 2, 2), (4,)]
    """

    def __init__(
        self,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: str = "valid",
        depth_multiplier: Any = 1,
        data_format: str | None = None,
        *,
        dilation_rate: Any = (1, 1),
        activation: Any = None,
        use_bias: Any = True,
        depthwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        bias_constraint: Any = None,
        input_shape: Sequence[Any] | None = None,
        batch_input_shape: Sequence[Any] | None = None,
        batch_size: Any = None,
        dtype: Any = None,
        name: str | None = None,
        trainable: Any = True,
        weights: Sequence[ArrayLike] | None = None,
        num_threads: Any = None,
        **unknown: Any,
    ) -> None:
        if unknown:
            raise configs.unknown_keywords(unknown, _argument_names())
        super().__init__()
        if data_format is None:
            data_format = config.image_data_format()
        self.spec = spec = ConvSpec.read(
            kernel_size,
            strides,
            padding,
            dilation_rate,
            depth_multiplier,
            data_format,
            explicit=False,
        )
        self.kernel_size, self.strides = spec.kernel_size, spec.strides
        self.dilation_rate, self.padding = spec.dilation_rate, str(spec.padding)
        self.depth_multiplier, self.data_format = spec.depth_multiplier, spec.data_format
        if self.strides != (1, 1) and self.dilation_rate != (1, 1):
            raise ValueError(
                "expected strides or dilation_rate to be 1; received "
                f"strides={self.strides} and dilation_rate={self.dilation_rate}"
            )
        self.dtype_policy = dtype_policy.read(dtype)
        self.activation = activation
        self.use_bias = read_bool("use_bias", use_bias)
        read = configs.read_object
        self.depthwise_initializer = read(
            "depthwise_initializer",
            initializers.get,
            "glorot_uniform" if depthwise_initializer is None else depthwise_initializer,
        )
        self.bias_initializer = read(
            "bias_initializer",
            initializers.get,
            "zeros" if bias_initializer is None else bias_initializer,
        )
        self.depthwise_regularizer = read(
            "depthwise_regularizer", regularizers.get, depthwise_regularizer
        )
        self.bias_regularizer = read("bias_regularizer", regularizers.get, bias_regularizer)
        self.activity_regularizer = activity_regularizer
        self.num_threads = num_threads
        self.depthwise_constraint = read(
            "depthwise_constraint", constraints.get, depthwise_constraint
        )
        self.bias_constraint = read("bias_constraint", constraints.get, bias_constraint)
        self.trainable = True if trainable is None else trainable
        self._declared_shape = inputs.declared_shape(input_shape, batch_input_shape, batch_size)
        self._build_shape: inputs.WholeShape | None = None
        self._initial: Weights | None = None
        if weights is not None:
            self._start_with(weights)
        # Last: a layer that could not be made uses up no name.
        self.name = naming.given_or_unique(name, type(self).__name__)

    # ---- calling ---------------------------------------------------------------------------------

    def _call(self, x: Any, num_threads: Any = None) -> Any:
        """The output for x: a call of the layer comes here if it finds no plan that takes x as it
        is, and always if there is an activity regularizer or a number of threads.
        """
        num_threads = read_num_threads(num_threads)
        if isinstance(x, inputs.SymbolicTensor):
            shape = self.compute_output_shape(x.shape)
            self.build(x.shape)
            return inputs.SymbolicTensor(shape, self.compute_dtype, self.name)
        x = np.asarray(x)
        weights = self._weights
        if weights is None:
            self.compute_output_shape(x.shape)  # the errors come before weights are made
            dtypes.check_castable(x.dtype, self.compute_dtype, "x")
            weights = self._built_for(x.shape)
        plan = weights.plans.get(x.shape)
        if plan is None:
            self.compute_output_shape(x.shape)  # for its errors
            plan = weights.add_plan(
                x.shape,
                lambda: self._new_plan(weights, x.shape, num_threads=self.num_threads),
                offer=self.activity_regularizer is None,
            )
        y = plan(x, num_threads=num_threads)
        if self.activity_regularizer is not None:
            batch = y.shape[0]
            self._activity_loss = float(self.activity_regularizer(y)) / batch if batch else 0.0
        return y

    def plan(
        self, input_shape: Sequence[Any], num_threads: Any = None, isa: str | None = None
    ) -> Plan:
        """All that a call decides, decided beforehand; builds the layer if needed.

        `plan(x, out=None)` is what the layer returns for x, which must have the plan's shape. With
        `out`, an array of the output's shape and dtype that shares no element with x, the output is
        there, and nothing is allocated if x and out are C-contiguous and nothing comes between them
        and the kernel; `plan.describe()` tells, and which kernel computes. A plan keeps the weights
        and the activation that the layer has now, and records no activity loss. Any number of
        threads may call it at once.

        Args:
            input_shape: (N, H, W, C), or (N, C, H, W) if channels_first; all of them known.
            num_threads: how many threads a call may use, a positive int; None: the layer's. A call
                may say otherwise: `plan(x, out=None, num_threads=N)`.
            isa: one of `dwconv.isa.available()`; None: the default.

        Raises ValueError for a shape that the layer cannot take and other arguments that are none;
        MemoryError. The plan's calls raise what the layer's do, and ValueError or TypeError for an
        `out` of another shape or dtype, read-only or overlapping.
        """
        sizes = self._check_shape(input_shape)
        shape = tuple(size for size in sizes if size is not None)
        if len(shape) < len(sizes):
            raise ValueError(f"input_shape: expected four known sizes; received {sizes}")
        num_threads = self.num_threads if num_threads is None else read_num_threads(num_threads)
        self.compute_output_shape(shape)  # for its errors
        weights = self._weights or self._built_for(shape)
        return self._new_plan(weights, shape, isa, num_threads)

    def vjp(self, x: Any) -> tuple[Array, backward.Pullback]:
        """(y, pullback): the output for x, as a call gives it, and the way back.

        `grads = pullback(dy)`, dy being the gradient dL/dy of a loss with respect to y, in y's
        shape, gives dL/dx as `grads.input`, in x's shape and the compute dtype, and `grads.kernel`
        (kh, kw, C, M) and `grads.bias` (C*M,), in the dtype of the weights; None while the layer is
        not trainable. They include the activation and the activity regularizer, whose penalty is
        part of L; `loss_gradients` has those of the weights. `pullback(dy, input=False)` leaves out
        dL/dx. The pullback belongs to the weights at the time of `vjp`; x must not be changed
        before it is called, y may be. Each sum has a fixed order, see csrc/dwconv.h.

        Raises what a call raises, TypeError for a layer of integers; the pullback ValueError for
        another shape, NotImplementedError for an activation or activity regularizer without
        `gradient`.
        """
        x = np.asarray(x)
        from . import backward

        return backward.layer_vjp(self, self._weights or self._built_for(x.shape), x)

    @property
    def activation(self) -> Any:
        """The function that the output goes through. May be set, to anything the constructor
        takes.
        """
        return self._activation

    @activation.setter
    def activation(self, value: Any) -> None:
        activation = configs.read_object("activation", activations.get, value)
        if dtypes.is_integer(self.compute_dtype) and isinstance(activation, activations.Activation):
            activation(np.zeros(2, self.compute_dtype))  # raises what the first call would
        self._split = ops.split_activation(activation, self.compute_dtype)
        self._activation = activation
        self._drop_plans()  # they have the old one in them

    @property
    def activity_regularizer(self) -> Any:
        """The penalty on the output, or None. May be set, to anything the constructor takes."""
        return self._activity_regularizer

    @activity_regularizer.setter
    def activity_regularizer(self, value: Any) -> None:
        self._activity_regularizer = configs.read_object(
            "activity_regularizer", regularizers.get, value
        )
        self._drop_plans()  # calls go by them without asking for a penalty

    @property
    def num_threads(self) -> int | None:
        """How many threads a call may use; None: `dwconv.config.num_threads()`. May be set."""
        return self._num_threads

    @num_threads.setter
    def num_threads(self, value: Any) -> None:
        self._num_threads = read_num_threads(value)
        self._drop_plans()

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _FIXED and name in self.__dict__:
            raise AttributeError(f"{name}: expected a new layer for another value; it is fixed")
        super().__setattr__(name, value)

    def _built_for(self, shape: Shape) -> Weights:
        self.compute_output_shape(shape)  # its errors come before weights are made
        self.build(shape)
        return self._built_weights()

    def _new_plan(
        self, weights: Weights, shape: Shape, isa: str | None = None, num_threads: Any = None
    ) -> Plan:
        fused, finish = self._split
        with np.errstate(over="ignore"):  # mixed_float16 rounds large weights to infinity
            kernel, *bias = (a.astype(self.compute_dtype, copy=False) for a in weights.arrays())
        return ops.make_plan(
            self.spec,
            shape,
            kernel,
            bias[0] if bias else None,
            fused,
            isa,
            ops.Operation(self.name, self.compute_dtype, self.data_format, fused, finish),
            num_threads,
        )

    # ---- shapes ----------------------------------------------------------------------------------

    def compute_output_shape(self, input_shape: Sequence[Any]) -> inputs.WholeShape:
        """(N, OH, OW, C*M), or (N, C*M, OH, OW), for a whole input shape; None where that has None.

        Raises ValueError for another rank, other channels than at build, or an output that would be
        empty.
        """
        sizes = self._check_shape(input_shape)
        try:
            shape = self.spec.output_shape(sizes)
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from error
        return ops.activated_shape(self.activation, shape)

    def _check_shape(self, input_shape: Any) -> inputs.WholeShape:
        return inputs.check(self.name, input_shape, self.data_format, self._known_channels())

    def _known_channels(self) -> int | None:
        """C by the weights, made or given, else by the declared input shape."""
        weights = self._weights or self._initial
        if weights is not None:
            return int(weights.kernel.shape[2])
        if self._declared_shape is not None:
            return self._declared_shape[inputs.channel_axis(self.data_format)]
        return None

    @property
    def input_shape(self) -> inputs.WholeShape:
        """The whole shape that the layer was built for, before that the declared one;
        AttributeError if none.
        """
        shape = self._build_shape or self._declared_shape
        if shape is None:
            raise AttributeError(
                f"{self.name}: expected a layer that is built or has an input_shape; it is neither"
            )
        return shape

    @property
    def output_shape(self) -> inputs.WholeShape:
        """The output's shape for `input_shape`, with the same AttributeError."""
        return self.compute_output_shape(self.input_shape)

    # ---- building --------------------------------------------------------------------------------

    def build(self, input_shape: Sequence[Any] | None = None) -> None:
        """Makes the weights for an input of the whole shape `input_shape` (None: the declared one).

        Only the channels need to be known. A layer that is built already keeps its weights.
        Raises ValueError for another rank or other channels than the layer has, for an initializer
        that makes another shape, and without any shape.
        """
        if input_shape is None:
            input_shape = self._declared_shape
        if input_shape is None:
            raise ValueError(
                f"{self.name}: expected an input_shape, here or at construction; received none"
            )
        sizes = self._check_shape(input_shape)
        channels = sizes[inputs.channel_axis(self.data_format)]
        if not channels:
            raise ValueError(f"{self.name}: expected at least one channel; received shape {sizes}")
        with self._lock:
            if self._weights is None:
                self._weights = self._initial or self._first_weights(channels)
                self._build_shape = sizes
                self._initial = None

    def _first_weights(self, channels: int) -> Weights:
        shape = (*self.kernel_size, channels, self.depth_multiplier)
        kernel = self._initialized("depthwise_initializer", shape)
        if not self.use_bias:
            return Weights(kernel)
        return Weights(
            kernel, self._initialized("bias_initializer", (channels * self.depth_multiplier,))
        )

    def _initialized(self, argument: str, shape: Shape) -> Array:
        name, dtype = f"{self.name}: {argument}", self.variable_dtype
        try:
            values = getattr(self, argument)(shape, dtype=dtype)
        except ValueError as error:  # such as of a random one that is to yield integers
            raise ValueError(f"{name}: {error}") from error
        return read_copy(name, values, shape, dtype)

    def _start_with(self, weights: Any, copy: bool = True) -> None:
        """Keeps [kernel] or [kernel, bias] for build, checked as far as it can be without an
        input. Without `copy`, arrays that have dtype and order already are kept themselves.
        """
        kernel, *bias = read_list("weights", weights, self.use_bias)
        shape = (*self.kernel_size, None, self.depth_multiplier)
        dtype = self.variable_dtype
        kernel = read_copy(NAMES[0], kernel, shape, dtype, copy)
        outputs = kernel.shape[2] * self.depth_multiplier
        self._initial = Weights(
            kernel, *(read_copy(NAMES[1], array, (outputs,), dtype, copy) for array in bias)
        )

    # ---- files -----------------------------------------------------------------------------------

    def save(self, path: PathLike) -> None:
        """Writes config and weights to a file, in one step, replacing one that is there; see
        docs/format.md.

        The suffix says the format: .safetensors, .npz, .keras (a Sequential of the layer alone,
        which Keras 3 reads), .weights.h5 (of the same, the weights alone), .json (the config
        alone). A layer that is not built is saved as its config. `dwconv.load` reads it. Raises
        ValueError for another suffix, for a config that cannot be written (a lambda), for a
        subclass, which no file could bring back, and for weights given at construction to a layer
        that is not built yet; ImportError where h5py is needed and missing; OSError.
        """
        from ..formats import store

        store.write(path, *self._saved())

    def _saved(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """The item of a model's config that is this layer, with what files need besides, and its
        weights by name.
        """
        if type(self) is not DepthwiseConv2D:
            raise ValueError(
                f"{self.name}: expected a DepthwiseConv2D itself; received a "
                f"{type(self).__name__}. `save_weights` takes it"
            )
        if self._initial is not None:
            raise ValueError(
                f"{self.name}: expected a layer that has taken over the weights given to it; "
                "call build first"
            )
        return self._document(), dict(zip(("kernel", "bias"), self.weights, strict=False))

    def _document(self) -> dict[str, Any]:
        return {
            "class_name": DepthwiseConv2D.__name__,
            "config": DepthwiseConv2D.get_config(self),
            "build_config": {"input_shape": self._build_shape} if self.built else None,
            "batch_input_shape": self._declared_shape,
        }

    def save_weights(self, path: PathLike) -> None:
        """Writes the weights to a file as `save` does: .safetensors, .npz, .keras or .weights.h5.

        Raises what `save` raises, and ValueError for a layer that is not built.
        """
        arrays = self._built_weights().arrays()
        from ..formats import store

        store.write_weights(
            path, self._document(), dict(zip(("kernel", "bias"), arrays, strict=False))
        )

    def load_weights(self, path: PathLike) -> None:
        """Takes over the weights in a file: of its only depthwise layer or of the one that has this
        layer's name.

        The file may be any that `dwconv.load_layers` reads, weights alone included, and any
        .safetensors or .npz file with `kernel` (kh, kw, C, M) and, with use_bias, `bias` (C*M,). A
        layer that is not built is built for the channels in the file. Raises FormatError, which
        names the file, for one that is damaged, has no such layer or weights of other shapes or
        dtypes; ValueError for an unknown suffix; OSError. Then nothing has changed.
        """
        from ..formats import store

        found = store.depthwise_weights(path, self.name)
        with store.naming(path):
            self._take(found)

    def _take(self, found: Mapping[str, Array]) -> None:
        """Puts weights from a file in the place of the layer's, or builds it with them."""
        from ..formats import FormatError

        names = ["kernel", "bias"][: 1 + self.use_bias]
        if sorted(found) != sorted(names):
            raise FormatError(f"{self.name}: expected {names}; received {sorted(found)}")
        for name, array in found.items():
            if array.dtype != self.variable_dtype:
                raise FormatError(
                    f"{self.name}: {name}: expected dtype {self.variable_dtype}; "
                    f"received {array.dtype}"
                )
        values = [found[name] for name in names]
        try:
            if self.built:
                self.set_weights(values)
                return
            old, shape = self._initial, self._declared_shape
            if shape is None:
                sizes: list[int | None] = [None] * 4
                sizes[inputs.channel_axis(self.data_format)] = found["kernel"].shape[2:3][0]
                shape = tuple(sizes)
            try:
                self._start_with(values)
                self.build(shape)
            finally:
                self._initial = None if self.built else old
        except (ValueError, TypeError, LookupError) as error:
            raise FormatError(str(error)) from error


# What plans and weights depend on.
_FIXED = frozenset(
    {
        "spec",
        "kernel_size",
        "strides",
        "padding",
        "depth_multiplier",
        "data_format",
        "dilation_rate",
        "use_bias",
        "dtype_policy",
    }
)


def _argument_names() -> tuple[str, ...]:
    """Names of the constructor's arguments, in order."""
    import inspect  # slow to import, and for a message only

    return tuple(inspect.signature(DepthwiseConv2D).parameters)[:-1]
