"""Readers of arguments: any spelling of a value in, a plain Python value out.

Every reader is called `read_...`. It takes the name of the argument first, unless only one argument
can be meant, and raises ValueError, '<argument>: expected ...; received ...'. NumPy integers, whole
floats such as R's 3.0 and arrays without dimensions are integers everywhere; bools never are.
"""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Literal, SupportsFloat, SupportsIndex, TypeAlias, cast

import numpy as np

from .messages import short

INT64_MAX = 2**63 - 1

DataFormat: TypeAlias = Literal["channels_last", "channels_first"]
Pair: TypeAlias = tuple[int, int]
ExplicitPadding: TypeAlias = tuple[Pair, Pair]  # ((top, bottom), (left, right))
PaddingWord: TypeAlias = Literal["valid", "same", "causal"]
Padding: TypeAlias = PaddingWord | ExplicitPadding
Size: TypeAlias = int | None  # None: not known yet

# What a caller may write, for type checkers: no string is a number, and names are spelled out.
IntLike: TypeAlias = SupportsIndex | SupportsFloat  # NumPy's scalars and R's 3.0, too
PairLike: TypeAlias = IntLike | Sequence[IntLike]
SingleLike: TypeAlias = IntLike | Sequence[IntLike]  # of one
BoolLike: TypeAlias = bool | np.bool_
PaddingName: TypeAlias = Literal["valid", "same", "VALID", "SAME"]
PaddingLike: TypeAlias = PaddingName | IntLike | Sequence[IntLike] | Sequence[Sequence[IntLike]]
PaddingLike1D: TypeAlias = PaddingName | Literal["causal", "CAUSAL"] | IntLike | Sequence[IntLike]
Threads: TypeAlias = IntLike | Literal["auto"] | None

#: The generations of Keras whose meaning of a name differs.
GENERATIONS = (1, 2, 3)


# ---- numbers -------------------------------------------------------------------------------------


def unwrap(value: Any) -> Any:
    """The Python scalar in a NumPy scalar, a 1-element array or R's 1-element list."""
    if isinstance(value, (list, tuple)) and len(value) == 1:
        return unwrap(value[0])
    if issubclass(type(value), np.generic):
        return value.item()
    # What an object says of its own class and size may be a lie.
    if issubclass(type(value), np.ndarray) and not isinstance(value, np.ma.MaskedArray):
        array = np.asarray(value)
        return array.item() if array.size == 1 else value
    return value


def as_integer(value: Any, minimum: int) -> int | None:
    """`value` as an int from `minimum` to 2**63 - 1, or None if it is not one."""
    if type(value) is int:  # almost always
        return value if minimum <= value <= INT64_MAX else None
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, (bool, np.bool_)):
        return None
    if isinstance(value, (float, np.floating)):
        if not math.isfinite(value) or value != int(value):
            return None
        value = int(value)
    try:
        number = operator.index(value)
    except TypeError:
        return None
    return number if minimum <= number <= INT64_MAX else None


def read_positive_int(argument: str, value: Any) -> int:
    """An int from 1 to 2**63 - 1."""
    number = as_integer(value, minimum=1)
    if number is None:
        raise ValueError(
            f"{argument}: expected a positive integer below 2**63; received {short(value)}"
        )
    return number


def read_num_threads(value: Any) -> int | None:
    """A positive int, or None for None. 'auto' is the number of CPUs that the process may use."""
    if value is None:
        return None
    if isinstance(value, str) and value == "auto":
        from .binding.cpus import available  # reads files

        return available()
    number = as_integer(value, minimum=1)
    if number is None:
        raise ValueError(
            f"num_threads: expected a positive integer below 2**63 or 'auto'; received {value!r}"
        )
    return number


def read_integer(argument: str, value: Any) -> int:
    """An int of any size, also out of a list of one, as R writes scalars."""
    number = unwrap(value)
    if isinstance(number, float) and number.is_integer():
        number = int(number)
    if not isinstance(number, int) or isinstance(number, bool):
        raise ValueError(f"{argument}: expected an integer; received {short(value)}")
    return number


