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
from dwconv.keras import accelerate, replaced, restore  # noqa: E402

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
    fast = accelerate(model)
    assert replaced(fast) == ["a", "b", "c", "separable_conv2d"]
    assert type(fast.get_layer("a")) is dwconv.keras.DepthwiseConv2D
    assert_close(fast.predict(x, verbose=0), before)
    assert replaced(model) == []
    assert np.array_equal(model.predict(x, verbose=0), before)
    assert replaced(accelerate(fast)) == replaced(fast)
    assert len(restore(fast)) == 4
    assert np.array_equal(fast.predict(x, verbose=0), before)


@ours
def test_in_place() -> None:
    model, x = network(), pictures()
    before = model.predict(x, verbose=0)
    assert accelerate(model, in_place=True) is model
    assert len(replaced(model)) == 4
    assert_close(model.predict(x, verbose=0), before)
    assert len(restore(model)) == 4
    assert np.array_equal(model.predict(x, verbose=0), before)


def branched() -> Any:
    """A Functional model: a layer called twice, a sum, a nested model, dropout, two outputs."""
    keras.utils.set_random_seed(SEED)
    layers = keras.layers
    image = keras.Input((17, 15, 3), name="image")
    shared = layers.DepthwiseConv2D(3, padding="same", name="shared")
    inner = keras.Input((17, 15, 3))
    nested = keras.Model(
        inner, layers.SeparableConv2D(3, 3, padding="same", name="within")(inner), name="nested"
    )
    y = layers.Add(name="sum")([shared(image), shared(nested(image))])
    y = layers.BatchNormalization(name="norm")(y)
    flat = layers.Dropout(0.5)(layers.Flatten()(y))
    return keras.Model(image, {"map": y, "class": layers.Dense(2, name="dense")(flat)})


@ours
def test_a_clone_of_a_branched_model() -> None:
    model, x = branched(), pictures()
    before = model.predict(x, verbose=0)
    nodes = [len(layer._inbound_nodes) for layer in model._flatten_layers()]
    fast = accelerate(model)
    assert sorted(replaced(fast)) == ["shared", "within"]
    found = fast.predict(x, verbose=0)
    for name in ("map", "class"):
        assert_close(found[name], before[name])
    # Its layers are of its own graph, and the original's graph has not grown.
    part = keras.Model(fast.input, fast.get_layer("sum").output)
    assert replaced(part) == replaced(fast)
    assert part.predict(x, verbose=0).shape == (4, 17, 15, 3)
    assert [len(layer._inbound_nodes) for layer in model._flatten_layers()] == nodes
    assert [v.path for v in fast.weights] == [v.path for v in model.weights]
    assert all(mine is theirs for mine, theirs in zip(fast.weights, model.weights, strict=True))


@ours
def test_training_a_clone_trains_the_original() -> None:
    """With the optimizer's state and the moving averages of batch normalization."""
    x, target = pictures(), np.ones((4, 2), "float32")
    runs = []
    for accelerated in (False, True):
        model = network()
        model.compile(keras.optimizers.SGD(0.05, momentum=0.9), "mse")
        model.fit(x, target, epochs=2, batch_size=4, shuffle=False, verbose=0)
        trained = accelerate(model) if accelerated else model
        assert trained.optimizer is model.optimizer
        trained.fit(x, target, epochs=2, batch_size=4, shuffle=False, verbose=0)
        assert int(model.optimizer.iterations) == 4
        model.fit(x, target, epochs=1, batch_size=4, shuffle=False, verbose=0)
        runs.append(model.get_weights())
    for theirs, mine in zip(*runs, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-4)


@ours
def test_models_that_keras_does_not_clone() -> None:
    class Own(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.first = keras.layers.DepthwiseConv2D(3, name="first")

        def call(self, x: Any) -> Any:
            return self.first(x)

    model, x = Own(), pictures()
    with pytest.raises(ValueError, match=r"expected a model that is built.*in_place=True"):
        accelerate(model)
    before = model.predict(x, verbose=0)
    with pytest.raises(TypeError, match=r"received Own.*in_place=True"):
        accelerate(model)
    assert replaced(accelerate(model, in_place=True)) == ["first"]
    assert_close(model.predict(x, verbose=0), before)


@ours
@pytest.mark.parametrize(("name", "layers"), [("MobileNetV2", 17), ("Xception", 34)])
def test_whole_networks(name: str, layers: int) -> None:
    keras.utils.set_random_seed(SEED)
    model = getattr(keras.applications, name)(
        weights=None, input_shape=(96, 96, 3), classifier_activation=None
    )
    x = np.random.default_rng(SEED).standard_normal((1, 96, 96, 3)).astype("float32")
    before = model.predict(x, verbose=0)
    fast = accelerate(model)
    assert len(replaced(fast)) == layers
    # Some fifty layers, each of which rounds sums in another order.
    found = fast.predict(x, verbose=0)
    np.testing.assert_allclose(found, before, rtol=0, atol=1e-3 * abs(before).max())


@pytest.mark.skipif(OURS, reason="dwconv is for this backend")
def test_a_backend_that_keeps_its_own() -> None:
    model, x = network(), pictures()
    before = model.predict(x, verbose=0)
    assert accelerate(model) is model
    assert accelerate(model, in_place=True) is model
    assert replaced(model) == []
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
            model = accelerate(model)
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
    model = accelerate(model)
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
