"""Uncertainty and response time: is a model uncertain about the same triplets as people?"""

import datasets
import evaluate
import numpy as np
import torch

from hf_alignet.evaluation import spearman
from hf_alignet.similarity import choice_log_probabilities, entropy

_DESCRIPTION = """\
Spearman's rank correlation, over image triplets, of the entropy of a model's odd-one-out choice with people's mean log
response time. It is 1 if the model is most uncertain about the triplets that take people longest. Chance is 0.
"""

_INPUTS = """
Args:
    predictions: for each triplet of images 0, 1 and 2 the model's similarities of the pairs 01, 02 and 12.
    references: the mean over people of the logarithm of their response time.
    temperature: similarities are divided by it before the softmax; fit it by likelihood to other triplets.

Returns:
    uncertainty_rt_correlation, sd (over 1,000 bootstraps of triplets), n (triplets), ci95 (its 95 % interval, None for
    fewer than 5 triplets), unit (what it is over: triplets). A model that finds all pairs equally similar scores 0.

Example:
    >>> metric = evaluate.load("uncertainty_rt_correlation")
    >>> similarities = [[0.9, 0.1, 0.2], [0.5, 0.4, 0.4], [0.3, 0.3, 0.3]]
    >>> round(metric.compute(predictions=similarities, references=[0.1, 0.4, 0.9])["uncertainty_rt_correlation"], 3)
    1.0
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


class UncertaintyRtCorrelation(evaluate.Metric):
    def _info(self):
        features = {
            "predictions": datasets.List(datasets.Value("float64"), length=3),
            "references": datasets.Value("float64"),
        }
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features(features),
        )

    def _compute(self, predictions, references, temperature=1.0):
        log_probabilities = choice_log_probabilities(torch.tensor(np.asarray(predictions, np.float64)), temperature)
        found = spearman(entropy(log_probabilities).numpy(), np.asarray(references, np.float64))
        return {
            "uncertainty_rt_correlation": found.metric["value"],
            "sd": found.sd,
        } | {key: found.metric[key] for key in ("n", "ci95", "unit")}
