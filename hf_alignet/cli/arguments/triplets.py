"""Settings of the making of triplets, as flags."""

from dataclasses import dataclass, field

from hf_alignet.errors import InputError
from hf_alignet.triplets.filters import LabelBounds
from hf_alignet.triplets.sampling import Sampling

POOLINGS = ["auto", "cls", "mean", "pooler"]


@dataclass
class LabelingArguments:
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
            "help": "Path or Hub id of a transform (recipes/fit_teacher.py) of these features, which makes them "
            "human-like. Default: none; labels are then the teacher's own, which is the paper's control."
        },
    )
    pooling: str = field(
        default="auto",
        metadata={
            "help": "Which output of the teacher is the embedding. auto is right for its family.",
            "choices": POOLINGS,
        },
    )
    trust_remote_code: bool = field(default=False, metadata={"help": "Let code from the model's repository run."})
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
    batch_size: int = field(default=64, metadata={"help": "Images a forward pass."})
    num_workers: int = field(default=0, metadata={"help": "Processes that decode pictures beside the model."})
    bf16: bool = field(default=False, metadata={"help": "Run the teacher under bfloat16 autocast."})
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

    def __post_init__(self) -> None:
        if self.images is None:
            raise InputError("give --images: the dataset that triplets are made of")
        if self.official:
            if (self.teacher, self.features, self.transform) != (None, None, None):
                raise InputError("--official triplets have labels: leave out --teacher, --features and --transform")
        elif (self.teacher is None) == (self.features is None):
            raise InputError("give either --teacher, the model that embeds the images, or their --features")
        if self.strict and not self.official:
            raise InputError("--strict is of --official files")
        if self.features is not None and (self.on_bad_image == "skip" or self.pooling != "auto"):
            raise InputError("--on_bad_image and --pooling are of a teacher that embeds; --features are there already")


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
    seed: int = field(default=42, metadata={"help": "Of everything that is drawn."})
    push_to_hub: bool = field(default=False, metadata={"help": "Share the triplets on the Hub."})
    hub_dataset_id: str | None = field(default=None, metadata={"help": "user/name to share under."})
    hub_private_repo: bool = field(default=False, metadata={"help": "Make the repository private."})
    i_have_the_right_to_share_images: bool = field(
        default=False, metadata={"help": "Needed to share with --save_images: ImageNet, for one, forbids it."}
    )
    disable_tqdm: bool = field(default=False, metadata={"help": "Show no progress bars."})

    @property
    def bounds(self) -> LabelBounds:
        return LabelBounds(self.min_margin, self.max_margin, self.min_entropy, self.max_entropy)

    def __post_init__(self) -> None:
        self.bounds  # noqa: B018 - refuses what is out of range
        if self.num_triplets < 1 or self.num_validation_triplets < 0:
            raise InputError("--num_triplets must be positive, and --num_validation_triplets not negative")
        if self.max_per_image is not None and self.max_per_image < 1:
            raise InputError(f"--max_per_image must be positive, got {self.max_per_image}")
        if not 0 < self.held_out_share < 1:
            raise InputError(f"--held_out_share must be in (0, 1), got {self.held_out_share}")
        if self.held_out_classes and (self.hold_out != "classes" or not self.num_validation_triplets):
            raise InputError(
                "--held_out_classes needs --hold_out classes, and validation triplets to hold them out for"
            )
        if self.num_clusters is not None and self.num_clusters < 2:
            raise InputError(f"--num_clusters must be at least 2, got {self.num_clusters}")
        has_clusters = self.sampling == "cluster_boundary"
        if (self.elbow or self.num_clusters is not None) and not has_clusters:
            raise InputError(f"--sampling {self.sampling} has no clusters: leave out --num_clusters and --elbow")
        if self.elbow and self.num_clusters is not None:
            raise InputError("give either --num_clusters, or --elbow to choose it")
        if self.push_to_hub and self.hub_dataset_id is None:
            raise InputError("--push_to_hub needs --hub_dataset_id user/name")
        if self.push_to_hub and self.save_images and not self.i_have_the_right_to_share_images:
            raise InputError(
                "--save_images would share the pictures: if you may, add --i_have_the_right_to_share_images; if not, "
                "leave out --save_images, as triplets need only the rows"
            )
