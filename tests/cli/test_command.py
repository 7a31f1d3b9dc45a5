import json
import re
import resource
import shlex
import signal
from dataclasses import dataclass, field

import pytest
import torch

from hf_alignet.cli.command import command, parse, run
from hf_alignet.errors import InputError


@dataclass
class Arguments:
    """Some settings."""

    rate: float = field(default=1.0, metadata={"help": "a number"})
    names: list[str] = field(default_factory=lambda: ["a"], metadata={"help": "some names"})
    fast: bool = field(default=False, metadata={"help": "a switch"})
    limit: int | None = field(default=None, metadata={"help": "an optional number"})

    def __post_init__(self):
        if self.rate < 0:
            raise InputError(f"--rate must be 0 or more, got {self.rate}")


def parsed(*argv, config=None, tmp_path=None, **options):
    if config is not None:
        (tmp_path / "config.yaml").write_text(config, encoding="latin-1")
        argv = ("--config", str(tmp_path / "config.yaml"), *argv)
    return parse([Arguments], "", list(argv), **options)[0]


def test_flags_win_over_the_file_and_the_file_over_defaults(tmp_path):
    config = "rate: 3e-5\nnames: [b, c]\nfast: true\nlimit: null\n"
    assert parsed(config=config, tmp_path=tmp_path) == Arguments(3e-5, ["b", "c"], True, None)
    assert parsed("--rate", "-0.0", "--names", "d", config=config, tmp_path=tmp_path) == Arguments(0.0, ["d"], True)
    assert parsed() == Arguments()


def test_default_configuration_depends_on_the_flags(tmp_path):
    (tmp_path / "default.yaml").write_text("limit: 7")
    default = lambda given: None if given.fast else tmp_path / "default.yaml"  # noqa: E731
    assert parsed(default_config=default).limit == 7
    assert parsed("--fast", default_config=default).limit is None


def test_default_configuration_lies_below_the_file(tmp_path):
    (tmp_path / "default.yaml").write_text("limit: 7\nrate: 2.0")
    default = lambda given: None if given.fast else tmp_path / "default.yaml"  # noqa: E731
    both = parsed(config="rate: 3.0", tmp_path=tmp_path, default_config=default)
    assert (both.limit, both.rate) == (7, 3.0)
    assert parsed(config="fast: true", tmp_path=tmp_path, default_config=default).limit is None


def test_mappings_are_settings_too(tmp_path):
    @dataclass
    class WithMapping:
        options: str = "{}"

    (tmp_path / "config.yaml").write_text("options: {cycles: 2, name: 'a b'}")
    options = parse([WithMapping], "", ["--config", str(tmp_path / "config.yaml")])[0].options
    assert json.loads(options) == {"cycles": 2, "name": "a b"}


@dataclass
class Sharing:
    """Settings that a card should not repeat, and one that it should."""

    data: str = field(default="user/data", metadata={"help": "a path or Hub id"})
    steady: bool = field(default=True, metadata={"help": "a switch that is on"})
    options: str = field(default="{}", metadata={"help": "a mapping"})
    push_to_hub: bool = field(default=False, metadata={"help": "share"})
    hub_token: str | None = field(default=None, metadata={"help": "a secret"})
    resume_from_checkpoint: str | None = field(default=None, metadata={"help": "go on"})
    output_dir: str = field(default="outputs", metadata={"help": "where to"})


def told(*argv, **options) -> str:
    return command("recipes/x.py", [Arguments, Sharing], [str(word) for word in argv], **options)


def test_command_tells_what_was_set_and_nothing_private(tmp_path):
    (tmp_path / "config.yaml").write_text(f"rate: 2\nfast: true\nlimit: 3\ndata: {tmp_path}/photos\n")
    private = ["--push_to_hub", "--hub_token", "hf_secret", "--output_dir", tmp_path / "out"]
    private += ["--resume_from_checkpoint", tmp_path / "checkpoint-3"]
    line = told("--config", tmp_path / "config.yaml", "--limit", "4", "--names", "b c", "d", *private)
    assert line == "python recipes/x.py --rate 2 --names 'b c' d --fast --limit 4 --data photos"
    assert told() == "python recipes/x.py"
    assert told("--rate", "1", "--steady", "false") == "python recipes/x.py --steady False"
    assert told("--options", '{"a": "/home/me/x", "b": 2}').endswith("""--options '{"a": "x", "b": 2}'""")
    assert told("--data", "user/other@v2.0").endswith("--data user/other@v2.0")
    assert told("--resume_from_checkpoint", "user/run") == "python recipes/x.py --resume_from_checkpoint user/run"
    assert told("--resume_from_checkpoint", "last") == "python recipes/x.py"


