"""dtype policies as the Kerases write them into a layer's config."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dwconv import DepthwiseConv2D
from dwconv.layers import dtype_policy


def policy(class_name: str, **config: Any) -> dict[str, Any]:
    return {"module": "keras", "class_name": class_name, "config": config, "registered_name": None}


# (what a Keras writes, variable dtype, compute dtype). The classes and configs are those that
# Keras 3.15.1 (`get_config()["dtype"]`) and TensorFlow 2.4 to 2.15 write.
WRITTEN = [
    (policy("DTypePolicy", name="mixed_float16"), "float32", "float16"),
    (policy("FloatDTypePolicy", name="float16"), "float16", "float16"),
    (policy("Policy", name="mixed_float16", loss_scale=None), "float32", "float16"),
    (policy("Policy", name="float16_with_float32_vars"), "float32", "float16"),
    (policy("Policy", name="infer"), "float32", "float32"),
    (policy("PolicyV1", name="float64", loss_scale={"class_name": "x"}), "float64", "float64"),
    (
        policy("QuantizedDTypePolicy", mode="int8", source_name="mixed_float16"),
        "float32",
        "float16",
    ),
    (
        policy("QuantizedFloat8DTypePolicy", mode="float8", source_name="float32", amax=1),
        "float32",
        "float32",
    ),
    (policy("Int4DTypePolicy", mode="int4/128", source_name="float16"), "float16", "float16"),
    (policy("GPTQDTypePolicy", mode="gptq/4/128", source_name="float32"), "float32", "float32"),
    (policy("AWQDTypePolicy", mode="awq/4/128", source_name=None), "float32", "float32"),
    ("int8_from_float32", "float32", "float32"),
    ("float8_from_mixed_float16", "float32", "float16"),
    (policy("DTypePolicyMap", default_policy=None, policy_map={}), "float32", "float32"),
    (policy("DTypePolicyMap", default_policy="float16", policy_map={}), "float16", "float16"),
    (
        policy(
            "DTypePolicyMap",
            default_policy=policy("DTypePolicy", name="float64"),
            policy_map={},
        ),
        "float64",
        "float64",
    ),
]


@pytest.mark.parametrize(("written", "variable", "compute"), WRITTEN)
def test_policies_of_every_generation(written: Any, variable: str, compute: str) -> None:
    layer = DepthwiseConv2D.from_config({"kernel_size": 3, "dtype": written})
    assert (layer.variable_dtype, layer.compute_dtype) == (np.dtype(variable), np.dtype(compute))


@pytest.mark.parametrize(
    "written",
    [
        policy("Other", name="float32"),
        {"class_name": "DTypePolicy"},
        {"class_name": ["x"], "config": {}},
        policy("DTypePolicyMap", default_policy=policy("DTypePolicyMap", default_policy=None)),
        "x_from_float32",
        "int8_from_int8_from_float32",
        "infer",
    ],
)
def test_what_is_no_policy(written: Any) -> None:
    with pytest.raises(ValueError, match=r"dtype: expected"):
        DepthwiseConv2D.from_config({"kernel_size": 3, "dtype": written})


def test_a_policy_map_by_the_path_of_the_layer() -> None:
    """As `DTypePolicyMap.__getitem__` of Keras 3.15.1 finds it: the path, then one pattern."""
    half, double = policy("DTypePolicy", name="float16"), policy("DTypePolicy", name="float64")

    def read(path: str, **policies: Any) -> str:
        written = policy("DTypePolicyMap", default_policy=None, policy_map=policies)
        return dtype_policy.read(dtype_policy.of_layer(written, path)).name

    assert read("dw", dw=half) == "float16"
    assert read("inner/dw", dw=half) == "float32"
    assert read("inner/dw", **{"inner/.*": half, "other/.*": double}) == "float16"
    assert read("inner/dw", **{"inner/dw": double, "inner/.*": half}) == "float64"
    assert read("inner/dw", inner=half) == "float32"
    assert dtype_policy.of_layer("float16", "dw") == "float16"
    written = policy("DTypePolicyMap", default_policy=None, policy_map={"s/dw": half, "dw": double})
    assert dtype_policy.of_layer(written, "s/dw", "dw") is half
    assert dtype_policy.of_layer(written, "t/dw", "dw") is double
    with pytest.raises(ValueError, match="expected one policy for 'inner/dw'; received 2"):
        read("inner/dw", **{"inner/.*": half, "i.*": double})
    with pytest.raises(ValueError, match="expected a path"):
        read("inner/dw", **{"(a+)+": half})
