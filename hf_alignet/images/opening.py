"""Opens image datasets, folders and archives of pictures, and datasets of texts, by their path or Hub id."""

from pathlib import Path

import pyarrow.compute as pc
from datasets import Dataset, DatasetDict, Value, concatenate_datasets
from datasets import Image as ImageFeature
from datasets.config import HF_DATASETS_CACHE
from huggingface_hub.constants import HF_HUB_CACHE
from huggingface_hub.file_download import repo_folder_name

from hf_alignet.errors import InputError
from hf_alignet.images.archive import unpacked
from hf_alignet.images.picture_files import IMAGE_COLUMN, check_files
from hf_alignet.images.picture_folder import read_picture_folder
from hf_alignet.images.texts import STRINGS, TEXT_COLUMN, as_texts
from hf_alignet.sources import load_splits, local_path, split_revision

ALL = "all"  # instead of a split: all of them, one after another


def load_images(path_or_id: str, split: str = "train", image_column: str | None = None) -> Dataset:
    """The image dataset at a local path or Hub id (configuration `images` if it has one), pictures left encoded.

    Texts for a text model are opened in the same way; see `as_stimuli`.

    Args:
        path_or_id: a dataset, a folder of pictures or a `.zip` of them, or a Hub id.
        split: name of a split, or `all` to join all of them.
        image_column: name of the column of pictures, or of texts. By default `image`, or else the only one of
            pictures, or else `text`.

    Raises:
        InputError: the dataset, the split or the column does not exist (lists those that do), or a picture is neither
            in the dataset nor a regular file in its folder (names it).
    """
    splits = load_image_splits(path_or_id)
    if split != ALL and split not in splits:
        raise InputError(
            f"{path_or_id!r} has no split {split!r}; it has {', '.join(splits)}. Name one in `image_split`, or join "
            f"them by `image_split={ALL}`"
        )
    chosen = {split: splits[split]} if split in splits else splits
    encoded = [as_stimuli(part, image_column) for part in chosen.values()]
    if len({str(part.features) for part in encoded}) > 1:
        raise InputError(f"the splits {', '.join(splits)} of {path_or_id!r} have different columns: name one of them")
    images = concatenate_datasets(encoded) if len(encoded) > 1 else encoded[0]
    return images


def load_image_splits(path_or_id: str) -> DatasetDict:
    """All splits of images.

    A folder of pictures and a `.zip` of one are read as `picture_folder` says. Any other dataset holds its pictures as
    bytes, or in files of its own folder.

    Raises:
        InputError: the dataset does not exist, or a cell names another file.
    """
    path = local_path(path_or_id)
    if path is not None and path.is_file() and path.suffix.lower() == ".zip":
        path = unpacked(path)
    folder = path / "images" if path is not None and (path / "images").is_dir() else path
    if folder is not None and folder.is_dir() and (pictures := read_picture_folder(folder, path_or_id)) is not None:
        return pictures
    splits = load_splits(path_or_id, config="images")
    advice = "only pictures in the dataset, which `save_to_disk` puts there, and files in its own folder are opened"
    for images in splits.values():
        check_files(images, _own_folders(path_or_id), advice)
    return splits


def _own_folders(path_or_id: str) -> list[Path]:
    """Where the files of a dataset are. A file has none, because the folder that it is in is not its own."""
    if (path := local_path(path_or_id)) is not None:
        return [path] if path.is_dir() else []
    repository = repo_folder_name(repo_id=split_revision(path_or_id)[0], repo_type="dataset")
    return [Path(HF_HUB_CACHE) / repository, Path(HF_DATASETS_CACHE) / "downloads"]


def as_stimuli(dataset: Dataset, column: str | None = None) -> Dataset:
    """What a model embeds: the same dataset with a column `text` if it holds texts, and otherwise `image`.

    Raises an InputError as `as_texts` and `as_encoded_images` do.
    """
    return as_texts(dataset, column) if holds_texts(dataset, column) else as_encoded_images(dataset, column)


def holds_texts(dataset: Dataset, column: str | None = None) -> bool:
    """Whether a dataset is one of texts: `column` is of strings; by default `text` is, and there are no pictures."""
    if column is None and _image_column(dataset) in dataset.features:
        return False
    return dataset.features.get(column or TEXT_COLUMN) in STRINGS


def as_encoded_images(dataset: Dataset, column: str | None = None) -> Dataset:
    """The same dataset with an `image` column that gives bytes. We decode them ourselves, so that errors name the row.

    Args:
        dataset: with a column of pictures: `datasets.Image`, structs of bytes and path, or bytes.
        column: name of that column. By default `image`, or else the only one of them.

    Raises:
        InputError: there is no such column, or several (lists the columns), or it holds something else.
    """
    name = column or _image_column(dataset)
    feature = dataset.features.get(name)
    if feature is None:
        raise InputError(f"the images need a column {name!r}; there are {', '.join(dataset.column_names)}")
    is_struct = isinstance(feature, dict) and set(feature) == {"bytes", "path"}
    if is_struct or feature in (Value("binary"), Value("large_binary")):
        cells = dataset.with_format("arrow", columns=[name])[:].column(name)
        content = pc.struct_field(cells, "bytes") if is_struct else cells
        if content.null_count:  # a path in a cell could name any file of this machine
            row = pc.index(pc.is_null(content), True).as_py()
            raise InputError(f"row {row} of the column {name!r} has no bytes of a picture; paths in it are not opened")
    elif not isinstance(feature, ImageFeature):
        raise InputError(f"the column {name!r} must hold datasets.Image, not {feature}")
    if name != IMAGE_COLUMN:
        if IMAGE_COLUMN in dataset.column_names:
            dataset = dataset.remove_columns(IMAGE_COLUMN)
        dataset = dataset.rename_column(name, IMAGE_COLUMN)
    if isinstance(feature, ImageFeature) and not feature.decode:
        return dataset  # casting again would change its fingerprint
    return dataset.cast_column(IMAGE_COLUMN, ImageFeature(decode=False))


def _image_column(dataset: Dataset) -> str:
    """`image`, or else the only column of pictures."""
    found = [name for name, feature in dataset.features.items() if isinstance(feature, ImageFeature)]
    structs = [n for n, feature in dataset.features.items() if isinstance(feature, dict) and "bytes" in feature]
    candidates = found or structs
    if IMAGE_COLUMN in dataset.features or not candidates:
        return IMAGE_COLUMN
    if len(candidates) > 1:
        raise InputError(f"the images have the columns {' and '.join(candidates)}: name one in `image_column`")
    return candidates[0]