@pytest.mark.parametrize("path", ["/home/somebody/photos", "~/photos", "../somebody/photos", "a/b/photos", "./photos"])
def test_command_reduces_paths_that_are_not_there_yet(path):
    assert told("--data", path) == "python recipes/x.py --data photos"


def test_command_starts_from_the_default_configuration(tmp_path):
    (tmp_path / "default.yaml").write_text("limit: 7")
    default = {"default_config": lambda given: tmp_path / "default.yaml"}
    assert told(**default) == "python recipes/x.py"
    assert told("--limit", "8", **default) == "python recipes/x.py --limit 8"


def test_command_names_the_number_of_processes(monkeypatch):
    class Processes:
        process_index, num_processes = 0, 2

    assert told(launcher="accelerate launch") == "accelerate launch recipes/x.py"
    monkeypatch.setattr("hf_alignet.cli.command.PartialState", Processes)
    assert told(launcher="accelerate launch") == "accelerate launch --num_processes 2 recipes/x.py"


def test_command_does_the_same(tmp_path):
    (tmp_path / "config.yaml").write_text("rate: 2\nfast: true\nnames: [b, c]\nlimit: 3\n")
    argv = ["--config", str(tmp_path / "config.yaml"), "--limit", "4"]
    words = shlex.split(command("recipes/x.py", [Arguments], argv))
    assert parse([Arguments], "", words[2:]) == parse([Arguments], "", argv)


@pytest.mark.parametrize(
    ("argv", "config", "message"),
    [
        (["--rat", "2"], None, "unknown flags: --rat 2"),
        (["--rate", "fast"], None, "invalid float value: 'fast'"),
        (["--config", "nowhere.yaml"], None, "cannot read the configuration nowhere.yaml"),
        ([], "rat: 2", "unknown keys in .*config.yaml: rat"),
        ([], "rate: fast", "invalid float value: 'fast'"),
        ([], "- rate", "must be a mapping"),
        ([], "rate: [", "cannot read the configuration"),
        ([], "rate: ä", "cannot read the configuration"),
    ],
)
def test_mistakes_exit_with_status_2(argv, config, message, capsys, tmp_path):
    with pytest.raises(SystemExit, match="2"):
        parsed(*argv, config=config, tmp_path=tmp_path)
    assert re.search(message, capsys.readouterr().err)


def test_help_keeps_the_lines_of_commands_and_says_no_empty_default(capsys):
    with pytest.raises(SystemExit, match="0"):
        parse([Sharing], "What it does:\n\n    python a.py\n    python b.py", ["--help"])
    text = capsys.readouterr().out
    assert "    python a.py\n    python b.py\n" in text and "(default: None)" not in text
    assert "(default: user/data)" in text and "--help tells them all" in text.splitlines()[0]


def test_refused_value_is_one_line(capsys):
    with pytest.raises(SystemExit, match="2"):
        run(lambda: parsed("--rate", "-2"))
    assert capsys.readouterr().err == "\nerror: --rate must be 0 or more, got -2.0\n"


def test_wrong_input_is_one_line(capsys):
    def main():
        raise InputError("row 7 is bad")

    with pytest.raises(SystemExit, match="2"):
        run(main)
    assert capsys.readouterr().err == "\nerror: row 7 is bad\n"


def test_worker_and_other_processes_are_heard(capsys, monkeypatch):
    class Second:
        process_index, num_processes = 1, 2

    monkeypatch.setattr("hf_alignet.cli.command.PartialState", Second)
    dataset = [0, 1, 2]
    loader = torch.utils.data.DataLoader(dataset, collate_fn=_refuse, num_workers=1)
    with pytest.raises(SystemExit, match="2"):
        run(lambda: list(loader))
    assert capsys.readouterr().err == "\nerror (process 1): row 0 is bad\n"


def _refuse(rows):
    raise InputError(f"row {rows[0]} is bad")


def test_full_disk_is_one_line(capsys, tmp_path):
    def main():
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
        (tmp_path / "README.md").write_text("more than ten bytes")

    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with pytest.raises(SystemExit, match="1"):
            run(main)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert capsys.readouterr().err.startswith("\nerror: cannot write, since the disk (or your share of it) is full: ")


def test_other_errors_keep_their_traceback():
    with pytest.raises(ZeroDivisionError):
        run(lambda: 1 / 0)
    with pytest.raises(FileNotFoundError):
        run(lambda: open("nowhere"))
