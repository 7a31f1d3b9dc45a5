"""The stimuli that people judged, and what a model makes of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from datasets import Dataset

from hf_alignet.cli.arguments.evaluation import EvaluationArguments
from hf_alignet.encoder import AffineTransform
from hf_alignet.encoder.model import VisionEncoder
from hf_alignet.errors import InputError
from hf_alignet.images.opening import load_images
from hf_alignet.judgments import image_names
from hf_alignet.sources import load_matrix, load_names, public_name
from hf_alignet.teacher import Teacher

FEWEST = 3  # of two images none is the odd one out, and one pair correlates with nothing


@dataclass(eq=False)
class StimulusSet:
    """Pictures to be embedded, or their features.

    Attributes:
        name: short, unique among the sets of an evaluation.
        images: the pictures; with features they only give names.
        features: (n, p) of the stimuli; None where models embed.
        names: by which judgments call the stimuli, in their order; by default those of the images, if they have any.
    """

    name: str
    images: Dataset | None
    features: np.ndarray | None
    names: list[str] | None = None

    def __post_init__(self) -> None:
        if self.images is not None and self.features is not None and len(self.images) != len(self.features):
            raise InputError(f"there are {len(self.features)} rows of features, but {len(self.images)} images")
        if len(self) < FEWEST:
            raise InputError(f"{self.name} has {len(self)} stimuli; at least {FEWEST} are needed")
        if self.names is None and self.images is not None:
            self.names = image_names(self.images)
        if self.names is not None and len(self.names) != len(self):
            raise InputError(f"there are {len(self.names)} names, but {len(self)} stimuli in {self.name}")

    def __len__(self) -> int:
        return len(self.features if self.features is not None else self.images)  # type: ignore[arg-type]


def open_stimulus_sets(arguments: EvaluationArguments) -> list[StimulusSet]:
    """The set of each benchmark; benchmarks with the same stimuli get the same object.

    Raises:
        InputError: images or features cannot be opened, do not fit each other, or are fewer than three.
    """
    given = (arguments.images, arguments.features, arguments.object_names)
    sources = list(zip(*(_for_each(flag, len(arguments.benchmarks)) for flag in given), strict=True))
    found: dict[tuple[str | None, ...], StimulusSet] = {}
    for source in sources:
        if source in found:
            continue
        images, features, names = source
        name = public_name(str(images or features))
        found[source] = StimulusSet(
            name if name not in {stimuli.name for stimuli in found.values()} else f"{name}-{len(found) + 1}",
            load_images(images) if images is not None else None,
            load_matrix(features, "features") if features is not None else None,
            load_names(names) if names is not None else None,
        )
    return [found[source] for source in sources]


def _for_each(given: Sequence[str], number: int) -> list[str | None]:
    if len(given) <= 1:
        return [given[0] if given else None] * number
    return list(given)


def model_names(arguments: EvaluationArguments) -> dict[str, str | None]:
    """What results call each model, with its path or Hub id; None for features.

    A local model is called by its folder, or, where two of them would be called alike, by the path that was given.
    """
    if arguments.features:
        named = arguments.model_name_or_path
        return {public_name(named[0]) if named else Path(arguments.features[0]).stem: None}
    given = arguments.model_name_or_path
    names = [public_name(path) for path in given]
    return {path if names.count(name) > 1 else name: path for name, path in zip(names, given, strict=True)}


def open_model(model: str | None, arguments: EvaluationArguments) -> VisionEncoder | None:
    """The model of a path or Hub id; None for features.

    Raises:
        InputError: it cannot be loaded.
    """
    if model is None:
        return None
    return VisionEncoder.from_pretrained(model, arguments.pooling, arguments.trust_remote_code).eval()


def embed_sets(
    model: str | None, name: str, sets: Sequence[StimulusSet], arguments: EvaluationArguments, directory: Path
) -> dict[str, np.ndarray]:
    """Embeddings (n, d) of every set by its name, under the transform if there is one.

    Args:
        model: path or Hub id; None for the features of the sets.
        name: of the model, for its folder.
        sets: each is embedded once, however often it comes.
        arguments: of the evaluation.
        directory: keeps the embeddings, before the transform; those of an earlier run are taken from there.

    Raises:
        InputError: the model or transform cannot be loaded or used, or an image cannot be decoded.
    """
    transform = AffineTransform.from_pretrained(arguments.transform) if arguments.transform is not None else None
    options = {"batch_size": arguments.batch_size, "num_workers": arguments.num_workers, "bf16": arguments.bf16}
    encoder = open_model(model, arguments)
    found = {}
    for stimuli in dict.fromkeys(sets):
        teacher = Teacher(encoder, stimuli.features if encoder is None else None, transform)
        if encoder is not None:
            assert stimuli.images is not None
            folder = directory / _as_folder(name) / _as_folder(stimuli.name)
            embeddings = teacher.embed(stimuli.images, folder, progress=not arguments.disable_tqdm, **options)
        else:
            assert stimuli.features is not None
            embeddings = stimuli.features
        if transform is not None:
            embeddings = transform(embeddings)
        found[stimuli.name] = _finite(np.array(embeddings, np.float32), stimuli.name)
    return found


def _finite(embeddings: np.ndarray, name: str) -> np.ndarray:
    is_bad = ~np.isfinite(embeddings).all(1)
    if is_bad.any():
        raise InputError(f"row {is_bad.argmax()} of the embeddings of {name} is not finite")
    return embeddings


def _as_folder(name: str) -> str:
    return name.strip("/.").replace("/", "--") or "model"
