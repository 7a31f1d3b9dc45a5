"""Are triplets that a fitted VICE is least sure about worth more answers than random ones? One JSON line a result.

Simulated raters choose by the softmax of an embedding that is known. A study begins with random triplets, the same in
both arms. Then wave by wave VICE is fitted to all answers, and the next triplets are those of 20 times as many about
which it would learn most (as `hf-alignet collect init --vice` takes them), or, in the other arm, random ones.
Measured is the cross-entropy of people's choices about held-out random triplets, beside its floor, the entropy of the
raters; `answers_of_random` is how many random answers reach the same as the adaptive ones, by interpolation
(at most as many as were asked).

    OMP_NUM_THREADS=1 python benchmarks/adaptive.py
"""

import argparse
import json

import numpy as np
import torch
from datasets import Dataset

from hf_alignet.collect.informative_triplets import most_informative
from hf_alignet.similarity import choice_log_probabilities, entropy
from hf_alignet.similarity.products import measured_similarities
from hf_alignet.teacher import Vice

OBJECTS, DIMENSIONS, HELD_OUT, CANDIDATES = 60, 5, 5000, 20
ODD_OF_PAIR = np.array([2, 1, 0])


def draw(number: int, rng: np.random.Generator) -> np.ndarray:
    """Random triplets (number, 3)."""
    return np.stack([rng.choice(OBJECTS, 3, replace=False) for _ in range(number)])


def log_choices(embedding: np.ndarray, triplets: np.ndarray) -> torch.Tensor:
    """(m, 3) logarithms of the raters' choice probabilities, in pair order."""
    return choice_log_probabilities(torch.from_numpy(measured_similarities(embedding, triplets)))


def answers(embedding: np.ndarray, triplets: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(m,) the odd one out that a rater chooses."""
    gumbel = rng.gumbel(size=(len(triplets), 3))
    return ODD_OF_PAIR[(log_choices(embedding, triplets).numpy() + gumbel).argmax(1)]


def study(truth: np.ndarray, first: int, waves: int, per_wave: int, is_adaptive: bool, seed: int) -> list[float]:
    """Held-out cross-entropy in nats after the first answers and after each wave."""
    rng = np.random.default_rng([seed, 1])
    held_out = draw(HELD_OUT, np.random.default_rng([seed, 2]))
    people = log_choices(truth, held_out).exp().numpy()
    triplets = draw(first, rng)
    odd, found = answers(truth, triplets, rng), []
    for wave in range(waves + 1):
        judged = Dataset.from_dict({"triplet": triplets.astype(np.int32), "odd": odd.astype(np.int8)})
        vice = Vice(num_dimensions=20, random_state=seed).fit(judged, OBJECTS, progress=False)
        found.append(float(-(people * np.log(vice.choice_probabilities(held_out))).sum(1).mean()))
        if wave < waves:
            more = (
                most_informative(vice, draw(CANDIDATES * per_wave, rng), per_wave)
                if is_adaptive
                else draw(per_wave, rng)
            )
            triplets = np.concatenate([triplets, more])
            odd = np.concatenate([odd, answers(truth, more, rng)])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=int, default=1000, help="random answers at the start (%(default)s)")
    parser.add_argument("--waves", type=int, default=4, help="after them (%(default)s)")
    parser.add_argument("--per_wave", type=int, default=500, help="answers in a wave (%(default)s)")
    parser.add_argument("--studies", type=int, default=6, help="with raters of their own (%(default)s)")
    arguments = parser.parse_args()
    numbers = arguments.first + arguments.per_wave * np.arange(arguments.waves + 1)
    curves: dict[bool, list[list[float]]] = {False: [], True: []}
    floors = []
    for seed in range(arguments.studies):
        truth = np.random.default_rng([seed, 0]).gamma(0.4, 2.0, (OBJECTS, DIMENSIONS)).astype(np.float32)
        floors.append(float(entropy(log_choices(truth, draw(HELD_OUT, np.random.default_rng([seed, 2])))).mean()))
        for is_adaptive, of_studies in curves.items():
            options = (arguments.first, arguments.waves, arguments.per_wave, is_adaptive, seed)
            of_studies.append(study(truth, *options))
    random, adaptive = (np.array(curves[key]) for key in (False, True))
    difference = adaptive - random
    spread = difference.std(0, ddof=1) / len(difference) ** 0.5
    for place, number in enumerate(numbers):
        same = np.interp(-adaptive[:, place].mean(), -random.mean(0), numbers)
        line = {
            "benchmark": "adaptive",
            "answers": int(number),
            "random_nats": round(random[:, place].mean(), 4),
            "adaptive_nats": round(adaptive[:, place].mean(), 4),
            "difference": round(difference[:, place].mean(), 4),
            "standard_error": round(spread[place], 4),
            "floor_nats": round(float(np.mean(floors)), 4),
            "answers_of_random": round(float(same)),
            "studies": arguments.studies,
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
