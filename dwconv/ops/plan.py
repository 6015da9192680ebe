"""Plans: a kernel alone, and what `layer.plan(shape)` returns, a kernel and what surrounds it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias, overload

import numpy as np

from .. import _core, activations, casts, config, dtypes, planning
from .. import isa as isas
from ..arguments import as_integer
from ..messages import short
from . import kept_plans
from .epilogue import (
    Array,
    Epilogue,
    Plan,
    activated_shape,
    as_the_core_takes_it,
    check_out,
    run,
    storage_dtype,
)
from .spec import ConvSpec, Shape

if TYPE_CHECKING:
    from .description import Description

Fused: TypeAlias = activations.Fused

#: Who has chosen a plan's strategy: the estimate, a measurement for this plan, or one before.
Origin: TypeAlias = Literal["estimate", "measure", "wisdom"]


@overload
def make_plan(
    spec: ConvSpec,
    x_shape: Shape,
    kernel: Array,
    bias: Array | None,
    activation: str | Fused = ...,
    isa: str | None = ...,
    epilogue: None = ...,
    num_threads: int | None = ...,
    dtype: dtypes.DType | None = ...,
    ieee: bool | None = ...,
    effort: planning.Effort | None = ...,
) -> Plan: ...


@overload
def make_plan(
    spec: ConvSpec,
    x_shape: Shape,
    kernel: Array,
    bias: Array | None,
    activation: str | Fused,
    isa: str | None,
    epilogue: Epilogue,
    num_threads: int | None = ...,
    dtype: dtypes.DType | None = ...,
    ieee: bool | None = ...,
    effort: planning.Effort | None = ...,
) -> BoundPlan: ...


def make_plan(
    spec: ConvSpec,
    x_shape: Shape,
    kernel: Array,
    bias: Array | None,
    activation: str | Fused = "linear",
    isa: str | None = None,
    epilogue: Epilogue | None = None,
    num_threads: int | None = None,
    dtype: dtypes.DType | None = None,
    ieee: bool | None = None,
    effort: planning.Effort | None = None,
) -> Plan | BoundPlan:
    """A packed plan for inputs of `x_shape`, in the spec's layout; the weights are copied.

    The geometry is the caller's to check: `spec.output_shape(x_shape)` says what is wrong with it.
    (What it lets pass is still refused by the C core, as a ValueError with fewer words.) Without an
    epilogue the plan is the kernel alone, and takes what the core takes. With one it is what
    `layer.plan` returns.

    kernel: (kh, kw, C, M); bias: (C*M,), or None; both are cast to the compute dtype of `dtype`, a
    result dtype (`dwconv.dtypes`; None: the kernel's), which becomes the plan's. activation: one of
    FUSED_ACTIVATIONS, with alpha if it is a Fused. ieee: whether denormal numbers are not flushed;
    None: as `config.denormals` says. effort: 'estimate' or 'measure'; None: as `config.planning`
    says. Raises ValueError for another kernel or bias, a
    bias that int32 cannot hold, an unknown isa and environment variables that hold no setting;
    MemoryError.
    """
    name = isas.resolve(isa)
    config.check_variables()
    compute = stored = dtypes.compute_dtype(kernel.dtype if dtype is None else dtype)
    fused = Fused(activation) if isinstance(activation, str) else activation
    if epilogue is not None and dtypes.compute_dtype(epilogue.dtype) == compute:
        stored = storage_dtype(spec, epilogue.dtype, fused, epilogue.after)
    if ieee is None:
        ieee = config.denormals() == "ieee"
    weights, offsets = cast_weights(spec, x_shape, kernel, bias, compute)
    arguments: Any = (spec, x_shape, weights, offsets)
    arguments += (fused.name, name, fused.alpha, num_threads, ieee, stored)
    how = config.planning() if effort is None else effort
    kept, is_kept = None, is_estimated(how) and x_shape[0] > 0
    if is_kept:
        key = kept_plans.key_of(spec, x_shape, stored, fused, name, ieee)
        kept = kept_plans.find(key)
    plan: Plan
    origin: Origin = "estimate"
    if kept is not None:
        plan = kept.with_weights(x_shape[0], weights, offsets, num_threads)
    else:
        plan, origin = choose(arguments, how)
        if is_kept:
            kept_plans.keep(key, plan)
    if epilogue is None:
        return plan
    recipe = (spec, x_shape, kernel, bias, fused, isa, epilogue, num_threads)
    return BoundPlan(plan, epilogue, recipe, origin)


def is_estimated(effort: planning.Effort) -> bool:
    """Whether plans take the estimate's choice: nothing is to be measured or known."""
    return effort == "estimate" and not planning.is_anything_known()


def choose(arguments: Any, effort: planning.Effort) -> tuple[Plan, Origin]:
    """A plan of these arguments of `Plan`, with the strategy that is known or measured to be the
    fastest, or the estimate's; and which of these it is.
    """
    if is_estimated(effort):
        return Plan(*arguments), "estimate"
    spec, x_shape, *_, isa, _, num_threads, _, stored = arguments
    threads = config.num_threads() if num_threads is None else num_threads
    problem = problem_of(spec, x_shape, stored.name, threads)
    plan = _known_plan(arguments, isa, problem)
    if plan is not None:
        return plan, "wisdom"
    if effort == "estimate" or x_shape[0] == 0:
        return Plan(*arguments), "estimate"
    with planning.measuring.held():
        plan = _known_plan(arguments, isa, problem)  # another thread may just have measured it
        if plan is not None:
            return plan, "wisdom"
        return measure(arguments, isa, problem, config.planning_budget())


def measure(arguments: Any, isa: str, problem: str, seconds: float) -> tuple[Plan, Origin]:
    """A plan of these arguments of `Plan` with the strategy that is the fastest of those that can
    be measured in so many seconds and in `config.memory_limit()`, which from now on is known for
    the problem; the estimate's for lack of either. The caller holds `planning.measuring`.
    """
    make: Any = Plan  # for mypy, which does not know how many arguments there are
    plan: Plan = make(*arguments, budget=seconds, scratch=config.memory_limit())
    if plan.strategies(1)[0][2] is None:
        return plan, "estimate"
    planning.remember(isa, problem, plan.strategy)
    return plan, "measure"


def problem_of(spec: ConvSpec, x_shape: Shape, dtype: str, num_threads: int) -> str:
    """The name of a problem: all that a strategy depends on, and no weights. It is for any batch,
    since a plan is, and for any activation.

    '56x56x128 k3x3 s1x1 d1x1 p1.1.1.1 m1 float32 channels_last t1': H x W x C, kernel size,
    strides, dilation, padding (top, bottom, left, right), depth multiplier, dtype of x to the core,
    layout, threads.
    """
    _, height, width, channels = spec.to_nhwc(x_shape)
    (top, bottom), (left, right) = spec.padding_for(height, width)
    pairs = {"k": spec.kernel_size, "s": spec.strides, "d": spec.dilation_rate}
    sizes = " ".join(f"{letter}{pair[0]}x{pair[1]}" for letter, pair in pairs.items())
    return (
        f"{height}x{width}x{channels} {sizes} p{top}.{bottom}.{left}.{right} "
        f"m{spec.depth_multiplier} {dtype} {spec.data_format} t{num_threads}"
    )


def _known_plan(arguments: Any, isa: str, problem: str) -> Plan | None:
    """The plan with the strategy that is known for the problem. A name that this version has no
    strategy for is forgotten.
    """
    strategy = planning.known(isa, problem)
    if strategy is None:
        return None
    make: Any = Plan
    try:
        plan: Plan = make(*arguments, strategy=strategy)
    except LookupError:
        planning.forget(isa, problem)
        return None
    return plan


def cast_weights(
    spec: ConvSpec, x_shape: Shape, kernel: Array, bias: Array | None, compute: dtypes.DType
) -> tuple[Array, Array | None]:
    """(kernel, bias or None) as the core takes them, of the dtype that is computed in; with the
    errors of `make_plan`.
    """
    spec.check_kernel(kernel.shape, x_shape)
    if bias is not None:
        spec.check_bias(bias.shape, x_shape)
    with np.errstate(all="ignore"):
        weights = as_the_core_takes_it(kernel, compute)
        if bias is None:
            return weights, None
        dtypes.check_in_range(bias, compute, "bias")
        return weights, as_the_core_takes_it(bias, compute)


@_core.enable_fast_calls
class BoundPlan(_core.PlanCall):
    """A plan of the core bound to a layer's dtype and activation. Immutable; any thread may call it
    at any time.

    `plan(x, out=None, num_threads=None)` is what the layer returns for x. If the kernel is all
    there is to do (`is_kernel_only`), arrays that it takes as they are go to it without a line of
    Python.

    A plan can be pickled and copied: it is made again of its weights and arguments, for the
    instruction set that it was asked for, or the default one of the machine it then is on.
    """

    __slots__ = ("__weakref__", "_epilogue", "_origin", "_recipe")

    def __init__(
        self,
        kernel: _core.Plan,
        epilogue: Epilogue,
        recipe: tuple[Any, ...],
        origin: Origin = "estimate",
    ) -> None:
        """recipe: the arguments of `make_plan`, of which the third and fourth are the weights."""
        super().__init__(kernel, epilogue.is_nothing(kernel))
        self._epilogue = epilogue
        self._origin = origin
        spec, x_shape, weights, bias, *rest = recipe
        self._recipe = (spec, x_shape, _unchanging(weights), _unchanging(bias), *rest)

    def _apply(self, x: Any, out: Any, num_threads: int) -> Array:
        """y for x in any form, in `out` if given; with the errors of `depthwise_conv2d`, and
        ValueError for another shape than the plan's.
        """
        epilogue, kernel = self._epilogue, self.kernel
        x = dtypes.read_array("x", x)
        dtypes.check_castable(x.dtype, epilogue.dtype, "x")
        if x.shape != kernel.x_shape:
            raise ValueError(f"x: expected shape {kernel.x_shape}; received shape {x.shape}")
        target = None
        if out is not None:
            shape = activated_shape(epilogue.after, kernel.y_shape)
            target = check_out(out, shape, epilogue.dtype, {"x": x})
        if x.dtype != epilogue.dtype:  # first to that, also where it is not what is computed in
            x = casts.cast(x, epilogue.dtype)
        y = run(
            kernel,
            x,
            dtype=epilogue.dtype,
            after=epilogue.after,
            out=target,
            name=epilogue.name,
            num_threads=num_threads,
        )
        return y if out is None else out  # type: ignore[no-any-return]

    # ---- plans of this one -----------------------------------------------------------------------

    def for_batch(self, batch: int) -> BoundPlan:
        """The same plan for `batch` images, with the same weights in the same memory.

        ValueError for a batch that is no integer of at least 0, and for another one than 0 if this
        plan is one of an empty batch.
        """
        number = as_integer(batch, minimum=0)
        if number is None:
            raise ValueError(f"batch: expected an integer of at least 0; received {short(batch)}")
        batch = number
        if batch == self.kernel.x_shape[0]:
            return self
        kernel = self.kernel.with_batch(batch)
        spec, _, *rest = self._recipe
        return type(self)(kernel, self._epilogue, (spec, kernel.x_shape, *rest), self._origin)

    def share(self, other: BoundPlan) -> None:
        """Uses the packed weights of `other` where they have the same bytes, before anybody uses
        this plan.
        """
        self.kernel.share(other.kernel)

    @property
    def own_bytes(self) -> int:
        """Of what the kernel's plan takes, what it counts for: what several plans have in common is
        divided among them.
        """
        return self.kernel.own_bytes

    # ---- the kernel alone ------------------------------------------------------------------------

    def run(self, x: Any, out: Array | None = None, num_threads: Any = None) -> Array:
        """The kernel alone: x of `x_shape` -> `out` of `y_shape`, or a new array for None.

        Both C-contiguous, aligned, of the kernel's dtype, and disjoint: arrays or anything with the
        buffer protocol or DLPack's. TypeError for another type or dtype, ValueError for the rest.
        """
        return self.kernel.run(x, out, num_threads)

    def run_part(self, x: Any, out: Array, part: int, parts: int) -> None:
        """Part `part` of `parts` of run(x, out): for threads of one's own. No two parts write the
        same byte. Arrays as for `run`; ValueError for others, and for a part that is none.
        """
        self.kernel.run_part(x, out, part, parts)

    # ---- what it is ------------------------------------------------------------------------------

    @property
    def x_shape(self) -> tuple[int, int, int, int]:
        """Of the input, in its layout."""
        return self.kernel.x_shape

    @property
    def y_shape(self) -> tuple[int, int, int, int]:
        """Of the kernel's output, in its layout. (glu, which comes after it, halves an axis.)"""
        return self.kernel.y_shape

    @property
    def isa(self) -> str:
        """The instruction set."""
        return self.kernel.isa

    @property
    def num_threads(self) -> int:
        """How many threads a call uses: those asked for, or fewer where the work is worth no more
        or no more can be started.
        """
        return self.kernel.num_threads

    @property
    def kernel_name(self) -> str:
        """The kernel that does most of the work, such as 'k3x3s1_t2x4_avx2'."""
        return self.kernel.kernel_name

    @property
    def strategy(self) -> str:
        """How the problem is computed: the kernel, and how it is used, by name."""
        return self.kernel.strategy

    def info(self) -> dict[str, Any]:
        """What the kernel's plan has decided: the fields of dw_plan_info in csrc/dwconv.h."""
        return self.kernel.info()

    def describe(self) -> Description:
        """What the plan has decided, and what comes before and after its kernel."""
        from .description import RUNNERS_UP, Candidate, Description

        epilogue, kernel = self._epilogue, self.kernel
        after = epilogue.after
        return Description(
            x_shape=kernel.x_shape,
            y_shape=activated_shape(after, kernel.y_shape),
            dtype=epilogue.dtype.name,
            compute_dtype=dtypes.compute_dtype(epilogue.dtype).name,
            data_format=epilogue.data_format,
            activation=epilogue.fused.name,
            activation_after=None if after is None else str(getattr(after, "name", after)),
            isa=kernel.isa,
            num_threads=kernel.num_threads,
            denormals="ieee" if kernel.ieee else "flush",
            planned_by=self._origin,
            candidates=tuple(Candidate(*one) for one in kernel.strategies(1 + RUNNERS_UP)),
            **kernel.info(),
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.kernel_name}, {self.x_shape} -> {self.y_shape}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _make_again, (self._recipe, self.kernel.ieee)


def _make_again(recipe: tuple[Any, ...], ieee: bool) -> Plan | BoundPlan:
    """A plan of the same recipe; `ieee`: whether it computes with denormal numbers."""
    make: Any = make_plan  # for mypy, which does not know what the recipe holds
    made: Plan | BoundPlan = make(*recipe, ieee=ieee)
    return made


def _unchanging(array: Array | None) -> Array | None:
    """`array`, or a copy if somebody may write to it."""
    if array is None or not array.flags.writeable:
        return array
    copy = casts.copy(array)
    copy.flags.writeable = False
    return copy
