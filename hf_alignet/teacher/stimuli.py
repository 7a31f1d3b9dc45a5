"""Features of the stimuli that were judged, and the names that judgments call them by."""

from pathlib import Path

import numpy as np
import torch
from datasets import Dataset

from hf_alignet.encoder import VisionEncoder
from hf_alignet.errors import InputError
from hf_alignet.images import load_images
from hf_alignet.judgments import image_names
from hf_alignet.sources import load_matrix
from hf_alignet.teacher.arguments import StimulusArguments, TeacherArguments


def load_stimuli(
    stimuli: StimulusArguments, arguments: TeacherArguments, cache: Path
) -> tuple[np.ndarray, list[str] | None]:
    """Features (n, p) float32 of the stimuli, embedded where images were given, and their names if they have any.

    Raises:
        InputError: images, model, features or names cannot be used.
    """
    names = _read_names(stimuli.object_names) if stimuli.object_names is not None else None
    if stimuli.features is not None:
        features = np.array(load_matrix(stimuli.features, "features"), np.float32)
    else:
        images = load_images(str(stimuli.images))
        features = _embed(stimuli, arguments, images, cache)
        names = image_names(images) if names is None else names
    if names is not None and len(names) != len(features):
        raise InputError(f"there are {len(names)} names, but features of {len(features)} stimuli")
    return features, names


def load_local_features(stimuli: StimulusArguments, arguments: TeacherArguments, cache: Path) -> np.ndarray | None:
    """Features (k, p) float32 of the other images that glocal looks at, from the same model; None for others."""
    if arguments.local_features is not None:
        return np.array(load_matrix(arguments.local_features, "local features"), np.float32)
    if arguments.local_images is None:
        return None
    if stimuli.model_name_or_path is None:
        raise InputError("--local_images need --model_name_or_path: the model that the features are from")
    return _embed(stimuli, arguments, load_images(arguments.local_images), cache)


def _embed(stimuli: StimulusArguments, arguments: TeacherArguments, images: Dataset, cache: Path) -> np.ndarray:
    encoder = VisionEncoder.from_pretrained(
        str(stimuli.model_name_or_path), stimuli.pooling, stimuli.trust_remote_code
    ).eval()
    encoder.to(torch.accelerator.current_accelerator() or "cpu")
    options = {"batch_size": arguments.batch_size, "progress": not arguments.disable_tqdm}
    return np.array(encoder.embed(images, save_to=cache, **options))


def _read_names(file: str) -> list[str]:
    try:
        return Path(file).expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the names {file}: {error}") from error
