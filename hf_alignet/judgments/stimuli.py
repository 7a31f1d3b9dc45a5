"""The stimuli that people judged: pictures or texts that a model embeds, or ready features, and names."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from datasets import Dataset

from hf_alignet.encoder import Encoder
from hf_alignet.encoder.embedding import load_embeddings
from hf_alignet.errors import InputError
from hf_alignet.images.opening import load_images
from hf_alignet.images.preprocessing import Preprocessor
from hf_alignet.images.reader import Reader
from hf_alignet.images.tokens import TextPreprocessor
from hf_alignet.judgments.stimulus_names import image_names
from hf_alignet.similarity import check_finite, check_vectors
from hf_alignet.sources import public_name
from hf_alignet.text_files import load_names

FEWEST = 3  # an odd one out needs three images, and a correlation needs several pairs


@dataclass(eq=False)
class Stimuli:
    """n stimuli.

    Attributes:
        name: short name, for messages.
        images: the pictures; with features, only their names are used.
        features: (n, p) features of the stimuli; None if a model embeds the pictures.
        names: names of the stimuli in the judgments, in the order of the rows; by default the names of the images.

    Raises:
        InputError: there are fewer than three stimuli, or images, features and names differ in number.
    """

    name: str
    images: Dataset | None = None
    features: np.ndarray | None = None
    names: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if self.features is not None:
            check_vectors(self.features, "features")
        if self.images is not None and self.features is not None and len(self.images) != len(self.features):
            raise InputError(f"there are {len(self.features)} rows of features, but {len(self.images)} images")
        if len(self) < FEWEST:
            raise InputError(f"{self.name} has {len(self)} stimuli; at least {FEWEST} are needed")
        if self.names is None and self.images is not None:
            self.names = image_names(self.images)
        if self.names is not None and len(self.names) != len(self):
            raise InputError(f"there are {len(self.names)} names, but {len(self)} stimuli in {self.name}")

    @classmethod
    def open(
        cls,
        images: str | Dataset | None = None,
        features: str | np.ndarray | None = None,
        object_names: str | Sequence[str] | None = None,
        image_column: str | None = None,
        image_split: str = "train",
    ) -> Self:
        """Opens images, features and names; it does not embed the images yet.

        Args:
            images: the pictures, or their path or Hub id.
            features: (n, p), or the path of a `.npy` file.
            object_names: names of the stimuli, or the path of a text file with one name in each line.
            image_column: column of the pictures, as for `load_images`.
            image_split: split of the pictures, or `all`.

        Raises:
            InputError: images and features are both None, cannot be opened, or differ in number.
        """
        if images is None and features is None:
            raise InputError("give `images`, the pictures that people judged, or `features` of them")
        path = next((given for given in (images, features) if isinstance(given, str)), "the stimuli")
        images = load_images(images, image_split, image_column) if isinstance(images, str) else images
        return cls(
            public_name(path),
            images,
            load_embeddings(features, "features", images) if isinstance(features, str) else features,
            load_names(object_names) if isinstance(object_names, str) else object_names,
        )

    def __len__(self) -> int:
        return len(self.features if self.features is not None else self.images)  # type: ignore[arg-type]

    def embed(self, encoder: Encoder | None, directory: Path | None, **options: Any) -> np.ndarray:
        """Features (n, p) float32: the given features, or the encoder's embeddings of the pictures.

        Args:
            encoder: encoder of the pictures; not used if the stimuli have features.
            directory: directory for the embeddings; a run continues the embeddings of an earlier run in it.
            **options: options of `Encoder.embed`.

        Raises:
            InputError: a picture cannot be decoded, or a row of features is not finite.
        """
        embeddings: Any = self.features
        if embeddings is None:
            assert self.images is not None and encoder is not None
            encoder.to(torch.accelerator.current_accelerator() or "cpu")
            embeddings = encoder.embed(self._readable(encoder.preprocessor), save_to=directory, **options)
        embeddings = np.array(embeddings, np.float32)
        check_finite(embeddings, f"embeddings of {self.name}")
        return embeddings

    def _readable(self, preprocessor: Preprocessor | TextPreprocessor) -> Dataset | Reader:
        """The pictures as an encoder with this preprocessor reads them."""
        assert self.images is not None
        return self.images
