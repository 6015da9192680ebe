"""`dwconv.keras` beside Keras 3, with the backend in KERAS_BACKEND. Skipped without Keras 3."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

keras: Any = pytest.importorskip("keras")
if int(keras.__version__.partition(".")[0]) < 3:
    pytest.skip("Keras 2", allow_module_level=True)

import dwconv.keras  # noqa: E402
from dwconv.keras import accelerate, restore  # noqa: E402

SEED = 37
BACKEND = keras.backend.backend()
OURS = BACKEND == "torch"
if BACKEND == "jax":
    try:
        import dwconv.jax._ffi

        OURS = True
    except ImportError:
        pass

ours = pytest.mark.skipif(not OURS, reason=f"dwconv is not for the backend {BACKEND}")


def network(data_format: str = "channels_last") -> Any:
    """Both layers, in a nested model, too, with fused and other activations."""
    keras.utils.set_random_seed(SEED)
    layers = keras.layers
    inside = keras.Sequential(
        [
            layers.SeparableConv2D(6, 3, padding="same", activation="relu"),
            layers.BatchNormalization(),
        ],
        name="inside",
    )
    shape = (17, 15, 3) if data_format == "channels_last" else (3, 17, 15)
    return keras.Sequential(
        [
            keras.Input(shape),
            layers.DepthwiseConv2D(3, 2, depth_multiplier=2, activation="relu6", name="a"),
            layers.DepthwiseConv2D((5, 3), padding="same", activation="elu", name="b"),
            layers.DepthwiseConv2D(3, dilation_rate=2, use_bias=False, name="c"),
            inside,
            layers.GlobalAveragePooling2D(),
            layers.Dense(2),
        ]
    )


def pictures() -> Any:
    return np.random.default_rng(SEED).standard_normal((4, 17, 15, 3)).astype("float32")


def assert_close(found: Any, expected: Any) -> None:
    # Six layers of sums of at most 54 products, in other orders.
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@ours
def test_predict() -> None:
    model, x = network(), pictures()
    before = model.predict(x, verbose=0)
    assert accelerate(model) == ["a", "b", "c", "separable_conv2d"]
    assert type(model.get_layer("a")) is dwconv.keras.DepthwiseConv2D
    assert_close(model.predict(x, verbose=0), before)
    assert accelerate(model) == []
    assert len(restore(model)) == 4
    assert np.array_equal(model.predict(x, verbose=0), before)


@ours
@pytest.mark.parametrize(("name", "layers"), [("MobileNetV2", 17), ("Xception", 34)])
def test_whole_networks(name: str, layers: int) -> None:
    keras.utils.set_random_seed(SEED)
    model = getattr(keras.applications, name)(
        weights=None, input_shape=(96, 96, 3), classifier_activation=None
    )
    x = np.random.default_rng(SEED).standard_normal((1, 96, 96, 3)).astype("float32")
    before = model.predict(x, verbose=0)
    assert len(accelerate(model)) == layers
    # Some fifty layers, each of which rounds sums in another order.
    found = model.predict(x, verbose=0)
    np.testing.assert_allclose(found, before, rtol=0, atol=1e-3 * abs(before).max())


@pytest.mark.skipif(OURS, reason="dwconv is for this backend")
def test_a_backend_that_keeps_its_own() -> None:
    model, x = network(), pictures()
    before = model.predict(x, verbose=0)
    assert accelerate(model) == []
    assert np.array_equal(model.predict(x, verbose=0), before)


@ours
def test_the_layers_themselves() -> None:
    """A layer of ours with Keras' weights gives the result that Keras gives."""
    x = pictures()
    for name in ("DepthwiseConv2D", "SeparableConv2D"):
        first = (3,) if name == "DepthwiseConv2D" else (5, 3)
        theirs = getattr(keras.layers, name)(*first, padding="same", activation="gelu")
        mine = getattr(dwconv.keras, name).from_config(theirs.get_config())
        expected = keras.ops.convert_to_numpy(theirs(x))
        mine.build(x.shape)
        mine.set_weights(theirs.get_weights())
        assert_close(keras.ops.convert_to_numpy(mine(x)), expected)


@ours
def test_a_training_run_has_the_same_losses() -> None:
    x, target = pictures(), np.ones((4, 2), "float32")
    curves = []
    for fast in (False, True):
        model = network()
        model.compile(keras.optimizers.SGD(0.05), "mse")
        if fast:
            accelerate(model)
        history = model.fit(x, target, epochs=5, batch_size=4, shuffle=False, verbose=0)
        curves.append(history.history["loss"])
    assert curves[0][-1] < curves[0][0]
    np.testing.assert_allclose(curves[1], curves[0], rtol=1e-3)


@ours
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "float16"])
def test_half_precision(policy: str) -> None:
    x = pictures()
    layer = keras.layers.DepthwiseConv2D(3, dtype=policy)
    expected = keras.ops.convert_to_numpy(keras.ops.cast(layer(x), "float32"))
    layer.__class__ = dwconv.keras.DepthwiseConv2D
    found = layer(x)
    assert keras.backend.standardize_dtype(found.dtype) == layer.compute_dtype
    # Keras' is rounded at least once to 8 (bfloat16) or 11 bits, sums of 9 among them perhaps.
    eps = 2.0**-8 if policy == "mixed_bfloat16" else 2.0**-11
    bound = 10 * eps * max(1.0, float(abs(expected).max()))
    found = keras.ops.convert_to_numpy(keras.ops.cast(found, "float32"))
    assert float(abs(found - expected).max()) <= bound


@ours
def test_a_file_loads_without_dwconv(tmp_path: Path) -> None:
    model, x = network(), pictures()
    expected = model.predict(x, verbose=0)
    accelerate(model)
    path = tmp_path / "model.keras"
    model.save(path)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", expected)
    code = f"""
        import sys, numpy as np, keras
        model = keras.models.load_model({str(path)!r})
        assert type(model.get_layer("a")) is keras.layers.DepthwiseConv2D
        assert "dwconv" not in sys.modules
        x, y = (np.load({str(tmp_path)!r} + "/" + name) for name in ("x.npy", "y.npy"))
        assert np.array_equal(model.predict(x, verbose=0), y)
    """
    lines = "\n".join(line.strip() for line in code.strip().splitlines())
    done = subprocess.run(
        [sys.executable, "-c", lines], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
