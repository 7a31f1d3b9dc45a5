import json
import re
import resource
import signal
from dataclasses import dataclass, field

import pytest
import torch

from hf_alignet.cli import parse, run
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
        (tmp_path / "config.yaml").write_text(config)
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
    ],
)
def test_mistakes_exit_with_status_2(argv, config, message, capsys, tmp_path):
    with pytest.raises(SystemExit, match="2"):
        parsed(*argv, config=config, tmp_path=tmp_path)
    assert re.search(message, capsys.readouterr().err)


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

    monkeypatch.setattr("hf_alignet.cli.PartialState", Second)
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
