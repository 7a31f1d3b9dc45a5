"""Settings of an evaluation, as flags."""

from dataclasses import dataclass, field
from typing import NamedTuple

from hf_alignet.errors import InputError
from hf_alignet.judgments.similarity_matrices import MatrixKind
from hf_alignet.judgments.things import ObjectOrder
from hf_alignet.similarity import SimilarityKind

WHAT_FOLLOWS = {
    "things": "human odd-one-out choices: things:user/judgments, things:choices.csv, or the files of THINGS",
    "levels": "the folder of the raw results, a table of them, or a dataset of them: levels:folder",
    "rsa": "a similarity matrix (csv, npy, npz, mat or a dataset of it): rsa:rdm48.mat",
}


class Task(NamedTuple):
    """A benchmark as `[name=]kind:source` names it."""

    kind: str
    source: str
    name: str | None

    @classmethod
    def parse(cls, flag: str) -> "Task":
        """Reads what `--benchmarks` names.

        Raises:
            InputError: there is no such benchmark, or it lacks what follows the colon.
        """
        label, _, source = flag.partition(":")
        name, _, kind = label.rpartition("=")
        if kind not in WHAT_FOLLOWS:
            raise InputError(
                f"--benchmarks {flag!r} is unknown; they are things:JUDGMENTS, levels:FOLDER and rsa:MATRIX"
            )
        if not source:
            raise InputError(f"--benchmarks {label} must be followed by a colon and {WHAT_FOLLOWS[kind]}")
        if "/" in name:
            raise InputError(f"--benchmarks {flag!r}: the name {name!r} would be part of a metric's; leave out the /")
        return cls(kind, source, name or None)


@dataclass
class EvaluationArguments:
    """What is measured, and on what."""

    model_name_or_path: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Paths or Hub ids (optionally with @revision) of one or several models; with --features, the name "
            "of the model that they are from."
        },
    )
    transform: str | None = field(
        default=None, metadata={"help": "Path or Hub id of a transform that all embeddings go through."}
    )
    benchmarks: list[str] = field(
        default_factory=list,
        metadata={
            "help": "One or several of (required) things:JUDGMENTS, any odd-one-out choices, of which every split but "
            "train is measured on; levels:FOLDER, the files of Levels; rsa:MATRIX, judged similarities. With a name "
            "in front, such as birds=things:choices.csv, results are called by it."
        },
    )
    images: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Dataset of the stimuli: one for all benchmarks, or one for each in their order. Row numbers, or "
            "names (column filename or concept), tell which picture was judged. With --features, only the names count."
        },
    )
    features: list[str] = field(
        default_factory=list,
        metadata={
            "help": "In place of models that embed: .npy file of features, one row a stimulus; one for all "
            "benchmarks, or one for each in their order."
        },
    )
    object_names: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Text file, one name a line in the order of the stimuli, by which judgments and matrices name "
            "them, where --images bring none; one for all benchmarks, or one for each in their order."
        },
    )
    object_order: ObjectOrder | None = field(
        default=None,
        metadata={
            "help": "Order of the objects in THINGS files: uid, or file_name (the publishers' early files; needs "
            "names that are uniqueIDs). Default: told by the file's name."
        },
    )
    pooling: str = field(
        default="auto",
        metadata={
            "help": "Which output of a model is the embedding. auto is right for its family.",
            "choices": ["auto", "cls", "mean", "pooler"],
        },
    )
    similarity: SimilarityKind = field(
        default="dot",
        metadata={
            "help": "Similarity of two embeddings in a triplet. RSA takes Pearson's correlation, as in the paper.",
        },
    )
    rsa_kind: MatrixKind | None = field(
        default=None,
        metadata={
            "help": "What the matrices hold. Default: told by the diagonal, since a thing is most similar to itself."
        },
    )
    output_dir: str = field(
        default="outputs/evaluation",
        metadata={"help": "Directory for results. Embeddings stay in it, and a later run takes them from there."},
    )
    update_card: str | None = field(
        default=None,
        metadata={"help": "Directory or Hub id of the evaluated model, to whose card the numbers are added."},
    )
    batch_size: int = field(default=64, metadata={"help": "Images a forward pass."})
    num_workers: int = field(default=0, metadata={"help": "Processes that read pictures; 0 reads in the main one."})
    bf16: bool = field(default=False, metadata={"help": "Run models under bfloat16 autocast."})
    trust_remote_code: bool = field(default=False, metadata={"help": "Let code from a model's repository run."})
    seed: int = field(default=42, metadata={"help": "Of everything that is drawn, such as bootstraps."})
    disable_tqdm: bool = field(default=False, metadata={"help": "Show no progress bars."})

    def __post_init__(self) -> None:
        if not self.benchmarks:
            raise InputError("give --benchmarks: one or several of things:JUDGMENTS, levels:FOLDER and rsa:MATRIX")
        self.tasks = [Task.parse(benchmark) for benchmark in self.benchmarks]
        if self.features:
            if len(self.model_name_or_path) > 1:
                raise InputError("--features are of one model: give one name in --model_name_or_path, or none")
            if self.pooling != "auto":
                raise InputError("--pooling is of a model that embeds images; --features are taken as they are")
        elif not self.model_name_or_path:
            raise InputError("give --model_name_or_path, the models to evaluate, or their --features")
        elif not self.images:
            raise InputError("models need --images: the dataset of the stimuli that people judged")
        twice = [name for name in self.model_name_or_path if self.model_name_or_path.count(name) > 1]
        if twice:
            raise InputError(f"--model_name_or_path names {twice[0]!r} twice")
        for flag in ("images", "features", "object_names"):
            number = len(getattr(self, flag))
            if number not in (0, 1, len(self.benchmarks)):
                raise InputError(
                    f"there are {number} --{flag} for {len(self.benchmarks)} benchmarks: give one for all, or one for "
                    "each in their order"
                )
        if self.batch_size < 1:
            raise InputError(f"--batch_size must be at least 1, got {self.batch_size}")
        if self.update_card is not None and self.transform is not None:
            raise InputError("--update_card is for the numbers of a model as it is shared: leave out --transform")
