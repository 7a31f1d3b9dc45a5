import json
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig
from PIL import Image
from sentence_transformers import SentenceTransformer
from tiny import FAMILIES
from transformers import AutoModel

from hf_alignet.encoder.pooling import pool
from hf_alignet.encoder.vision_model import VisionEncoder

OURS = ("modules.json", "sentence_bert_config.json", "1_Pooling", "2_Dense", "config_sentence_transformers.json")
# A mean that leaves out several tokens or padding: their mean of all tokens would be another embedding
UNTOLD = {("dinov2_with_registers", "mean"), ("siglip2", "mean")}
OTHERS = {("vit", "cls"), ("dinov2", "mean"), ("siglip", "mean"), ("resnet", "mean")}
CASES = sorted({(family, "auto") for family in FAMILIES} | OTHERS | UNTOLD)


def embed(encoder: VisionEncoder, pictures: list[Image.Image]) -> np.ndarray:
    """With the whole processor, as they use it: ours rounds otherwise, which a random MobileNet enlarges."""
    inputs = encoder.processor(pictures, return_tensors="pt")
    with torch.no_grad():
        return pool(encoder.pooling, encoder.backbone, encoder.eval().model(**inputs), dict(inputs)).numpy()


def check(directory: Path, encoder: VisionEncoder, pictures: list[Image.Image]) -> SentenceTransformer:
    """That sentence-transformers opens the directory and gives the embeddings of the encoder."""
    model = SentenceTransformer(str(directory), device="cpu")
    expected = embed(encoder, pictures)
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(model.encode(pictures), expected, rtol=0, atol=1e-5 * scale)
    if encoder.backbone.config.model_type != "mobilenet_v2":  # in whose configuration they do not find the width
        assert model.get_embedding_dimension() == encoder.embedding_dim
    return model


@pytest.mark.parametrize(("family", "pooling"), CASES)
def test_sentence_transformers_gives_our_embeddings(family, pooling, tiny_directory, pictures, tmp_path):
    encoder = VisionEncoder.from_pretrained(str(tiny_directory(family)), pooling)
    encoder.save_pretrained(tmp_path)
    if (family, pooling) in UNTOLD:
        assert not any((tmp_path / name).exists() for name in OURS)
    else:
        check(tmp_path, encoder, pictures[:3])


def test_an_adapter_and_what_is_merged_open_too(tiny_directory, pictures, tmp_path):
    encoder = VisionEncoder.from_pretrained(str(tiny_directory("vit_classifier")))
    before = embed(encoder, pictures[:3])
    encoder.add_lora(LoraConfig(r=2, lora_alpha=64, init_lora_weights=False))
    assert np.abs(embed(encoder, pictures[:3]) - before).max() > 1e-2
    encoder.save_pretrained(tmp_path / "adapter")
    check(tmp_path / "adapter", encoder, pictures[:3])
    encoder.merge_adapter()
    encoder.save_pretrained(tmp_path / "merged", similarity="dot")
    model = check(tmp_path / "merged", encoder, pictures[:3])
    assert model.similarity_fn_name == "dot"
    AutoModel.from_pretrained(tmp_path / "merged")


def test_no_adapter_opens_as_another_model(tiny_directory, tmp_path):
    for family in ("clip", "mae"):  # its base is a dual model, or would hide patches
        encoder = VisionEncoder.from_pretrained(str(tiny_directory(family)))
        encoder.add_lora(LoraConfig(r=2))
        encoder.save_pretrained(tmp_path / family)
        assert not any((tmp_path / family / name).exists() for name in OURS)


def test_another_pooling_leaves_nothing_of_the_one_before(tiny_directory, tmp_path):
    directory = str(tiny_directory("dinov2_with_registers"))
    VisionEncoder.from_pretrained(directory).save_pretrained(tmp_path, similarity="dot")
    assert (tmp_path / "modules.json").is_file()
    VisionEncoder.from_pretrained(directory, "mean").save_pretrained(tmp_path)
    assert not any((tmp_path / name).exists() for name in OURS)


def test_grey_pictures_and_those_with_transparency_have_embeddings(tiny_directory, pictures, tmp_path):
    encoder = VisionEncoder.from_pretrained(str(tiny_directory("vit")))
    encoder.save_pretrained(tmp_path)
    model = SentenceTransformer(str(tmp_path), device="cpu")
    grey = pictures[0].convert("L")
    expected = encoder.embed([grey], progress=False)
    np.testing.assert_allclose(model.encode([grey]), expected, atol=1e-5)
    assert np.isfinite(model.encode([pictures[0].convert("RGBA")])).all()
    assert json.loads((tmp_path / "modules.json").read_text())[0]["path"] == ""
