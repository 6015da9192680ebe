"""Fixtures: every instruction set of this CPU, forced, and both computed dtypes, as parameters."""

from __future__ import annotations

from typing import cast

import pytest
from support import FLOATS

from dwconv import isa as isas


@pytest.fixture(params=isas.available())
def isa(request: pytest.FixtureRequest) -> str:
    return cast(str, request.param)


@pytest.fixture(params=FLOATS)
def dtype(request: pytest.FixtureRequest) -> str:
    return cast(str, request.param)
