"""The MLP of the last block for the first token alone, where the embedding needs no other: nothing else changes."""

import pytest
import torch
from peft import LoraConfig
from tiny import FAMILIES

from hf_alignet.encoder.blocks import blocks_of
from hf_alignet.encoder.vision_model import VisionEncoder

OF_FIRST_TOKEN = {"vit", "vit_classifier", "deit", "dinov2", "dinov2_with_registers", "dinov3", "clip"}


def embed(encoder, is_of_first_token=None):
    """Embeddings and gradients of two pictures, and how many tokens the MLP of the last block saw."""
    if is_of_first_token is not None:
        encoder.is_of_first_token = is_of_first_token
    seen = []
    mlp = getattr((blocks_of(encoder.backbone) or [None])[-1], "mlp", None)
    handle = mlp and mlp.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape[1]))
    encoder.zero_grad()
    embeddings = encoder(**encoder.preprocessor.stack(encoder._examples()))
    embeddings.sin().sum().backward()
    if handle:
        handle.remove()
    return embeddings.detach(), {n: p.grad for n, p in encoder.named_parameters() if p.grad is not None}, seen


@pytest.mark.parametrize("family", FAMILIES)
def test_models_whose_embedding_is_of_the_first_token(family, tiny_directory):
    encoder = VisionEncoder.from_pretrained(str(tiny_directory(family)))
    *found, seen = embed(encoder)
    *expected, seen_before = embed(encoder, False)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert (seen == [1] and seen_before[0] > 1) if family in OF_FIRST_TOKEN else seen == seen_before


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_pooling_of_all_tokens_needs_all(pooling, tiny_directory):
    encoder = VisionEncoder.from_pretrained(str(tiny_directory("dinov2")), pooling=pooling)
    assert encoder.is_of_first_token == (pooling == "cls")


def test_an_adapter_gets_the_same_gradients(tiny_directory):
    encoder = VisionEncoder.from_pretrained(str(tiny_directory("vit")))
    encoder.add_lora(LoraConfig(r=2, init_lora_weights="gaussian"))
    *found, seen = embed(encoder)
    *expected, _ = embed(encoder, False)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert seen == [1] and found[1]


def test_the_model_itself_gives_all_tokens_as_before(tiny_directory):
    encoder = VisionEncoder.from_pretrained(str(tiny_directory("vit"))).eval()
    inputs = encoder.preprocessor(encoder._examples())
    with torch.no_grad():
        before = encoder.model(**inputs).last_hidden_state
        encoder(**inputs)
        torch.testing.assert_close(encoder.model(**inputs).last_hidden_state, before, rtol=0, atol=0)
