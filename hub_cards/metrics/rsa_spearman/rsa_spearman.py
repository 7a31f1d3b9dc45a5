"""Representational similarity analysis: do a model and people find the same pairs of images similar?"""

import datasets
import evaluate
import numpy as np

from hf_alignet.evaluation import Rsm, correlate_rsms

_DESCRIPTION = """\
Spearman's rank correlation of the upper triangles of two matrices: the similarities of a model's embeddings, and the
similarities that people judged (Kriegeskorte et al. 2008). Pairs that were not judged (NaN) are left out and counted.
"""

_INPUTS = """
Args:
    predictions: the model's embedding of each image.
    references: of each image, the row of the matrix that people judged.
    kind: whether that matrix holds "similarity" or "dissimilarity".
    kernel: similarity of two embeddings: "pearson", "cosine" or "dot".

Returns:
    rsa_spearman, n (pairs), masked (pairs that were not judged). A model that finds all pairs equally similar scores
    0.

Example:
    >>> metric = evaluate.load("rsa_spearman")
    >>> judged = [[0, 1, 2, 6], [1, 0, 3, 5], [2, 3, 0, 4], [6, 5, 4, 0]]
    >>> embeddings = [[1.0, 0.0], [1.0, 0.2], [1.0, 0.8], [0.2, 1.0]]
    >>> found = metric.compute(predictions=embeddings, references=judged, kind="dissimilarity", kernel="cosine")
    >>> round(found["rsa_spearman"], 3), found["n"]
    (0.943, 6)
"""

_CITATION = """\
@article{kriegeskorte2008representational,
  title   = {Representational similarity analysis: connecting the branches of systems neuroscience},
  author  = {Kriegeskorte, Nikolaus and Mur, Marieke and Bandettini, Peter},
  journal = {Frontiers in Systems Neuroscience},
  volume  = {2},
  year    = {2008}
}
"""


class RsaSpearman(evaluate.Metric):
    def _info(self):
        rows = datasets.List(datasets.Value("float64"))
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features({"predictions": rows, "references": rows}),
        )

    def _compute(self, predictions, references, kind="similarity", kernel="pearson"):
        model = Rsm.from_embeddings(np.asarray(predictions, np.float32), kernel)
        found = correlate_rsms(model, Rsm.from_matrix(np.asarray(references, np.float32), kind), "spearman")
        return {"rsa_spearman": found.value, "n": found.n, "masked": found.masked}
