import json
import re
import shlex
from dataclasses import dataclass, field
from typing import ClassVar

import pytest

from hf_alignet.cli.command import Command
from hf_alignet.errors import InputError, RunError


@dataclass
class Arguments:
    """Some settings."""

    rate: float = field(default=1.0, metadata={"help": "a number"})
    names: list[str] = field(default_factory=lambda: ["a"], metadata={"help": "some names"})
    fast: bool = field(default=False, metadata={"help": "a switch"})
    limit: int | None = field(default=None, metadata={"help": "an optional number"})

    def __post_init__(self):
        if self.rate < 0:
            raise InputError(f"`rate` must be 0 or more, got {self.rate}")


COMMAND = Command("align", [Arguments], "")


def parsed(*argv, config=None, tmp_path=None, **options):
    if config is not None:
        (tmp_path / "config.yaml").write_text(config, encoding="latin-1")
        argv = ("--config", str(tmp_path / "config.yaml"), *argv)
    return Command("align", [Arguments], "", **options).parse(list(argv))[0]


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
    options = Command("align", [WithMapping], "").parse(["--config", str(tmp_path / "config.yaml")])[0].options
    assert json.loads(options) == {"cycles": 2, "name": "a b"}


@dataclass
class Base:
    """As the arguments of another library."""

    depth: int = field(default=3, metadata={"help": "inherited"})
    width: int = field(default=4, metadata={"help": "inherited, with another default"})
    odd: bool = field(default=True, metadata={"help": "inherited, does nothing"})


@dataclass
class Derived(Base):
    hidden: ClassVar[tuple[str, ...]] = ("odd",)

    width: int = field(default=5, metadata={"help": "ours"})
    height: int = field(default=6, metadata={"help": "ours"})


def test_help_shows_own_flags_first_and_nothing_hidden(capsys):
    command = Command("align", [Arguments, Derived], "")
    with pytest.raises(SystemExit):
        command.parse(["--help"])
    own, inherited = capsys.readouterr().out.split("Trainer settings of transformers:\n")
    assert all(f"--{name} " in own for name in ("rate", "fast", "width", "height", "config"))
    assert "--depth" in inherited and "--depth" not in own and "--width" not in inherited
    assert "odd" not in own + inherited
    assert command.parse(["--odd", "false", "--depth", "2"])[1] == Derived(depth=2, odd=False)


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
    return Command("evaluate", [Arguments, Sharing], "", **options).line([str(word) for word in argv])


def test_command_tells_what_was_set_and_nothing_private(tmp_path):
    (tmp_path / "config.yaml").write_text(f"rate: 2\nfast: true\nlimit: 3\ndata: {tmp_path}/photos\n")
    private = ["--push_to_hub", "--hub_token", "hf_secret", "--output_dir", tmp_path / "out"]
    private += ["--resume_from_checkpoint", tmp_path / "checkpoint-3"]
    line = told("--config", tmp_path / "config.yaml", "--limit", "4", "--names", "b c", "d", *private)
    assert line == "hf-alignet evaluate --rate 2 --names 'b c' d --fast --limit 4 --data photos"
    assert told() == "hf-alignet evaluate"
    assert told("--rate", "1", "--steady", "false") == "hf-alignet evaluate --steady False"
    assert told("--options", '{"a": "/home/me/x", "b": 2}').endswith("""--options '{"a": "x", "b": 2}'""")
    assert told("--data", "user/other@v2.0").endswith("--data user/other@v2.0")
    assert told("--resume_from_checkpoint", "user/run") == "hf-alignet evaluate --resume_from_checkpoint user/run"
    assert told("--resume_from_checkpoint", "last") == "hf-alignet evaluate"


@pytest.mark.parametrize("path", ["/home/somebody/photos", "~/photos", "../somebody/photos", "a/b/photos", "./photos"])
def test_command_reduces_paths_that_are_not_there_yet(path):
    assert told("--data", path) == "hf-alignet evaluate --data photos"


def test_command_starts_from_the_default_configuration(tmp_path):
    (tmp_path / "default.yaml").write_text("limit: 7")
    default = {"default_config": lambda given: tmp_path / "default.yaml"}
    assert told(**default) == "hf-alignet evaluate"
    assert told("--limit", "8", **default) == "hf-alignet evaluate --limit 8"


