"""No byte outside of the arrays is read or written: guard pages and poisoned margins."""

from __future__ import annotations

import sys

import pytest
from support import ROOT, run_python

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="mprotect is POSIX")

SCRIPT = str(ROOT / "tests" / "support" / "guard_pages.py")


@pytest.mark.slow
def test_nothing_outside_is_touched(isa: str, dtype: str) -> None:
    done = run_python(SCRIPT, isa, dtype)
    last = "\n".join(done.stdout.splitlines()[-1:])
    assert done.returncode == 0, f"exit status {done.returncode} in: {last}\n{done.stderr}"
    assert "gradients at the end" in last  # it has run at all


@pytest.mark.parametrize("how", ["read", "write"])
def test_the_guards_work(how: str) -> None:
    done = run_python(SCRIPT, how)
    by_sanitizer = "AddressSanitizer: SEGV" in done.stderr  # which catches the signal
    noticed = done.returncode < 0 or by_sanitizer
    assert noticed, f"an access beyond the array was not noticed: {done}"
