"""Benchmarks of how human a model is: odd-one-out choices, the levels of abstraction, judged similarities.

Each is opened before anything is embedded, so that judgments that do not fit the stimuli are refused at once, and then
measures one model after another. Metrics are called `dataset/variant/measure`.

A temperature is fitted by likelihood to judgments that are not measured on: of choices, to the split `train`, or else
`validation`, if it shares no triplet with the measured one; of Levels, which has no splits, to a tenth of the
triplets.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from datasets import Dataset

from hf_alignet.cli.arguments.evaluation import EvaluationArguments, Task
from hf_alignet.errors import InputError
from hf_alignet.evaluation.human.choices import choice_cross_entropy
from hf_alignet.evaluation.human.levels import MIN_RATERS, level_metrics, level_scores, select_level
from hf_alignet.evaluation.human.noise_ceiling import noise_ceiling
from hf_alignet.evaluation.human.odd_one_out import odd_one_out_accuracy, odd_one_out_choices
from hf_alignet.evaluation.human.rsa import rsa_score
from hf_alignet.evaluation.human.uncertainty import TIME_CORRELATION, evaluate_uncertainty, is_constant
from hf_alignet.evaluation.stimulus_sets import StimulusSet
from hf_alignet.judgments import (
    choice_counts,
    in_shared_sets,
    load_judgments,
    load_levels,
    load_similarity_matrix,
    majority,
    shared_triplets,
    split_by_triplet,
)
from hf_alignet.judgments.judgment_dataset import COUNTS, RT, without_catch_trials
from hf_alignet.judgments.rows import ODD, TRIPLET, column, select_rows
from hf_alignet.judgments.stimulus_names import AMBIGUOUS, UNKNOWN, rows_by_name
from hf_alignet.metric import Metric
from hf_alignet.similarity import (
    PAIRS,
    SimilarityKind,
    choice_log_probabilities,
    odd_of_pair,
    triplet_similarities,
)
from hf_alignet.sources import split_revision

logger = logging.getLogger(__name__)

ACCURACY = "odd_one_out_accuracy"
FITTED_TRIPLETS = 100_000  # rows that a temperature is fitted to; more do not move one number
FITTED_SHARE = 0.1  # of the triplets of Levels
FEWEST_REPEATED = 20  # triplets; fewer that several people judged say nothing of how much people agree


class Measured(NamedTuple):
    """What a benchmark found: metrics by name, and whether the model finds all stimuli equally similar."""

    metrics: dict[str, Metric]
    is_constant: bool


class Benchmark(Protocol):
    """What all benchmarks offer.

    Attributes:
        name: the first part of the names of its metrics.
        stimuli: what was judged.
        people: how well people, or the best possible model, would do, by name of the metric.
        labels: rows of triplets (m, 3) and the odd ones out (m,) that people chose, by `dataset/variant`.
        notes: sentences on what was left out.
    """

    name: str
    stimuli: StimulusSet
    people: dict[str, Metric]
    labels: dict[str, tuple[np.ndarray, np.ndarray]]
    notes: list[str]

    def measure(self, embeddings: np.ndarray) -> Measured: ...


def open_benchmarks(arguments: EvaluationArguments, sets: list[StimulusSet]) -> list[Benchmark]:
    """The benchmarks that the flags name.

    Args:
        arguments: of the evaluation.
        sets: the stimuli of each.

    Raises:
        InputError: one cannot be opened, does not fit its stimuli, or two would give metrics of the same names.
    """
    kinds: dict[str, Callable[..., Benchmark]] = {"things": Choices, "levels": Levels, "rsa": Rsa}
    benchmarks: list[Benchmark] = []
    for task, stimuli in zip(arguments.tasks, sets, strict=True):
        opened = kinds[task.kind](task, stimuli, arguments)
        if opened.name in {other.name for other in benchmarks}:
            raise InputError(
                f"two benchmarks are called {opened.name!r}; give one another name: "
                f"--benchmarks another={task.kind}:{task.source}"
            )
        benchmarks.append(opened)
    return benchmarks


def benchmark_choices(
    benchmark: Benchmark, embeddings: np.ndarray, similarity: SimilarityKind
) -> dict[str, np.ndarray]:
    """A model's choices (m,), -1 where it has none, by `dataset/variant`; empty for a benchmark without triplets."""
    return {
        variant: odd_one_out_choices(_flat_if_constant(embeddings, triplets, similarity)[0], triplets, similarity)
        for variant, (triplets, _) in benchmark.labels.items()
    }


def _flat_if_constant(
    embeddings: np.ndarray, triplets: np.ndarray, similarity: SimilarityKind
) -> tuple[np.ndarray, bool]:
    """The embeddings; if they differ by no more than rounding, zeros, so that rounding makes no choices; and which."""
    similarities = _similarities(embeddings, triplets, similarity)
    constant = is_constant(similarities)
    return (np.zeros_like(embeddings) if constant else embeddings), constant


