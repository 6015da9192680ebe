"""Work that nothing can interrupt, such as a call of LAPACK or of the disk, done so that Ctrl-C
ends the wait for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def waiting(function: Callable[[], T]) -> T:
    """What `function` returns or raises, computed by another thread while the main thread waits.

    Ctrl-C ends the wait at once. The other thread goes on to the end, and nobody takes what it
    returns: `function` may hold its own references alone, and change nothing that others see. In
    another thread than the main one, where no signal arrives, and where no thread can be started,
    `function` is called as it is.
    """
    if threading.current_thread() is not threading.main_thread():
        return function()
    returned: list[T] = []
    raised: list[BaseException] = []

    def work() -> None:
        try:
            returned.append(function())
        except BaseException as error:
            raised.append(error)

    thread: Any = threading.Thread(target=work, daemon=True)
    try:
        thread.start()
    except RuntimeError:
        return function()
    thread.join()
    if raised:
        raise raised[0]
    return returned[0]
