"""From a model to ONNX files that serve it: the embedding in float32, in int8 on request, and how well they agree."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from PIL import Image

from hf_alignet.demo import demo_images
from hf_alignet.encoder import VisionEncoder
from hf_alignet.encoder.onnx_export import as_pixels, export_onnx, quantize, require_onnx, run_onnx
from hf_alignet.encoder.pooling import PoolingChoice
from hf_alignet.errors import naming
from hf_alignet.images.decoding import read_pictures
from hf_alignet.images.opening import load_images
from hf_alignet.ranges import checked
from hf_alignet.similarity import is_correct, odd_one_out, triplet_similarities
from hf_alignet.storage import new_files, output_folder, write_json

MAKER = "export"
FILE, INT8_FILE, FACTS_FILE = "model.onnx", "model_int8.onnx", "onnx.json"
PICTURES, TRIPLETS, BATCH = 200, 5000, 20  # that agreement is measured on

logger = logging.getLogger(__name__)


@checked
def export(
    model: str | VisionEncoder,
    output_dir: str | Path = "outputs/onnx",
    int8: bool = False,
    images: str | Dataset | None = None,
    pooling: PoolingChoice = "auto",
    trust_remote_code: bool = False,
) -> dict[str, Any]:
    """Writes `model.onnx`, from pixels (B, 3, H, W) of any number of pictures to embeddings, and its processor.

    The embeddings are compared with those of torch in onnxruntime. `onnx.json` says what was found.

    Args:
        model: path or Hub id (optionally with `@revision`), or `VisionEncoder`. An adapter is merged.
        output_dir: directory for the files.
        int8: also write `model_int8.onnx`, with weights in int8, and measure how often it picks the same odd one out.
        images: image dataset, or its path or Hub id, for that measure. By default the emoji of the demo.
        pooling: which output of the model is the embedding, if `model` is a path or Hub id.
        trust_remote_code: allow code from the model's repository to run.

    Returns:
        What `onnx.json` holds.

    Raises:
        InputError: onnx is not installed, the model cannot be exported, or gives other embeddings in onnxruntime.
        RunError: the directory cannot be written.

    Example:
        >>> export("outputs/my-aligned", "outputs/my-onnx", int8=True)["largest_difference"]  # doctest: +SKIP
    """
    require_onnx()
    with output_folder(output_dir, MAKER) as folder:
        encoder = model
        if not isinstance(encoder, VisionEncoder):
            with naming("model"):
                encoder = VisionEncoder.from_pretrained(encoder, pooling, trust_remote_code)
        with naming("images"):
            opened = load_images(images) if isinstance(images, str) else images
        with new_files(folder) as made:
            facts: dict[str, Any] = {"pooling": encoder.pooling, "embedding_dim": encoder.embedding_dim}
            facts["largest_difference"] = export_onnx(encoder, made / FILE)
            encoder.processor.save_pretrained(made)
            if int8:
                quantize(made / FILE, made / INT8_FILE)
                facts["int8"] = agreement(encoder, made / FILE, made / INT8_FILE, _pictures(opened))
                facts["int8"]["images"] = "emoji of the demo" if images is None else "given"
            write_json(made / FACTS_FILE, facts)
        logger.info("%s: largest relative difference %.1e", folder / FILE, facts["largest_difference"])
        if int8:
            logger.info(
                "%s picks the same odd one out in %.1f %%", folder / INT8_FILE, 100 * facts["int8"]["agreement"]
            )
        return facts


def agreement(encoder: VisionEncoder, file: Path, other: Path, pictures: list[Image.Image]) -> dict[str, Any]:
    """How often two ONNX files pick the same odd one out of random triplets of pictures, and their mean cosine."""
    first, second = (_embeddings(encoder, each, pictures) for each in (file, other))
    rng = np.random.default_rng(0)
    triplets = torch.tensor(np.stack([rng.permutation(len(pictures))[:3] for _ in range(TRIPLETS)]))
    odd, other_odd = (odd_one_out(triplet_similarities(torch.from_numpy(each), triplets)) for each in (first, second))
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return {
        "agreement": float(is_correct(other_odd, odd).float().mean()),
        "n": TRIPLETS,
        "pictures": len(pictures),
        "mean_cosine": float(np.mean((first * second).sum(1) / lengths)),
    }


def _embeddings(encoder: VisionEncoder, file: Path, pictures: list[Image.Image]) -> np.ndarray:
    batches = [pictures[i : i + BATCH] for i in range(0, len(pictures), BATCH)]
    return np.concatenate([run_onnx(file, as_pixels(encoder, batch)) for batch in batches])


def _pictures(images: Dataset | None) -> list[Image.Image]:
    images = demo_images() if images is None else images
    rows = np.random.default_rng(0).permutation(len(images))[:PICTURES]
    return read_pictures(images, rows.tolist())
