"""Types of the compiled module; _core.pyx says what each does."""

from typing import Any

from numpy.typing import NDArray

FUSED_ACTIVATIONS: tuple[str, ...]
ISA_NAMES: tuple[str, ...]

def compiled_isas() -> tuple[str, ...]: ...
def available_isas() -> tuple[str, ...]: ...
def best_isa() -> str: ...
def cpu_features() -> dict[str, bool]: ...
def compiler() -> str: ...

class Plan:
    x_shape: tuple[int, int, int, int]
    y_shape: tuple[int, int, int, int]
    isa: str
    def __init__(
        self,
        kernel: NDArray[Any],
        bias: NDArray[Any] | None,
        x_shape: tuple[int, int, int, int],
        strides: tuple[int, int],
        dilation_rate: tuple[int, int],
        padding: tuple[tuple[int, int], tuple[int, int]],
        activation: str,
        isa: str,
    ) -> None: ...
    def info(self) -> dict[str, Any]: ...
    @property
    def kernel_name(self) -> str: ...
    def __call__(self, x: NDArray[Any], out: NDArray[Any]) -> NDArray[Any]: ...

class Gradient:
    kernel_shape: tuple[int, int, int, int]
    x_shape: tuple[int, int, int, int]
    y_shape: tuple[int, int, int, int]
    has_input: bool
    def __init__(
        self,
        kernel_shape: tuple[int, int, int, int],
        dtype: Any,
        kernel: NDArray[Any] | None,
        x_shape: tuple[int, int, int, int],
        strides: tuple[int, int],
        dilation_rate: tuple[int, int],
        padding: tuple[tuple[int, int], tuple[int, int]],
        isa: str,
    ) -> None: ...
    def __call__(
        self,
        dy: NDArray[Any],
        x: NDArray[Any] | None = None,
        dx: NDArray[Any] | None = None,
        dkernel: NDArray[Any] | None = None,
        dbias: NDArray[Any] | None = None,
    ) -> None: ...
