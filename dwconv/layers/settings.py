"""Attributes of a layer that are values of its config."""

from __future__ import annotations

from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")


class Setting(Generic[T]):
    """An attribute of this name in the layer's config, a `LayerConfig`.

    Setting it gives the layer another config, in which the value is what the constructor would
    make of it; the layer's `_set` does that. A `fixed` one cannot be set: weights and plans depend
    on it.
    """

    def __init__(self, doc: str, *, fixed: bool = False) -> None:
        self.__doc__ = doc if fixed else f"{doc} May be set, to anything the constructor takes."
        self.fixed = fixed

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, layer: None, owner: type) -> Setting[T]: ...

    @overload
    def __get__(self, layer: Any, owner: type) -> T: ...

    def __get__(self, layer: Any, owner: type) -> Any:
        return self if layer is None else getattr(layer._config, self.name)

    def __set__(self, layer: Any, value: Any) -> None:
        if self.fixed:
            raise AttributeError(
                f"{self.name}: expected a new layer for another value; it is fixed"
            )
        layer._set(self.name, value)
