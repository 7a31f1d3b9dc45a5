"""Every family of vision models: aligned in full and by LoRA, saved, and opened again without this package's help."""

import numpy as np
import pytest
import torch
from peft import LoraConfig
from tiny import FAMILIES
from transformers import AutoModel

from hf_alignet.encoder.pooling import pool
from hf_alignet.encoder.vision_model import VisionEncoder
from hf_alignet.errors import InputError
from hf_alignet.student import AlignTrainer, AlignTrainingArguments, load_student

NO_LORA = {"mobilenet_v2": "MobileNetV2Model does not run with LoRA .* 'stride'.* without `use_lora`"}
MERGED_ONLY = {name: "more than the vision tower.* `merge_lora=True`" for name in ("clip", "siglip", "siglip2")}
MERGED_ONLY["mae"] = "hides most of every image.* `merge_lora=True`"


@pytest.fixture
def align(images, triplets, tmp_path):
    """Aligns an encoder for two steps and saves it; gives the directory and the names of the weights that changed."""

    def run(encoder):
        before = {name: tensor.cpu().clone() for name, tensor in encoder.model.state_dict().items()}
        args = AlignTrainingArguments(
            output_dir=str(tmp_path / "out"),
            max_steps=2,
            per_device_train_batch_size=4,
            learning_rate=1e-3,
            last_blocks="all",
            warmup_steps=0,
            lr_scheduler_type="constant",
            student_temperature="1.0",
            save_strategy="no",
            disable_tqdm=True,
        )
        trainer = AlignTrainer(encoder, args, train_dataset=triplets, images=images)
        trainer.train()
        trainer.save_model()
        after = encoder.model.state_dict()
        return trainer.output_dir, {name for name in before if not torch.equal(before[name], after[name].cpu())}

    return run


def plain_embeddings(directory, encoder, images) -> np.ndarray:
    """Embeddings of the model that AutoModel finds in a directory, pooled as the encoder does."""
    model = AutoModel.from_pretrained(directory).eval()
    inputs = encoder.preprocessor([images[row]["image"] for row in range(len(images))])
    with torch.no_grad():
        return pool(encoder.pooling, model, model(**inputs), inputs).numpy()


def trained(encoder) -> set[str]:
    return {name for name, parameter in encoder.model.named_parameters() if parameter.requires_grad}


def assert_same(embeddings, expected):
    np.testing.assert_allclose(embeddings, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("family", FAMILIES)
def test_all_weights(family, tiny_directory, images, align):
    encoder = VisionEncoder.from_pretrained(str(tiny_directory(family)))
    unaligned = encoder.embed(images, progress=False)
    parameters, used = dict(encoder.model.named_parameters()), encoder.used_parameters()
    directory, changed = align(encoder)
    assert trained(encoder) == used  # what the embedding depends on is trained, the rest is not
    assert changed & set(parameters) == used
    aligned = encoder.embed(images, progress=False)
    assert np.abs(aligned - unaligned).max() > 1e-3 * np.abs(unaligned).max()
    assert_same(plain_embeddings(directory, encoder, images), aligned)


@pytest.mark.parametrize("family", FAMILIES)
def test_lora(family, tiny_directory, images, align, tmp_path):
    name = str(tiny_directory(family))
    refused = NO_LORA | MERGED_ONLY
    if family in refused:
        with pytest.raises(InputError, match=refused[family]):
            load_student(name, lora=LoraConfig(r=2))
    if family in NO_LORA:
        return
    encoder = load_student(name, lora=LoraConfig(r=2), merge_lora=family in MERGED_ONLY)
    adapter = trained(encoder)
    unaligned = encoder.embed(images, progress=False)
    directory, changed = align(encoder)
    assert changed == trained(encoder) == adapter  # no weight of the base, no running statistics, no dead adapter
    assert all(".lora_" in weight for weight in adapter)
    aligned = encoder.embed(images, progress=False)
    assert np.abs(aligned - unaligned).max() > 1e-4 * np.abs(unaligned).max()
    assert_same(VisionEncoder.from_pretrained(str(directory)).embed(images, progress=False), aligned)
    if family not in MERGED_ONLY:
        assert_same(plain_embeddings(directory, encoder, images), aligned)
    encoder.merge_adapter()
    encoder.save_pretrained(tmp_path / "merged")
    assert_same(plain_embeddings(tmp_path / "merged", encoder, images), aligned)
