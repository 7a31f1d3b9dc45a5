"""The photographs of a sweep: tokens before the last blocks, embeddings of the base, and vectors of teachers."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import RidgeCV
from tail import Tail, first_blocks

from hf_alignet.encoder import AffineTransform
from hf_alignet.encoder.vision_model import VisionEncoder
from hf_alignet.evaluation.human.odd_one_out import odd_labels
from hf_alignet.images.opening import load_images
from hf_alignet.images.reader import ImageReader
from hf_alignet.similarity import triplet_similarities
from hf_alignet.similarity.matched_entropy import match_entropy
from hf_alignet.student.interpolation import Knowledge, sample_rows
from hf_alignet.triplets import load_triplets
from hf_alignet.triplets.batches import class_vectors
from hf_alignet.triplets.triplet_dataset import TRIPLET, column

NUM_CACHED = 4  # last blocks that are trained from tokens made once; all blocks need tokens of their own
MEASURED_PER_CLASS, TRAINED_PER_CLASS = 20, 24  # photographs; those measured as in things-vit-tiny
NUM_FINE = 10_000  # triplets inside a class


@dataclass
class Photographs:
    """The data. Positions count the measured photographs first, and then those to train on.

    Attributes:
        model: the base, a path or Hub id.
        images: reader of the pictures.
        rows: (n,) of the image dataset.
        cache: folder for tokens.
        labels: (n,) classes.
        num_measured: of the n.
        base: (n, d) embeddings of the base.
        transform: that of tiny-imagenet, of embeddings of the base.
        vice: (n, 42) vectors of the classes.
        triplets: (m, 3) positions, of classes never seen.
        odd: (m,) the odd ones out by VICE.
        fine: (k, 3) positions, inside a class never seen.
    """

    model: str
    images: ImageReader
    rows: np.ndarray
    cache: Path
    labels: np.ndarray
    num_measured: int
    base: np.ndarray
    transform: AffineTransform
    vice: np.ndarray
    triplets: np.ndarray
    odd: np.ndarray
    fine: np.ndarray
    _tokens: dict[int, np.ndarray] = field(default_factory=dict)

    def tokens(self, num_blocks: int) -> np.ndarray:
        """(n, t, d) before the last `num_blocks` blocks, made at the first call."""
        if num_blocks not in self._tokens:
            encoder = VisionEncoder.from_pretrained(self.model).eval()
            file = self.cache / f"tokens_before_last_{num_blocks}.npy"
            self._tokens[num_blocks] = first_blocks(encoder, self.images, self.rows, num_blocks, file)
        return self._tokens[num_blocks]

    @cached_property
    def place_in_class(self) -> np.ndarray:
        """(n,) place of each photograph among those of its class that are measured, or trained on."""
        is_trained = np.arange(len(self.labels)) >= self.num_measured
        return pd.Series(self.labels).groupby([self.labels, is_trained]).cumcount().to_numpy()

    @cached_property
    def known(self) -> tuple[np.ndarray, Knowledge]:
        """Positions of photographs, and what the base knows about them, for `--interpolation auto`."""
        positions = sample_rows(np.arange(0), np.arange(self.num_measured), seed=0)
        return positions, Knowledge(torch.from_numpy(self.base[positions]), seed=0)


def load_photographs(model: str, data: Path, transform: Path, cache: Path) -> Photographs:
    images, unseen = load_images(str(data)), load_triplets(str(data))["unseen_classes"]
    encoder = VisionEncoder.from_pretrained(model).eval()
    labels = np.asarray(images["label"][:])
    place = pd.Series(labels).groupby(labels).cumcount().to_numpy()
    is_unseen = np.isin(labels, labels[np.unique(column(unseen, TRIPLET))])
    measured = np.flatnonzero(place < MEASURED_PER_CLASS)
    wanted = (place >= MEASURED_PER_CLASS) & (place < MEASURED_PER_CLASS + TRAINED_PER_CLASS) & ~is_unseen
    rows = np.concatenate([measured, np.flatnonzero(wanted)])
    reader = ImageReader(images, encoder.preprocessor)
    base_file = cache / "base.npy"
    if not base_file.exists():
        tokens = first_blocks(encoder, reader, rows, NUM_CACHED, cache / f"tokens_before_last_{NUM_CACHED}.npy")
        np.save(base_file, Tail(encoder, NUM_CACHED).embed(tokens, np.arange(len(rows))))
    rng = np.random.default_rng(0)
    classes = np.unique(labels[measured][is_unseen[measured]])
    fine = [
        rng.choice(np.flatnonzero(labels[measured] == rng.choice(classes)), 3, replace=False) for _ in range(NUM_FINE)
    ]
    return Photographs(
        model=model,
        images=reader,
        rows=rows,
        cache=cache,
        labels=labels[rows],
        num_measured=len(measured),
        base=np.load(base_file, allow_pickle=False),
        transform=AffineTransform.from_pretrained(str(transform)),
        vice=class_vectors(labels[rows], np.load(data / "class_vectors.npy", allow_pickle=False)),
        triplets=np.searchsorted(measured, column(unseen, TRIPLET)),
        odd=odd_labels(unseen),
        fine=np.stack(fine),
    )


def teacher_vectors(photographs: Photographs, teacher: str, within_weight: float) -> np.ndarray:
    """(m, p) vectors of the photographs to train on, by names of teachers; with `+`, dot products are summed.

    `transform`: the base's embeddings under the transform of tiny-imagenet. `classes`: vectors of VICE. `ridge`: the
    base's embeddings under the linear map to those that fits best. With `within_weight`, what the base says about
    photographs of one class is added: its embeddings about the mean of their class, in the units of the first.
    """
    trained = slice(photographs.num_measured, None)
    base, vice, labels = photographs.base[trained], photographs.vice[trained], photographs.labels[trained]
    known = {
        "transform": lambda: photographs.transform(base),
        "classes": lambda: vice,
        "ridge": lambda: RidgeCV(np.logspace(-2, 5, 8)).fit(base, vice).predict(base),
    }
    parts = [known[name]() for name in teacher.split("+")]
    if within_weight:
        sample = torch.from_numpy(np.random.default_rng(0).integers(len(base), size=(2000, 3)))
        of_base, of_teacher = (triplet_similarities(torch.from_numpy(x), sample) for x in (base, parts[0]))
        temperature = match_entropy(of_base, of_teacher)
        means = pd.DataFrame(base).groupby(labels).transform("mean").to_numpy()
        parts.append((base - means) * np.sqrt(within_weight / temperature))
    return np.concatenate(parts, axis=1).astype(np.float32)
