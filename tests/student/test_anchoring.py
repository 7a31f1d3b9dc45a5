import copy

import numpy as np
import pytest
import torch
from peft import IA3Config, LoHaConfig, LoraConfig, VeraConfig, get_peft_model
from torch import nn

from hf_alignet.encoder.vision_model import VisionEncoder
from hf_alignet.errors import InputError
from hf_alignet.student import AlignTrainer, AlignTrainingArguments, Anchor


class Bare(nn.Module):
    """Stands for an encoder whose model is a few parameters."""

    def __init__(self, **parameters):
        super().__init__()
        self.model = nn.ParameterDict({name: torch.tensor(value) for name, value in parameters.items()})


def test_decoupled_anchor_follows_the_released_optimiser():
    with np.load("tests/golden/golden_alignet.npz", allow_pickle=False) as golden:
        golden = {name: golden[name] for name in golden.files if name.startswith("d2i")}
    bare = Bare(w=golden["d2i_init_w"], b=golden["d2i_init_b"])
    anchor = Anchor(bare)
    optimizer = torch.optim.Adam(bare.parameters(), betas=(0.9, 0.999), eps=1e-8)
    for step, rate in enumerate(golden["d2i_lr"]):
        optimizer.param_groups[0]["lr"] = float(rate)
        for name, parameter in bare.model.items():
            parameter.grad = torch.from_numpy(golden[f"d2i_grads_{name}"][step].copy())
        anchor.pull(optimizer, weight=1.0)
        optimizer.step()
        for name, parameter in bare.model.items():
            expected = golden[f"d2i_traj_{name}"][step]
            np.testing.assert_allclose(parameter.detach(), expected, atol=1e-6, rtol=1e-6)


def test_penalty_is_the_squared_distance_and_differentiates():
    bare = Bare(w=np.arange(6.0, dtype=np.float32).reshape(2, 3), b=np.zeros(2, np.float32))
    anchor = Anchor(bare)
    assert anchor.penalty() == 0
    with torch.no_grad():
        bare.model["w"] += 2.0
        bare.model["b"][0] = 1.0
    penalty = anchor.penalty()
    penalty.backward()
    assert penalty.item() == 6 * 4 + 1
    assert torch.equal(bare.model["w"].grad, torch.full((2, 3), 4.0))


def test_pull_uses_the_learning_rate_of_each_group():
    bare = Bare(w=np.zeros(1, np.float32), b=np.zeros(1, np.float32))
    anchor = Anchor(bare)
    with torch.no_grad():
        for parameter in bare.model.values():
            parameter.fill_(1.0)
    groups = [{"params": [bare.model["w"]], "lr": 0.1}, {"params": [bare.model["b"]], "lr": 0.5}]
    anchor.pull(torch.optim.SGD(groups, lr=1.0), weight=0.5)
    assert bare.model["w"].item() == pytest.approx(0.95) and bare.model["b"].item() == pytest.approx(0.75)


LINEAR_KINDS = {
    "lora": {},
    "rslora": {"use_rslora": True},
    "random": {"init_lora_weights": False},
    "pissa": {"init_lora_weights": "pissa"},
    "olora": {"init_lora_weights": "olora"},
    "dora": {"use_dora": True},
    "bias": {"bias": "lora_only"},
}
CONV_KINDS = {name: LINEAR_KINDS[name] for name in ("lora", "rslora", "random", "dora")}
KINDS = [("dinov2", kind) for kind in LINEAR_KINDS] + [("resnet", kind) for kind in CONV_KINDS]


@pytest.fixture
def adapted(tiny_directory):
    """Makes an encoder with a new adapter, optionally moved from where it started."""

    def make(family, kind, is_moved=False):
        encoder = VisionEncoder.from_pretrained(str(tiny_directory(family)))
        encoder.add_lora(LoraConfig(r=3, lora_alpha=5, **LINEAR_KINDS[kind]))
        if is_moved:
            move(encoder)
        return encoder

    return make


def trainable(encoder):
    return [parameter for parameter in encoder.model.parameters() if parameter.requires_grad]


@torch.no_grad()
def move(encoder, scale=0.1):
    for parameter in trainable(encoder):
        parameter += scale * torch.randn_like(parameter)


def merged(encoder):
    """Weights of the plain model that the encoder amounts to, in float64."""
    return copy.deepcopy(encoder.model).double().merge_and_unload().state_dict()


def naive_penalty(encoder, start):
    return sum((tensor - start[name]).square().sum().item() for name, tensor in merged(encoder).items())


@pytest.mark.parametrize("is_moved", [False, True])
@pytest.mark.parametrize(("family", "kind"), KINDS)
def test_penalty_of_an_adapter_is_that_of_the_merged_weights(family, kind, is_moved, adapted):
    encoder = adapted(family, kind, is_moved)
    anchor = Anchor(encoder)
    assert len(anchor.adapters) == {"dinov2": 12, "resnet": 8}[family]
    assert anchor.penalty() == 0
    start = merged(encoder)
    for scale in (1e-3, 0.1):
        move(encoder, scale)
        assert anchor.penalty().item() == pytest.approx(naive_penalty(encoder, start), rel=1e-4)


