"""Models: a stack of layers.

A whole shape is (N, H, W, C), or (N, C, H, W) for channels_first layers; a size that is not known
is None.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from numpy.typing import ArrayLike

from .. import naming
from ..arguments import read_bool, read_shape
from ..dtypes import read_array
from ..messages import short
from ..terminal import printable
from . import dtype_policy, inputs, summary
from .config import generation_of
from .depthwise_conv import DepthwiseConv
from .depthwise_conv1d import DepthwiseConv1D
from .depthwise_conv2d import DepthwiseConv2D
from .inputs import SymbolicTensor, WholeShape
from .weights import Array

if TYPE_CHECKING:
    from ..formats import PathLike
    from . import backward

S = TypeVar("S", bound="Sequential")

_MISSING: Any = object()


class Sequential:
    """Layers in a row, each called with what the one before it returns.

    A layer is a `DepthwiseConv2D`, another `Sequential`, or any callable array -> array with a
    method `compute_output_shape`. If such a callable has `build`, weights, losses and so on, as our
    layers have, they are used. An `Input` at the start, or the first layer's input_shape, says what
    the input's shape is: then layers are built as they are added, else by `build` or the first
    call.

    Args:
        layers: what `add` takes, in order; or one alone.
        trainable: a bool for all layers; None leaves them as they are.
        name: without '/'; None: sequential, sequential_1, ...

    Raises ValueError for other values, and what `add` raises.

    Example:
        >>> model = Sequential([DepthwiseConv2D(3, strides=2), DepthwiseConv2D(3)])
        >>> model(np.zeros((1, 17, 17, 8), np.float32)).shape
        (1, 6, 6, 8)
    """

    def __init__(self, layers: Any = None, trainable: Any = None, name: str | None = None) -> None:
        self._layers: list[Any] = []
        self._input: SymbolicTensor | None = None
        self._build_shape: WholeShape | None = None
        if is_layer(layers) or isinstance(layers, SymbolicTensor):
            layers = [layers]
        for layer in () if layers is None else _listed("layers", layers):
            self.add(layer)
        if trainable is not None:
            self.trainable = trainable
        self.name = naming.given_or_unique(name, type(self).__name__)

    @classmethod
    def _of(
        cls: type[S],
        name: str | None,
        layers: Iterable[Any],
        start: SymbolicTensor | None,
        shape: Sequence[Any] | None,
    ) -> S:
        """A model out of a file: its layers as they are, built or not, for an input of the whole
        shape `shape`. ValueError for a shape that they cannot take.
        """
        model = cls(name=name)
        model._layers = list(layers)
        model._input = start
        if shape is None:
            shape = (
                start.shape
                if start
                else getattr(next(iter(model._layers), None), "input_shape", None)
            )
        if shape is not None:
            model.compute_output_shape(shape)
            model._build_shape = read_shape("input_shape", shape)
        return model

    # ---- layers ----------------------------------------------------------------------------------

    @property
    def layers(self) -> list[Any]:
        """The layers in a new list, without the `Input`."""
        return list(self._layers)

    def add(self, layer: Any) -> None:
        """Puts a layer at the end, or an `Input` at the start of an empty model.

        ValueError for anything but a layer, for a name that another layer has, and for a layer that
        cannot take the output of the one before it; then the model is as before.
        """
        if isinstance(layer, SymbolicTensor):
            if self._layers or self._input is not None:
                raise ValueError(
                    f"expected an Input at the start of a model only; received {layer}"
                )
            self._input = layer
            self._build_shape = layer.shape
            return
        if not is_layer(layer) or layer is self:
            raise ValueError(
                "expected another layer, a callable with compute_output_shape; "
                f"received {short(layer)}"
            )
        name = _name(layer)
        if name in map(_name, self._layers):
            raise ValueError(
                f"expected a name that no other layer has; received {short(name)} again"
            )
        start = self._build_shape
        if start is None and not self._layers:
            start = getattr(layer, "input_shape", None)
        if start is not None:
            shape = start
            for before in self._layers:
                shape = before.compute_output_shape(shape)
            layer.compute_output_shape(shape)  # its errors come before anything is built
            _build(layer, shape)
        self._build_shape = start
        self._layers.append(layer)

    def pop(self) -> Any:
        """Takes the last layer away and returns it. IndexError if there is none."""
        if not self._layers:
            raise IndexError("expected a model with a layer; it has none")
        layer = self._layers.pop()
        if not self._layers:
            self._build_shape = None if self._input is None else self._input.shape
        return layer

    def build(self, input_shape: Sequence[Any] | None = None) -> None:
        """Builds the layers for an input of the whole shape `input_shape` (None: the declared one).

        Raises ValueError for a shape that a layer cannot take (then nothing is built), if there is
        no shape, and for a model without layers.
        """
        self._check_filled()
        shape = self._build_shape if input_shape is None else input_shape
        if shape is None:
            raise ValueError(
                "expected an input_shape, here, of an Input or of the first layer; received none"
            )
        sizes = read_shape("input_shape", shape)
        self.compute_output_shape(sizes)
        self._build_shape = sizes
        for layer in self._layers:
            _build(layer, sizes)
            sizes = layer.compute_output_shape(sizes)

    @property
    def built(self) -> bool:
        """Whether there are layers and all are built."""
        return bool(self._layers) and all(getattr(layer, "built", True) for layer in self._layers)

    def __call__(self, inputs: Any = _MISSING, *, x: Any = _MISSING, training: Any = None) -> Any:
        """The last layer's output for `inputs`, an array or `SymbolicTensor`, which may also be
        called x; builds the model if needed.

        training: as in Keras. It makes no difference to our layers and is not passed on to others.
        Raises what the layers raise, and ValueError for a model without layers.
        """
        if (inputs is _MISSING) == (x is _MISSING):
            raise TypeError("expected one input, the first argument, inputs=... or x=...")
        x = x if inputs is _MISSING else inputs
        self._check_filled()
        if self._build_shape is None:
            x = x if isinstance(x, SymbolicTensor) else read_array("x", x)
            self.build(x.shape)
        for layer in self._layers:
            if isinstance(x, SymbolicTensor) and not isinstance(layer, OURS):
                shape = tuple(layer.compute_output_shape(x.shape))
                x = SymbolicTensor(shape, x.dtype, _name(layer))
            else:
                x = layer(x)
        return x

    def vjp(self, x: ArrayLike) -> tuple[Array, backward.ModelPullback]:
        """(y, pullback): the output for x and the way back through all layers.

        `grads = pullback(dy)` has dL/dx as `grads.input`, and what each layer's pullback returned
        as `grads.layers`, in order. `pullback(dy, input=False)` leaves out what only dL/dx needs;
        layers that it does not reach have None. See `DepthwiseConv2D.vjp`.

        Raises what the layers raise, and NotImplementedError for a layer without `vjp`.
        """
        self._check_filled()
        x = read_array("x", x)
        if self._build_shape is None:
            self.build(x.shape)
        from . import backward

        return backward.model_vjp(self._layers, x)

    def _check_filled(self) -> None:
        if not self._layers:
            raise ValueError("expected a model with a layer; it has none")

    # ---- shapes ----------------------------------------------------------------------------------

    def compute_output_shape(self, input_shape: Sequence[Any]) -> WholeShape:
        """The output's whole shape for the input's. Raises what the layers raise."""
        shape = read_shape("input_shape", input_shape)
        for layer in self._layers:
            shape = tuple(layer.compute_output_shape(shape))
        return shape

    @property
    def input_shape(self) -> WholeShape:
        """The whole shape that the model was built for or starts with; AttributeError if it has
        none yet.
        """
        if self._build_shape is None:
            raise AttributeError("expected a model with an input shape; call build first")
        return self._build_shape

    @property
    def output_shape(self) -> WholeShape:
        """The output's shape for `input_shape`, with the same AttributeError."""
        return self.compute_output_shape(self.input_shape)

    # ---- weights ---------------------------------------------------------------------------------

    def get_weights(self) -> list[Array]:
        """Copies of all layers' weights, in order."""
        return [array for layer in self._layers for array in _call(layer, "get_weights", [])]

    def set_weights(self, weights: Sequence[ArrayLike]) -> None:
        """Replaces all layers' weights by copies of the arrays.

        ValueError for another number or other shapes; then all layers have their old weights.
        """
        values = _listed("weights", weights)
        old = [_call(layer, "get_weights", []) for layer in self._layers]
        wanted = sum(map(len, old))
        if len(values) != wanted:
            raise ValueError(f"weights: expected a list of {wanted} arrays; received {len(values)}")
        done: list[int] = []
        try:
            for i, layer in enumerate(self._layers):
                count = len(old[i])
                if count:
                    layer.set_weights(values[:count])
                    done.append(i)
                values = values[count:]
        except Exception:
            for i in done:
                self._layers[i].set_weights(old[i])
            raise

    @property
    def weights(self) -> list[Array]:
        """All layers' weights, read-only, in order."""
        return self._gather("weights")

    @property
    def trainable_weights(self) -> list[Array]:
        """The weights of the layers that are trainable."""
        return self._gather("trainable_weights")

    @property
    def non_trainable_weights(self) -> list[Array]:
        """The weights of the layers that are not."""
        return self._gather("non_trainable_weights")

    @property
    def losses(self) -> list[float]:
        """All layers' penalties, in order."""
        return self._gather("losses")

    def loss_gradients(self) -> backward.ModelGradients:
        """All layers' `loss_gradients`, as `.layers`; None for a layer without that method."""
        from . import backward

        return backward.model_loss_gradients(self._layers)

    def _gather(self, attribute: str) -> list[Any]:
        return [item for layer in self._layers for item in getattr(layer, attribute, [])]

    @property
    def trainable(self) -> bool:
        """Whether any layer is trainable. Setting it sets all layers'; ValueError for anything but
        a bool.
        """
        return any(getattr(layer, "trainable", False) for layer in self._layers)

    @trainable.setter
    def trainable(self, value: Any) -> None:
        flag = read_bool("trainable", value)
        for layer in self._layers:
            if hasattr(layer, "trainable"):
                layer.trainable = flag

    def apply_constraints(self) -> None:
        """Applies all layers' constraints to their weights."""
        for layer in self._layers:
            _call(layer, "apply_constraints", None)

    def count_params(self) -> int:
        """Number of weights of all layers. ValueError before the model is built."""
        return sum(_call(layer, "count_params", 0) for layer in self._layers)

    # ---- config ----------------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """What Keras 3 returns for the same model. ValueError for a layer without get_config."""
        layers = [] if self._build_shape is None else [self._input_config(self._build_shape)]
        layers += [self._layer_config(layer) for layer in self._layers]
        config: dict[str, Any] = {
            "name": self.name,
            "trainable": True,
            "dtype": dtype_policy.read(None).get_config(),
            "layers": layers,
        }
        if self._build_shape is not None:
            config["build_input_shape"] = self._build_shape
        return config

    def _input_config(self, shape: WholeShape) -> dict[str, Any]:
        first = getattr(next(iter(self._layers), None), "compute_dtype", "float32")
        dtype = first if self._input is None else self._input.dtype
        return {
            "module": "keras.layers",
            "class_name": "InputLayer",
            "config": {
                "batch_shape": shape,
                "dtype": getattr(dtype, "name", dtype),
                "sparse": False,
                "name": "input_layer" if self._input is None else self._input.name,
            },
            "registered_name": None,
        }

    def _layer_config(self, layer: Any) -> dict[str, Any]:
        if not hasattr(layer, "get_config"):
            raise ValueError(f"expected layers with get_config; received {short(layer)}")
        kind = type(layer)
        known = _LAYERS.get(kind.__name__) is kind
        module = "keras" if kind is Sequential else "keras.layers"
        config = {
            "module": module if known else kind.__module__,
            "class_name": kind.__name__,
            "config": layer.get_config(),
            "registered_name": None if known else kind.__name__,
        }
        if getattr(layer, "built", False) and hasattr(layer, "input_shape"):
            config["build_config"] = {"input_shape": layer.input_shape}
        return config

    @classmethod
    def from_config(
        cls: type[S],
        config: Mapping[str, Any] | Sequence[Any],
        custom_objects: Mapping[str, Callable[..., Any]] | None = None,
    ) -> S:
        """A model from `get_config()`, of this package or any generation of Keras; weights are not
        in it.

        Args:
            config: the dict, or Keras 2.2.4's bare list of layers.
            custom_objects: class_name -> class with from_config, or a function config -> layer, for
                layers other than DepthwiseConv2D and Sequential. Nothing is imported.

        Raises ValueError for what is no such config or an unknown class; what the layers raise.
        """
        if isinstance(config, Mapping):
            entries, name = config.get("layers"), config.get("name")
        else:
            entries, name = config, None
        if not isinstance(entries, (list, tuple)):
            raise ValueError(
                f"expected a config dict with a list of layers; received {short(config)}"
            )
        model = cls(name=name)
        for entry in entries:
            model.add(_layer_from(entry, dict(custom_objects or {})))
        shape = config.get("build_input_shape") if isinstance(config, Mapping) else None
        if shape is not None and model._layers:
            model.build(shape)
        return model

    # ---- files -----------------------------------------------------------------------------------

    def save(self, path: PathLike) -> None:
        """Writes config and weights to a file, as `DepthwiseConv2D.save` does; `dwconv.load` reads
        it.

        Only `DepthwiseConv2D` and `Sequential` have weights in a file: ValueError for others with
        weights, besides what that raises.
        """
        item: dict[str, Any] = {"class_name": "Sequential", "config": self.get_config()}
        if self._build_shape is not None and self.built:
            item["build_config"] = {"input_shape": self._build_shape}
        from ..formats import store

        store.write(path, item, dict(self._saved_arrays("")))

    def _saved_arrays(self, prefix: str) -> Iterator[tuple[str, Array]]:
        for layer in self._layers:
            if type(layer) is Sequential or isinstance(layer, DepthwiseConv):
                yield from layer._saved_arrays(f"{prefix}{_name(layer)}/")
            elif _call(layer, "get_weights", []):
                raise ValueError(
                    f"expected layers of dwconv; received {short(layer)}, with weights"
                )

    # ---- showing, copying ------------------------------------------------------------------------

    def summary(self, print_fn: Callable[[str], Any] = print) -> None:
        """Prints a table of the layers: name, output shape, number of weights; totals below it."""
        print_fn(self._summary())

    def _summary(self) -> str:
        shape, rows = self._build_shape, []
        for layer in self._layers:
            shape = None if shape is None else tuple(layer.compute_output_shape(shape))
            built = getattr(layer, "built", True)
            count = f"{_call(layer, 'count_params', 0):,}" if built else "0 (unbuilt)"
            label = f"{_name(layer)} ({type(layer).__name__})"
            rows.append((label, "?" if shape is None else str(shape), count))
        lines = [f'Model: "{printable(self.name)}"']
        lines += summary.render(("Layer (type)", "Output Shape", "Param #"), rows)
        for label, arrays in (
            ("Total", self.weights),
            ("Trainable", self.trainable_weights),
            ("Non-trainable", self.non_trainable_weights),
        ):
            total = sum(array.size for array in arrays)
            size = summary.bytes_text(sum(array.nbytes for array in arrays))
            lines.append(f" {label} params: {total:,} ({size})")
        return "\n".join(lines)

    def __copy__(self: S) -> S:
        """A deep copy: two models share nothing."""
        return copy.deepcopy(self)

    def __repr__(self) -> str:
        state = "built" if self.built else "not built"
        return f"<{type(self).__name__} name={self.name!r}, {len(self._layers)} layers, {state}>"


