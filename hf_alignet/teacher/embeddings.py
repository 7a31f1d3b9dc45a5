"""Embeddings of a teacher: features of all images under its transform, in a file that need not fit into memory."""

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
    """A model, or features that it gave, and the transform that makes them human-like.

    Args:
        encoder: embeds the images; None where there are features.
        features: (n, p) of the images.
        transform: of features; None to leave them as they are.

    Raises:
        InputError: the transform is of another width than the features (names both).
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
        """Features (m, p) of images, before the transform; the processes of a launch share the work.

        Args:
            images: not looked at where there are features.
            directory: keeps the features of these images, and those of an earlier run that stopped.
            **options: of `hf_alignet.encoder.embedding.embed_dataset`.

        Raises:
            InputError: an image cannot be decoded, or there is not one row of features for each.
        """
        if self.encoder is not None:
            self.encoder.to(torch.accelerator.current_accelerator() or "cpu")
            return self.encoder.embed(images, save_to=directory, **options)
        assert self.features is not None
        if len(self.features) != len(images):
            raise InputError(f"there are {len(self.features)} rows of features, but {len(images)} images")
        return self.features

    def write_embeddings(self, features: np.ndarray, file: Path, dtype: str = "float32") -> np.ndarray:
        """The teacher's embeddings: features under the transform.

        Args:
            features: (m, p), may be a memory map.
            file: `.npy` to write them to; one that is there is taken for them.
            dtype: of the numbers in it; they are computed in float32.

        Returns:
            (m, p) read-only memory map.

        Raises:
            InputError: features are not finite, or too large for the type (names the row).
        """
        if not file.exists():
            with whole_array(file, features.shape, dtype) as embeddings:
                self.transform(features, out=embeddings)
        return np.load(file, mmap_mode="r", allow_pickle=False)
