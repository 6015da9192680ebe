"""Makes the files beside it with a real Keras: `python make.py MODULE PREFIX`.

MODULE is keras, tensorflow.keras or tf_keras; PREFIX begins the names of the files, which are
gzipped, HDF5 being mostly zeros. Runs with Python 3.6 and every Keras from 2.2.4 on; README.md
says which version made which file.

`chain` is a Sequential of depthwise layers only; `mixed` has other layers, too, a frozen one and a
model within the model. The weights are `ramp`s, so that a test knows them without the file; what
Keras makes of an input is in PREFIX-output.json.
"""

import gzip
import importlib
import json
import os
import shutil
import sys
import tempfile

import numpy as np

keras = importlib.import_module(sys.argv[1])
PREFIX = sys.argv[2]
layers = keras.layers
VERSION = getattr(keras, "__version__", None) or importlib.import_module("tensorflow").__version__


def ramp(shape, start):
    """start, start + 1/8, ...: exact in every float type."""
    return (start + np.arange(np.prod(shape, dtype=int)) / 8.0).reshape(shape)


def fill(model):
    """Ramps for all weights; the first weight of a model's n-th depthwise layer starts at n."""
    number = 0
    for layer in flat(model):
        start = 0.0
        if layer.__class__.__name__ == "DepthwiseConv2D":
            number += 1
            start = float(number)
        layer.set_weights(
            [ramp(w.shape, start - 10 * i) for i, w in enumerate(layer.get_weights())]
        )


def flat(model):
    for layer in model.layers:
        if hasattr(layer, "layers"):
            for inner in flat(layer):
                yield inner
        else:
            yield layer


def chain():
    model = keras.models.Sequential(name="chain")
    model.add(
        layers.DepthwiseConv2D(
            (2, 1),
            strides=2,
            padding="same",
            depth_multiplier=2,
            activation="hard_sigmoid",
            depthwise_initializer="glorot_uniform",
            depthwise_regularizer="l2",
            bias_constraint="non_neg",
            input_shape=(5, 4, 3),
            name="first",
        )
    )
    model.add(layers.DepthwiseConv2D(2, use_bias=False, name="second"))
    return model


def mixed():
    start = keras.Input((8, 8, 3), name="start")
    x = layers.Conv2D(2, 1, name="conv")(start)
    x = layers.DepthwiseConv2D(2, name="frozen", trainable=False, activation="relu")(x)
    x = layers.BatchNormalization(name="norm")(x)
    inner = keras.models.Sequential(name="inner")
    inner.add(layers.DepthwiseConv2D((1, 2), name="deep", input_shape=(7, 7, 2)))
    inner.add(layers.SeparableConv2D(2, 1, name="separable"))
    x = inner(x)
    x = layers.ReLU(6.0, name="relu")(x)
    x = layers.DepthwiseConv2D(2, depth_multiplier=2, use_bias=False, name="last")(x)
    x = layers.Flatten(name="flat")(x)
    return keras.models.Model(start, layers.Dense(1, name="dense")(x), name="mixed")


def keep(name, write):
    """Puts what `write(path)` writes beside this script, gzipped."""
    directory = tempfile.mkdtemp()
    try:
        path = os.path.join(directory, name)
        write(path)
        with open(path, "rb") as file:
            content = file.read()
    finally:
        shutil.rmtree(directory)
    target = os.path.join(os.path.dirname(os.path.abspath(__file__)), PREFIX + "-" + name + ".gz")
    with open(target, "wb") as file:
        # No name and no time in it: the same files from the same Keras.
        with gzip.GzipFile("", "wb", 9, file, mtime=0) as packed:
            packed.write(content)
    print(os.path.basename(target), len(content), os.path.getsize(target))


def text(path, content):
    with open(path, "w") as file:
        file.write(content)


def main():
    version = tuple(int(part) for part in VERSION.split("-")[0].split(".")[:2])
    zip_too = version >= (2, 12)
    for make in (chain, mixed):
        model = make()
        fill(model)
        name = make.__name__
        keep(name + ".json", lambda path: text(path, model.to_json()))
        try:
            keep(name + ".h5", model.save)
        except ValueError as error:  # Keras 3.0 and models within models: two datasets of one name
            print(name + ".h5: not written:", error)
        weights = ".weights.h5" if version >= (2, 12) else "-weights.h5"
        keep(name + weights, model.save_weights)
        if zip_too:
            keep(name + ".keras", model.save)
        if version == (2, 12):  # where .keras is HDF5 unless one asks for the zip
            keep(name + "-v3.keras", lambda path: model.save(path, save_format="keras_v3"))
    model = chain()
    fill(model)
    x = ramp((1, 5, 4, 3), -3.0).astype("float32")
    output = {"version": VERSION, "y": np.asarray(model.predict(x)).tolist()}
    keep("output.json", lambda path: text(path, json.dumps(output)))


if __name__ == "__main__":
    main()
