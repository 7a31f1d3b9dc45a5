"""Do transforms of single people predict their next choices better? Simulated people with known differences.

Simulated people judge pictures of the demo in one drawing style. They look at ten leading principal axes of the
features that the demo's encoder gives, each with weights of their own: the logarithms have a standard deviation, which
is the difference between people (0: all are alike). Of each person's choices a fifth is held out. The common transform
is fitted to all people's other choices.

    python recipes/context/simulated_people.py
"""

import argparse
import json
from itertools import product

import numpy as np
from datasets import Dataset, concatenate_datasets

from hf_alignet.demo import ENCODER_DIRECTORY, demo_images
from hf_alignet.encoder import VisionEncoder
from hf_alignet.evaluation import change, choice_accuracy, choice_cross_entropy, dot_product_choices
from hf_alignet.judgments import make_judgments
from hf_alignet.metric import Metric
from hf_alignet.similarity import odd_of_pair
from hf_alignet.similarity.products import products_of_triplets
from hf_alignet.teacher import fit_groups, fit_teacher, pair_counts
from hf_alignet.teacher.affine.axes import PrincipalAxes
from hf_alignet.teacher.planning import random_triplets

STYLE, NUM_PICTURES, NUM_PEOPLE, NUM_AXES = "noto", 120, 20, 10
CERTAINTY = 0.7  # of choices: a factor of similarities that have an SD of about √10
HELD_OUT = 5  # every fifth choice


def choices_of(features: np.ndarray, difference: float, each: int, rng: np.random.Generator) -> list[Dataset]:
    """The judgments of each person about random triplets."""
    seen = PrincipalAxes.of(features).project(features)[:, :NUM_AXES]
    seen /= seen.std(0)
    judged = []
    for person in range(NUM_PEOPLE):
        triplets = random_triplets(len(features), each, rng)
        weights = np.exp(difference * rng.normal(size=NUM_AXES))
        similarities = CERTAINTY * products_of_triplets(seen * np.sqrt(weights).astype(np.float32), triplets)
        pair = (similarities + rng.gumbel(size=similarities.shape)).argmax(1)
        names = np.repeat(f"person {person:02d}", each)
        judged.append(make_judgments(triplets, odd_of_pair(pair), participant=names))
    return judged


def measured(embeddings: list[np.ndarray], tested: list[Dataset]) -> dict[str, Metric]:
    """Measures over the held-out choices of all people, each predicted by the embeddings of the pictures for them."""
    counted = [pair_counts(part) for part in tested]
    predicted = [dot_product_choices(each, triplets) for each, (triplets, _) in zip(embeddings, counted, strict=True)]
    triplets, counts = (np.concatenate(parts) for parts in zip(*counted, strict=True))
    scores = np.concatenate(predicted)
    return {
        "accuracy": choice_accuracy(scores, counts, triplets),
        "cross_entropy": choice_cross_entropy(scores, counts, triplets),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--choices", type=int, nargs="+", default=[50, 200, 800], help="of each person")
    parser.add_argument("--differences", type=float, nargs="+", default=[0.0, 0.5, 1.0], help="SD of log weights")
    arguments = parser.parse_args()
    images = demo_images()
    rows = np.flatnonzero(np.array(images["style"]) == STYLE)
    rows = np.sort(np.random.default_rng(0).choice(rows, NUM_PICTURES, replace=False))
    encoder = VisionEncoder.from_pretrained(str(ENCODER_DIRECTORY)).eval()
    features = encoder.embed(images, rows=rows, progress=False)
    for difference, each in product(arguments.differences, arguments.choices):
        judged = choices_of(features, difference, each, np.random.default_rng(1))
        is_tested = np.arange(each) % HELD_OUT == 0
        train = concatenate_datasets([part.select(np.flatnonzero(~is_tested)) for part in judged])
        tested = [part.select(np.flatnonzero(is_tested)) for part in judged]
        common = fit_teacher(features, train, "hard", progress=False).transform
        fitted = fit_groups(features, train, common)
        pooled = measured([common(features)] * NUM_PEOPLE, tested)
        own = measured([fitted.of_groups[name](features) for name in sorted(fitted.of_groups)], tested)
        found = {"difference": difference, "choices": each, "penalty": fitted.regularization}
        found |= {f"{key}, pooled": metric for key, metric in pooled.items()}
        found |= {f"{key}, change by own": change(pooled[key], metric) for key, metric in own.items()}
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
