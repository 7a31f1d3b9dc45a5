"""The triplets of a study: drawn at three levels or at random, or from a file; and those of catch trials and practice.

With classes of the images the three levels of Levels are drawn in equal shares: within a class (`fine`), two images of
one class and one of another (`boundary`), of three classes (`coarse`).
"""

import logging
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset, DatasetDict, concatenate_datasets

from hf_alignet.collect.informative_triplets import most_informative
from hf_alignet.collect.planned_triplets import NO_LEVEL, NO_ODD, StudyTriplets
from hf_alignet.errors import InputError
from hf_alignet.judgments import image_names
from hf_alignet.judgments.column_names import IMAGES
from hf_alignet.judgments.file_reading import read_header, read_table
from hf_alignet.judgments.rows import ODD, TRIPLET, check_rows, column, distinct_triplets
from hf_alignet.judgments.stimulus_names import check_matched, find_rows
from hf_alignet.similarity import choice_log_probabilities, entropy, odd_one_out
from hf_alignet.sources import local_path
from hf_alignet.teacher import Vice
from hf_alignet.triplets import TripletSampler, load_triplets
from hf_alignet.triplets.partition import LABEL, read_labels
from hf_alignet.triplets.sampling import Sampling
from hf_alignet.triplets.triplet_dataset import SIMILARITIES

OF_LEVEL: dict[str, Sampling] = {"coarse": "between_class", "boundary": "class_boundary", "fine": "within_class"}
CANDIDATES = 20  # from which VICE chooses one
MOST_CANDIDATES = 200_000

logger = logging.getLogger(__name__)


def draw_triplets(images: Dataset, number: int, vice: Vice | None, seed: int) -> StudyTriplets:
    """Different triplets: of three levels if the images have classes that allow it, else any.

    Args:
        images: with a column `label` for levels.
        number: of triplets.
        vice: if given, those about whose choices it would learn most, of 20 times as many.
        seed: of the draw.

    Raises:
        InputError: the images allow fewer triplets.
    """
    labels = _usable_labels(images)
    levels: dict[str, Sampling] = OF_LEVEL if labels is not None else {NO_LEVEL: "random"}
    found = []
    for place, (level, sampling) in enumerate(levels.items()):
        share = number // len(levels) + (place < number % len(levels))
        groups = np.zeros(len(images), np.int64) if labels is None else labels
        sampler = TripletSampler(sampling, groups, seed=seed + place)
        if sampler.num_triplets < share:
            raise InputError(
                f"{len(images)} images allow {sampler.num_triplets} different triplets of {level} level, and the "
                f"study needs {share}: give more images, more `repeats`, or fewer `trials`"
            )
        if vice is None:
            drawn = sampler.draw(0, share)
        else:
            most = min(sampler.num_triplets, max(share, min(CANDIDATES * share, MOST_CANDIDATES)))
            drawn = most_informative(vice, sampler.draw(0, most), share)
        found.append(StudyTriplets.of(drawn, level))
    return sum(found[1:], found[0])


def _usable_labels(images: Dataset) -> np.ndarray | None:
    """Classes (n,) if all three levels can be drawn from them."""
    if LABEL not in images.column_names:
        return None
    labels = read_labels(images)
    sizes = np.unique(labels[labels >= 0], return_counts=True)[1]
    if len(sizes) >= 3 and sizes.max() >= 3:
        return labels
    logger.warning("three levels need three classes, one of them with three images: the triplets have no levels")
    return None


def read_study_triplets(path: str, images: Dataset, needs_odd: bool = False) -> StudyTriplets:
    """Triplets from a file or dataset, each once, in any form that `load_triplets` reads; or a table of names alone.

    Args:
        path: a table with the columns image_1, image_2, image_3 and maybe odd_one_out, the output of
            `make_triplets`, or judgments.
        images: that it names.
        needs_odd: whether each needs a right answer: of a teacher's labels the surest come first.

    Raises:
        InputError: it cannot be read, names other images, or gives no right answers.
    """
    file = local_path(path)
    if file is not None and file.is_file() and file.suffix in (".csv", ".tsv"):
        header, delimiter = read_header(file)
        if set(header) == set(IMAGES) and not needs_odd:
            return _unique(StudyTriplets.of(_named_triplets(file, header, delimiter, images)))
    splits: DatasetDict = load_triplets(path, images)
    labelled = concatenate_datasets([splits[name] for name in splits])
    triplets = column(labelled, TRIPLET)
    check_rows(triplets, len(images), f"triplets of {path}")
    if SIMILARITIES in labelled.column_names:
        similarities = torch.from_numpy(column(labelled, SIMILARITIES))
        surest = torch.argsort(entropy(choice_log_probabilities(similarities)), stable=True) if needs_odd else None
        rows = np.arange(len(labelled)) if surest is None else surest.numpy()
        found = StudyTriplets.of(triplets, odd=odd_one_out(similarities).numpy())[rows]
    else:
        odd = column(labelled, ODD) if ODD in labelled.column_names else None
        found = StudyTriplets.of(triplets, odd=odd)
    if needs_odd:
        found = found[found.odd != NO_ODD]
        if not len(found):
            raise InputError(f"{path} gives no right answers: add a column odd_one_out")
    return _unique(found)


def _named_triplets(file: Path, header: list[str], delimiter: str, images: Dataset) -> np.ndarray:
    names = image_names(images)
    if names is None:
        raise InputError(f"{file} names images, and the images have no names")
    table = read_table(file, delimiter, header, {}).to_pandas()
    cells = [str(cell) for cell in table[list(IMAGES)].to_numpy().ravel()]
    rows = find_rows(cells, names)
    check_matched(rows, cells, str(file), f"{len(names)} images", names)
    triplets = rows.reshape(-1, 3)
    check_rows(triplets, len(names), f"triplets of {file}")
    return triplets


def _unique(found: StudyTriplets) -> StudyTriplets:
    """The first of the triplets with the same three images."""
    _, which, _ = distinct_triplets(found.triplets)
    return found[np.sort(np.unique(which, return_index=True)[1])]


def draw_questions(images: Dataset, number: int, taken: StudyTriplets, seed: int) -> StudyTriplets:
    """Triplets with a right answer by class: two images of one class, the third of another; none without classes.

    Args:
        images: with a column `label`, or none.
        number: of triplets.
        taken: those of the study, which are left out.
        seed: of the draw.
    """
    labels = _usable_labels(images)
    if labels is None:
        return StudyTriplets.of(np.empty((0, 3), np.int64))
    sampler = TripletSampler("class_boundary", labels, seed=seed)
    drawn = sampler.draw(0, min(sampler.num_triplets, number + len(taken)))
    drawn = drawn[~_among(drawn, taken.triplets)][:number]
    of = labels[drawn]
    odd = np.where(of[:, 0] == of[:, 1], 2, np.where(of[:, 0] == of[:, 2], 1, 0))
    return StudyTriplets.of(drawn, odd=odd)


def _among(triplets: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Whether each triplet (n, 3) has the same images as one of the others (m, 3)."""
    _, which, _ = distinct_triplets(np.concatenate([triplets, others]))
    return np.isin(which[: len(triplets)], which[len(triplets) :])


def without(found: StudyTriplets, taken: StudyTriplets) -> StudyTriplets:
    """Those whose images are no triplet of the others."""
    return found[~_among(found.triplets, taken.triplets)]
