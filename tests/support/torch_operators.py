"""The operators of `dwconv.torch` in Python, and those in C++, where these can be compiled."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def operators_in(language: str) -> Iterator[None]:
    """The kernels of the operators meanwhile: 'python' or 'c++', also in processes that begin."""
    from dwconv.torch import use_compiled_operators

    if language == "c++":
        compiler = os.environ.get("CXX", "c++").split()[0]
        if shutil.which(compiler) is None:
            pytest.skip("no C++ compiler")
        if shutil.which("ninja") is None:
            pytest.importorskip("ninja")
    before = os.environ.get("DWCONV_TORCH_COMPILED")
    os.environ["DWCONV_TORCH_COMPILED"] = "1" if language == "c++" else "0"
    use_compiled_operators(language == "c++")
    try:
        yield
    finally:
        use_compiled_operators(False)
        if before is None:
            del os.environ["DWCONV_TORCH_COMPILED"]
        else:
            os.environ["DWCONV_TORCH_COMPILED"] = before


@pytest.fixture(scope="module", autouse=True, params=["python", "c++"])
def language(request: Any) -> Iterator[str]:
    """Each test of a module that imports this runs with both."""
    with operators_in(request.param):
        yield request.param
