"""Benchmarks of how useful a model is, on labelled images.

Few shots, probes, shifts, BREEDS, anomalies, retrieval and corrupted pictures.
"""

from abc import abstractmethod

import numpy as np

from hf_alignet.errors import InputError
from hf_alignet.evaluation.benchmark import Benchmark, Measured, Settings, Task
from hf_alignet.evaluation.downstream.anomaly import anomaly
from hf_alignet.evaluation.downstream.breeds import breeds, draw_subclasses
from hf_alignet.evaluation.downstream.corrupted_images import VERSIONS, CorruptedStimuli
from hf_alignet.evaluation.downstream.corruptions import ALL
from hf_alignet.evaluation.downstream.hierarchy import BREEDS, Hierarchy
from hf_alignet.evaluation.downstream.labelled import Labelled
from hf_alignet.evaluation.downstream.labelled_images import (
    LabelledImages,
    Library,
)
from hf_alignet.evaluation.downstream.retrieval import retrieval
from hf_alignet.evaluation.downstream.robustness import corruption_robustness
from hf_alignet.evaluation.downstream.shift import Shift
from hf_alignet.evaluation.downstream.shots import ClassifierKind, few_shot, linear_probe
from hf_alignet.metric import Metric
from hf_alignet.sources import SPLIT, public_name

SHOTS = (1, 5, 10, 25)
STUDY_SHOTS = (1, 5, 10, 20, 40, 80)  # of Sucholutsky & Griffiths (2023)
STUDY_DRAWS = 2  # training heads takes most of the time
HEADS: dict[str, ClassifierKind] = {"linear": "logistic", "one_hidden": "one_hidden", "two_hidden": "two_hidden"}
CORRUPTED_IMAGES = 200  # each is embedded 41 times
ARROW = "->"


class LabelledBenchmark(Benchmark):
    """A benchmark of images to learn from and images to test on. Its name is that of the dataset, unless given."""

    def __init__(self, task: Task, settings: Settings, library: Library):
        self.parts = self._open(task.source, library)
        super().__init__(task, list(dict.fromkeys(part.stimuli for part in self.parts)), settings)
        dataset = task.source.partition(ARROW)[0].partition(SPLIT)[0]
        self.name = task.name or f"{public_name(dataset).split('/')[-1]}_{task.kind}"
        for test in self.parts[1:]:
            if common := library.num_common_images(self.parts[0], test):
                self.notes.append(f"{self.name}: {common} images to test on are also among those to learn from")

    def _open(self, source: str, library: Library) -> list[LabelledImages]:
        """What to learn from, and what to test on."""
        return list(library.open_parts(source))

    @property
    def origins(self) -> dict[str, str]:
        return {self.name: self.parts[1].stimuli.name}

    def measure(self, *embeddings: np.ndarray) -> Measured:
        found = self._labelled(*embeddings)
        is_constant = all(bool((part.embeddings == part.embeddings[0]).all()) for part in found)
        metrics = {f"{self.name}/{name}": metric for name, metric in self.measure_parts(*found).items()}
        return Measured(metrics, {}, is_constant)

    def _labelled(self, *embeddings: np.ndarray) -> list[Labelled]:
        """What `measure_parts` needs, from embeddings of the `sets`."""
        return [part.embedded(embeddings[self.sets.index(part.stimuli)]) for part in self.parts]

    @abstractmethod
    def measure_parts(self, train: Labelled, *tests: Labelled) -> dict[str, Metric]:
        """Metrics by `variant/measure`."""


class FewShotBenchmark(LabelledBenchmark):
    """Ridge regression on 1, 5, 10 and 25 images of each class, as far as there are so many."""

    every_shots: tuple[int, ...] = SHOTS

    def __init__(self, task: Task, settings: Settings, library: Library):
        super().__init__(task, settings, library)
        fewest = int(np.bincount(self.parts[0].labels).min())
        self.shots = [shots for shots in self.every_shots if shots <= fewest]
        if len(self.shots) < len(self.every_shots):
            self.notes.append(
                f"{self.name}: a class has {fewest} images to learn from, so that more shots are left out"
            )

    def measure_parts(self, train: Labelled, *tests: Labelled) -> dict[str, Metric]:
        (test,) = tests
        return {f"{n}_shot/few_shot_accuracy": few_shot(train, test, n, seed=self.seed) for n in self.shots}


class NShotBenchmark(FewShotBenchmark):
    """Three heads on 1 to 80 images of each class: linear, and with one and two hidden layers."""

    every_shots = STUDY_SHOTS

    def measure_parts(self, train: Labelled, *tests: Labelled) -> dict[str, Metric]:
        (test,) = tests
        return {
            f"{n}_shot/{head}_accuracy": few_shot(train, test, n, classifier, STUDY_DRAWS, self.seed)
            for head, classifier in HEADS.items()
            for n in self.shots
        }


class ProbeBenchmark(LabelledBenchmark):
    """Logistic regression on all images to learn from."""

    def measure_parts(self, train: Labelled, *tests: Labelled) -> dict[str, Metric]:
        (test,) = tests
        return {"all/probe_accuracy": linear_probe(train, test, self.seed)}


