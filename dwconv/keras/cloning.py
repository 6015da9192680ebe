"""A clone of a model of Keras 3 whose layers share the weights of the original's."""

from __future__ import annotations

from typing import Any

import keras

# What `Layer.__new__` makes for one object alone: wrappers that are bound to it, and the state of
# Flax's pytrees (the backend JAX with nnx). The rest of a layer can be shared.
_OWN = ("build", "quantize", "_pytree__state", "_object__state")


def clone(model: Any, classes: dict[type, type]) -> Any:
    """A clone of a Sequential or Functional model, nested ones included, with the same variables.

    Layers whose type is a key of `classes` are of its value in the clone. The original keeps its
    layers and its graph. A clone of a compiled model is compiled alike, with the same optimizer.

    Raises ValueError for a model that is not built, TypeError for one of another kind.
    """
    if not model.built:
        raise ValueError(
            "accelerate: expected a model that is built; received one without weights, which a "
            "clone could not share. Call it or build it first, or use in_place=True"
        )
    try:
        cloned = keras.models.clone_model(
            model, clone_function=lambda layer: _twin(layer, classes), recursive=True
        )
    except ValueError as error:
        raise TypeError(
            "accelerate: expected a Sequential or a Functional model; received "
            f"{type(model).__name__}, which Keras does not clone ({error}). in_place=True changes "
            "the layers of the model itself"
        ) from error
    if model.compiled:
        cloned.optimizer = model.optimizer  # its state belongs to the weights
    return cloned


def _twin(layer: Any, classes: dict[type, type]) -> Any:
    """A layer with everything that this one has, except its place in a graph."""
    kind: Any = classes.get(type(layer), type(layer))
    twin = kind.__new__(kind)
    own = {name: value for name, value in vars(twin).items() if name in _OWN}
    vars(twin).update(vars(layer), **own, _inbound_nodes=[], _outbound_nodes=[])
    return twin
