"""The plans that a layer keeps: for which sizes, how many, and what they have in common."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import assert_same_bits
from support.layers import check_output, draw, isolate

from dwconv import DepthwiseConv2D, config
from dwconv.layers import weights


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)


def plans_of(layer: DepthwiseConv2D) -> weights.PlanCache:
    assert layer._weights is not None
    return layer._weights.plans


@pytest.fixture
def cache_limits() -> Iterator[None]:
    """Restores the limits afterwards."""
    before = config.plan_cache_limits()
    yield
    config.set_plan_cache_limits(*before)


@pytest.mark.usefixtures("cache_limits")
@pytest.mark.parametrize(
    ("plans", "limit", "kept"), [(12, 1 << 20, 12), (12, 0, weights.FEW), (3, 0, 3)]
)
def test_plans_are_kept_for_the_last_sizes(plans: int, limit: int, kept: int) -> None:
    """Many that take little, a few in any case."""
    config.set_plan_cache_limits(plans, limit)
    assert config.plan_cache_limits() == (plans, limit)
    layer = DepthwiseConv2D(3, weights=[draw(3, 3, 3, 1), draw(3)])
    shapes = [(1, 5 + i, 5, 3) for i in range(kept + 3)]
    for shape in shapes:
        x = draw(*shape)
        check_output(layer, x, layer(x))
    cache = plans_of(layer)
    assert cache.image_shapes() == [shape[1:] for shape in shapes[3:]]
    plan = cache.get(shapes[-1])
    assert plan is not None
    layer(draw(*shapes[-1]))
    assert cache.get(shapes[-1]) is plan


def test_wrong_limits_of_the_cache_of_plans() -> None:
    before = config.plan_cache_limits()
    for plans, limit in ((0, None), ("many", None), (None, -1), (3, 1.5)):
        with pytest.raises(ValueError, match=r"^(plans|bytes): expected an integer from [01] to"):
            config.set_plan_cache_limits(plans, limit)
    assert config.plan_cache_limits() == before


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("first", [1, 4, 0])
def test_one_plan_serves_every_batch(data_format: str, dtype: str, first: int) -> None:
    """Whichever comes first, an empty one included; the bits are those of a layer that knows only
    that batch.
    """
    arguments: dict[str, Any] = {"padding": "same", "data_format": data_format, "dtype": dtype}
    kernel, bias = draw(3, 3, 6, 2), draw(12)
    layer = DepthwiseConv2D(3, depth_multiplier=2, weights=[kernel, bias], **arguments)
    size = (9, 8, 6) if data_format == "channels_last" else (6, 9, 8)
    for batch in (first, 5, 1, 0, 2, 70, 3):
        x = draw(batch, *size).astype(dtype)
        alone = DepthwiseConv2D(3, depth_multiplier=2, weights=[kernel, bias], **arguments)
        y = layer(x)
        assert y.shape[0] == batch
        assert_same_bits(y, alone(x), f"batch {batch}")
        assert_same_bits(layer(x, num_threads=3), y, f"batch {batch}, three threads")
        assert_same_bits(layer.plan(x.shape)(x), y, f"batch {batch}, a plan")
        if batch:
            assert plans_of(layer).image_shapes() == [size]


def test_plans_of_a_layer_share_their_weights() -> None:
    """Of images of other sizes, too, and with plans that `plan` hands out; a layer with new weights
    shares nothing with what was there.
    """
    layer = DepthwiseConv2D(3, weights=[draw(3, 3, 512, 1), draw(512)], padding="same")
    sizes = [(1, 14 + 2 * i, 14 + 2 * i, 512) for i in range(4)]
    outputs = [layer(draw(*size)) for size in sizes]
    assert [y.shape for y in outputs] == sizes
    plans = [plans_of(layer).get(size) for size in sizes]
    for plan in plans:
        info = plan.info()
        assert info["shared_bytes"] >= info["weight_bytes"] * 3 // 4, info
    one = plans[0].info()
    assert sum(plan.own_bytes for plan in plans) < 2 * one["plan_bytes"]
    given = layer.plan((3, 14, 14, 512))
    assert given.info()["shared_bytes"] > one["shared_bytes"]
    layer.set_weights([draw(3, 3, 512, 1), draw(512)])
    x = draw(*sizes[0])
    check_output(layer, x, layer(x))
    assert plans_of(layer).get(sizes[0]).info()["shared_bytes"] == 0
    again = pickle.loads(pickle.dumps(given))
    assert again.info()["shared_bytes"] == 0
    y = draw(3, 14, 14, 512)
    assert_same_bits(again(y), given(y), "a plan that was pickled")


def test_a_plan_for_another_batch() -> None:
    layer = DepthwiseConv2D(3, weights=[draw(3, 3, 4, 1), draw(4)], activation="softmax")
    plan = layer.plan((2, 8, 8, 4))
    assert plan.for_batch(2) is plan
    x = draw(5, 8, 8, 4)
    other = plan.for_batch(5)
    assert (other.x_shape, other.y_shape) == ((5, 8, 8, 4), (5, 6, 6, 4))
    assert_same_bits(other(x), layer(x), "softmax")
    assert_same_bits(pickle.loads(pickle.dumps(other))(x), layer(x), "after a pickle")
    with pytest.raises(ValueError, match=r"x: expected shape \(5, 8, 8, 4\)"):
        other(x[:2])
    with pytest.raises(ValueError, match="batch: expected an integer of at least 0; received -1"):
        plan.for_batch(-1)
    with pytest.raises(MemoryError):
        plan.for_batch(2**62)


def test_batches_change_while_weights_do() -> None:
    """Threads send batches in turn, another one replaces the weights: each output is of old weights
    or of new ones, never of both.
    """
    layer = DepthwiseConv2D(1, use_bias=False, weights=[np.full((1, 1, 1, 1), 1.0)])
    layer(np.ones((1, 8, 8, 1), np.float32))
    wrong: list[Any] = []

    def call(seed: int) -> None:
        random = np.random.default_rng(seed)
        for _ in range(300):
            batch, height = random.integers(0, 40), random.integers(1, 12)
            y = layer(np.ones((batch, height, 8, 1), np.float32))
            values = np.unique(y).tolist()
            if y.shape != (batch, height, 8, 1) or (batch and values not in ([1.0], [2.0])):
                wrong.append((y.shape, values))

    threads = [threading.Thread(target=call, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for i in range(100):
        layer.set_weights([np.full((1, 1, 1, 1), 1.0 + i % 2)])
    for thread in threads:
        thread.join()
    assert not wrong, wrong[:3]
