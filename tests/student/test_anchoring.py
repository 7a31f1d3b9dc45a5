import numpy as np
import pytest
import torch
from peft import LoraConfig
from torch import nn

from hf_alignet.encoder import VisionEncoder
from hf_alignet.student import Anchor


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


@pytest.mark.parametrize("is_fresh", [True, False])
@pytest.mark.parametrize("use_rslora", [True, False])
def test_lora_penalty_is_that_of_the_merged_weights(tiny_directory, is_fresh, use_rslora):
    encoder = VisionEncoder.from_pretrained(str(tiny_directory("dinov2")))
    config = LoraConfig(
        r=3, lora_alpha=5, use_rslora=use_rslora, target_modules="all-linear", init_lora_weights=is_fresh
    )
    encoder.add_lora(config)
    anchor = Anchor(encoder)
    assert abs(anchor.penalty().item()) < 1e-5

    def merged():
        layers = [m for m in encoder.model.modules() if hasattr(m, "get_delta_weight")]
        return [layer.get_delta_weight("default").detach().clone() for layer in layers]

    before = merged()
    assert len(before) == 12
    with torch.no_grad():
        for name, parameter in encoder.model.named_parameters():
            if "lora_" in name:
                parameter += 0.1 * torch.randn_like(parameter)
    naive = sum(((a - b).double() ** 2).sum() for a, b in zip(merged(), before, strict=True))
    assert anchor.penalty().item() == pytest.approx(naive.item(), rel=1e-5)


def test_anchor_leaves_out_frozen_weights_and_the_projection(tiny_directory):
    encoder = VisionEncoder.from_pretrained(str(tiny_directory("vit_classifier")))
    encoder.add_projection(8)
    encoder.model.embeddings.requires_grad_(False)
    anchor = Anchor(encoder)
    assert all(not name.startswith("embeddings") for name in anchor.parameters)
    assert all(parameter is not encoder.projection.weight for parameter in anchor.parameters.values())
