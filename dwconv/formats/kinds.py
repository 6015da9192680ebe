"""What in a model is a depthwise convolution: Keras' own layer, and layers that mean the same.

A `Kind` says how one is found, what it is as a DepthwiseConv2D or DepthwiseConv1D, and which of its
weights are whose. A new kind: a function here, and a line in `kind_of`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from numpy.typing import NDArray

from ..arguments import unwrap
from . import Arrays, Document, FormatError, Weights, short
from .entries import (
    DEPTHWISE,
    DEPTHWISE_1D,
    OF_BYTES,
    PLAIN,
    QUANTIZED,
    WITHOUT,
    LayerEntry,
    is_keras,
    wrapped,
)

Variables = list[NDArray[Any]]

#: Wrappers that call what they wrap, for each step in time or each call, and change nothing in
#: inference; what they say of it.
_WRAPPERS = {
    "TimeDistributed": "in TimeDistributed",
    "SpectralNormalization": "in SpectralNormalization",
    "PruneLowMagnitude": "in PruneLowMagnitude",
    # These also round kernel and output to what 8 bits can hold. The weights are those before.
    "QuantizeWrapper": "in QuantizeWrapper, without its rounding",
    "QuantizeWrapperV2": "in QuantizeWrapperV2, without its rounding",
}


class NotDepthwiseError(FormatError):
    """What a config left open and the weights show: this layer is none."""


class Kind(NamedTuple):
    """How a layer of a model is a depthwise convolution."""

    #: For people: 'DepthwiseConv2D', 'Conv2D with groups', 'DepthwiseConv2D in TimeDistributed'.
    label: str
    #: The config of the DepthwiseConv2D that it is.
    config: Document
    #: Its kernel and bias out of the weights of the layer.
    arrays: Callable[[Variables], Arrays]
    #: Whether the layer is that and nothing else: not the half of one, nothing wrapped.
    is_whole: bool = True
    #: Whether the config says all; else the weights show whether it is one.
    is_certain: bool = True

    @property
    def is_plain(self) -> bool:
        """Whether the layer is a depthwise layer of Keras, if in a wrapper."""
        return self.label.startswith(PLAIN)

    @property
    def rest(self) -> str | None:
        """What of the layer is not in the DepthwiseConv2D; None if nothing is missing."""
        return None if self.is_whole or self.is_plain else "its pointwise half"

    def weights(self, weights: Weights, entry: LayerEntry) -> Arrays | None:
        """{'kernel': ..., 'bias': ...} of the DepthwiseConv2D; None if the file has no weights."""
        variables = weights.weights_at(entry)
        return None if variables is None else self.arrays(variables)


def kind_of(entry: LayerEntry, in_any_wrapper: bool = False) -> Kind | None:
    """What a layer is as a depthwise convolution; None if it is none. FormatError for a config that
    does not say.

    in_any_wrapper: also in that of a user, which may do anything with it.
    """
    if not is_keras(entry.item) or wrapped(entry.item) is not None:
        return None
    around = [_WRAPPERS.get(wrapper) for wrapper in entry.wrappers]
    if None in around and not in_any_wrapper:
        return None
    maker = _KINDS.get(entry.class_name)
    kind = maker(entry) if maker is not None else None
    if kind is None or not around:
        return kind
    label = " ".join([kind.label, *(text for text in reversed(around) if text)])
    return kind._replace(label=label, config=_without_rounding(kind.config), is_whole=False)


def in_unknown_wrapper(entry: LayerEntry) -> bool:
    """Whether a layer would be one without a wrapper of a class that is not known."""
    known = all(wrapper in _WRAPPERS for wrapper in entry.wrappers)
    return not known and entry.class_name in _KINDS and is_keras(entry.item)


def _depthwise(entry: LayerEntry) -> Kind:
    missing = entry.item.get(WITHOUT)
    label = entry.class_name
    if missing is not None:
        label += f" without its {short(missing)[1:-1]}"
    return Kind(label, _config(entry), kernel_and_bias, is_whole=missing is None)


def _quantized(entry: LayerEntry) -> Kind | None:
    """Of a graph of another framework: Keras has no class of that name, a user may have."""
    if entry.item.get(OF_BYTES) is not True:
        return None
    kind = _depthwise(entry)
    return kind._replace(arrays=_kernel_scale_and_bias)


def _grouped(entry: LayerEntry) -> Kind | None:
    """Conv2D(filters=C * M, groups=C) on C channels: the kernel (kh, kw, 1, C*M) of output channel
    c*M + m is that of channel c.
    """
    config = _config(entry)
    groups, filters = unwrap(config.pop("groups", 1)), unwrap(config.pop("filters", None))
    whole = all(type(n) is int or (type(n) is float and n.is_integer()) for n in (groups, filters))
    if not whole or groups < 2 or filters % groups:
        return None
    groups, multiplier = int(groups), int(filters) // int(groups)
    channels = _channels(entry, config)
    if channels not in (None, groups):
        return None
    for name in ("initializer", "regularizer", "constraint"):
        config[f"depthwise_{name}"] = config.pop(f"kernel_{name}", None)
    # A norm over axes of another shape would be another one; only NonNeg is about single weights.
    constraint = config["depthwise_constraint"]
    if constraint is not None and "NonNeg" not in str(constraint):
        config["depthwise_constraint"] = None
    config["depth_multiplier"] = multiplier

    def arrays(variables: Variables) -> Arrays:
        found = kernel_and_bias(variables)
        kernel = found["kernel"]
        if kernel.ndim != 4 or kernel.shape[2] != 1 or kernel.shape[3] != groups * multiplier:
            raise NotDepthwiseError(
                f"expected one channel in each of {groups} groups, a kernel (kh, kw, 1, "
                f"{groups * multiplier}); received {kernel.shape}"
            )
        found["kernel"] = kernel.reshape(*kernel.shape[:2], groups, multiplier)
        return found

    return Kind("Conv2D with groups", config, arrays, is_certain=channels is not None)


def _separable(entry: LayerEntry) -> Kind:
    """The first half of a SeparableConv2D; bias and activation belong to the second, pointwise."""
    config = _config(entry)
    for name in (
        *("filters", "groups", "activity_regularizer", "bias_initializer", "bias_regularizer"),
        *("bias_constraint", "pointwise_initializer", "pointwise_regularizer"),
        "pointwise_constraint",
        # What Keras 2.2.4 writes besides: it is unused.
        *("kernel_initializer", "kernel_regularizer", "kernel_constraint"),
    ):
        config.pop(name, None)
    config.update(activation="linear", use_bias=False)
    return Kind(
        "depthwise half of SeparableConv2D", config, lambda found: {"kernel": found[0]}, False
    )


_KINDS: dict[str, Callable[[LayerEntry], Kind | None]] = {
    DEPTHWISE: _depthwise,
    DEPTHWISE_1D: _depthwise,
    "Conv2D": _grouped,
    "SeparableConv2D": _separable,
    QUANTIZED: _quantized,
}


def kernel_and_bias(variables: Variables) -> Arrays:
    """Names for the weights of a layer that has a kernel and, it may be, a bias."""
    if not 1 <= len(variables) <= 2:
        raise FormatError(f"expected a kernel and a bias; received {len(variables)} weights")
    return dict(zip(("kernel", "bias"), variables, strict=False))


def _kernel_scale_and_bias(variables: Variables) -> Arrays:
    """Names for the weights of a quantized layer."""
    if not 2 <= len(variables) <= 3:
        raise FormatError(f"expected kernel, scales and a bias; received {len(variables)} weights")
    return dict(zip(("kernel", "kernel_scale", "bias"), variables, strict=False))


def _config(entry: LayerEntry) -> Document:
    config = entry.item.get("config")
    if not isinstance(config, Mapping):
        raise FormatError(f"config: expected a dict; received {type(config).__name__}")
    config = dict(config)
    if "batch_input_shape" in entry.item:
        config["batch_input_shape"] = entry.item["batch_input_shape"]
    return config


def _channels(entry: LayerEntry, config: Document) -> int | None:
    """C, if the file says for which input the layer was built."""
    built = entry.item.get("build_config")
    shape = built.get("input_shape") if isinstance(built, Mapping) else None
    if not isinstance(shape, (list, tuple)) or len(shape) != 4:
        return None
    first = str(config.get("data_format")).lower() == "channels_first"
    channels = shape[1 if first else 3]
    return channels if type(channels) is int else None


def _without_rounding(config: Document) -> Document:
    """tfmot wraps the activation, too: {'class_name': 'QuantizeAwareActivation', 'config':
    {'activation': 'relu'}}, or in it NoOpActivation.
    """
    activation = config.get("activation")
    if isinstance(activation, Mapping) and activation.get("class_name") == _ROUNDED:
        inner = activation.get("config")
        activation = inner.get("activation") if isinstance(inner, Mapping) else short(inner)
        if isinstance(activation, Mapping) and activation.get("class_name") == "NoOpActivation":
            activation = "linear"
        return {**config, "activation": activation}
    return config


_ROUNDED = "QuantizeAwareActivation"
