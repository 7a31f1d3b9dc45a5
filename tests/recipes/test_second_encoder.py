"""The weights that recipes/second-encoder takes out of an ONNX file; its runs take minutes and are not run."""

import numpy as np
import onnx
import pytest
import torch
from recipe_scripts import RECIPES, load_script
from torch import nn
from transformers import Dinov2Config, Dinov2Model

FOLDER = RECIPES / "second-encoder"


def load(name):
    return load_script(FOLDER / f"{name}.py")


class Salience(nn.Module):
    """An encoder with something after it, as in the package."""

    def __init__(self):
        super().__init__()
        shape = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 8, "patch_size": 4}
        self.backbone, self.decoder = Dinov2Model(Dinov2Config(**shape)), nn.Linear(8, 1)

    def forward(self, pixels):
        return self.decoder(self.backbone(pixels).last_hidden_state)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")  # of torch's old export
def test_weights_come_out_of_an_onnx_file_as_they_went_in(tmp_path):
    convert = load("convert")
    torch.manual_seed(0)
    module = Salience().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_()
    pixels = torch.randn(1, 3, 8, 8)
    torch.onnx.export(module, (pixels,), str(tmp_path / "model.onnx"), dynamo=False, opset_version=14)
    model = onnx.load(tmp_path / "model.onnx")
    found, expected = convert.encoder_weights(model.graph), module.backbone.state_dict()
    assert found.keys() == expected.keys()
    for name, weight in found.items():
        if name != "embeddings.mask_token":  # no picture with masked patches was exported
            assert torch.equal(weight, expected[name]), name
    with torch.no_grad():
        tokens = module.backbone(pixels).last_hidden_state.numpy()
    np.testing.assert_allclose(convert.tokens_of_file(model, pixels.numpy()), tokens, atol=1e-5)
