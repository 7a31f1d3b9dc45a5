"""Settings of what is published, as flags."""

import re
from dataclasses import dataclass, field
from typing import Literal

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from hf_alignet.errors import InputError
from hf_alignet.judgments.similarity_matrices import MatrixKind
from hf_alignet.judgments.things import ObjectOrder

PublishedKind = Literal["dataset", "transform", "metric", "model"]
RepositoryType = Literal["dataset", "model", "space"]

LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]*")


@dataclass
class PublishArguments:
    """What is published, where, and under which terms."""

    kind: PublishedKind = field(metadata={"help": "What it is; also as the first word of the command."})
    path: str = field(metadata={"help": "Where it lies; also as the second word."})
    repo_id: str = field(metadata={"help": "Its name on the Hub, user/name; also as the third word."})
    private: bool = field(default=False, metadata={"help": "Make a new repository private."})
    revision: str | None = field(default=None, metadata={"help": "Branch; made if it is not there. Default: main."})
    dry_run: bool = field(
        default=False, metadata={"help": "Show the files, their sizes and the card, and use no network."}
    )
    license: str | None = field(
        default=None, metadata={"help": "Licence of what is published, as the Hub calls it, such as cc-by-4.0."}
    )
    source: str | None = field(
        default=None, metadata={"help": "Datasets: a sentence for the card on where the data come from."}
    )
    images: str | None = field(
        default=None,
        metadata={"help": "Judgments, matrices: dataset of the pictures that were judged, published beside them."},
    )
    i_have_the_right_to_share_images: bool = field(
        default=False, metadata={"help": "Say that the pictures may be shared; without it none are uploaded."}
    )
    object_names: str | None = field(
        default=None,
        metadata={
            "help": "Judgments: text file with one name a picture, by which they call it, in place of --images."
        },
    )
    object_order: ObjectOrder | None = field(
        default=None,
        metadata={"help": "How files of THINGS number the objects. Default: as the file's name tells."},
    )
    matrix_kind: MatrixKind | None = field(
        default=None,
        metadata={"help": "What a matrix holds. Default: told by the diagonal, since a thing is most like itself."},
    )
    output_dir: str = field(
        default="outputs/published", metadata={"help": "Directory in which a copy for the Hub is made, and stays."}
    )
    disable_tqdm: bool = field(default=False, metadata={"help": "Show no progress bars."})

    @property
    def repo_type(self) -> RepositoryType:
        return "dataset" if self.kind == "dataset" else "space" if self.kind == "metric" else "model"

    @property
    def sources(self) -> list[str]:
        """What it is made from, as it was given."""
        return [given for given in (self.path, self.images, self.object_names) if given is not None]

    def __post_init__(self) -> None:
        try:
            validate_repo_id(self.repo_id)
        except HFValidationError as error:
            raise InputError(str(error)) from error
        if "/" not in self.repo_id:
            raise InputError(f"the name on the Hub must be user/name, got {self.repo_id!r}")
        if self.license is not None and not LICENSE.fullmatch(self.license):
            raise InputError(f"--license {self.license!r} is no identifier of a licence, such as cc-by-4.0 or mit")
        for name in ("source", "images", "object_names", "object_order", "matrix_kind"):
            if self.kind != "dataset" and getattr(self, name) is not None:
                raise InputError(f"--{name} is for datasets, not for a {self.kind}")
        if self.images is not None:
            if self.object_names is not None:
                raise InputError("give --images or --object_names: pictures have names of their own")
            self.check_right_to_images()

    def check_right_to_images(self) -> None:
        """Refuses to upload pictures that nobody has vouched for.

        Raises:
            InputError: says what to do.
        """
        if not self.i_have_the_right_to_share_images:
            raise InputError(
                "pictures would be uploaded: add --i_have_the_right_to_share_images if you may. The photographs of "
                "THINGS and ImageNet may be used for research, but not be passed on; of such, share the judgments or "
                "triplets without --images, and --object_names to say which row is which"
            )
