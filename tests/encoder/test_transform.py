"""AffineTransform: what it computes, and its way to disk, to gLocal's file and to the Hub."""

import io
import json
import pickle

import numpy as np
import pytest
import torch
from huggingface_hub import CommitInfo, HfApi, RepoUrl
from huggingface_hub.utils import filter_repo_objects

from hf_alignet.encoder import AffineTransform
from hf_alignet.encoder.transform import BLOCK
from hf_alignet.errors import InputError
from hf_alignet.storage import OURS


@pytest.fixture
def transform():
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(size=(5, 5)), rng.normal(size=5)
    return AffineTransform(weight, bias, mean=0.3, std=1.7, info={"method": "hard", "regularization": 0.1})


@pytest.fixture
def features():
    return np.random.default_rng(1).normal(size=(7, 5)).astype(np.float32)


def assert_equal(one, other):
    assert {name: tensor.numpy().tobytes() for name, tensor in one.named_buffers()} == {
        name: tensor.numpy().tobytes() for name, tensor in other.named_buffers()
    }


def test_weight_acts_on_rows(transform, features):
    weight, bias = transform.weight.numpy(), transform.bias.numpy()
    for row, result in zip(features, transform(features), strict=True):
        standard = (row - 0.3) / 1.7
        for j in range(5):
            assert result[j] == pytest.approx(sum(standard[i] * weight[i, j] for i in range(5)) + bias[j], rel=1e-5)


def test_arrays_and_tensors_agree(transform, features):
    result = transform(features)
    assert result.dtype == np.float32
    np.testing.assert_allclose(transform(torch.from_numpy(features)).numpy(), result, rtol=1e-5)
    np.testing.assert_allclose(transform(features.astype(np.float64)), result, rtol=1e-5)
    triples = torch.from_numpy(features[:6].reshape(2, 3, 5))
    np.testing.assert_allclose(transform(triples).numpy().reshape(6, 5), result[:6], rtol=1e-5)


def test_half_precision_and_autocast_stay_float32(transform, features):
    half = torch.from_numpy(features).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        result = transform(half)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, transform(half.float()))


def test_memory_map_is_read_in_blocks(tmp_path):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(BLOCK + 3, 2)).astype(np.float16)
    np.save(tmp_path / "features.npy", features)
    transform = AffineTransform(rng.normal(size=(2, 2)), np.ones(2))
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    np.testing.assert_array_equal(transform(mapped), transform(features))
    features[BLOCK + 1, 0] = np.nan
    with pytest.raises(InputError, match=f"row {BLOCK + 1} are not finite"):
        transform(features)


def test_gradients_pass_through_tensors(transform, features):
    tensor = torch.from_numpy(features).requires_grad_()
    transform(tensor).sum().backward()
    torch.testing.assert_close(tensor.grad[0], transform.weight.sum(1) / 1.7)


def test_identity_changes_nothing(features):
    np.testing.assert_array_equal(AffineTransform.identity(5)(features), features)


def test_another_width_is_named(transform):
    with pytest.raises(InputError, match=r"\(2, 4\) do not fit a transform of width 5"):
        transform(np.zeros((2, 4)))


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e200])
@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_features_that_are_not_finite(transform, features, kind, value):
    features = features.astype(np.float64)
    features[4, 2] = value
    with np.errstate(over="ignore"), pytest.raises(InputError, match="row 4 are not finite"):
        transform(kind(features))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.eye(3, 2), np.zeros(3)), "weight"),
        ((np.eye(3), np.zeros(2)), "bias"),
        ((np.eye(3), np.full(3, np.nan)), "bias of the transform is not finite"),
        ((np.eye(3), np.zeros(3), 0.0, 0.0), "std of the transform must be positive"),
    ],
)
def test_what_is_no_transform(arguments, message):
    with pytest.raises(InputError, match=message):
        AffineTransform(*arguments)


# ---- files


def test_saved_transform_is_the_same(transform, tmp_path):
    transform.save_pretrained(tmp_path)
    loaded = AffineTransform.from_pretrained(tmp_path)
    assert_equal(loaded, transform)
    assert loaded.info == transform.info
    assert {path.name for path in tmp_path.iterdir()} - OURS == {"README.md", "config.json", "model.safetensors"}
    assert json.loads((tmp_path / "config.json").read_text()) == {"dim": 5, "info": transform.info}


