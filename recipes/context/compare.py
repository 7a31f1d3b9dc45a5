"""Does the third image change how alike two are? Weights of dimensions by context against controls without context.

Each form weighs the 50 leading dimensions of one teacher (uncertainty distillation), fitted to nine tenths of the
training choices of THINGS; the last tenth is to choose the penalty. `triplet` is that of `ContextTransform`. Its
controls have as many parameters: `pair` weighs by the two images that are compared, which is no context, and `third`
by the third image alone, which is nothing but context. `constant` weighs dimensions once for all.

    python recipes/context/compare.py --data path/to/things
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from datasets import Dataset, DatasetDict, concatenate_datasets
from numba import njit

from hf_alignet.encoder import AffineTransform, ContextTransform
from hf_alignet.evaluation import change, choice_accuracy, choice_cross_entropy, spearman
from hf_alignet.judgments import load_judgments, objects_within, split_by_triplet
from hf_alignet.judgments.splits import random_share
from hf_alignet.metric import Metric
from hf_alignet.similarity import PAIRS, choice_log_probabilities, entropy, odd_of_pair
from hf_alignet.similarity.products import products_of_triplets
from hf_alignet.storage import write_json
from hf_alignet.teacher import fit_teacher, observed_choices, pair_counts
from hf_alignet.teacher.affine.affine_data import AffineData
from hf_alignet.teacher.context_fit import fit_context
from hf_alignet.teacher.weighed import Weighed, minimised

NUM_OBJECTS, LIMIT = 1854, 4.0
(A0, B0), (A1, B1), (A2, B2) = PAIRS
ODD = tuple(odd_of_pair(pair) for pair in range(3))


def mixtures() -> dict[str, np.ndarray]:
    """By form, (3, 3): how much the weights of each pair depend on each of the three images."""
    of_odd = np.eye(3)[list(ODD)]
    return {"constant": np.zeros((3, 3)), "third": of_odd, "pair": (1 - of_odd) / 2, "triplet": np.full((3, 3), 1 / 3)}


@njit(fastmath={"reassoc", "contract"})
def cross_entropy(  # type: ignore[no-untyped-def]  # compiled: any float type
    leading, gates, constant, mixture, triplets, plain, probabilities, weights, slopes, slope_constant
):
    """As the package's kernel, but each pair has weights of its own; also writes the similarities to `plain`."""
    loss, r = 0.0, leading.shape[1]
    factor = np.empty((3, r), leading.dtype)
    for t in range(len(triplets)):
        x = leading[triplets[t, 0]], leading[triplets[t, 1]], leading[triplets[t, 2]]
        h = gates[triplets[t, 0]], gates[triplets[t, 1]], gates[triplets[t, 2]]
        s0, s1, s2 = plain[t]
        for d in range(r):
            for p in range(3):
                u = constant[d] + mixture[p, 0] * h[0][d] + mixture[p, 1] * h[1][d] + mixture[p, 2] * h[2][d]
                factor[p, d] = np.exp(min(max(u, -LIMIT), LIMIT))
            s0 += (factor[0, d] - 1) * x[A0][d] * x[B0][d]
            s1 += (factor[1, d] - 1) * x[A1][d] * x[B1][d]
            s2 += (factor[2, d] - 1) * x[A2][d] * x[B2][d]
        top = max(s0, s1, s2)
        e0, e1, e2 = np.exp(s0 - top), np.exp(s1 - top), np.exp(s2 - top)
        total = e0 + e1 + e2
        p0, p1, p2 = probabilities[t]
        loss += weights[t] * (top + np.log(total) - p0 * s0 - p1 * s1 - p2 * s2)
        plain[t] = s0, s1, s2
        l0, l1, l2 = weights[t] * (e0 / total - p0), weights[t] * (e1 / total - p1), weights[t] * (e2 / total - p2)
        for d in range(r):
            q0 = l0 * factor[0, d] * x[A0][d] * x[B0][d]
            q1 = l1 * factor[1, d] * x[A1][d] * x[B1][d]
            q2 = l2 * factor[2, d] * x[A2][d] * x[B2][d]
            slope_constant[d] += q0 + q1 + q2
            for k in range(3):
                slopes[triplets[t, k], d] += mixture[0, k] * q0 + mixture[1, k] * q1 + mixture[2, k] * q2
    return loss


class Form:
    """A control, fitted to choices; `similarities` as of a `ContextTransform`."""

    def __init__(self, mixture: np.ndarray, transform: AffineTransform, data: AffineData, regularization: float):
        judged = Weighed.of(transform, data.features, data.triplets, data.probabilities, data.weights)
        self.transform, self.axes, self.mixture = transform, judged.axes, mixture.astype(np.float32)
        self.center, self.spread = judged.leading.mean(0), judged.leading.std(0)
        shape = (judged.leading.shape[1] + 1, judged.leading.shape[1])  # the last row is the constant

        def objective(variables: np.ndarray) -> tuple[float, np.ndarray]:
            choices = (judged.triplets, judged.similarities.copy(), judged.probabilities, judged.weights)
            value, slopes = self._run(variables.reshape(shape), judged.leading, *choices)
            penalty = regularization * float(variables @ variables)
            return value + penalty, slopes.ravel() + 2 * regularization * variables

        self.variables = minimised(objective, np.zeros(shape[0] * shape[1])).reshape(shape)

    def _run(self, variables: np.ndarray, leading: np.ndarray, *choices: np.ndarray) -> tuple[float, np.ndarray]:
        standard = (leading - self.center) / self.spread
        gates, constant = (standard @ variables[:-1]).astype(np.float32), variables[-1].astype(np.float32)
        slopes, of_constant = np.zeros(gates.shape), np.zeros(len(constant))
        value = cross_entropy(leading, gates, constant, self.mixture, *choices, slopes, of_constant)  # type: ignore[call-arg]
        return value, np.vstack([standard.T @ slopes, of_constant])

    def similarities(self, features: np.ndarray, triplets: np.ndarray) -> np.ndarray:
        transformed = self.transform(features)
        found = products_of_triplets(transformed, triplets)
        even = np.full(found.shape, 1 / 3, np.float32)
        leading = (transformed @ self.axes).astype(np.float32)
        self._run(self.variables, leading, triplets.astype(np.int64), found, even, even[:, 0])
        return found


