"""The layers: Keras' DepthwiseConv2D and DepthwiseConv1D without Keras.

It has a `LayerConfig` (what it is, read once), a `ConvSpec` within that (the geometry), and, once
it is built, `LayerWeights` with the plans that were packed from them. The compiled base class finds
the plan for an input's shape and calls it; `_call` is for all that it does not find.

Shape letters: N batch, H height, W width, C input channels, M depth multiplier, kh/kw kernel
height/width, OH/OW output height/width. Every pair is (height, width).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from .. import _core, casts, dtypes, naming, ops
from ..arguments import DataFormat, IntLike, Threads, read_num_threads
from ..dtypes import DType, read_array
from ..locks import Lock
from ..planning import Effort, read_effort
from . import inputs
from .config import ARGUMENTS, LayerConfig, layer_arguments, read_setting
from .dtype_policy import DTypePolicy
from .settings import Setting
from .signature import CallSignature
from .weights import NAMES, Array, LayerWeights, Shape, read_copy, read_list

if TYPE_CHECKING:
    from ..formats import PathLike
    from . import backward

L = TypeVar("L", bound="DepthwiseConv")

#: A name, a config dict, a function or an object; None for none or the default.
FunctionLike: TypeAlias = str | Mapping[str, Any] | Callable[..., Any] | None
InitializerLike: TypeAlias = FunctionLike | ArrayLike


@_core.enable_fast_calls
class DepthwiseConv(_core.PlannedLayer):
    """What `DepthwiseConv2D` and `DepthwiseConv1D` have in common: all but their arguments.

    A layer of rank 1 is one of height 1 whose arrays lack that axis (`ConvSpec`), so nothing here
    asks for the rank but where sizes are counted.
    """

    #: The name in configs, of Keras, too. A class derived from one that has it has none of its own.
    CLASS_NAME: ClassVar[str]
    #: 1 or 2, dimensions of a pixel's place.
    _rank: ClassVar[int]

    def __init__(
        self,
        config: LayerConfig,
        input_shape: Any,
        batch_input_shape: Any,
        batch_size: Any,
        weights: Any,
        num_threads: Any,
    ) -> None:
        super().__init__()
        self._lock = Lock()
        self._weights: LayerWeights | None = None  # None until the layer is built
        self._initial: LayerWeights | None = None  # `weights`, until then
        self._build_shape: inputs.WholeShape | None = None
        self._activity_loss: float | None = None
        self._num_threads = read_num_threads(num_threads)
        self._configure(config)
        self._declared_shape = inputs.declared_shape(
            input_shape, batch_input_shape, batch_size, self._rank
        )
        if weights is not None:
            self._start_with(weights)
        # Last: a layer that could not be made uses up no name.
        self._configure(
            replace(config, name=naming.given_or_unique(config.name, type(self).__name__))
        )

    # ---- config ----------------------------------------------------------------------------------

    kernel_size = Setting[Any]("(kh, kw), or (k,).", fixed=True)
    strides = Setting[Any]("In pixels.", fixed=True)
    padding = Setting[Any]("'valid', 'same', or pixels; of rank 1 also 'causal'.", fixed=True)
    depth_multiplier = Setting[int]("M.", fixed=True)
    data_format = Setting[DataFormat]("'channels_last' or 'channels_first'.", fixed=True)
    dilation_rate = Setting[Any]("In pixels.", fixed=True)
    use_bias = Setting[bool]("Whether a bias is added.", fixed=True)
    dtype_policy = Setting[DTypePolicy]("Of weights and of computation.", fixed=True)
    allow_strided_dilation = Setting[bool](
        "Whether strides and dilation_rate could both be other than 1.", fixed=True
    )
    name = Setting[str]("What messages, models and files call the layer.")
    trainable = Setting[bool]("Whether training changes the weights.")
    activation = Setting[Any]("The function that the output goes through.")
    depthwise_initializer = Setting[Any]("How the kernel starts.")
    bias_initializer = Setting[Any]("How the bias starts.")
    depthwise_regularizer = Setting[Any]("The penalty on the kernel, or None.")
    bias_regularizer = Setting[Any]("The penalty on the bias, or None.")
    activity_regularizer = Setting[Any]("The penalty on the output, or None.")
    depthwise_constraint = Setting[Any]("What `apply_constraints` does to the kernel, or None.")
    bias_constraint = Setting[Any]("What `apply_constraints` does to the bias, or None.")

    __signature__ = CallSignature()

    #: As in Keras 3: `compute_mask` passes a mask on; the convolution itself ignores it.
    supports_masking = True

    def _configure(self, config: LayerConfig) -> None:
        """Takes over a config, and derives from it what plans do after the kernel."""
        fused, after = ops.split_activation(config.activation, config.dtype_policy.compute)
        self._config = config
        self._epilogue = ops.Epilogue(
            str(config.name), config.dtype_policy.compute, config.spec.data_format, fused, after
        )

    def _set(self, name: str, value: Any) -> None:
        """Sets a value of the config; what a `Setting` does."""
        value = read_setting(name, value, self._config.dtype_policy)
        with self._lock.held():
            self._configure(replace(self._config, **{name: value}))
            # Plans contain the activation, and calls that find a plan record no penalty.
            if name in ("activation", "activity_regularizer"):
                self._drop_plans()

    @property
    def num_threads(self) -> int | None:
        """How many threads a call may use; None: `dwconv.config.num_threads()`. May be set."""
        return self._num_threads

    @num_threads.setter
    def num_threads(self, value: Any) -> None:
        number = read_num_threads(value)
        with self._lock.held():
            self._num_threads = number
            self._drop_plans()

    @property
    def dtype(self) -> DType:
        """What the weights are made of: `variable_dtype`, as in Keras."""
        return self.dtype_policy.variable

    @property
    def variable_dtype(self) -> DType:
        """What the weights are made of."""
        return self.dtype_policy.variable

    @property
    def compute_dtype(self) -> DType:
        """What inputs are cast to and outputs are made of."""
        return self.dtype_policy.compute

    def get_config(self) -> dict[str, Any]:
        """What Keras 3 returns for the same layer; its class in `keras.layers` takes that.
        (`allow_strided_dilation`, which Keras does not know, is in it only if it is set; nor does
        Keras 3 know a padding other than 'valid' and 'same'.)

        It contains neither weights nor input shapes. ValueError for a function that has no name (a
        lambda).
        """
        return self._config.get_config()

    @classmethod
    def from_config(cls: type[L], config: Mapping[str, Any], generation: int | None = None) -> L:
        """A layer from `get_config()`, of this package, any generation of Keras, tf.keras or R.

        Args:
            config: the inner dict, with the constructor's arguments. `groups` may be 1; None stands
                for a default, a list of one element for that.
            generation: 1, 2 or 3, which Keras wrote it, for names that changed their meaning
                (hard_sigmoid); None: 2 for what Keras 3 never writes (`groups`,
                `batch_input_shape`, nested dicts without module), else 3. With 3, given
                explicitly, strides and dilation_rate may both be other than 1: Keras 3 computes
                that.

        Raises TypeError for a name that no layer has, ValueError for values.
        """
        return cls(**layer_arguments(config, _arguments_of(cls), generation, cls.CLASS_NAME))

    def same_config(self, other: object) -> bool:
        """Whether `other` is a layer of the same class and config. Names, weights and input shapes
        do not count. ValueError for a function without a name, as from `get_config`.
        """
        if not isinstance(other, DepthwiseConv) or type(other) is not type(self):
            return False
        return {**self.get_config(), "name": None} == {**other.get_config(), "name": None}

    def __repr__(self) -> str:
        kernel = self.kernel
        state = "not built" if kernel is None else f"built for {kernel.shape[-2]} channels"
        return f"<{type(self).__name__} {self._config}, {state}>"

    # ---- calling ---------------------------------------------------------------------------------

    def _call(self, x: Any, num_threads: Any = None) -> Any:
        """The output for x.

        The compiled base class calls this if no published plan takes x as it is. With an activity
        regularizer no plan is published, so every call comes here, as do calls with num_threads.
        """
        num_threads = read_num_threads(num_threads)
        if isinstance(x, inputs.SymbolicTensor):
            shape = self.compute_output_shape(x.shape)
            self.build(x.shape)
            return inputs.SymbolicTensor(shape, self.compute_dtype, self.name)
        x = read_array("x", x)
        # The weights are read before the config: a change of the config drops, afterwards, the
        # plans of the weights that are read here. So no plan of an old config can stay.
        weights = self._weights
        plan = None if weights is None else weights.plans.get(x.shape)
        if plan is None:
            if x.ndim == 4:  # else the rank is what is wrong
                dtypes.check_castable(x.dtype, self.compute_dtype, "x")
            weights = self._weights_for(x.shape)
            plan = weights.plans.add(
                x.shape,
                lambda: self._make_plan(weights, x.shape, num_threads=self._num_threads),
                publish=self.activity_regularizer is None,
            )
        y = plan(x) if num_threads is None else plan(x, num_threads=num_threads)
        penalty = self.activity_regularizer
        if penalty is not None:
            batch = y.shape[0]
            with np.errstate(all="ignore"):
                self._activity_loss = float(penalty(y)) / batch if batch else 0.0
        return y

    def plan(
        self,
        input_shape: Sequence[IntLike | None],
        num_threads: Threads = None,
        isa: str | None = None,
        effort: Effort | None = None,
    ) -> ops.BoundPlan:
        """A plan: everything that a call decides, decided beforehand. Builds the layer if needed.

        `plan(x, out=None)` returns what the layer returns for x, which must have the plan's shape.
        `out` is an array of the output's shape and dtype that shares no element with x; the output
        is written to it. Nothing is allocated then if x and out are C-contiguous and nothing
        follows the kernel; `plan.describe()` says so, and which kernel computes. A plan keeps the
        weights and the activation that the layer has now, and records no activity loss. Any number
        of threads may call it at once.

        Args:
            input_shape: (N, H, W, C), or (N, C, H, W) if channels_first; all of them known.
            num_threads: how many threads a call may use, a positive int or 'auto'; None: the
                layer's. A call may say otherwise: `plan(x, out=None, num_threads=N)`.
            isa: one of `dwconv.isa.available()`; None: the default.
            effort: 'estimate', or 'measure' to try the best few ways to compute this and keep the
                fastest, within some 20 ms and with the same bits; None: as `config.set_planning`
                says. With 'measure' and neither `num_threads` nor `isa` the layer keeps the plan
                for calls with images of that size. Problems that were measured before, or known
                from `dwconv.wisdom`, are not measured again.

        Raises ValueError for a shape that the layer cannot take and for wrong values of the other
        arguments; MemoryError. The plan's calls raise what the layer's raise, and ValueError or
        TypeError for an `out` that is read-only, overlaps x, or has another shape or dtype.
        """
        sizes = self._check_shape(input_shape)
        shape = tuple(size for size in sizes if size is not None)
        if len(shape) < len(sizes):
            raise ValueError(f"input_shape: expected known sizes; received {sizes}")
        if effort is not None:
            effort = read_effort("effort", effort)
        weights = self._weights_for(shape)
        if effort == "measure" and num_threads is None and isa is None:
            return weights.plans.add(  # type: ignore[no-any-return]
                shape,
                lambda: self._make_plan(weights, shape, None, self._num_threads, effort),
                publish=self.activity_regularizer is None,
            )
        num_threads = self._num_threads if num_threads is None else read_num_threads(num_threads)
        plan = self._make_plan(weights, shape, isa, num_threads, effort)
        weights.plans.share(plan)
        return plan

    def vjp(self, x: ArrayLike) -> tuple[Array, backward.Pullback]:
        """(y, pullback): the output for x, as a call gives it, and the way back.

        dy is the gradient dL/dy of a loss with respect to y, in y's shape. `grads = pullback(dy)`
        has dL/dx as `grads.input`, in x's shape and the compute dtype, and `grads.kernel` (kh, kw,
        C, M) and `grads.bias` (C*M,), in the dtype of the weights; these two are None while the
        layer is not trainable. The gradients go back through the activation, and include that of
        the activity regularizer, whose penalty is part of L; `loss_gradients` has those of the
        penalties on the weights. `pullback(dy, input=False)` leaves out dL/dx. The pullback uses
        the weights of the time of `vjp`. x must not be changed before it is called; y may be. Each
        sum has a fixed order, see csrc/dwconv.h.

        Raises what a call raises, TypeError for a layer of integers; the pullback ValueError for
        another shape, NotImplementedError for an activation or activity regularizer without
        `gradient`.
        """
        array = read_array("x", x)
        from . import backward

        return backward.layer_vjp(self, self._weights_for(array.shape), array)

    def _make_plan(
        self,
        weights: LayerWeights,
        shape: Shape,
        isa: str | None = None,
        num_threads: Any = None,
        effort: Effort | None = None,
    ) -> ops.BoundPlan:
        epilogue = self._epilogue
        kernel, bias = weights.cast(epilogue.dtype)
        return ops.make_plan(
            self._config.spec,
            shape,
            kernel,
            bias,
            epilogue.fused,
            isa,
            epilogue,
            num_threads,
            effort=effort,
        )

    # ---- shapes ----------------------------------------------------------------------------------

    def compute_output_shape(self, input_shape: Sequence[Any]) -> inputs.WholeShape:
        """(N, OH, OW, C*M), or (N, C*M, OH, OW), for a whole input shape; None where that has None.

        Raises ValueError for another rank, other channels than at build, or an output that would be
        empty.
        """
        sizes = self._check_shape(input_shape)
        try:
            shape = self._config.spec.output_shape(sizes)
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from error
        return ops.activated_shape(self.activation, shape)

    def compute_mask(self, inputs: Any = None, previous_mask: Any = None) -> Any:
        """`previous_mask`, as in Keras."""
        return previous_mask

    def _check_shape(self, input_shape: Any) -> inputs.WholeShape:
        return self._config.spec.read_input_shape(self.name, input_shape, self._known_channels())

    def _known_channels(self) -> int | None:
        """C by the weights, made or given, else by the declared input shape."""
        weights = self._weights or self._initial
        if weights is not None:
            return int(weights.kernel.shape[-2])
        if self._declared_shape is not None:
            return self._declared_shape[self._config.spec.channel_axis]
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
        Raises ValueError for a shape that a call would refuse, for an initializer that makes
        another shape, and without any shape; then the layer is as before.
        """
        if input_shape is None:
            input_shape = self._declared_shape
        if input_shape is None:
            raise ValueError(
                f"{self.name}: expected an input_shape, here or at construction; received none"
            )
        sizes = self._check_shape(input_shape)
        self.compute_output_shape(sizes)  # for its errors
        channels = sizes[self._config.spec.channel_axis]
        assert channels is not None
        with self._lock.held():
            if self._weights is None:
                self._use(self._initial or self._first_weights(channels))
                self._build_shape = sizes
                self._initial = None

    def _weights_for(self, shape: Shape) -> LayerWeights:
        """The weights, made if there are none, for an input's whole shape. Raises what a call with
        such an input raises; then none have been made.
        """
        weights = self._weights
        if weights is None:
            self.build(shape)
            return self._built_weights()
        if not weights.plans.is_known(shape):
            self.compute_output_shape(shape)
        return weights

    def _first_weights(self, channels: int) -> LayerWeights:
        kernel = self._initialized(
            "depthwise_initializer", self._config.spec.kernel_shape(channels)
        )
        if not self.use_bias:
            return LayerWeights(kernel)
        outputs = channels * self.depth_multiplier
        return LayerWeights(kernel, self._initialized("bias_initializer", (outputs,)))

    def _initialized(self, argument: str, shape: Shape) -> Array:
        name, dtype = f"{self.name}: {argument}", self.variable_dtype
        try:
            values = getattr(self, argument)(shape, dtype=dtype)
        except ValueError as error:  # such as of a random one that is to yield integers
            raise ValueError(f"{name}: {error}") from error
        return read_copy(name, values, shape, dtype)

    def _start_with(self, weights: Any, copy: bool = True) -> None:
        """Keeps [kernel] or [kernel, bias] for `build`, checked as far as is possible without an
        input. Without `copy`, an array of the right dtype and order is kept itself.
        """
        kernel, *bias = read_list("weights", weights, self.use_bias)
        shape = (*self.kernel_size, None, self.depth_multiplier)
        dtype = self.variable_dtype
        kernel = read_copy(NAMES[0], kernel, shape, dtype, copy)
        outputs = kernel.shape[-2] * self.depth_multiplier
        self._initial = LayerWeights(
            kernel, *(read_copy(NAMES[1], array, (outputs,), dtype, copy) for array in bias)
        )

    def _build_with(self, weights: Sequence[Array]) -> None:
        """Builds the layer with weights out of a file, for the declared input shape or else any of
        as many channels. Raises what `build` raises; then the layer is as before.
        """
        before = self._initial
        try:
            self._start_with(weights)
            shape = self._declared_shape
            if shape is None:
                shape = self._config.spec.from_nhwc(None, None, None, weights[0].shape[-2])
            self.build(shape)
        finally:
            self._initial = None if self.built else before

    # ---- weights ---------------------------------------------------------------------------------

    @property
    def built(self) -> bool:
        """Whether the layer has its weights."""
        return self._weights is not None

    def _built_weights(self) -> LayerWeights:
        weights = self._weights
        if weights is None:
            raise ValueError(f"{self.name}: expected a layer that is built; call build first")
        return weights

    def _use(self, weights: LayerWeights) -> None:
        """Replaces the weights, for calls too. Under the lock."""
        self._weights = weights
        self._plans = weights.plans

    def _drop_plans(self) -> None:
        """Forgets the plans, after a change of something else that is in them. Under the lock."""
        if self._weights is not None:
            self._use(LayerWeights(self._weights.kernel, self._weights.bias))

    def get_weights(self) -> list[Array]:
        """Copies of the kernel (kh, kw, C, M) and, with use_bias, the bias (C*M,); [] before
        build.
        """
        weights = self._weights
        return [] if weights is None else weights.copies()

    def set_weights(self, weights: Sequence[ArrayLike]) -> None:
        """Replaces the weights by copies of [kernel] or [kernel, bias], cast to their dtype.

        ValueError for another number or other shapes, and before the layer is built; TypeError for
        anything but real numbers. Then nothing has changed.
        """
        old = self._built_weights()
        new = old.like(read_list(f"{self.name}: weights", weights, self.use_bias), self.name)
        with self._lock.held():
            self._use(new)

    @property
    def weights(self) -> list[Array]:
        """[kernel] or [kernel, bias] as read-only arrays, not copied; `set_weights` changes
        them.
        """
        weights = self._weights
        return [] if weights is None else [array.view() for array in weights.arrays()]

    @property
    def trainable_weights(self) -> list[Array]:
        """`weights` if the layer is trainable, else []."""
        return self.weights if self.trainable else []

    @property
    def non_trainable_weights(self) -> list[Array]:
        """`weights` unless the layer is trainable, else []."""
        return [] if self.trainable else self.weights

    @property
    def kernel(self) -> Array | None:
        """The kernel (kh, kw, C, M), read-only; None before the layer is built."""
        weights = self._weights
        return None if weights is None else weights.kernel.view()

    @property
    def depthwise_kernel(self) -> Array | None:
        """What Keras 2 calls the kernel."""
        return self.kernel

    @property
    def bias(self) -> Array | None:
        """The bias (C*M,), read-only; None without one and before the layer is built."""
        bias = None if self._weights is None else self._weights.bias
        return None if bias is None else bias.view()

    def count_params(self) -> int:
        """Number of weights, kernel and bias together. ValueError before the layer is built."""
        return sum(array.size for array in self._built_weights().arrays())

    # ---- training --------------------------------------------------------------------------------

    @property
    def losses(self) -> list[float]:
        """The penalties: on the last call's output, on the kernel, on the bias. Each is there only
        if there is such a regularizer.

        The first is that of the output after the activation, divided by N (0 for N = 0); it is
        missing before the first call. The other two are missing while the layer is not built or
        not trainable.
        """
        found = [] if self._activity_loss is None else [self._activity_loss]
        penalties = (self.depthwise_regularizer, self.bias_regularizer)
        for penalty, array in zip(penalties, self.trainable_weights, strict=False):
            if penalty is not None:
                found.append(float(penalty(array)))
        return found

    def loss_gradients(self) -> backward.Gradients:
        """The gradients of the penalties of kernel and bias: `losses` without the first, which the
        pullback of `vjp` includes.

        `.kernel` and `.bias` are None without a regularizer, and while the layer is not built or
        not trainable. NotImplementedError for a regularizer without `gradient`.
        """
        from . import backward

        return backward.loss_gradients(self)

    def apply_constraints(self) -> None:
        """Replaces the weights by what the constraints make of them, as Keras does after a training
        step.

        Nothing happens without constraints or before the layer is built; `trainable` makes no
        difference, the call being explicit. ValueError for a constraint that changes the shape.
        """
        old = self._weights
        rules = (self.depthwise_constraint, self.bias_constraint)
        if old is None or rules == (None, None):
            return
        values = [
            array if rule is None else rule(casts.copy(array))
            for rule, array in zip(rules, old.arrays(), strict=False)
        ]
        new = old.like(values, self.name)
        with self._lock.held():
            self._use(new)

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
        from . import files

        files.save(self, path)

    def save_weights(self, path: PathLike) -> None:
        """Writes the weights to a file as `save` does: .safetensors, .npz, .keras or .weights.h5.

        Raises what `save` raises, and ValueError for a layer that is not built.
        """
        from . import files

        files.save_weights(self, path)

    def load_weights(self, path: PathLike) -> None:
        """Takes over the weights in a file: those of its only depthwise layer, or of the one that
        has this layer's name.

        The file may be any that `dwconv.load_layers` reads, weights alone included, and any
        .safetensors or .npz file with `kernel` (kh, kw, C, M) and, with use_bias, `bias` (C*M,). A
        layer that is not built is built for the channels in the file. Raises FormatError, which
        names the file, for one that is damaged, has no such layer or weights of other shapes or
        dtypes; ValueError for an unknown suffix; OSError. Then nothing has changed.
        """
        from . import files

        files.load_weights(self, path)

    def _saved_arrays(self, prefix: str) -> Iterator[tuple[str, Array]]:
        """The weights by name, for a file with the config. ValueError if it could not bring back
        the layer.
        """
        if "CLASS_NAME" not in vars(type(self)):
            raise ValueError(
                f"{self.name}: expected a {self.CLASS_NAME} itself; received a "
                f"{type(self).__name__}. `save_weights` takes it"
            )
        if self._initial is not None:
            raise ValueError(
                f"{self.name}: expected a layer that has taken over the weights given to it; "
                "call build first"
            )
        for name, array in zip(("kernel", "bias"), self.weights, strict=False):
            yield prefix + name, array

    # ---- copies ----------------------------------------------------------------------------------

    def __copy__(self: L) -> L:
        """A deep copy: two layers share nothing."""
        return copy.deepcopy(self)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = Lock()
        if self._weights is not None:
            self._use(self._weights)


def _arguments_of(kind: type[DepthwiseConv]) -> set[str]:
    """The names that a config of the class may hold: those of its constructor, and, since that may
    pass some on as **keywords, those of its base classes'.
    """
    if "CLASS_NAME" in vars(kind):
        return set(ARGUMENTS)
    import inspect  # slow to import, and not needed before

    classes = [
        base
        for base in kind.__mro__
        if issubclass(base, DepthwiseConv) and base is not DepthwiseConv
    ]
    names = {name for base in classes for name in inspect.signature(base).parameters}
    return names - {"weights", "num_threads", "unknown"}
