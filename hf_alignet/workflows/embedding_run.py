"""From a model and images to a dataset with a column of embeddings, ready for a search index."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from accelerate import PartialState
from datasets import Dataset, concatenate_datasets

from hf_alignet.encoder import AffineTransform, VisionEncoder, embed_dataset
from hf_alignet.encoder.pooling import PoolingChoice
from hf_alignet.errors import InputError, naming
from hf_alignet.images.opening import load_images
from hf_alignet.ranges import Count, Whole, checked
from hf_alignet.storage import output_folder, whole_directory, write_dataset

MAKER, COLUMN, SPLIT = "embed", "embedding", "train"
WORK, DATA = ".embeddings", "data"  # hidden: load_dataset opens the rest

logger = logging.getLogger(__name__)


@checked
def embed(
    model: str | VisionEncoder,
    images: str | Dataset,
    output_dir: str | Path = "outputs/embeddings",
    transform: str | AffineTransform | None = None,
    pooling: PoolingChoice = "auto",
    trust_remote_code: bool = False,
    image_column: str | None = None,
    image_split: str = "train",
    keep_images: bool = False,
    normalize: bool = False,
    batch_size: Count = 64,
    num_workers: Whole | None = None,
    bf16: bool = False,
    progress: bool = True,
) -> Dataset:
    """Writes a dataset whose column `embedding` holds the embedding of each image; a stopped run continues.

    `load_dataset(output_dir)` opens it, and its `add_faiss_index("embedding")` makes an index. Under `accelerate
    launch` the processes share the work.

    Args:
        model: path or Hub id (optionally with `@revision`), or `VisionEncoder`.
        images: image dataset, or its path or Hub id.
        output_dir: directory for the dataset.
        transform: `AffineTransform` that all embeddings go through, or its path or Hub id.
        pooling: which output of the model is the embedding, if `model` is a path or Hub id.
        trust_remote_code: allow code from the model's repository to run.
        image_column: column of the pictures. By default `image`, or else the only column of pictures.
        image_split: split of the images, or `all` to join all splits.
        keep_images: also write the pictures. By default row i is of row i of the images, with their other columns.
        normalize: divide each embedding by its length, so that an index of inner products compares by cosine.
        batch_size: number of images in a forward pass.
        num_workers: number of processes that decode pictures. 0 decodes them in the main process. By default one for
            each other core if there is a GPU, and else 0.
        bf16: run the model in bfloat16: on a GPU with weights of that type, on a CPU under autocast.
        progress: show bars.

    Returns:
        The dataset.

    Raises:
        InputError: a model or images that cannot be used, or the directory holds something else.
        RunError: the directory cannot be written.

    Example:
        >>> embed("outputs/my-aligned", "my-images")  # doctest: +SKIP
    """
    is_main = PartialState().is_main_process
    with output_folder(output_dir, MAKER, is_main=is_main) as folder:
        encoder = model
        if not isinstance(encoder, VisionEncoder):
            with naming("model"):
                encoder = VisionEncoder.from_pretrained(encoder, pooling, trust_remote_code, transform)
        with naming("images"):
            opened = load_images(images, image_split, image_column) if isinstance(images, str) else images
        if COLUMN in opened.column_names:
            raise InputError(f"the images have a column {COLUMN!r} already: rename it")
        options: dict[str, Any] = {"batch_size": batch_size, "num_workers": num_workers, "bf16": bf16}
        embeddings = embed_dataset(encoder, opened, save_to=folder / WORK, progress=progress, **options)
        kept = opened if keep_images else opened.remove_columns("image")
        dataset = with_embeddings(kept, embeddings, normalize)
        if is_main:
            with whole_directory(folder / DATA, MAKER) as made:
                write_dataset(dataset, made, SPLIT, progress)
            logger.info("%d embeddings of %d numbers are in %s", *embeddings.shape, folder)
        return dataset


def with_embeddings(images: Dataset, embeddings: np.ndarray, normalize: bool = False) -> Dataset:
    """The dataset with the rows of a matrix (n, d) as its column `embedding`, in float32."""
    values = np.ascontiguousarray(embeddings, np.float32)
    if normalize:
        values = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    column = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
    table = Dataset(pa.table({COLUMN: column}))
    if not images.column_names:
        return table
    return concatenate_datasets([images, table], axis=1)
