"""What a user writes, for mypy --strict and pyright; nobody runs it.

`make lint` lets both report each `type: ignore` that ignores nothing. So a line with one must be an
error, and every other line must be none.
"""

from __future__ import annotations

from typing import assert_type

import numpy as np
from numpy.typing import NDArray

import dwconv
from dwconv import DepthwiseConv2D, QuantizedDepthwiseConv2D
from dwconv.layers.depthwise_conv import DepthwiseConv
from dwconv.layers.inputs import SymbolicTensor

x = np.zeros((1, 8, 8, 4), np.float32)
kernel = np.zeros((3, 3, 4, 1), np.float32)

# ---- right ---------------------------------------------------------------------------------------

layer = DepthwiseConv2D(3, strides=(2, 2), padding="same", activation="relu", dtype="float32")
DepthwiseConv2D((3, 3), padding="SAME", data_format="channels_first", use_bias=False)
DepthwiseConv2D([3.0, 3.0], depth_multiplier=np.int64(2), depthwise_initializer=kernel)
DepthwiseConv2D(np.int32(3), activation=np.abs, dtype=np.float64, num_threads="auto")
DepthwiseConv2D(3, input_shape=(None, None, 4), weights=[kernel], trainable=None)

# ---- wrong ---------------------------------------------------------------------------------------

DepthwiseConv2D("3")  # type: ignore
DepthwiseConv2D(3, stride=2)  # type: ignore
DepthwiseConv2D(3, padding="full")  # type: ignore
DepthwiseConv2D(3, kernel_initializer="zeros")  # type: ignore
DepthwiseConv2D(3, data_format="NCHW")  # type: ignore
DepthwiseConv2D(3, use_bias="no")  # type: ignore
DepthwiseConv2D(3, num_threads="all")  # type: ignore
dwconv.depthwise_conv2d(x, kernel, padding="full")  # type: ignore
dwconv.depthwise_conv2d(x, kernel, strides="2")  # type: ignore
dwconv.load(3)  # type: ignore
layer(x, mask=None)  # type: ignore

# ---- results -------------------------------------------------------------------------------------

image: NDArray[np.float32] = layer(x)
image = layer(inputs=x, training=False)
image = layer(x=x)
image = layer.plan(x.shape)(x)
image = dwconv.depthwise_conv2d(x, kernel)
assert_type(layer(dwconv.Input((8, 8, 4))), SymbolicTensor)
layer(x).no_such_method()  # type: ignore
layer.plan(x.shape)(x).no_such_method()  # type: ignore

y, pullback = layer.vjp(x)
gradients = pullback(y, input=False)
if gradients.kernel is not None:
    image = gradients.kernel
gradients.weights  # type: ignore
pullback(y, inputs=False)  # type: ignore

for name, found in dwconv.load_layers("model.keras").items():
    assert_type(name, str)
    assert_type(found, DepthwiseConv | QuantizedDepthwiseConv2D)
