"""Files and folders are complete or absent, whatever happens to the process; arrays continue where they stopped."""

import contextlib
import errno
import hashlib
import json
import os
import pickle
import resource
import signal
import stat

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from datasets import load_dataset
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from hf_alignet.errors import InputError, RunError
from hf_alignet.storage import (
    MARKER,
    UNFINISHED,
    ResumableArray,
    publish,
    take_files,
    unfinished,
    whole_directory,
    whole_file,
    write_array,
    write_checksums,
    write_dataset,
    write_json,
    write_table,
    write_text,
)


@pytest.fixture(params=[0o022, 0o077])
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def names(directory) -> list[str]:
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*"))


def killed_in(work) -> int:
    """The signal that ended a child process which does some work."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)  # without the clean-up of pytest
    return -os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill(*_) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@contextlib.contextmanager
def full_disk():
    """No file may grow beyond 10,000 bytes: a write fails as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


# ---- one file


def test_file_is_written_and_its_folder_is_made(tmp_path):
    with whole_file(tmp_path / "deep" / "file") as temporary:
        assert temporary.parent == tmp_path / "deep" and temporary.name.startswith(".")
        temporary.write_text("new")
    assert names(tmp_path) == ["deep", "deep/file"] and (tmp_path / "deep" / "file").read_text() == "new"


@pytest.mark.parametrize("error", [InputError("wrong"), KeyboardInterrupt()])
def test_error_leaves_the_old_file(error, tmp_path):
    write_text(tmp_path / "file", "old")
    with pytest.raises(type(error)), whole_file(tmp_path / "file") as temporary:
        temporary.write_text("half")
        raise error
    assert names(tmp_path) == ["file"] and (tmp_path / "file").read_text() == "old"


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError("No space left on device"),
        RuntimeError("[enforce fail at inline_container.cc:815] PytorchStreamWriter: No space left on device"),
    ],
)
def test_full_disk_is_one_error_and_leaves_the_old_file(error, tmp_path):
    write_text(tmp_path / "file", "old")
    with pytest.raises(RunError, match="cannot write to .*file: .*No space left"), whole_file(tmp_path / "file"):
        raise error
    assert names(tmp_path) == ["file"] and (tmp_path / "file").read_text() == "old"


def test_errors_that_are_not_about_writing_stay_as_they_are(tmp_path):
    for error in (RuntimeError("shapes differ"), RunError("the loss is nan"), InputError("no picture")):
        with pytest.raises(type(error), match=f"^{error}$"), whole_file(tmp_path / "file"):
            raise error


def test_really_full_disk(tmp_path):
    write_json(tmp_path / "file.json", {"n": 1})

    def save_tensors():
        with whole_file(tmp_path / "file.json") as path:
            save_file({"x": torch.zeros(5000)}, path)

    for write in (
        lambda: write_json(tmp_path / "file.json", {"text": 20_000 * "x"}),
        lambda: write_table(pa.table({"x": np.random.default_rng(0).random(5000)}), tmp_path / "file.json"),
        save_tensors,
    ):
        with full_disk(), pytest.raises(RunError, match=r"cannot write to .*file\.json"):
            write()
    assert names(tmp_path) == ["file.json"] and json.loads((tmp_path / "file.json").read_text()) == {"n": 1}


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_killed_writer_leaves_the_old_file_and_the_next_one_cleans_up(moment, tmp_path, monkeypatch):
    write_text(tmp_path / "train-0.txt", "old")
    with monkeypatch.context() as patch:
        patch.setattr(os, moment, kill)
        assert killed_in(lambda: write_text(tmp_path / "train-0.txt", "new")) == signal.SIGKILL
    assert (tmp_path / "train-0.txt").read_text() == "old"
    left = [path for path in tmp_path.iterdir() if path.name != "train-0.txt"]
    assert len(left) == 1  # it was written, but is no file for readers
    assert not list(tmp_path.glob("train-*")) == left and not left[0].match("*.txt") and left[0].name[0] == "."
    write_text(tmp_path / "train-0.txt", "new")
    assert names(tmp_path) == ["train-0.txt"] and (tmp_path / "train-0.txt").read_text() == "new"


def test_permissions_follow_the_umask(umask, tmp_path):
    write_json(tmp_path / "file.json", {})
    write_table(pa.table({"x": [1]}), tmp_path / "file.parquet")
    with whole_file(tmp_path / "file.safetensors") as temporary:
        save_file({"x": torch.ones(1)}, temporary)  # makes private files
    for file in tmp_path.iterdir():
        assert mode(file) == 0o666 & ~umask
    assert load_file(tmp_path / "file.safetensors")["x"] == 1


def test_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    write_text("~/file", "x")
    with whole_directory("~/folder", "publish") as folder:
        (folder / "x").touch()
    ResumableArray("~/array", "x.npy", "x.json").create({"shape": [1]}, np.uint8)
    assert {path.name for path in tmp_path.iterdir()} == {"file", "folder", "array"}


