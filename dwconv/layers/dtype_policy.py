"""What a layer's `dtype` argument means: the dtype of its weights and the one it computes in.

Keras calls the pair a dtype policy. 'float32' and so on mean both; 'mixed_float16' and
'mixed_bfloat16' mean float32 weights that are rounded to the other for the computation, as inputs
are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ..arguments import unwrap
from ..dtypes import COMPUTE, DType, is_numeric, named
from ..messages import short

_MIXED = {"mixed_float16": "float16", "mixed_bfloat16": "bfloat16"}
# Who wrote a policy by the name of its class, and what in its config has the name of the dtypes.
_POLICY_CLASSES = {
    "DTypePolicy": "name",  # Keras 3
    "FloatDTypePolicy": "name",  # the same, by a name of its own from 3.3 on
    "Policy": "name",  # TensorFlow 2.4 and later
    "PolicyV1": "name",  # its experimental one, with a loss_scale
    # Those of quantized models: a depthwise layer is none of those that Keras quantizes. It
    # computes in the dtypes of the policy that the quantized one is made from.
    "QuantizedDTypePolicy": "source_name",
    "QuantizedFloat8DTypePolicy": "source_name",
    "Int4DTypePolicy": "source_name",
    "GPTQDTypePolicy": "source_name",
    "AWQDTypePolicy": "source_name",
    # Policies by the paths of layers, and one for all others.
    "DTypePolicyMap": "default_policy",
}
#: Names of TensorFlow 1.14 to 2.0. 'infer': the dtype of the first input.
_OLD_NAMES = {
    "infer": "float32",
    "_infer": "float32",
    "infer_float32_vars": "float32",
    "infer_with_float32_vars": "float32",
    "float16_with_float32_vars": "mixed_float16",
    "bfloat16_with_float32_vars": "mixed_bfloat16",
}
_QUANTIZED = ("int8", "float8", "int4", "gptq", "awq")


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
        raise ValueError(f"dtype: expected one of {known}; received {short(dtype)}{hint}")
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
        raise ValueError(f"dtype: expected one of real numbers; received {short(dtype)}")
    return found


def of_layer(dtype: Any, *paths: str) -> Any:
    """The policy of a layer in a DTypePolicyMap's config dict; any other `dtype` as it is.

    paths: what Keras may call the layer, 'outer/inner', the likeliest first. Keras looks for the
    whole path, then for a pattern (`re.fullmatch`). The patterns of a file are not run: nobody has
    vouched for them. One that is more than letters, '/' and a last '.*' is a ValueError.
    """
    if not isinstance(dtype, Mapping) or unwrap(dtype.get("class_name")) != "DTypePolicyMap":
        return dtype
    config = dtype.get("config")
    policies = config.get("policy_map") if isinstance(config, Mapping) else None
    if not isinstance(policies, Mapping):
        return dtype
    exact = next((path for path in paths if path in policies), None)
    if exact is not None:
        return policies[exact]
    patterns = {}
    for pattern, policy in policies.items():
        stem = str(pattern).removesuffix(".*")
        if _PATTERN.search(stem):
            raise ValueError(f"dtype: expected a path, or one with '.*'; received {short(pattern)}")
        if stem != pattern:
            patterns[stem] = policy
    for path in paths:
        found = [policy for stem, policy in patterns.items() if path.startswith(stem)]
        if len(found) > 1:
            raise ValueError(f"dtype: expected one policy for {short(path)}; received {len(found)}")
        if found:
            return found[0]
    return dtype


_PATTERN = re.compile(r"[][\\.^$*+?{}|()]")


def _name(dtype: Any, in_map: bool = False) -> Any:
    """The name in a policy or its config; what NumPy understands by itself as it is."""
    if isinstance(dtype, Mapping):
        class_name, config = unwrap(dtype.get("class_name")), dtype.get("config")
        key = _POLICY_CLASSES.get(class_name) if isinstance(class_name, str) else None
        is_map = key == "default_policy"
        if key is None or not isinstance(config, Mapping) or (in_map and is_map):
            wanted = ", ".join(_POLICY_CLASSES)
            raise ValueError(
                f"dtype: expected a dict with a config and a class_name of {wanted}; "
                f"received {short(dict(dtype))}"
            )
        name = unwrap(config.get(key, ""))
        if name is None:  # Keras' default when the file is read
            return "float32"
        return _name(name, in_map=True) if is_map else _OLD_NAMES.get(str(name), name)
    if isinstance(dtype, str) and "_from_" in dtype:
        mode, _, source = dtype.partition("_from_")  # 'int8_from_float32', of quantized models
        return source if mode.startswith(_QUANTIZED) else dtype
    if isinstance(dtype, (str, np.dtype, type)):
        return dtype
    return getattr(dtype, "name", "")  # Keras' policies, TensorFlow's dtypes