def read_number(argument: str, value: Any, minimum: float = -math.inf) -> int | float:
    """A finite int or float, at least `minimum`."""
    number = unwrap(value)
    is_number = isinstance(number, (int, float)) and not isinstance(number, bool)
    # Compared, not converted: an int may be beyond any float.
    if not is_number or not abs(number) <= sys.float_info.max or number < minimum:
        bound = "" if minimum == -math.inf else f" of at least {minimum:g}"
        raise ValueError(f"{argument}: expected a finite number{bound}; received {short(value)}")
    return cast("int | float", number)


def read_bool(argument: str, value: Any) -> bool:
    """A Python or NumPy bool as a Python one."""
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{argument}: expected True or False; received {short(value)}")
    return bool(value)


# ---- several numbers -----------------------------------------------------------------------------


def items_of(value: Any) -> Sequence[Any] | None:
    """The elements of a list, tuple, range or one-dimensional array; None for anything else."""
    if isinstance(value, (tuple, list)):
        return value
    if isinstance(value, np.ndarray):
        return list(value) if value.ndim == 1 else None
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray)):
        return value
    return None


def read_pair(argument: str, value: Any) -> Pair:
    """An int or two ints, (height, width), as two ints from 1 to 2**63 - 1."""
    items = items_of(value)
    sides = (value, value) if items is None else items
    if len(sides) == 2:
        height, width = as_integer(sides[0], 1), as_integer(sides[1], 1)
        if height is not None and width is not None:
            return height, width
    raise ValueError(
        f"{argument}: expected a positive integer or two, (height, width), below 2**63; "
        f"received {short(value)}"
    )


def read_single(argument: str, value: Any) -> int:
    """An int or a sequence of one, as an int from 1 to 2**63 - 1."""
    items = items_of(value)
    number = as_integer(value if items is None else items[0] if len(items) == 1 else None, 1)
    if number is None:
        raise ValueError(
            f"{argument}: expected a positive integer below 2**63, or a list of one; "
            f"received {short(value)}"
        )
    return number


def read_size(argument: str, size: Any) -> Size:
    """A size from 0 to 2**63 - 1, or None for None."""
    number = None if size is None else as_integer(size, minimum=0)
    if size is not None and number is None:
        raise ValueError(f"{argument}: expected integers >= 0 or None; received {short(size)}")
    return number


def read_shape(argument: str, shape: Any) -> tuple[Size, ...]:
    """A sequence of sizes >= 0, None where one is not known, as a tuple."""
    sizes = items_of(_plain_shape(shape))
    if sizes is None:
        raise ValueError(f"{argument}: expected a sequence of sizes; received {short(shape)}")
    return tuple([read_size(argument, size) for size in sizes])


def _plain_shape(shape: Any) -> Any:
    """TensorFlow's `TensorShape` as a list; anything else as it is."""
    if isinstance(shape, (list, tuple)) or not callable(getattr(shape, "as_list", None)):
        return shape
    try:
        return shape.as_list()
    except ValueError:  # of unknown rank
        return shape


def read_sizes(argument: str, shape: Any, count: int, batch: bool) -> tuple[int, ...]:
    """So many positive ints, three or four; if `batch` the first may be 0."""
    sizes = items_of(shape) or ()
    known = [as_integer(size, minimum=0 if batch and i == 0 else 1) for i, size in enumerate(sizes)]
    numbers = [number for number in known if number is not None]
    if len(known) != count or len(numbers) != count:
        first = ", the first may be 0" if batch else ""
        words = {3: "three", 4: "four"}[count]
        raise ValueError(
            f"{argument}: expected {words} positive integers{first}; received {short(shape)}"
        )
    return tuple(numbers)


def read_axes(argument: str, value: Any) -> int | list[int] | None:
    """None (all axes), an axis or a list of axes, counted from 0 (as in R's files, too)."""
    value = unwrap(value)
    if value is None:
        return None
    if isinstance(value, (list, tuple, np.ndarray)) and len(value) > 0:
        return [read_integer(argument, axis) for axis in value]
    return read_integer(argument, value)


