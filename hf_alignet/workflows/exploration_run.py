"""Look at what models find similar: opens models, pictures and judgments, embeds, and serves a page for a browser."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from datasets import Dataset, DatasetDict
from PIL import Image

from hf_alignet.demo import ENCODER_DIRECTORY, demo_images, demo_triplets
from hf_alignet.encoder import VisionEncoder
from hf_alignet.encoder.pooling import PoolingChoice
from hf_alignet.errors import InputError, naming
from hf_alignet.explore import Exploration, JudgedTriplets, judged_triplets
from hf_alignet.explore.gradio_page import Page, gradio
from hf_alignet.explore.page_server import serve
from hf_alignet.explore.thumbnails import Thumbnails
from hf_alignet.images.opening import load_images
from hf_alignet.ranges import Count, Range, Seed, Whole, checked
from hf_alignet.similarity import check_finite
from hf_alignet.sources import public_name
from hf_alignet.storage import output_folder
from hf_alignet.workflows.judged_splits import open_judged
from hf_alignet.workflows.model_names import folder_of_name, model_names

Port = Annotated[int, Range(1, 65535)]

DEMO, DEMO_ALIGNED = "demo", "outputs/demo-aligned"
NO_DEMO = (
    "This is the encoder before alignment alone: run `hf-alignet demo`, which aligns it in minutes, and start again."
)
SIMULATED = "The judgments are those of simulated raters, not of people."
MOST_TRIPLETS = 200_000  # of a split, drawn at random

logger = logging.getLogger(__name__)


@checked
def explore(
    base: str | None = None,
    aligned: str | None = None,
    images: str | Dataset | None = None,
    *,
    judgments: str | None = None,
    image_column: str | None = None,
    image_split: str = "train",
    output_dir: str | Path = "outputs/explore",
    pooling: PoolingChoice = "auto",
    trust_remote_code: bool = False,
    batch_size: Count = 64,
    num_workers: Whole | None = None,
    bf16: bool = False,
    host: str = "127.0.0.1",
    port: Port | None = None,
    share: bool = False,
    seed: Seed = 42,
    progress: bool = True,
) -> None:
    """Shows in a browser what a model finds similar before and after alignment, until it is interrupted.

    Without models and images it is the demo: its encoder, the aligned one in outputs/demo-aligned if it is there, and
    emoji.

    Args:
        base: model before alignment: path or Hub id, optionally with `@revision`.
        aligned: the model after alignment, given likewise. Without it, the page shows one model.
        images: image dataset, or its path or Hub id.
        judgments: people's choices about these images, or labelled triplets of them.
        image_column: column of the pictures. By default `image`, or else the only column of pictures.
        image_split: split of the images, or `all` to join all splits.
        output_dir: directory for the embeddings, which a later run uses again.
        pooling: which output of a model is the embedding.
        trust_remote_code: allow code from a model's repository to run.
        batch_size: number of images in a forward pass.
        num_workers: number of processes that decode pictures. 0 decodes them in the main process. By default one for
            each other core if there is a GPU, and else 0.
        bf16: run models in bfloat16: on a GPU with weights of that type, on a CPU under autocast.
        host: address of this machine that is listened to. At 127.0.0.1 nobody else can see the page, and at 0.0.0.0
            everybody who can reach the machine.
        port: by default the first free one from 7860 on.
        share: open a public address for three days, by way of Gradio's servers. Everybody who has it can see all
            pictures.
        seed: seed of all random draws.
        progress: show bars.

    Raises:
        InputError: Gradio is not installed, a model, the images or judgments cannot be opened, or the port is in use.

    Example:
        >>> explore("facebook/dinov2-base", "outputs/dinov2-base-aligned", "my-images")  # doctest: +SKIP
    """
    gradio()  # before models work for hours
    is_demo = images is None
    paths, dataset, judged = _opened(base, aligned, images, judgments, image_column, image_split, seed)
    encoders, embeddings = {}, {}
    with output_folder(output_dir, "explore") as directory:
        folder = directory / folder_of_name(DEMO if is_demo else _name(images))
        for name, path in paths.items():
            encoder = VisionEncoder.from_pretrained(path, pooling, trust_remote_code)
            encoder.to(torch.accelerator.current_accelerator() or "cpu")
            weights = str(encoder.describe()["weights"])[:8]  # a model that is trained again has other embeddings
            options: dict[str, Any] = {"batch_size": batch_size, "num_workers": num_workers, "bf16": bf16}
            found = encoder.embed(
                dataset, save_to=folder / f"{folder_of_name(name)}-{weights}", progress=progress, **options
            )
            embeddings[name] = np.asarray(found, np.float32)
            check_finite(embeddings[name], f"embeddings by {name}")
            encoders[name] = encoder.eval()
    exploration = Exploration(dataset, embeddings, judged, seed)
    note = " ".join([SIMULATED, *([NO_DEMO] if len(paths) == 1 else [])]) if is_demo else ""
    page = Page(
        exploration, Thumbnails(dataset), lambda picture: _embedded(encoders, picture), "What is similar?", note
    )
    address = serve(page, host, port, share)
    logger.info("The page is at %s; Ctrl-C ends it", address)
    page.blocks.block_thread()


def _opened(
    base: str | None,
    aligned: str | None,
    images: str | Dataset | None,
    judgments: str | None,
    image_column: str | None,
    image_split: str,
    seed: int,
) -> tuple[dict[str, str], Dataset, JudgedTriplets | None]:
    """The paths of the models by name, the pictures, and judged triplets of them."""
    if images is None:
        if base is not None or aligned is not None or judgments is not None:
            raise InputError("give `images` with your models and judgments, or none of them for the demo")
        paths = {"base": str(ENCODER_DIRECTORY)}
        if Path(DEMO_ALIGNED, "config.json").is_file():
            paths["aligned"] = DEMO_ALIGNED
        else:
            logger.warning("%s", NO_DEMO)
        dataset = demo_images()
        held_out = {name: data for name, data in demo_triplets(dataset).items() if name != "train"}
        return paths, dataset, judged_triplets(held_out, "simulated raters")
    if base is None:
        raise InputError("give `base`, the model before alignment, with your `images`")
    given = [base, *([aligned] if aligned is not None else [])]
    paths = dict(zip(model_names(given, "`base` and `aligned` name"), given, strict=True))
    with naming("images"):
        dataset = load_images(images, image_split, image_column) if isinstance(images, str) else images
    return paths, dataset, None if judgments is None else _judged(judgments, dataset, seed)


def _judged(path: str, images: Dataset, seed: int) -> JudgedTriplets:
    with naming("judgments"):
        splits, are_labelled = open_judged(path, images)
        rng = np.random.default_rng(seed)
        kept = {
            split: data.select(np.sort(rng.permutation(len(data))[:MOST_TRIPLETS])) if are_labelled else data
            for split, data in splits.items()
        }
        return judged_triplets(DatasetDict(kept))


def _name(images: str | Dataset | None) -> str:
    """What to call the folder of embeddings of these images."""
    return public_name(images) if isinstance(images, str) else "images"


def _embedded(encoders: Mapping[str, VisionEncoder], picture: Image.Image) -> dict[str, np.ndarray]:
    """The embedding (d,) of one picture by each model."""
    options: dict[str, Any] = {"num_workers": 0, "progress": False}
    return {name: encoder.embed([picture], **options)[0] for name, encoder in encoders.items()}
