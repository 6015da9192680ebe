"""What the commands of `python -m dwconv` do, a module each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


class CommandError(Exception):
    """What a user can put right: printed as one line, without a traceback."""

    def __init__(self, message: str, exit_status: int = 1) -> None:
        super().__init__(message)
        self.exit_status = exit_status


def not_read(skipped: Mapping[str, str]) -> dict[str, str]:
    """Those of `Layers.skipped` that have a reason, which are or may be depthwise layers."""
    return {path: why for path, why in skipped.items() if ": " in why}


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Makes one line of what is wrong with a file, read or written: status 2 if it is the name, 1
    if it is what is in it.
    """
    from .. import FormatError

    try:
        yield
    except OSError as error:
        raise CommandError(f"{error.strerror or error}: {error.filename or path}", 2) from None
    except FormatError as error:
        raise CommandError(str(error)) from None
    except ImportError as error:
        raise CommandError(f"{path}: {error}") from None
    except ValueError as error:
        raise CommandError(str(error), 2) from None
