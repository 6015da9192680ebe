"""Fixtures: every instruction set of this CPU, forced, and both computed dtypes, as parameters.

DWCONV_TEST_ISAS=avx2,portable takes these instead of every one.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import cast

import pytest
from support import FLOATS

from dwconv import activations, config, constraints, initializers, planning, regularizers
from dwconv import isa as isas

try:
    from hypothesis import HealthCheck, settings
except ImportError:  # not everywhere: its tests are skipped, or not chosen
    pass
else:
    # How long an example takes says how busy the machine is. CI prints how to repeat a failure.
    settings.register_profile(
        "dwconv",
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
        print_blob=bool(os.environ.get("CI")),
    )
    settings.load_profile("dwconv")

# A shell without job control ignores SIGINT in what it starts in the background, and processes
# inherit that: the tests of Ctrl-C would send it in vain.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

CHOSEN = os.environ.get("DWCONV_TEST_ISAS")

REGISTRIES = (activations, initializers, regularizers, constraints)


def settings_of_the_process() -> dict[str, object]:
    return {
        "denormals": config.denormals(),
        "memory_limit": config.memory_limit(),
        "plan_memory_limit": config.plan_memory_limit(),
        "plan_cache_limits": config.plan_cache_limits(),
        "num_threads": config.num_threads(),
        "planning": config.planning(),
        "planning_budget": config.planning_budget(),
        "wisdom": planning.all_known(),
        "registered": [module.names() for module in REGISTRIES],
    }


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """A test leaves the settings as they were: others expect the defaults, in whatever order."""
    before = settings_of_the_process()
    yield
    assert settings_of_the_process() == before


@pytest.fixture
def registering() -> Iterator[None]:
    """For tests that register objects: these are forgotten afterwards."""
    registered = [module._REGISTRY._registered for module in REGISTRIES]
    before = [dict(each) for each in registered]
    yield
    for each, entries in zip(registered, before, strict=True):
        each.clear()
        each.update(entries)


@pytest.fixture(params=CHOSEN.split(",") if CHOSEN else isas.available())
def isa(request: pytest.FixtureRequest) -> str:
    return cast(str, request.param)


@pytest.fixture(params=FLOATS)
def dtype(request: pytest.FixtureRequest) -> str:
    return cast(str, request.param)


@pytest.fixture
def ieee() -> Iterator[None]:
    """Plans made meanwhile compute with denormal numbers, as the yardsticks do."""
    config.set_denormals("ieee")
    yield
    config.set_denormals("flush")
