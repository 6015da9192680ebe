"""Is this commit fit for a release? `make release-check`, before the tag.

    python tools/release_check.py

1. The work tree is clean, CHANGELOG.md has a heading for the version in dwconv/_version.py, and no
   other file names that version as the package's own.
2. sdist and wheels are built (tools/build_wheels.py) and `twine check --strict` takes them.
3. The sdist holds every tracked file but those that only the repository needs.
4. The C core compiles for Windows and macOS (tools/zig_check.py).
5. The wheels pass the tests in environments of their own (tools/test_wheels.py).
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WHEELHOUSE = ROOT / "wheelhouse"

#: What an sdist does without: settings of tools that work on a clone.
OF_THE_REPOSITORY = re.compile(
    r"\.(ci|github)/.*|\.git-blame-ignore-revs|\.gitignore|\.pre-commit-config\.yaml"
)


def git(*arguments: str) -> list[str]:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def version() -> str:
    text = (ROOT / "dwconv" / "_version.py").read_text(encoding="utf-8")
    return text.split('"')[1]


def words_about_the_version() -> Iterator[str]:
    """What is wrong before anything is built."""
    if changed := git("status", "--porcelain"):
        yield f"expected a clean work tree; received {changed}"
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    if not re.search(rf"^## \[{re.escape(version())}\] - \d{{4}}-\d\d-\d\d$", changelog, re.M):
        yield f"CHANGELOG.md: expected a heading '## [{version()}] - YYYY-MM-DD'"
    for name in ("pyproject.toml", "setup.py", "csrc/dwconv.h", "dwconv/__init__.py"):
        if f'"{version()}"' in (ROOT / name).read_text(encoding="utf-8"):
            yield f"{name}: expected the version in dwconv/_version.py alone"


def missing_in_sdist() -> list[str]:
    """Tracked files that it should hold."""
    (sdist,) = WHEELHOUSE.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    wanted = [name for name in git("ls-files") if not OF_THE_REPOSITORY.fullmatch(name)]
    return [name for name in wanted if name not in inside]


def tool(name: str, *arguments: str) -> str | None:
    """Runs one of tools/, which prints what it does; what is wrong."""
    path = ROOT / "tools" / name
    done = subprocess.run([sys.executable, str(path), *arguments], check=False)
    return f"{name} failed" if done.returncode else None


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pythons", help="as of build_wheels.py; for trying this out")
    parser.add_argument("--short", action="store_true", help="as of test_wheels.py")
    arguments = parser.parse_args()
    pythons = ["--pythons", arguments.pythons] if arguments.pythons else []
    short = ["--short"] if arguments.short else []

    wrong = list(words_about_the_version())
    if fault := tool("build_wheels.py", *pythons):
        print(*wrong, fault, sep="\n")
        return 1
    files = [str(path) for path in sorted(WHEELHOUSE.iterdir())]
    twine = [sys.executable, "-m", "twine", "check", "--strict", *files]
    if subprocess.run(twine, check=False).returncode:
        wrong.append("twine check failed")
    wrong += [f"the sdist lacks {name}" for name in missing_in_sdist()]
    wrong += filter(None, [tool("zig_check.py"), tool("test_wheels.py", *pythons, *short)])
    print("\n" + ("\n".join(["not fit for a release:", *wrong]) if wrong else "fit for a release"))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
