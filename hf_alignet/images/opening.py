"""Opens image datasets, folders and archives of pictures by their path or Hub id."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import pyarrow.compute as pc
from datasets import Dataset, DatasetDict, Value, concatenate_datasets, load_dataset
from datasets import Image as ImageFeature
from datasets.config import HF_DATASETS_CACHE
from huggingface_hub.constants import HF_HUB_CACHE
from PIL import Image

from hf_alignet.errors import InputError
from hf_alignet.sources import load_splits, local_path, opening
from hf_alignet.storage import whole_directory

IMAGE_COLUMN = "image"
ALL = "all"  # instead of a split: all of them, one after another
SPLIT_FOLDERS = ("train", "training", "val", "valid", "validation", "dev", "test", "testing", "eval")
OF_DATASETS = (".parquet", ".arrow", ".md", ".tar", ".py")  # files of a dataset, which says itself what it holds


def load_images(path_or_id: str, split: str = "train", image_column: str | None = None) -> Dataset:
    """The image dataset at a local path or Hub id (configuration `images` if it has one), pictures left encoded.

    Args:
        path_or_id: a dataset, a folder of pictures or a `.zip` of them, or a Hub id.
        split: name of a split, or `all` to join all of them.
        image_column: name of the column of pictures. By default `image`, or else the only one of them.

    Raises:
        InputError: the dataset, the split or the column does not exist (lists those that do), or a cell of a dataset
            from the Hub names a file of this machine.
    """
    splits = load_image_splits(path_or_id)
    if split != ALL and split not in splits:
        raise InputError(
            f"{path_or_id!r} has no split {split!r}; it has {', '.join(splits)}. Name one in `image_split`, or join "
            f"them by `image_split={ALL}`"
        )
    chosen = {split: splits[split]} if split in splits else splits
    encoded = [as_encoded_images(part, image_column) for part in chosen.values()]
    if len({str(part.features) for part in encoded}) > 1:
        raise InputError(f"the splits {', '.join(splits)} of {path_or_id!r} have different columns: name one of them")
    images = concatenate_datasets(encoded) if len(encoded) > 1 else encoded[0]
    if local_path(path_or_id) is None:
        _refuse_local_files(images)
    return images


def load_image_splits(path_or_id: str) -> DatasetDict:
    """All splits of images.

    The names of pictures in a folder do not make splits, as they do for `load_dataset`, which would take `train/` or
    `test drive.jpg` for one. Only if all pictures are in folders such as `train` and `test`, these are the splits.
    """
    path = local_path(path_or_id)
    if path is not None and path.is_file() and path.suffix.lower() == ".zip":
        return load_image_splits(str(_unpacked(path)))
    folder = path / "images" if path is not None and (path / "images").is_dir() else path
    if folder is not None and folder.is_dir() and _is_picture_folder(folder):
        with opening(path_or_id):
            return DatasetDict(train=load_dataset("imagefolder", data_dir=str(folder), data_files="**", split="train"))
    return load_splits(path_or_id, config="images")


def _unpacked(archive: Path) -> Path:
    """The folder of an archive's content in the cache of `datasets`, unpacked again if the archive has changed."""
    state = archive.stat()
    key = hashlib.blake2b(f"{archive.resolve()} {state.st_size} {state.st_mtime_ns}".encode(), digest_size=16)
    folder = Path(HF_DATASETS_CACHE) / "unpacked" / key.hexdigest() / archive.stem
    if not folder.exists():
        try:
            with ZipFile(archive) as content, whole_directory(folder.parent, "unpacking") as unfinished:
                names = [name for name in content.namelist() if not name.startswith("__MACOSX/")]
                content.extractall(unfinished / folder.name, names)  # refuses to leave the folder
        except (OSError, BadZipFile) as error:
            raise InputError(f"cannot unpack the archive {archive}: {error}") from error
    return folder


def _is_picture_folder(folder: Path) -> bool:
    """Whether a folder holds nothing but pictures, and does not divide them into splits."""
    entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    if any(entry.is_file() and entry.suffix.lower() in OF_DATASETS or entry.name == "state.json" for entry in entries):
        return False
    if all(entry.is_dir() and entry.name.lower() in SPLIT_FOLDERS for entry in entries):
        return False
    return next(_pictures(folder), None) is not None


def _pictures(folder: Path) -> Iterator[Path]:
    suffixes = Image.registered_extensions()
    return (file for file in folder.rglob("*") if file.suffix.lower() in suffixes)


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


def _refuse_local_files(images: Dataset) -> None:
    """Raises an InputError if a cell of a dataset from the Hub names a file that was not downloaded with it."""
    cells = images.with_format("arrow", columns=[IMAGE_COLUMN])[:].column(IMAGE_COLUMN)
    paths = pc.struct_field(cells, "path").filter(pc.is_null(pc.struct_field(cells, "bytes")))
    caches = [Path(cache).resolve() for cache in (HF_DATASETS_CACHE, HF_HUB_CACHE)]
    for path in pc.unique(paths).drop_null().to_pylist():
        if not any(Path(path).resolve().is_relative_to(cache) for cache in caches):
            raise InputError(f"the images name files of this machine, such as {path!r}, which are not opened")
