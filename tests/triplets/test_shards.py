"""Labelled triplets on disk: as many as were asked for, those of the order, whatever happens to the process."""

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset

from hf_alignet.errors import InputError
from hf_alignet.storage import UNFINISHED
from hf_alignet.triplets import FEATURES, TripletSampler, check_triplets, label_triplets, shards
from hf_alignet.triplets.filters import LabelBounds
from hf_alignet.triplets.shards import TripletSource, shard_files, write_shards
from hf_alignet.triplets.triplet_dataset import column

NUM_IMAGES = 60
GROUPS = np.arange(NUM_IMAGES) % 4


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(shards, "ROWS_PER_SHARD", 100)
    monkeypatch.setattr(shards, "ROWS_PER_GROUP", 40)
    monkeypatch.setattr(shards, "BLOCK", 64)


@pytest.fixture
def embeddings() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(NUM_IMAGES, 5)).astype(np.float32)


@pytest.fixture
def make(embeddings):
    def source(sampling="class_boundary", groups=GROUPS, **options) -> TripletSource:
        return TripletSource(TripletSampler(sampling, groups, seed=5), embeddings, **options)

    return source


def write(directory, source, number, **options) -> int:
    return write_shards(directory, "train", source, number, progress=False, **options)


def read(directory, split="train"):
    return load_dataset("parquet", data_files=sorted(map(str, directory.glob(f"{split}-*"))), split="train")


def contents(directory: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in directory.iterdir()}


def distinct(triplets) -> int:
    return len(np.unique(np.sort(triplets, 1), axis=0))


