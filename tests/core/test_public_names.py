"""What `dir` shows, and settings that somebody assigns."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest

import dwconv
from dwconv import config

MODULES = [
    dwconv,
    *(getattr(dwconv, name) for name in dwconv.__all__ if name != "__version__"),
]
MODULES = [module for module in MODULES if isinstance(module, ModuleType)]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_dir_shows_public_names(module: ModuleType) -> None:
    assert dir(module) == sorted(module.__all__)
    for name in dir(module):
        assert getattr(module, name) is not None
    # Neither what the module imports nor another one of ours that is not public.
    foreign = {"np", "Any", "annotations", "os", "TYPE_CHECKING", "Callable", "casts", "messages"}
    assert not foreign & set(dir(module))


@pytest.mark.parametrize(
    ("name", "value"),
    [("num_threads", 2), ("memory_limit", 0), ("plan_memory_limit", 1), ("denormals", "ieee")],
)
def test_an_assigned_setting_is_refused(name: str, value: object) -> None:
    before = getattr(config, name)()
    with pytest.raises(AttributeError, match=rf"config\.set_{name}\({value!r}\)"):
        setattr(config, name, value)
    assert getattr(config, name)() == before
    layer = dwconv.DepthwiseConv2D(3)
    assert layer(np.zeros((1, 4, 4, 1), np.float32)).shape == (1, 2, 2, 1)
