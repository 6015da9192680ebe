"""Types of the compiled module; _core.pyx says what each does."""

from collections.abc import Iterable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

P = TypeVar("P", bound="Vectorcallable")

FUSED_ACTIVATIONS: tuple[str, ...]
ISA_NAMES: tuple[str, ...]

def compiled_isas() -> tuple[str, ...]: ...
def available_isas() -> tuple[str, ...]: ...
def best_isa() -> str: ...
def cpu_features() -> dict[str, bool]: ...
def compiler() -> str: ...
def kernels(isa: str, dtype: str) -> list[dict[str, Any]]: ...
def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]: ...
def set_memory_limit(limit: int) -> None: ...
def set_plan_memory_limit(limit: int) -> None: ...
def idle_memory() -> int: ...
def trim_memory() -> int: ...
def memory_class(size: int) -> tuple[int, int]: ...
def set_default_threads(num_threads: int) -> None: ...
def stop_threads() -> None: ...
def activate(activation: str, alpha: float, array: NDArray[Any], isa: str) -> None: ...

class Memory: ...
class Vectorcallable: ...

class Plan:
    x_shape: tuple[int, int, int, int]
    y_shape: tuple[int, int, int, int]
    isa: str
    ieee: bool
    def __init__(
        self,
        spec: Any,
        x_shape: tuple[int, ...],
        kernel: NDArray[Any],
        bias: NDArray[Any] | None,
        activation: str,
        isa: str,
        alpha: float = 0.0,
        num_threads: int | str | None = None,
        ieee: bool = False,
    ) -> None: ...
    @property
    def num_threads(self) -> int: ...
    def info(self) -> dict[str, Any]: ...
    @property
    def kernel_name(self) -> str: ...
    def run(
        self, x: NDArray[Any], out: NDArray[Any] | None = None, num_threads: int | str | None = None
    ) -> NDArray[Any]: ...
    def run_part(self, x: NDArray[Any], out: NDArray[Any], part: int, parts: int) -> None: ...
    def __call__(
        self, x: Any, out: NDArray[Any] | None = None, *, num_threads: int | str | None = None
    ) -> NDArray[Any]: ...

class PublishedPlans:
    def __init__(self, *arguments: Any, **keywords: Any) -> None: ...
    def publish(self, plans: Iterable[PlanCall]) -> None: ...

class PlannedLayer(Vectorcallable):
    _plans: Any
    def __init__(self, *arguments: Any, **keywords: Any) -> None: ...
    def __call__(
        self,
        inputs: Any = ...,
        *,
        x: Any = ...,
        training: Any = None,
        num_threads: int | str | None = None,
    ) -> Any: ...

class PlanCall(Vectorcallable):
    kernel: Plan
    is_kernel_only: bool
    def __init__(self, kernel: Plan, is_kernel_only: bool) -> None: ...
    def __call__(
        self, x: Any, out: NDArray[Any] | None = None, *, num_threads: int | str | None = None
    ) -> NDArray[Any]: ...

def enable_fast_calls(kind: type[P]) -> type[P]: ...

class Gradient:
    kernel_shape: tuple[int, int, int, int]
    x_shape: tuple[int, int, int, int]
    y_shape: tuple[int, int, int, int]
    outputs: int
    has_input: bool
    def __init__(
        self,
        spec: Any,
        x_shape: tuple[int, ...],
        dtype: Any,
        kernel: NDArray[Any] | None,
        isa: str,
        ieee: bool = False,
    ) -> None: ...
    def threads(self, num_threads: int) -> int: ...
    def __call__(
        self,
        dy: NDArray[Any],
        x: NDArray[Any] | None = None,
        dx: NDArray[Any] | None = None,
        dkernel: NDArray[Any] | None = None,
        dbias: NDArray[Any] | None = None,
        *,
        num_threads: int | str | None = None,
    ) -> None: ...