def test_card_tells_how_it_was_made_and_no_path(transform, tmp_path):
    AffineTransform.identity(5).save_pretrained(tmp_path)
    transform.save_pretrained(tmp_path)  # over another one
    card = (tmp_path / "README.md").read_text()
    assert "library_name: hf_alignet" in card and "| regularization | 0.1 |" in card
    assert str(tmp_path) not in card and "More Information" not in card and "\n\n\n" not in card


def test_npz_round_trip(transform, tmp_path):
    transform.to_npz(tmp_path / "transform.npz")
    with np.load(tmp_path / "transform.npz") as file:
        assert set(file.files) == {"weights", "bias", "mean", "std"}
    assert_equal(AffineTransform.from_npz(tmp_path / "transform.npz"), transform)


def test_npz_without_bias(transform, tmp_path):
    arrays = {"weights": transform.weight.numpy(), "mean": np.array([0.3]), "std": np.float64(1.7)}
    np.savez(tmp_path / "transform.npz", **arrays)
    loaded = AffineTransform.from_npz(tmp_path / "transform.npz")
    assert loaded.bias.tolist() == [0.0] * 5
    assert (loaded.mean, loaded.std) == (transform.mean, transform.std)


def test_npz_that_is_none(tmp_path):
    path = tmp_path / "transform.npz"
    with pytest.raises(InputError, match="cannot read"):
        AffineTransform.from_npz(path)
    np.savez(path, weights=np.eye(2), std=1.0)
    with pytest.raises(InputError, match="lacks mean; it holds std, weights"):
        AffineTransform.from_npz(path)
    np.savez(path, weights=np.array([{}]), mean=0.0, std=1.0)
    with pytest.raises(InputError, match="cannot read"):
        AffineTransform.from_npz(path)
    path.write_bytes(pickle.dumps({"weights": 1}))
    with pytest.raises(InputError, match="cannot read"):
        AffineTransform.from_npz(path)
    path.write_bytes(b"PK\x03\x04 and nothing else")
    with pytest.raises(InputError, match="cannot read"):
        AffineTransform.from_npz(path)
    np.save(path.with_suffix(".npy"), np.eye(2))
    with pytest.raises(InputError, match="cannot read"):
        AffineTransform.from_npz(path.with_suffix(".npy"))


@pytest.mark.parametrize("name", ["nowhere", "a/b/c", "user/name@v1"])
def test_nothing_to_load(name):
    with pytest.raises(InputError, match=f"cannot open the transform '{name}'"):
        AffineTransform.from_pretrained(name)


def test_broken_directory(transform, tmp_path):
    transform.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(InputError, match="cannot open"):
        AffineTransform.from_pretrained(tmp_path)


def test_push_uploads_no_pickle_and_the_repository_in_the_card(transform, monkeypatch):
    uploaded = {}

    def upload_folder(self, *, repo_id, folder_path, **kwargs):
        files = {path.name: path.read_bytes() for path in folder_path.iterdir()}
        kept = filter_repo_objects(files, ignore_patterns=kwargs["ignore_patterns"])
        uploaded.update({name: files[name] for name in kept})
        return CommitInfo(f"https://huggingface.co/{repo_id}/commit/0", "", "", oid="0")

    monkeypatch.setattr(
        HfApi, "create_repo", lambda self, repo_id, **kwargs: RepoUrl(f"https://huggingface.co/{repo_id}")
    )
    monkeypatch.setattr(HfApi, "upload_folder", upload_folder)
    transform.push_to_hub("user/transform")
    assert set(uploaded) == {"README.md", "config.json", "model.safetensors"}
    assert 'AffineTransform.from_pretrained("user/transform")' in uploaded["README.md"].decode()


def test_state_survives_a_torch_file(transform):
    file = io.BytesIO()
    torch.save(transform.state_dict(), file)
    file.seek(0)
    other = AffineTransform.identity(5)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert_equal(other, transform)
