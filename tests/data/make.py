"""Makes the files beside it with a real Keras: `python make.py MODULE PREFIX [MODEL ...]`.

MODULE is keras, tensorflow.keras or tf_keras; PREFIX begins the names of the files, which are
gzipped, HDF5 being mostly zeros. Runs with Python 3.6 and every Keras from 2.2.4 on; README.md
says which version made which file.

`chain` is a Sequential of depthwise layers only; `mixed` has other layers, too, a frozen one and a
model within the model. The weights are `ramp`s, so that a test knows them without the file; what
Keras makes of an input is in PREFIX-output.json.

`blocks` has depthwise layers with batch normalizations and activations after them, as MobileNet V1
to V3 and EfficientNet have them, and some of which these are no part. What Keras makes of an input
from each layer to the last one of its block is in PREFIX-blocks-outputs.json.
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


def blocks():
    start = keras.Input((6, 6, 3), name="start")

    def norm(name, **options):
        return layers.BatchNormalization(name=name, **options)

    def depthwise(name, **options):
        options = dict({"padding": "same", "use_bias": False}, **options)
        return layers.DepthwiseConv2D(3, name=name, **options)

    # MobileNet V1: ReLU6; strides after explicit padding.
    x = norm("v1_norm")(depthwise("v1")(start))
    x = layers.ReLU(6.0, name="v1_relu")(x)
    x = layers.ZeroPadding2D(((0, 1), (0, 1)), name="v1_pad")(x)
    x = norm("v1s_norm", scale=False)(depthwise("v1s", strides=2, padding="valid")(x))
    x = layers.Activation("relu", name="v1s_relu")(x)
    # MobileNet V2: an inverted residual.
    y = layers.Conv2D(3, 1, use_bias=False, name="v2_expand")(x)
    y = layers.ReLU(6.0, name="v2_expand_relu")(norm("v2_expand_norm")(y))
    y = norm("v2_norm", center=False, epsilon=1e-5)(depthwise("v2")(y))
    y = layers.ReLU(6.0, name="v2_relu")(y)
    y = norm("v2_project_norm")(layers.Conv2D(3, 1, use_bias=False, name="v2_project")(y))
    x = layers.Add(name="v2_add")([x, y])
    # MobileNet V3: hard_swish, which Keras 2 writes as four layers.
    x = norm("v3_norm")(depthwise("v3", depth_multiplier=2)(x))
    if VERSION.startswith("3."):
        x = layers.Activation("hard_swish", name="v3_last")(x)
    else:
        y = layers.ReLU(6.0, name="v3_relu")(x + 3.0) * (1.0 / 6.0)
        x = layers.Multiply(name="v3_last")([x, y])
    # EfficientNet: swish.
    x = norm("b0_norm", scale=False, center=False)(depthwise("b0", use_bias=True)(x))
    x = layers.Activation("swish", name="b0_swish")(x)
    x = layers.Dropout(0.5, name="b0_drop")(x)
    # A model within the model.
    inner = keras.models.Sequential(name="inner")
    inner.add(keras.Input((3, 3, 6)))
    inner.add(depthwise("deep", use_bias=True))
    inner.add(norm("deep_norm"))
    inner.add(layers.LeakyReLU(0.25, name="deep_relu"))
    x = inner(x)
    # Not to be folded: the output of the layer is used twice, the layer is.
    y = depthwise("twice")(x)
    x = layers.Add(name="twice_add")([y, norm("twice_norm")(y)])
    shared = depthwise("shared")
    x = layers.ReLU(name="shared_relu")(norm("shared_norm")(shared(shared(x))))
    # The normalization is an output of the model, so that the activation stays.
    x = norm("last_norm")(depthwise("last", use_bias=True)(x))
    return keras.models.Model(start, [x, layers.ReLU(name="last_relu")(x)], name="blocks")


#: The blocks of `blocks`: the first and the last layer of each.
BLOCKS = [
    ("v1", "v1_relu"),
    ("v1s", "v1s_relu"),
    ("v2", "v2_relu"),
    ("v3", "v3_last"),
    ("b0", "b0_swish"),
    ("inner/deep", "deep_relu"),
    ("last", "last_norm"),
]


def scatter(shape, start):
    """Numbers from -0.75 to 0.8 in no order: exact in every float type."""
    return ((start * 13 + np.arange(np.prod(shape, dtype=int)) * 37) % 101 / 64.0 - 0.75).reshape(
        shape
    )


def scatter_all(model):
    """Numbers in all weights, with variances that are positive."""
    for number, layer in enumerate(flat(model)):
        values = [scatter(w.shape, number + i) for i, w in enumerate(layer.get_weights())]
        if layer.__class__.__name__ == "BatchNormalization":
            values[-1] = values[-1] + 1
        layer.set_weights(values)


def outputs_of_blocks(model):
    found = {}
    for first, last in BLOCKS:
        if "/" in first:
            part = model.get_layer(first.split("/")[0])
        else:
            ends = model.get_layer(first).input, model.get_layer(last).output
            part = keras.models.Model(*ends)
        x = scatter((1, *part.input_shape[1:]), 5).astype("float32")
        found[first] = np.asarray(part.predict(x, verbose=0)).tolist()
    return found


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
    chosen = sys.argv[3:] or ["chain", "mixed"] + ["blocks"] * zip_too
    for make in (chain, mixed, blocks):
        name = make.__name__
        if name not in chosen:
            continue
        model = make()
        (scatter_all if make is blocks else fill)(model)
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
        if make is chain:
            x = ramp((1, 5, 4, 3), -3.0).astype("float32")
            output = {"version": VERSION, "y": np.asarray(model.predict(x)).tolist()}
            keep("output.json", lambda path: text(path, json.dumps(output)))
        if make is blocks:
            output = {"version": VERSION, "y": outputs_of_blocks(model)}
            keep("blocks-outputs.json", lambda path: text(path, json.dumps(output)))


if __name__ == "__main__":
    main()
