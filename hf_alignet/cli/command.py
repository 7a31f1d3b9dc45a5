"""Commands: dataclasses as flags, a YAML file as their defaults, and errors without tracebacks.

Functions of the package name their parameters in their messages, `anchor_weight` or `merge_lora=True`. A command shows
them as the flags that set these parameters, --anchor_weight and --merge_lora.
"""

import argparse
import json
import logging
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

from transformers import HfArgumentParser

from hf_alignet.cli.failures import told_in_one_line
from hf_alignet.cli.launch import launch, launch_file
from hf_alignet.errors import InputError, RunError
from hf_alignet.processes import this_process
from hf_alignet.sources import hub_id, packaged, packaged_or_path, public_name
from hf_alignet.text_files import load_yaml, parse_json

# Settings that say where a result goes, not what is made; one of them is a token. Some are beginnings of names.
NOT_SHOWN = (
    *("config", "accelerate_config", "output_dir", "disable_tqdm", "dry_run", "private", "source"),
    *("hub_", "push_to_hub", "i_have_the_right"),
)
PARAMETER = re.compile(r"`([a-z_0-9]+)(?:=([^`]*))?`")
CONFIG_HELP = "YAML file with any of these settings, or the name of a packaged one, such as %s. Flags win over it."
INHERITED = "Trainer settings of transformers"
LAUNCH_HELP = (
    "Launch configuration of accelerate: a file, or the name of a packaged one (cpu, cpu_2_processes, gpu, "
    "multi_gpu). Default: the one that `accelerate config` wrote, if it asks for several processes."
)


@dataclass(frozen=True)
class Command:
    """One command of `hf-alignet`.

    Attributes:
        name: as it is typed after `hf-alignet`.
        dataclasses: their fields become flags.
        description: for `--help`.
        default_config: given the parsed flags, a YAML file of defaults, which the user's file and flags override.
        words: names of the flags that the first words of the command set, such as `path` in `publish model path`.
        launches: whether several processes can share the work, as accelerate starts them.
        when_interrupted: what a user does to go on after Ctrl-C.
    """

    name: str
    dataclasses: Sequence[Any]
    description: str
    default_config: Callable[[Any], Path | None] = lambda flags: None
    words: Sequence[str] = field(default=())
    launches: bool = False
    when_interrupted: str = "the same command goes on where it stopped"

    def run(self, body: Callable[..., None], argv: Sequence[str] | None = None) -> None:
        """Parses flags and calls `body` with one instance of each dataclass, and the command as others can repeat it.

        After an error that a user can cause it ends the process; see `told_in_one_line`.

        Args:
            body: the work.
            argv: the arguments, by default those of the process.
        """
        argv = list(sys.argv[1:] if argv is None else argv)
        for library in ("httpx", "httpx2"):  # huggingface_hub uses one of them, and each logs every request
            logging.getLogger(library).setLevel(logging.WARNING)
        with told_in_one_line(self.when_interrupted):
            file = launch_file(argv) if self.launches else None
            if file is not None:
                launch(file, self._module, argv)
                return
            self.call(body, argv)

    def call(self, body: Callable[..., None], argv: Sequence[str]) -> None:
        """As `run`, but errors stay exceptions; their messages name flags.

        Raises:
            InputError: something that the user gave cannot be used.
            RunError: the run cannot go on.
        """
        try:
            body(*self.parse(argv), self.line(argv))
        except (InputError, RunError) as error:
            raise type(error)(self._with_flags(str(error))) from error

    def parse(self, argv: Sequence[str]) -> tuple[Any, ...]:
        """One instance of each dataclass: flags win over `--config file.yaml`, and the file over the defaults.

        Entries of the file go through the same parser as flags, so types and choices are checked. A key that is no
        flag is an error. Such errors print the usage and exit with status 2.

        Raises:
            InputError: a dataclass refuses its values.
        """
        parser = self._parser()
        defaults, given = self._flags(parser, argv)
        try:
            *parsed, _, unknown = parser.parse_args_into_dataclasses(
                [*defaults, *given], return_remaining_strings=True, look_for_args_file=False
            )
        except ValueError as error:  # a dataclass refuses its values
            raise InputError(str(error)) from error
        if unknown:
            parser.error(f"unknown flags: {' '.join(unknown)}")
        return tuple(parsed)

    def line(self, argv: Sequence[str]) -> str:
        """The command as others can repeat it, for a card: the settings that differ from those without any flag.

        Entries of a YAML file become flags, and of a local path only the last part stays. Tokens, and settings that
        only say where the result goes, are left out.
        """
        parser = self._parser()
        defaults, given = self._flags(parser, argv)
        before, after = (vars(parser.parse_known_args(flags)[0]) for flags in (defaults, [*defaults, *given]))
        # Without the argument it would not see other processes on a CPU
        processes = this_process().num_processes if self.launches else 1
        line = ["hf-alignet", *self.name.split()]
        if processes > 1:
            line = ["accelerate", "launch", "--num_processes", str(processes), "-m", self._module]
        line += [_word(after[name]) for name in self.words]
        for name, value in after.items():
            is_local = name == "resume_from_checkpoint" and hub_id(public_name(str(value))) is None
            if value == before[name] or name.startswith(NOT_SHOWN) or name in self.words or is_local:
                continue
            values = [] if value is True else value if isinstance(value, list) else [value]
            line += [f"--{name}", *map(_word, values)]
        return shlex.join(line)

    def _with_flags(self, message: str) -> str:
        """A message in which parameters are named as the flags of this command."""
        flags = {action.dest for action in self._parser()._actions}
        renamed = {param: flag for kind in self.dataclasses for param, flag in getattr(kind, "renamed", {}).items()}

        def flag(match: re.Match[str]) -> str:
            name, value = renamed.get(match[1], match[1]), (match[2] or "").strip("\"'")
            return match[0] if name not in flags else f"--{name}" + (f" {value}" if value not in ("", "True") else "")

        return PARAMETER.sub(flag, message)

    @property
    def _module(self) -> str:
        return f"hf_alignet.cli.{self.name.replace('-', '_')}"

    def _parser(self) -> HfArgumentParser:
        words = "".join(f"{name.upper()} " for name in self.words)
        parser = HfArgumentParser(
            self.dataclasses,
            prog=f"hf-alignet {self.name}",
            description=self.description,
            usage=f"%(prog)s {words}[--config settings.yaml] [flags]; --help explains them all",
            allow_abbrev=False,
            formatter_class=_HelpFormatter,
        )
        parser.add_argument("--config", help=CONFIG_HELP % ", ".join(sorted(f.stem for f in packaged("configs"))))
        if self.launches:
            parser.add_argument("--accelerate_config", help=LAUNCH_HELP)
        for kind in self.dataclasses:
            _order_help(parser, kind)
        return parser

    def _flags(self, parser: HfArgumentParser, argv: Sequence[str]) -> tuple[list[str], list[str]]:
        """Flags that hold without being given, and flags that are given: first those of a YAML file, as later win."""
        argv = self._with_named_words(list(argv))
        finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)  # the file may set what is required
        finder.add_argument("--config")
        config = finder.parse_known_args(argv)[0].config
        given = [*(_read_flags(parser, packaged_or_path("configs", config)) if config is not None else []), *argv]
        default = self.default_config(parser.parse_known_args(given)[0])
        return (_read_flags(parser, default) if default is not None else []), given

    def _with_named_words(self, argv: list[str]) -> list[str]:
        """The first words of the command as flags, so that a configuration can hold them too."""
        number = next((i for i, word in enumerate(argv) if word.startswith("-")), len(argv))
        if number > len(self.words):
            raise InputError(f"the command has one word too many: {argv[len(self.words)]!r}; see --help")
        named = [f"--{name}={word}" for name, word in zip(self.words, argv[:number], strict=False)]
        return [*named, *argv[number:]]


