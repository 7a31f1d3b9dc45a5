"""What is refused before an upload: links, damaged files, pickles, access tokens, paths and names."""

import io
import json
import logging
import os
import pickle
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from fakehub import TOKEN
from PIL import ExifTags, Image, PngImagePlugin
from safetensors.numpy import save_file

from hf_alignet.errors import InputError, RunError
from hf_alignet.hub.transport import repository
from hf_alignet.hub.transport.inspection import check_shareable


@pytest.mark.parametrize(
    "case", ["name", "content", "inside", "objects", "token", "any token", "path", "compressed path"]
)
def test_pickles_tokens_and_local_paths_stay_here(case, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    directory = tmp_path / "made"
    directory.mkdir()
    (directory / "fine.npz").write_bytes(b"")
    np.savez(directory / "fine.npz", numbers=np.arange(3))
    check_shareable(directory)
    file = directory / "file.parquet"
    if case == "name":
        (directory / "weights.pt").write_text("text")
    elif case == "content":
        file.write_bytes(pickle.dumps([1], 4))
    elif case == "inside":
        np.savez(directory / "file.npz", values=np.array([None]))
    elif case == "objects":
        np.save(directory / "file.npy", np.array([None]))
    elif case == "token":
        (directory / "notes.txt").write_bytes(b"x" * (4_194_304 - 5) + TOKEN.encode())  # over the end of a chunk
    elif case == "any token":
        (directory / "notes.txt").write_bytes(b"x" * (4_194_304 - 5) + b"hf_" + b"aB3" * 11 + b"c\n")
    elif case == "path":
        (directory / "config.json").write_text(json.dumps({"path": str(Path.home() / "data")}))
    else:
        rows = [{"image": {"path": f"from {tmp_path}/made/{i}.png"}, "lists": [["b"]]} for i in range(999)]
        pq.write_table(pa.Table.from_pylist(rows), file, compression="zstd")
    with pytest.raises(InputError, match="is a pickle|your access token|an access token of the Hub|the local path"):
        check_shareable(directory, [str(directory / "x")])


@pytest.mark.parametrize("path", ["/mnt/corpus/0.png", "C:\\corpus\\0.png", "~/0.png", "file://corpus/0.png"])
def test_paths_of_any_machine_stay_there(path, tmp_path):
    names = ["0.png", "a/0.png", "/m/01yrx", "either/or", "https://example.com/0.png"]
    for column in (names, [[name] for name in names], pa.array(names).dictionary_encode()):
        pq.write_table(pa.table({"name": column}), tmp_path / "names.parquet")
        check_shareable(tmp_path)
    for column in ([*names, path], [[*names, path]], pa.array([path]).dictionary_encode()):
        pq.write_table(pa.table({"name": column}), tmp_path / "names.parquet")
        with pytest.raises(InputError, match=f"holds the path {re.escape(repr(path))}.*by their names alone"):
            check_shareable(tmp_path)


@pytest.fixture
def model(tmp_path) -> Path:
    """The files of a model that may be shared; beside the folder lies a secret."""
    (tmp_path / "secret").write_text("{}")
    directory = tmp_path / "made"
    directory.mkdir()
    for name in ("config.json", "alignment.json", "results.json"):
        (directory / name).write_text(json.dumps({"id2label": {"0": "/m/01yrx", "1": "AC/DC", "2": "and/or 1 / 2"}}))
    card = "---\nlicense: mit\n---\n\n# x\n\n`python run.py --data /path/to/data` https://example.com/a/b\n"
    (directory / "README.md").write_text(card)
    write_weights(directory)
    write_picture(directory)
    (directory / "notes.bin").write_bytes(b"not uploaded")
    return directory


def write_weights(directory, metadata=None):
    save_file({"w": np.zeros(3)}, directory / "model.safetensors", metadata)


def write_picture(directory, text=None, exif=None):
    info = PngImagePlugin.PngInfo()
    if text is not None:
        info.add_text("Source", text, zip=True)
    Image.new("RGB", (4, 4)).save(directory / "before_after.png", pnginfo=info, exif=exif or Image.Exif())


class Uploads:
    """In place of HfApi: keeps the names of what would be uploaded."""

    names: list[str] = []

    def __init__(self, **options):
        self.names.clear()

    def upload_folder(self, folder_path, allow_patterns, **place):
        self.names += allow_patterns
        return type("Commit", (), {"repo_url": "there"})

    def list_repo_files(self, *place, **options):
        return []

    def create_commit(self, repository, operations, **place):
        self.names += [operation.path_in_repo for operation in operations]


@pytest.fixture
def share(monkeypatch, model):
    monkeypatch.setattr(repository, "HfApi", Uploads)
    return lambda: repository.share_folder(model, "user/name", repository.MODEL_FILES, again="share again")


def test_what_may_be_shared_is_shared(share, model):
    share()
    assert Uploads.names == repository.MODEL_FILES
    (model / "results.json").unlink()
    (model / "results.json").symlink_to(model / "config.json")  # inside the folder
    share()


@pytest.mark.parametrize("name", ["before_after.png", "model.safetensors", "README.md", "config.json"])
@pytest.mark.parametrize("kind", ["link", "broken link", "pipe"])
def test_links_and_pipes_are_not_followed(share, model, name, kind):
    (model / name).unlink()
    if kind == "pipe":
        os.mkfifo(model / name)
    else:
        (model / name).symlink_to(model.parent / ("secret" if kind == "link" else "nothing"))
    with pytest.raises(RunError, match=f"not shared as user/name: {name} in .* is .*Share it by `share again`"):
        share()
    assert Uploads.names == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", b"{"),
        ("config.json", b"[" * 100_000),
        ("config.json", b"\xff\xfe"),
        ("model.safetensors", b"weights"),
        ("model.safetensors", b""),
        ("before_after.png", b"%!PS-Adobe-3.0 EPSF"),
        ("before_after.png", b"<html>"),
        ("README.md", b"\xff\x00"),
        ("README.md", b"---\na: [\n---\n"),
        (".eval_results/a.yaml", b"a: [b"),
        ("results.json", pickle.dumps([1], 4)),
        ("before_after.png", pickle.dumps([1], 2)),
    ],
)
def test_files_are_what_their_names_say(share, model, name, content):
    (model / name).parent.mkdir(exist_ok=True)
    (model / name).write_bytes(content)
    with pytest.raises(RunError, match=f"{name} is (damaged|a pickle)"):
        share()
    assert Uploads.names == []


