"""Benchmarks by name: of how human a model is, and of how useful it is.

Each is opened before anything is embedded, so that data that do not fit are refused at once, and then measures one
model after another. Metrics are called `dataset/variant/measure`.
"""

from collections.abc import Callable, Sequence

from hf_alignet.errors import InputError
from hf_alignet.evaluation.benchmark import Benchmark, Settings, Task
from hf_alignet.evaluation.downstream.labelled_images import Library
from hf_alignet.evaluation.downstream.labelled_tasks import (
    AnomalyBenchmark,
    BreedsBenchmark,
    CorruptionBenchmark,
    FewShotBenchmark,
    LabelledBenchmark,
    NShotBenchmark,
    ProbeBenchmark,
    RetrievalBenchmark,
    ShiftBenchmark,
)
from hf_alignet.evaluation.human.judged import (
    AlignmentBenchmark,
    ChoicesBenchmark,
    JudgedBenchmark,
    LevelsBenchmark,
    RsaBenchmark,
)
from hf_alignet.judgments.stimuli import Stimuli

# Of judgments about stimuli, which are given beside them
JUDGED: dict[str, tuple[Callable[[Task, Stimuli, Settings], JudgedBenchmark], str]] = {
    "choices": (ChoicesBenchmark, "odd-one-out choices: choices:user/judgments or choices:choices.csv"),
    "things": (ChoicesBenchmark, "the choices of THINGS: things:triplets_large_final_correctednc_correctedorder.csv"),
    "levels": (LevelsBenchmark, "the raw results, a table of them, or a dataset of them: levels:folder"),
    "rsa": (RsaBenchmark, "a similarity matrix (csv, npy, npz, mat or a dataset of it): rsa:rdm48.mat"),
    "alignment": (AlignmentBenchmark, "a similarity matrix, as rsa: alignment:animals.csv"),
}
# Of labelled images, which they name themselves
LABELLED: dict[str, tuple[Callable[[Task, Settings, Library], LabelledBenchmark], str]] = {
    "few_shot": (FewShotBenchmark, "labelled images: few_shot:user/cifar100"),
    "n_shot": (NShotBenchmark, "labelled images: n_shot:user/cifar100"),
    "probe": (ProbeBenchmark, "labelled images: probe:user/cifar100"),
    "breeds": (BreedsBenchmark, "images labelled by WordNet ids: breeds:user/imagenet"),
    "shift": (
        ShiftBenchmark,
        "labelled images to learn from and to test on: shift:user/photos->user/sketches",
    ),
    "corruption": (CorruptionBenchmark, "labelled images, which are corrupted: corruption:user/cifar100"),
    "anomaly": (AnomalyBenchmark, "labelled images: anomaly:user/cifar100"),
    "retrieval": (RetrievalBenchmark, "labelled images: retrieval:user/cifar100"),
}
KINDS = {kind: needed for kinds in (JUDGED, LABELLED) for kind, (_, needed) in kinds.items()}


def parse_task(text: str) -> Task:
    """Reads `[name=]kind:source`. Raises an InputError if the kind is unknown, or nothing follows the colon."""
    label, _, source = text.partition(":")
    name, _, kind = label.rpartition("=")
    if kind not in KINDS:
        raise InputError(
            f"`benchmarks` has {text!r}, whose kind is unknown; kinds are choices:JUDGMENTS, things:JUDGMENTS, "
            "levels:FOLDER, rsa:MATRIX, alignment:MATRIX, and of labelled images few_shot:IMAGES, n_shot:IMAGES, "
            "probe:IMAGES, breeds:IMAGES, shift:IMAGES->IMAGES, corruption:IMAGES, anomaly:IMAGES and retrieval:IMAGES"
        )
    if not source:
        raise InputError(f"`benchmarks` has {label!r}; a colon must follow it, and {KINDS[kind]}")
    if "/" in name:
        raise InputError(f"`benchmarks` has {text!r}: the name {name!r} is a part of metrics' names; leave out /")
    return Task(kind, source, name or None)


def open_benchmarks(tasks: Sequence[Task], stimuli: Sequence[Stimuli], settings: Settings) -> list[Benchmark]:
    """Opens the benchmark of each task, before anything is embedded.

    Args:
        tasks: what to measure.
        stimuli: of each task about judgments, in their order.
        settings: what all benchmarks share.

    Raises:
        InputError: one cannot be opened or does not fit its stimuli, or two have the same name.
    """
    benchmarks: list[Benchmark] = []
    judged, library = iter(stimuli), Library(settings.seed, settings.image_column, settings.label_column)
    for task in tasks:
        opened: Benchmark
        if task.kind in JUDGED:
            opened = JUDGED[task.kind][0](task, next(judged), settings)
        else:
            opened = LABELLED[task.kind][0](task, settings, library)
        if opened.name in {other.name for other in benchmarks}:
            raise InputError(
                f"two benchmarks are called {opened.name!r}; give one another name: "
                f"`benchmarks=another={task.kind}:{task.source}`"
            )
        benchmarks.append(opened)
    return benchmarks