def _similarities(embeddings: np.ndarray, triplets: np.ndarray, similarity: SimilarityKind) -> np.ndarray:
    return triplet_similarities(torch.from_numpy(embeddings), torch.from_numpy(triplets).long(), similarity).numpy()


class Choices:
    """Odd-one-out choices of people, such as those of THINGS."""

    def __init__(self, task: Task, stimuli: StimulusSet, arguments: EvaluationArguments):
        self.name = task.name or task.kind
        self.stimuli, self.similarity, self.seed = stimuli, arguments.similarity, arguments.seed
        splits = load_judgments(task.source, stimuli.names, arguments.object_order, len(stimuli))
        self.notes: list[str] = []
        measured = [split for split in splits if split != "train"] or ["train"]
        if measured == ["train"]:
            self.notes.append(f"{self.name}: the judgments have no split but train, which is measured on")
        self.tested = {split: without_catch_trials(splits[split]) for split in measured}
        self.fitted = {split: self._to_fit(splits, split) for split in measured}
        self.labels = {f"{self.name}/{split}": _rows_of_choices(data) for split, data in self.tested.items()}
        self.people = {}
        for split, judgments in self.tested.items():
            if len(judgments) == 0:
                raise InputError(f"the split {split!r} of {task.source!r} holds nothing but checks of attention")
            try:
                ceiling = noise_ceiling(judgments, self.seed)
            except InputError as reason:
                logger.info("%s/%s: %s", self.name, split, reason)
                continue
            if ceiling["n"] >= FEWEST_REPEATED:
                self.people[f"{self.name}/{split}/{ACCURACY}"] = ceiling
            else:
                few = f"{ceiling['n']} triplets were judged by several people: too few for a noise ceiling"
                self.notes.append(f"{self.name}/{split}: {few}")

    def _to_fit(self, splits: dict[str, Dataset], tested: str) -> Dataset | None:
        """Judgments of other triplets than those of a split, some of them if they are many; None without any."""
        for split in ("train", "validation"):
            if split in splits and split != tested:
                shared = shared_triplets(splits[split], splits[tested])
                if not shared:
                    is_drawn = np.zeros(len(splits[split]), bool)
                    rows = np.random.default_rng(self.seed).permutation(len(is_drawn))[:FITTED_TRIPLETS]
                    is_drawn[rows] = True
                    return select_rows(splits[split], is_drawn)
                self.notes.append(f"{self.name}: {shared} triplets of {tested} are also in {split}: not fitted to it")
        self.notes.append(
            f"{self.name}/{tested}: no other judgments to fit a temperature to, so that only accuracy is measured"
        )
        return None

    def measure(self, embeddings: np.ndarray) -> Measured:
        metrics, constants = {}, []
        for split, judgments in self.tested.items():
            prefix = f"{self.name}/{split}"
            triplets, odd = self.labels[prefix]
            scored, constant = _flat_if_constant(embeddings, triplets, self.similarity)
            constants.append(constant)
            metrics[f"{prefix}/{ACCURACY}"] = odd_one_out_accuracy(
                scored, triplets, odd, self.similarity, "objects", self.seed
            )
            fitted = self.fitted[split]
            if fitted is not None:
                found = evaluate_uncertainty(scored, fitted, judgments, self.similarity, self.seed)
                distinct, counts = choice_counts(judgments)
                similarities = torch.from_numpy(_similarities(scored, distinct, self.similarity)).double()
                log_probabilities = choice_log_probabilities(similarities, found.temperature).numpy()
                metrics[f"{prefix}/choice_cross_entropy"] = choice_cross_entropy(
                    log_probabilities, counts[:, odd_of_pair(np.arange(len(PAIRS)))]
                )
                metrics |= {
                    f"{prefix}/{measure}": metric
                    for measure, metric in found.metrics.items()
                    if measure not in found.sds or metric["n"] >= FEWEST_REPEATED  # correlations have one
                }
        return Measured(metrics, all(constants))


