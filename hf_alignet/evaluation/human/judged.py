"""Benchmarks of how human a model is: odd-one-out choices, the levels of abstraction, judged similarities.

Each is opened before anything is embedded, so that judgments that do not fit the stimuli are refused at once, and then
measures one model after another. Metrics are called `dataset/variant/measure`.

A temperature is fitted by likelihood to judgments that are not measured on: of choices, to the split `train`, or else
`validation`, if it shares no triplet with the measured one; of Levels, which has no splits, to a tenth of the
triplets.
"""

import logging
from abc import abstractmethod
from pathlib import Path

import numpy as np
from datasets import Dataset

from hf_alignet.errors import InputError
from hf_alignet.evaluation.benchmark import Benchmark, Measured, Settings, Task
from hf_alignet.evaluation.human.levels import MIN_RATERS, level_metrics, level_scores, select_level
from hf_alignet.evaluation.human.noise_ceiling import noise_ceiling
from hf_alignet.evaluation.human.odd_one_out import are_correct, odd_one_out_choices, similarities_of_triplets
from hf_alignet.evaluation.human.rsa import CONSTANT_NOTE, rsa_score
from hf_alignet.evaluation.human.rsm import Rsm
from hf_alignet.evaluation.human.triplet_agreement import triplet_agreement
from hf_alignet.evaluation.human.uncertainty import TIME_CORRELATION, evaluate_uncertainty, is_constant
from hf_alignet.evaluation.statistics.intervals import share_correct
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
from hf_alignet.judgments.stimuli import Stimuli
from hf_alignet.judgments.stimulus_names import UNKNOWN, check_matched, rows_by_name
from hf_alignet.metric import Metric
from hf_alignet.similarity import odd_one_out
from hf_alignet.sources import split_revision

logger = logging.getLogger(__name__)

ACCURACY = "odd_one_out_accuracy"
NUM_THINGS = 1854  # objects of THINGS
FITTED_TRIPLETS = 100_000  # rows that a temperature is fitted to; more do not move one number
FITTED_SHARE = 0.1  # of the triplets of Levels
FEWEST_REPEATED = 20  # triplets; fewer that several people judged say nothing of how much people agree


class JudgedBenchmark(Benchmark):
    """A benchmark of what people judged about one set of stimuli."""

    def __init__(self, task: Task, stimuli: Stimuli, settings: Settings):
        super().__init__(task, [stimuli], settings)
        self.stimuli, self.similarity = stimuli, settings.similarity

    def measure(self, *embeddings: np.ndarray) -> Measured:
        (of_stimuli,) = embeddings
        return self.measure_stimuli(of_stimuli)

    @abstractmethod
    def measure_stimuli(self, embeddings: np.ndarray) -> Measured:
        """Measures a model by its embeddings (n, d) of the stimuli."""


class ChoicesBenchmark(JudgedBenchmark):
    """Odd-one-out choices of people, such as those of THINGS."""

    def __init__(self, task: Task, stimuli: Stimuli, settings: Settings):
        if task.kind == "things" and len(stimuli) != NUM_THINGS:
            raise InputError(
                f"`benchmarks` has things:{task.source}, but there are {len(stimuli)} stimuli; things is for choices "
                f"about the {NUM_THINGS} objects of THINGS: use `benchmarks=choices:{task.source}`"
            )
        super().__init__(task, stimuli, settings)
        splits = load_judgments(task.source, stimuli.names, settings.object_order, len(stimuli), **settings.table)
        measured = [split for split in splits if split != "train"] or ["train"]
        if measured == ["train"]:
            self.notes.append(f"{self.name}: the judgments have no split but train, which is measured on")
        self.tested = {split: without_catch_trials(splits[split]) for split in measured}
        self.fitted = {split: self._to_fit(splits, split) for split in measured}
        self.labels = {f"{self.name}/{split}": _rows_of_choices(data) for split, data in self.tested.items()}
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

    def measure_stimuli(self, embeddings: np.ndarray) -> Measured:
        metrics, choices, constants = {}, {}, []
        for split, judgments in self.tested.items():
            prefix = f"{self.name}/{split}"
            triplets, odd = self.labels[prefix]
            similarities = similarities_of_triplets(embeddings, triplets, self.similarity)
            constants.append(is_constant(similarities.numpy()))
            if constants[-1]:
                similarities.zero_()  # rounding makes no choices
            choices[prefix] = odd_one_out(similarities).numpy()
            correct = are_correct(choices[prefix], odd)
            metrics[f"{prefix}/{ACCURACY}"] = share_correct(correct, triplets)
            fitted = self.fitted[split]
            if fitted is not None:
                found = evaluate_uncertainty(embeddings, fitted, judgments, self.similarity, self.seed)
                metrics |= {
                    f"{prefix}/{measure}": metric
                    for measure, metric in found.metrics.items()
                    if measure not in found.sds or metric["n"] >= FEWEST_REPEATED  # correlations have one
                }
        return Measured(metrics, choices, all(constants))


