"""From images and a teacher to a triplet dataset in a directory: embedded, clustered, drawn, labelled, with a card."""

import hashlib
import logging
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from datasets import Dataset, DatasetDict

from hf_alignet.analysis import elbow_figure, save_figure
from hf_alignet.encoder import AffineTransform, Encoder, open_encoder
from hf_alignet.encoder.embedding import load_embeddings
from hf_alignet.encoder.pooling import PoolingChoice
from hf_alignet.errors import InputError, naming
from hf_alignet.hub.cards.triplets_card import write_triplets_card
from hf_alignet.hub.transport.provenance import dataset_commit, model_commit, versions
from hf_alignet.hub.transport.repository import make_repository, share_folder
from hf_alignet.images import as_reader, load_images
from hf_alignet.images.opening import holds_texts
from hf_alignet.images.picture_files import content_fingerprint, refuse_files
from hf_alignet.images.picture_record import NAMES_FILE, RECORD_FILE, PictureRecord
from hf_alignet.processes import this_process
from hf_alignet.ranges import Count, Whole, checked
from hf_alignet.sources import load_matrix, public_name
from hf_alignet.storage import output_folder, require_space, write_dataset, write_json
from hf_alignet.teacher import Teacher
from hf_alignet.triplets import load_triplets
from hf_alignet.triplets.making import (
    Plan,
    TripletDesign,
    clip_design,
    keep_settings,
    make_clusters,
    make_official_splits,
    make_splits,
    write_clusters,
)
from hf_alignet.triplets.triplet_dataset import INFO_FILE

PARTS = ["clusters", "images", "elbow.csv", "elbow.png", RECORD_FILE, NAMES_FILE, "triplets"]
SHARDS = ["clusters/*.parquet", "images/*.parquet", "triplets/*.parquet"]
SHARED = ["README.md", INFO_FILE, RECORD_FILE, "elbow.*", *SHARDS]
STATED = ("sampling", "weight_equally", "min_margin", "max_margin", "min_entropy", "max_entropy", "max_per_image")

logger = logging.getLogger(__name__)


