"""Models of Keras 3 in which dwconv computes the depthwise layers."""

from __future__ import annotations

from typing import Any

from . import backends
from .cloning import clone
from .layers import OURS


def accelerate(model: Any, *, in_place: bool = False) -> Any:
    """A model of Keras 3 in which dwconv computes each DepthwiseConv2D and SeparableConv2D, nested
    Sequential and Functional models included.

    Returns a clone, which shares the weights, the other state of layers and, if `model` is
    compiled, the optimizer; so training one trains both. `model` stays as it is. On a backend that
    keeps its own layers (TensorFlow), or where `dwconv.jax` has no compiled part, it is `model`.

    With `in_place` the layers of `model` itself are changed, those within models and layers of
    other kinds, too, and `model` is returned. Functions that Keras has compiled of it, by
    `predict` or `fit`, are compiled again. `restore` undoes it.

    `replaced` names the layers that dwconv computes. Subclasses of Keras' layers stay as they are.

    Raises TypeError if Keras cannot clone the model, which is the case for subclasses of
    `keras.Model`, and ValueError if the model has no weights yet; neither with `in_place`.
    """
    if backends.convolution() is None:
        return model
    if not in_place:
        return clone(model, OURS)
    _exchange(model, OURS)
    _forget_compiled(model)
    return model


def replaced(model: Any) -> list[str]:
    """The names of the layers of a model that are dwconv's."""
    ours = tuple(OURS.values())
    return [str(layer.name) for layer in _layers(model) if type(layer) in ours]


def restore(model: Any) -> list[str]:
    """Gives a model Keras' own layers back, in place. Returns the names of these layers."""
    names = _exchange(model, {ours: theirs for theirs, ours in OURS.items()})
    _forget_compiled(model)
    return names


def _layers(model: Any) -> Any:
    return model._flatten_layers(include_self=True, recursive=True)


def _exchange(model: Any, classes: dict[type, type]) -> list[str]:
    names = []
    for layer in _layers(model):
        other = classes.get(type(layer))
        if other is not None:
            layer.__class__ = other
            names.append(str(layer.name))
    return names


def _forget_compiled(model: Any) -> None:
    for name in ("train_function", "test_function", "predict_function"):
        if getattr(model, name, None) is not None:
            setattr(model, name, None)
