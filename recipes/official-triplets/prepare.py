"""Writes triplets of photographs in the official files, and what the first blocks of a ViT give for the photographs.

There are two folders of triplets, as in the release: `uncertainty_distillation`, labelled by the teacher of
tiny-imagenet, and `untransformed`, by the embeddings without its transform. In each row s12 is the smallest
similarity, as the publishers say of theirs; s01 or s02 may be the largest. Tokens are of two kinds: `processor`, of
pixels as the model's image processor gives them, and `unit`, of pixels in [0, 1].

    python recipes/official-triplets/prepare.py --model_name_or_path MODEL
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1] / "frontier"))
from batches import batches_of  # noqa: E402
from tail import Tail, first_blocks  # noqa: E402

from hf_alignet.encoder import AffineTransform  # noqa: E402
from hf_alignet.encoder.vision_model import VisionEncoder  # noqa: E402
from hf_alignet.images.opening import load_images  # noqa: E402
from hf_alignet.images.preprocessing import Preprocessor, load_processor  # noqa: E402
from hf_alignet.images.reader import ImageReader  # noqa: E402
from hf_alignet.similarity import PAIRS, odd_of_pair  # noqa: E402
from hf_alignet.triplets import TeacherVectors, load_triplets  # noqa: E402
from hf_alignet.triplets.batches import load_teacher, sample_in_batch  # noqa: E402
from hf_alignet.triplets.labeling import label_triplets  # noqa: E402
from hf_alignet.triplets.triplet_dataset import TRIPLET, column  # noqa: E402

OUTPUT = Path("outputs/official-triplets")
NUM_CACHED = 4  # last blocks that are trained
TRAINED_PER_CLASS = 24
MEASURED_PER_UNSEEN_CLASS, MEASURED_PER_SEEN_CLASS = 20, 5
TRIPLETS_PER_STEP, IMAGES_PER_STEP, IMAGES_PER_CLUSTER = 512, 48, 3
STEPS = {"train": 60, "valid": 20}  # blocks of TRIPLETS_PER_STEP rows
TRANSFORMED, UNTRANSFORMED = "uncertainty_distillation", "untransformed"
PROCESSOR, UNIT = "processor", "unit"
# For each image: its row, with that image first. The two others stay as they were drawn, so neither is the odd one
# more often
FIRST = np.array([[image, *PAIRS[odd_of_pair(image)]] for image in range(3)])


def choose(labels: np.ndarray, unseen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows (n,) of photographs, and whether each is trained on. `unseen` are the classes that no training sees."""
    place = pd.Series(labels).groupby(labels).cumcount().to_numpy()
    is_unseen = np.isin(labels, unseen)
    measured = place < np.where(is_unseen, MEASURED_PER_UNSEEN_CLASS, MEASURED_PER_SEEN_CLASS)
    start = MEASURED_PER_UNSEEN_CLASS  # as in frontier
    trained = ~is_unseen & (place >= start) & (place < start + TRAINED_PER_CLASS)
    rows = np.flatnonzero(measured | trained)
    return rows, trained[rows]


def draw(teacher: TeacherVectors, steps: int, seed: int) -> np.ndarray:
    """(steps * TRIPLETS_PER_STEP, 3) rows of photographs: those of a step are among IMAGES_PER_STEP photographs."""
    batches = batches_of(teacher.clusters, steps, IMAGES_PER_STEP, IMAGES_PER_CLUSTER, seed)
    drawn = sample_in_batch(teacher, batches, TRIPLETS_PER_STEP, np.random.default_rng(seed))
    return column(drawn, TRIPLET)


def write_as_published(path: Path, triplets: np.ndarray, vectors: np.ndarray) -> None:
    """`triplets` (n, 3), rows of `vectors`, in an order in which s12 is smallest, which `write_official` does not."""
    least_similar = label_triplets(vectors, triplets).argmin(1)
    triplets = np.take_along_axis(triplets, FIRST[odd_of_pair(least_similar)], 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, indices=triplets.astype(np.int64), similarities=label_triplets(vectors, triplets))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_name_or_path", required=True, help="the base model, a ViT")
    parser.add_argument("--data", default="data/things-vit-tiny", help="(%(default)s)")
    parser.add_argument("--transform", default="outputs/tiny-imagenet/teacher", help="(%(default)s)")
    arguments = parser.parse_args()
    OUTPUT.mkdir(parents=True, exist_ok=True)
    images, unseen = load_images(arguments.data), load_triplets(arguments.data)["unseen_classes"]
    labels = np.asarray(images["label"][:])
    rows, is_trained = choose(labels, labels[np.unique(column(unseen, TRIPLET))])

    encoder = VisionEncoder.from_pretrained(arguments.model_name_or_path).eval()
    reader = ImageReader(images, encoder.preprocessor)
    tokens = first_blocks(encoder, reader, rows, NUM_CACHED, OUTPUT / f"{PROCESSOR}.npy")
    embeddings = Tail(encoder, NUM_CACHED).embed(tokens, np.arange(len(rows)))
    encoder.preprocessor = Preprocessor(load_processor(arguments.model_name_or_path, do_normalize=False))
    reader = ImageReader(images, encoder.preprocessor)
    first_blocks(encoder, reader, rows, NUM_CACHED, OUTPUT / f"{UNIT}.npy")

    vectors = {
        folder: np.zeros((len(images), embeddings.shape[1]), np.float32) for folder in (UNTRANSFORMED, TRANSFORMED)
    }
    vectors[UNTRANSFORMED][rows] = embeddings
    vectors[TRANSFORMED][rows] = AffineTransform.from_pretrained(arguments.transform)(embeddings)
    for seed, (split, steps) in enumerate(STEPS.items()):
        taken = rows[is_trained] if split == "train" else rows[~is_trained]
        triplets = draw(load_teacher(images, taken, vectors[TRANSFORMED], seed=0), steps, seed)
        for folder, of_teacher in vectors.items():
            write_as_published(OUTPUT / folder / f"{split}_between_class.npz", triplets, of_teacher)
    np.savez(OUTPUT / "photographs.npz", rows=rows, teacher=vectors[TRANSFORMED][rows])


if __name__ == "__main__":
    main()
