"""Measuring one problem, for people who want to see what it brings: `dwconv tune`."""

from __future__ import annotations

from typing import NamedTuple

from .. import config, dtypes, planning
from .. import isa as isas
from .epilogue import LINEAR, Array, Plan, storage_dtype
from .plan import cast_weights, measure, problem_of
from .spec import ConvSpec, Shape


class Tuned(NamedTuple):
    """The estimate's choice for a problem and the one that was kept, with the seconds of a call;
    None if nothing could be measured within the time and the memory that there are.
    """

    estimated: str
    estimated_seconds: float | None
    best: str
    best_seconds: float | None

    @property
    def gain(self) -> float | None:
        """How many times as fast the one that was kept is: 1.0 if it is the estimate's."""
        if self.estimated_seconds is None or self.best_seconds is None:
            return None
        return 1.0 if self.best == self.estimated else self.estimated_seconds / self.best_seconds


def tune(
    spec: ConvSpec,
    x_shape: Shape,
    kernel: Array,
    bias: Array | None,
    dtype: dtypes.DType,
    num_threads: int = 1,
    seconds: float | None = None,
) -> Tuned:
    """Measures a problem anew, whatever is known of it, and remembers what it finds.

    x_shape: in the spec's layout; kernel: (kh, kw, C, M); bias: (C*M,), or None; dtype: a result
    dtype; num_threads: of a call; seconds: that it may take, None: `config.planning_budget()`.
    Raises ValueError and MemoryError as plans do.
    """
    isa = isas.resolve(None)
    spec.output_shape(x_shape)
    weights, offsets = cast_weights(spec, x_shape, kernel, bias, dtypes.compute_dtype(dtype))
    stored = storage_dtype(spec, dtype, LINEAR, None)
    arguments = (spec, x_shape, weights, offsets, "linear", isa, 0.0, num_threads, False, stored)
    estimated = Plan(*arguments).strategy
    problem = problem_of(spec, x_shape, stored.name, num_threads)
    with planning.measuring.held():
        budget = config.planning_budget() if seconds is None else seconds
        plan, _ = measure(arguments, isa, problem, budget)
    times = {name: measured for name, _, measured in plan.strategies()}
    best = plan.strategy
    return Tuned(estimated, times[estimated], best, times[best])
