"""Settings: how much memory is kept for outputs, how many threads a call uses, how plans are
chosen, what becomes of denormal numbers. And what Keras' keras.json says, which is only ever read.

**Memory.** The memory of an output is recycled. When the array and all views of it are gone, the
memory lies idle until a later output of about its size takes it: fresh pages cost more than the
computation that fills them. The idle memory is bounded. Beyond the bound, what has lain idle
longest goes back to the C library, and `trim_memory` gives all of it back. A bound of 0 turns
recycling off. The environment variable DWCONV_MEMORY_LIMIT, in bytes, read when dwconv is imported,
is the bound at the start.

A plan takes memory of its own, for packed weights and tables, which grow with the width of an image
in channels first. One that takes more than 8 GiB is refused with a MemoryError;
`set_plan_memory_limit`, or DWCONV_PLAN_MEMORY_LIMIT in bytes, sets another bound. A layer keeps the
plans for the last 64 sizes of its images, while these take no more than 32 MB together;
`set_plan_cache_limits` sets other limits, DWCONV_PLAN_CACHE the number of plans. Functions that are
called with their weights (`dwconv.depthwise_conv2d`) keep plans, too, of as many geometries, which
take as many bytes together with copies of the last weights; `forget_plans` drops them.

**Threads.** A call uses one thread, its caller's, unless more are asked for: here, by the
environment variable DWCONV_NUM_THREADS, read when dwconv is imported, or for a layer, a plan or a
call. The others sleep between calls. docs/threads.md has the rest.

**Planning.** How a plan computes is estimated, in microseconds. With 'measure', here or in the
environment variable DWCONV_PLANNING, the best few ways by these estimates are tried and the fastest
is kept: some 20 milliseconds for each size of images, once in a process. The results are the same
to the bit. docs/tuning.md has the rest.

**Denormal numbers** are those nearer to 0 than 2**-126 (float64: 2**-1022). A single one may cost
more than a hundred ordinary ones on most CPUs. So they are flushed to zeros of the same sign in
inputs, weights and results, of gradients too, and the time of a call does not depend on its data.
'ieee', here or in the environment variable DWCONV_DENORMALS, computes with them instead. A plan
keeps what was set when it was made, and a layer keeps a plan for each of its last input shapes: set
it at the start of a program. What NumPy computes flushes nothing: activations that are not fused,
casts to float16, `dwconv.activations` by themselves. The CPU does the flushing. A result that is
denormal before rounding and not after it is zero on ARM and not on x86-64; all other results have
the same bits. A call neither depends on the floating-point state of its caller nor changes it,
flags included.
"""

from __future__ import annotations

