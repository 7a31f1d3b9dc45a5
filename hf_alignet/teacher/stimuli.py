"""Features of the stimuli that were judged, and the names that judgments call them by."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from datasets import Dataset

from hf_alignet.cli.arguments.teacher import StimulusArguments, TeacherArguments
from hf_alignet.encoder.model import VisionEncoder
from hf_alignet.errors import InputError
from hf_alignet.images.opening import load_images
from hf_alignet.judgments import image_names
from hf_alignet.sources import load_matrix, load_names


@dataclass
class Stimuli:
    """What was judged: pictures still to be embedded, or their features.

    Attributes:
        names: by which judgments call them, in the order of the rows; None if they have none.
        features: (n, p) float32, None before pictures are embedded.
        images: the pictures, None if features were given.
        pooling: of the model that embedded them, once it has.
    """

    names: list[str] | None
    features: np.ndarray | None = None
    images: Dataset | None = None
    pooling: str | None = None

    def __len__(self) -> int:
        return len(self.features if self.features is not None else self.images)  # type: ignore[arg-type]

    @classmethod
    def open(cls, arguments: StimulusArguments) -> Self:
        """Opens what the arguments name, and embeds nothing yet.

        Raises:
            InputError: images, features or names cannot be used, or there is not one name for each.
        """
        if arguments.features is not None:
            stimuli = cls(None, features=np.array(load_matrix(arguments.features, "features"), np.float32))
        else:
            images = load_images(str(arguments.images))
            stimuli = cls(image_names(images), images=images)
        if arguments.object_names is not None:
            stimuli.names = load_names(arguments.object_names)
        if stimuli.names is not None and len(stimuli.names) != len(stimuli):
            raise InputError(f"there are {len(stimuli.names)} names, but {len(stimuli)} stimuli")
        return stimuli

    def embed(self, stimuli: StimulusArguments, arguments: TeacherArguments, cache: Path) -> np.ndarray:
        """Features (n, p) float32, from the model where images were given."""
        if self.features is None:
            assert self.images is not None
            encoder = _encoder(stimuli)
            self.pooling = encoder.pooling
            self.features = _embed(encoder, arguments, self.images, cache)
        return self.features


def load_local_features(stimuli: StimulusArguments, arguments: TeacherArguments, cache: Path) -> np.ndarray | None:
    """Features (k, p) float32 of the other images that glocal looks at, from the same model; None for others."""
    if arguments.local_features is not None:
        return np.array(load_matrix(arguments.local_features, "local features"), np.float32)
    if arguments.local_images is None:
        return None
    if stimuli.model_name_or_path is None:
        raise InputError("--local_images need --model_name_or_path: the model that the features are from")
    return _embed(_encoder(stimuli), arguments, load_images(arguments.local_images), cache)


def _encoder(stimuli: StimulusArguments) -> VisionEncoder:
    name = str(stimuli.model_name_or_path)
    return VisionEncoder.from_pretrained(name, stimuli.pooling, stimuli.trust_remote_code).eval()


def _embed(encoder: VisionEncoder, arguments: TeacherArguments, images: Dataset, cache: Path) -> np.ndarray:
    encoder.to(torch.accelerator.current_accelerator() or "cpu")
    options = {"batch_size": arguments.batch_size, "progress": not arguments.disable_tqdm}
    return np.array(encoder.embed(images, save_to=cache, **options))
