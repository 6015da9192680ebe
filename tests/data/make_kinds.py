"""Makes files of layers that are depthwise convolutions by another name: with a real Keras, as
`make.py` does, `python make_kinds.py MODULE PREFIX`. Also with PREFIX tfmot and MODULE tf_keras,
where tensorflow_model_optimization is, the files of that package's wrappers; with PREFIX tf1, those
of TensorFlow's graph mode.

Weights are `ramp`s. PREFIX-kinds-output.json has what Keras makes of an input of each layer.
"""

import json
import os
import sys

if sys.argv[2] == "tf1":
    import tensorflow

    tensorflow.compat.v1.disable_v2_behavior()

import numpy as np
from make import PREFIX, VERSION, keep, keras, layers, ramp, text


def fill(model):
    """Ramps for all weights; the n-th layer's start at n."""
    for number, layer in enumerate(model.layers):
        weights = layer.get_weights()
        layer.set_weights([ramp(w.shape, number - 10 * i) for i, w in enumerate(weights)])
    return model


def kinds():
    start = keras.Input((3, 6, 6, 2), name="start")
    x = layers.TimeDistributed(
        layers.DepthwiseConv2D(2, activation="relu", name="in_time"), name="steps"
    )(start)
    inner = keras.Sequential([keras.Input((5, 5, 2))], name="inner")
    inner.add(layers.DepthwiseConv2D((1, 2), depth_multiplier=2, use_bias=False, name="deep"))
    x = layers.TimeDistributed(inner, name="models")(x)
    x = layers.Reshape((15, 4, 4), name="reshape")(x)
    x = layers.Conv2D(8, 2, groups=4, activation="relu", name="grouped")(x)
    x = layers.SeparableConv2D(4, 2, depth_multiplier=2, padding="same", name="separable")(x)
    x = layers.Conv2D(4, 1, groups=2, name="two_channels_each")(x)
    return fill(keras.Model(start, x, name="kinds"))


def outputs(model):
    """Name of a layer -> an input and the output, both as Keras has them."""
    found = {}
    for name in ("steps", "models", "grouped", "separable"):
        layer = model.get_layer(name)
        x = ramp((1, *layer.input.shape[1:]), -3.0).astype("float32")
        y = np.asarray(layer(x))
        found[name] = {"x": x.tolist(), "y": y.tolist()}
    return {"version": VERSION, "layers": found}


def shared():
    """A layer of two models in the model."""
    layer = layers.DepthwiseConv2D(2, padding="same", name="both")
    one = keras.Sequential([keras.Input((5, 5, 2)), layer], name="one")
    own = layers.DepthwiseConv2D(2, padding="same", name="own")
    two = keras.Sequential([keras.Input((5, 5, 2)), layer, own], name="two")
    start = keras.Input((5, 5, 2), name="start")
    model = keras.Model(start, two(one(start)), name="shared")
    for number, each in enumerate((layer, own)):
        each.set_weights([ramp(w.shape, number - 10 * i) for i, w in enumerate(each.get_weights())])
    return model


def alphabet():
    """Names beyond ASCII, more than HDF5 keeps in the header of a group."""
    names = ["глубина", "深度", "tiefe_ä", *(f"ñ{i}" for i in range(9)), "ascii"]
    model = keras.Sequential([keras.Input((5, 5, 2))], name="alphabet")
    for name in names:
        model.add(layers.DepthwiseConv2D(1, name=name))
    return fill(model)


class Own(keras.Model):
    """A model whose layers are in its code."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.stem = layers.DepthwiseConv2D(2, name="first")
        self.blocks = [layers.DepthwiseConv2D(2, use_bias=False), layers.Conv2D(2, 1)]

    def call(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return x


def own():
    model = Own(name="own")
    model(np.zeros((1, 5, 5, 2), "float32"))
    for number, layer in enumerate((model.stem, *model.blocks)):
        layer.set_weights(
            [ramp(w.shape, number - 10 * i) for i, w in enumerate(layer.get_weights())]
        )
    return model


def wrapped():
    """tfmot's wrappers."""
    import tensorflow_model_optimization as tfmot

    def base():
        model = keras.Sequential([keras.Input((6, 6, 2))], name="base")
        model.add(layers.DepthwiseConv2D(2, name="plain"))
        model.add(layers.BatchNormalization(name="norm"))
        model.add(layers.ReLU(name="relu"))
        model.add(layers.DepthwiseConv2D(2, activation="relu", use_bias=False, name="active"))
        for number, layer in enumerate(each for each in model.layers if "norm" not in each.name):
            layer.set_weights(
                [ramp(w.shape, number - 10 * i) for i, w in enumerate(layer.get_weights())]
            )
        return model

    yield "quantized", tfmot.quantization.keras.quantize_model(base())
    yield "pruned", tfmot.sparsity.keras.prune_low_magnitude(base())


def graph_mode():
    """Models within a model after another model of the session had layers of these names: their
    weights have other names than the layers.
    """

    def inner(names, frozen=()):
        model = keras.Sequential(name="inner")
        model.add(layers.InputLayer((6, 6, 2)))
        for name in names:
            model.add(layers.DepthwiseConv2D(2, padding="same", name=name))
        for name in frozen:
            model.get_layer(name).trainable = False
        start = keras.Input((6, 6, 2))
        return keras.Model(start, model(start), name="outer")

    inner(["dw", "dw_1"])
    for title, frozen in (("shifted", ()), ("frozen", ("dw",))):
        model = inner(["dw", "dw_1", "dw_2"], frozen)
        for number, layer in enumerate(model.layers[1].layers):
            layer.set_weights(
                [ramp(w.shape, number - 10 * i) for i, w in enumerate(layer.get_weights())]
            )
        yield title, model


def main():
    if PREFIX in ("tfmot", "tf1"):
        for name, model in wrapped() if PREFIX == "tfmot" else graph_mode():
            keep(name + ".h5", model.save)
            if PREFIX == "tfmot":
                keep(name + ".keras", model.save)
        return
    for make in (kinds, alphabet, shared):
        name = make.__name__
        try:
            model = make()
        except ValueError as error:  # names that TensorFlow does not take
            print(name + ": not made:", error)
            continue
        if VERSION.startswith("2.12"):  # where .keras is HDF5 unless one asks for the zip
            keep(name + "-v3.keras", lambda path, m=model: m.save(path, save_format="keras_v3"))
        else:
            keep(name + ".keras", model.save)
        try:
            keep(name + ".h5", model.save)
        except ValueError as error:  # two datasets of one name
            print(name + ".h5: not written:", error)
        if name == "kinds":
            output = json.dumps(outputs(model))
            keep("kinds-output.json", lambda path, output=output: text(path, output))
    if not VERSION.startswith("2.12"):
        keep("own.keras", own().save)
    keep("own.weights.h5", own().save_weights)


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
