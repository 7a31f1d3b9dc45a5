"""Training the last blocks alone."""

import copy

import pytest
import torch
from peft import LoraConfig

from hf_alignet.encoder.vision_model import VisionEncoder
from hf_alignet.errors import InputError
from hf_alignet.student import AlignTrainer, AlignTrainingArguments
from hf_alignet.student.preparation import trained_blocks


@pytest.mark.parametrize("family", ["vit", "dinov2", "clip", "siglip"])
def test_gradients_reach_the_last_block_and_what_follows_alone(family, tiny_directory, tmp_path, images, triplets):
    encoder = VisionEncoder.from_pretrained(str(tiny_directory(family)))
    args = AlignTrainingArguments(str(tmp_path / "run"), last_blocks=1, student_temperature="1.0", disable_tqdm=True)
    trainer = AlignTrainer(encoder, args, train_dataset=triplets, images=images)
    assert trainer.alignment()["last_blocks"] == 1
    trainer.compute_loss(encoder, trainer.data_collator([triplets[i] for i in range(6)])).backward()
    moved = {name for name, p in encoder.backbone.named_parameters() if p.grad is not None}
    blocks = max((m for m in encoder.backbone.modules() if isinstance(m, torch.nn.ModuleList)), key=len)
    last = {id(p) for p in blocks[-1].parameters()}
    inside = {name for name, p in encoder.backbone.named_parameters() if id(p) in last}
    before = {name for block in list(blocks)[:-1] for name, p in encoder.backbone.named_parameters()
              if any(p is q for q in block.parameters())}  # fmt: skip
    assert len(blocks) > 1 and inside & moved and not before & moved
    assert not any("embeddings" in name for name in moved)
    assert any("norm" in name for name in moved - inside)


def test_an_adapter_is_trained_in_the_last_block_alone(tiny_directory, tmp_path, images, triplets):
    encoder = VisionEncoder.from_pretrained(str(tiny_directory("dinov2")))
    encoder.add_lora(LoraConfig(r=2, target_modules="all-linear"))
    args = AlignTrainingArguments(str(tmp_path / "run"), last_blocks=1, disable_tqdm=True)
    AlignTrainer(encoder, args, train_dataset=triplets, images=images)
    trained = [name for name, p in encoder.model.named_parameters() if p.requires_grad]
    assert trained and all("lora" in name and ".1." in name for name in trained)


@pytest.mark.parametrize(
    ("family", "setting", "expected"),
    [
        ("vit", "auto", 1),
        ("vit", "2", 2),
        ("vit", "all", None),
        ("swin", "auto", None),  # its list is of stages
        ("resnet", "auto", None),
    ],
)
def test_a_third_of_the_blocks_of_a_plain_transformer(family, setting, expected, tiny_directory, tmp_path):
    encoder = VisionEncoder.from_pretrained(str(tiny_directory(family)))
    args = AlignTrainingArguments(str(tmp_path), last_blocks=setting)
    assert trained_blocks(encoder, args.last_blocks) == expected
    if family == "vit":
        encoder.backbone.layers.extend(copy.deepcopy(encoder.backbone.layers[0]) for _ in range(10))
        encoder.backbone.config.num_hidden_layers = 12
        assert trained_blocks(encoder, args.last_blocks) == (4 if setting == "auto" else expected)
        encoder.add_lora(LoraConfig(r=2))
        assert trained_blocks(encoder, "auto") is None


@pytest.mark.parametrize("value", ["most", 0, "1.5"])
def test_settings_that_mean_nothing_are_refused(value, tmp_path):
    with pytest.raises(InputError, match="`last_blocks` must be an integer .at least 1., or one of auto, all, got"):
        AlignTrainingArguments(str(tmp_path), last_blocks=value)


@pytest.mark.parametrize(
    ("family", "words"), [("dinov2", "which has 2 blocks"), ("resnet", "is no plain transformer")]
)
def test_a_model_without_such_blocks_is_refused(family, words, tiny_directory, tmp_path, images, triplets):
    args = AlignTrainingArguments(str(tmp_path / "run"), last_blocks=9, disable_tqdm=True)
    with pytest.raises(InputError, match=words):
        AlignTrainer(str(tiny_directory(family)), args, train_dataset=triplets, images=images)
