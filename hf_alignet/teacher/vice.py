"""VICE: a sparse, non-negative embedding of objects with its uncertainty, inferred from odd-one-out choices.

Variational Interpretable Concept Embeddings (Muttenthaler et al., NeurIPS 2022, arXiv 2205.00756). Every entry of the
embedding has a Gaussian posterior. The probability that people keep a pair of a triplet together is a softmax over the
dot products of the pairs. Averaged over the posterior, these choice probabilities estimate the shares of people who
make each choice. Uncertainty distillation learns from them (AligNet, equation 2).
"""

import contextlib
import json
import logging
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from datasets import Dataset
from huggingface_hub import ModelCard, ModelCardData
from safetensors import safe_open
from safetensors.numpy import save_file
from torch import Tensor
from tqdm.auto import tqdm

from hf_alignet.errors import InputError
from hf_alignet.hub.rendering import TAGS, card_links, render_card
from hf_alignet.similarity import choice_log_probabilities, triplet_similarities
from hf_alignet.sources import SharedModel
from hf_alignet.storage import whole_file, write_json
from hf_alignet.teacher.choice_likelihood import pair_counts
from hf_alignet.teacher.settings import ViceSettings
from hf_alignet.teacher.vice_run import ViceRun

CONFIG_FILE, WEIGHTS_FILE, CHECKPOINT_FILE = "config.json", "model.safetensors", "vice.safetensors"
SECONDS_BETWEEN_CHECKPOINTS = 30
SURE = 1e-6  # standard deviation of a posterior that is certain

logger = logging.getLogger(__name__)


