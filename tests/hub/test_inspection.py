"""What is refused before an upload: pickles, access tokens and local paths."""

import json
import pickle
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fakehub import TOKEN

from hf_alignet.errors import InputError
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