@checked
def make_triplets(
    images: str | Dataset,
    teacher: str | Encoder | None = None,
    *,
    image_column: str | None = None,
    image_split: str = "train",
    transform: str | AffineTransform | None = None,
    features: str | None = None,
    official: Sequence[str] = (),
    output_dir: str | Path = "outputs/triplets",
    pooling: PoolingChoice = "auto",
    trust_remote_code: bool = False,
    on_bad_image: Literal["error", "skip"] = "error",
    dtype: Literal["float32", "float16"] = "float32",
    batch_size: Count = 64,
    num_workers: Whole | None = None,
    bf16: bool = False,
    strict: bool = False,
    save_images: bool = False,
    push_to_hub: bool = False,
    hub_dataset_id: str | None = None,
    hub_private_repo: bool = False,
    i_have_the_right_to_share_images: bool = False,
    command: str | None = None,
    progress: bool = True,
    **design: Any,
) -> DatasetDict:
    """Draws triplets of images and labels them by a teacher; a run that was stopped continues where it was.

    Under `accelerate launch` the processes share the embedding, the clustering, and, where no setting limits which
    triplets are taken, the labelling.

    Args:
        images: image dataset, or one of texts (column `text`), or its path or Hub id. Its column `label` has the
            classes, if it has one.
        teacher: model that embeds the images, or its path or Hub id.
        image_column: column of the pictures. By default `image`, or else the only column of pictures.
        image_split: split of the images, or `all` to join all splits.
        transform: `AffineTransform` that makes the teacher's embeddings human-like, or its path or Hub id. Without it
            the labels are the teacher's own similarities, the paper's control.
        features: in place of a teacher, the path of a `.npy` file with one row for each image.
        official: in place of a teacher, released AligNet files. Their images are found by file name.
        output_dir: directory for the results.
        pooling: which output of the teacher is the embedding.
        trust_remote_code: allow code from the teacher's repository to run.
        on_bad_image: `error` stops at a picture that cannot be decoded; `skip` leaves it out of all triplets.
        dtype: type of the teacher's embeddings on disk.
        batch_size: number of images in a forward pass.
        num_workers: number of processes that decode pictures. 0 decodes them in the main process. By default one for
            each other core if there is a GPU, and else 0.
        bf16: run the teacher in bfloat16: on a GPU with weights of that type, on a CPU under autocast.
        strict: refuse official rows whose odd one out is not last, instead of reordering them.
        save_images: also write the images, as the configuration `images`.
        push_to_hub: share the triplets on the Hub.
        hub_dataset_id: Hub id `user/name` of the triplets.
        hub_private_repo: make the repository private.
        i_have_the_right_to_share_images: say that the pictures may be shared; needed to share with `save_images`.
        command: the command that made them, for the card.
        progress: show bars.
        **design: which triplets, and how many: see `TripletDesign`.

    Returns:
        The splits `train` and `validation`. Other processes than the main one get no splits.

    Raises:
        InputError: settings or data that cannot work.

    Example:
        >>> make_triplets("my-images", "facebook/dinov2-base", transform="outputs/teacher")  # doctest: +SKIP
    """
    if push_to_hub and hub_dataset_id is None:
        raise InputError("`push_to_hub` needs `hub_dataset_id=user/name`")
    hub_dataset_id = hub_dataset_id if push_to_hub else None
    drawn = TripletDesign(**design)
    given = transform
    settings: dict[str, Any] = {"transform": transform, "features": features, "official": list(official)}
    settings |= {"pooling": pooling, "on_bad_image": on_bad_image, "dtype": dtype, "bf16": bf16, "strict": strict}
    _check(teacher, settings, save_images, hub_dataset_id, i_have_the_right_to_share_images)
    state = this_process()
    with output_folder(output_dir, "make-triplets", is_main=state.is_main_process) as directory:
        unfinished = directory / "unfinished"
        with naming("images"):
            dataset = load_images(images, image_split, image_column) if isinstance(images, str) else images
            if save_images and dataset is images:
                refuse_files(dataset, "save_images")
        if isinstance(transform, str):
            with naming("transform"):
                transform = AffineTransform.from_pretrained(transform)
        fingerprint = content_fingerprint(dataset)
        if state.is_main_process:
            noted = settings | {"images": _name(images), "teacher": _name(teacher), "transform": _name(given)}
            noted |= _contents(features, transform) | asdict(drawn) | {"images_fingerprint": fingerprint}
            _make_room(directory, noted)
            if hub_dataset_id is not None:
                make_repository(hub_dataset_id, hub_private_repo, "dataset")
        state.wait_for_everyone()
        record = PictureRecord.of(dataset, progress)

        if official:
            if not state.is_main_process:
                return DatasetDict()
            num_rows = make_official_splits(official, dataset, unfinished / "triplets", strict)
            info: dict[str, Any] = {"official": ", ".join(Path(file).name for file in official)}
        else:
            source = _open_teacher(teacher, features, dataset, transform, pooling, trust_remote_code)
            options = {"batch_size": batch_size, "num_workers": num_workers, "bf16": bf16, "progress": progress}
            made = _label(source, dataset, drawn, unfinished, on_bad_image, dtype, options)
            if made is None:
                return DatasetDict()
            num_rows, facts = made
            info = {
                "teacher": _name(teacher) or public_name(str(features)),
                "teacher_commit": model_commit(teacher) if isinstance(teacher, str) else None,
                "transform": _name(given),
                "temperature": 1.0,
                **facts,
            }
        record.save(unfinished)
        if save_images:
            write_dataset(dataset, unfinished / "images", "train", progress)
        info = {
            **({"input": "text"} if holds_texts(dataset) else {}),
            "images": _name(images),
            "images_commit": dataset_commit(dataset),
            "num_images": len(dataset),
            "images_fingerprint": fingerprint,
            "images_content": record.fingerprint,
            **info,
            "command": command,
            "versions": versions(),
        }
        _finish(directory, info, num_rows, hub_dataset_id)
        if hub_dataset_id is not None:
            share_folder(directory, hub_dataset_id, SHARED, "dataset", replaced=SHARDS)
        return load_triplets(str(directory))


def _name(given: object) -> str | None:
    """What may be said in public of what was given."""
    if isinstance(given, str):
        return public_name(given)
    if isinstance(given, Encoder):
        return public_name(str(given.backbone.name_or_path)) or "a model in memory"
    return None if given is None else "data in memory"


def _check(
    teacher: object, settings: dict[str, Any], save_images: bool, hub_dataset_id: str | None, may_share: bool
) -> None:
    """Refuses settings that exclude each other."""
    features = settings["features"]
    given = {"teacher": teacher, "features": features, "transform": settings["transform"]}
    named = " and ".join(f"`{name}={_name(value)}`" for name, value in given.items() if value is not None)
    if settings["official"]:
        if (teacher, features, settings["transform"]) != (None, None, None):
            raise InputError(f"`official` triplets have labels: leave out {named}")
    elif (teacher is None) == (features is None):
        raise InputError(
            f"give either `teacher`, the model that embeds the images, or their `features`; got {named or 'neither'}"
        )
    if settings["strict"] and not settings["official"]:
        raise InputError("`strict` is of `official` files")
    if features is not None and (settings["on_bad_image"] == "skip" or settings["pooling"] != "auto"):
        raise InputError("`on_bad_image` and `pooling` are of a teacher that embeds; `features` are there already")
    if hub_dataset_id is not None and save_images and not may_share:
        raise InputError(
            "`save_images` would share the pictures: if you may, add `i_have_the_right_to_share_images=True`; if not, "
            "leave out `save_images`, as triplets need only the rows"
        )


