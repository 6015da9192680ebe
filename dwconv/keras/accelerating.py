"""`accelerate`: the depthwise layers of a Keras 3 model computed by dwconv; `restore` undoes it."""

from __future__ import annotations

from typing import Any

from . import backends
from .layers import OURS


def accelerate(model: Any) -> list[str]:
    """Lets dwconv compute each DepthwiseConv2D and SeparableConv2D of a model of Keras 3, nested
    models included. The model is changed; its weights, its optimizer and its functions stay.

    Functions that Keras has compiled of the model before, by `predict` or `fit`, are compiled
    again.

    Returns the names of the layers; none on a backend that keeps its own (TensorFlow), or where
    `dwconv.jax` has no compiled part. Subclasses of Keras' layers stay as they are.
    """
    if backends.convolution() is None:
        return []
    names = _exchange(model, OURS)
    _forget_compiled(model)
    return names


def restore(model: Any) -> list[str]:
    """Undoes `accelerate`. Returns the names of the layers."""
    names = _exchange(model, {ours: theirs for theirs, ours in OURS.items()})
    _forget_compiled(model)
    return names


def _exchange(model: Any, classes: dict[type, type]) -> list[str]:
    names = []
    for layer in model._flatten_layers(include_self=True, recursive=True):
        other = classes.get(type(layer))
        if other is not None:
            layer.__class__ = other
            names.append(str(layer.name))
    return names


def _forget_compiled(model: Any) -> None:
    for name in ("train_function", "test_function", "predict_function"):
        if getattr(model, name, None) is not None:
            setattr(model, name, None)
