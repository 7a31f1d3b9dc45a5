"""The stimuli that people judged: pictures that a model embeds, or features that were made elsewhere, and names."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from datasets import Dataset

from hf_alignet.encoder import VisionEncoder
from hf_alignet.errors import InputError
from hf_alignet.images.opening import load_images
from hf_alignet.judgments.own_table import image_names
from hf_alignet.sources import load_matrix, load_names, public_name

FEWEST = 3  # of two images none is the odd one out, and one pair correlates with nothing


@dataclass(eq=False)
class Stimuli:
    """n stimuli.

    Attributes:
        name: short.
        images: the pictures; beside features they only give names.
        features: (n, p) of the stimuli; None where a model embeds the pictures.
        names: by which judgments call the stimuli, in their order; by default those of the images, if they have any.

    Raises:
        InputError: there are fewer than three stimuli, or images, features and names do not fit each other.
    """

    name: str
    images: Dataset | None = None
    features: np.ndarray | None = None
    names: Sequence[str] | None = None

    def __post_init__(self) -> None:
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
    ) -> Self:
        """Opens what is named, and embeds nothing yet.

        Args:
            images: the pictures, or their path or Hub id.
            features: (n, p), or the path of a `.npy` file of them.
            object_names: names of the stimuli, or the path of a text file with one name a line.

        Raises:
            InputError: nothing is given, it cannot be opened, or the parts do not fit each other.
        """
        if images is None and features is None:
            raise InputError("give `images`, the pictures that people judged, or `features` of them")
        path = next((given for given in (images, features) if isinstance(given, str)), "the stimuli")
        return cls(
            public_name(path),
            load_images(images) if isinstance(images, str) else images,
            load_matrix(features, "features") if isinstance(features, str) else features,
            load_names(object_names) if isinstance(object_names, str) else object_names,
        )

    def __len__(self) -> int:
        return len(self.features if self.features is not None else self.images)  # type: ignore[arg-type]

    def embed(self, encoder: VisionEncoder | None, directory: Path | None, **options: Any) -> np.ndarray:
        """Features (n, p) float32: those that were given, or what the encoder makes of the pictures.

        Args:
            encoder: of the pictures; not used where there are features.
            directory: keeps what the encoder makes, and that of an earlier run that stopped.
            **options: see `embed_dataset`.

        Raises:
            InputError: a picture cannot be decoded, or a row of features is not finite (names the row).
        """
        if self.features is not None:
            embeddings = self.features
        else:
            assert self.images is not None and encoder is not None
            encoder.to(torch.accelerator.current_accelerator() or "cpu")
            embeddings = encoder.embed(self.images, save_to=directory, **options)
        embeddings = np.array(embeddings, np.float32)
        is_bad = ~np.isfinite(embeddings).all(1)
        if is_bad.any():
            raise InputError(f"row {is_bad.argmax()} of the embeddings of {self.name} is not finite")
        return embeddings
