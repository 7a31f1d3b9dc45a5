"""What did alignment do? Models before and after on images with categories: tables, figures, and one HTML report."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from datasets import Dataset, DatasetDict

from hf_alignet.analysis.categories import (
    Categories,
    categories_of_breeds,
    categories_of_columns,
    categories_of_table,
    read_table,
    text_column,
)
from hf_alignet.analysis.report import Section, write_report
from hf_alignet.encoder import VisionEncoder
from hf_alignet.encoder.embedding import load_embeddings
from hf_alignet.encoder.pooling import PoolingChoice
from hf_alignet.encoder.pretrained import check_model
from hf_alignet.errors import InputError, naming
from hf_alignet.evaluation.downstream.hierarchy import Hierarchy
from hf_alignet.evaluation.downstream.labelled_images import find_label_column
from hf_alignet.images.decoding import read_pictures
from hf_alignet.images.opening import as_encoded_images, load_images
from hf_alignet.judgments.judgment_dataset import majority
from hf_alignet.judgments.rows import TRIPLET, column, named_table
from hf_alignet.processes import this_process
from hf_alignet.ranges import Count, Seed, Whole, checked
from hf_alignet.similarity import check_finite, odd_one_out
from hf_alignet.sources import public_name
from hf_alignet.storage import output_folder
from hf_alignet.triplets.triplet_dataset import SIMILARITIES, check_triplets, load_triplets, read_info
from hf_alignet.workflows.analysis_parts import (
    Analysed,
    examples_part,
    models_part,
    projections_part,
    relations_part,
    triplets_part,
)
from hf_alignet.workflows.judged_splits import open_judged
from hf_alignet.workflows.model_names import folder_of_name, listed, model_names

DEMO_LEVELS = ("concept", "subgroup", "group")
THUMBNAIL = 64
MOST_TRIPLETS = 200_000  # of a dataset, drawn at random

logger = logging.getLogger(__name__)


@checked
def analyze(
    base: str | Sequence[str] = (),
    aligned: str | Sequence[str] = (),
    images: str | Dataset | None = None,
    *,
    image_column: str | None = None,
    image_split: str = "train",
    level_columns: Sequence[str] = (),
    label_column: str | None = None,
    levels_table: str | None = None,
    breeds_hierarchy: str | None = None,
    triplets: str | Sequence[str] = (),
    judgments: str | DatasetDict | None = None,
    output_dir: str | Path = "outputs/analysis",
    pooling: PoolingChoice = "auto",
    trust_remote_code: bool = False,
    i_have_the_right_to_share_images: bool = False,
    batch_size: Count = 64,
    num_workers: Whole | None = None,
    bf16: bool = False,
    seed: Seed = 42,
    progress: bool = True,
) -> dict[str, pd.DataFrame]:
    """Analyses what alignment did to models, by the categories of images.

    Args:
        base: one or several models before alignment: paths, Hub ids (optionally with `@revision`), or `.npy` files
            with one embedding for each image.
        aligned: models after alignment, given likewise. With one `base` each is compared with it; of several, the
            first with the first, and so on.
        images: image dataset, or its path or Hub id.
        image_column: column of the pictures. By default `image`, or else the only column of pictures.
        image_split: split of the images, or `all` to join all splits.
        level_columns: three columns of the images, from fine to coarse: class, basic and superordinate category. By
            default `concept`, `subgroup` and `group`, if the images have them.
        label_column: column of the classes, for `levels_table` and `breeds_hierarchy`. By default `label`, or else
            the only `ClassLabel`.
        levels_table: CSV file with the columns `class`, `basic` and `superordinate`.
        breeds_hierarchy: folder of the files `class_hierarchy.txt` and `node_names.txt` of BREEDS, for classes that
            are WordNet ids.
        triplets: triplet datasets of these images, each a path or Hub id, or `name=path`: what do they ask?
        judgments: people's choices about these images, or labelled triplets, for examples: a path or Hub id, or
            splits of them.
        output_dir: directory for report.html, the tables, the figures, and the embeddings, which a later run uses
            again.
        pooling: which output of a model is the embedding.
        trust_remote_code: allow code from a model's repository to run.
        i_have_the_right_to_share_images: show small pictures in the report, which may be shared.
        batch_size: number of images in a forward pass.
        num_workers: number of processes that decode pictures. 0 decodes them in the main process. By default one for
            each other core if there is a GPU, and else 0.
        bf16: run models in bfloat16: on a GPU with weights of that type, on a CPU under autocast.
        seed: seed of all random draws.
        progress: show bars.

    Returns:
        The tables by name: `relations`, `categories`, `places`, `variance`, `models`, `triplets`, `examples` and
        `neighbours`. On processes other than the main one there are none.

    Raises:
        InputError: a model, the images or their categories cannot be opened, or do not fit each other.

    Example:
        >>> analyze("facebook/dinov2-base", "outputs/dinov2-base-aligned", "my-images")  # doctest: +SKIP
    """
    pairs, models = _paired(listed(base), listed(aligned))
    if images is None:
        raise InputError("give `images`, a dataset of images with categories")
    if isinstance(images, str):
        with naming("images"):
            images = load_images(images, image_split, image_column)
    categories = _categories(images, level_columns, label_column, levels_table, breeds_hierarchy)
    asked = {name: _triplets(path, images, categories, seed) for name, path in map(_named_path, listed(triplets))}
    judged, judge = _judged(judgments, images, categories, seed) if judgments is not None else (None, "")
    for path in models.values():
        if not _is_file(path):
            check_model(path, trust_remote_code)  # before another model works for hours
    is_main = this_process().is_main_process
    options = {"batch_size": batch_size, "num_workers": num_workers, "bf16": bf16, "progress": progress}
    with output_folder(output_dir, "analyze", is_main=is_main) as directory:
        embeddings = {}
        for name, path in models.items():
            if _is_file(path):
                found = _load(path, images)
            else:
                encoder = VisionEncoder.from_pretrained(path, pooling, trust_remote_code)
                encoder.to(torch.accelerator.current_accelerator() or "cpu")
                found = encoder.embed(images, save_to=directory / "embeddings" / folder_of_name(name), **options)
            embeddings[name] = np.asarray(found[categories.rows], np.float32)
            check_finite(embeddings[name], f"embeddings by {name}")
        if not is_main:
            return {}
        picture = _thumbnails(images) if i_have_the_right_to_share_images else None
        analysed = Analysed(embeddings, pairs, categories, seed, picture)
        sections = [
            *relations_part(analysed),
            projections_part(analysed),
            models_part(analysed),
            triplets_part(analysed, asked, progress),
            examples_part(analysed, judged, judge),
        ]
        write_report(directory, "What alignment did", _facts(analysed, len(images)), sections)
        logger.info("%s\n\nThe report is %s", _summary(sections), directory / "report.html")
    return {name: table for section in sections for name, table in section.tables.items()}


def _paired(base: list[str], aligned: list[str]) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """Names of the models to compare, and the path or Hub id by name: that of its folder, or else what was given."""
    if not base or not aligned:
        raise InputError("give `base`, the models before alignment, and `aligned`, those after")
    if len(base) not in (1, len(aligned)):
        raise InputError(
            f"there are {len(base)} models in `base` and {len(aligned)} in `aligned`: give one base for all, or one "
            "for each"
        )
    given = [*base, *aligned]
    names = model_names(given, "`base` and `aligned` name")
    bases, others = names[: len(base)], names[len(base) :]
    bases = bases * len(others) if len(bases) == 1 else bases
    return list(zip(bases, others, strict=True)), dict(zip(names, given, strict=True))


def _is_file(path: str) -> bool:
    return path.endswith(".npy")


def _load(path: str, images: Dataset) -> np.ndarray:
    embeddings = load_embeddings(path, "embeddings", images)
    if len(embeddings) != len(images):
        raise InputError(f"{path} has {len(embeddings)} rows, but there are {len(images)} images")
    return embeddings


def _categories(
    images: Dataset,
    level_columns: Sequence[str],
    label_column: str | None,
    levels_table: str | None,
    breeds_hierarchy: str | None,
) -> Categories:
    """The categories of the images, from the one source that is given."""
    given = {"level_columns": level_columns, "levels_table": levels_table, "breeds_hierarchy": breeds_hierarchy}
    named = [f"`{name}`" for name, value in given.items() if value]
    if len(named) > 1:
        raise InputError(f"give only one of {' and '.join(named)}: each tells the categories of the images")
    if not named and not set(DEMO_LEVELS) <= set(images.column_names):
        raise InputError(
            f"the images have no columns {', '.join(DEMO_LEVELS)}, but {', '.join(images.column_names)}: name columns "
            "of three levels in `level_columns`, or give `levels_table` or `breeds_hierarchy`"
        )
    with naming(named[0].strip("`") if named else "images"):
        if levels_table or breeds_hierarchy:
            label = find_label_column(images, "the image dataset", label_column)
            labels = text_column(named_table(images.select_columns(label)), label)
        if levels_table:
            categories = categories_of_table(labels, read_table(levels_table))
        elif breeds_hierarchy:
            categories = categories_of_breeds(labels, Hierarchy.load(breeds_hierarchy))
        else:
            categories = _of_columns(images, level_columns or DEMO_LEVELS)
    if len(categories.rows) < len(images):
        logger.warning("%d images have no categories, and are left out", len(images) - len(categories.rows))
    return categories


def _of_columns(images: Dataset, columns: Sequence[str]) -> Categories:
    if len(columns) != 3 or not set(columns) <= set(images.column_names):
        raise InputError(
            f"it must name three columns of the images, got {', '.join(columns)}; there are "
            f"{', '.join(images.column_names)}"
        )
    table = named_table(images.select_columns(list(columns)))
    return categories_of_columns([text_column(table, name) for name in columns])


def _named_path(given: str) -> tuple[str, str]:
    """Name and path of triplets; the sampling is the best name, where their facts tell it."""
    name, equals, path = given.partition("=")
    if equals and not Path(given).exists():
        return name, path
    sampling = read_info(given).get("sampling")
    return public_name(given) + (f" ({sampling})" if sampling else ""), given


def _triplets(path: str, images: Dataset, categories: Categories, seed: int) -> np.ndarray:
    """Triplets (m, 3) as positions of images with categories."""
    with naming("triplets"):
        splits = load_triplets(path, images)
        for split, data in splits.items():
            check_triplets(data, len(images), None, split)
        found = np.concatenate([column(data, TRIPLET) for data in splits.values()])
        return _positions(_some(found, seed), categories)[0]


def _judged(
    given: str | DatasetDict, images: Dataset, categories: Categories, seed: int
) -> tuple[tuple[np.ndarray, np.ndarray], str]:
    """Triplets (m, 3) as positions of images with categories, the odd one out of each, and who says so."""
    with naming("judgments"):
        splits, is_labelled = open_judged(given, images)
        if is_labelled:
            parts = [[column(data, name) for name in (TRIPLET, SIMILARITIES)] for data in splits.values()]
            parts = [[rows, odd_one_out(torch.from_numpy(labels)).numpy()] for rows, labels in parts]
        else:
            parts = [list(majority(data)[:2]) for data in splits.values()]
        triplets, odd = (np.concatenate(part) for part in zip(*parts, strict=True))
        both = _some(np.concatenate([triplets, odd[:, None]], 1), seed)
        positions, kept = _positions(both[:, :3], categories)
        return (positions, both[kept, 3]), "labels" if is_labelled else "people"


def _some(rows: np.ndarray, seed: int) -> np.ndarray:
    return rows[np.sort(np.random.default_rng(seed).permutation(len(rows))[:MOST_TRIPLETS])]


def _positions(triplets: np.ndarray, categories: Categories) -> tuple[np.ndarray, np.ndarray]:
    """Triplets of rows of the dataset as positions of images with categories; and which of them have only such."""
    place = np.full(max(int(triplets.max()), int(categories.rows.max())) + 1, -1)
    place[categories.rows] = np.arange(len(categories.rows))
    kept = (place[triplets] >= 0).all(1)
    if not kept.any():
        raise InputError("no triplet has three images with categories")
    return place[triplets[kept]], kept


def _thumbnails(images: Dataset) -> Callable[[int], np.ndarray]:
    encoded = as_encoded_images(images)

    @cache
    def picture(row: int) -> np.ndarray:
        (found,) = read_pictures(encoded, [row])
        found.thumbnail((THUMBNAIL, THUMBNAIL))
        return np.asarray(found)

    return picture


def _facts(analysed: Analysed, num_images: int) -> Mapping[str, str]:
    numbers = zip(analysed.categories.names, ("classes", "basic", "superordinate categories"), strict=True)
    return {
        "models": "; ".join(f"{aligned} against {base}" for base, aligned in analysed.pairs),
        "images": f"{len(analysed.categories.rows):,} with categories, of {num_images:,}",
        "categories": ", ".join(f"{len(names)} {what}" for names, what in numbers),
        "seed": str(analysed.seed),
    }


def _summary(sections: Sequence[Section]) -> str:
    """The table of relations, and what the parts say of models and examples."""
    table = next(section.tables["relations"] for section in sections if section.key == "relations")
    return table.round(3).to_string(index=False)
