"""Flags from functions: parameters become fields of a dataclass, with their types, defaults and documentation.

A parameter is described once, in the docstring of its function; `--help` shows the same sentence. What a command line
cannot give, such as a model in memory, is left out of a type: `str | Dataset` becomes text. A sequence of texts
becomes a list, a mapping is given as JSON, and `progress` becomes `--disable_tqdm`, as transformers calls it.
"""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, make_dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from hf_alignet.errors import InputError
from hf_alignet.ranges import parts_of
from hf_alignet.text_files import parse_json

ENTRY = re.compile(r"^    (\w+): (.*)$")


def flags_of(
    function: Callable[..., Any],
    leave_out: Sequence[str] = (),
    renamed: Mapping[str, str] | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> type:
    """A dataclass of the parameters of a function, or of the fields of another dataclass, for `HfArgumentParser`.

    Its instances have `values()`: what the function takes, by the names of its parameters.

    Args:
        function: with a docstring that describes each parameter under `Args` (a class: under `Attributes`).
        leave_out: parameters that are no flags.
        renamed: flags with other names, by parameter.
        defaults: of flags whose default is another one than the function's.

    Raises:
        ValueError: a parameter is not described, or has a type that no flag has.
    """
    names = {"progress": "disable_tqdm", **(renamed or {})}
    described, hints = _descriptions(function), get_type_hints(function)
    fields, mappings, required = [], set(), {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name in leave_out or parameter.kind is parameter.VAR_KEYWORD:
            continue
        if parameter.name not in described:
            raise ValueError(f"{function.__name__} does not describe its parameter {parameter.name}")
        kind = _flag_type(parameter.name, hints[parameter.name])
        default = (defaults or {}).get(parameter.name, parameter.default)
        description = described[parameter.name]
        if parameter.name == "progress":
            default, description = not default, "show no progress bars."
        if default is parameter.empty:  # the parser cannot know what a configuration gives
            default, required[parameter.name] = None, description
        if _is_mapping(hints[parameter.name]):
            mappings.add(parameter.name)
        fields.append((names.get(parameter.name, parameter.name), kind, _field(kind, default, description)))
    parameters = {flag: parameter for parameter, flag in names.items()}

    def values(self: Any) -> dict[str, Any]:
        """What the function takes.

        Raises:
            InputError: a flag is missing, or cannot be read.
        """
        found = {parameters.get(flag, flag): value for flag, value in vars(self).items()}
        for name, description in required.items():
            if found[name] is None:
                raise InputError(f"give `{name}`: {description}")
        if "progress" in found:
            found["progress"] = not found["progress"]
        return found | {name: _from_json(name, found[name]) for name in mappings}

    name = function.__name__.title().replace("_", "") + "Flags"
    made = make_dataclass(name, fields, namespace={"values": values, "renamed": dict(renamed or {})})
    made.__doc__ = f"The parameters of `{function.__name__}`, as flags."
    return made


def _descriptions(function: Callable[..., Any]) -> dict[str, str]:
    """The text about each parameter in a docstring."""
    found: dict[str, str] = {}
    name, is_inside = "", False
    for line in (inspect.getdoc(function) or "").splitlines():
        if line in ("Args:", "Attributes:"):
            is_inside = True
        elif line and not line.startswith(" "):
            is_inside = False
        elif is_inside and (entry := ENTRY.match(line)):
            name, found[entry[1]] = entry[1], entry[2]
        elif is_inside and line.strip():
            found[name] += f" {line.strip()}"
    return found


def _flag_type(name: str, hint: Any) -> Any:
    """The type of a flag for a parameter: the part of its type that can be typed."""
    parts = parts_of(hint)
    if any(get_origin(part) is Sequence and str in _texts(part) for part in parts):
        return list[str]
    choices = next((part for part in parts if get_origin(part) is Literal), None)
    simple = next((kind for kind in (str, bool, int, float) if kind in parts), None)
    kind = simple or choices or (str if _is_mapping(hint) else None)
    if kind is None:
        raise ValueError(f"the parameter {name} of type {hint} cannot be a flag")
    return kind | None if type(None) in parts else kind


def _texts(sequence: Any) -> tuple[Any, ...]:
    """The types of the items of a sequence."""
    (item,) = get_args(sequence)
    return get_args(item) or (item,)


def _is_mapping(hint: Any) -> bool:
    return str not in parts_of(hint) and any(get_origin(part) is Mapping for part in parts_of(hint))


def _field(kind: Any, default: Any, description: str) -> Any:
    metadata = {"help": (description[:1].upper() + description[1:]).replace("%", "%%")}
    if kind == list[str]:
        return field(default_factory=lambda: list(default or ()), metadata=metadata)
    return field(default=default, metadata=metadata)


def _from_json(name: str, text: str | None) -> dict[str, Any] | None:
    """A mapping from JSON; None for none, or an empty one."""
    try:
        mapping = parse_json(text) if text is not None else None
    except ValueError as error:
        raise InputError(f"`{name}` is no JSON: {error}: {text!r}") from error
    if not isinstance(mapping, dict | None):
        raise InputError(f"`{name}` must be a JSON object, got {text!r}")
    return mapping or None