def test_json_is_strict_and_wrong_content_leaves_the_old_file(tmp_path):
    write_json(tmp_path / "file.json", {"a": [1, 0.5]})
    assert (tmp_path / "file.json").read_text() == '{\n  "a": [\n    1,\n    0.5\n  ]\n}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "file.json", {"a": float("nan")})
    assert json.loads((tmp_path / "file.json").read_text()) == {"a": [1, 0.5]}


def test_array_larger_than_the_memory(tmp_path):
    rows = np.arange(6.0).reshape(3, 2)
    write_array(tmp_path / "x.npy", (3, 2), "float16", [rows[:2], rows[2:]])
    np.save(tmp_path / "y.npy", rows.astype(np.float16))
    assert (tmp_path / "x.npy").read_bytes() == (tmp_path / "y.npy").read_bytes()
    with full_disk(), pytest.raises(RunError, match="cannot write to .*x.npy: .*File too large"):
        write_array(tmp_path / "x.npy", (5000, 1), "float32", [np.ones((5000, 1))])
    assert (tmp_path / "x.npy").read_bytes() == (tmp_path / "y.npy").read_bytes()


# ---- folders


def folder_of_before(directory) -> None:
    with whole_directory(directory, "publish") as folder:
        (folder / "old").touch()


def test_folder_replaces_the_old_one_whole(tmp_path):
    folder_of_before(tmp_path / "out")
    with whole_directory(tmp_path / "out", "publish") as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "new").touch()
        assert names(tmp_path / "out") == [MARKER, "old"]
    assert names(tmp_path) == ["out", f"out/{MARKER}", "out/deep", "out/deep/new"]


@pytest.mark.parametrize("error", [OSError("no space left"), InputError("wrong"), KeyboardInterrupt()])
def test_error_leaves_the_old_folder(error, tmp_path):
    folder_of_before(tmp_path / "out")
    expected = RunError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected), whole_directory(tmp_path / "out", "publish") as folder:
        (folder / "half").touch()
        raise error
    assert names(tmp_path) == ["out", f"out/{MARKER}", "out/old"]


def test_folder_follows_the_umask_but_linked_files_stay_as_they_are(umask, tmp_path):
    private = tmp_path / "private"
    private.mkdir()
    for name, size in (("large", 2_000_000), ("small", 10)):
        (private / name).write_bytes(bytes(size))
        (private / name).chmod(0o600)
    with whole_directory(tmp_path / "out", "publish") as folder:
        take_files(private, ["large", "small"], folder)
        save_file({"x": torch.ones(1)}, folder / "file.safetensors")
        os.chmod(folder / "file.safetensors", 0o600)
    assert mode(tmp_path / "out") == 0o777 & ~umask
    assert mode(tmp_path / "out" / "file.safetensors") == mode(tmp_path / "out" / "small") == 0o666 & ~umask
    assert (tmp_path / "out" / "large").samefile(private / "large") and mode(private / "large") == 0o600


def test_what_was_interrupted_is_not_published(tmp_path):
    with pytest.raises(RunError, match="no space"), unfinished(tmp_path) as inside:
        (inside / "half").write_text("x")
        raise OSError("no space left")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError), unfinished(tmp_path):
        raise InputError("not about the disk")


def test_published_directory_replaces_the_old_one(tmp_path):
    (tmp_path / "checkpoint-1").mkdir()
    (tmp_path / "checkpoint-1" / "old").touch()
    with unfinished(tmp_path) as inside:
        assert inside.name == UNFINISHED
        (inside / "made" / "deep").mkdir(parents=True)
        (inside / "made" / "deep" / "new").touch()
        publish(inside / "made", tmp_path / "checkpoint-1")
    assert [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")] == [
        *("checkpoint-1", "checkpoint-1/deep", "checkpoint-1/deep/new")
    ]


def test_checksums(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "b").write_bytes(b"1")
    (tmp_path / "deep" / "a").write_bytes(b"2")
    write_checksums(tmp_path)
    digests = [hashlib.sha256(content).hexdigest() for content in (b"1", b"2")]
    assert (tmp_path / "SHA256SUMS").read_text() == f"{digests[0]}  b\n{digests[1]}  deep/a\n"


# ---- datasets


def test_dataset_is_in_row_groups_that_a_reader_can_hold(images, tmp_path):
    many = images.select(np.arange(240) % 24)
    write_dataset(many, tmp_path / "images", "train", progress=False)
    assert names(tmp_path) == ["images", "images/train-00000-of-00001.parquet"]
    metadata = pq.read_metadata(tmp_path / "images" / "train-00000-of-00001.parquet")
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [100, 100, 40]
    found = load_dataset(str(tmp_path / "images"), split="train")
    assert found.features == images.features
    assert [picture.tobytes() for picture in found["image"][:]] == [p.tobytes() for p in many["image"][:]]


