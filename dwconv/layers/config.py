"""The config of a layer: its arguments, read once; and reading the configs that Keras and R write.

Shape letters: M depth multiplier, kh/kw kernel height/width. Every pair is (height, width).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from .. import activations, config, constraints, dtypes, initializers, naming, regularizers
from ..arguments import DataFormat, nearest, read_bool, unwrap
from ..messages import short
from ..ops import ConvSpec
from ..registry import read_object
from . import dtype_policy
from .dtype_policy import DTypePolicy

Config = dict[str, Any]


@dataclass(frozen=True)
class LayerConfig:
    """What a `DepthwiseConv2D` or `DepthwiseConv1D` is, weights and input shapes aside;
    docs/layer.md says what each argument means.

    `LayerConfig.read` takes the constructor's arguments in any spelling; here they are objects.
    Two configs are equal if all their values are.
    """

    name: str | None  # None: the layer has not named itself yet
    trainable: bool
    dtype_policy: DTypePolicy
    spec: ConvSpec
    activation: Any
    use_bias: bool
    depthwise_initializer: Any
    bias_initializer: Any
    depthwise_regularizer: Any
    bias_regularizer: Any
    activity_regularizer: Any
    depthwise_constraint: Any
    bias_constraint: Any
    allow_strided_dilation: bool = False

    @classmethod
    def read(
        cls,
        kernel_size: Any,
        strides: Any = (1, 1),
        padding: Any = "valid",
        depth_multiplier: Any = 1,
        data_format: Any = None,
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
        dtype: Any = None,
        name: Any = None,
        trainable: Any = True,
        allow_strided_dilation: Any = False,
        rank: int = 2,
    ) -> LayerConfig:
        """A config of the constructor's arguments. Raises what the constructor raises."""
        if data_format is None:
            data_format = config.image_data_format()
        spec = ConvSpec.read(
            kernel_size,
            strides,
            padding,
            dilation_rate,
            depth_multiplier,
            data_format,
            rank,
        )
        allowed = read_bool("allow_strided_dilation", allow_strided_dilation)
        if is_strided_and_dilated(spec) and not allowed:
            raise ValueError(
                "expected strides or dilation_rate to be 1; received "
                f"strides={spec.strides} and dilation_rate={spec.dilation_rate}. "
                "allow_strided_dilation=True computes both together, as Keras 3 does"
            )
        policy = dtype_policy.read(dtype)
        return cls(
            name=None if name is None else naming.read(name),
            trainable=read_setting("trainable", trainable, policy),
            dtype_policy=policy,
            spec=spec,
            activation=read_setting("activation", activation, policy),
            use_bias=read_bool("use_bias", use_bias),
            depthwise_initializer=read_setting(
                "depthwise_initializer", depthwise_initializer, policy
            ),
            bias_initializer=read_setting("bias_initializer", bias_initializer, policy),
            depthwise_regularizer=read_setting(
                "depthwise_regularizer", depthwise_regularizer, policy
            ),
            bias_regularizer=read_setting("bias_regularizer", bias_regularizer, policy),
            activity_regularizer=read_setting("activity_regularizer", activity_regularizer, policy),
            depthwise_constraint=read_setting("depthwise_constraint", depthwise_constraint, policy),
            bias_constraint=read_setting("bias_constraint", bias_constraint, policy),
            allow_strided_dilation=allowed,
        )

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], generation: int | None = None, rank: int = 2
    ) -> LayerConfig:
        """The config that `get_config` wrote; see `DepthwiseConv2D.from_config`."""
        owner = f"DepthwiseConv{rank}D"
        return cls.read(**layer_arguments(config, ARGUMENTS, generation, owner), rank=rank)

    # ---- the geometry's arguments ----------------------------------------------------------------

    @property
    def kernel_size(self) -> tuple[int, ...]:
        """(kh, kw), or (k,)"""
        return self.spec.kernel_size[2 - self.spec.rank :]

    @property
    def strides(self) -> tuple[int, ...]:
        """In pixels."""
        return self.spec.strides[2 - self.spec.rank :]

    @property
    def padding(self) -> Any:
        """'valid', 'same', 'causal', or ((top, bottom), (left, right)), of rank 1 (left, right)."""
        padding = self.spec.padding
        return padding[1] if self.spec.rank == 1 and not isinstance(padding, str) else padding

    @property
    def depth_multiplier(self) -> int:
        """M"""
        return self.spec.depth_multiplier

    @property
    def data_format(self) -> DataFormat:
        """'channels_last' or 'channels_first'"""
        return self.spec.data_format

    @property
    def dilation_rate(self) -> tuple[int, ...]:
        """In pixels."""
        return self.spec.dilation_rate[2 - self.spec.rank :]

    # ---- writing ---------------------------------------------------------------------------------

    def get_config(self) -> Config:
        """What Keras 3 returns for the same layer, and `allow_strided_dilation` if it is set.
        ValueError for a function that has no name (a lambda).
        """
        written: Config = {
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
        if self.allow_strided_dilation:
            written["allow_strided_dilation"] = True
        return written

    def __str__(self) -> str:
        """The arguments that differ from their defaults, as a call would have them; without those
        that name objects, except the activation.
        """
        shown = {
            "name": self.name,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "depth_multiplier": self.depth_multiplier,
            "data_format": self.data_format,
            "dilation_rate": self.dilation_rate,
            "activation": getattr(self.activation, "name", self.activation),
            "use_bias": self.use_bias,
            "dtype": self.dtype_policy.name,
            "trainable": self.trainable,
        }
        return ", ".join(
            f"{key}={value!r}"
            for key, value in shown.items()
            if value != _DEFAULTS.get(key) and not (value == (1,) and key in _ONES)
        )


# What `str` leaves out.
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


_ONES = ("strides", "dilation_rate")  # which of rank 1 are (1,)


def is_strided_and_dilated(spec: ConvSpec) -> bool:
    """Whether both strides and dilation_rate are other than 1."""
    return spec.strides != (1, 1) and spec.dilation_rate != (1, 1)


# ---- one argument --------------------------------------------------------------------------------

#: Argument -> how to read it, and what None stands for.
_OBJECTS: dict[str, tuple[Any, Any]] = {
    "activation": (activations.get, None),
    "depthwise_initializer": (initializers.get, "glorot_uniform"),
    "bias_initializer": (initializers.get, "zeros"),
    "depthwise_regularizer": (regularizers.get, None),
    "bias_regularizer": (regularizers.get, None),
    "activity_regularizer": (regularizers.get, None),
    "depthwise_constraint": (constraints.get, None),
    "bias_constraint": (constraints.get, None),
}


def read_setting(argument: str, value: Any, policy: DTypePolicy) -> Any:
    """The config's value of an argument that may be set later, too. Raises what the constructor
    raises.
    """
    if argument == "trainable":
        return True if value is None else read_bool(argument, value)
    if argument == "name":
        return naming.read(value)
    get, default = _OBJECTS[argument]
    found = read_object(argument, get, default if value is None else value)
    if isinstance(found, activations.Activation) and dtypes.is_integer(policy.compute):
        found(np.zeros(2, policy.compute))  # raises what the first call would
    return found


# ---- configs of every generation -----------------------------------------------------------------

#: The constructor's arguments that a config may hold.
ARGUMENTS = frozenset(
    {*LayerConfig.read.__annotations__, "input_shape", "batch_input_shape", "batch_size"}
) - {"return", "rank"}

# Arguments that are sequences by nature. For all others a list of one element is R's way to write a
# scalar.
_SEQUENCES = frozenset(
    {"kernel_size", "strides", "dilation_rate", "input_shape", "batch_input_shape"}
)

# Arguments for which None has a meaning of its own. For all others it is R's NULL: the default.
_OPTIONAL = frozenset({"depthwise_initializer", "bias_initializer", "activation", "data_format"})


def layer_arguments(
    config: Mapping[str, Any],
    known: Iterable[str],
    generation: int | None = None,
    owner: str = "DepthwiseConv2D",
) -> Config:
    """The constructor's arguments in a config; `known` are the names that the constructor takes,
    owner is the class.

    generation: 1, 2 or 3, the Keras that wrote the config, which decides what names mean; None:
    `generation_of(config)`. Only with an explicit 3 may strides and dilation_rate both be other
    than 1. Keras 2's `groups` is dropped if it is 1. Raises TypeError for names that nobody writes,
    ValueError for other groups and for anything but a dict.
    """
    if not isinstance(config, Mapping):
        raise ValueError(f"expected a config dict; received {short(config)}")
    names = set(known)
    unknown = [name for name in config if name not in names and name != "groups"]
    if unknown:
        raise unknown_keywords(unknown, names, owner)
    arguments: Config = {}
    for name, value in config.items():
        if name == "groups":
            _check_groups(value)
            continue
        value = _scalar_or_pair(name, value)
        if value is not None or name in _OPTIONAL:
            arguments[name] = value
    if "activation" in arguments:
        arguments["activation"] = read_object(
            "activation",
            activations.get,
            arguments["activation"],
            generation=generation_of(config) if generation is None else generation,
        )
    if generation == 3 and _has_strides_and_dilation(arguments):
        arguments["allow_strided_dilation"] = True
    return arguments


def generation_of(config: Mapping[str, Any]) -> int:
    """2 for a config that only Keras 1 or 2 can have written, else 3; the meaning of names depends
    on it.

    Their marks: `groups`, `batch_input_shape`, and nested {class_name, config} without a module.
    tf.keras 2.13 and later write modules too, but also groups.
    """
    short = any(
        isinstance(value, Mapping) and "class_name" in value and "module" not in value
        for name, value in config.items()
        if name != "dtype"
    )
    return 2 if short or "groups" in config or "batch_input_shape" in config else 3


def unknown_keywords(
    names: Iterable[Any], known: Iterable[str], owner: str = "DepthwiseConv2D"
) -> TypeError:
    """The error for arguments that a layer of class `owner` does not have; a file may hold
    thousands, of which it names some.
    """
    known = sorted(known)
    found = {name: nearest(str(name), known) for name in islice(names, 5)}
    parts = [
        f"{short(name)} (nearest known: {', '.join(map(repr, near))})" if near else short(name)
        for name, near in found.items()
    ]
    what = "argument" if len(parts) == 1 else "arguments"
    rest = "" if all(found.values()) else f"; known: {', '.join(known)}"
    return TypeError(f"{owner}: unexpected keyword {what} {', '.join(parts)}{rest}")


def _has_strides_and_dilation(arguments: Config) -> bool:
    """Whether both are other than 1, as far as they can be read; the constructor refuses others."""
    for rank in (2, 1):
        try:
            spec = ConvSpec.read(
                1,
                arguments.get("strides", 1),
                dilation_rate=arguments.get("dilation_rate", 1),
                rank=rank,
            )
        except ValueError:
            continue
        return is_strided_and_dilated(spec)
    return False


def _check_groups(groups: Any) -> None:
    if unwrap(groups) not in (1, None):
        raise ValueError(
            "groups: expected 1, each channel being its own group already; "
            f"received {short(groups)}"
        )


def _scalar_or_pair(name: str, value: Any) -> Any:
    if name not in _SEQUENCES:
        return unwrap(value)
    is_list = isinstance(value, (list, tuple)) and len(value) == 1
    return value[0] if is_list and not name.endswith("shape") else value
