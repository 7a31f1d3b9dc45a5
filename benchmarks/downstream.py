"""What measuring usefulness costs from ready embeddings: one JSON line a result, each from a process of its own.

- `ridge`: the classifier of 10 shots of 1,000 classes, 768 features. Beside it the direct ridge, `(x'x + r) w = x'y`
  with the matrix y of all images and classes; `largest_difference` is of the weights, as a share of the largest.
- `imagenet`: 10-shot accuracy of 1,000 classes on 50,000 test images, 384 features: ten draws, and the interval.
- `chosen_strength`: few-shot accuracy with the strength chosen for each draw, 160 classes of 20 images, 192 features,
  10 shots, 20 draws. Beside it the same by seven fits of scikit-learn's `RidgeClassifier` a draw.
- `probe`: logistic regression of 5,000 images of 100 classes, 192 features: nine strengths and the final fit. Beside
  it one fit of scikit-learn's `LogisticRegression` of one strength, to its default tolerance.
- `retrieval`: recall and mean average precision of 50,000 images of 1,000 classes, 384 features.

Of several calls the fastest counts.

    OMP_NUM_THREADS=1 python benchmarks/downstream.py
"""

import numpy as np
from measuring import Cost, cost, least, run_parts
from scipy import linalg
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.preprocessing import StandardScaler

from hf_alignet.evaluation import few_shot_accuracy
from hf_alignet.evaluation.downstream import few_shot as strengths
from hf_alignet.evaluation.downstream.classifiers import BIAS, RIDGE, Standard, fit_ridge
from hf_alignet.evaluation.downstream.labelled import Labelled
from hf_alignet.evaluation.downstream.logistic import fit_probe
from hf_alignet.evaluation.downstream.retrieval import retrieval
from hf_alignet.evaluation.downstream.shots import few_shot


def labelled(num_classes: int, num_each: int, width: int, seed: int = 0) -> Labelled:
    """Classes around means of their own."""
    means = np.random.default_rng(0).standard_normal((num_classes, width), np.float32) * 0.35
    labels = np.repeat(np.arange(num_classes), num_each)
    noise = np.random.default_rng(seed + 1).standard_normal((len(labels), width), np.float32)
    return Labelled(means[labels] + noise, labels, [f"class {c}" for c in range(num_classes)])


def costs(call: Cost) -> dict[str, float]:
    return {"cpu_s": call.cpu_s, "wall_s": call.wall_s, "peak_mb": call.peak_mb}


def ridge() -> dict[str, float]:
    shots = labelled(1000, 10, 768)

    def direct() -> np.ndarray:
        standard = Standard.of(shots.embeddings)
        x = np.pad(standard(shots.embeddings), ((0, 0), (0, 1)), constant_values=BIAS)
        y = np.where(shots.labels[:, None] == np.arange(1000), 1.0, -1.0)
        solved = linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ y, assume_a="pos")
        return standard.undone(solved[:-1], BIAS * solved[-1]).weight

    ours, theirs = (least(action, 3) for action in (lambda: fit_ridge(shots.embeddings, shots.labels, 1000), direct))
    expected = direct()
    largest = np.abs(fit_ridge(shots.embeddings, shots.labels, 1000).weight - expected).max() / np.abs(expected).max()
    return {
        **costs(ours),
        "direct_cpu_s": theirs.cpu_s,
        "ratio": theirs.cpu_s / ours.cpu_s,
        "largest_difference": largest,
    }


def imagenet() -> dict[str, float]:
    train, test = labelled(1000, 100, 384, seed=0), labelled(1000, 50, 384, seed=1)
    call = cost(lambda: few_shot(train, test, 10))
    return {**costs(call), "accuracy": call.value["value"]}


def chosen_strength() -> dict[str, float]:
    images = labelled(160, 20, 192)
    x, y = images.embeddings, images.labels

    def by_scikit_learn() -> float:
        rng, found = np.random.default_rng(0), []
        for _ in range(20):
            shots, choosing, measured = strengths._draw(y, 10, rng)
            z = StandardScaler().fit(x[shots]).transform(x)
            fitted = [RidgeClassifier(alpha=r * len(shots)).fit(z[shots], y[shots]) for r in strengths.RIDGES]
            best = max(fitted, key=lambda classifier: classifier.score(z[choosing], y[choosing]))
            found.append(best.score(z[measured], y[measured]))
        return float(np.mean(found))

    theirs = cost(by_scikit_learn)
    value = few_shot_accuracy(x, y, 10)["value"]
    ours = least(lambda: few_shot_accuracy(x, y, 10), 3)
    return {**costs(ours), "scikit_learn_cpu_s": theirs.cpu_s, "difference": value - theirs.value}


def probe() -> dict[str, float]:
    images = labelled(100, 50, 192)
    ours = cost(lambda: fit_probe(images.embeddings, images.labels, 100))
    x = StandardScaler().fit_transform(images.embeddings)
    peer = least(lambda: LogisticRegression(C=0.01, max_iter=1000).fit(x, images.labels), 3)
    return {**costs(ours), "scikit_learn_one_fit_cpu_s": peer.cpu_s}


def of_many() -> dict[str, float]:
    images = labelled(1000, 50, 384)
    return costs(cost(lambda: retrieval(images)))


if __name__ == "__main__":
    parts = {"ridge": ridge, "imagenet": imagenet, "chosen_strength": chosen_strength, "probe": probe}
    run_parts(__doc__, {**parts, "retrieval": of_many})