def _order_help(parser: HfArgumentParser, kind: Any) -> None:
    """Moves the flags that a dataclass inherits to a section after its own, and hides its `hidden` ones."""
    inherited = {field.name for base in kind.__mro__[1:] if is_dataclass(base) for field in fields(base)}
    inherited -= kind.__annotations__.keys()
    section: Any = parser.add_argument_group(INHERITED) if inherited else None
    for action in list(parser._actions):
        if action.dest in getattr(kind, "hidden", ()):
            action.help = argparse.SUPPRESS
        elif action.dest in inherited:
            parser._optionals._group_actions.remove(action)  # argparse cannot move a flag otherwise
            section._group_actions.append(action)


class _HelpFormatter(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """Commands in the description keep their lines, and an empty default is not shown."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, []) else super()._get_help_string(action)


def _word(value: Any) -> str:
    """A value as it is typed, without anything of this machine."""
    text = str(value)
    if isinstance(value, float):
        return text.removesuffix(".0")
    try:
        settings = parse_json(text) if text.startswith("{") else None
    except ValueError:  # the work itself refuses it
        settings = None
    if settings is None:
        return public_name(text)
    return json.dumps({key: public_name(v) if isinstance(v, str) else v for key, v in settings.items()})


def _read_flags(parser: HfArgumentParser, file: Path) -> list[str]:
    try:
        settings = load_yaml(file, "the configuration") or {}
    except InputError as error:
        parser.error(f"--config: {error}")
    if not isinstance(settings, dict):
        parser.error(f"--config: the configuration {file} must be a mapping of flag names to values")
    known = {action.dest for action in parser._actions} - {"help", "config", "accelerate_config"}
    unknown = [str(key) for key in settings if key not in known]
    if unknown:
        parser.error(f"--config: unknown keys in {file}: {', '.join(unknown)}")
    flags: list[str] = []
    for key, value in settings.items():
        if isinstance(value, list):
            flags += [f"--{key}", *map(str, value)]
        elif isinstance(value, dict):
            flags.append(f"--{key}={json.dumps(value)}")
        elif value is not None:
            flags.append(f"--{key}={value}")
    return flags
