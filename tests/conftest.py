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

from dwconv import config
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
