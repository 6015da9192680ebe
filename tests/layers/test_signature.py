"""`inspect.signature` of layers and of their class."""

from __future__ import annotations

import inspect

import numpy as np

from dwconv import DepthwiseConv2D


def test_the_call_of_a_layer() -> None:
    layer = DepthwiseConv2D(3)
    x = np.ones((1, 5, 5, 2), np.float32)
    bound = inspect.signature(layer).bind(x, training=False, num_threads=1)
    assert layer(*bound.args, **bound.kwargs).shape == (1, 3, 3, 2)
    assert list(inspect.signature(layer).parameters) == ["inputs", "training", "num_threads"]


def test_the_constructor_keeps_its_own() -> None:
    parameters = list(inspect.signature(DepthwiseConv2D).parameters)
    assert parameters[:3] == ["kernel_size", "strides", "padding"]


def test_a_derived_class_that_says_what_it_takes() -> None:
    class Scaled(DepthwiseConv2D):
        def __call__(self, image, scale=2):
            return scale * super().__call__(image)

    assert list(inspect.signature(Scaled(3)).parameters) == ["image", "scale"]
