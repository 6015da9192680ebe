"""The operators in C++, `_operators.cpp`, compiled against the PyTorch that is installed."""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import torch

from .. import config
from .._version import __version__
from ..binding import embedding
from ..locks import Lock
from . import operators

VARIABLE = "DWCONV_TORCH_COMPILED"

_LONGEST_COMPILATION = 600  # seconds; it takes 25 of CPU time

_lock = Lock()
_module: ModuleType | None = None


def use_compiled_operators(use: bool = True) -> None:
    """Lets C++ compute the operators of this process from now on, or, with False, Python again.

    Results are the same to the bit. What C++ changes is time: less of it around each call, and
    with several threads these are PyTorch's own, not others beside them. The first use compiles
    for half a minute or more; the result is kept in the cache of `torch.utils.cpp_extension`
    (TORCH_EXTENSIONS_DIR) for this version of PyTorch. Call it before a model runs, not while one
    does. The environment variable DWCONV_TORCH_COMPILED=1 does the same when `dwconv.torch` is
    imported.

    Needs a C++ compiler ($CXX, else the system's) and the package ninja; RuntimeError without
    them, or if the compilation fails. torch.func's transforms need the operators in Python.
    """
    global _module
    with _lock.held():
        if not use:
            if _module is not None and operators.is_compiled():
                _module.disable()
                operators.use_python_kernels(True)
            return
        if operators.is_compiled():
            return
        if _module is None:
            _module = _load()
            config.follow_plan_limits(_module.forget, _module.forget)
        operators.use_python_kernels(False)
        _module.enable(operators.plan_of_tensors, operators.gradient_of_tensors)


def _load() -> ModuleType:
    """Compiles it, or takes what an earlier process has compiled."""
    from torch.utils import cpp_extension

    compiler = cpp_extension.get_cxx_compiler()
    if shutil.which(compiler.split()[0]) is None:
        raise RuntimeError(
            f"dwconv.torch: expected a C++ compiler, to compile the operators; {compiler} is not "
            "there (set CXX, or install g++ or clang)"
        )
    versions = f"{sys.implementation.cache_tag}_{torch.__version__}_{__version__}"
    name = "dwconv_torch_" + re.sub(r"\W", "_", versions)
    root = os.environ.get("TORCH_EXTENSIONS_DIR") or cpp_extension.get_default_build_root()
    folder = Path(root) / name
    folder.mkdir(parents=True, exist_ok=True)
    _remove_old_lock(folder / "lock")
    flags = ["/O2"] if os.name == "nt" else ["-O2", "-g0", "-fvisibility=hidden"]
    # Without it at::parallel_for is a serial loop. Not linked: the OpenMP that PyTorch has loaded.
    flags += ["/openmp"] if os.name == "nt" else ["-fopenmp"] if _has_openmp() else []
    try:
        with _ninja_on_path():
            return cpp_extension.load(  # type: ignore[no-any-return]
                name=name,
                sources=[str(Path(__file__).with_name("_operators.cpp"))],
                extra_cflags=flags,
                extra_include_paths=[embedding.get_include(), str(Path(embedding.__file__).parent)],
                build_directory=str(folder),
            )
    except (RuntimeError, OSError, ImportError) as error:
        raise RuntimeError(
            f"dwconv.torch: the operators could not be compiled with {compiler}; the ones in "
            f"Python work without. The compiler said:\n{error}"
        ) from error


def _remove_old_lock(lock: Path) -> None:
    """PyTorch waits for ever for the lock of a process that was killed while it compiled."""
    try:
        if time.time() - lock.stat().st_mtime > _LONGEST_COMPILATION:
            lock.unlink()
    except OSError:
        pass  # there is none


@contextmanager
def _ninja_on_path() -> Iterator[None]:
    """PyTorch looks for the program in PATH alone, where an environment's is only if activated."""
    path = os.environ.get("PATH", "")
    if shutil.which("ninja") is None:
        try:
            import ninja  # type: ignore[import-not-found,unused-ignore]
        except ImportError:
            raise RuntimeError("there is no ninja (pip install ninja)") from None
        os.environ["PATH"] = os.pathsep.join([ninja.BIN_DIR, path])
    try:
        yield
    finally:
        os.environ["PATH"] = path


def _has_openmp() -> bool:
    """Whether PyTorch's threads are OpenMP's."""
    return "ATen parallel backend: OpenMP" in torch.__config__.parallel_info()
