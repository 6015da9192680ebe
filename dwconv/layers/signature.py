"""What `inspect.signature`, `help` and editors show for the call of a layer."""

from __future__ import annotations

import inspect
from typing import Any


class CallSignature:
    """The descriptor `__signature__` of a class whose `__call__` is compiled.

    An instance has the signature of a call: CPython shows (*args, **kwargs) for the slot of a
    compiled class. The class itself has none here, so that it keeps that of its constructor.
    """

    def __get__(self, instance: object, owner: type | None = None) -> inspect.Signature | None:
        return None if instance is None else _signature(type(instance))


def _signature(kind: type) -> inspect.Signature:
    call: Any = kind.__call__
    if inspect.isfunction(call):  # of a derived class, which says itself what it takes
        parameters = list(inspect.signature(call).parameters.values())[1:]
        return inspect.signature(call).replace(parameters=parameters)
    named = inspect.Parameter.KEYWORD_ONLY
    return inspect.Signature(
        [
            inspect.Parameter("inputs", inspect.Parameter.POSITIONAL_OR_KEYWORD),
            inspect.Parameter("training", named, default=None),
            inspect.Parameter("num_threads", named, default=None),
        ]
    )
