"""Command lines of the recipes: dataclasses as flags, a YAML file as their defaults, and errors without tracebacks."""

import argparse
import json
import logging
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml
from accelerate import PartialState
from transformers import HfArgumentParser

from hf_alignet.errors import DISK_FULL, InputError, RunError
from hf_alignet.sources import hub_id, public_name

DefaultConfig = Callable[[Any], Path | None]
# About where it goes, not about what is made; one of them is a token.
NOT_TOLD = (
    *("config", "output_dir", "disable_tqdm"),
    *("hub_", "push_to_hub", "i_have_the_right"),  # beginnings of names
)

USAGE = "%(prog)s [--config settings.yaml] [flags]; --help tells them all"


def parse(
    dataclasses: Sequence[Any],
    description: str,
    argv: list[str] | None = None,
    default_config: DefaultConfig = lambda flags: None,
    usage: str = USAGE,
) -> tuple[Any, ...]:
    """One instance of each dataclass, from flags over `--config file.yaml` over the defaults of the fields.

    YAML entries go through the same parser as flags, so that types and choices are checked, and a key that is no flag
    is an error; those errors print the usage and exit with status 2.

    Args:
        dataclasses: their fields become flags.
        description: for `--help`.
        argv: the arguments, by default those of the process.
        default_config: given the parsed flags, a YAML file of defaults that hold where those do not say otherwise.
        usage: the line above the message of an error.

    Raises:
        InputError: a dataclass refuses its values.
    """
    parser = _parser(dataclasses, description, usage)
    defaults, given = _flags(parser, argv, default_config)
    try:
        *parsed, _, unknown = parser.parse_args_into_dataclasses(
            [*defaults, *given], return_remaining_strings=True, look_for_args_file=False
        )
    except ValueError as error:  # a dataclass refuses its values
        raise InputError(str(error)) from error
    if unknown:
        parser.error(f"unknown flags: {' '.join(unknown)}")
    return tuple(parsed)


def command(
    script: str,
    dataclasses: Sequence[Any],
    argv: list[str] | None = None,
    default_config: DefaultConfig = lambda flags: None,
    launcher: str = "python",
) -> str:
    """The command that a recipe was started with, for a card: settings that differ from those without any flag.

    Entries of a YAML file become flags, and local paths are reduced to a name. Left out are tokens, and what is only
    about where the result goes.

    Args:
        script: the recipe, such as `recipes/align.py`.
        dataclasses: as for `parse`.
        argv: as for `parse`.
        default_config: as for `parse`.
        launcher: `python`, or `accelerate launch`, which is told the number of processes where there are several.
    """
    parser = _parser(dataclasses, "", USAGE)
    defaults, given = _flags(parser, argv, default_config)
    before, after = (vars(parser.parse_known_args(flags)[0]) for flags in (defaults, [*defaults, *given]))
    words = [*launcher.split(), script]
    if launcher == "accelerate launch" and (processes := PartialState().num_processes) > 1:
        words[2:2] = ["--num_processes", str(processes)]
    for name, value in after.items():
        is_local = name == "resume_from_checkpoint" and hub_id(public_name(str(value))) is None
        if value != before[name] and not name.startswith(NOT_TOLD) and not is_local:
            values = [] if value is True else value if isinstance(value, list) else [value]
            words += [f"--{name}", *map(_word, values)]
    return shlex.join(words)


def run(main: Callable[[], None]) -> None:
    """Calls a recipe's `main`; wrong input prints one line and exits with status 2, a run that cannot go on, as on a
    full disk, with 1.

    Every process speaks for itself: a picture that cannot be decoded may have been read by one of them alone.
    """
    for library in ("httpx", "httpx2"):  # of which huggingface_hub takes the one or the other
        logging.getLogger(library).setLevel(logging.WARNING)  # else every request would be told
    try:
        main()
    except (InputError, RunError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in DISK_FULL:
            raise
        state = PartialState()
        process = f" (process {state.process_index})" if state.num_processes > 1 else ""
        # A worker's error arrives with the worker's traceback, whose last line it is
        message = str(error).strip().rpartition(f"{InputError.__module__}.{InputError.__name__}: ")[2]
        if isinstance(error, OSError):
            message = f"cannot write, since the disk (or your share of it) is full: {message}"
        print(f"\nerror{process}: {message}", file=sys.stderr)  # below a progress bar, not behind it
        sys.exit(2 if isinstance(error, InputError) else 1)


class _HelpFormatter(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """Commands in the description keep their lines, and a default that says nothing is not shown."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, []) else super()._get_help_string(action)


def _parser(dataclasses: Sequence[Any], description: str, usage: str) -> HfArgumentParser:
    parser = HfArgumentParser(
        dataclasses, description=description, usage=usage, allow_abbrev=False, formatter_class=_HelpFormatter
    )
    parser.add_argument("--config", help="YAML file with any of these settings; flags given beside it win")
    return parser


def _flags(
    parser: HfArgumentParser, argv: list[str] | None, default_config: DefaultConfig
) -> tuple[list[str], list[str]]:
    """The flags that hold without being given, and those given: in a YAML file, then, as the later ones win, here."""
    argv = sys.argv[1:] if argv is None else argv
    config = parser.parse_known_args(argv)[0].config
    given = [*(_as_flags(parser, Path(config)) if config is not None else []), *argv]
    default = default_config(parser.parse_known_args(given)[0])
    return (_as_flags(parser, default) if default is not None else []), given


def _word(value: Any) -> str:
    """A value as it is typed, without what is of this machine."""
    text = str(value)
    if isinstance(value, float):
        return text.removesuffix(".0")
    if not text.startswith("{"):
        return public_name(text)
    settings = json.loads(text)
    return json.dumps({key: public_name(v) if isinstance(v, str) else v for key, v in settings.items()})


def _as_flags(parser: HfArgumentParser, file: Path) -> list[str]:
    try:
        settings = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        parser.error(f"cannot read the configuration {file}: {error}")
    if not isinstance(settings, dict):
        parser.error(f"the configuration {file} must be a mapping of flag names to values")
    known = {action.dest for action in parser._actions} - {"help", "config"}
    unknown = [str(key) for key in settings if key not in known]
    if unknown:
        parser.error(f"unknown keys in {file}: {', '.join(unknown)}")
    flags: list[str] = []
    for key, value in settings.items():
        if isinstance(value, list):
            flags += [f"--{key}", *map(str, value)]
        elif isinstance(value, dict):
            flags.append(f"--{key}={json.dumps(value)}")
        elif value is not None:
            flags.append(f"--{key}={value}")
    return flags
