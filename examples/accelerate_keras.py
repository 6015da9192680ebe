"""A model of Keras 3 on JAX, its depthwise layers computed by dwconv: three lines.

DWCONV_JAX=1 pip install --no-binary dwconv keras 'dwconv[jax]'
python examples/accelerate_keras.py            (KERAS_BACKEND=torch with 'dwconv[torch]')
"""

import os
import time
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np

import dwconv.keras


def seconds(model: Any, x: Any) -> float:
    """The best of five calls."""
    times = []
    for _ in range(5):
        began = time.perf_counter()
        model.predict_on_batch(x)
        times.append(time.perf_counter() - began)
    return min(times)


if __name__ == "__main__":
    keras.utils.set_random_seed(0)
    model = keras.applications.MobileNetV2(input_shape=(128, 128, 3), weights=None)
    x = np.random.default_rng(0).standard_normal((1, 128, 128, 3)).astype("float32")
    expected, before = model.predict_on_batch(x), seconds(model, x)
    fast = dwconv.keras.accelerate(model)
    found = fast.predict_on_batch(x)
    layers = len(dwconv.keras.replaced(fast))
    print(f"{layers} layers: {1e3 * before:.1f} ms before, {1e3 * seconds(fast, x):.1f} after")
    print(f"largest difference of a probability: {float(abs(found - expected).max()):.1e}")
