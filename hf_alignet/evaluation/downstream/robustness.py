"""Robustness: how much of its accuracy a classifier keeps on corrupted pictures, as ImageNet-C asks.

Accuracies are not the mCE of that paper, which divides the errors by those of AlexNet.
"""

from collections.abc import Mapping

import numpy as np

from hf_alignet.errors import InputError
from hf_alignet.evaluation.downstream.corruptions import Corruption
from hf_alignet.evaluation.downstream.labelled import Labelled
from hf_alignet.evaluation.downstream.logistic import fit_probe
from hf_alignet.evaluation.downstream.shots import check_same_classes
from hf_alignet.evaluation.statistics.crossed import IMAGES, crossed_share
from hf_alignet.evaluation.statistics.intervals import with_interval
from hf_alignet.evaluation.statistics.spread import Influence
from hf_alignet.metric import Metric
from hf_alignet.ranges import Seed, checked
from hf_alignet.similarity import check_finite


@checked
def corruption_robustness(
    train: Labelled, clean: Labelled, corrupted: Mapping[Corruption, np.ndarray], seed: Seed = 0
) -> dict[str, Metric]:
    """Accuracy of the classifier of `linear_probe` on corrupted test images. It learns from clean ones.

    Args:
        train: images to learn from.
        clean: n test images of the same classes.
        corrupted: by corruption, embeddings (n, d) of the same test images.
        seed: seed of the choice of the penalty.

    Returns:
        `clean/corruption_accuracy`; `severity_1/…` to `severity_5/…`, means over corruptions; `mean/…`, the mean over
        all; `mean/kept_accuracy`, that as a share of the clean accuracy, if this is not 0; and each part, such as
        `gaussian_noise/3/…`. Intervals are over images.

    Raises:
        InputError: the classes differ, the numbers of images differ, or there are no corruptions.
    """
    check_same_classes(train, clean)
    if not corrupted or any(len(embeddings) != len(clean.labels) for embeddings in corrupted.values()):
        sizes = ", ".join(str(len(embeddings)) for embeddings in corrupted.values()) or "nothing"
        raise InputError(f"`corrupted` needs embeddings of each of the {len(clean.labels)} test images, got {sizes}")
    for embeddings in corrupted.values():
        check_finite(embeddings)
    fitted = fit_probe(train.embeddings, train.labels, len(train.classes), seed)
    right = {corruption: fitted.predict(embeddings) == clean.labels for corruption, embeddings in corrupted.items()}
    of_clean = fitted.predict(clean.embeddings) == clean.labels
    means = {
        f"severity_{severity}": np.mean([found for corruption, found in right.items() if corruption[1] == severity], 0)
        for severity in sorted({corruption.severity for corruption in right})
    }
    over_all = np.mean(list(right.values()), 0)
    parts = {f"{name}/{severity}": found for (name, severity), found in right.items()}
    shares = {"clean": of_clean, **means, "mean": over_all, **parts}
    metrics = {
        f"{variant}/corruption_accuracy": crossed_share(found[None], (clean.labels,), clean.chance)
        for variant, found in shares.items()
    }
    if of_clean.any():
        metrics["mean/kept_accuracy"] = _ratio(over_all, of_clean)
    return metrics


def _ratio(part: np.ndarray, whole: np.ndarray) -> Metric:
    """The ratio of two means over the same images, with Student's interval of its linearisation."""
    value = float(part.mean() / whole.mean())
    number = len(part)
    influence = Influence((part - value * whole) / whole.sum(), np.ones(number), np.arange(number)[:, None], IMAGES)
    error = influence.error()
    half = error.quantile * error.value
    ci95 = [value - half, value + half]
    return with_interval(value, ci95, error.units, IMAGES, n=number, chance=None, spread=influence)
