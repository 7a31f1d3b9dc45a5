"""Settings of a teacher's fitting, as flags."""

import math
from dataclasses import dataclass, field
from typing import Literal

from hf_alignet.errors import InputError

Method = Literal["uncertainty_distillation", "hard", "global", "glocal", "identity"]


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
    pooling: str = field(
        default="auto",
        metadata={
            "help": "Which output of the model is the embedding. auto is right for its family.",
            "choices": ["auto", "cls", "mean", "pooler"],
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
            "names that are uniqueIDs). Default: told by the file's name.",
            "choices": ["uid", "file_name"],
        },
    )
    trust_remote_code: bool = field(default=False, metadata={"help": "Let code from the model's repository run."})

    def __post_init__(self) -> None:
        if self.judgments is None:
            raise InputError("give --judgments: the human choices to fit to")
        if (self.images is None) == (self.features is None):
            raise InputError("give either --images with --model_name_or_path, or --features")
        if self.images is not None and self.model_name_or_path is None:
            raise InputError("--images need --model_name_or_path: the model that embeds them")
        if self.features is not None and self.pooling != "auto":
            raise InputError("--pooling is of a model that embeds images; --features are taken as they are")


@dataclass
class TeacherArguments:
    """What is fitted."""

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
    batch_size: int = field(default=64, metadata={"help": "Images a forward pass."})
    seed: int = field(default=42, metadata={"help": "Of everything that is drawn."})
    push_to_hub: bool = field(default=False, metadata={"help": "Share the transform (and VICE) on the Hub."})
    hub_model_id: str | None = field(
        default=None, metadata={"help": "user/name to share under; a VICE that was fitted goes to user/name-vice."}
    )
    hub_private_repo: bool = field(default=False, metadata={"help": "Make the repositories private."})
    disable_tqdm: bool = field(default=False, metadata={"help": "Show no progress bars."})

    def __post_init__(self) -> None:
        is_glocal, has_local = self.method == "glocal", (self.local_images, self.local_features) != (None, None)
        if is_glocal != has_local:
            raise InputError("--method glocal, and no other, takes --local_images or --local_features")
        if None not in (self.local_images, self.local_features):
            raise InputError("give either --local_images or --local_features")
        for flag in ("vice", "concentration"):
            if getattr(self, flag) is not None and self.method != "uncertainty_distillation":
                raise InputError(f"--method {self.method} takes no --{flag}; uncertainty_distillation does")
        if self.concentration is not None and not 0 < self.concentration < math.inf:
            raise InputError(f"--concentration must be positive and finite, got {self.concentration}")
        if self.vice_settings != "{}" and (self.vice is not None or self.method != "uncertainty_distillation"):
            raise InputError("--vice_settings are of a VICE that is fitted: there is none to fit")
        if self.object_folds == 1 or self.object_folds < 0:
            raise InputError(f"--object_folds must be 0, or at least 2, got {self.object_folds}")
        if self.vice is not None and self.object_folds:
            raise InputError("--object_folds fits VICE anew in every fold: leave out --vice")
        if self.push_to_hub and self.hub_model_id is None:
            raise InputError("--push_to_hub needs --hub_model_id user/name")
