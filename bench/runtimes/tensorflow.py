"""TensorFlow: a concrete function on one thread, with its graph optimisations (oneDNN).

XLA (jit_compile=True) is left out: tried, it took 1.3 to 60 times as long.
"""

from __future__ import annotations

import os
from functools import partial

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf
from problem import Array, Problem

from . import Variant


def start() -> str:
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    return f"TensorFlow {tf.__version__}"


def prepare(problem: Problem) -> list[Variant]:
    """Channels last alone: its CPU kernels take nothing else."""
    if problem.channels_first:
        return []
    shape = problem.shape
    kernel, bias = tf.constant(problem.kernel), tf.constant(problem.bias)

    def layer(x: tf.Tensor) -> tf.Tensor:
        strides = [1, *shape.strides, 1]
        y = tf.nn.depthwise_conv2d(x, kernel, strides, "SAME", dilations=shape.dilation_rate)
        return tf.nn.relu(tf.nn.bias_add(y, bias))

    x = tf.constant(problem.x)
    call = partial(tf.function(layer).get_concrete_function(x), x)

    def result() -> Array:
        return call().numpy()

    return [Variant("concrete function", call, result)]