TOKENS = {"user": "hf_" + "aB3" * 11 + "c", "organisation": "api_org_" + "aB3" * 11 + "c"}
PATHS = [
    "/mnt/lab/x",
    "see /mnt/lab/x",
    "--images /mnt/lab/x",
    "C:\\lab\\x",
    "file:///lab/x",
    "~/lab/x",
    r"\\server\x",
]


@pytest.mark.parametrize("private", [*TOKENS.values(), *PATHS])
@pytest.mark.parametrize("place", ["config", "weights", "picture", "card", "table"])
def test_tokens_and_paths_are_found_wherever_nobody_sees_them(share, model, place, private):
    if place == "config":
        (model / "config.json").write_text(json.dumps({"a": [{"b": private}]}))
    elif place == "weights":
        write_weights(model, {"note": private})
    elif place == "picture":
        write_picture(model, private)
    elif place == "card":
        (model / "README.md").write_text(f"---\nlicense: mit\n---\n# x\n\nBy hf_alignet. `{private}`\n")
    else:
        table = pa.table({"a": [1]}).replace_schema_metadata({"pandas": json.dumps({"b": private})})
        pq.write_table(table, model / "a.parquet", compression="zstd")
        if private in PATHS[1:3]:  # a sentence in a table may hold such words
            return
        with pytest.raises(InputError, match="holds"):
            check_shareable(model, names=["a.parquet"])
        return
    with pytest.raises(RunError, match="holds .* and is not uploaded"):
        share()


