"""Embeddings of a teacher: transformed features of all images, in a file that may be larger than the memory."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset

from hf_alignet.encoder.model import Encoder
from hf_alignet.encoder.transform import AffineTransform
from hf_alignet.errors import InputError
from hf_alignet.images.reader import Reader
from hf_alignet.storage import write_array


class Teacher:
    """A model, or the features that it gave, and a transform that makes them human-like.

    Args:
        encoder: the model. None if `features` are given.
        features: (n, p) of the images.
        transform: of the features, with as many dimensions (else an InputError). None leaves them unchanged.
    """

    def __init__(
        self,
        encoder: Encoder | None = None,
        features: np.ndarray | None = None,
        transform: AffineTransform | None = None,
    ):
        if (encoder is None) == (features is None):
            raise ValueError("give a teacher either an `encoder` or `features`")
        self.encoder, self.features = encoder, features
        dim = encoder.embedding_dim if encoder is not None else features.shape[1]  # type: ignore[union-attr]
        if transform is not None and transform.dim != dim:
            raise InputError(f"the transform needs {transform.dim} features, but the teacher gives {dim}")
        self.transform = transform or AffineTransform.identity(dim)

    def embed(self, images: Dataset | Reader, directory: Path, **options: Any) -> np.ndarray:
        """Features (m, p) of images, before the transform. The processes of a launch share the work.

        Args:
            images: the image dataset.
            directory: for the features. A run that was stopped continues with those in it.
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
        """Transforms features to the embeddings of the teacher.

        Args:
            features: (m, p), may be a memory map.
            file: `.npy` file for the embeddings. If it exists, it is used as it is.
            dtype: of the file. The computation uses float32.

        Returns:
            (m, p) read-only memory map.

        Raises:
            InputError: a feature is not finite, or an embedding is too large for `dtype` (names the row).
        """
        if not file.exists():
            write_array(file, features.shape, dtype, self.transform.blocks(features, dtype))
        return np.load(file, mmap_mode="r", allow_pickle=False)