def _contents(features: str | None, transform: AffineTransform | None) -> dict[str, str]:
    """Hashes of what the labels depend on beside the teacher, whose embeddings say what they are from."""
    found = {}
    if features is not None:
        with naming("features"):
            load_matrix(features, "features")  # says why it cannot be read
        with open(Path(features).expanduser(), "rb") as file:
            found["content of features"] = hashlib.file_digest(file, "sha256").hexdigest()
    if transform is not None:
        digest = hashlib.sha256()
        for _, tensor in transform.named_buffers():
            digest.update(tensor.cpu().numpy().tobytes())
        found["content of transform"] = digest.hexdigest()
    return found


def _make_room(directory: Path, settings: dict[str, Any]) -> None:
    """A place for what is not finished yet; parts of a run that was stopped while it finished go back there."""
    unfinished = directory / "unfinished"
    parts = [part for part in PARTS if (directory / part).exists()]
    if (directory / "README.md").exists():
        shutil.rmtree(unfinished, ignore_errors=True)  # of a run that was stopped after its last step
    if (directory / "README.md").exists() or (parts and not unfinished.exists()):
        raise InputError(f"{directory} holds triplets already: remove it, or give another `output_dir`")
    keep_settings(unfinished / "settings.json", settings)
    for part in parts:
        (directory / part).replace(unfinished / part)


def _open_teacher(
    teacher: str | Encoder | None,
    features: str | None,
    images: Dataset,
    transform: AffineTransform | None,
    pooling: str,
    trust_remote_code: bool,
) -> Teacher:
    if features is not None:
        with naming("features"):
            matrix = load_embeddings(features, "features", images)
        return Teacher(features=matrix, transform=transform)
    if isinstance(teacher, str):
        with naming("teacher"):
            teacher = open_encoder(teacher, pooling, trust_remote_code)
    return Teacher(teacher, transform=transform)


def _label(
    teacher: Teacher,
    images: Dataset,
    design: TripletDesign,
    unfinished: Path,
    on_bad_image: str,
    dtype: str,
    options: dict[str, Any],
) -> tuple[dict[str, int], dict[str, Any]] | None:
    """Triplets by split, and facts about them, by the main process; others only share the work."""
    rows = np.arange(len(images))
    if teacher.encoder is not None and on_bad_image == "skip":
        reader = as_reader(images, teacher.encoder.preprocessor)
        bad = reader.prepare(rows, options["num_workers"], options["progress"], skip_bad=True)
        rows = np.setdiff1d(rows, list(bad))
        if bad:
            first = next(iter(bad.values()))
            logger.warning("left out %d images that cannot be read; the first: %s", len(bad), first)
    plan = Plan.of(design, images, rows)
    design = clip_design(design, plan)  # before embedding takes its time
    if this_process().is_main_process:
        num_bytes = np.dtype(dtype).itemsize + (4 if teacher.encoder is not None else 0)  # of a number, in two files
        require_space(unfinished, len(rows) * teacher.transform.dim * num_bytes)
    features = teacher.embed(images, unfinished / "features", rows=rows, **options)
    state = this_process()
    if state.is_main_process:
        teacher.write_embeddings(features, unfinished / "embeddings.npy", dtype)
    state.wait_for_everyone()
    embeddings = np.load(unfinished / "embeddings.npy", mmap_mode="r", allow_pickle=False)
    clusters = make_clusters(design, embeddings, plan, unfinished, options["progress"])
    if not (design.shares_labelling or state.is_main_process):
        return None
    num_rows = make_splits(design, embeddings, plan, clusters, unfinished / "triplets", options["progress"])
    if design.shares_labelling:
        state.wait_for_everyone()  # all have counted the shards, which now move
    if not state.is_main_process:
        return None
    if clusters is not None:
        write_clusters(clusters, plan, len(images), unfinished / "clusters" / "train-00000-of-00001.parquet")
    return num_rows, {
        **{name: getattr(design, name) for name in STATED},
        "num_clusters": len(clusters.centers) if clusters is not None else None,
        "num_merged_clusters": clusters.num_merged if clusters is not None else None,
        "hold_out": design.hold_out if "validation" in num_rows else None,
        "num_held_out_images": int(plan.is_held_out.sum()) if plan.is_held_out is not None else None,
        "num_skipped_images": len(images) - len(rows),
        "dtype": dtype,
        "seed": design.seed,
    }


def _finish(directory: Path, info: dict[str, Any], num_rows: dict[str, int], repo_id: str | None) -> None:
    """Moves what was made to its place; the card last, as the sign that all is there."""
    unfinished = directory / "unfinished"
    if (unfinished / "elbow.csv").exists():
        figure = elbow_figure(pd.read_csv(unfinished / "elbow.csv"), info["num_clusters"])
        save_figure(figure, unfinished / "elbow.png")
    for part in PARTS:
        if (unfinished / part).exists():
            (unfinished / part).replace(directory / part)
    write_json(directory / INFO_FILE, info | {"num_triplets": num_rows})
    write_triplets_card(directory, info, num_rows, repo_id)
    shutil.rmtree(unfinished)
    made = ", ".join(f"{number} {split}" for split, number in num_rows.items())
    logger.info("%s triplets are in %s", made, directory)
