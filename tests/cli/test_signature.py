"""Flags that come from the signature and the docstring of a function."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pytest

from hf_alignet.cli.arguments.signature import flags_of
from hf_alignet.cli.command import Command
from hf_alignet.errors import InputError


def work(
    images: str | np.ndarray,
    names: str | Sequence[str] = (),
    rate: float | None = None,
    kind: Literal["a", "b"] = "a",
    options: Mapping[str, Any] | None = None,
    secret: int = 3,
    progress: bool = True,
    **more: Any,
) -> None:
    """Works.

    Args:
        images: what it works on,
            in two lines.
        names: one or several.
        rate: in (0, 100 %).
        kind: `a` or `b`.
        options: of something else.
        secret: is no flag.
        progress: show bars.
        **more: is no flag either.

    Returns:
        Nothing.
    """


FLAGS = flags_of(work, ["secret"], renamed={"names": "object_names"}, defaults={"rate": 0.5})
COMMAND = Command("work", [FLAGS], "")


def parsed(*argv: str) -> dict[str, Any]:
    return COMMAND.parse(argv)[0].values()


def test_values_are_what_the_function_takes():
    defaults = {"images": "x", "names": [], "rate": 0.5, "kind": "a", "options": None, "progress": True}
    assert parsed("--images", "x") == defaults
    given = ["--object_names", "p", "q", "--rate", "2", "--kind", "b", "--options", '{"k": [1]}', "--disable_tqdm"]
    expected = {"names": ["p", "q"], "rate": 2.0, "kind": "b", "options": {"k": [1]}, "progress": False}
    assert parsed("--images", "x", *given) == defaults | expected


def test_help_is_the_docstring(capsys):
    with pytest.raises(SystemExit, match="0"):
        COMMAND.parse(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "What it works on, in two lines." in text and "In (0, 100 %). (default: 0.5)" in text
    assert "Show no progress bars." in text and "secret" not in text and "more" not in text


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "give --images: what it works on, in two lines."),
        (["--images", "x", "--options", "{"], "--options is no JSON"),
        (["--images", "x", "--options", "[" * 9999], "--options is no JSON: it is nested too deeply"),
        (["--images", "x", "--options", "3"], "--options must be a JSON object, got '3'"),
    ],
)
def test_what_is_missing_or_wrong_is_named_as_a_flag(argv, message):
    with pytest.raises(InputError, match=re.escape(message)):
        COMMAND.call(lambda flags, line: work(**flags.values()), argv)


def test_messages_name_renamed_parameters_as_their_flags():
    def body(flags, line):
        raise InputError("`names` are too few")

    with pytest.raises(InputError, match="^--object_names are too few$"):
        COMMAND.call(body, [])


def test_every_parameter_needs_a_description_and_a_type_that_can_be_typed():
    def silent(x: int) -> None:
        """Args:
        y: something else.
        """

    def odd(x: np.ndarray) -> None:
        """Works.

        Args:
            x: cannot be typed.
        """

    with pytest.raises(ValueError, match="does not describe its parameter x"):
        flags_of(silent)
    with pytest.raises(ValueError, match="the parameter x of type .* cannot be a flag"):
        flags_of(odd)
