"""What graphs of other frameworks have in common: nodes, some of which are depthwise convolutions.

Their document is a model's config as any other, so that all that reads documents reads these. The
other nodes are in it by their names and operators alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import Contents, Document, FormatError, LayerPath, NoWeights
from .budget import Budget
from .entries import DEPTHWISE, OF_BYTES, QUANTIZED, WITHOUT

_MAX_NAME = 1000  # characters; longer ones are made anew


@dataclass(frozen=True)
class Node:
    """A node of a graph, as the layer that it is."""

    name: str
    #: For people: 'Conv', 'DEPTHWISE_CONV_2D'.
    operator: str
    #: Of a depthwise convolution: the arguments of the layer.
    config: Document | None = None
    #: Kernel (kh, kw, C, M) and bias; of a quantized one kernel, scales of the kernel and bias.
    #: FormatError for weights that cannot be read.
    weights: Callable[[], list[NDArray[Any]]] | None = None
    #: What of the node is not in the layer: 'padding ((1, 1), (1, 1))'.
    without: str | None = None
    #: Whether it is a `QuantizedDepthwiseConv2D`, whose `get_config` says what `config` has.
    is_quantized: bool = False


def contents(kind: str, framework: str, nodes: Sequence[Node], budget: Budget) -> Contents:
    """What a file with these nodes holds."""
    layers: list[Document] = []
    weights = {}
    taken: set[str] = set()
    numbers: Counter[str] = Counter()
    for node in nodes:
        name = _unused(node.name, node.operator, taken, numbers)
        taken.add(name)
        if node.config is None:
            # The module says that it is none of Keras', whatever it is called.
            layers.append(
                {"class_name": node.operator, "module": framework, "config": {"name": name}}
            )
        else:
            made = QUANTIZED if node.is_quantized else DEPTHWISE
            item: Document = {
                "class_name": made,
                "config": {**node.config, "name": name},
                OF_BYTES: node.is_quantized,
            }
            if node.without is not None:
                item[WITHOUT] = node.without
            weights[name] = node.weights
            layers.append(item)
    document = {
        "class_name": f"{framework} graph",
        "module": framework,
        "config": {"name": "graph", "layers": layers},
    }
    return Contents(kind, 3, document, _NodeWeights(weights), budget=budget)


def _unused(name: str, operator: str, taken: set[str], numbers: Counter[str]) -> str:
    """The name, or one like it that no other node has; `numbers`: the last that each name got."""
    if not 0 < len(name) <= _MAX_NAME:
        name = operator or "node"
    found = name
    while found in taken:  # never the same one twice, and never again from 1
        numbers[name] += 1
        found = f"{name}_{numbers[name]}"
    return found


class _NodeWeights(NoWeights):
    """Weights by the names of nodes."""

    def __init__(self, weights: dict[str, Any]) -> None:
        self._weights = weights

    def weights_at(self, path: LayerPath) -> list[NDArray[Any]] | None:
        """See `Weights`."""
        found = self._weights.get(path.names[-1]) if path.names else None
        return None if found is None else list(found())


def refused(name: str, operator: str, reason: str) -> Node:
    """A depthwise convolution whose weights cannot be read."""

    def weights() -> list[NDArray[Any]]:
        raise FormatError(reason)

    return Node(name, operator, {"kernel_size": 1}, weights)


def missing_package(package: str, what: str) -> ImportError:
    """What to raise where an extra is not installed."""
    return ImportError(
        f"{what}: expected the package {package}, which `pip install 'dwconv[{package}]'` installs"
    )


# ---- quantized layers ----------------------------------------------------------------------------

BYTES = (np.dtype(np.int8), np.dtype(np.uint8))


def affine_config(of: str, scale: float, zero_point: Any) -> Document:
    """The entries of a quantized layer's config for x or y; zero_point: a NumPy int8 or uint8."""
    return {
        f"{of}_scale": float(scale),
        f"{of}_zero_point": int(zero_point),
        f"{of}_dtype": zero_point.dtype.name,
    }


def less_zero_points(kernel: NDArray[Any], zero_points: NDArray[Any]) -> NDArray[Any]:
    """kernel - zero_points as int8: the sums of a convolution are the same.

    kernel: of bytes; zero_points: integers that broadcast with it.
    FormatError for other dtypes, and for a difference that int8 cannot hold.
    """
    if kernel.dtype not in BYTES:
        raise FormatError(f"expected weights of int8 or uint8; received {kernel.dtype}")
    if kernel.dtype == np.int8 and not zero_points.any():
        return kernel
    if ((zero_points < -128) | (zero_points > 255)).any():
        raise FormatError("expected zero points of weights that a byte can hold")
    difference = kernel.astype(np.int16) - zero_points.astype(np.int16)
    if difference.size and not -128 <= difference.min() <= difference.max() <= 127:
        raise FormatError(
            "expected weights that less their zero point are within int8; received "
            f"{difference.min()} to {difference.max()}"
        )
    return difference.astype(np.int8)


def check_bias_scale(bias: Any, x: Any, kernel: Any) -> None:
    """FormatError unless an int32 of the bias stands for x_scale * kernel_scale, in each channel:
    the formula has no other. Writers round that product once or twice.
    """
    expected = np.asarray(x, np.float64) * np.asarray(kernel, np.float64)
    received = np.asarray(bias, np.float64)
    if received.size not in (1, expected.size) or not np.allclose(
        received, expected, rtol=2 * float(np.finfo(np.float32).eps), atol=0
    ):
        raise FormatError("bias: expected a scale of x_scale * kernel_scale; received another one")
