"""A teacher's embeddings: those of its model or file, under its transform, in a file that is whole or not there."""

import numpy as np
import pytest
import torch

from hf_alignet.encoder import AffineTransform
from hf_alignet.encoder import transform as transform_module
from hf_alignet.encoder.vision_model import VisionEncoder
from hf_alignet.errors import InputError
from hf_alignet.storage import OURS
from hf_alignet.teacher import Teacher


@pytest.fixture(scope="module")
def encoder(tiny_directory) -> VisionEncoder:
    return VisionEncoder.from_pretrained(str(tiny_directory("dinov2")))


@pytest.fixture
def features() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)


def some_transform(dim: int) -> AffineTransform:
    rng = np.random.default_rng(1)
    return AffineTransform(rng.normal(size=(dim, dim)), rng.normal(size=dim), mean=0.3, std=2.0)


def test_features_of_a_model_are_its_embeddings(encoder, images, tmp_path):
    rows = np.array([0, 3, 4, 20])
    found = Teacher(encoder).embed(images, tmp_path, rows=rows, batch_size=3, progress=False)
    np.testing.assert_allclose(found, encoder.embed(images, progress=False)[rows], atol=1e-5)
    assert {file.name for file in tmp_path.iterdir()} - OURS == {
        "embeddings.json",
        "embeddings.npy",
        "done.npy",
        "pictures.parquet",
    }


def test_features_of_a_file_are_taken_as_they_are(features, images, tmp_path):
    teacher = Teacher(features=features[:24])
    np.testing.assert_array_equal(teacher.embed(images, tmp_path / "none", rows=np.arange(24)), features[:24])
    assert not (tmp_path / "none").exists()
    with pytest.raises(InputError, match="there are 40 rows of features, but 24 images"):
        Teacher(features=features).embed(images, tmp_path)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_embeddings_are_features_under_the_transform(dtype, features, tmp_path, monkeypatch):
    monkeypatch.setattr(transform_module, "BLOCK", 7)
    transform = some_transform(6)
    file = tmp_path / "deep" / "embeddings.npy"
    found = Teacher(features=features, transform=transform).write_embeddings(features, file, dtype)
    weight, bias = transform.weight.double().numpy(), transform.bias.double().numpy()
    expected = (features.astype(float) - 0.3) / 2 @ weight + bias
    np.testing.assert_allclose(found, expected, rtol=1e-5 if dtype == "float32" else 2e-3, atol=1e-4)
    assert found.dtype == dtype and isinstance(found, np.memmap) and not found.flags.writeable
    assert [path.name for path in file.parent.iterdir()] == ["embeddings.npy"]


def test_without_a_transform_they_are_the_features(features, tmp_path):
    teacher = Teacher(features=features)
    np.testing.assert_array_equal(teacher.write_embeddings(features, tmp_path / "embeddings.npy"), features)


def test_features_may_be_a_memory_map_of_another_type(features, tmp_path):
    np.save(tmp_path / "features.npy", (100 * features).astype(np.int16))
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    found = Teacher(features=mapped).write_embeddings(mapped, tmp_path / "embeddings.npy")
    np.testing.assert_array_equal(found, mapped)


def test_file_that_is_there_is_taken(features, tmp_path):
    file = tmp_path / "embeddings.npy"
    first = np.array(Teacher(features=features).write_embeddings(features, file))
    teacher = Teacher(features=features, transform=some_transform(6))
    np.testing.assert_array_equal(teacher.write_embeddings(features, file), first)


def test_stopped_in_the_middle_it_begins_again(features, tmp_path, monkeypatch):
    file = tmp_path / "embeddings.npy"
    teacher = Teacher(features=features, transform=some_transform(6))
    monkeypatch.setattr(transform_module, "BLOCK", 10)
    apply, calls = AffineTransform._transform, []

    def stopped(self, block, start):
        calls.append(start)
        if start == 20:
            raise KeyboardInterrupt
        return apply(self, block, start)

    monkeypatch.setattr(AffineTransform, "_transform", stopped)
    with pytest.raises(KeyboardInterrupt):
        teacher.write_embeddings(features, file)
    assert calls == [0, 10, 20] and not file.exists()
    monkeypatch.setattr(AffineTransform, "_transform", apply)
    np.testing.assert_allclose(teacher.write_embeddings(features, file), teacher.transform(features), rtol=1e-6)


def test_features_that_are_not_finite_are_named(features, tmp_path):
    features[31, 2] = np.nan
    with pytest.raises(InputError, match="features of row 31 are not finite"):
        Teacher(features=features).write_embeddings(features, tmp_path / "embeddings.npy")
    assert not (tmp_path / "embeddings.npy").exists()


def test_embeddings_too_large_for_half_precision_are_named(features, tmp_path):
    features[31, 2] = 1e5
    teacher = Teacher(features=features)
    with pytest.raises(InputError, match="row 31.*float16"):
        teacher.write_embeddings(features, tmp_path / "embeddings.npy", "float16")
    assert not (tmp_path / "embeddings.npy").exists()  # with float32 the run can go on
    assert teacher.write_embeddings(features, tmp_path / "embeddings.npy")[31, 2] == np.float32(1e5)


def test_transform_of_another_width(encoder, features):
    with pytest.raises(InputError, match="the transform needs 5 features, but the teacher gives 6"):
        Teacher(features=features, transform=some_transform(5))
    with pytest.raises(InputError, match="the transform needs 5 features, but the teacher gives 32"):
        Teacher(encoder, transform=some_transform(5))


def test_either_a_model_or_features(encoder, features):
    for arguments in ({}, {"encoder": encoder, "features": features}):
        with pytest.raises(ValueError, match="either an `encoder` or `features`"):
            Teacher(**arguments)


def test_transform_acts_on_embeddings_of_the_model(encoder, images, tmp_path):
    teacher = Teacher(encoder, transform=some_transform(32))
    features = teacher.embed(images, tmp_path / "features", rows=np.arange(24), progress=False)
    found = teacher.write_embeddings(features, tmp_path / "embeddings.npy")
    expected = teacher.transform(torch.from_numpy(encoder.embed(images, progress=False)))
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)
