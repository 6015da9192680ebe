"""What graphs of other frameworks have in common: nodes, some of which are depthwise convolutions.

Their document is a model's config as any other, so that all that reads documents reads these. The
other nodes are in it by their names and operators alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from . import Contents, Document, FormatError, LayerPath, NoWeights
from .budget import Budget
from .entries import DEPTHWISE, WITHOUT

_MAX_NAME = 1000  # characters; longer ones are made anew


@dataclass(frozen=True)
class Node:
    """A node of a graph, as the layer that it is."""

    name: str
    #: For people: 'Conv', 'DEPTHWISE_CONV_2D'.
    operator: str
    #: Of a depthwise convolution: the arguments of the layer.
    config: Document | None = None
    #: Kernel (kh, kw, C, M) and bias. FormatError for weights that cannot be read.
    weights: Callable[[], list[NDArray[Any]]] | None = None
    #: What of the node is not in the layer: 'padding ((1, 1), (1, 1))'.
    without: str | None = None


def contents(kind: str, framework: str, nodes: Sequence[Node], budget: Budget) -> Contents:
    """What a file with these nodes holds."""
    layers, weights = [], {}
    taken: set[str] = set()
    numbers: Counter[str] = Counter()
    for node in nodes:
        name = _unused(node.name, node.operator, taken, numbers)
        taken.add(name)
        if node.config is None:
            # The module says that it is none of Keras', whatever it is called.
            item = {"class_name": node.operator, "module": framework, "config": {"name": name}}
        else:
            item = {"class_name": DEPTHWISE, "config": {**node.config, "name": name}}
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


def not_supported_yet(what: str) -> str:
    """The reason for a layer of integers."""
    return f"{what} weights with scales, a quantized layer: not supported yet"
