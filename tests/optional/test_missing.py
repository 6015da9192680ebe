"""What `dwconv.jax` and `dwconv.keras` say where something that they need is missing: in wheels
that is the compiled part of `dwconv.jax`. Stand-ins take the place of the frameworks.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from support import run_python

#: Where `import dwconv.jax` goes on to once there is a JAX.
HIDE_FFI = 'import sys; sys.modules["dwconv.jax._ffi"] = None\n'


def said(code: str, *folders: Path) -> str:
    """The text of the ImportError that the code raises."""
    done = run_python(
        "-c",
        f"import sys; sys.path[:0] = {[str(folder) for folder in folders]}\n"
        f"try:\n    exec({code!r})\nexcept ImportError as error:\n    print(error)",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout, "no ImportError"
    return done.stdout


@pytest.fixture
def stand_in(tmp_path: Path) -> Path:
    """A folder with an empty `jax` and a `keras` of version 2."""
    (tmp_path / "jax.py").touch()
    (tmp_path / "keras.py").write_text('__version__ = "2.15.0"')
    return tmp_path


def test_no_jax() -> None:
    text = said('import sys; sys.modules["jax"] = None\nimport dwconv.jax')
    assert "expected an installed JAX" in text
    assert "pip install dwconv[jax]" in text


def test_no_compiled_part(stand_in: Path) -> None:
    """As in a wheel: the message has the command that makes it."""
    text = said(HIDE_FFI + "import dwconv.jax", stand_in)
    assert "expected its compiled part" in text
    assert "DWCONV_JAX=1 pip install" in text


def test_no_keras() -> None:
    text = said('import sys; sys.modules["keras"] = None\nimport dwconv.keras')
    assert "expected an installed Keras 3; received none" in text


def test_an_older_keras(stand_in: Path) -> None:
    assert "received an older one" in said("import dwconv.keras", stand_in)