def test_full_disk_leaves_no_part_of_a_dataset(images, tmp_path):
    with full_disk(), pytest.raises(RunError, match="cannot write to .*images"):
        write_dataset(images, tmp_path / "images", "train", progress=False)
    assert names(tmp_path) == ["images"]


# ---- arrays that are filled step by step


def some_array(directory, **description) -> ResumableArray:
    array = ResumableArray(directory, "values.npy", "values.json", chunk=4)
    array.create({"shape": [10, 3], **description}, np.float32)
    return array


ROWS = np.arange(30, dtype=np.float32).reshape(10, 3)


def test_array_shows_what_is_written(tmp_path):
    array = some_array(tmp_path / "array")
    assert names(tmp_path / "array") == ["done.npy", "values.json", "values.npy"]
    assert array.values.shape == (10, 3) and array.done.tolist() == [0, 0, 0]
    assert not array.values.flags.writeable and not array.done.flags.writeable
    array.write(2, ROWS[2:4])
    array.write(9, ROWS[9:].astype(np.float64))
    array.finish([0, 2])
    expected = np.where(np.isin(np.arange(10), [2, 3, 9])[:, None], ROWS, 0)
    np.testing.assert_array_equal(array.values, expected)
    assert array.done.tolist() == [1, 0, 1]
    again = some_array(tmp_path / "array")
    np.testing.assert_array_equal(again.values, expected)
    assert again.done.tolist() == [1, 0, 1] and np.load(tmp_path / "array" / "values.npy").dtype == np.float32


def test_array_of_something_else_is_refused(tmp_path):
    some_array(tmp_path, model="a", seed=0)
    with pytest.raises(InputError, match=r"holds values of something else \(model, seed differ\)"):
        some_array(tmp_path, model="b", seed=1)


def test_array_in_a_folder_with_other_files(tmp_path):
    (tmp_path / "mine").touch()
    some_array(tmp_path).write(0, ROWS)
    np.testing.assert_array_equal(some_array(tmp_path).values, ROWS)
    assert names(tmp_path) == ["done.npy", "mine", "values.json", "values.npy"]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_array_that_was_killed_while_it_was_made_is_made_again(number, tmp_path, monkeypatch):
    replace, calls = os.replace, iter(range(1, 9))
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda *paths: kill() if next(calls) == number else replace(*paths))
        assert killed_in(lambda: some_array(tmp_path / "array")) == signal.SIGKILL
    assert not (tmp_path / "array" / "values.json").exists()
    assert some_array(tmp_path / "array").done.tolist() == [0, 0, 0]
    assert names(tmp_path / "array") == ["done.npy", "values.json", "values.npy"]


@pytest.mark.parametrize("name", ["values.npy", "done.npy"])
def test_array_that_was_cut_off_is_not_used(name, tmp_path):
    some_array(tmp_path).write(0, ROWS)
    os.truncate(tmp_path / name, (tmp_path / name).stat().st_size - 1)
    with pytest.raises(InputError, match="holds damaged values: values.npy, done.npy or values.json"):
        some_array(tmp_path)


def test_killed_run_has_marked_only_rows_on_the_disk(tmp_path, monkeypatch):
    def work():
        array = some_array(tmp_path)
        for start in (0, 4, 8):
            array.write(start, ROWS[start : start + 4])
            if start == 8:
                monkeypatch.setattr(os, "fsync", kill)
            array.finish([start // 4])

    assert killed_in(work) == signal.SIGKILL
    array = some_array(tmp_path)
    assert array.done.tolist() == [1, 1, 0]
    np.testing.assert_array_equal(array.values[:8], ROWS[:8])


def test_full_disk_is_an_error_and_no_signal(tmp_path):
    array = ResumableArray(tmp_path / "array", "values.npy", "values.json")
    array.create({"shape": [20_000]}, np.uint8)
    with full_disk(), pytest.raises(RunError, match="cannot write to .*array: "):
        array.write(15_000, np.ones(10, np.uint8))
    assert not array.done.any()


def test_pickled_array_is_small(tmp_path):
    array = some_array(tmp_path)
    array.write(0, ROWS)
    assert array.values.shape == (10, 3) and len(pickle.dumps(array)) < 500
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(array)).values, ROWS)


def test_rows_that_are_not_written_take_no_space(tmp_path):
    array = ResumableArray(tmp_path / "array", "values.npy", "values.json")
    array.create({"shape": [5000, 4096]}, np.float32)
    assert os.stat(tmp_path / "array" / "values.npy").st_blocks * 512 < 1e6 < array.values.nbytes


def test_array_follows_the_umask(umask, tmp_path):
    some_array(tmp_path / "array")
    assert mode(tmp_path / "array") == 0o777 & ~umask
    assert {mode(file) for file in (tmp_path / "array").iterdir()} == {0o666 & ~umask}
