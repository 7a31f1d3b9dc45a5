"""Test images under every corruption, as stimuli that an encoder embeds. No corrupted picture is kept."""

from dataclasses import replace

import numpy as np
from datasets import Dataset
from PIL import Image

from hf_alignet.errors import InputError
from hf_alignet.evaluation.downstream.corruptions import ALL, CORRUPTIONS, central_square, corrupt
from hf_alignet.evaluation.downstream.labelled import ranks_in_classes
from hf_alignet.evaluation.downstream.labelled_images import LabelledImages
from hf_alignet.images.decoding import decode_picture
from hf_alignet.images.opening import IMAGE_COLUMN, as_encoded_images
from hf_alignet.images.preprocessing import Preprocessor
from hf_alignet.images.reader import ImageReader
from hf_alignet.images.tokens import TextPreprocessor
from hf_alignet.judgments.stimuli import Stimuli

VERSIONS = 1 + len(ALL)  # of a picture: as it is, and under every corruption
KINDS = tuple(CORRUPTIONS)


class CorruptedReader(ImageReader):
    """Reads the versions of some pictures, all versions of a picture after one another.

    The generator of a version has the seed, the row of the picture, the kind and the severity as its seed, so that
    every model gets the same pixels, in whatever batches.

    Args:
        images: the versions: each picture `VERSIONS` times.
        preprocessor: of the encoder that gets the inputs.
        rows: (n,) rows of the pictures in their dataset.
        seed: of what is random.
    """

    def __init__(self, images: Dataset, preprocessor: Preprocessor, rows: np.ndarray, seed: int):
        super().__init__(images, preprocessor)
        self.rows, self.seed = rows, seed

    def _decode(self, rows: list[int]) -> list[Image.Image]:
        places = dict.fromkeys(row // VERSIONS for row in rows)
        assert isinstance(self.images, Dataset)
        values = self.images[[place * VERSIONS for place in places]][IMAGE_COLUMN]
        squares = {
            place: central_square(decode_picture(value, int(self.rows[place])))
            for place, value in zip(places, values, strict=True)
        }
        return [self._version(squares[row // VERSIONS], *divmod(row, VERSIONS)) for row in rows]

    def _version(self, square: Image.Image, place: int, version: int) -> Image.Image:
        if version == 0:
            return square
        corruption = ALL[version - 1]
        kind = KINDS.index(corruption.name)
        rng = np.random.default_rng([self.seed, int(self.rows[place]), kind, corruption.severity])
        return corrupt(square, corruption, rng)


class CorruptedStimuli(Stimuli):
    """All versions of some labelled images: row `VERSIONS * i` is image i as it is, and those after it are corrupted.

    Args:
        images: of which some are taken.
        number: how many at most, in equal parts of each class and at random inside a class.
        seed: of the choice and of the corruptions.
    """

    def __init__(self, images: LabelledImages, number: int, seed: int):
        rng = np.random.default_rng(seed)
        order = np.lexsort((rng.permutation(len(images.labels)), ranks_in_classes(images.labels, rng)))
        chosen = np.sort(order[:number])
        self.taken = replace(images, rows=images.rows[chosen], labels=images.labels[chosen])
        self.seed = seed
        assert images.stimuli.images is not None
        encoded = as_encoded_images(images.stimuli.images).select_columns(IMAGE_COLUMN)
        versions = encoded.select(np.repeat(self.taken.rows, VERSIONS))
        # The seed is in the name, since embeddings are kept under it
        super().__init__(f"{images.stimuli.name}-corrupted-{seed}", versions)

    def _readable(self, preprocessor: Preprocessor | TextPreprocessor) -> ImageReader:
        assert self.images is not None
        if isinstance(preprocessor, TextPreprocessor):
            raise InputError("corruptions are of pictures, and the model is of texts: leave them out")
        return CorruptedReader(self.images, preprocessor, self.taken.rows, self.seed)
