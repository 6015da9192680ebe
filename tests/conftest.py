"""Fixtures: every instruction set of this CPU, forced, and both computed dtypes, as parameters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pytest
from support import FLOATS

from dwconv import config
from dwconv import isa as isas


@pytest.fixture(params=isas.available())
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
