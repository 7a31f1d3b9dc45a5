"""Embeddings of a teacher: its features after its transform, in a file that may be larger than the memory."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset

from hf_alignet.encoder.model import VisionEncoder
from hf_alignet.encoder.transform import AffineTransform
from hf_alignet.errors import InputError
from hf_alignet.images.reader import ImageReader
from hf_alignet.storage import whole_array


class Teacher:
    """A model, or features from a model, and the transform that makes the features human-like.

    Args:
        encoder: embeds the images; None if there are features.
        features: (n, p) of the images; None if there is an encoder.
        transform: of the features; None leaves them as they are.

    Raises:
        InputError: the transform has another width than the features (names both).
    """

    def __init__(
        self,
        encoder: VisionEncoder | None = None,
        features: np.ndarray | None = None,
        transform: AffineTransform | None = None,
    ):
        if (encoder is None) == (features is None):
            raise ValueError("a teacher has either an encoder or features")
        self.encoder, self.features = encoder, features
        dim = encoder.embedding_dim if encoder is not None else features.shape[1]  # type: ignore[union-attr]
        if transform is not None and transform.dim != dim:
            raise InputError(f"the transform is of {transform.dim} features, but the teacher gives {dim}")
        self.transform = transform or AffineTransform.identity(dim)

    def embed(self, images: Dataset | ImageReader, directory: Path, **options: Any) -> np.ndarray:
        """Features (m, p) of images, before the transform; under `accelerate launch` the processes share the work.

        Args:
            images: the images; only their number is used if the teacher has features.
            directory: for the features. A run that was stopped continues there.
            **options: of `hf_alignet.encoder.embedding.embed_dataset`.

        Raises:
            InputError: an image cannot be decoded, or the numbers of features and images differ.
        """
        if self.encoder is not None:
            self.encoder.to(torch.accelerator.current_accelerator() or "cpu")
            return self.encoder.embed(images, save_to=directory, **options)
        assert self.features is not None
        if len(self.features) != len(images):
            raise InputError(f"there are {len(self.features)} rows of features, but {len(images)} images")
        return self.features

    def write_embeddings(self, features: np.ndarray, file: Path, dtype: str = "float32") -> np.ndarray:
        """The embeddings of the teacher: the transformed features.

        Args:
            features: (m, p), may be a memory map.
            file: a `.npy` file for the embeddings. If it exists, it is taken from an earlier run and not written.
            dtype: type of the numbers in the file; they are computed in float32.

        Returns:
            (m, p) read-only memory map.

        Raises:
            InputError: a feature is not finite, or too large for the type (names the row).
            RunError: the disk is full, or cannot be written for another reason.
        """
        if not file.exists():
            with whole_array(file, features.shape, dtype) as embeddings:
                self.transform(features, out=embeddings)
        return np.load(file, mmap_mode="r", allow_pickle=False)
