"""Aligned models where they are used: ONNX, a pipeline of transformers, a dataset of embeddings."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset, load_dataset
from PIL import Image
from transformers import pipeline

from hf_alignet.cli.embed import COMMAND as EMBED
from hf_alignet.cli.embed import embed_command
from hf_alignet.cli.export import COMMAND as EXPORT
from hf_alignet.cli.export import export_command
from hf_alignet.encoder import VisionEncoder, onnx_export
from hf_alignet.errors import InputError
from hf_alignet.workflows import onnx_run
from hf_alignet.workflows.embedding_run import embed

# What a stranger has: onnxruntime, transformers and datasets, but not hf_alignet
STRANGER = """
import sys
sys.modules["hf_alignet"] = None
import numpy as np, onnxruntime
from datasets import load_dataset
from PIL import Image
from transformers import AutoImageProcessor
onnx, data, out = sys.argv[1:]
pictures = [Image.fromarray(p) for p in np.load(out + "/pixels.npy")]
pixels = AutoImageProcessor.from_pretrained(onnx)(pictures, return_tensors="np")["pixel_values"]
session = onnxruntime.InferenceSession(onnx + "/model.onnx")
one = session.run(["embeddings"], {"pixel_values": pixels[:1]})[0]
every = session.run(["embeddings"], {"pixel_values": pixels})[0]
np.testing.assert_allclose(one, every[:1], atol=1e-5)
column = load_dataset(data, split="train").with_format("numpy")["embedding"][:]
np.savez(out + "/found.npz", onnx=every, dataset=column)
"""


@pytest.fixture(scope="module")
def student(tiny_directory) -> VisionEncoder:
    return VisionEncoder.from_pretrained(str(tiny_directory("vit_classifier")))


@pytest.mark.slow
@pytest.mark.multi_process
def test_a_stranger_gets_our_embeddings_from_onnx_and_from_the_dataset(student, images, tiny_directory, tmp_path):
    model, expected = str(tiny_directory("vit_classifier")), student.embed(images, progress=False)
    (tmp_path / "images").mkdir()
    images.to_parquet(str(tmp_path / "images" / "train.parquet"))
    EXPORT.call(export_command, [model, "--output_dir", str(tmp_path / "onnx"), "--int8"])
    EMBED.call(
        embed_command, [model, str(tmp_path / "images"), "--output_dir", str(tmp_path / "out"), "--disable_tqdm"]
    )
    facts = json.loads((tmp_path / "onnx" / "onnx.json").read_text())
    assert facts["largest_difference"] < 1e-4 and facts["pooling"] == "cls"
    assert 0.8 < facts["int8"]["agreement"] < 1 and facts["int8"]["n"] == onnx_run.TRIPLETS
    assert (tmp_path / "onnx" / "model_int8.onnx").stat().st_size < (tmp_path / "onnx" / "model.onnx").stat().st_size
    np.save(tmp_path / "pixels.npy", np.stack([np.asarray(picture) for picture in images["image"]]))
    command = [sys.executable, "-W", "ignore", "-c", STRANGER, *(str(tmp_path / x) for x in ("onnx", "out", ""))]
    done = subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": ""}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(tmp_path / "found.npz") as found:
        np.testing.assert_allclose(found["onnx"], expected, atol=1e-4)
        np.testing.assert_allclose(found["dataset"], expected, rtol=1e-6)


def test_a_naflex_model_and_a_missing_package_are_refused(student, tiny_directory, tmp_path, monkeypatch):
    naflex = VisionEncoder.from_pretrained(str(tiny_directory("siglip2")))
    with pytest.raises(InputError, match="sequences of patches"):
        onnx_export.export_onnx(naflex, tmp_path / "model.onnx")
    monkeypatch.setattr(onnx_export, "onnxruntime", None)
    with pytest.raises(InputError, match=r'pip install "hf-alignet\[onnx\]"'):
        onnx_run.export(student, tmp_path / "onnx")


@pytest.mark.slow
@pytest.mark.parametrize("family", ["resnet"])
def test_other_families_export(family, tiny_directory, tmp_path):
    encoder = VisionEncoder.from_pretrained(str(tiny_directory(family)))
    assert onnx_export.export_onnx(encoder, tmp_path / "model.onnx") < 1e-4


def test_the_pipeline_of_transformers_gives_our_embeddings(tiny_directory, pictures):
    for family, is_pooled in (("vit_classifier", False), ("siglip", True)):
        encoder = VisionEncoder.from_pretrained(str(tiny_directory(family)))
        encoder.save_pretrained(directory := tiny_directory(family) / "saved")
        pipe = pipeline("image-feature-extraction", str(directory), pool=is_pooled, return_tensors=True, device="cpu")
        found = np.stack([np.asarray(pipe(picture)).squeeze(0) for picture in pictures[:3]])
        found = found if is_pooled else found[:, 0]  # the class token
        np.testing.assert_allclose(found, encoder.embed(pictures[:3], progress=False), atol=1e-4)


def test_rows_keep_their_columns_and_a_rerun_embeds_nothing(student, pictures, tmp_path, monkeypatch):
    images = Dataset.from_dict({"image": pictures, "concept": [f"c{i}" for i in range(24)]})
    options = {"output_dir": tmp_path / "out", "progress": False}
    made = embed(student, images, **options, normalize=True)
    assert made.column_names == ["concept", "embedding"] and made["concept"][3] == "c3"
    np.testing.assert_allclose(np.linalg.norm(made.with_format("numpy")["embedding"][:], axis=1), 1, rtol=1e-5)
    monkeypatch.setattr(type(student), "forward", lambda *_, **__: pytest.fail("it embeds again"))
    again = embed(student, images, **options, keep_images=True)
    assert isinstance(again[0]["image"], Image.Image)
    opened = load_dataset(str(tmp_path / "out"), split="train")
    assert opened.column_names == ["image", "concept", "embedding"] and len(opened) == 24
    np.testing.assert_allclose(opened[5]["embedding"], again[5]["embedding"], rtol=1e-6)
    assert len(opened[5]["embedding"]) == student.embedding_dim
    with pytest.raises(InputError, match="have a column 'embedding' already"):
        embed(student, made, output_dir=tmp_path / "other")
    with pytest.raises(InputError, match="made by another command"):
        onnx_run.export(student, Path(tmp_path / "out"))
