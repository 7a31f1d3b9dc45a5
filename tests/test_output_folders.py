"""Output folders: what we did not make stays as it is, one run at a time, and nothing is written through a link."""

import errno
import json
import os
import signal
import stat
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import Dinov2Config, Dinov2Model

from hf_alignet.analysis import save_figure
from hf_alignet.analysis.figures import elbow_figure
from hf_alignet.encoder import AffineTransform
from hf_alignet.encoder.embedding import embed_dataset
from hf_alignet.encoder.vision_model import VisionEncoder
from hf_alignet.errors import InputError, RunError
from hf_alignet.hub.cards.measured_card import fetch_card
from hf_alignet.hub.publish import publish
from hf_alignet.images.cache import ImageCache
from hf_alignet.storage import MARKER, OURS, empty, output_folder, require_space, unfinished, whole_file, write_json
from hf_alignet.student import AlignTrainingArguments
from hf_alignet.workflows.alignment_run import align
from hf_alignet.workflows.evaluation_run import evaluate
from hf_alignet.workflows.teacher_run import write_teacher
from hf_alignet.workflows.triplet_run import make_triplets


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


# ---- the folder itself


def test_folder_is_marked_while_it_is_used_and_stays_marked(tmp_path):
    with output_folder(tmp_path / "deep" / "out", "evaluate") as folder:
        assert json.loads((folder / MARKER).read_text())["pid"] == os.getpid()
        (folder / "results.json").touch()
    assert {path.name for path in folder.iterdir()} == {MARKER, "results.json"}
    with output_folder(folder, "evaluate"), output_folder(folder, "another command"):  # the same process, inside
        pass
    assert (folder / "results.json").exists()


@pytest.mark.parametrize("is_there", [False, True])
def test_folder_to_which_nothing_was_written_is_as_before(is_there, tmp_path):
    if is_there:
        (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="wrong"), output_folder(tmp_path / "out", "align"):
        raise InputError("wrong")
    assert [path.name for path in tmp_path.rglob("*")] == (["out"] if is_there else [])


@pytest.mark.parametrize("made_by", [None, "publish", "a link", "a directory", "nobody can read this"])
def test_folder_of_somebody_else_is_refused(made_by, tmp_path):
    (tmp_path / "mine").write_text("mine")
    if made_by == "a link":
        write_json(tmp_path.parent / f"{tmp_path.name}.json", {"made_by": "align"})
        (tmp_path / MARKER).symlink_to(tmp_path.parent / f"{tmp_path.name}.json")
    elif made_by == "a directory":
        (tmp_path / MARKER).mkdir()
    elif made_by is not None:
        (tmp_path / MARKER).write_text(json.dumps({"made_by": made_by}) if made_by == "publish" else "{")
    before = contents(tmp_path)
    with pytest.raises(InputError, match="`output_dir`"), output_folder(tmp_path, "align"):
        pytest.fail("it is not ours")
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "`output_dir` is empty: name a folder"),
        (" ", "`output_dir` is empty"),
        ("{}/file", "cannot write to .*File exists"),
        ("{}/file/out", "cannot write to"),
        ("{}/out\0", "cannot write to"),
        ("{}/" + 300 * "x", "cannot write to"),
        ("~nobody-has-this-name/out", "cannot write to"),
    ],
)
def test_what_can_be_no_folder_is_refused(path, message, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match=message), output_folder(path.format(tmp_path), "align"):
        pytest.fail("there is no such folder")
    assert contents(tmp_path) == {"file": b"mine"}


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_folder_that_cannot_be_written_is_refused_before_the_work(code, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "touch", refuse)
    with pytest.raises((InputError, RunError), match=os.strerror(code)), output_folder(tmp_path, "align"):
        pytest.fail("it cannot be written")


def run_in_child(work) -> int:
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(1)
    return child


def test_folder_of_a_run_is_refused_with_its_process_until_it_is_over(tmp_path):
    reading, writing = os.pipe()

    def work():
        with output_folder(tmp_path / "out", "align") as folder:
            (folder / "results.json").touch()
            os.write(writing, b"1")
            signal.pause()

    child = run_in_child(work)
    os.read(reading, 1)
    with (
        pytest.raises(InputError, match=f"is in use by process {child} on .*: wait for it; give another `output_dir`"),
        output_folder(tmp_path / "out", "align"),
    ):
        pytest.fail("it is in use")
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with output_folder(tmp_path / "out", "align"):  # the lock has died with the process
        pass