def test_command_names_the_number_of_processes(monkeypatch):
    class Processes:
        process_index, num_processes = 0, 2

        def __init__(self, **settings):
            pass

    assert told(launches=True) == "hf-alignet evaluate"
    monkeypatch.setattr("hf_alignet.cli.command.this_process", Processes)
    assert told(launches=True) == "accelerate launch --num_processes 2 -m hf_alignet.cli.evaluate"


def test_command_does_the_same(tmp_path):
    (tmp_path / "config.yaml").write_text("rate: 2\nfast: true\nnames: [b, c]\nlimit: 3\n")
    argv = ["--config", str(tmp_path / "config.yaml"), "--limit", "4"]
    command = Command("align", [Arguments], "")
    assert command.parse(shlex.split(command.line(argv))[2:]) == command.parse(argv)


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
        Command("align", [Sharing], "What it does:\n\n    python a.py\n    python b.py").parse(["--help"])
    text = capsys.readouterr().out
    assert "    python a.py\n    python b.py\n" in text and "(default: None)" not in text
    assert "(default: user/data)" in text and "--help explains them all" in text.splitlines()[0]


def test_refused_value_is_one_line(capsys):
    with pytest.raises(SystemExit, match="2"):
        Command("align", [Arguments], "").run(lambda *_: None, ["--rate", "-2"])
    assert capsys.readouterr().err == "\nerror: --rate must be 0 or more, got -2.0\n"


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("`rate` must be 0 or more", "--rate must be 0 or more"),
        ('add `fast=True`, or `names="a"`', "add --fast, or --names a"),
        ("use `limit=3`", "use --limit 3"),
        ("`other` and `odd=1` are no flags", "`other` and `odd=1` are no flags"),
        ("run `hf auth login`", "run `hf auth login`"),
    ],
)
def test_parameters_in_messages_become_flags(message, shown):
    def body(*_):
        raise RunError(message)

    with pytest.raises(RunError, match=f"^{re.escape(shown)}$"):
        COMMAND.call(body, [])


def test_first_words_of_a_command_are_settings():
    command = Command("publish", [Sharing], "", words=("data", "options"))
    assert command.parse(["user/x", "{}"])[0].data == "user/x"
    assert command.line(["user/x", "--steady", "false"]) == "hf-alignet publish user/x '{}' --steady False"
    with pytest.raises(InputError, match="one word too many: 'c'"):
        command.parse(["a", "b", "c"])


def test_a_packaged_configuration_is_found_by_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parser = Command("align", [Arguments], "")
    with pytest.raises(SystemExit):  # demo.yaml is of other settings, so it is found
        parser.parse(["--config", "demo"])
    (tmp_path / "demo").write_text("rate: 7")
    assert parser.parse(["--config", "demo"])[0].rate == 7


@pytest.mark.parametrize(
    ("argv", "default", "environment", "expected"),
    [
        ([], None, {}, None),
        ([], "num_processes: 1", {}, None),
        ([], "num_processes: 2", {}, "default_config.yaml"),
        ([], "num_processes: 2", {"LOCAL_RANK": "0"}, None),
        ([], "num_processes: 2", {"ACCELERATE_MIXED_PRECISION": "no"}, None),
        (["--accelerate_config", "cpu"], None, {}, "cpu.yaml"),
        (["--accelerate_config=cpu_2_processes"], None, {}, "cpu_2_processes.yaml"),
        (["--accelerate_config", "cpu"], None, {"LOCAL_RANK": "1"}, None),
    ],
)
def test_a_command_starts_itself_again_where_a_launch_configuration_asks_for_it(
    argv, default, environment, expected, tmp_path, monkeypatch
):
    for name in ("LOCAL_RANK", "ACCELERATE_MIXED_PRECISION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("hf_alignet.cli.launch.default_config_file", str(tmp_path / "default_config.yaml"))
    if default is not None:
        (tmp_path / "default_config.yaml").write_text(default)
    started = []
    monkeypatch.setattr("hf_alignet.cli.command.launch", lambda file, *rest: started.append((file.name, *rest)))
    worked = []
    Command("align", [Arguments], "", launches=True).run(lambda *_: worked.append(1), argv)
    assert started == ([(expected, "hf_alignet.cli.align", argv)] if expected else [])
    assert len(worked) == (expected is None)


def test_a_launch_configuration_that_cannot_be_read_is_one_line(capsys):
    with pytest.raises(SystemExit, match="2"):
        Command("align", [Arguments], "", launches=True).run(lambda *_: None, ["--accelerate_config", "nowhere.yaml"])
    assert "cannot read the launch configuration nowhere.yaml" in capsys.readouterr().err
