import gc
import resource
import signal
import subprocess

import pyarrow as pa
import pytest
import torch
from datasets.exceptions import DatasetGenerationError
from safetensors.torch import load_file

from hf_alignet.cli.command import Command
from hf_alignet.cli.launch import launch
from hf_alignet.cli.main import main
from hf_alignet.errors import InputError, RunError

COMMAND = Command("align", [], "", when_interrupted="do it again")


def said(body, capsys):
    """The exit status of a command, and what it says."""
    with pytest.raises(SystemExit) as ended:
        COMMAND.run(body, [])
    return ended.value.code, capsys.readouterr().err


@pytest.fixture(autouse=True)
def no_launch(monkeypatch):
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION", raising=False)


def test_wrong_input_is_one_line(capsys):
    def main(*_):
        raise InputError("row 7 is bad")

    with pytest.raises(SystemExit, match="2"):
        COMMAND.run(main, [])
    assert capsys.readouterr().err == "\nerror: row 7 is bad\n"


def test_worker_and_other_processes_are_heard(capsys, monkeypatch):
    class Second:
        process_index, num_processes = 1, 2

    monkeypatch.setattr("hf_alignet.cli.failures.PartialState", Second)
    dataset = [0, 1, 2]
    loader = torch.utils.data.DataLoader(dataset, collate_fn=_refuse, num_workers=1)
    with pytest.raises(SystemExit, match="2"):
        COMMAND.run(lambda *_: list(loader), [])
    assert capsys.readouterr().err == "\nerror (process 1): row 0 is bad\n"


def _refuse(rows):
    raise InputError(f"row {rows[0]} is bad")


def test_full_disk_is_one_line(capsys, tmp_path):
    def main(*_):
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
        (tmp_path / "README.md").write_text("more than ten bytes")

    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with pytest.raises(SystemExit, match="1"):
            COMMAND.run(main, [])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert capsys.readouterr().err.startswith(
        "\nerror: cannot write, because the disk (or your share of it) is full: "
    )


def raising(error):
    def body(*_):
        raise error

    return body


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RunError("the loss is not finite"), "the loss is not finite"),
        (FileNotFoundError(2, "No such file or directory", "a/b"), "a/b: No such file or directory"),
        (PermissionError(13, "Permission denied", "a"), "a: Permission denied"),
        (OSError("some\n  reason"), "some reason"),
        (TimeoutError(), "TimeoutError"),
        (DatasetGenerationError("two\nlines"), "something cannot be read: two lines"),
        (pa.ArrowInvalid("no parquet"), "something cannot be read: no parquet"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "why"), "something cannot be read: 'utf-8' codec can't decode"),
        (torch.OutOfMemoryError("CUDA out of memory"), "the memory is not enough: make the batch smaller"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory"),
            "the memory is not enough: make the batch smaller",
        ),
        (MemoryError(), "the memory is not enough: make the batch smaller, or use fewer workers (MemoryError)"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "), "a process that reads pictures was"),
    ],
)
def test_errors_that_a_user_can_cause_are_one_line(error, message, capsys):
    status, line = said(raising(error), capsys)
    assert status == 1 and line.startswith(f"\nerror: {message}") and line.count("\n") == 2


def test_a_broken_file_is_one_line_wherever_it_is_read(tmp_path, capsys):
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    status, line = said(lambda *_: load_file(tmp_path / "model.safetensors"), capsys)
    assert status == 1 and line.startswith("\nerror: something cannot be read: Error while deserializing header")


def test_errors_of_worker_processes_are_their_last_line(capsys):
    try:
        open("nowhere")
    except FileNotFoundError:
        wrapped = torch._utils.ExceptionWrapper(where="in DataLoader worker process 0")
    _, line = said(lambda *_: wrapped.reraise(), capsys)
    assert line == "\nerror: FileNotFoundError: [Errno 2] No such file or directory: 'nowhere'\n"


@pytest.mark.parametrize("error", [ZeroDivisionError(), KeyError("a"), ValueError("x"), RuntimeError("y")])
def test_errors_of_our_own_keep_their_traceback(error):
    with pytest.raises(type(error)):
        COMMAND.run(raising(error), [])


def test_interrupted_says_how_to_go_on(capsys):
    assert said(raising(KeyboardInterrupt()), capsys) == (130, "\ninterrupted: do it again\n")


def test_interrupted_while_libraries_load(monkeypatch):
    monkeypatch.setattr("hf_alignet.cli.main.import_module", raising(KeyboardInterrupt()))
    with pytest.raises(SystemExit, match="130"):
        main(["align"])
    assert gc.isenabled()


def test_under_accelerate_its_traceback_is_announced(capsys, monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    assert "traceback of `accelerate launch` itself" in said(raising(InputError("bad")), capsys)[1]
    monkeypatch.setenv("HF_ALIGNET_LAUNCHED", "1")
    assert said(raising(InputError("bad")), capsys) == (2, "\nerror: bad\n")


@pytest.mark.parametrize("status", [1, 2, 130])
def test_a_command_in_other_processes_ends_with_their_status(status, monkeypatch, tmp_path):
    def failing(_):
        raise subprocess.CalledProcessError(status, [])

    monkeypatch.setenv("HF_ALIGNET_LAUNCHED", "1")  # is set, and unset after the test
    monkeypatch.setattr("hf_alignet.cli.launch.launch_command", failing)
    with pytest.raises(SystemExit, match=str(status)):
        launch(tmp_path / "cpu.yaml", "hf_alignet.cli.align", [])
