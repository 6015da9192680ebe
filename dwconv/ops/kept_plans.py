"""The plans that functions keep from call to call, by geometry: bounded, for any number of threads.

A function is called with its weights, so it cannot keep a plan of them as a layer does. What is
kept is what depends on the geometry alone and, of functions, the plans of the last weights beside
copies of these (`_core.KeptPlan`). A call with the same weights compares bytes; one with others
packs them. A layer whose weights change, in training, packs them into the geometry, too.

The limits are those of a layer's plans, `config.plan_cache_limits()`: so many geometries, and so
many bytes for all of them together, copies of weights included. Gradients are counted by
themselves.

Plans are found by a key of checked values, and before that by the words of a call, which spares the
checks. Dicts are read without the lock and changed with it.
"""

from __future__ import annotations

import os
from collections.abc import Hashable
from typing import Any, TypeAlias

from .. import _core, activations, config, dtypes
from ..locks import Lock
from .spec import ConvSpec, Shape

KeptPlan: TypeAlias = _core.KeptPlan
Fused: TypeAlias = activations.Fused

_SPELLINGS = 4  # that a geometry has, at most, in the mean

_lock = Lock()
_plans: dict[Hashable, KeptPlan] = {}  # oldest first
_spelled: dict[Hashable, KeptPlan] = {}
_gradients: dict[Hashable, _core.Gradient] = {}  # oldest first

#: The plan for a call in the same words as one before: `spelled(key)`, or None.
spelled = _spelled.get


def key_of(
    spec: ConvSpec,
    x_shape: Shape,
    dtype: dtypes.DType,
    fused: Fused,
    isa: str,
    ieee: bool,
    how: str = "estimate",
) -> Hashable:
    """What plans of one geometry have in common: all that a plan is made of but batch and weights.

    dtype: of x and y, to the core. how: 'estimate' for plans with the estimate's choice.
    """
    return spec, x_shape[1:], dtype.char, fused, isa, ieee, how


def find(key: Hashable) -> KeptPlan | None:
    """The plan of a geometry, if there is one."""
    return _plans.get(key)


def keep(key: Hashable, plan: _core.Plan) -> KeptPlan | None:
    """Keeps the geometry of a plan, and returns it; None for one of an empty batch, which lacks
    what other batches need. Of two threads that keep the same, both get the first one.
    """
    if plan.x_shape[0] == 0:
        return None
    made = KeptPlan(plan)
    with _lock.held():
        kept = _plans.setdefault(key, made)
    trim()
    return kept


def spell(spelling: Hashable, plan: KeptPlan) -> None:
    """From now on `spelled(spelling)` is this plan, which is kept."""
    with _lock.held():
        if len(_spelled) >= _SPELLINGS * config.plan_cache_limits()[0]:
            _spelled.clear()
        if plan in _plans.values():
            _spelled[spelling] = plan


def find_gradient(key: Hashable) -> _core.Gradient | None:
    """The gradients of a geometry, with some weights or none, if they were planned."""
    return _gradients.get(key)


def keep_gradient(key: Hashable, plan: _core.Gradient) -> None:
    """Keeps the gradients of a geometry, whose key has the batch, too; the oldest go if there are
    too many, or if they take too much.
    """
    with _lock.held():
        _gradients[key] = plan
        drop_oldest(_gradients)


def drop_oldest(kept: dict[Any, Any]) -> None:
    """Drops the oldest of what is kept, which has `own_bytes`, down to the limits of plans. The
    caller holds the lock of `kept`.
    """
    most, most_bytes = config.plan_cache_limits()
    while kept and (len(kept) > most or sum(plan.own_bytes for plan in kept.values()) > most_bytes):
        del kept[next(iter(kept))]


def trim() -> None:
    """Forgets what is beyond the limits: the oldest geometries, and of the last one older weights,
    then itself.
    """
    most, most_bytes = config.plan_cache_limits()
    if len(_plans) <= most and _core.kept_bytes() <= most_bytes:
        return
    with _lock.held():
        while _plans and (len(_plans) > most or _core.kept_bytes() > most_bytes):
            oldest = next(iter(_plans))
            if len(_plans) == 1 and _plans[oldest].forget():
                continue
            _spelled.clear()
            del _plans[oldest]


def _follow_limits() -> None:
    trim()
    with _lock.held():
        drop_oldest(_gradients)


def forget() -> None:
    """Forgets all plans; calls that use them end as they would have."""
    with _lock.held():
        _plans.clear()
        _spelled.clear()
        _gradients.clear()


def count() -> int:
    """How many geometries have a plan."""
    return len(_plans)


if hasattr(os, "register_at_fork"):  # another thread may have been in between two changes
    os.register_at_fork(after_in_child=forget)
config.follow_plan_limits(_follow_limits, forget)

__all__ = [
    "KeptPlan",
    "count",
    "drop_oldest",
    "find",
    "find_gradient",
    "forget",
    "keep",
    "keep_gradient",
    "key_of",
    "spell",
    "spelled",
    "trim",
]
