"""A source is a local path or a Hub id; a leading `~` is the home directory wherever a path enters the package."""

import json

import numpy as np
import pytest
from datasets import Dataset

from hf_alignet.encoder import AffineTransform, VisionEncoder, read_alignment
from hf_alignet.errors import InputError
from hf_alignet.hub.cards.measured_card import fetch_card
from hf_alignet.hub.transport.license import stated_license
from hf_alignet.images import ImageCache, PictureList, load_images
from hf_alignet.judgments import load_judgments, load_similarity_matrix, make_judgments
from hf_alignet.sources import has_config, hub_id, load_matrix, local_path, public_name, split_revision
from hf_alignet.teacher import Vice
from hf_alignet.text_files import load_names
from hf_alignet.triplets import load_triplets, read_official, write_official
from hf_alignet.triplets.triplet_dataset import read_info


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The home directory; the working directory is another one, and stays empty."""
    for name in ("home", "work"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "work")
    yield tmp_path / "home"
    assert not list((tmp_path / "work").iterdir())


def vice() -> Vice:
    return Vice.from_embedding(np.eye(3))


def test_a_path_is_told_from_a_hub_id(home):
    (home / "model@v1").mkdir()
    assert local_path("~/model@v1") == home / "model@v1" and local_path("~/gone") == home / "gone"
    assert local_path("user/model") is None
    assert split_revision("~/model@v1") == (str(home / "model@v1"), None)
    assert split_revision("user/model@v1") == ("user/model", "v1") and split_revision("user/model")[1] is None
    assert hub_id("user/model@v1") == "user/model"
    for local in ("~/model@v1", "~/gone", "./model", "/model", "demo", "", None):
        assert hub_id(local) is None
    assert public_name("~/model@v1") == "model@v1" and public_name("./model") == "model"


def test_models(home, tiny_directory, images):
    encoder = VisionEncoder.from_pretrained(str(tiny_directory("dinov2")))
    encoder.save_pretrained("~/model")
    encoder.load_weights("~/model")
    AffineTransform.identity(32).save_pretrained("~/transform")
    teacher = VisionEncoder.from_pretrained("~/model", transform="~/transform")
    assert teacher.backbone.name_or_path == str(home / "model") and read_alignment("~/model") == {}
    teacher.embed(images, save_to="~/embeddings", progress=False)
    ImageCache("~/cache", images, encoder.preprocessor)
    assert {path.name for path in home.iterdir()} == {"model", "transform", "embeddings", "cache"}
    assert fetch_card("~/model", home / "copy") == home / "model"
    (home / "model" / "README.md").write_text("---\nlicense: mit\n---\n")
    assert stated_license("~/model", ask_hub=False) == {"license": "mit"}


def test_transforms(home):
    transform = AffineTransform.identity(3)
    transform.to_npz("~/transform.npz")
    assert AffineTransform.from_npz("~/transform.npz").dim == 3
    transform.save_pretrained("~/transform")
    assert AffineTransform.from_pretrained("~/transform").dim == 3


def test_vice(home):
    vice().save_pretrained("~/vice")
    np.testing.assert_array_equal(Vice.from_pretrained("~/vice").loc_, vice().loc_)
    judgments = make_judgments(np.array([[0, 1, 2], [0, 1, 3]] * 200), np.array([2, 2] * 200))
    Vice(num_dimensions=2, min_objects=0, max_epochs=50).fit(judgments, checkpoint="~/deep/fit", progress=False)
    assert [path.name for path in (home / "deep" / "fit").iterdir()] == ["vice.safetensors"]


def test_datasets(home, images, pictures, triplets):
    images.save_to_disk(home / "both" / "images")
    triplets.save_to_disk(home / "both" / "triplets")
    (home / "both" / "triplets.json").write_text(json.dumps({"teacher": "vit"}))
    assert len(load_images("~/both")) == 24 and len(load_triplets("~/both")["train"]) == 40
    assert read_info("~/both") == {"teacher": "vit"} and has_config("~/both", "images")
    write_official(triplets, "~/official.npz")
    assert len(read_official("~/official.npz")) == 40
    judgments = make_judgments(np.array([[0, 1, 2]]), np.array([2]))
    Dataset.to_parquet(judgments, home / "choices.parquet")
    assert len(load_judgments("~/choices.parquet")["train"]) == 1
    pictures[0].save(home / "photo.png")
    assert PictureList(["~/photo.png"]).read([0])[0].size == (40, 32)


def test_files(home):
    np.save(home / "matrix.npy", np.eye(3))
    (home / "names.txt").write_text("a\nb\n")
    assert load_matrix("~/matrix.npy", "features").shape == (3, 3) and load_names("~/names.txt") == ["a", "b"]
    assert load_similarity_matrix("~/matrix.npy", "similarity").matrix.shape == (3, 3)


LOADERS = (VisionEncoder.from_pretrained, AffineTransform.from_pretrained, Vice.from_pretrained)


@pytest.mark.parametrize("load", [*LOADERS, load_images, load_judgments])
@pytest.mark.usefixtures("home")
def test_what_is_not_there_is_named_as_it_was_given(load):
    with pytest.raises(InputError, match="'~/gone'"):
        load("~/gone")


def test_a_name_that_no_file_can_have_is_no_path():
    assert local_path("a" * 300) is None and public_name("a" * 300) == "a" * 300
