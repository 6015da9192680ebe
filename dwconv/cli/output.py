"""What stdout does not take: a full disk, a pipe whose reader is gone, a stream that is closed."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from contextlib import suppress

from ..terminal import printable


def not_printed(program: str, error: OSError) -> int:
    """Says why stdout did not take what `program` printed; returns the exit status."""
    _forget_output()
    if not isinstance(error, BrokenPipeError):  # `dwconv check | head`
        print(f"{program}: {printable(error)}", file=sys.stderr)
    return 1


def _forget_output() -> None:
    """Lets CPython, when it exits, not try again to write what could not be written."""
    if sys.stdout is None:
        return
    null = os.open(os.devnull, os.O_WRONLY)
    with suppress(OSError, ValueError):  # a stream without a descriptor keeps nothing back
        os.dup2(null, sys.stdout.fileno())
    os.close(null)


class Parser(argparse.ArgumentParser):
    """argparse ignores that help cannot be written, and ends with status 0; this one with 1."""

    def print_help(self, file: object = None) -> None:
        self.answer(self.format_help())

    def answer(self, text: str) -> None:
        """Prints what was asked for, or ends the program with one line on stderr."""
        try:
            if sys.stdout is None:  # the shell closed it
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            sys.stdout.write(text)
            sys.stdout.flush()
        except OSError as error:
            sys.exit(not_printed(self.prog, error))
