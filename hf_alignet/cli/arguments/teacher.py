"""Flags of `hf-alignet fit-teacher`."""

from dataclasses import dataclass, field

from hf_alignet.cli.arguments.model import EmbeddingArguments
from hf_alignet.teacher.fitting import Method


@dataclass
class StimulusArguments:
    """What was judged, and by whom."""

    judgments: str | None = field(
        default=None,
        metadata={
            "help": "Human odd-one-out choices (required): a dataset with the columns triplet and odd (folder, "
            "parquet or Hub id), your own table (image_1, image_2, image_3, odd_one_out as csv or parquet), THINGS' "
            "table, or files of triplets. The split train is fitted to, the others measure."
        },
    )
    dataset_name: str | None = field(
        default=None,
        metadata={"help": "What metrics call the judgments. Default: the name of their file or repository."},
    )
    images: str | None = field(
        default=None,
        metadata={"help": "Dataset of the stimuli, in the order of the judgments' row numbers; needs a model."},
    )
    features: str | None = field(
        default=None, metadata={"help": "In place of images and a model: .npy file of features, one row a stimulus."}
    )
    model_name_or_path: str | None = field(
        default=None,
        metadata={
            "help": "Path or Hub id (optionally with @revision) of the model that embeds the images; with features, "
            "the name of the model that they are from, for the card."
        },
    )
    object_names: str | None = field(
        default=None,
        metadata={
            "help": "Text file, one name a line in the order of the features, by which judgments name stimuli. Images "
            "bring their own (column filename or concept)."
        },
    )
    object_order: str | None = field(
        default=None,
        metadata={
            "help": "Order of the objects in THINGS files: uid, or file_name (the publishers' early files; needs "
            "names that are uniqueIDs). Default: by the file's name.",
            "choices": ["uid", "file_name"],
        },
    )


@dataclass
class TeacherArguments(EmbeddingArguments):
    """What is fitted, and how."""

    output_dir: str = field(default="outputs/teacher", metadata={"help": "Directory for all that is made."})
    method: Method = field(
        default="uncertainty_distillation",
        metadata={
            "help": "uncertainty_distillation: to the choice probabilities of VICE (the paper's). hard: to the "
            "choices themselves. global, glocal: gLocal's. identity: changes nothing, the paper's control.",
        },
    )
    regularization: float | None = field(
        default=None,
        metadata={"help": "Weight of the penalty, > 0. Default: chosen by cross-validation over objects."},
    )
    vice: str | None = field(
        default=None,
        metadata={"help": "Path or Hub id of a VICE to distil from. Default: one is fitted to the split train."},
    )
    vice_settings: str = field(
        default="{}",
        metadata={"help": "Settings of that fit as JSON, e.g. '{\"slab\": 0.5}'; see hf_alignet.teacher.Vice."},
    )
    concentration: float | None = field(
        default=None,
        metadata={
            "help": "For how many choices VICE's probabilities of a triplet count beside those made of it, in "
            "the mean of a Dirichlet posterior. Default: for all there is, as in the paper. A VICE fitted to the "
            "same few choices is better taken as 1."
        },
    )
    local_images: str | None = field(
        default=None, metadata={"help": "Dataset of other images whose neighbourhoods glocal keeps."}
    )
    local_features: str | None = field(
        default=None, metadata={"help": "In place of local_images: .npy file of their features."}
    )
    object_folds: int = field(
        default=0,
        metadata={
            "help": "Also fit to all but one of so many folds of the objects, everything anew, and measure on "
            "judgments of the objects left out. 0: not."
        },
    )
    push_to_hub: bool = field(default=False, metadata={"help": "Share the transform (and VICE) on the Hub."})
    hub_model_id: str | None = field(
        default=None, metadata={"help": "user/name to share under; a VICE that was fitted goes to user/name-vice."}
    )
    hub_private_repo: bool = field(default=False, metadata={"help": "Make the repositories private."})
