"""Names of layers, models and inputs: unique unless given, counted as Keras counts them."""

from __future__ import annotations

import re
from typing import Any

from .locks import Lock
from .messages import short

_counts: dict[str, int] = {}
_lock = Lock()


def snake_case(class_name: str, generation: int = 3) -> str:
    """'DepthwiseConv2D' -> 'depthwise_conv2d', as that generation of Keras does it.

    Source: `to_snake_case` in keras/src/utils/naming.py of Keras 3 and in utils/generic_utils.py of
    Keras 2.7 to 2.15. Both make 'my__net' of 'My_Net'; of '_Net' Keras 3 makes '__net' and Keras 2
    'private__net'. (Older ones treat digits otherwise, but write no files in which a layer goes by
    its class.)
    """
    name = re.sub(r"\W+", "", class_name) if generation == 3 else class_name
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    name = re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
    return f"private{name}" if generation < 3 and name.startswith("_") else name


def unique(prefix: str) -> str:
    """`prefix`, then `prefix`_1, `prefix`_2, ...: a name that no earlier call gave."""
    with _lock.held():
        count = _counts.get(prefix, 0)
        _counts[prefix] = count + 1
    return f"{prefix}_{count}" if count else prefix


def given_or_unique(name: Any, class_name: str) -> str:
    """`name`, or for None a unique one made from the class name.

    A given name does not advance the count. ValueError as of `read`.
    """
    return unique(snake_case(class_name)) if name is None else read(name)


def read(name: Any) -> str:
    """`name` as a str. ValueError unless it is a non-empty string without '/', which separates
    names in the paths of nested models.
    """
    if not isinstance(name, str) or not name or "/" in name:
        raise ValueError(f"name: expected a non-empty string without '/'; received {short(name)}")
    return str(name)


def reset() -> None:
    """Starts all counts again; for tests and for sessions that build the same models over and
    over.
    """
    with _lock.held():
        _counts.clear()
