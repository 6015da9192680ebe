"""The supply chain: workflows run only code that is named by commit, with the least permissions;
SECURITY.md and docs/reliability.md name tests that exist.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
pytestmark = pytest.mark.skipif(not WORKFLOWS, reason="the sdist has no workflows")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_by_commit(path: Path) -> None:
    """A tag can be moved to other code. The version stands beside, for people."""
    used = re.findall(r"uses: (.*)", path.read_text(encoding="utf-8"))
    assert used
    for action in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_permissions_are_least(path: Path) -> None:
    """Reading, for every job; writing only in the job that publishes; no stored credentials."""
    text = path.read_text(encoding="utf-8")
    assert re.search(r"^permissions:\n  contents: read\n\n", text, re.MULTILINE)
    jobs = re.split(r"^  (\w[\w-]*):", text.partition("\njobs:\n")[2], flags=re.MULTILINE)
    for name, body in zip(jobs[1::2], jobs[2::2], strict=True):
        writing = set(re.findall(r"([\w-]+): write", body))
        assert writing <= ({"id-token", "attestations"} if name == "publish" else set()), name
        assert body.count("actions/checkout@") == body.count("persist-credentials: false"), name


@pytest.mark.parametrize("document", ["SECURITY.md", "docs/reliability.md"])
def test_each_promise_names_tests_that_exist(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    rows = re.findall(r"^\| (?!promise|claim|---)(.+?) \| (.+?) \|", text, re.MULTILINE)
    assert len(rows) >= 10, document
    for promise, how in rows:
        named = re.findall(r"`((?:tests|tools)/[\w./]+|make [\w-]+)`", how)
        assert named, promise
        for name in named:
            if not name.startswith("make "):
                assert (ROOT / name).exists(), name