@pytest.mark.parametrize("number", [1, 99, 100, 101, 250])
def test_exact_number_in_shards_of_a_size(number, make, tmp_path):
    place = write(tmp_path, make(), number)
    total = -(-number // 100)
    assert place == number
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == [f"train-{i:05d}-of-{total:05d}.parquet" for i in range(total)]
    assert files == shard_files(tmp_path, "train", number)
    sizes = [pq.read_metadata(file).num_rows for file in files]
    assert sizes == [100] * (total - 1) + [number - 100 * (total - 1)]
    groups = [
        pq.read_metadata(files[0]).row_group(i).num_rows for i in range(pq.read_metadata(files[0]).num_row_groups)
    ]
    assert groups == [40] * (sizes[0] // 40) + ([sizes[0] % 40] if sizes[0] % 40 else [])


def test_rows_are_those_of_the_order_with_their_labels(make, embeddings, tmp_path):
    source = make()
    write(tmp_path, source, 250)
    dataset = read(tmp_path)
    assert dataset.features == FEATURES
    triplets = column(dataset, "triplet")
    np.testing.assert_array_equal(triplets, source.sampler.draw(0, 250))
    np.testing.assert_array_equal(column(dataset, "similarities"), label_triplets(embeddings, triplets))
    odd = [2 - int(np.argmax(row)) for row in column(dataset, "similarities")]
    assert dataset["odd"][:] == odd
    assert distinct(triplets) == 250
    check_triplets(dataset, NUM_IMAGES, "similarities")


def test_rows_of_the_image_dataset_are_named(make, embeddings, tmp_path):
    rows = np.sort(np.random.default_rng(0).permutation(500)[:NUM_IMAGES])
    write(tmp_path / "named", make(rows=rows, max_per_image=20), 250)
    write(tmp_path / "plain", make(max_per_image=20), 250)
    named, plain = (read(tmp_path / name) for name in ("named", "plain"))
    np.testing.assert_array_equal(column(named, "triplet"), rows[column(plain, "triplet")])
    np.testing.assert_array_equal(column(named, "similarities"), column(plain, "similarities"))


STRICT = {"bounds": LabelBounds(min_margin=0.3, max_entropy=0.9), "max_per_image": 14}


@pytest.mark.parametrize("options", [{}, STRICT], ids=["all", "some"])
def test_size_of_blocks_makes_no_difference(options, make, tmp_path, monkeypatch):
    found = []
    for block in (1, 7, 64, 10_000):
        monkeypatch.setattr(shards, "BLOCK", block)
        place = write(tmp_path / str(block), make(**options), 230)
        found.append((place, contents(tmp_path / str(block))))
    assert all(other == found[0] for other in found)


def test_bounds_and_cap_hold_over_all_shards(make, embeddings, tmp_path):
    source = make(**STRICT)
    place = write(tmp_path, source, 260)
    dataset = read(tmp_path)
    triplets, similarities = column(dataset, "triplet"), column(dataset, "similarities")
    assert len(triplets) == 260 == distinct(triplets) and place > 260
    assert STRICT["bounds"].admit(similarities).all()
    uses, expected = np.zeros(NUM_IMAGES, int), []
    for triplet in source.sampler.draw(0, place).tolist():
        admitted = STRICT["bounds"].admit(label_triplets(embeddings, np.array([triplet])))[0]
        if admitted and (uses[triplet] < 14).all():
            uses[triplet] += 1
            expected.append(triplet)
    assert triplets.tolist() == expected
    assert np.bincount(triplets.ravel()).max() == 14  # the cap has acted


def test_a_split_goes_on_where_another_ends(make, tmp_path):
    source = make(bounds=LabelBounds(min_margin=0.2))
    place = write_shards(tmp_path, "train", source, 150, progress=False)
    end = write_shards(tmp_path, "validation", source, 120, place, progress=False)
    write_shards(tmp_path / "whole", "train", source, 270, progress=False)
    both = np.concatenate([column(read(tmp_path, split), "triplet") for split in ("train", "validation")])
    np.testing.assert_array_equal(both, column(read(tmp_path / "whole"), "triplet"))
    assert end > place


def test_what_is_there_is_not_made_again(make, tmp_path, monkeypatch):
    source = make(**STRICT)
    place = write(tmp_path, source, 230)
    before = {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    monkeypatch.setattr(shards, "label_triplets", lambda *_: pytest.fail("labels again"))
    assert write(tmp_path, source, 230) == place
    assert {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()} == before


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_goes_on_from_any_shard(missing, make, tmp_path):
    place = write(tmp_path, make(**STRICT), 260)
    whole = contents(tmp_path)
    for file in shard_files(tmp_path, "train", 260)[missing:]:
        file.unlink()
    rest = shard_files(tmp_path, "train", 260)[missing]
    rest.with_name(f".{rest.name}{UNFINISHED}").write_bytes(b"half of a shard")
    assert write(tmp_path, make(**STRICT), 260) == place
    assert contents(tmp_path) == whole


@pytest.mark.multi_process
def test_killed_at_any_moment_it_ends_with_the_same_bytes(tmp_path):
    script = Path(__file__).with_name("killed_writer.py")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, str(script), str(tmp_path), "0"], capture_output=True, text=True, env=environment
    )
    assert run.returncode == 0, run.stderr[-3000:]
    reports = [tuple(map(int, line.split())) for line in run.stdout.splitlines()]
    counts = [count for _, count in reports]
    assert len(reports) == 12 and all(a <= b for a, b in pairwise(counts))
    assert all(killed == -9 for killed, _ in reports[:4])
    assert any(killed == -9 for killed, _ in reports[4:]) and len(set(counts)) >= 2
    whole, killed = contents(tmp_path / "whole"), contents(tmp_path / "killed")
    assert len(whole) == 12 and whole == killed


# ---- what cannot be


def test_more_triplets_than_there_are(make, tmp_path):
    source = make(groups=np.where(np.arange(NUM_IMAGES) < 6, GROUPS, -1))
    most = source.sampler.num_triplets
    with pytest.raises(InputError, match=f"{most + 1} triplets are needed, but there are only {most} different"):
        write(tmp_path / "more", source, most + 1)
    assert not (tmp_path / "more").exists()
    with pytest.raises(InputError, match=f"{most + 2} triplets are needed"):
        source.check(2, most)
    assert write(tmp_path / "all", source, most) == most


def test_cap_that_allows_fewer(make, tmp_path):
    with pytest.raises(InputError, match="61 triplets are needed, but 60 images with `max_per_image=3` allow only 60"):
        write(tmp_path / "out", make(max_per_image=3), 61)
    assert not (tmp_path / "out").exists()


def test_bounds_that_nothing_passes(make, tmp_path):
    source = make(groups=np.where(np.arange(NUM_IMAGES) < 12, GROUPS, -1), bounds=LabelBounds(min_margin=1.0))
    with pytest.raises(InputError, match=f"5 more triplets are .* leave none of all {source.sampler.num_triplets}"):
        write(tmp_path, source, 5)
    assert list(tmp_path.iterdir()) == []


def test_bounds_that_too_few_pass(make, tmp_path):
    source = make(groups=np.where(np.arange(NUM_IMAGES) < 12, GROUPS, -1), bounds=LabelBounds(min_margin=0.5))
    num_triplets = source.sampler.num_triplets
    labels = label_triplets(source.embeddings, source.sampler.draw(0, num_triplets))
    passed = int(source.bounds.admit(labels).sum())
    assert 0 < passed < num_triplets
    assert write(tmp_path / "all", source, passed) <= num_triplets
    with pytest.raises(InputError, match="^1 more triplets are needed, but the bounds on labels and .* leave none"):
        write(tmp_path / "more", source, passed + 1)


def test_cap_that_the_order_does_not_reach(make, tmp_path):
    source = make(groups=np.where(np.arange(NUM_IMAGES) < 8, GROUPS, -1), max_per_image=2)
    with pytest.raises(InputError, match="the bounds on labels and `max_per_image` leave none"):
        write(tmp_path, source, 20)  # all 60 images could make 40, but only 8 take part
