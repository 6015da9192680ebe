"""Types of the compiled module; _core.pyx says what each does."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arguments import Threads
from .layers.inputs import SymbolicTensor

P = TypeVar("P", bound="Vectorcallable")

FUSED_ACTIVATIONS: tuple[str, ...]
ISA_NAMES: tuple[str, ...]

def compiled_isas() -> tuple[str, ...]: ...
def available_isas() -> tuple[str, ...]: ...
def best_isa() -> str: ...
def cpu_features() -> dict[str, bool]: ...
def cpu() -> dict[str, Any]: ...
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
def cast_half(source: Any, target: Any) -> bool: ...
def activate(activation: str, alpha: float, array: NDArray[Any], isa: str) -> None: ...
def activation_gradient(
    activation: str,
    alpha: float,
    z: NDArray[Any],
    dy: NDArray[Any],
    dz: NDArray[Any],
    isa: str,
    ieee: bool = True,
) -> None: ...

class Memory: ...
class Vectorcallable: ...

class Plan:
    x_shape: tuple[int, int, int, int]
    y_shape: tuple[int, int, int, int]
    kernel_shape: tuple[int, int, int, int]
    isa: str
    ieee: bool
    numpy_dtype: np.dtype[Any]
    own_bytes: int
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
        dtype: np.dtype[Any] | None = None,
        strategy: str | None = None,
        budget: float = 0.0,
        scratch: int = 0,
    ) -> None: ...
    @property
    def num_threads(self) -> int: ...
    def with_weights(self, kernel: NDArray[Any], bias: NDArray[Any] | None) -> Plan: ...
    def with_batch(self, batch: int) -> Plan: ...
    def share(self, other: Plan) -> None: ...
    def info(self) -> dict[str, Any]: ...
    @property
    def strategy(self) -> str: ...
    def strategies(self, most: int = ...) -> list[tuple[str, float, float | None]]: ...
    @property
    def kernel_name(self) -> str: ...
    def run(
        self, x: NDArray[Any], out: NDArray[Any] | None = None, num_threads: int | str | None = None
    ) -> NDArray[Any]: ...
    def run_part(self, x: NDArray[Any], out: NDArray[Any], part: int, parts: int) -> None: ...
    def __call__(
        self, x: Any, out: NDArray[Any] | None = None, *, num_threads: int | str | None = None
    ) -> NDArray[Any]: ...

class PackedWeights: ...

class KeptPlan:
    count: int
    def __init__(self, plan: Plan) -> None: ...
    def with_weights(
        self,
        batch: int,
        kernel: NDArray[Any],
        bias: NDArray[Any] | None,
        num_threads: int | None,
    ) -> Plan: ...
    def forget(self) -> bool: ...
    def __call__(
        self,
        x: Any,
        kernel: Any,
        bias: Any,
        out: NDArray[Any] | None,
        num_threads: int | str | None,
        grown: Callable[[], object],
    ) -> Any: ...

def kept_bytes() -> int: ...
def spelling(x: Any, kernel: Any, bias: Any, settings: tuple[Any, ...]) -> Any: ...

class PublishedPlans:
    def __init__(self, *arguments: Any, **keywords: Any) -> None: ...
    def publish(self, plans: Iterable[PlanCall]) -> None: ...

class PlannedLayer(Vectorcallable):
    _plans: Any
    def __init__(self, *arguments: Any, **keywords: Any) -> None: ...
    @overload
    def __call__(
        self, inputs: SymbolicTensor, *, training: Any = None, num_threads: Threads = None
    ) -> SymbolicTensor: ...
    @overload
    def __call__(
        self, *, x: SymbolicTensor, training: Any = None, num_threads: Threads = None
    ) -> SymbolicTensor: ...
    @overload
    def __call__(
        self, inputs: ArrayLike, *, training: Any = None, num_threads: Threads = None
    ) -> NDArray[Any]: ...
    @overload
    def __call__(
        self, *, x: ArrayLike, training: Any = None, num_threads: Threads = None
    ) -> NDArray[Any]: ...

class PlanCall(Vectorcallable):
    kernel: Plan
    is_kernel_only: bool
    def __init__(self, kernel: Plan, is_kernel_only: bool) -> None: ...
    def __call__(
        self, x: ArrayLike, out: NDArray[Any] | None = None, *, num_threads: Threads = None
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
        activation: str = "linear",
        alpha: float = 0,
        bias: NDArray[Any] | None = None,
    ) -> None: ...
    def with_weights(
        self, kernel: NDArray[Any] | None, bias: NDArray[Any] | None = None
    ) -> Gradient: ...
    @property
    def own_bytes(self) -> int: ...
    def pull(
        self,
        dy: NDArray[Any],
        x: NDArray[Any],
        with_input: bool,
        with_weights: bool,
        num_threads: int | None,
    ) -> tuple[NDArray[Any] | None, NDArray[Any] | None, NDArray[Any] | None]: ...
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

def quantized_kernels(isa: str) -> dict[str, bool]: ...

class Quantized:
    x_shape: tuple[int, int, int, int]
    y_shape: tuple[int, int, int, int]
    kernels: str
    def __init__(
        self,
        spec: Any,
        x_shape: tuple[int, ...],
        kernel: NDArray[Any],
        bias: NDArray[Any] | None,
        multipliers: NDArray[Any],
        x_dtype: Any,
        y_dtype: Any,
        zero_points: tuple[int, int],
        bounds: tuple[int, int],
        isa: str,
        kernels: str | None = None,
    ) -> None: ...
    def threads(self, batch: int, num_threads: int) -> int: ...
    def __call__(
        self, x: NDArray[Any], out: NDArray[Any] | None = None, *, num_threads: int | None = None
    ) -> NDArray[Any]: ...
