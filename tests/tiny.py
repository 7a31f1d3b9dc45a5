"""Tiny random checkpoints of all families of vision models, and of text models, saved as publishers save them."""

from pathlib import Path
from typing import Any

import torch
import transformers as t
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

SIZE = 32
VIT: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
TOWER: dict[str, Any] = {**VIT, "image_size": SIZE, "patch_size": 8}
TEXT = {**VIT, "vocab_size": 99, "max_position_embeddings": 16}


def _processor(kind: type = t.ViTImageProcessorPil, **settings) -> t.BaseImageProcessor:
    settings = {"size": {"height": SIZE, "width": SIZE}} | settings
    return kind(image_mean=[0.5, 0.4, 0.3], image_std=[0.2, 0.3, 0.4], **settings)


def _clip() -> t.PreTrainedModel:
    return t.CLIPModel(t.CLIPConfig(text_config=TEXT, vision_config=TOWER, projection_dim=16))


def _siglip() -> t.PreTrainedModel:
    return t.SiglipModel(t.SiglipConfig(text_config=TEXT | {"projection_size": 32}, vision_config=TOWER))


def _siglip2() -> t.PreTrainedModel:
    vision = {**VIT, "patch_size": 8, "num_patches": 16}
    return t.Siglip2Model(t.Siglip2Config(text_config=TEXT | {"projection_size": 32}, vision_config=vision))


CONV: dict[str, Any] = {"hidden_sizes": [8, 16], "depths": [1, 1]}
# family: (model, image processor, pooling that `auto` picks)
FAMILIES = {
    "vit": (lambda: t.ViTModel(t.ViTConfig(**TOWER)), _processor, "pooler"),
    "vit_classifier": (lambda: t.ViTForImageClassification(t.ViTConfig(**TOWER)), _processor, "cls"),
    "deit": (lambda: t.DeiTForImageClassification(t.DeiTConfig(**TOWER)), _processor, "cls"),
    "beit": (lambda: t.BeitModel(t.BeitConfig(**TOWER)), _processor, "pooler"),
    "dinov2": (lambda: t.Dinov2Model(t.Dinov2Config(**TOWER)), _processor, "pooler"),
    "dinov2_with_registers": (
        lambda: t.Dinov2WithRegistersModel(t.Dinov2WithRegistersConfig(**TOWER, num_register_tokens=4)),
        _processor,
        "pooler",
    ),
    "dinov3": (lambda: t.DINOv3ViTModel(t.DINOv3ViTConfig(**TOWER, num_register_tokens=4)), _processor, "pooler"),
    "ijepa": (lambda: t.IJepaModel(t.IJepaConfig(**TOWER), add_pooling_layer=False), _processor, "mean"),
    "mae": (lambda: t.ViTMAEModel(t.ViTMAEConfig(**TOWER)), _processor, "mean"),
    "clip": (
        _clip,
        lambda: _processor(t.CLIPImageProcessorPil, size={"shortest_edge": SIZE}, crop_size=SIZE),
        "pooler",
    ),
    "siglip": (_siglip, lambda: _processor(t.SiglipImageProcessorPil), "pooler"),
    "siglip2": (
        _siglip2,
        lambda: t.Siglip2ImageProcessorPil(patch_size=8, max_num_patches=16),
        "pooler",
    ),
    "swin": (
        lambda: t.SwinModel(
            t.SwinConfig(image_size=SIZE, patch_size=4, embed_dim=16, depths=[1, 1], num_heads=[2, 2], window_size=4)
        ),
        _processor,
        "pooler",
    ),
    "convnext": (
        lambda: t.ConvNextModel(t.ConvNextConfig(num_stages=2, layer_scale_init_value=1.0, **CONV)),
        _processor,
        "pooler",
    ),
    "resnet": (lambda: t.ResNetModel(t.ResNetConfig(embedding_size=8, **CONV)), _processor, "pooler"),
    "efficientnet": (
        lambda: t.EfficientNetModel(
            t.EfficientNetConfig(
                image_size=SIZE, width_coefficient=0.25, depth_coefficient=0.3, hidden_dim=320, batch_norm_eps=1e-5
            )
        ),
        _processor,
        "pooler",
    ),
    "mobilenet_v2": (
        lambda: t.MobileNetV2Model(t.MobileNetV2Config(image_size=SIZE, depth_multiplier=0.25)),
        _processor,
        "pooler",
    ),
    "mobilevit": (
        lambda: t.MobileViTModel(
            t.MobileViTConfig(
                image_size=SIZE,
                hidden_sizes=[16, 16, 16],
                neck_hidden_sizes=[8, 8, 8, 16, 16, 16, 32],
                output_stride=8,  # with fewer than four patches there is nothing to attend to
            )
        ),
        _processor,
        "pooler",
    ),
}


def save_tiny(family: str, directory: Path) -> None:
    """Writes the model and image processor of a family."""
    torch.manual_seed(0)
    make_model, make_processor, _ = FAMILIES[family]
    model = make_model()
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    if norms:
        # With the weights and statistics of a new network the signal would die out on the way.
        for module in model.modules():
            if isinstance(module, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(module.weight)
        for norm in norms:
            norm.momentum = 1.0
        model.train()(pixel_values=torch.randn(16, 3, SIZE, SIZE))
    model.save_pretrained(directory)
    make_processor().save_pretrained(directory)


WORDS = "a cat dog wolf car truck bus train on the mat sits two dogs small large red old".split()
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
LONGEST = 16  # tokens
POSITIONS: dict[str, Any] = {"max_position_embeddings": LONGEST, "vocab_size": len(SPECIAL) + len(WORDS)}
# family: (model, whether [CLS] and [SEP] are around a text, pooling that `auto` picks)
TEXT_FAMILIES = {
    "bert": (lambda: t.BertModel(t.BertConfig(**VIT, **POSITIONS)), True, "mean"),
    "roberta": (
        lambda: t.RobertaModel(t.RobertaConfig(**VIT, **POSITIONS, pad_token_id=0), add_pooling_layer=False),
        True,
        "mean",
    ),
    "gpt2": (
        lambda: t.GPT2Model(t.GPT2Config(n_embd=32, n_layer=2, n_head=2, n_positions=LONGEST, vocab_size=22)),
        False,
        "last",
    ),
}


def make_tokenizer(has_ends: bool = True, **settings: Any) -> t.PreTrainedTokenizerFast:
    """A tokenizer that knows `WORDS`."""
    words = {word: number for number, word in enumerate(SPECIAL + WORDS)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    if has_ends:
        ends = [("[CLS]", words["[CLS]"]), ("[SEP]", words["[SEP]"])]
        tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=ends)
    names = {"unk_token": "[UNK]", "eos_token": "[SEP]"} | ({"pad_token": "[PAD]"} if has_ends else {})
    return t.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names, **settings)


def save_tiny_text(family: str, directory: Path, **settings: Any) -> None:
    """Writes the model and the tokenizer of a family; `settings` are of the tokenizer."""
    torch.manual_seed(0)
    make_model, has_ends, _ = TEXT_FAMILIES[family]
    make_model().save_pretrained(directory)
    make_tokenizer(has_ends, **settings).save_pretrained(directory)
