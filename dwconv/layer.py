"""The layer: Keras' DepthwiseConv2D without Keras.

Shape letters: N batch, H height, W width, C input channels, M depth multiplier, kh/kw kernel
height/width, OH/OW output height/width. Every pair is (height, width).
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from . import (
    activations,
    backward,
    config,
    configs,
    constraints,
    dtypes,
    files,
    initializers,
    inputs,
    naming,
    ops,
    policy,
    regularizers,
    shapes,
)
from .base import WeightedLayer, read_bool
from .weights import NAMES, Array, Plan, Shape, Weights, read_copy, read_list

L = TypeVar("L", bound="DepthwiseConv2D")


class DepthwiseConv2D(WeightedLayer):
    """Depthwise convolution: each input channel with its own `depth_multiplier` kernels.

    Called with x (N, H, W, C), or (N, C, H, W) if channels_first, it returns an array (N, OH, OW,
    C*M), or (N, C*M, OH, OW): channel c*M + m is channel c of x with kernel[:, :, c, m], plus
    bias[c*M + m], through the activation. `dwconv.depthwise_conv2d` has the formula. The weights
    are made at the first call or by `build`. Calls from many threads at once are fine.

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
        dtype: of weights, computation and output: float32 (None), float64, float16 (computed in
            float32, rounded once) or 'mixed_float16'; a name, a NumPy dtype or a config dict of a
            Keras dtype policy.
        name: without '/'; None: depthwise_conv2d, depthwise_conv2d_1, ...
        trainable: a bool; None is True.
        weights: [kernel] or [kernel, bias] to start with instead of the initializers; copied.

    Raises:
        ValueError: an argument that is none, `strides` together with `dilation_rate`.
        TypeError: an unknown keyword.
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
        **unknown: Any,
    ) -> None:
        if unknown:
            raise configs.unknown_keyword(next(iter(unknown)), ARGUMENTS)
        super().__init__()
        self.kernel_size = shapes.pair(kernel_size, "kernel_size")
        self.strides = shapes.pair(strides, "strides")
        self.dilation_rate = shapes.pair(dilation_rate, "dilation_rate")
        if self.strides != (1, 1) and self.dilation_rate != (1, 1):
            raise ValueError(
                "expected strides or dilation_rate to be 1; received "
                f"strides={self.strides} and dilation_rate={self.dilation_rate}"
            )
        self.padding = str(shapes.normalize_padding(padding, explicit=False))
        self.depth_multiplier = shapes.positive_int(depth_multiplier, "depth_multiplier")
        if data_format is None:
            data_format = config.image_data_format()
        self.data_format = shapes.normalize_data_format(data_format)
        self.activation = activation
        self.use_bias = read_bool("use_bias", use_bias)
        self.depthwise_initializer = initializers.get(
            "glorot_uniform" if depthwise_initializer is None else depthwise_initializer
        )
        self.bias_initializer = initializers.get(
            "zeros" if bias_initializer is None else bias_initializer
        )
        self.depthwise_regularizer = regularizers.get(depthwise_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.activity_regularizer = regularizers.get(activity_regularizer)
        self.depthwise_constraint = constraints.get(depthwise_constraint)
        self.bias_constraint = constraints.get(bias_constraint)
        self.dtype_policy = policy.read(dtype)
        self.trainable = True if trainable is None else trainable
        self._declared_shape = inputs.declared_shape(input_shape, batch_input_shape, batch_size)
        self._build_shape: inputs.WholeShape | None = None
        self._initial: Weights | None = None
        if weights is not None:
            self._start_with(weights)
        # Whether the core takes the layer's inputs and gives its outputs as they are, but for a
        # separate activation.
        self._plain = self.data_format == "channels_last" and self.compute_dtype == self._wide
        # Last: a layer that could not be made uses up no name.
        self.name = naming.given_or_unique(name, type(self).__name__)

    # ---- calling ---------------------------------------------------------------------------------

    def __call__(self, x: Any) -> Any:
        """The output for x (N, H, W, C), or (N, C, H, W) if channels_first; builds the layer if
        needed.

        x may be anything that NumPy makes an array of real numbers of; what has another dtype than
        the layer is cast to it, integers included. Returns a new C-contiguous array of the layer's
        compute dtype; N may be 0. For a `SymbolicTensor` it returns the one of the output.

        Raises ValueError for another rank, other channels than at build, or an output that would be
        empty; TypeError for what is not real numbers; MemoryError.
        """
        if isinstance(x, inputs.SymbolicTensor):
            shape = self.compute_output_shape(x.shape)
            self.build(x.shape)
            return inputs.SymbolicTensor(shape, self.compute_dtype, self.name)
        x = np.asarray(x)
        weights = self._weights
        if weights is None:
            weights = self._built_for(x)
        plan = weights.plans.get(x.shape)
        if plan is None:
            plan = self._new_plan(weights, x.shape)
        flags = x.flags
        if (
            self._plain
            and self._finish is None
            and x.dtype == self.compute_dtype
            and flags.c_contiguous
            and flags.aligned
        ):
            y = plan(x, np.empty(plan.y_shape, x.dtype))
        else:
            y = self._run(plan, x)
        if self.activity_regularizer is not None:
            batch = y.shape[0]
            self._activity_loss = float(self.activity_regularizer(y)) / batch if batch else 0.0
        return y

    def _run(self, plan: Plan, x: Array) -> Array:
        """What `__call__` does where casts, layouts or an activation come between it and the
        core.
        """
        dtypes.check_numeric(x.dtype, "x")
        # Values beyond the dtype's range become infinite; that is what casting means, no reason to
        # warn.
        with np.errstate(over="ignore"):
            x = x.astype(self.compute_dtype, copy=False)
            y = ops.run(plan, x, dtype=self._wide, data_format=self.data_format)
            if self._finish is not None:
                y = ops.finished(self._finish, y, self.name)
            return y.astype(self.compute_dtype, order="C", copy=False)

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
        return backward.layer_vjp(self, self._weights or self._built_for(x), x)

    @property
    def _wide(self) -> dtypes.DType:
        """What the core computes in: float32 for float16."""
        return dtypes.compute_dtype(self.compute_dtype)

    @property
    def activation(self) -> Any:
        """The function that the output goes through. May be set, to anything the constructor
        takes.
        """
        return self._activation

    @activation.setter
    def activation(self, value: Any) -> None:
        activation = activations.get(value)
        self._fused, self._finish = ops.split_activation(activation)
        self._activation = activation
        if self._weights is not None:  # its plans have the old one in them
            self._weights = Weights(self._weights.kernel, self._weights.bias)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _FIXED and name in self.__dict__:
            raise AttributeError(f"{name}: expected a new layer for another value; it is fixed")
        super().__setattr__(name, value)

    def _built_for(self, x: Array) -> Weights:
        # The errors come before weights are made.
        self.compute_output_shape(x.shape)
        dtypes.check_numeric(x.dtype, "x")
        self.build(x.shape)
        assert self._weights is not None
        return self._weights

    def _new_plan(self, weights: Weights, shape: Shape) -> Plan:
        self.compute_output_shape(shape)  # for its errors
        batch, *sizes = shape
        first = self.data_format == "channels_first"
        height, width, channels = (*sizes[1:], sizes[0]) if first else sizes
        with np.errstate(over="ignore"):  # mixed_float16 rounds large weights to infinity
            kernel, *bias = (a.astype(self.compute_dtype, copy=False) for a in weights.arrays())
        return weights.add_plan(
            shape,
            lambda: ops.plan(
                (batch, height, width, channels),
                kernel,
                bias[0] if bias else None,
                self.strides,
                self.padding,
                self.dilation_rate,
                self._fused,
            ),
        )

    # ---- shapes ----------------------------------------------------------------------------------

    def compute_output_shape(self, input_shape: Sequence[Any]) -> inputs.WholeShape:
        """(N, OH, OW, C*M), or (N, C*M, OH, OW), for a whole input shape; None where that has None.

        Raises ValueError for another rank, other channels than at build, or an output that would be
        empty.
        """
        sizes = self._check_shape(input_shape)
        try:
            shape = shapes.output_shape(
                sizes,
                self.kernel_size,
                self.strides,
                self.padding,
                self.dilation_rate,
                self.depth_multiplier,
                self.data_format,
            )
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
        values = getattr(self, argument)(shape, dtype=self.variable_dtype)
        return read_copy(f"{self.name}: {argument}", values, shape, self.variable_dtype)

    def _start_with(self, weights: Any) -> None:
        """Keeps [kernel] or [kernel, bias] for build, checked as far as it can be without an
        input.
        """
        kernel, *bias = read_list("weights", weights, self.use_bias)
        shape = (*self.kernel_size, None, self.depth_multiplier)
        kernel = read_copy(NAMES[0], kernel, shape, self.variable_dtype)
        outputs = kernel.shape[2] * self.depth_multiplier
        self._initial = Weights(
            kernel, *(read_copy(NAMES[1], array, (outputs,), self.variable_dtype) for array in bias)
        )

    # ---- config, files ---------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """What Keras 3 gives for the same layer: `keras.layers.DepthwiseConv2D.from_config` takes
        it.

        So neither weights nor input shapes are part of it. ValueError for a function that has no
        name (a lambda).
        """
        return {
            "name": self.name,
            "trainable": self.trainable,
            "dtype": self.dtype_policy.get_config(),
            "depth_multiplier": self.depth_multiplier,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "data_format": self.data_format,
            "dilation_rate": self.dilation_rate,
            "activation": activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "depthwise_initializer": initializers.serialize(self.depthwise_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
            "depthwise_regularizer": regularizers.serialize(self.depthwise_regularizer),
            "bias_regularizer": regularizers.serialize(self.bias_regularizer),
            "activity_regularizer": regularizers.serialize(self.activity_regularizer),
            "depthwise_constraint": constraints.serialize(self.depthwise_constraint),
            "bias_constraint": constraints.serialize(self.bias_constraint),
        }

    @classmethod
    def from_config(cls: type[L], config: Mapping[str, Any], generation: int | None = None) -> L:
        """A layer from `get_config()`, of this package, any generation of Keras, tf.keras or R.

        Args:
            config: the inner dict, with the constructor's arguments. `groups` may be 1; None stands
                for a default, a list of one element for that.
            generation: 1, 2 or 3, which Keras wrote it, for names that changed their meaning
                (hard_sigmoid); None: 2 for what Keras 3 never writes (`groups`,
                `batch_input_shape`, nested dicts without module), else 3.

        Raises TypeError for a name that no layer has, ValueError for values.
        """
        known = {*ARGUMENTS, *inspect.signature(cls).parameters}
        arguments = configs.layer_arguments(config, known - {"weights", "unknown"})
        if "activation" in arguments:
            arguments["activation"] = activations.get(
                arguments["activation"],
                generation=configs.generation(config) if generation is None else generation,
            )
        return cls(**arguments)

    def same_config(self, other: object) -> bool:
        """Whether `other` is a layer of the same class and config; names, weights and input shapes
        do not count.
        """
        if type(other) is not type(self):
            return False
        return {**self.get_config(), "name": None} == {**other.get_config(), "name": None}

    def save(self, path: files.PathLike) -> None:
        """Writes config and weights to a file, in one step, replacing one that is there; see
        docs/format.md.

        The suffix says the format: .safetensors. A layer that is not built is saved as its config.
        `dwconv.load` reads it. Raises ValueError for another suffix, for a config that cannot be
        written (a lambda) and for weights given at construction to a layer that is not built yet;
        OSError.
        """
        if self._initial is not None:
            raise ValueError(
                f"{self.name}: expected a layer that has taken over the weights given to it; "
                "call build first"
            )
        document = {
            "class_name": type(self).__name__,
            "config": self.get_config(),
            "build_config": {"input_shape": self._build_shape} if self.built else None,
            "batch_input_shape": self._declared_shape,
        }
        names = ("kernel", "bias")
        files.write(path, document, dict(zip(names, self.weights, strict=False)))

    def __repr__(self) -> str:
        parts = [
            f"{key}={value!r}"
            for key, value in (
                ("name", self.name),
                ("kernel_size", self.kernel_size),
                ("strides", self.strides),
                ("padding", self.padding),
                ("depth_multiplier", self.depth_multiplier),
                ("data_format", self.data_format),
                ("dilation_rate", self.dilation_rate),
                ("activation", getattr(self.activation, "name", self.activation)),
                ("use_bias", self.use_bias),
                ("dtype", self.dtype_policy.name),
                ("trainable", self.trainable),
            )
            if value != _DEFAULTS.get(key)
        ]
        state = f"built for {self._known_channels()} channels" if self.built else "not built"
        return f"<{type(self).__name__} {', '.join(parts)}, {state}>"


# What plans and weights depend on.
_FIXED = frozenset(
    {
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

#: Names of the constructor's arguments, in order.
ARGUMENTS: tuple[str, ...] = tuple(inspect.signature(DepthwiseConv2D).parameters)[:-1]

# What a repr leaves out.
_DEFAULTS = {
    "strides": (1, 1),
    "padding": "valid",
    "depth_multiplier": 1,
    "data_format": "channels_last",
    "dilation_rate": (1, 1),
    "activation": "linear",
    "use_bias": True,
    "dtype": "float32",
    "trainable": True,
}