import os
import stat
import sys
from contextlib import suppress
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from . import _core
from . import planning as _planning
from .arguments import (
    DataFormat,
    as_integer,
    read_data_format,
    read_num_threads,
    read_number,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

VARIABLE = "DWCONV_MEMORY_LIMIT"
THREADS_VARIABLE = "DWCONV_NUM_THREADS"
DENORMALS_VARIABLE = "DWCONV_DENORMALS"
PLAN_VARIABLE = "DWCONV_PLAN_MEMORY_LIMIT"
CACHE_VARIABLE = "DWCONV_PLAN_CACHE"
PLANNING_VARIABLE = "DWCONV_PLANNING"

Denormals: TypeAlias = Literal["flush", "ieee"]
_DENORMALS = get_args(Denormals)

#: Bytes that may lie idle unless the variable says otherwise.
DEFAULT_MEMORY_LIMIT = 256 << 20

#: Bytes that a plan may take unless the variable says otherwise.
DEFAULT_PLAN_MEMORY_LIMIT = 8 << 30

#: Plans that a layer keeps unless the variable says otherwise, and what they may take together. A
#: service sends one layer images of dozens of sizes in turn, and a plan takes longer than a small
#: call: for 7x7x1024 and a 7x7 kernel 59 us instead of 19 (Zen 5).
DEFAULT_CACHE_PLANS, DEFAULT_CACHE_BYTES = 64, 32 << 20


def memory_limit() -> int:
    """The bound of the idle memory, in bytes. ValueError if the variable held none."""
    if _wrong is not None:
        raise ValueError(_wrong)
    return _limit


def set_memory_limit(bytes: Any) -> None:  # noqa: A002 (the unit)
    """Sets the bound of the idle memory, from the next output on and for what lies idle now.

    ValueError for anything but an integer >= 0.
    """
    global _limit, _wrong
    number = _read_limit("bytes", bytes, 0)
    _core.set_memory_limit(number)
    _limit, _wrong = number, None


def plan_memory_limit() -> int:
    """The most bytes that a plan may take by itself, for its packed weights and tables. ValueError
    if the variable held none.
    """
    if _wrong_plan is not None:
        raise ValueError(_wrong_plan)
    return _plan_limit


def set_plan_memory_limit(bytes: Any) -> None:  # noqa: A002 (the unit)
    """Sets `plan_memory_limit()`, for plans that are made from now on: one that takes more is a
    MemoryError. `plan.describe().plan_bytes` tells what a plan takes.

    ValueError for anything but an integer >= 0.
    """
    global _plan_limit, _wrong_plan
    number = _read_limit("bytes", bytes, 0)
    _core.set_plan_memory_limit(number)
    _plan_limit, _wrong_plan = number, None
    forget_plans()  # some may be larger


def plan_cache_limits() -> tuple[int, int]:
    """(plans, bytes): how many plans a layer keeps, one for each size of images, and how much
    memory they may take together; the same of all functions together. ValueError if the variable
    held no such number.
    """
    if _wrong_cache is not None:
        raise ValueError(_wrong_cache)
    return _cache_plans, _cache_bytes


def set_plan_cache_limits(plans: Any = None, bytes: Any = None) -> None:  # noqa: A002 (the unit)
    """Sets `plan_cache_limits()`, for plans of layers that are made from now on and for those of
    functions at once; None leaves a value as it is. Beyond a limit the oldest plans are forgotten.
    A layer keeps the last 8 whatever they take, unless `plans` is less than that.

    ValueError for anything but an integer >= 1 and one >= 0.
    """
    global _cache_plans, _cache_bytes, _wrong_cache
    most_plans = None if plans is None else _read_limit("plans", plans, 1)
    most_bytes = None if bytes is None else _read_limit("bytes", bytes, 0)
    if most_plans is not None:
        _cache_plans, _wrong_cache = most_plans, None
    if most_bytes is not None:
        _cache_bytes = most_bytes
    for trim, _ in _followers:
        trim()


def forget_plans() -> None:
    """Forgets the plans that functions have kept (`depthwise_conv2d`): their memory is free once
    the calls that use them have ended. Layers keep theirs.
    """
    for _, forget in _followers:
        forget()


def follow_plan_limits(trim: Callable[[], None], forget: Callable[[], None]) -> None:
    """For what keeps plans: `trim` is called after the limits have changed, `forget` to forget all
    of them.
    """
    _followers.append((trim, forget))


def idle_memory() -> int:
    """Bytes that lie idle now."""
    return _core.idle_memory()


def trim_memory() -> int:
    """Gives the idle memory back to the C library and returns how many bytes that was. Arrays that
    are in use are not touched.
    """
    return _core.trim_memory()


def num_threads() -> int:
    """How many threads, its caller's included, a call uses at most if its layer and plan do not
    say. ValueError if the variable held no such number.
    """
    if _wrong_threads is not None:
        raise ValueError(_wrong_threads)
    return _threads


def set_num_threads(num_threads: Any) -> None:
    """Sets `num_threads()`, from the next call on, also of plans and layers that there are.

    'auto' is the number of CPUs that the process may use now: those of its affinity mask, fewer if
    its control groups have a quota of less. ValueError for anything but that and a positive
    integer. More threads than CPUs make nothing faster; small layers use fewer by themselves.
    """
    global _threads, _wrong_threads
    number = read_num_threads(num_threads)
    if number is None:
        raise ValueError("num_threads: expected a positive integer or 'auto'; received None")
    _core.set_default_threads(number)
    _threads, _wrong_threads = number, None


def stop_threads() -> None:
    """Ends the threads that have been started, once the calls that use them are done. The next
    call that needs threads starts them again. A program that forks need not do this.
    """
    _core.stop_threads()


def planning() -> _planning.Effort:
    """'estimate' or 'measure': how plans are chosen that are made from now on. ValueError if the
    variable held something else.
    """
    return _planning.read_effort(PLANNING_VARIABLE, _effort)


def planning_budget() -> float:
    """The seconds that measuring for one plan may take."""
    return _budget


def set_planning(effort: Any, milliseconds: Any = None) -> None:
    """Sets `planning()`, for plans that are made from now on. A layer keeps the plan that it has
    for a size of images: set it at the start of a program.

    Args:
        effort: 'estimate', which takes microseconds, or 'measure', which tries the best few ways to
            compute a problem and keeps the fastest. Either gives the same bits.
        milliseconds: what measuring for one plan may take; None: as before, 20 at the start. A
            plan whose runs take long needs more, or too few ways can be tried.

    ValueError for another effort, and for anything but a positive number up to 1e9.
    """
    global _effort, _budget
    chosen = _planning.read_effort("effort", effort)
    if milliseconds is not None:
        number = read_number("milliseconds", milliseconds)
        if not 0 < number <= _MOST_MILLISECONDS:
            raise ValueError(
                f"milliseconds: expected a positive number up to 1e9; received {milliseconds!r}"
            )
        _budget = number / 1000
    _effort = chosen


def denormals() -> Denormals:
    """'flush' or 'ieee', for plans that are made from now on. ValueError if the variable held
    something else.
    """
    if _denormals not in _DENORMALS:
        raise ValueError(f"{DENORMALS_VARIABLE}: {_WANTED}; received {_denormals!r}")
    chosen: Denormals = _denormals
    return chosen


def set_denormals(denormals: Denormals) -> None:
    """Sets `denormals()`. ValueError for anything but 'flush' and 'ieee'."""
    global _denormals
    if not isinstance(denormals, str) or denormals not in _DENORMALS:
        raise ValueError(f"denormals: {_WANTED}; received {denormals!r}")
    if denormals != _denormals:
        _denormals = denormals
        forget_plans()  # not all of those that keep plans keep both kinds


_WANTED = "expected 'flush' or 'ieee'"
_effort: Any = os.environ.get(PLANNING_VARIABLE) or "estimate"
_budget = 0.02
_MOST_MILLISECONDS = 1e9
_denormals: Any = os.environ.get(DENORMALS_VARIABLE) or "flush"
_MOST = 2**63 - 1
_limit = DEFAULT_MEMORY_LIMIT
_wrong: str | None = None
_plan_limit = DEFAULT_PLAN_MEMORY_LIMIT
_wrong_plan: str | None = None
_cache_plans, _cache_bytes = DEFAULT_CACHE_PLANS, DEFAULT_CACHE_BYTES
_wrong_cache: str | None = None
_followers: list[tuple[Callable[[], None], Callable[[], None]]] = []
_threads = 1
_wrong_threads: str | None = None


def _read_variables() -> None:
    """The errors come at the first use, not at import, so that the command line can show them."""
    global _wrong, _wrong_plan, _wrong_cache, _wrong_threads
    _core.set_memory_limit(_limit)
    if text := os.environ.get(VARIABLE):
        try:
            set_memory_limit(_number(text))
        except ValueError:
            _wrong = f"{VARIABLE}: expected an integer from 0 to {_MOST}; received {text!r}"
    _core.set_plan_memory_limit(_plan_limit)
    if text := os.environ.get(PLAN_VARIABLE):
        try:
            set_plan_memory_limit(_number(text))
        except ValueError:
            wanted = f"{PLAN_VARIABLE}: expected an integer from 0 to {_MOST}"
            _wrong_plan = f"{wanted}; received {text!r}"
    if text := os.environ.get(CACHE_VARIABLE):
        try:
            set_plan_cache_limits(_number(text))
        except ValueError:
            _wrong_cache = (
                f"{CACHE_VARIABLE}: expected an integer from 1 to {_MOST}; received {text!r}"
            )
    if text := os.environ.get(THREADS_VARIABLE):
        try:
            set_num_threads(_number(text))
        except ValueError:
            _wrong_threads = (
                f"{THREADS_VARIABLE}: expected a positive integer or auto; received {text!r}"
            )


def check_variables() -> None:
    """ValueError for the first variable of the environment that held no setting."""
    memory_limit()
    plan_memory_limit()
    plan_cache_limits()
    num_threads()
    planning()
    denormals()


def _read_limit(argument: str, value: Any, least: int) -> int:
    number = as_integer(value, minimum=least)
    if number is None:
        raise ValueError(
            f"{argument}: expected an integer from {least} to {_MOST}; received {value!r}"
        )
    return number


def _number(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdigit() else text


_read_variables()


# ---- keras.json ----------------------------------------------------------------------------------


def image_data_format() -> DataFormat:
    """What keras.json says, in $KERAS_HOME, else in ~/.keras; 'channels_last' if there is none.

    The first of the files that exists decides, with 'channels_last' if it lacks the entry. A file
    that cannot be read, or that holds something else than Keras writes, says nothing, as in Keras:
    then it is 'channels_last', and a RuntimeWarning names the file, once in a process. (Keras
    writes the file at its first import and not in one step, so that another process may find it
    empty or half written.)
    """
    for path in _keras_files():
        try:
            return _image_data_format_in(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError, RecursionError) as error:
            _warn_once(path, error)
            return "channels_last"
    return "channels_last"


def _keras_files() -> list[Path]:
    from pathlib import Path  # a sixth of what importing dwconv would take

    folders = [Path(folder)] if (folder := os.environ.get("KERAS_HOME")) else []
    with suppress(RuntimeError):  # there is no home directory
        folders.append(Path.home() / ".keras")
    return [folder / "keras.json" for folder in folders]


def _image_data_format_in(path: Path) -> DataFormat:
    """The entry of a keras.json. OSError or ValueError for a file that cannot be read."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode) or status.st_size > _LONGEST_FILE:  # a FIFO blocks
        raise ValueError(f"expected a regular file of at most {_LONGEST_FILE} bytes")
    text = path.read_text(encoding="utf-8")
    import json  # only where there is such a file

    settings = json.loads(text)
    if not isinstance(settings, dict):
        raise ValueError(f"expected a JSON object; received {type(settings).__name__}")
    value = settings.get("image_data_format", "channels_last")
    try:
        if value is None:
            raise ValueError("data_format: expected a string; received None")
        return read_data_format(value)
    except ValueError as error:
        raise ValueError(f"image_{error}") from error


def _warn_once(path: Path, error: Exception) -> None:
    if path not in _warned:
        _warned.add(path)
        import warnings

        warnings.warn(
            f"{path}: expected a readable keras.json; received {error}. "
            "Layers without data_format are channels_last",
            RuntimeWarning,
            stacklevel=2,
        )


_warned: set[Path] = set()
_LONGEST_FILE = 1 << 20


# ---- the module itself ---------------------------------------------------------------------------

__all__ = [
    "denormals",
    "forget_plans",
    "idle_memory",
    "image_data_format",
    "memory_limit",
    "num_threads",
    "plan_cache_limits",
    "plan_memory_limit",
    "planning",
    "planning_budget",
    "set_denormals",
    "set_memory_limit",
    "set_num_threads",
    "set_plan_cache_limits",
    "set_plan_memory_limit",
    "set_planning",
    "stop_threads",
    "trim_memory",
]


class _Settings(ModuleType):
    """The module, which refuses `config.num_threads = 2`: that would replace the function."""

    def __setattr__(self, name: str, value: Any) -> None:
        if f"set_{name}" in __all__ and not callable(value):
            raise AttributeError(
                f"dwconv.config.{name}: expected a call of config.set_{name}({value!r}); "
                "received an assignment"
            )
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Settings


def __dir__() -> list[str]:
    return sorted(__all__)