def _rows_of_choices(judgments: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Triplets (m, 3) and odd ones out (m,), one row a choice, also where only counts are known."""
    triplets = column(judgments, TRIPLET)
    if COUNTS not in judgments.column_names:
        return triplets, column(judgments, ODD).astype(np.int64)
    counts = column(judgments, COUNTS)
    return np.repeat(triplets, counts.sum(1), axis=0), np.repeat(np.tile(np.arange(3), len(counts)), counts.ravel())


class Levels:
    """Coarse, fine and boundary triplets: the answers of the majority, and response times."""

    def __init__(self, task: Task, stimuli: StimulusSet, arguments: EvaluationArguments):
        self.name = task.name or task.kind
        self.stimuli, self.similarity, self.seed = stimuli, arguments.similarity, arguments.seed
        self.notes: list[str] = []
        if stimuli.images is not None and stimuli.names is None:
            raise InputError(f"the pictures of {stimuli.name} have no names: Levels needs a column filename")
        path = Path(task.source).expanduser()
        if not path.exists() or (path / "judgments").is_dir():  # published
            splits = load_judgments(task.source, stimuli.names, num_images=len(stimuli))
            self.judgments = splits["test" if "test" in splits else next(iter(splits))]
        else:
            self.judgments, names, excluded = load_levels(path, stimuli.names)
            if len(names) != len(stimuli):
                raise InputError(
                    f"{task.source} judges {len(names)} pictures, and there are {len(stimuli)} rows of features; they "
                    "must be in the order of the pictures' names, or give the names by --images or --object_names"
                )
            counts = ", ".join(f"{name} {number}" for name, number in excluded._asdict().items())
            self.notes.append(f"{self.name}: {counts}")
        self.timed = self._timed()
        # No triplet is right for a model of zeros: what is wrong with the judgments shows now, and the ceilings
        scores = level_scores(np.zeros((len(stimuli), 1), np.float32), self.judgments, seed=self.seed)
        self.people = {f"{self.name}/{level}/{ACCURACY}": score.ceiling for level, score in scores.items()}
        self.labels = {}
        for level in scores:
            answers = majority(select_level(self.judgments, level), MIN_RATERS)
            self.labels[f"{self.name}/{level}"] = (answers.triplets, answers.odd)

    def measure(self, embeddings: np.ndarray) -> Measured:
        every = np.concatenate([triplets for triplets, _ in self.labels.values()])
        scored, constant = _flat_if_constant(embeddings, every, self.similarity)
        scores = level_scores(scored, self.judgments, self.similarity, seed=self.seed)
        accuracies = {k: m for k, m in level_metrics(scores, self.name).items() if k.endswith(ACCURACY)}
        return Measured(accuracies | self._hesitation(scored), constant)

    def _timed(self) -> Dataset | None:
        """Answers whose times can be compared, as several people saw the same trials; None if they are too few."""
        judgments = without_catch_trials(self.judgments)
        judgments = select_rows(judgments, in_shared_sets(judgments))
        if RT in judgments.column_names and len(choice_counts(judgments)[0]) >= 1 / FITTED_SHARE:
            return judgments
        self.notes.append(f"{self.name}: too few trials were seen by several people for their response times to count")
        return None

    def _hesitation(self, embeddings: np.ndarray) -> dict[str, Metric]:
        """Correlations of a model's entropy with people's times, over all triplets and those of each level."""
        if self.timed is None:
            return {}
        splits = split_by_triplet(self.timed, 1 - FITTED_SHARE, self.seed)
        parts = {"all": splits["test"]}
        for level in (name.split("/")[1] for name in self.labels):
            try:
                parts[level] = select_level(splits["test"], level)
            except InputError as reason:  # all of its few triplets were fitted to
                logger.info("response times: %s", reason)
        found = {}
        for part, tested in parts.items():
            metrics = evaluate_uncertainty(embeddings, splits["train"], tested, self.similarity, self.seed).metrics
            if TIME_CORRELATION in metrics:
                found[f"{self.name}/{part}/{TIME_CORRELATION}"] = metrics[TIME_CORRELATION]
        return found


class Rsa:
    """Similarities of all pairs, as people judged them."""

    def __init__(self, task: Task, stimuli: StimulusSet, arguments: EvaluationArguments):
        path = Path(split_revision(task.source)[0]).expanduser()
        self.stimuli, self.seed, self.name = stimuli, arguments.seed, task.name or path.stem.lower()
        self.human = load_similarity_matrix(task.source, arguments.rsa_kind)
        if arguments.rsa_kind is None:
            logger.info("%s is read as %s", path.name, self.human.kind)
        self.rows = self._rows(path.name)
        self.people: dict[str, Metric] = {}
        self.labels: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        missing = int(np.isnan(self.human.matrix[np.triu_indices(len(self.rows), 1)]).sum())
        self.notes = [f"{self.name}: {missing} pairs were not judged, and are left out"] if missing else []

    def _rows(self, file: str) -> np.ndarray:
        """The row of each stimulus of the matrix: by name where both sides have names, or else in order."""
        number, names = len(self.human.names), self.stimuli.names
        if names is None or list(self.human.names) == [str(row) for row in range(number)]:
            if number != len(self.stimuli):
                raise InputError(
                    f"{file} has {number} stimuli, and {self.stimuli.name} has {len(self.stimuli)}; without names on "
                    "both sides every stimulus needs one, in the order of the matrix"
                )
            return np.arange(number)
        rows = rows_by_name(self.human.names, names)
        for kind, what in ((UNKNOWN, "are not among"), (AMBIGUOUS, "cannot be told by their names among")):
            bad = np.flatnonzero(rows == kind)
            if len(bad):
                raise InputError(
                    f"{len(bad)} stimuli of {file} {what} the {len(names)} images of {self.stimuli.name}: "
                    f"{', '.join(self.human.names[row] for row in bad[:5])}"
                )
        return rows

    def measure(self, embeddings: np.ndarray) -> Measured:
        found = rsa_score(np.asarray(embeddings)[self.rows], self.human, seed=self.seed)
        metric = Metric(value=found["value"], n=found["n"], chance=found["chance"], ci95=found["ci95"])
        return Measured({f"{self.name}/rsa_spearman": metric}, "note" in found)
