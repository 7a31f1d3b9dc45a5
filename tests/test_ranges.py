"""Ranges of settings and row numbers: what is allowed, what is refused, and in which words."""

import inspect
import math
import re
from importlib import import_module
from typing import Annotated, Any, Literal

import numpy as np
import pytest

import hf_alignet
from hf_alignet.errors import InputError
from hf_alignet.ranges import Count, Positive, ProperShare, Range, Seed, Share, Whole, checked, row_numbers

HalfOpen = Annotated[float, Range(0, below=1)]


@checked
def work(
    count: Count = 1,
    whole: Whole | None = None,
    seed: Seed = 0,
    positive: Positive = 1.0,
    share: ProperShare = 0.5,
    half_open: HalfOpen = 0.0,
    kind: Literal["a", "b"] = "a",
    steps: Count | Literal[-1] = -1,
    number: float = 0.0,
    flag: bool = False,
    anything: str | np.ndarray = "",
    **more: Any,
) -> dict[str, Any]:
    """Gives what it got."""
    return dict(locals())


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("count", [1, np.int64(7), 2**63 - 1]),
        ("whole", [0, None, np.uint8(3)]),
        ("seed", [0, 2**32 - 1]),
        ("positive", [1, 1e-300, np.float32(0.5)]),
        ("share", [0.1, np.float64(0.9)]),
        ("half_open", [0, 0.999]),
        ("kind", ["a", np.str_("b")]),
        ("steps", [-1, 5]),
        ("number", [-3, 0.5]),
        ("flag", [True, np.bool_(True)]),
        ("anything", ["x", np.ones(3), 5]),
        ("unknown", [math.nan, -1]),
    ],
)
def test_what_is_allowed_comes_as_a_value_of_python(name, allowed):
    for value in allowed:
        found = work(**{name: value})
        found = found[name] if name in found else found["more"][name]
        assert found is value or (found == value and type(found) is type(value.item()))


@pytest.mark.parametrize(
    ("name", "rule", "refused"),
    [
        ("count", "an integer (at least 1)", [0, -3, 1.0, 1.5, "2", True, None, math.nan, 2**63, np.float64(2)]),
        ("whole", "an integer (at least 0)", [-1, 0.5, False]),
        ("seed", "an integer (at least 0 and at most 4294967295)", [-1, 2**32, 0.5]),
        ("positive", "a finite number (above 0)", [0, -1.0, math.inf, math.nan, "1", True, np.float32(-1), 10**400]),
        ("share", "a finite number (above 0 and below 1)", [0, 1.0, math.nan]),
        ("half_open", "a finite number (at least 0 and below 1)", [1, -0.1]),
        ("kind", "one of a, b", ["c", "", None, 0, np.array(["a"])]),
        ("steps", "an integer (at least 1), or -1", [0, -2, -1.0]),
        ("number", "a finite number", [math.inf, "x", None, 1j, np.ones(1)]),
        ("flag", "True or False", [0, 1, "no", None]),
    ],
)
def test_what_is_refused_is_named_with_its_range(name, rule, refused):
    for value in refused:
        plain = value.item() if isinstance(value, np.generic) else value
        with pytest.raises(InputError, match=re.escape(f"`{name}` must be {rule}, got {plain!r}")):
            work(**{name: value})


def test_positional_arguments_defaults_and_signature_stay():
    with pytest.raises(InputError, match="`count`"):
        work(0)
    with pytest.raises(TypeError, match="unexpected|multiple"):
        work(1, count=2)
    assert work()["steps"] == -1 and list(inspect.signature(work).parameters)[:2] == ["count", "whole"]


def test_row_numbers_are_integers_inside():
    found = row_numbers([[0, 1, 2]], 3, "the triplets")
    assert found.dtype == np.int64 and found.tolist() == [[0, 1, 2]]
    assert row_numbers(np.zeros((0, 3)), 3, "the triplets").shape == (0, 3)
    for rows, message in (
        ([0.0, 1.0], "must be row numbers, integers from 0, got float64"),
        (np.array([True, False, True]), "got bool: take np.flatnonzero of a mask"),
        (["0"], "integers from 0, got <U1"),
        ([0, -1], "name rows -1 to 0, but there are 3 images"),
        ([3], "name rows 3 to 3, but there are 3 images"),
        (np.array([2**64 - 1], np.uint64), "name rows 18446744073709551615"),
    ):
        with pytest.raises(InputError, match=re.escape(message)):
            row_numbers(rows, 3, "the triplets", "images")
    with pytest.raises(InputError, match="the last possible row is 2147483647"):
        row_numbers([2**31], None, "the triplets")


OFFERS = [
    "hf_alignet",
    *(f"hf_alignet.{room}" for room in ("judgments", "triplets", "teacher", "student", "evaluation", "analysis")),
]


def test_every_number_and_choice_that_the_package_offers_is_checked():
    """A function of the public API with numbers or choices that nobody checks would take any."""
    checks = set()
    for room in OFFERS:
        module = import_module(room)
        for name in hf_alignet.__all__ if room == "hf_alignet" else module.__all__:
            offered = getattr(module, name)
            if not inspect.isfunction(offered):
                continue
            for parameter in inspect.signature(offered).parameters.values():
                if parameter.name in ("seed", "batch_size", "num_workers", "similarity", "measure", "draws", "shots"):
                    checks.add((name, parameter.name))
                    value = "nosuch" if parameter.name in ("similarity", "measure") else -1
                    required = [p for p in inspect.signature(offered).parameters.values() if p.default is p.empty]
                    given = {p.name: {int: 3, Count: 3, Share: 0.2}.get(p.annotation) for p in required}
                    given = {name: value for name, value in given.items() if "options" not in name}
                    with pytest.raises(InputError, match=f"`{parameter.name}` must be"):
                        offered(**given | {parameter.name: value})
    assert len(checks) > 30