@pytest.mark.parametrize(("family", "kind"), KINDS)
def test_gradient_of_an_adapters_penalty(family, kind, adapted):
    encoder = adapted(family, kind, is_moved=True)
    anchor, start = Anchor(encoder), merged(encoder)
    move(encoder)
    parameters = trainable(encoder)
    gradients = torch.autograd.grad(anchor.penalty(), parameters)
    direction = [torch.randn_like(parameter) for parameter in parameters]
    slope = sum((g * d).sum().item() for g, d in zip(gradients, direction, strict=True))
    encoder.model.double()  # for the finite difference
    differences = []
    for step in (1e-5, -2e-5):
        with torch.no_grad():
            for parameter, along in zip(trainable(encoder), direction, strict=True):
                parameter += step * along.double()
        differences.append(naive_penalty(encoder, start))
    assert slope == pytest.approx((differences[0] - differences[1]) / 2e-5, rel=1e-4)


@pytest.mark.parametrize("anchor_type", ["decoupled", "penalty"])
@pytest.mark.parametrize(
    ("family", "kind"),
    [("dinov2", "pissa"), ("dinov2", "olora"), ("dinov2", "dora"), ("resnet", "lora"), ("resnet", "dora")],
)
def test_adapters_train_with_either_anchor(family, kind, anchor_type, adapted, images, triplets, tmp_path):
    encoder = adapted(family, kind)
    before = [parameter.detach().clone() for parameter in trainable(encoder)]
    distances = []
    for weight in (0.0, 100.0):
        with torch.no_grad():
            for parameter, start in zip(trainable(encoder), before, strict=True):
                parameter.copy_(start)
        settings = {"anchor_type": anchor_type, "anchor_weight": weight, "learning_rate": 5e-3, "max_steps": 4}
        args = AlignTrainingArguments(
            output_dir=str(tmp_path / "out"), warmup_steps=0, save_strategy="no", disable_tqdm=True, **settings
        )
        anchor = Anchor(encoder.to(args.device))
        AlignTrainer(encoder, args, train_dataset=triplets, images=images).train()
        distances.append(anchor.penalty().item())
    assert 0 < distances[1] < distances[0]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (LoHaConfig(r=2, target_modules=["fc1"]), "'hada_w1_a.default' of a peft.tuners.loha"),
        (IA3Config(target_modules=["fc1"], feedforward_modules=[]), "'ia3_l.default'"),
        (VeraConfig(r=2, target_modules=["fc1"]), "'vera_lambda_b.default'"),
        (LoraConfig(r=2, target_modules=["fc1"], lora_bias=True), "'lora_B.default.bias'"),
    ],
)
def test_adapters_that_it_does_not_know_are_refused(config, message, tiny_directory):
    encoder = VisionEncoder.from_pretrained(str(tiny_directory("dinov2")))
    encoder.model = get_peft_model(encoder.model, config)
    with pytest.raises(InputError, match=f"{message}.*`anchor_weight=0`"):
        Anchor(encoder)


def test_adapter_with_a_frozen_factor_still_counts_as_one(adapted):
    encoder = adapted("dinov2", "random")
    for name, parameter in encoder.model.named_parameters():
        if "lora_A" in name:
            parameter.requires_grad_(False)
    anchor, start = Anchor(encoder), merged(encoder)
    move(encoder)
    assert anchor.penalty().item() == pytest.approx(naive_penalty(encoder, start), rel=1e-4)


def test_anchor_leaves_out_frozen_weights_and_the_projection(tiny_directory):
    encoder = VisionEncoder.from_pretrained(str(tiny_directory("vit_classifier")))
    encoder.add_projection(8)
    encoder.model.embeddings.requires_grad_(False)
    anchor = Anchor(encoder)
    assert all(not name.startswith("embeddings") for name in anchor.parameters)
    assert all(parameter is not encoder.projection.weight for parameter in anchor.parameters.values())


@pytest.mark.parametrize("family", ["dinov2", "resnet"])
def test_final_weights_lie_between_the_first_and_the_trained_ones(family, tiny_directory, tmp_path, images, triplets):
    states = {}
    for share in (1.0, 0.25):
        encoder = VisionEncoder.from_pretrained(str(tiny_directory(family)))
        start = {name: tensor.clone() for name, tensor in encoder.model.state_dict().items()}
        settings = {"anchor_weight": 0.0, "interpolation": share, "learning_rate": 1e-3, "max_steps": 2}
        args = AlignTrainingArguments(str(tmp_path), save_strategy="no", disable_tqdm=True, warmup_steps=0, **settings)
        AlignTrainer(encoder, args, train_dataset=triplets, images=images).train()
        states[share] = encoder.cpu().model.state_dict()
    for name, first in start.items():
        if first.is_floating_point():
            torch.testing.assert_close(states[0.25][name], first + 0.25 * (states[1.0][name] - first))
    assert any(not torch.equal(states[1.0][name], first) for name, first in start.items())


def test_checkpoints_hold_the_weights_before_interpolation(tiny_directory, tmp_path, images, triplets):
    encoder = VisionEncoder.from_pretrained(str(tiny_directory("dinov2")))
    args = AlignTrainingArguments(str(tmp_path), save_strategy="steps", save_steps=2, disable_tqdm=True, max_steps=2)
    args.interpolation = 0.4
    trainer = AlignTrainer(encoder, args, train_dataset=triplets, images=images)
    start = {name: tensor.clone() for name, tensor in trainer.anchor.snapshot.items()}
    trainer.train()
    trained = VisionEncoder.from_pretrained(str(tmp_path / "checkpoint-2"))
    for name, now in trainer.anchor.parameters.items():
        expected = torch.lerp(start[name], trained.model.get_parameter(name).to(now.device), 0.4)
        torch.testing.assert_close(now.detach(), expected)