def test_one_waits_for_a_short_work_of_another(tmp_path):
    reading, writing = os.pipe()

    def work():
        with output_folder(tmp_path / "out", "cache") as folder:
            os.write(writing, b"1")
            signal.sigtimedwait([], 0.2)
            (folder / "cache.json").touch()

    child = run_in_child(work)
    os.read(reading, 1)
    with output_folder(tmp_path / "out", "cache", wait=10) as folder:
        assert (folder / "cache.json").exists()
    os.waitpid(child, 0)


def test_only_the_main_process_opens_the_folder(tmp_path):
    with output_folder(tmp_path / "out", "align", is_main=False) as folder:
        assert folder == tmp_path / "out" and not folder.exists()


def test_working_folder_of_somebody_else_stays(tmp_path):
    (tmp_path / ".unfinished").mkdir()
    (tmp_path / ".unfinished" / "mine").write_text("mine")
    with pytest.raises(InputError, match="hf_alignet did not make this folder: move it away"), unfinished(tmp_path):
        pytest.fail("it is not ours")
    assert contents(tmp_path) == {".unfinished/mine": b"mine"}


def test_space_is_what_is_free_and_what_the_folder_holds(tmp_path, monkeypatch):
    (tmp_path / "array").write_bytes(bytes(100_000))
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 50_000}))
    require_space(tmp_path, 140_000)
    with pytest.raises(
        InputError, match="needs 0.0002 GB, and its disk has 5e-05 GB left: make room, or give another"
    ):
        require_space(tmp_path, 200_000)


# ---- links and permissions


def test_nothing_is_written_through_links(tmp_path):
    folder, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.write_text("mine")
    for name in ("results.json", ".results.json.unfinished"):
        (folder / name).symlink_to(elsewhere)
    write_json(folder / "results.json", {})
    assert elsewhere.read_text() == "mine"
    assert [path.name for path in folder.iterdir()] == ["results.json"] and not (folder / "results.json").is_symlink()


def test_links_to_folders_are_removed_but_not_emptied(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "mine").touch()
    with output_folder(tmp_path / "out", "align") as folder:
        (folder / "link").symlink_to(tmp_path / "elsewhere")
        empty(folder)
    assert (tmp_path / "elsewhere" / "mine").exists()


@pytest.fixture
def encoder(tiny_directory) -> VisionEncoder:
    return VisionEncoder.from_pretrained(str(tiny_directory("dinov2")))