class Vice(SharedModel):
    """Embedding of objects from odd-one-out choices, with a posterior over it.

    The loss of a step is the cross-entropy of choices under one draw from the posterior, plus (log q - log p) of the
    draw divided by the number of choices. Adam minimises it. By default a step uses all choices, through the matrix of
    similarities, with a large learning rate. Some hundreds of such steps replace some hundred thousand steps on small
    batches. When the number of dimensions is stable, a dimension is dropped unless more than `min_objects` objects are
    significantly positive in it. The others then settle, while the learning rate falls to zero.

    The original schedule is `Vice(batch_size=128, learning_rate=1e-3, initial_scale=None, burn_in=500, window=500,
    settle=0)`.

    Args:
        num_dimensions: d at the start; more than will be kept.
        spike: standard deviation of the prior of entries that are nearly zero.
        slab: standard deviation of the prior of the other entries.
        spike_share: prior probability that an entry is nearly zero.
        min_objects: a dimension is kept if more objects than this are positive in it (false discovery rate 5 %).
        batch_size: number of choices in a step; None takes all choices.
        learning_rate: of Adam.
        initial_scale: standard deviation of every entry at the start; None takes exp(-1 / SD of the initial means).
        max_epochs: largest number of passes through the choices, without the epochs of settling.
        burn_in: number of epochs before the test of convergence starts.
        window: number of epochs in which the number of dimensions must not change.
        settle: number of epochs after dimensions are dropped.
        random_state: seed of all random draws. The fit is the same with any number of threads, because it uses one.

    Attributes:
        loc_: (n, k) float32, means of the posterior. Dimensions are sorted by their sum over objects, largest first.
        scale_: (n, k) float32, standard deviations of the posterior.
        history_: number of dimensions to keep after each epoch before settling.
        converged_: whether this number was stable.
        info: facts about the origin that JSON can hold, such as `judgments` and `stimuli`. They are saved and shown on
            the card. They are shared, so they must not contain a local path.

    Example:
        >>> from hf_alignet.judgments import make_judgments
        >>> judgments = make_judgments(np.array([[0, 1, 2], [0, 1, 3]] * 200), np.array([2, 2] * 200))
        >>> vice = Vice(num_dimensions=2, min_objects=0, max_epochs=100).fit(judgments, progress=False)
        >>> bool(vice.choice_probabilities(np.array([[1, 0, 3]]))[0, 0] > 0.6)
        True
    """

    kind = "a VICE"

    def __init__(
        self,
        num_dimensions: int = 100,
        spike: float = 0.25,
        slab: float = 1.0,
        spike_share: float = 0.5,
        min_objects: int = 5,
        batch_size: int | None = None,
        learning_rate: float = 0.1,
        initial_scale: float | None = 0.2,
        max_epochs: int = 2000,
        burn_in: int = 500,
        window: int = 200,
        settle: int = 400,
        random_state: int = 0,
    ):
        self.num_dimensions = num_dimensions
        self.spike = spike
        self.slab = slab
        self.spike_share = spike_share
        self.min_objects = min_objects
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.initial_scale = initial_scale
        self.max_epochs = max_epochs
        self.burn_in = burn_in
        self.window = window
        self.settle = settle
        self.random_state = random_state
        self.info: dict[str, Any] = {}

    def fit(
        self,
        judgments: Dataset,
        num_objects: int | None = None,
        checkpoint: str | Path | None = None,
        progress: bool = True,
    ) -> Self:
        """Infers the posterior.

        Args:
            judgments: human choices, one row per choice or counts per triplet (see `hf_alignet.judgments`).
            num_objects: n; by default one more than the highest row in the triplets.
            checkpoint: a directory where the state is saved every half minute. A fit of the same judgments with the
                same settings continues from it, with the same result as a fit without a stop.
            progress: show a bar with the cross-entropy and the number of dimensions.

        Raises:
            InputError: a setting is out of range, there are no choices, a choice has an object beyond `num_objects`,
                or the checkpoint is from another fit.
            RunError: the fit diverged, no dimension is left, or the checkpoint cannot be written.
        """
        settings = self._checked_settings()
        triplets, counts = pair_counts(judgments)
        named = int(triplets.max()) + 1
        num_objects = named if num_objects is None else num_objects
        if named > num_objects:
            raise InputError(f"the judgments name object {named - 1}, but there are only {num_objects} objects")
        run = ViceRun(settings, triplets, counts, num_objects)
        file = Path(checkpoint).expanduser() / CHECKPOINT_FILE if checkpoint is not None else None
        if file is not None and file.exists():
            run.load(file)
        with _one_thread():
            self._complete(run, file, progress)
        if not self.converged_:
            logger.warning("VICE did not converge in %d epochs: %d dimensions", self.max_epochs, self.history_[-1])
        return self

    def _complete(self, run: ViceRun, file: Path | None, progress: bool) -> None:
        bar = tqdm(initial=run.epochs, desc="VICE", unit="epoch", disable=not progress)
        saved = time.monotonic()
        while not run.is_done():
            cross_entropy = run.next_epoch()
            bar.update()
            bar.set_postfix(cross_entropy=f"{cross_entropy:.3f}", dimensions=run.history[-1], refresh=False)
            if file is not None and time.monotonic() - saved > SECONDS_BETWEEN_CHECKPOINTS:
                run.save(file)
                saved = time.monotonic()
        bar.close()
        if file is not None:
            run.save(file)
        order = run.posterior.loc.sum(0).argsort(descending=True)
        self.loc_ = run.posterior.loc[:, order].numpy()
        self.scale_ = run.posterior.log_scale[:, order].exp().numpy()
        self.history_, self.converged_ = run.history, run.has_converged()

    def settings(self) -> dict[str, Any]:
        """The arguments of the constructor, as Python numbers.

        Raises:
            InputError: a setting is out of range; names the setting, what it must be, and what it is.
        """
        return asdict(self._checked_settings())

    def _checked_settings(self) -> ViceSettings:
        return ViceSettings(**{name: getattr(self, name) for name in ViceSettings.names()})

    @property
    def embedding_(self) -> np.ndarray:
        """(n, k) float32: the posterior's means, cut off at zero."""
        return self.loc_.clip(0)

    def _draws(self, n_samples: int) -> Iterator[Tensor]:
        if n_samples < 1:
            raise ValueError(f"n_samples must be at least 1, got {n_samples}")
        loc, scale = torch.from_numpy(self.loc_), torch.from_numpy(self.scale_)
        generator = torch.Generator().manual_seed(self._checked_settings().random_state)
        for _ in range(n_samples):
            yield torch.addcmul(loc, scale, torch.randn(loc.shape, generator=generator)).relu_()

    def choice_probabilities(self, triplets: np.ndarray, n_samples: int = 50) -> np.ndarray:
        """Probability that people keep each pair of a triplet together, averaged over draws from the posterior.

        Args:
            triplets: (m, 3) rows of objects.
            n_samples: number of draws, R in equation 2 of AligNet; every call uses the same draws.

        Returns:
            (m, 3) float32 in pair order.

        Raises:
            InputError: a triplet has the row of an object that does not exist.
        """
        rows = torch.as_tensor(np.asarray(triplets, np.int64))
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(self.loc_):
            raise InputError(f"triplets name objects {rows.min()} to {rows.max()}, but VICE knows {len(self.loc_)}")
        total = torch.zeros(rows.shape)
        for draw in self._draws(n_samples):
            total += choice_log_probabilities(triplet_similarities(draw, rows)).exp()
        return (total / n_samples).numpy()

    def similarity_matrix(self, objects: np.ndarray, n_samples: int = 50) -> np.ndarray:
        """How often people would keep each pair of some objects together, averaged over the other objects as third.

        Args:
            objects: (k,) distinct rows of objects, at least 3; the work grows with k^3.
            n_samples: number of draws from the posterior.

        Returns:
            (k, k) float32, symmetric, with ones on the diagonal.
        """
        k = len(objects)
        if k < 3:
            raise ValueError(f"similarity by choices needs at least 3 objects, got {k}")
        first, second = np.triu_indices(k, 1)
        third = np.stack([np.delete(np.arange(k), [i, j]) for i, j in zip(first, second, strict=True)])
        triplets = np.stack([np.broadcast_to(side[:, None], third.shape) for side in (first, second)] + [third], -1)
        kept = self.choice_probabilities(np.asarray(objects)[triplets.reshape(-1, 3)], n_samples)[:, 0]
        matrix = np.eye(k, dtype=np.float32)
        matrix[first, second] = matrix[second, first] = kept.reshape(-1, k - 2).mean(1)
        return matrix

    @classmethod
    def from_embedding(cls, embedding: np.ndarray) -> Self:
        """A VICE with the means of an embedding and hardly any variance, such as the published one, which has none.

        Args:
            embedding: (n, k), not negative.

        Raises:
            InputError: the embedding is no such table.
        """
        if embedding.ndim != 2 or not np.isfinite(embedding).all() or embedding.min(initial=0) < 0:
            raise InputError(f"an embedding is a table (n, k) of finite numbers from 0, got {embedding.shape}")
        vice = cls()
        vice.loc_ = embedding.astype(np.float32)
        vice.scale_ = np.full_like(vice.loc_, SURE)
        vice.history_, vice.converged_ = [], True
        return vice

    def generate_model_card(self, repo_id: str | None = None) -> ModelCard:
        """The card from `hub_cards/vice.md.jinja`.

        Args:
            repo_id: name of the repository on the Hub.
        """
        datasets = card_links(self.info)["datasets"]
        data = ModelCardData(library_name="hf_alignet", tags=[*TAGS, "vice"], datasets=datasets)
        facts = {"info": self.info | self.settings(), "is_stable": self.converged_, "epochs": len(self.history_)}
        shape = {"num_objects": len(self.loc_), "dim": self.loc_.shape[1]}
        return render_card("vice.md.jinja", data, repo_id=repo_id, **facts, **shape)

    def _save_pretrained(self, save_directory: Path) -> None:
        tensors = {"loc": np.ascontiguousarray(self.loc_), "scale": np.ascontiguousarray(self.scale_)}
        facts = {"history": self.history_, "converged": self.converged_, "info": self.info}
        metadata = {name: json.dumps(fact) for name, fact in facts.items()}
        with whole_file(save_directory / WEIGHTS_FILE) as temporary:
            save_file(tensors, temporary, metadata)
        write_json(save_directory / CONFIG_FILE, self.settings())

    @classmethod
    def _from_pretrained(cls, *, model_id: str, **options: Any) -> Self:
        settings = {name: options.pop(name) for name in ViceSettings.names() if name in options}
        file = cls.file(model_id, WEIGHTS_FILE, **options)
        vice = cls(**settings)
        with safe_open(file, framework="np") as opened:
            names = sorted(opened.keys())
            if names != ["loc", "scale"]:
                raise InputError(f"it holds {', '.join(names[:4])} …, not loc and scale")
            metadata = opened.metadata() or {}
            vice.loc_, vice.scale_ = opened.get_tensor("loc"), opened.get_tensor("scale")
        vice.history_, vice.converged_ = json.loads(metadata["history"]), json.loads(metadata["converged"])
        vice.info = json.loads(metadata.get("info", "{}"))
        return vice


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """The last digits of matrix products depend on the number of threads; over a fit they grow to 0.0002."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
