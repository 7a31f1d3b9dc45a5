"""Starts a command again in several processes, where a launch configuration of accelerate asks for them."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from accelerate.commands.config.config_args import default_config_file
from accelerate.commands.launch import launch_command, launch_command_parser
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from hf_alignet.cli.failures import BY_COMMAND, INTERRUPTED, UNDER_ACCELERATE
from hf_alignet.errors import InputError
from hf_alignet.sources import packaged_or_path
from hf_alignet.text_files import load_yaml

FLAG = "--accelerate_config"
LAUNCHED = ("LOCAL_RANK", UNDER_ACCELERATE)  # set in processes that torchrun or accelerate started


def launch_file(argv: Sequence[str]) -> Path | None:
    """The launch configuration by which this command must start again; None if this process does the work itself.

    Args:
        argv: the arguments. `--accelerate_config` names a file or a packaged configuration; without it the file that
            `accelerate config` wrote counts.

    Raises:
        InputError: the configuration cannot be read.
    """
    if any(name in os.environ for name in LAUNCHED):
        return None
    given = _value(argv)
    file = packaged_or_path("accelerate", given) if given is not None else Path(default_config_file)
    if given is None and not file.is_file():
        return None
    try:
        processes = int(load_yaml(file, "the launch configuration").get("num_processes") or 1)
    except InputError as error:
        raise InputError(f"{FLAG}: {error}") from error
    except (AttributeError, ValueError, TypeError) as error:
        raise InputError(f"{FLAG}: cannot read the launch configuration {file}: {error}") from error
    return file if given is not None or processes > 1 else None


def launch(file: Path, module: str, argv: Sequence[str]) -> None:
    """Runs a module of the package in the processes of a launch configuration, and ends with their exit status."""
    parser = launch_command_parser()
    os.environ[BY_COMMAND] = "1"
    try:
        launch_command(parser.parse_args(["--config_file", str(file), "--module", module, *argv]))
    except subprocess.CalledProcessError as error:  # the process has said why
        sys.exit(error.returncode)
    except ChildFailedError as error:
        sys.exit(error.get_first_failure()[1].exitcode)
    except SignalException as error:
        sys.exit(128 + error.sigval)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _value(argv: Sequence[str]) -> str | None:
    """What follows the flag."""
    for position, word in enumerate(argv):
        if word == FLAG and position + 1 < len(argv):
            return argv[position + 1]
        if word.startswith(f"{FLAG}="):
            return word.partition("=")[2]
    return None
