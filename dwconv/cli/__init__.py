"""What the commands of `python -m dwconv` do, a module each."""

from __future__ import annotations


class CommandError(Exception):
    """What a user can put right: printed as one line, without a traceback."""

    def __init__(self, message: str, exit_status: int = 1) -> None:
        super().__init__(message)
        self.exit_status = exit_status
