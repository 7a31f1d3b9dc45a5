"""What is published, where, and under which terms."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from hf_alignet.errors import InputError
from hf_alignet.hub.cards.validation import LICENSE
from hf_alignet.judgments.own_table import TimeUnit
from hf_alignet.judgments.similarity_matrices import MatrixKind
from hf_alignet.judgments.things import ObjectOrder
from hf_alignet.ranges import Share, check_fields

PublishedKind = Literal["dataset", "transform", "metric", "model", "space"]
OF_JUDGMENTS = ("object_order", "matrix_kind", "matrix_variable", "columns", "rt_unit")


@dataclass(frozen=True)
class Publication:
    """The settings of `publish` that go together. Raises an InputError that names a setting that is not possible."""

    kind: PublishedKind
    path: str
    repo_id: str
    license: str | None = None
    revision: str | None = None
    images: str | None = None
    i_have_the_right_to_share_images: bool = False
    object_names: str | None = None
    object_order: ObjectOrder | None = None
    matrix_kind: MatrixKind | None = None
    matrix_variable: str | None = None
    columns: Mapping[str, str] | str | None = None
    rt_unit: TimeUnit | None = None
    max_missing: Share = 0.5
    source: str | None = None
    command: str | None = None
    merge_lora: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
        try:
            validate_repo_id(self.repo_id)
        except HFValidationError as error:
            raise InputError(str(error)) from error
        if "/" not in self.repo_id:
            raise InputError(f"`repo_id` must be user/name, got {self.repo_id!r}")
        if self.license is not None and not LICENSE.fullmatch(self.license):
            raise InputError(f"`license` must be an identifier, such as cc-by-4.0 or mit, got {self.license!r}")
        if self.kind != "dataset":
            self.refuse(("source", "images", "object_names", *OF_JUDGMENTS), f"a {self.kind}")
        if self.merge_lora and self.kind != "model":
            raise InputError(f"`merge_lora` does not belong to a {self.kind}: leave it out")
        if self.images is not None:
            if self.object_names is not None:
                raise InputError(
                    f"give `images={self.images}` or `object_names={self.object_names}`, not both: pictures have "
                    "names of their own"
                )
            self.check_right_to_images()

    @property
    def place(self) -> Path:
        return Path(self.path).expanduser()

    @property
    def sources(self) -> list[str]:
        """The paths or Hub ids that it is made from."""
        return [given for given in (self.path, self.images, self.object_names) if given is not None]

    @property
    def repo_type(self) -> Literal["dataset", "model", "space"]:
        return "dataset" if self.kind == "dataset" else "space" if self.kind in ("metric", "space") else "model"

    def refuse(self, names: tuple[str, ...], what: str) -> None:
        """Raises an InputError if a setting of these names was given, since it does not belong to `what`."""
        for name in names:
            if getattr(self, name) is not None:
                raise InputError(f"`{name}` does not belong to {what}, got {getattr(self, name)!r}: leave it out")

    def check_right_to_images(self) -> None:
        """Raises an InputError if nobody says that pictures may be shared."""
        if not self.i_have_the_right_to_share_images:
            raise InputError(
                "pictures would be uploaded: add `i_have_the_right_to_share_images=True` if you may share them. The "
                "photographs of THINGS and ImageNet may be used for research, but not be passed on: publish their "
                "judgments or triplets without `images`, and give `object_names` to say which row is which"
            )