def _rows_of_choices(judgments: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Triplets (m, 3) and odd ones out (m,), one row a choice, also where only counts are known."""
    triplets = column(judgments, TRIPLET)
    if COUNTS not in judgments.column_names:
        return triplets, column(judgments, ODD).astype(np.int64)
    counts = column(judgments, COUNTS)
    return np.repeat(triplets, counts.sum(1), axis=0), np.repeat(np.tile(np.arange(3), len(counts)), counts.ravel())


class LevelsBenchmark(JudgedBenchmark):
    """Coarse, fine and boundary triplets: the answers of the majority, and response times."""

    def __init__(self, task: Task, stimuli: Stimuli, settings: Settings):
        super().__init__(task, stimuli, settings)
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
                    "must be in the order of the pictures' names, or give `images` with names, or `object_names`"
                )
            counts = ", ".join(f"{name} {number}" for name, number in excluded._asdict().items())
            self.notes.append(f"{self.name}: {counts}")
        self.timed = self._timed()
        # No triplet is right for a model of zeros: what is wrong with the judgments shows now, and the ceilings
        scores = level_scores(np.zeros((len(stimuli), 1), np.float32), self.judgments, seed=self.seed)
        self.people = {f"{self.name}/{level}/{ACCURACY}": score.ceiling for level, score in scores.items()}
        for level in scores:
            answers = majority(select_level(self.judgments, level), MIN_RATERS)
            self.labels[f"{self.name}/{level}"] = (answers.triplets, answers.odd)

    def measure_stimuli(self, embeddings: np.ndarray) -> Measured:
        every = np.concatenate([triplets for triplets, _ in self.labels.values()])
        constant = is_constant(similarities_of_triplets(embeddings, every, self.similarity).numpy())
        scored = np.zeros_like(embeddings) if constant else embeddings  # rounding makes no choices
        scores = level_scores(scored, self.judgments, self.similarity, seed=self.seed)
        accuracies = {k: m for k, m in level_metrics(scores, self.name).items() if k.endswith(ACCURACY)}
        choices = {
            variant: odd_one_out_choices(scored, triplets, self.similarity)
            for variant, (triplets, _) in self.labels.items()
        }
        return Measured(accuracies | self._hesitation(scored), choices, constant)

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


class RsaBenchmark(JudgedBenchmark):
    """Similarities of all pairs, as people judged them."""

    def __init__(self, task: Task, stimuli: Stimuli, settings: Settings):
        super().__init__(task, stimuli, settings)
        path = Path(split_revision(task.source)[0]).expanduser()
        self.name = task.name or path.stem.lower()
        self.human = load_similarity_matrix(task.source, settings.rsa_kind, variable=settings.rsa_variable)
        if settings.rsa_kind is None:
            logger.info("%s is read as %s", path.name, self.human.kind)
        self.rows = self._rows(path.name)
        missing = int(np.isnan(self.human.matrix[np.triu_indices(len(self.rows), 1)]).sum())
        if missing:
            self.notes.append(f"{self.name}: {missing} pairs were not judged, and are left out")

    def _rows(self, file: str) -> np.ndarray:
        """The row of each stimulus of the matrix: by name where both sides have names, or else in order."""
        names, number = self.stimuli.names, len(self.human.names)
        if names is not None and self.human.is_named:
            rows = rows_by_name(self.human.names, names)
            are_numbers = list(self.human.names) == [str(row) for row in range(number)]
            differs = np.flatnonzero(rows != np.arange(number))
            if are_numbers and len(differs) and (rows != UNKNOWN).any():
                raise InputError(
                    f"the stimulus {differs[0]} of {file} can be the image of that name, or that in this row from "
                    f"0; write names in full, such as {names[0]!r}"
                )
            if not are_numbers or (rows != UNKNOWN).any():  # otherwise these are row numbers, not names
                check_matched(rows, self.human.names, file, f"{len(names)} images of {self.stimuli.name}", names)
                return rows
        if number != len(self.stimuli):
            raise InputError(
                f"{file} has {number} stimuli, and {self.stimuli.name} has {len(self.stimuli)}; without names on "
                "both sides every stimulus needs one, in the order of the matrix"
            )
        return np.arange(number)

    def measure_stimuli(self, embeddings: np.ndarray) -> Measured:
        found = rsa_score(np.asarray(embeddings)[self.rows], self.human, seed=self.seed)
        return Measured({f"{self.name}/rsa_spearman": found}, {}, found.get("note") == CONSTANT_NOTE)


class AlignmentBenchmark(RsaBenchmark):
    """Similarities of all pairs, by the three metrics of Sucholutsky & Griffiths (2023)."""

    def measure_stimuli(self, embeddings: np.ndarray) -> Measured:
        embeddings = np.asarray(embeddings)[self.rows]
        model, judged = Rsm.from_embeddings(embeddings), Rsm.from_matrix(self.human.matrix, self.human.kind)
        metrics = {
            f"{self.name}/rsa_pearson": rsa_score(embeddings, self.human, "pearson", seed=self.seed),
            f"{self.name}/rsa_spearman": rsa_score(embeddings, self.human, "spearman", seed=self.seed),
            f"{self.name}/triplet_agreement": triplet_agreement(model, judged, self.seed),
        }
        return Measured(metrics, {}, all(found.get("note") == CONSTANT_NOTE for found in metrics.values()))
