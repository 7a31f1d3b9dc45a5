"""Anomaly detection: how well the nearest normal images tell that an image is of another class.

The score of a test image is minus its mean cosine with the five nearest normal training images, and the measure is
the area under the ROC curve, as in gLocal (Muttenthaler et al. 2023b) and before it Reiss et al. (2021).
"""

from typing import Literal

import numpy as np

from hf_alignet.evaluation.downstream.classifiers import nearest_products, unit
from hf_alignet.evaluation.downstream.labelled import Labelled
from hf_alignet.evaluation.downstream.shots import check_same_classes
from hf_alignet.evaluation.statistics.intervals import mean_metric
from hf_alignet.metric import Metric
from hf_alignet.ranges import Count, checked

NEIGHBOURS = 5
AnomalyKind = Literal["one_vs_rest", "leave_one_out"]


@checked
def anomaly(train: Labelled, test: Labelled, normal: AnomalyKind = "one_vs_rest", k: Count = NEIGHBOURS) -> Metric:
    """Mean over classes of the area under the ROC curve, with an interval over classes.

    Args:
        train: images of which the normal ones are known.
        test: images of the same classes.
        normal: `one_vs_rest`: one class is normal and all others are anomalies; `leave_one_out`: one class is the
            anomaly and all others are normal.
        k: number of neighbours.

    Raises:
        InputError: the classes of train and test differ.
    """
    from sklearn.metrics import roc_auc_score

    check_same_classes(train, test)
    known, queries = unit(train.embeddings), unit(test.embeddings)
    areas = []
    for label in range(len(test.classes)):
        is_known, is_of_class = train.labels == label, test.labels == label
        if normal == "leave_one_out":
            is_known = ~is_known
        closeness = _closeness(queries, known[is_known], k)
        areas.append(roc_auc_score(is_of_class, closeness if normal == "one_vs_rest" else -closeness))
    return mean_metric(np.array(areas), unit="classes", chance=0.5)


def _closeness(queries: np.ndarray, normal: np.ndarray, k: int) -> np.ndarray:
    """(m,) mean cosine of each query with the k nearest normal images."""
    return np.concatenate([block.mean(1) for block in nearest_products(queries, normal, min(k, len(normal)))])
