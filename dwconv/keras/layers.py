"""DepthwiseConv2D and SeparableConv2D of Keras 3, computed by dwconv.

They are registered as Keras' own: a model with them is saved with the names of Keras' layers, and
its `.keras` file loads without dwconv.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

from . import backends


def _is_for_us(x: Any, layer: Any) -> bool:
    """Whether this call is one for the C core: a tensor of floats, of known size."""
    return (
        keras.backend.standardize_dtype(x.dtype) in ("float16", "bfloat16", "float32", "float64")
        and layer.padding in ("valid", "same")
        and len(x.shape) == 4
        and None not in x.shape[1:]
        and not (keras.backend.backend() == "torch" and x.device.type != "cpu")
        and getattr(layer, "quantization_mode", None) is None
    )


class DepthwiseConv2D(layers.DepthwiseConv2D):  # type: ignore[misc]
    """`keras.layers.DepthwiseConv2D`, computed by dwconv on the CPU. Arguments, weights and config
    are Keras'.
    """

    def call(self, inputs: Any) -> Any:
        """(N, H, W, C), or (N, C, H, W) if channels_first -> (N, OH, OW, C*M), or first."""
        run = backends.convolution()
        if run is None or not _is_for_us(inputs, self):
            return super().call(inputs)
        fused = backends.fused(self.activation)
        y = run(
            inputs,
            keras.ops.convert_to_tensor(self.kernel),
            keras.ops.convert_to_tensor(self.bias) if self.use_bias else None,
            backends.spec_of(self, self.kernel_size, self.depth_multiplier),
            backends.LINEAR if fused is None else fused,
        )
        return self.activation(y) if fused is None and self.activation is not None else y


class SeparableConv2D(layers.SeparableConv2D):  # type: ignore[misc]
    """`keras.layers.SeparableConv2D`, whose depthwise half dwconv computes on the CPU; the other is
    the backend's. Arguments, weights and config are Keras'.
    """

    def call(self, inputs: Any) -> Any:
        """(N, H, W, C), or (N, C, H, W) if channels_first -> (N, OH, OW, filters), or first."""
        run = backends.convolution()
        if run is None or not _is_for_us(inputs, self):
            return super().call(inputs)
        y = run(
            inputs,
            keras.ops.convert_to_tensor(self.depthwise_kernel),
            None,
            backends.spec_of(self, self.kernel_size, self.depth_multiplier),
            backends.LINEAR,
        )
        y = self._pointwise(y)
        if self.use_bias:
            shape = (1, -1, 1, 1) if self.data_format == "channels_first" else (1, 1, 1, -1)
            y = keras.ops.add(y, keras.ops.reshape(self.bias, shape))
        return y if self.activation is None else self.activation(y)

    def _pointwise(self, y: Any) -> Any:
        """The 1x1 convolution. Channels last it is a product of matrices, which takes a third of
        the time of PyTorch's convolution for Xception's shapes, 0.8 of XLA's (Emerald Rapids).
        """
        kernel = self.pointwise_kernel
        if self.data_format == "channels_first":
            return keras.ops.conv(y, kernel, 1, "valid", self.data_format)
        return keras.ops.matmul(y, keras.ops.reshape(kernel, kernel.shape[2:]))


# What Keras writes of a layer is the module and the name of its class. With these any Keras loads
# the file, and has its own layers then.
DepthwiseConv2D.__module__ = SeparableConv2D.__module__ = "keras.layers"

#: Keras' layer -> ours.
OURS: dict[type, type] = {
    layers.DepthwiseConv2D: DepthwiseConv2D,
    layers.SeparableConv2D: SeparableConv2D,
}
