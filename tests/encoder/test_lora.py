import copy

import numpy as np
import pytest
import torch
import transformers
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from tiny import FAMILIES
from torch import nn

from hf_alignet.encoder.lora import merge_in_training
from hf_alignet.encoder.vision_model import VisionEncoder
from hf_alignet.errors import InputError


@pytest.fixture
def encoder(tiny_directory):
    return lambda family: VisionEncoder.from_pretrained(str(tiny_directory(family)))


def adapted(encoder) -> dict[str, nn.Module]:
    """The layers below the adapters, by name."""
    modules = encoder.backbone.named_modules()
    return {name: module.get_base_layer() for name, module in modules if isinstance(module, LoraLayer)}


CONVOLUTIONAL = ("resnet", "efficientnet", "mobilenet_v2")


@pytest.mark.parametrize("family", [family for family in FAMILIES if family not in CONVOLUTIONAL])
def test_default_is_every_linear_layer_in_use(family, encoder):
    plain, named = encoder(family), encoder(family)
    used = plain.used_parameters()
    linear = {n for n, m in plain.model.named_modules() if isinstance(m, nn.Linear) and f"{n}.weight" in used}
    plain.add_lora(LoraConfig(r=2))
    named.add_lora(LoraConfig(r=2, target_modules="all-linear"))
    assert set(adapted(plain)) == set(adapted(named)) == linear - {"head.attention.out_proj"}


@pytest.mark.parametrize("family", ["resnet", "efficientnet"])
def test_default_is_every_plain_convolution_where_there_are_no_linear_layers(family, encoder):
    model = encoder(family)
    plain = {n for n, m in model.model.named_modules() if isinstance(m, nn.Conv2d) and m.groups == 1}
    model.add_lora(LoraConfig(r=2))
    assert set(adapted(model)) == plain


def test_adapted_convolutions_merge_exactly(encoder, images):
    model = encoder("efficientnet")
    model.add_lora(LoraConfig(r=2, init_lora_weights=False))
    embeddings = model.embed(images, progress=False)
    model.merge_adapter()
    merged = model.embed(images, progress=False)
    np.testing.assert_allclose(merged, embeddings, rtol=1e-4, atol=1e-5 * np.abs(embeddings).max())


def test_layers_by_name_expression_and_exclusion(encoder):
    for targets, excluded, expected in (
        (["fc1", "encoder.layer.0.attention.q_proj"], None, {"mlp.fc1", "attention.q_proj"}),
        (r".*layer\.1\..*fc[12]", None, {"mlp.fc1", "mlp.fc2"}),
        (None, r".*(attention|fc2).*", {"mlp.fc1"}),
    ):
        config = LoraConfig(r=2, target_modules=targets, exclude_modules=excluded)
        model = encoder("dinov2")
        model.add_lora(config)
        assert {".".join(name.split(".")[-2:]) for name in adapted(model)} == expected
        assert config.target_modules == (set(targets) if isinstance(targets, list) else targets)  # left as it was


@pytest.mark.parametrize(
    ("family", "targets", "message"),
    [
        ("dinov2", ["fc1", "query"], "no layer 'query' .* names are fc1, fc2, k_proj,"),
        ("dinov2", ["mlp"], "'encoder.layer.0.mlp' .* it is a Dinov2MLP"),
        ("dinov2", r".*query", "finds no layer to adapt"),
        ("resnet", ["fc1"], "no layer 'fc1' .* names are convolution"),
        ("resnet", "all-linear", "'all-linear' finds no layer to adapt in ResNetModel.* or auto"),
        ("siglip", ["head.attention.out_proj"], "head.attention.out_proj finds no layer to adapt"),
        ("efficientnet", ["depthwise_conv.depthwise_conv"], "EfficientNetDepthwiseConv"),
        ("mobilenet_v2", ["conv_3x3.convolution"], "is a grouped convolution"),
    ],
)
def test_layers_that_cannot_be_adapted(family, targets, message, encoder):
    with pytest.raises(InputError, match=message):
        encoder(family).add_lora(LoraConfig(r=2, target_modules=targets))


def test_dilated_convolution_is_left_out(encoder):
    model = encoder("resnet")
    dilated = "encoder.stages.0.layers.0.layer.1.convolution"
    layer = model.model.get_submodule(dilated)
    layer.dilation = layer.padding = (2, 2)
    with pytest.raises(InputError, match="is a dilated"):
        model.add_lora(LoraConfig(r=2, target_modules=[dilated]))
    model.add_lora(LoraConfig(r=2))
    assert len(adapted(model)) == 7 and dilated not in adapted(model)


def test_rank_that_is_not_positive(encoder):
    with pytest.raises(InputError, match="does not fit Dinov2Model: .*positive"):
        encoder("dinov2").add_lora(LoraConfig(r=0))


def test_model_that_reads_its_convolutions_is_left_as_it_was(encoder, images):
    model = encoder("mobilenet_v2")
    embeddings, names = model.embed(images, progress=False), list(model.state_dict())
    with pytest.raises(InputError, match="MobileNetV2Model does not run with LoRA"):
        model.add_lora(LoraConfig(r=2))
    assert not model.is_adapter and list(model.state_dict()) == names
    np.testing.assert_array_equal(model.embed(images, progress=False), embeddings)


def test_mobilenet_without_its_padding_takes_an_adapter(encoder):
    model = encoder("mobilenet_v2")
    config = transformers.MobileNetV2Config(image_size=32, depth_multiplier=0.25, tf_padding=False)
    plain = VisionEncoder(transformers.MobileNetV2Model(config), model.processor)
    plain.add_lora(LoraConfig(r=2))
    assert len(adapted(plain)) > 30


def test_batch_statistics_stay_those_of_the_base(encoder, images):
    model = encoder("resnet")
    inputs = model.preprocessor([images[row]["image"] for row in range(4)])
    buffers = {name: buffer.clone() for name, buffer in model.model.named_buffers()}
    model.add_lora(LoraConfig(r=2))
    with torch.no_grad():
        evaluated = model.eval()(**inputs)
        assert torch.equal(model.train()(**inputs), evaluated)
    model.merge_adapter()
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in model.model.named_buffers())
    with torch.no_grad():
        assert not torch.equal(model.train()(**inputs), evaluated)


def test_adapter_that_would_not_act_is_refused(encoder):
    model = encoder("siglip")
    wrapped = get_peft_model(model.model, LoraConfig(r=2, target_modules="all-linear"))
    with pytest.raises(InputError, match=r"adapter in '.*head.attention' has no effect.*exclude_modules"):
        VisionEncoder(wrapped, model.processor)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="it is for GPUs")
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_merged_weights_give_the_outputs_and_gradients_of_the_factors(dropout):
    config = LoraConfig(r=3, lora_dropout=dropout, target_modules=["0"])
    plain = get_peft_model(nn.Sequential(nn.Linear(24, 16)), config)
    nn.init.normal_(plain.base_model.model[0].lora_B["default"].weight)
    plain.cuda().train()
    merging = copy.deepcopy(plain)
    merge_in_training(merging)
    inputs = torch.randn(40, 24, device="cuda")
    results = []
    for model in (plain, merging):
        torch.manual_seed(0)
        output = model(inputs)
        output.square().sum().backward()
        results.append([output, *(p.grad for p in model.parameters() if p.requires_grad)])
    assert len(results[0]) == 3
    torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-4)
