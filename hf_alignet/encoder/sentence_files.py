"""Small files beside the weights by which sentence-transformers (6 or later) opens a model with the right pooling.

Without them it takes the mean of all tokens, and gives other embeddings without a word. It has no module that leaves
out several tokens, or the padding of NaFlex: for a `mean` like that there are no files.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any, Protocol

import torch
import transformers
from PIL import Image
from safetensors.torch import save_file

# Uploads know these names as `SENTENCE_FILES`
MODULES_FILE, TRANSFORMER_FILE = "modules.json", "sentence_bert_config.json"
SIMILARITY_FILE = "config_sentence_transformers.json"
POOLING, DENSE, DENSE_WEIGHTS = "1_Pooling", "2_Dense", "model.safetensors"
CLASSES = {
    "": "sentence_transformers.base.modules.transformer.Transformer",
    POOLING: "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
    DENSE: "sentence_transformers.base.modules.dense.Dense",
}
SIMILARITIES = ("dot", "cosine")  # that sentence-transformers knows under our names


class Pooled(Protocol):
    """What is told of an encoder."""

    preprocessor: Any
    pooling: Any
    embedding_dim: int
    num_prefix_tokens: int | None
    output_shape: tuple[int, ...]

    @property
    def backbone(self) -> transformers.PreTrainedModel: ...

    @property
    def is_adapter(self) -> bool: ...


def write_sentence_files(encoder: Pooled, directory: Path, similarity: str | None = None) -> bool:
    """Writes the files into the directory of a model, and tells whether sentence-transformers can give its embeddings.

    Args:
        encoder: its model, or adapter, is in the directory.
        directory: where to write.
        similarity: how `model.similarity` compares; sentence-transformers does not know `pearson`, and takes cosine.
    """
    if not is_told(encoder):
        return False
    output = "pooler_output" if encoder.pooling == "pooler" else "last_hidden_state"
    is_vector = len(encoder.output_shape) == 2
    settings: dict[str, Any] = {
        "transformer_task": "feature-extraction",
        "modality_config": {"image": {"method": "forward", "method_output_name": output}},
        "module_output_name": "sentence_embedding" if is_vector else "token_embeddings",
        "processing_kwargs": {"image": {"do_convert_rgb": True}},
    }
    if is_vector and hasattr(encoder.backbone.config, "projection_dim") and not encoder.is_adapter:
        # It takes this width, of the space that CLIP shares with texts, for that of the embedding
        settings["config_kwargs"] = {"projection_dim": encoder.embedding_dim}
    modules = [""]
    if not is_vector:
        modules.append(POOLING)
        modes = ["cls", "mean"] if _leaves_one_out(encoder) else "cls" if encoder.pooling == "cls" else "mean"
        _write(
            directory / POOLING / "config.json", {"embedding_dimension": encoder.embedding_dim, "pooling_mode": modes}
        )
    if not is_vector and _leaves_one_out(encoder):
        modules.append(DENSE)
        _write_dense(directory / DENSE, encoder.embedding_dim, encoder.output_shape[1])
    _write(directory / TRANSFORMER_FILE, settings)
    _write_modules(directory, modules, similarity)
    return True


def write_text_files(pooling: str, dim: int, directory: Path, similarity: str | None = None) -> bool:
    """The files of a text model, whose poolings sentence-transformers knows; True.

    Args:
        pooling: `mean`, `cls` or `last`.
        dim: length of an embedding.
        directory: where to write.
        similarity: see `write_sentence_files`.
    """
    mode = "lasttoken" if pooling == "last" else pooling
    _write(directory / POOLING / "config.json", {"embedding_dimension": dim, "pooling_mode": mode})
    _write(directory / TRANSFORMER_FILE, {"transformer_task": "feature-extraction"})
    _write_modules(directory, ["", POOLING], similarity)
    return True


def is_told(encoder: Pooled) -> bool:
    """Whether modules of sentence-transformers can give the embeddings of an encoder."""
    config = encoder.backbone.config
    if encoder.is_adapter and (config.model_type.endswith("vision_model") or hasattr(config, "mask_ratio")):
        return False  # the base may be a whole dual model, or hide patches; see `check_export`
    if encoder.pooling != "mean" or len(encoder.output_shape) == 4:
        return True
    inputs = encoder.preprocessor([Image.new("RGB", (64, 48))])
    if "pixel_attention_mask" in inputs:
        return False
    if not encoder.num_prefix_tokens:
        return True
    height, width = inputs["pixel_values"].shape[-2:]
    return encoder.num_prefix_tokens == 1 and height == width  # so that the number of tokens is always the same


def remove_sentence_files(directory: Path) -> None:
    """Removes files that describe another pooling than that of the model that is now in the directory."""
    for name in (MODULES_FILE, TRANSFORMER_FILE, SIMILARITY_FILE):
        (directory / name).unlink(missing_ok=True)
    for folder in (POOLING, DENSE):
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(directory / folder)


def _leaves_one_out(encoder: Pooled) -> bool:
    return encoder.pooling == "mean" and bool(encoder.num_prefix_tokens)


def _write_modules(directory: Path, modules: list[str], similarity: str | None) -> None:
    if similarity in SIMILARITIES:
        _write(directory / SIMILARITY_FILE, {"model_type": "SentenceTransformer", "similarity_fn_name": similarity})
    listed = [{"idx": i, "name": str(i), "path": path, "type": CLASSES[path]} for i, path in enumerate(modules)]
    _write(directory / MODULES_FILE, listed)


def _write_dense(folder: Path, dim: int, tokens: int) -> None:
    """The mean m of patches from the first token c and the mean t of all T tokens: m = (T t - c) / (T - 1)."""
    folder.mkdir(parents=True)
    one = torch.eye(dim) / (tokens - 1)
    save_file({"linear.weight": torch.cat([-one, tokens * one], 1)}, folder / DENSE_WEIGHTS)
    settings = {"in_features": 2 * dim, "out_features": dim, "bias": False}
    _write(folder / "config.json", {**settings, "activation_function": "torch.nn.modules.linear.Identity"})


def _write(file: Path, content: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