def test_models_follow_the_umask_and_replace_links(encoder, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("mine")
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder" / "model.safetensors").symlink_to(elsewhere)
    before = os.umask(0o027)
    try:
        encoder.save_pretrained(tmp_path / "encoder")
        AffineTransform.identity(2).save_pretrained(tmp_path / "transform")
    finally:
        os.umask(before)
    assert elsewhere.read_text() == "mine"
    files = [file for file in tmp_path.rglob("*") if file.is_file() and file.name not in (*OURS, "elsewhere")]
    assert len(files) >= 6 and {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o640}


def test_torch_tells_the_cause_of_a_cut_off_file(tmp_path):
    error = RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 174848 vs 174742")
    with pytest.raises(RunError, match=r"cannot write to .*: the disk took only a part of a file: it, or your share"):
        with whole_file(tmp_path / "optimizer.pt"):
            raise error


def test_figure_is_whole_or_absent(tmp_path, monkeypatch):
    figure = elbow_figure(pd.DataFrame({"num_clusters": [2, 3], "inertia": [2.0, 1.0]}), 2)
    save_figure(figure, tmp_path / "elbow.png")
    before = contents(tmp_path)

    def fail(file, **_):
        Path(file).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(figure, "savefig", fail)
    with pytest.raises(RunError, match="elbow.png: .*No space left"):
        save_figure(figure, tmp_path / "elbow.png")
    assert contents(tmp_path) == before and before["elbow.png"].startswith(b"\x89PNG")


# ---- every step


@pytest.fixture
def model(tmp_path) -> str:
    """A model of somebody, with notes."""
    Dinov2Model(Dinov2Config(hidden_size=8, num_hidden_layers=1, num_attention_heads=1)).save_pretrained(
        tmp_path / "m"
    )
    (tmp_path / "m" / "README.md").write_text("# Mine")
    for name in ("results.json", "embeddings.npy", "unfinished/notes", "images/cat", "card/README.md", "vice/x"):
        (tmp_path / "m" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "m" / name).write_text("mine")
    return str(tmp_path / "m")


STEPS: dict[str, Any] = {
    "align": lambda out, images, triplets: align(
        "m", images, triplets, AlignTrainingArguments(output_dir=out, resume_from_checkpoint="last")
    ),
    "fit-teacher": lambda out, images, triplets: write_teacher("choices.csv", out, features="x.npy"),
    "make-triplets": lambda out, images, triplets: make_triplets(images, features="x.npy", output_dir=out),
    "evaluate": lambda out, images, triplets: evaluate("m", "choices:x", features=np.ones((4, 2)), output_dir=out),
    "embed": lambda out, images, triplets: embed_dataset(cast(Any, FakeEncoder()), images, save_to=out),
    "save_pretrained": lambda out, images, triplets: AffineTransform.identity(2).save_pretrained(out),
    "update_card": lambda out, images, triplets: fetch_card("user/model", Path(out)),
}


class FakeEncoder:
    preprocessor = None
    embedding_dim = 2
    training = False


@pytest.mark.parametrize("step", STEPS)
def test_no_step_writes_into_the_folder_of_somebody_else(step, model, images, triplets, monkeypatch):
    monkeypatch.setattr("hf_alignet.workflows.evaluation_run.open_benchmarks", lambda *_: [])
    before = contents(Path(model))
    with pytest.raises(InputError, match="hf_alignet did not make this folder"):
        STEPS[step](model, images, triplets)
    assert contents(Path(model)) == before


def test_copy_for_the_hub_replaces_only_copies(encoder, tmp_path):
    encoder.save_pretrained(tmp_path / "model")
    copy = tmp_path / "published" / "models--u--x"
    copy.mkdir(parents=True)
    (copy / "mine").write_text("mine")
    with pytest.raises(InputError, match="models--u--x holds 'mine', and hf_alignet did not make this folder"):
        publish("model", tmp_path / "model", "u/x", output_dir=tmp_path / "published", dry_run=True)
    assert contents(tmp_path / "published") == {"models--u--x/mine": b"mine"}
    (copy / "mine").unlink()
    for _ in range(2):
        assert publish("model", tmp_path / "model", "u/x", output_dir=tmp_path / "published", dry_run=True) == copy
    assert {path.name for path in (tmp_path / "published").iterdir()} == {"models--u--x"}
    with pytest.raises(InputError, match="`output_dir` is empty"):
        publish("model", tmp_path / "model", "u/x", output_dir="", dry_run=True)


def test_cache_leaves_folders_of_others(encoder, images, tmp_path):
    cache = ImageCache(tmp_path, images, encoder.preprocessor)
    (cache.directory / MARKER).unlink()
    with pytest.raises(InputError, match="give another `cache_images`"):
        ImageCache(tmp_path, images, encoder.preprocessor)


def test_rows_that_the_cache_lacks_are_not_touched(encoder, images, tmp_path):
    """In a file system in memory a read of a hole takes space, and on a full one it kills the process."""
    cache = ImageCache(tmp_path, images, encoder.preprocessor)
    cache.prepare(np.array([1, 3]), progress=False)
    cache.pixels.values = Holes(cache.pixels.values, {1, 3})
    found = cache.read([0, 1, 2, 3])["pixel_values"]
    assert torch.equal(found, super(ImageCache, cache).read([0, 1, 2, 3])["pixel_values"])


class Holes:
    """An array of which only some rows may be read."""

    def __init__(self, array, rows):
        self.array, self.rows, self.shape = array, rows, array.shape

    def __getitem__(self, rows):
        assert set(rows.tolist()) <= self.rows
        return self.array[rows]