#: The layers that take a `SymbolicTensor` and that a config names without more ado.
OURS = (DepthwiseConv2D, DepthwiseConv1D, Sequential)
_LAYERS: dict[str, Any] = {kind.__name__: kind for kind in OURS}


def _listed(argument: str, items: Any) -> list[Any]:
    try:
        return list(items)
    except TypeError:
        raise ValueError(f"{argument}: expected a list; received {type(items).__name__}") from None


def is_layer(thing: Any) -> bool:
    """Whether a `Sequential` takes it: a callable, not a class, with `compute_output_shape`."""
    return (
        callable(thing) and not isinstance(thing, type) and hasattr(thing, "compute_output_shape")
    )


def _name(layer: Any) -> str:
    for attribute in ("name", "__name__"):
        name = getattr(layer, attribute, None)
        if isinstance(name, str):
            return name
    return naming.snake_case(type(layer).__name__)


def _build(layer: Any, shape: WholeShape) -> None:
    if hasattr(layer, "build"):
        layer.build(shape)


def _call(layer: Any, method: str, default: Any) -> Any:
    """layer.method() of a layer that has it, else the default: callables need not have weights."""
    found = getattr(layer, method, None)
    return default if found is None else found()


def _layer_from(entry: Any, custom: dict[str, Callable[..., Any]]) -> Any:
    """A layer, or an Input, from one item of a model's config."""
    if not isinstance(entry, Mapping) or not isinstance(entry.get("config"), (Mapping, list)):
        raise ValueError(f"expected a dict with class_name and config; received {short(entry)}")
    kind, config = str(entry.get("class_name")), entry["config"]
    if isinstance(config, list) and kind not in ("Sequential", *custom):  # Keras 2.2.4's
        raise ValueError(f"config of {short(kind)}: expected a dict; received {short(config)}")
    if kind == "InputLayer":
        shape = config.get("batch_shape") or config.get("batch_input_shape")
        return inputs.Input(batch_shape=shape, dtype=config.get("dtype"), name=config.get("name"))
    found = custom.get(kind) or _LAYERS.get(kind)
    if found is None:
        known = ", ".join(["InputLayer", *_LAYERS, *custom])
        raise ValueError(
            f"class_name: expected one of {known}, or custom_objects; received {short(kind)}"
        )
    if found in (DepthwiseConv1D, DepthwiseConv2D):
        generation = generation_of(config) if "module" in entry else 2
        return found.from_config(config, generation=generation)
    if found is Sequential:
        return Sequential.from_config(config, custom)
    make = getattr(found, "from_config", found)
    return make(config)
