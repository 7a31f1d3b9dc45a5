"""Reads small text files that a user or a stranger wrote: JSON objects, YAML settings, and names, one in each line.

What cannot be read raises InputError. YAML is read more strictly than YAML 1.1 asks: a slip would count silently.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from hf_alignet.errors import InputError

WHOLE_NUMBER = re.compile(r"[-+]?(0|[1-9][0-9_]*)")


def load_names(file: str) -> list[str]:
    """The lines of a text file, each the name of a stimulus."""
    return _read(Path(file).expanduser(), "the names").splitlines()


def load_json(file: Path, what: str) -> dict[str, Any]:
    """The object in a JSON file; `what` names it in messages, such as `the settings`."""
    text = _read(file, what)
    try:
        content = parse_json(text)
    except ValueError as error:
        raise InputError(f"cannot read {what} {file}: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"cannot read {what} {file}: it must hold a JSON object, and holds {type(content).__name__}")
    return content


def parse_json(text: str) -> Any:
    """The value that a JSON text describes.

    Raises a ValueError if it is no JSON, is nested too deeply to be read, or has a key twice in an object.
    """
    try:
        return json.loads(text, object_pairs_hook=_once)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, of which the last of two values of a key would count."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} comes more than once")
    return found


def load_yaml(file: Path, what: str) -> Any:
    """The content of a YAML file, None for an empty one; `what` names it in messages.

    Refused are keys that come twice, of which the last would win; numbers such as 010 and 1:30, which YAML 1.1 takes
    for 8 and 90; and aliases, by which a small file can grow beyond any memory.
    """
    text = _read(file, what)
    try:
        return yaml.load(text, _StrictLoader)  # noqa: S506  it is a SafeLoader
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise InputError(f"cannot read {what} {file}: {' '.join(str(error).split())}") from error


def refuse_twice(names: Sequence[str], source: str) -> None:
    """Raises an InputError if two columns of `source` have the same name."""
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{source} has several columns {twice!r}: give each its own name")


def _read(file: Path, what: str) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:  # also no text in UTF-8, or a path that no file can have
        raise InputError(f"cannot read {what} {file}: {error}") from error


class _StrictLoader(yaml.SafeLoader):
    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            place = self.peek_event().start_mark
            raise yaml.MarkedYAMLError(problem="an alias (*) is not read: write the value", problem_mark=place)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = next((key for key, _ in node.value if names.count(key.value) > 1), None)
        if twice is not None:
            raise yaml.MarkedYAMLError(
                problem=f"the key {twice.value!r} comes more than once", problem_mark=twice.start_mark
            )
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: Any) -> int:
        if not WHOLE_NUMBER.fullmatch(node.value):
            raise yaml.MarkedYAMLError(
                problem=f"{node.value!r} is not a decimal number: write it without a leading 0, or in quotes",
                problem_mark=node.start_mark,
            )
        return super().construct_yaml_int(node)


_StrictLoader.add_constructor("tag:yaml.org,2002:int", _StrictLoader.construct_yaml_int)
