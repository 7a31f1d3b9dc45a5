"""Distribution shift: a classifier learns from one dataset or domain, and is tested on another with its classes."""

from collections.abc import Sequence

import numpy as np

from hf_alignet.errors import InputError
from hf_alignet.evaluation.downstream.classifiers import Linear
from hf_alignet.evaluation.downstream.labelled import Labelled, only_in
from hf_alignet.evaluation.downstream.logistic import fit_probe
from hf_alignet.evaluation.statistics.crossed import crossed_share
from hf_alignet.metric import Metric
from hf_alignet.ranges import Seed, checked


@checked
def shift(train: Labelled, test: Labelled, accepted: Sequence[Sequence[int]] | None = None, seed: Seed = 0) -> Metric:
    """Accuracy on test images from elsewhere of the classifier of `linear_probe`, with its interval over images.

    Args:
        train: images to learn from.
        test: images of the same classes or some of them, by name. Only these are answers then, as for ImageNet-A
            and R.
        accepted: for each test image the positions in `test.classes` that are right, where several are, as in ReaL;
            images without any are left out. By default the label. Chance is the mean share of the classes that are
            right.
        seed: seed of the choice of the penalty.

    Raises:
        InputError: the test images have a class that the training images lack (names both), or `accepted` is of
            another number of images, or empty for all.
    """
    return Shift(train, seed).accuracy(test, accepted)


class Shift:
    """A classifier of one dataset, for tests on several others."""

    def __init__(self, train: Labelled, seed: int = 0):
        self.train = train
        self.fitted = fit_probe(train.embeddings, train.labels, len(train.classes), seed)

    def accuracy(self, test: Labelled, accepted: Sequence[Sequence[int]] | None = None) -> Metric:
        """As `shift`."""
        if unknown := only_in(test.classes, self.train.classes):
            raise InputError(
                f"the test images have classes that the training images lack: {', '.join(unknown)}; those have "
                f"{', '.join(only_in(self.train.classes, test.classes)) or 'no others'}"
            )
        columns = [list(self.train.classes).index(name) for name in test.classes]
        answers = Linear(self.fitted.weight[:, columns], self.fitted.bias[columns]).predict(test.embeddings)
        if accepted is None:
            right = answers == test.labels
            return crossed_share(right[None], (test.labels,), test.chance)
        kept = [row for row, labels in enumerate(accepted) if len(labels)]
        if len(accepted) != len(answers) or not kept:
            raise InputError(
                f"`accepted` needs the right classes of each of the {len(answers)} test images, and one image with "
                f"some; it has {len(accepted)} lists, of which {len(kept)} have classes"
            )
        right = np.array([answers[row] in accepted[row] for row in kept])
        chance = float(np.mean([len(set(accepted[row])) for row in kept])) / len(test.classes)
        return crossed_share(right[None], (np.array(kept),), chance)
