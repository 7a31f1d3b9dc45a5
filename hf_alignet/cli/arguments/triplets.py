"""Flags of `hf-alignet make-triplets`."""

from dataclasses import dataclass, field

from hf_alignet.cli.arguments.model import EmbeddingArguments
from hf_alignet.triplets.sampling import Sampling


@dataclass
class LabelingArguments(EmbeddingArguments):
    """The images, and the teacher that labels triplets of them."""

    images: str | None = field(
        default=None,
        metadata={"help": "Path or Hub id of a dataset with a column `image` (required); classes are its `label`."},
    )
    teacher: str | None = field(
        default=None,
        metadata={"help": "Path or Hub id (optionally with @revision) of the model that embeds the images."},
    )
    features: str | None = field(
        default=None,
        metadata={"help": "In place of a teacher that embeds them: .npy file of features, one row an image."},
    )
    transform: str | None = field(
        default=None,
        metadata={
            "help": "Path or Hub id of a transform (hf-alignet fit-teacher) of these features, which makes them "
            "human-like. Default: none; labels are then the teacher's own, which is the paper's control."
        },
    )
    on_bad_image: str = field(
        default="error",
        metadata={
            "help": "What a picture that cannot be decoded does. error: stops the run. skip: it is in no triplet.",
            "choices": ["error", "skip"],
        },
    )
    dtype: str = field(
        default="float32",
        metadata={
            "help": "Of the teacher's embeddings on disk while triplets are made; float16 takes half of it.",
            "choices": ["float32", "float16"],
        },
    )
    official: list[str] = field(
        default_factory=list,
        metadata={
            "help": "In place of all that: released AligNet files (alignet_train.npz …), whose triplets are matched "
            "to --images by file name, or taken as rows where they have no names."
        },
    )
    strict: bool = field(
        default=False,
        metadata={"help": "Stop at official rows that contradict their documented order, instead of mending them."},
    )


@dataclass
class SamplingArguments:
    """Which triplets, how many, and what becomes of them."""

    output_dir: str = field(default="outputs/triplets", metadata={"help": "Directory for all that is made."})
    sampling: Sampling = field(
        default="cluster_boundary",
        metadata={
            "help": "cluster_boundary: two images of one cluster, the third of another (the paper's). class_boundary, "
            "within_class, between_class: by the column `label`. random: any three images."
        },
    )
    num_triplets: int = field(default=1_000_000, metadata={"help": "To train on; all different."})
    num_validation_triplets: int = field(default=10_000, metadata={"help": "Of the split validation; 0: none."})
    num_clusters: int | None = field(
        default=None,
        metadata={"help": "Of k-means. Default: 500, or less where a cluster would have under 20 images."},
    )
    elbow: bool = field(
        default=False, metadata={"help": "Choose the number of clusters by the elbow of ten fits; saves the curve."}
    )
    weight_equally: bool = field(
        default=False,
        metadata={"help": "Every cluster or class gives as many pairs. Default: every triplet is as likely."},
    )
    hold_out: str = field(
        default="images",
        metadata={
            "help": "What validation triplets are made of, and training ones never. images: some images. classes: all "
            "images of some classes. nothing: of the same images, but other triplets.",
            "choices": ["images", "classes", "nothing"],
        },
    )
    held_out_share: float = field(default=0.1, metadata={"help": "Of the images or classes, in (0, 1)."})
    held_out_classes: list[str] = field(
        default_factory=list, metadata={"help": "Names or numbers of the classes to hold out, in place of a share."}
    )
    min_margin: float | None = field(
        default=None, metadata={"help": "Keep triplets with so much between the two highest choice probabilities."}
    )
    max_margin: float | None = field(default=None, metadata={"help": "… with at most so much, in [0, 1]."})
    min_entropy: float | None = field(
        default=None,
        metadata={"help": "Keep triplets of which the teacher is unsure by so many nats, of up to 1.0986."},
    )
    max_entropy: float | None = field(default=None, metadata={"help": "… by at most so many."})
    max_per_image: int | None = field(
        default=None, metadata={"help": "Triplets of a split that name the same image, at most."}
    )
    save_images: bool = field(
        default=False, metadata={"help": "Also write the images into the output directory (configuration images)."}
    )
    push_to_hub: bool = field(default=False, metadata={"help": "Share the triplets on the Hub."})
    hub_dataset_id: str | None = field(default=None, metadata={"help": "user/name to share under."})
    hub_private_repo: bool = field(default=False, metadata={"help": "Make the repository private."})
    i_have_the_right_to_share_images: bool = field(
        default=False, metadata={"help": "Needed to share with --save_images: ImageNet, for one, forbids it."}
    )
