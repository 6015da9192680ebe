"""What a layer has because it has a config: writing and reading it, comparing by it, showing it.

`configs` knows how each generation of Keras writes one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from .. import activations, constraints, initializers, regularizers
from ..arguments import DataFormat
from . import configs
from .weighted import WeightedLayer

C = TypeVar("C", bound="ConfiguredLayer")


class ConfiguredLayer(WeightedLayer):
    """The part of `DepthwiseConv2D` that is about its config. A subclass adds attributes and
    properties of these names, and a constructor that takes what `get_config` gives.
    """

    kernel_size: tuple[int, int]
    strides: tuple[int, int]
    padding: str
    depth_multiplier: int
    data_format: DataFormat
    dilation_rate: tuple[int, int]
    depthwise_initializer: Any
    bias_initializer: Any

    @property
    def activation(self) -> Any:
        """The function that the output goes through."""
        raise NotImplementedError

    @property
    def activity_regularizer(self) -> Any:
        """The penalty on the output."""
        raise NotImplementedError

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
    def from_config(cls: type[C], config: Mapping[str, Any], generation: int | None = None) -> C:
        """A layer from `get_config()`, of this package, any generation of Keras, tf.keras or R.

        Args:
            config: the inner dict, with the constructor's arguments. `groups` may be 1; None stands
                for a default, a list of one element for that.
            generation: 1, 2 or 3, which Keras wrote it, for names that changed their meaning
                (hard_sigmoid); None: 2 for what Keras 3 never writes (`groups`,
                `batch_input_shape`, nested dicts without module), else 3.

        Raises TypeError for a name that no layer has, ValueError for values.
        """
        import inspect  # slow to import, and not needed before

        # A subclass may pass some on as **keywords, so those of its base classes count, too.
        classes = (kind for kind in cls.__mro__ if issubclass(kind, ConfiguredLayer))
        known = {name for kind in classes for name in inspect.signature(kind).parameters}
        arguments = configs.layer_arguments(config, known - {"weights", "num_threads", "unknown"})
        if "activation" in arguments:
            arguments["activation"] = configs.read_object(
                "activation",
                activations.get,
                arguments["activation"],
                generation=configs.generation(config) if generation is None else generation,
            )
        return cls(**arguments)

    def same_config(self, other: object) -> bool:
        """Whether `other` is a layer of the same class and config; names, weights and input shapes
        do not count. ValueError for a function without a name, as of `get_config`.
        """
        if type(other) is not type(self):
            return False
        return {**self.get_config(), "name": None} == {**other.get_config(), "name": None}

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
        kernel = self.kernel
        state = "not built" if kernel is None else f"built for {kernel.shape[2]} channels"
        return f"<{type(self).__name__} {', '.join(parts)}, {state}>"


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
