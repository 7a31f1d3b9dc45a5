"""What all benchmarks have in common: what opens them, what they need and what they find."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from hf_alignet.judgments.similarity_matrices import MatrixKind
from hf_alignet.judgments.stimuli import Stimuli
from hf_alignet.judgments.things import ObjectOrder
from hf_alignet.metric import Metric
from hf_alignet.similarity import SimilarityKind, TripletSimilarity


class Task(NamedTuple):
    """What `[name=]kind:source` names: the kind of a benchmark, where its data are, its name in results."""

    kind: str
    source: str
    name: str | None = None


class Settings(NamedTuple):
    """What all benchmarks of an evaluation share."""

    similarity: SimilarityKind | TripletSimilarity  # of two embeddings in a triplet
    object_order: ObjectOrder | None  # of the objects in files of THINGS; None goes by the name of the file
    rsa_kind: MatrixKind | None  # of the similarity matrices; None goes by their diagonal
    seed: int  # of all random draws
    rsa_variable: str | None = None  # array in files that have several
    table: Mapping[str, Any] = {}  # what `load_judgments` needs to know of tables
    image_column: str | None = None  # of labelled images; None for `image`, or the only one
    label_column: str | None = None  # of labelled images; None for `label`, or the only one of its type
    breeds_hierarchy: str | None = None  # folder of the files that BREEDS publishes


class Measured(NamedTuple):
    """What a benchmark found."""

    metrics: dict[str, Metric]  # by name
    choices: dict[str, np.ndarray]  # (m,) positions that the model chooses, -1 without a choice, by `dataset/variant`
    is_constant: bool  # whether the model finds all stimuli equally similar


class Benchmark(ABC):
    """What all benchmarks offer."""

    def __init__(self, task: Task, sets: Sequence[Stimuli], settings: Settings):
        self.name = task.name or task.kind  # the first part of the names of its metrics
        self.sets = sets  # the images that are embedded
        self.source = task.source
        self.seed = settings.seed
        # How well people, or the best possible model, would do, by name of the metric
        self.people: dict[str, Metric] = {}
        # Rows of triplets (m, 3) and the odd ones out (m,) that people chose, by `dataset/variant`
        self.labels: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self.notes: list[str] = []  # sentences about what was left out

    @property
    def origins(self) -> dict[str, str]:
        """The dataset that is measured on, by the name of the benchmark, or by `name/variant` where it is another."""
        return {self.name: self.source}

    @abstractmethod
    def measure(self, *embeddings: np.ndarray) -> Measured:
        """Measures a model by its embeddings (n, d) of each of the `sets`."""
