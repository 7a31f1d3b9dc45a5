"""An encoder as one ONNX file, from the pixels of any number of pictures to their embeddings: the pooling is inside.

It is written by `torch.onnx`, because the exporter of optimum (optimum-onnx 0.0.1) needs transformers below 4.56.
"""

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from hf_alignet.encoder.pooling import pool
from hf_alignet.encoder.vision_model import VisionEncoder
from hf_alignet.errors import InputError

try:
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic
except ImportError:
    onnxruntime = None

OUTPUT = "embeddings"
TOLERANCE = 1e-4  # largest difference, relative to the largest number of the embeddings


class _Embedding(nn.Module):
    """What is exported: the model and its pooling, as one function of the pixels (B, 3, H, W)."""

    def __init__(self, encoder: VisionEncoder):
        super().__init__()
        self.model, self.backbone, self.pooling = encoder.model, encoder.backbone, encoder.pooling

    def forward(self, pixel_values: Tensor) -> Tensor:
        inputs = {"pixel_values": pixel_values}
        return pool(self.pooling, self.backbone, self.model(**inputs), inputs)


def export_onnx(encoder: VisionEncoder, file: Path) -> float:
    """Writes the ONNX file, and returns the largest relative difference of its embeddings in onnxruntime.

    The adapter of an encoder is merged first. Inputs are what its image processor gives.

    Raises:
        InputError: onnx is not installed, the encoder has a transform, the model cannot be exported, or gives other
            embeddings in onnxruntime.
    """
    require_onnx()
    if encoder.transform is not None:
        raise InputError("an ONNX file is of the encoder alone: apply the transform to its embeddings")
    encoder.merge_adapter()
    encoder.eval().to("cpu")
    name, pixels = type(encoder.backbone).__name__, as_pixels(encoder, _noise(2))
    options: dict[str, Any] = {"input_names": ["pixel_values"], "output_names": [OUTPUT]}
    options |= {"dynamic_shapes": {"pixel_values": {0: "batch"}}, "external_data": False, "verbose": False}
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the tracing of transformers
            torch.onnx.export(_Embedding(encoder), (pixels,), str(file), dynamo=True, **options)
    except (torch.onnx.OnnxExporterError, RuntimeError) as error:
        raise InputError(f"torch.onnx cannot export {name}: {' '.join(str(error).split())[:300]}") from error
    difference = largest_difference(encoder, file)
    if not difference <= TOLERANCE:
        raise InputError(
            f"{name} gives other embeddings in onnxruntime: they differ by {difference:.1e} of the largest"
        )
    return difference


def quantize(file: Path, target: Path) -> None:
    """Writes a copy of an ONNX file with weights in int8, whose activations are quantised as it runs."""
    require_onnx()
    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.ERROR)  # its advice is about other kinds of quantisation
    try:
        quantize_dynamic(str(file), str(target), weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul", "Gemm"])
    finally:
        logging.getLogger().setLevel(level)


def require_onnx() -> None:
    """InputError if the extra `onnx` is not installed."""
    if onnxruntime is None:
        raise InputError('ONNX needs packages that are not installed: `pip install "hf-alignet[onnx]"`')


def run_onnx(file: Path, pixels: Tensor) -> np.ndarray:
    """Embeddings (B, d) float32 of an ONNX file for pixels (B, 3, H, W) of an image processor."""
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return session.run([OUTPUT], {"pixel_values": pixels.numpy()})[0]


def as_pixels(encoder: VisionEncoder, pictures: list[Image.Image]) -> Tensor:
    """(B, 3, H, W) pixels of the image processor; InputError if it gives more, as that of NaFlex does."""
    inputs = encoder.processor(pictures, return_tensors="pt")
    if set(inputs) != {"pixel_values"}:
        raise InputError(
            f"{type(encoder.backbone).__name__} takes sequences of patches, which are not exported to ONNX"
        )
    return inputs["pixel_values"]


def largest_difference(encoder: VisionEncoder, file: Path) -> float:
    """Between embeddings in torch and in onnxruntime of three pictures, relative to the largest number in them."""
    pixels = as_pixels(encoder, _noise(3))  # another number than in the export
    with torch.no_grad():
        expected = _Embedding(encoder)(pixels).numpy()
    return float(np.abs(run_onnx(file, pixels) - expected).max() / np.abs(expected).max())


def _noise(number: int) -> list[Image.Image]:
    pixels = np.random.default_rng(0).integers(0, 256, (number, 64, 64, 3), dtype=np.uint8)
    return [Image.fromarray(picture) for picture in pixels]
