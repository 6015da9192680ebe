"""What a layer's `dtype` argument means: the dtype of its weights and the one it computes in.

Keras calls the pair a dtype policy. 'float32' and so on mean both; 'mixed_float16' and
'mixed_bfloat16' mean float32 weights that are rounded to the other for the computation, as inputs
are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ..arguments import unwrap
from ..dtypes import COMPUTE, DType, is_numeric, named

_MIXED = {"mixed_float16": "float16", "mixed_bfloat16": "bfloat16"}
_POLICY_CLASSES = ("DTypePolicy", "Policy")  # Keras 3, Keras 2


class DTypePolicy(NamedTuple):
    """`variable` is the dtype of the weights, `compute` the one that inputs are cast to and outputs
    have.
    """

    name: str
    variable: DType
    compute: DType

    def get_config(self) -> dict[str, Any]:
        """What Keras 3 writes as a layer's dtype."""
        return {
            "module": "keras",
            "class_name": "DTypePolicy",
            "config": {"name": self.name},
            "registered_name": None,
        }


def read(dtype: Any) -> DTypePolicy:
    """The policy for None (float32), a name, a NumPy dtype or scalar type, a policy of Keras or its
    config dict.

    ValueError, which lists what works, for anything else.
    """
    if dtype is None:
        dtype = "float32"
    if isinstance(dtype, DTypePolicy):
        return dtype
    name = _name(dtype)
    mixed = isinstance(name, str) and name in _MIXED
    found = named(_MIXED[name] if mixed else name)
    if found is None or found.name not in COMPUTE:
        known = ", ".join([*COMPUTE, *_MIXED])
        hint = "; bfloat16 needs the package ml_dtypes" if "bfloat16" in str(name) else ""
        raise ValueError(f"dtype: expected one of {known}; received {dtype!r}{hint}")
    if mixed:
        return DTypePolicy(name, np.dtype(np.float32), found)
    return DTypePolicy(found.name, found, found)


def read_input(dtype: Any) -> DType:
    """The dtype of an input, any real number, for the same forms; None is float32. ValueError
    otherwise.
    """
    name = "float32" if dtype is None else _name(dtype)
    found = named(_MIXED.get(name, name) if isinstance(name, str) else name)
    if found is None or not is_numeric(found):
        raise ValueError(f"dtype: expected one of real numbers; received {dtype!r}")
    return found


def _name(dtype: Any) -> Any:
    """The name in a policy or its config; what NumPy understands by itself as it is."""
    if isinstance(dtype, Mapping):
        class_name, config = unwrap(dtype.get("class_name")), dtype.get("config")
        if class_name not in _POLICY_CLASSES or not isinstance(config, Mapping):
            wanted = " or ".join(_POLICY_CLASSES)
            raise ValueError(
                f"dtype: expected a dict with class_name {wanted} and a config; "
                f"received {dict(dtype)!r}"
            )
        return unwrap(config.get("name", ""))
    if isinstance(dtype, (str, np.dtype, type)):
        return dtype
    return getattr(dtype, "name", "")  # Keras' policies, TensorFlow's dtypes
