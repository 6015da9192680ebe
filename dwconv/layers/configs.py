"""Reading a layer's config as any generation of Keras, tf.keras or the R packages writes it.

Writing is `DepthwiseConv2D.get_config`, which gives what Keras 3 gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Any

from ..arguments import nearest, unwrap

Config = dict[str, Any]

# Arguments that are sequences by nature. For all others a list of one element is R's way to write a
# scalar.
_SEQUENCES = frozenset(
    {"kernel_size", "strides", "dilation_rate", "input_shape", "batch_input_shape"}
)

# Arguments for which None has a meaning of its own. For all others it is R's NULL: the default.
_OPTIONAL = frozenset({"depthwise_initializer", "bias_initializer", "activation", "data_format"})


def layer_arguments(config: Mapping[str, Any], known: Iterable[str]) -> Config:
    """The constructor's arguments in a config; `known` are the names that the constructor takes.

    Keras 2's `groups` is dropped if it is 1. Raises TypeError for names that nobody writes,
    ValueError for other groups and for a config that is no dict.
    """
    if not isinstance(config, Mapping):
        raise ValueError(f"expected a config dict; received {config!r}")
    names = set(known)
    unknown = [name for name in config if name not in names and name != "groups"]
    if unknown:
        raise unknown_keywords(unknown, names)
    arguments: Config = {}
    for name, value in config.items():
        if name == "groups":
            _check_groups(value)
            continue
        value = _scalar_or_pair(name, value)
        if value is not None or name in _OPTIONAL:
            arguments[name] = value
    return arguments


def generation(config: Mapping[str, Any]) -> int:
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


def unknown_keywords(names: Iterable[Any], known: Iterable[str]) -> TypeError:
    """The error for arguments that DepthwiseConv2D does not have; a file may hold thousands, of
    which it names some.
    """
    known = sorted(known)
    found = {name: nearest(str(name), known) for name in islice(names, 5)}
    parts = [
        f"{name!r} (nearest known: {', '.join(map(repr, near))})" if near else repr(name)
        for name, near in found.items()
    ]
    what = "argument" if len(parts) == 1 else "arguments"
    rest = "" if all(found.values()) else f"; known: {', '.join(known)}"
    return TypeError(f"DepthwiseConv2D: unexpected keyword {what} {', '.join(parts)}{rest}")


def read_object(argument: str, get: Callable[..., Any], value: Any, **options: Any) -> Any:
    """`get(value)`, with that of activations and so on; its ValueError names the argument."""
    try:
        return get(value, **options)
    except ValueError as error:
        raise ValueError(f"{argument}: {error}") from error


def _check_groups(groups: Any) -> None:
    if unwrap(groups) not in (1, None):
        raise ValueError(
            f"groups: expected 1, each channel being its own group already; received {groups!r}"
        )


def _scalar_or_pair(name: str, value: Any) -> Any:
    if name not in _SEQUENCES:
        return unwrap(value)
    is_list = isinstance(value, (list, tuple)) and len(value) == 1
    return value[0] if is_list and not name.endswith("shape") else value
