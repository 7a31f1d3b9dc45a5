"""Publishing: a copy in a folder, with its card, is inspected and uploaded."""

from collections.abc import Mapping
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.utils import filter_repo_objects

from hf_alignet.errors import InputError, RunError
from hf_alignet.hub.cards.model_card import CARD
from hf_alignet.hub.cards.validation import check_card
from hf_alignet.hub.connection import HUB_ERRORS, reason
from hf_alignet.hub.publish.copies import write_copy
from hf_alignet.hub.publish.publication import Publication, PublishedKind
from hf_alignet.hub.transport.inspection import check_shareable
from hf_alignet.hub.transport.repository import WEIGHT_FILES, make_repository, share_folder
from hf_alignet.judgments.own_table import TimeUnit
from hf_alignet.judgments.similarity_matrices import MatrixKind
from hf_alignet.judgments.things import ObjectOrder
from hf_alignet.storage import as_folder, holding, whole_directory

DATA = [f"*.{suffix}" for suffix in ("parquet", "arrow", "csv", "tsv", "jsonl", "zip", "tar", "gz")]
NO_DATA = ["elbow.*"]  # describes the clusters beside triplets


def publish(
    kind: PublishedKind,
    path: str | Path,
    repo_id: str,
    *,
    license: str | None = None,
    private: bool = False,
    revision: str | None = None,
    images: str | None = None,
    i_have_the_right_to_share_images: bool = False,
    object_names: str | None = None,
    object_order: ObjectOrder | None = None,
    matrix_kind: MatrixKind | None = None,
    matrix_variable: str | None = None,
    columns: Mapping[str, str] | str | None = None,
    rt_unit: TimeUnit | None = None,
    max_missing: float = 0.5,
    source: str | None = None,
    merge_lora: bool = False,
    output_dir: str | Path = "outputs/published",
    dry_run: bool = False,
    progress: bool = True,
    command: str | None = None,
) -> Path:
    """Shares a dataset, transform, metric, model or Space on the Hub, with a card. Others open it without hf_alignet.

    A dataset is human judgments in any form that `load_judgments` opens, the raw results of Levels, a similarity
    matrix, labelled triplets, or pictures. It becomes parquet files that `load_dataset` opens, with checksums. The
    names of participants become numbers. Nothing is uploaded that holds a pickle, a local path or an access token.

    Args:
        kind: `dataset`, `transform` (also VICE), `metric`, `model`, or `space`, an application.
        path: local file or directory. It stays as it is.
        repo_id: name on the Hub, user/name. The repository is made if it does not exist.
        license: licence of what is published, as the Hub calls it, such as `cc-by-4.0`.
        private: make a new repository private. A repository that exists and is public is refused.
        revision: branch, made if it does not exist; None for the main branch.
        images: path or Hub id of the pictures that people judged. They are published beside judgments and matrices.
        i_have_the_right_to_share_images: say that the pictures may be shared. Otherwise no picture is uploaded.
        object_names: instead of `images`, a text file with the name of one picture in each line.
        object_order: how files of THINGS number the objects, `uid` or `file_name`. Default: by the name of the file.
        matrix_kind: `similarity` or `dissimilarity`. Default: by the diagonal of the matrix.
        matrix_variable: name of the array in `.mat` and `.npz` files that have several.
        columns: columns of a table of choices, such as `image_1=Left,image_2=Middle,image_3=Right,odd_one_out=Answer`.
            By default common names are known.
        rt_unit: unit of response times in a table. By default the name of their column or their median tells it.
        max_missing: largest share of trials of a table that may have no answer. They are skipped.
        source: sentence about the origin of the data, for the card of a dataset.
        merge_lora: publish an adapter as plain weights, with its base model merged in.
        output_dir: directory for the copy that is uploaded. The copy stays.
        dry_run: only make the copy, with all checks but those that ask the Hub about the repository.
        progress: show bars.
        command: the command line that does the same, for the card of a dataset.

    Returns:
        The folder of the copy. Its `README.md` is the card.

    Raises:
        InputError: a setting is not possible, or the path does not hold what it should or must not be shared.
        RunError: the copy is complete, but the Hub did not take it. The same call tries again.
    """
    publication = Publication(
        kind,
        str(path),
        repo_id,
        license=license,
        revision=revision,
        images=images,
        i_have_the_right_to_share_images=i_have_the_right_to_share_images,
        object_names=object_names,
        object_order=object_order,
        matrix_kind=matrix_kind,
        matrix_variable=matrix_variable,
        columns=columns,
        rt_unit=rt_unit,
        max_missing=max_missing,
        source=source,
        command=command,
        merge_lora=merge_lora,
    )
    folder = as_folder(output_dir) / f"{publication.repo_type}s--{repo_id.replace('/', '--')}"
    for given in publication.sources:
        if Path(given).expanduser().resolve().is_relative_to(folder.resolve()):
            raise InputError(
                f"{given} is where the copy for the Hub is made, and would be lost: publish from what it was "
                "made from, or give another `output_dir`"
            )
    with holding(folder):  # until it is uploaded
        with whole_directory(folder, "publish") as unfinished:
            write_copy(publication, unfinished, progress)
            check_shareable(unfinished, publication.sources)
            check_card(unfinished / CARD)
        if dry_run:
            return folder
        try:
            make_repository(repo_id, private or None, publication.repo_type, revision)
        except InputError as error:
            raise RunError(f"{error}. {folder} is complete: do the same again to share it") from error
        check_nothing_lost(folder, publication)
        share_folder(folder, repo_id, ["*"], publication.repo_type, revision, replaced_files(folder, publication))
        return folder


def replaced_files(folder: Path, publication: Publication) -> list[str]:
    """Patterns of files that are deleted unless the folder has them: earlier shards, or weights of another model."""
    if publication.kind == "dataset":
        return [f"{config.name}/*.parquet" for config in sorted(folder.iterdir()) if config.is_dir()]
    return WEIGHT_FILES if publication.kind == "model" else []


def check_nothing_lost(folder: Path, publication: Publication) -> None:
    """Refuses to replace the card of another dataset, whose data nobody would find then, and a model by a transform.

    Raises an InputError that names the data, or a RunError if the Hub does not answer.
    """
    name, kind = publication.repo_id, publication.kind
    if kind not in ("dataset", "transform"):
        return
    try:
        there = HfApi().list_repo_files(name, repo_type=publication.repo_type, revision=publication.revision)
    except (*HUB_ERRORS, OSError) as error:
        raise RunError(
            f"cannot see what {name} holds: {reason(error)}. {folder} is complete: do the same again to share it"
        ) from error
    if kind == "transform":
        if {"preprocessor_config.json", "tokenizer_config.json", "adapter_config.json"} & set(there):
            raise InputError(f"{name} holds a model, which a transform would replace: give another name")
        return
    data = filter_repo_objects(there, allow_patterns=DATA, ignore_patterns=NO_DATA)
    others = {file.split("/")[0] for file in data} - {part.name for part in folder.iterdir()}
    if others:
        raise InputError(
            f"{name} holds other data, {', '.join(sorted(others))}, which the new card would not mention: publish "
            "under another name, or delete those data first"
        )
