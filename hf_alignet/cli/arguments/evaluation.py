"""Flags of `hf-alignet evaluate`."""

from dataclasses import dataclass, field

from hf_alignet.cli.arguments.model import EmbeddingArguments
from hf_alignet.judgments.similarity_matrices import MatrixKind
from hf_alignet.judgments.things import ObjectOrder
from hf_alignet.similarity import SimilarityKind


@dataclass
class EvaluationArguments(EmbeddingArguments):
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
            "help": "One or several of choices:JUDGMENTS, human odd-one-out choices; things:JUDGMENTS, those of "
            "THINGS; levels:FOLDER, the files of Levels; rsa:MATRIX, judged similarities. With a name in front, such "
            "as birds=choices:choices.csv, results have this name."
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
            "them, where --images have no names; one for all benchmarks, or one for each in their order."
        },
    )
    object_order: ObjectOrder | None = field(
        default=None,
        metadata={
            "help": "Order of the objects in THINGS files: uid, or file_name (the publishers' early files; needs "
            "names that are uniqueIDs). Default: by the file's name."
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
            "help": "What the matrices hold. Default: by the diagonal, since a thing is most similar to itself."
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