def log_probabilities(similarities: np.ndarray) -> np.ndarray:
    return choice_log_probabilities(torch.from_numpy(similarities).double()).numpy()


def measures(similarities: np.ndarray, triplets: np.ndarray, counts: np.ndarray) -> dict[str, Metric]:
    predicted = log_probabilities(similarities)
    return {
        "accuracy": choice_accuracy(predicted, counts, triplets),
        "cross_entropy": choice_cross_entropy(predicted, counts, triplets),
    }


def fitted_forms(transform: AffineTransform, data: AffineData, penalty: float) -> dict[str, Form | ContextTransform]:
    return {
        name: fit_context(transform, data, penalty) if name == "triplet" else Form(mixture, transform, data, penalty)
        for name, mixture in mixtures().items()
    }


def every_similarity(
    transform: AffineTransform, forms: dict[str, Form | ContextTransform], features: np.ndarray, triplets: np.ndarray
) -> dict[str, np.ndarray]:
    found = {"UD": products_of_triplets(transform(features), triplets)}
    return found | {name: form.similarities(features, triplets) for name, form in forms.items()}


def compared(similarities: dict[str, np.ndarray], triplets: np.ndarray, counts: np.ndarray) -> dict[str, dict]:
    """Measures of each form, and their paired changes against UD and against the control without context."""
    found = {name: measures(each, triplets, counts) for name, each in similarities.items()}
    for of_form in found.values():
        of_form |= {
            f"{key}, change from {other}": change(found[other][key], of_form[key])
            for key in list(of_form)
            for other in ("UD", "constant", "pair")
        }
    return found


def hesitation(similarities: dict[str, np.ndarray], repeated: pd.DataFrame, triplets: np.ndarray) -> dict[str, Metric]:
    """Spearman's ρ of the entropy of predicted choices with 1 - people's share of the most frequent choice."""
    return {
        name: spearman(
            entropy(torch.from_numpy(log_probabilities(each))).numpy(),
            1 - repeated.prop_max.to_numpy(),
            triplets=triplets,
        ).metric
        for name, each in similarities.items()
    }


def teacher_of(features: np.ndarray, judgments: Dataset, place: Path) -> AffineTransform:
    """Uncertainty distillation as in recipes/things-clip, kept for the next run."""
    if not place.exists():
        fitted = fit_teacher(features, judgments, "uncertainty_distillation", regularization=0.1, concentration=1.0)
        fitted.transform.save_pretrained(place)
    return AffineTransform.from_pretrained(place)


def on_new_objects(features: np.ndarray, splits: DatasetDict, penalty: float, output: Path) -> dict[str, dict]:
    """Everything is fitted to choices among two thirds of the objects, and measured on those among the others."""
    is_new = random_share(NUM_OBJECTS, 1 / 3, 0)
    train = objects_within(splits["train"], ~is_new)
    transform = teacher_of(features[~is_new], train, output / "ud_new_objects")
    forms = fitted_forms(transform, AffineData.checked(features[~is_new], *observed_choices(train)), penalty)
    among_new = concatenate_datasets([objects_within(judgments, is_new) for judgments in splits.values()])
    triplets, counts = pair_counts(among_new)
    return compared(every_similarity(transform, forms, features[is_new], triplets), triplets, counts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the THINGS files")
    parser.add_argument("--output", type=Path, default=Path("outputs/context"), help="teachers, and comparison.json")
    parser.add_argument("--penalty", type=float, default=1e-3, help="of the weights of all forms")
    parser.add_argument("--new_objects", action="store_true", help="measure on objects that no choice was used of")
    arguments = parser.parse_args()
    features = np.load(arguments.data / "clip_vitb32_things_images_uid_order.npy").astype(np.float32)
    splits = load_judgments(str(arguments.data / "things_human_triplets.npz"), num_images=NUM_OBJECTS)
    report: dict[str, dict] = {}
    if arguments.new_objects:
        report["new objects"] = on_new_objects(features, splits, arguments.penalty, arguments.output)
    else:
        fitted, held_out = split_by_triplet(splits["train"], 0.1, 0).values()
        transform = teacher_of(features, fitted, arguments.output / "ud")
        forms = fitted_forms(transform, AffineData.checked(features, *observed_choices(fitted)), arguments.penalty)
        for name, judgments in {"validation": held_out, "test": splits["test"]}.items():
            triplets, counts = pair_counts(judgments)
            report[name] = compared(every_similarity(transform, forms, features, triplets), triplets, counts)
        repeated = pd.read_csv(arguments.data / "repeated_triplets_prop_max.csv")
        rows = repeated[["id_lo", "id_mid", "id_hi"]].to_numpy()
        report["hesitation"] = hesitation(every_similarity(transform, forms, features, rows), repeated, rows)
    name = "new_objects.json" if arguments.new_objects else "comparison.json"
    write_json(arguments.output / name, report)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