class AnomalyBenchmark(LabelledBenchmark):
    """Images of another class found by their distance to the nearest normal ones."""

    def measure_parts(self, train: Labelled, *tests: Labelled) -> dict[str, Metric]:
        (test,) = tests
        return {
            "one_vs_rest/anomaly_auroc": anomaly(train, test, "one_vs_rest"),
            "leave_one_out/anomaly_auroc": anomaly(train, test, "leave_one_out"),
        }


class RetrievalBenchmark(LabelledBenchmark):
    """Test images that ask for others of their class."""

    def measure_parts(self, train: Labelled, *tests: Labelled) -> dict[str, Metric]:
        (test,) = tests
        return {f"test/{name}": metric for name, metric in retrieval(test, seed=self.seed).items()}


class BreedsBenchmark(LabelledBenchmark):
    """Superclasses learned from some subclasses, and tested on others."""

    def __init__(self, task: Task, settings: Settings, library: Library):
        if settings.breeds_hierarchy is None:
            raise InputError(
                f"`benchmarks` has breeds:{task.source}, which needs `breeds_hierarchy`, the folder of the "
                "published class_hierarchy.txt and node_names.txt"
            )
        self.hierarchy = Hierarchy.load(settings.breeds_hierarchy)
        super().__init__(task, settings, library)
        self.names = []
        for name in BREEDS:
            try:
                draw_subclasses(self.parts[0].classes, self.hierarchy, name, None, self.seed)
                self.names.append(name)
            except InputError as reason:
                self.notes.append(f"{self.name}: no {name}: {reason}")
        if not self.names:
            raise InputError(f"breeds:{task.source} cannot be measured: {self.notes[0]}")

    def measure_parts(self, train: Labelled, *tests: Labelled) -> dict[str, Metric]:
        (test,) = tests
        found = {}
        for name in self.names:
            for part, metric in breeds(train, test, self.hierarchy, name, seed=self.seed).items():
                found[f"{name}_{part.removesuffix('_accuracy')}/breeds_accuracy"] = metric
        return found


class ShiftBenchmark(LabelledBenchmark):
    """Logistic regression on one dataset, tested on another, and on one half of its own that it did not learn from."""

    def __init__(self, task: Task, settings: Settings, library: Library):
        super().__init__(task, settings, library)
        for test in self.parts[2:]:
            if left := len(test.stimuli) - len(test.rows):
                total = len(test.stimuli)
                self.notes.append(
                    f"{self.name}: {left} of {total} images of {test.stimuli.name} have no class: left out"
                )

    def _open(self, source: str, library: Library) -> list[LabelledImages]:
        train, arrow, tests = source.partition(ARROW)
        if not arrow or not train or not tests:
            raise InputError(f"`benchmarks` has shift:{source}; it must be like shift:user/photos->user/sketches")
        own = library.open_split(train).divided(library.seed)
        return [*own, *map(library.open_split, tests.split(ARROW))]

    def measure_parts(self, train: Labelled, *tests: Labelled) -> dict[str, Metric]:
        fitted = Shift(train, self.seed)
        return {
            f"{variant}/shift_accuracy": fitted.accuracy(test, part.accepted)
            for variant, test, part in zip(self._variants, tests, self.parts[1:], strict=True)
        }

    @property
    def _variants(self) -> list[str]:
        """What its tests are called."""
        return ["unshifted", *(part.stimuli.name.split("/")[-1] for part in self.parts[2:])]

    @property
    def origins(self) -> dict[str, str]:
        tested = zip(self._variants, self.parts[1:], strict=True)
        return super().origins | {f"{self.name}/{variant}": part.stimuli.name for variant, part in tested}


class CorruptionBenchmark(LabelledBenchmark):
    """Logistic regression on all images to learn from, tested on corrupted pictures of up to 200 test images."""

    def __init__(self, task: Task, settings: Settings, library: Library):
        super().__init__(task, settings, library)
        train, test = self.parts
        self.corrupted = CorruptedStimuli(test, CORRUPTED_IMAGES, self.seed)
        self.sets = [train.stimuli, self.corrupted]
        if len(test.rows) > CORRUPTED_IMAGES:
            self.notes.append(
                f"{self.name}: {CORRUPTED_IMAGES} of the {len(test.rows)} images to test on are corrupted, drawn by "
                f"the seed, as many as possible of each class"
            )

    def _labelled(self, *embeddings: np.ndarray) -> list[Labelled]:
        of_train, of_versions = embeddings
        taken = self.corrupted.taken
        versions = (of_versions[version::VERSIONS] for version in range(VERSIONS))
        return [self.parts[0].embedded(of_train), *(Labelled(part, taken.labels, taken.classes) for part in versions)]

    def measure_parts(self, train: Labelled, *tests: Labelled) -> dict[str, Metric]:
        clean, *corrupted = tests
        embeddings = {corruption: part.embeddings for corruption, part in zip(ALL, corrupted, strict=True)}
        return corruption_robustness(train, clean, embeddings, self.seed)
