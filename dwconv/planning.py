"""Which strategy a plan gets: the estimate's choice, or one that is known to be faster because it
was measured, now or before.

A strategy is a way to compute a problem: a kernel and how it is used, with a name such as
'k3x3s1_t2x7_avx2+aligned'. All strategies of a problem give the same bits, so which one it is
decides about time only. What was measured is known to the whole process, by problem: a second
layer of the same geometry need not measure again, nor a second plan. `dwconv.wisdom` writes what
is known to files.
"""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

from .locks import Lock

Effort: TypeAlias = Literal["estimate", "measure"]
EFFORTS = get_args(Effort)

#: Problems that are remembered; beyond that the oldest are forgotten. A service that measures for
#: images of any size would otherwise collect them for ever.
MOST = 10_000

#: (instruction set, problem, as `ops.plan.problem_of` names it) -> strategy, oldest first.
Known: TypeAlias = dict[tuple[str, str], str]

_known: Known = {}
_lock = Lock()

#: Two measurements at the same time would measure each other.
measuring = Lock()


def read_effort(argument: str, value: object) -> Effort:
    """`value` if it is one; else a ValueError."""
    if isinstance(value, str) and value in EFFORTS:
        return value  # type: ignore[return-value]
    raise ValueError(f"{argument}: expected 'estimate' or 'measure'; received {value!r}")


# ---- what is known -------------------------------------------------------------------------------


def is_anything_known() -> bool:
    """Whether `known` has an answer to anything."""
    return bool(_known)


def known(isa: str, problem: str) -> str | None:
    """The strategy that is fastest for a problem, as far as anybody has measured; else None."""
    return _known.get((isa, problem))


def all_known() -> Known:
    """A copy of all of it."""
    with _lock.held():
        return dict(_known)


def remember(isa: str, problem: str, strategy: str) -> None:
    """From now on the strategy of that problem, for plans that are made from now on."""
    with _lock.held():
        _known.pop((isa, problem), None)
        _known[isa, problem] = strategy
        while len(_known) > MOST:
            del _known[next(iter(_known))]


def forget(isa: str | None = None, problem: str | None = None) -> int:
    """Forgets one problem, or all of them; returns how many that were."""
    with _lock.held():
        if isa is not None and problem is not None:
            return 0 if _known.pop((isa, problem), None) is None else 1
        count = len(_known)
        _known.clear()
        return count
