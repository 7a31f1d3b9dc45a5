"""Ranges of settings: declared in the type of a parameter, and checked by it, in Python as in the flags.

    @checked
    def draw(number: Count, share: Share = 0.5, order: Literal["random", "sorted"] = "random") -> None: ...

Numbers of NumPy become numbers of Python. A boolean is no number, NaN and infinity are not finite, and 1.0 is no
integer. A type that allows anything else, such as `str | Dataset`, is not checked.
"""

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import NoneType, SimpleNamespace, UnionType
from typing import Annotated, Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from hf_alignet.errors import InputError

P = ParamSpec("P")
R = TypeVar("R")
LARGEST = 2**63 - 1  # that NumPy and torch can hold
LARGEST_ROW = 2**31 - 1  # rows of images are saved as int32
LARGEST_SEED = 2**32 - 1  # of NumPy and scikit-learn


@dataclass(frozen=True)
class Range:
    """Numbers from `least` to `most`. `above` and `below` leave an end out."""

    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None

    def __contains__(self, value: float) -> bool:
        return (
            (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        ends = {"at least": self.least, "above": self.above, "at most": self.most, "below": self.below}
        return " and ".join(f"{words} {end:.10g}" for words, end in ends.items() if end is not None)


Count = Annotated[int, Range(1)]
Whole = Annotated[int, Range(0)]
Seed = Annotated[int, Range(0, LARGEST_SEED)]
Positive = Annotated[float, Range(above=0)]
NotNegative = Annotated[float, Range(0)]
Share = Annotated[float, Range(0, 1)]
ProperShare = Annotated[float, Range(above=0, below=1)]


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """The function, which checks its arguments by their types: InputError with the parameter, the value, its range."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        bound = signature.bind(*args, **kwargs)
        for name, kind in _kinds(function).items():
            if name in bound.arguments:
                bound.arguments[name] = check(name, bound.arguments[name], kind)
        return function(*bound.args, **bound.kwargs)

    return call


def check_fields(settings: Any, kinds: Mapping[str, Any] | None = None) -> None:
    """Checks the fields of a dataclass by their types, or by `kinds`; for its `__post_init__`."""
    owner: Any = type(settings)
    for name, kind in (_kinds(owner) | dict(kinds or {})).items():
        object.__setattr__(settings, name, check(name, getattr(settings, name), kind))


def check(name: str, value: Any, kind: Any) -> Any:
    """The value as one of Python; InputError if its type, such as `Count | None`, does not allow it."""
    plain = value.item() if isinstance(value, np.generic) else value
    if any(_allows(part, plain) for part in parts_of(kind)):
        return plain
    allowed = ", or ".join(filter(None, map(_words, parts_of(kind))))
    raise InputError(f"`{name}` must be {allowed}, got {plain!r}")


@functools.cache
def _kinds(function: Any) -> dict[str, Any]:
    """The types, by name, that can be checked. What a function returns may be of a library that it loads later."""
    if not isinstance(function, type):
        named = {name: kind for name, kind in function.__annotations__.items() if name != "return"}
        function = SimpleNamespace(__annotations__=named, __globals__=function.__globals__)
    hints = get_type_hints(function, include_extras=True)
    return {name: kind for name, kind in hints.items() if all(map(_is_known, parts_of(kind)))}


def parts_of(kind: Any) -> tuple[Any, ...]:
    """The types that a union allows, or the one type."""
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def _is_known(part: Any) -> bool:
    return get_origin(part) in (Literal, Callable) or _base(part) in (NoneType, bool, int, float)


def _base(part: Any) -> Any:
    return get_args(part)[0] if get_origin(part) is Annotated else part


def _ranges(part: Any) -> tuple[Range, ...]:
    return get_args(part)[1:] if get_origin(part) is Annotated else ()


def _allows(part: Any, value: Any) -> bool:
    base = _base(part)
    if get_origin(part) is Literal:
        return any(isinstance(value, type(option)) and value == option for option in get_args(part))
    if get_origin(part) is Callable:
        return callable(value)
    if base in (NoneType, bool):
        return isinstance(value, base)
    if isinstance(value, bool) or not isinstance(value, int if base is int else int | float):
        return False
    is_finite = abs(value) <= LARGEST if isinstance(value, int) else math.isfinite(value)
    return is_finite and all(value in range for range in _ranges(part))


def _words(part: Any) -> str:
    """What is allowed; nothing for None, which nobody has to give."""
    if get_origin(part) is Literal:
        options = [str(option) for option in get_args(part)]
        return options[0] if len(options) == 1 else f"one of {', '.join(options)}"
    if get_origin(part) is Callable:
        return "a function"
    base = {NoneType: "", bool: "True or False", int: "an integer", float: "a finite number"}[_base(part)]
    return " ".join([base, *(f"({range})" for range in _ranges(part))])


def row_numbers(rows: Any, number: int | None, what: str, of: str = "rows") -> np.ndarray:
    """Row numbers as int64, whatever integers they are.

    Args:
        rows: of any shape.
        number: how many rows there are; None for as many as can be saved.
        what: names the numbers in messages, such as "the triplets".
        of: what they are rows of.

    Raises:
        InputError: they are no integers, such as a mask, or point outside the rows.
    """
    numbers = np.asarray(rows)
    if numbers.size == 0:
        return numbers.astype(np.int64)
    if numbers.dtype.kind not in "iu":
        advice = ": take np.flatnonzero of a mask" if numbers.dtype.kind == "b" else ""
        raise InputError(f"{what} must be row numbers, integers from 0, got {numbers.dtype}{advice}")
    low, high = int(numbers.min()), int(numbers.max())
    if low < 0 or high >= (LARGEST_ROW + 1 if number is None else number):
        there = f"the last possible row is {LARGEST_ROW}" if number is None else f"there are {number} {of}"
        raise InputError(f"{what} name rows {low} to {high}, but {there}")
    return numbers.astype(np.int64)
