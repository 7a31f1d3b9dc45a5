"""What a student learns from: images, and triplets of them or the teacher's vectors."""

from dataclasses import dataclass, field

import numpy as np
from datasets import Dataset

from hf_alignet.errors import InputError
from hf_alignet.triplets.batches import TeacherVectors, load_teacher
from hf_alignet.triplets.dataset import TRIPLET, column


@dataclass
class DataArguments:
    """The data: images and triplets, which are rows of the images, or neither for the demo.

    Raises:
        InputError: settings that exclude each other.
    """

    images: str | None = field(
        default=None,
        metadata={"help": "Path or Hub id of a dataset with a column `image`. Default: the embedded demo (emoji)."},
    )
    triplets: str | None = field(
        default=None,
        metadata={
            "help": "Path or Hub id of triplets: columns `triplet` (three rows of the images) and `similarities` (the "
            "teacher's, in the order 01, 02, 12). Every split but train is held out and measured. Default: the demo's."
        },
    )
    teacher_embeddings: str | None = field(
        default=None,
        metadata={
            "help": "Matrix (.npy) with the teacher's vector of every image. With it, training labels all triplets in "
            "each batch of images, of those that the train split names."
        },
    )
    class_vectors: str | None = field(
        default=None, metadata={"help": "The same, with a vector of every class of the images' column `label`."}
    )
    triplet_source: str = field(
        default="auto",
        metadata={
            "help": "batch: all triplets in a batch of images. separate: those of the train split. auto: batch where "
            "there are teacher's vectors.",
            "choices": ["auto", "batch", "separate"],
        },
    )

    def __post_init__(self) -> None:
        if (self.images is None) != (self.triplets is None):
            raise InputError(
                "give both --images and --triplets, which are rows of the images, or neither for the demo"
            )
        vectors = [name for name in (self.teacher_embeddings, self.class_vectors) if name is not None]
        if self.triplet_source == "batch" and not vectors:
            raise InputError("--triplet_source batch needs --teacher_embeddings or --class_vectors")
        if len(vectors) > 1:
            raise InputError("give --teacher_embeddings or --class_vectors, not both")
        if vectors and self.images is None:
            raise InputError("the teacher's vectors belong to --images, which are missing")


def training_data(data: DataArguments, images: Dataset, train: Dataset, seed: int) -> Dataset | TeacherVectors:
    """The training triplets, or the teacher's vectors of the images that they name."""
    if data.triplet_source == "separate" or not (data.teacher_embeddings or data.class_vectors):
        return train
    rows = np.unique(column(train, TRIPLET))
    return load_teacher(images, rows, data.teacher_embeddings, data.class_vectors, seed)
