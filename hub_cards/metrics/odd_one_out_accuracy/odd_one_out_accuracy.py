"""Odd-one-out accuracy: the share of triplets in which a model picks the same odd one out as people."""

import datasets
import evaluate
import numpy as np
import torch

from hf_alignet.evaluation import are_correct
from hf_alignet.evaluation.statistics.intervals import share_correct
from hf_alignet.similarity import odd_one_out

_DESCRIPTION = """\
The share of image triplets in which a model picks the same odd one out as people: the image that is not in its most
similar pair. Chance is 1/3. If two pairs are equally similar, the model has made no choice, so a collapsed model
scores 0.
"""

_INPUTS = """
Args:
    predictions: for each triplet of images 0, 1 and 2 the model's similarities of the pairs 01, 02 and 12.
    references: which image people picked: 0, 1 or 2.

Returns:
    odd_one_out_accuracy, n (triplets), chance, ci95 (Wilson's 95 % interval, None for fewer than 5 triplets), unit
    (what it is over: triplets).

Example:
    >>> metric = evaluate.load("odd_one_out_accuracy")
    >>> metric.compute(predictions=[[0.9, 0.1, 0.2], [0.1, 0.1, 0.1]], references=[2, 0])["odd_one_out_accuracy"]
    0.5
"""

_CITATION = """\
@article{muttenthaler2025aligning,
  title   = {Aligning machine and human visual representations across abstraction levels},
  author  = {Muttenthaler, Lukas and Greff, Klaus and Born, Frieda and Spitzer, Bernhard and Kornblith, Simon and Mozer, Michael C. and M{\\"u}ller, Klaus-Robert and Unterthiner, Thomas and Lampinen, Andrew K.},
  journal = {Nature},
  volume  = {647},
  pages   = {349--355},
  year    = {2025}
}
"""  # noqa: E501


class OddOneOutAccuracy(evaluate.Metric):
    def _info(self):
        features = {
            "predictions": datasets.List(datasets.Value("float64"), length=3),
            "references": datasets.Value("int64"),
        }
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features(features),
        )

    def _compute(self, predictions, references):
        choices = odd_one_out(torch.tensor(np.asarray(predictions, np.float64))).numpy()
        metric = share_correct(are_correct(choices, np.asarray(references)))
        return {"odd_one_out_accuracy": metric["value"]} | {k: metric[k] for k in ("n", "chance", "ci95", "unit")}