def test_the_name_of_the_user_in_a_path_is_private(share, model, monkeypatch):
    monkeypatch.setenv("HOME", "/home/jane")
    monkeypatch.setenv("LOGNAME", "jane")
    (model / "config.json").write_text(json.dumps(["jane/model", "https://hf.co/datasets/jane/x", "Jane"]))
    share()
    (model / "config.json").write_text(json.dumps(["photos/jane/1.png"]))
    with pytest.raises(RunError, match="holds the path 'photos/jane/1.png'"):
        share()


def test_a_damaged_page_of_a_table_is_found(tmp_path):
    pq.write_table(pa.table({"a": np.random.default_rng(0).normal(size=999)}), tmp_path / "a.parquet")
    check_shareable(tmp_path)
    content = bytearray((tmp_path / "a.parquet").read_bytes())
    content[8:60] = bytes(52)
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.parquet is damaged"):
        check_shareable(tmp_path)


def test_pictures_that_tell_where_and_by_whom_are_counted(share, model, tmp_path, caplog):
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "Jane"
    exif[ExifTags.IFD.GPSInfo] = {1: "N", 2: (1.0, 2.0, 3.0)}
    exif[ExifTags.IFD.Exif] = {ExifTags.Base.BodySerialNumber: "7"}
    write_picture(model, exif=exif)
    with caplog.at_level(logging.WARNING):
        share()
    assert "1 tell a person, 1 tell a place, 1 tell the number of a camera" in caplog.text
    content = io.BytesIO()
    Image.new("RGB", (4, 4)).save(content, "JPEG", exif=exif)
    plain = io.BytesIO()
    Image.new("RGB", (4, 4)).save(plain, "JPEG")
    pictures = [{"bytes": content.getvalue(), "path": "a.jpg"}] * 3 + [{"bytes": plain.getvalue(), "path": "b.jpg"}]
    (tmp_path / "shards").mkdir()
    pq.write_table(pa.table({"image": pictures}), tmp_path / "shards" / "a.parquet")
    caplog.clear()
    check_shareable(tmp_path / "shards")
    assert "3 tell a person, 3 tell a place" in caplog.text and len(caplog.records) == 1


def test_a_refusal_names_the_command_that_inspects_again(monkeypatch, model):
    monkeypatch.setattr(repository, "HfApi", Uploads)
    (model / "config.json").write_text("{")
    with pytest.raises(RunError, match=f"config.json is damaged.*`hf-alignet publish transform {model} user/name`"):
        repository.share_folder(model, "user/name", ["config.json"])


class Harmful:
    def __reduce__(self):
        return (print, ("run",))


@pytest.mark.parametrize("case", ["sound", "pickle", "inside", "damaged", "other"])
def test_of_pickles_only_states_that_run_no_code_are_shared(monkeypatch, tmp_path, case, capsys):
    monkeypatch.setattr(repository, "HfApi", Uploads)
    torch.save({"state": {0: {"step": torch.ones(1)}}}, tmp_path / "optimizer.pt")
    if case == "pickle":
        (tmp_path / "optimizer.pt").write_bytes(pickle.dumps(Harmful()))
    elif case == "inside":
        torch.save({"a": Harmful()}, tmp_path / "optimizer.pt")
    elif case == "damaged":
        (tmp_path / "optimizer.pt").write_bytes(b"half")
    elif case == "other":
        torch.save({}, tmp_path / "other.pt")

    def send():
        repository.replace_folder(tmp_path, "user/name", "last", None, "message", None, ["optimizer.pt"])

    if case == "sound":
        send()
        assert Uploads.names == ["last/optimizer.pt"]
    else:
        with pytest.raises(InputError, match="is damaged|is a pickle"):
            send()
        assert Uploads.names == [] and capsys.readouterr().out == ""