# ---- words ---------------------------------------------------------------------------------------


def read_padding(padding: Any, rank: int = 2) -> Padding:
    """'valid' or 'same', in any case, or pixels as ((top, bottom), (left, right)).

    Pixels may be written as an int, for all sides; as two ints, (height, width), each for both of
    its sides; or so, in full. Of rank 1 they are an int or (left, right), and there is 'causal'.
    """
    names = ("valid", "same", "causal") if rank == 1 else ("valid", "same")
    if isinstance(padding, str):
        if padding.lower() in names:
            return cast(PaddingWord, padding.lower())
    elif rank == 1:
        width = _read_sides(padding)
        if width is not None:
            return (0, 0), width
    else:
        sides = items_of(padding)
        pairs = [_read_sides(side) for side in ((padding, padding) if sides is None else sides)]
        if len(pairs) == 2 and pairs[0] is not None and pairs[1] is not None:
            return pairs[0], pairs[1]
    wanted = ", ".join(map(repr, names))
    form = "two, (left, right)," if rank == 1 else "((top, bottom), (left, right))"
    raise ValueError(
        f"padding: expected {wanted}, an integer >= 0 and below 2**63 or {form} of such; "
        f"received {short(padding)}"
    )


def _read_sides(value: Any) -> Pair | None:
    """(before, after) of an int, for both, or of two; None for anything else."""
    items = items_of(value)
    sides = (value, value) if items is None else items
    if len(sides) != 2:
        return None
    before, after = as_integer(sides[0], 0), as_integer(sides[1], 0)
    return None if before is None or after is None else (before, after)


def read_data_format(data_format: Any) -> DataFormat:
    """'channels_last' (N, H, W, C) or 'channels_first' (N, C, H, W), in any case. (Of rank 1
    without H.)

    None means channels_last. For the layer None means what Keras is configured to: it asks
    `config.image_data_format` first.
    """
    if data_format is None:
        return "channels_last"
    if isinstance(data_format, str) and data_format.lower() in ("channels_last", "channels_first"):
        return cast(DataFormat, data_format.lower())
    raise ValueError(
        "data_format: expected 'channels_last', 'channels_first' or None; "
        f"received {short(data_format)}"
    )


def read_choice(argument: str, value: Any, choices: Iterable[str]) -> str:
    """One of `choices`."""
    known = list(choices)
    word = unwrap(value)
    if word not in known:
        raise ValueError(f"{argument}: expected one of {known}; received {short(value)}")
    return cast(str, word)


def read_generation(generation: Any) -> int:
    """1, 2 or 3, the generation of Keras whose meaning of a name is wanted."""
    number = as_integer(generation, minimum=1)
    if number not in GENERATIONS:
        raise ValueError(f"generation: expected one of {GENERATIONS}; received {short(generation)}")
    return number


# ---- hints for messages --------------------------------------------------------------------------


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """Up to three known names that resemble `name`; case and underscores do not count.

    Of names that differ in nothing else (glorot_uniform, GlorotUniform) the one spelled more like
    `name` is given. Nothing resembles a name of more than 100 characters, which may be one out of a
    file and have millions.
    """
    if len(name) > 100:
        return []

    def key(text: str) -> str:
        return text.casefold().replace("_", "").replace("-", "").replace(" ", "")

    by_key: dict[str, list[str]] = {}
    for candidate in sorted(known):
        by_key.setdefault(key(candidate), []).append(candidate)
    import difflib  # slow to import, and for messages only

    matches = difflib.get_close_matches(key(name), by_key, n=3)
    return [
        max(by_key[match], key=lambda text: difflib.SequenceMatcher(None, name, text).ratio())
        for match in matches
    ]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of an error message: the nearest known names, or all when none is near."""
    names = sorted(known)
    close = nearest(name, names)
    return (
        f"nearest known: {', '.join(map(repr, close))}" if close else f"known: {', '.join(names)}"
    )
