"""VICE: a sparse, non-negative embedding of objects with its uncertainty, inferred from odd-one-out choices.

Variational Interpretable Concept Embeddings (Muttenthaler et al., NeurIPS 2022, arXiv 2205.00756). Every entry of the
embedding has a Gaussian posterior; of three objects people keep together the pair with the highest dot product, by a
softmax. Averaged over the posterior, the choice probabilities say how people as a whole would divide, which is what
uncertainty distillation teaches (AligNet, equation 2).
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

    The loss of a step is the cross-entropy of choices under one draw of the posterior, plus (log q - log p) of the
    draw over the number of choices; Adam takes the step. By default a step uses all choices, through the matrix of
    similarities, and a large learning rate: some hundreds of steps then do what takes small batches some hundreds of
    thousands. After the number of dimensions has become stable, those that are not significantly positive for more
    than `min_objects` objects are dropped, and the others settle without them while the learning rate falls to zero.

    The original schedule is `Vice(batch_size=128, learning_rate=1e-3, initial_scale=None, burn_in=500, window=500,
    settle=0)`.

    Args:
        num_dimensions: d to begin with, more than will be left.
        spike: standard deviation of the prior of entries that are as good as zero.
        slab: standard deviation of the prior of the other entries.
        spike_share: prior probability of an entry to be as good as zero.
        min_objects: a dimension is kept if more objects than that are positive in it (false discovery rate 5 %).
        batch_size: choices a step; None takes all of them.
        learning_rate: of Adam.
        initial_scale: standard deviation of every entry at the start; None is exp(-1 / SD of the initial means).
        max_epochs: passes through the choices at most, settling not counted.
        burn_in: epochs before convergence is looked for.
        window: epochs during which the number of dimensions must not change.
        settle: epochs after dimensions are dropped.
        random_state: seed of everything drawn. The fit is the same with any number of threads, since it uses one.

    Attributes:
        loc_: (n, k) float32, means of the posterior, dimensions by their sum over objects, the largest first.
        scale_: (n, k) float32, standard deviations.
        history_: number of dimensions kept after each epoch before settling.
        converged_: whether that number had become stable.
        info: facts of where it comes from that JSON can hold, saved with it and shown on the card, such as `judgments`
            and `stimuli`. It is shared: no local path belongs in it.

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
            judgments: human choices, one row a choice or counts per triplet (see `hf_alignet.judgments`).
            num_objects: n; by default one more than the highest row that a triplet names.
            checkpoint: a directory where the state is kept every half minute, and from which a fit of the same
                judgments with the same settings continues as if nothing had happened.
            progress: show a bar with the cross-entropy and the number of dimensions.

        Raises:
            InputError: a setting is out of range, there are no choices, or objects that are not there, or the
                checkpoint is of another fit.
            RunError: the fit diverged, or no dimension is left.
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
        """How likely people are to keep each pair of a triplet together, averaged over draws of the posterior.

        Args:
            triplets: (m, 3) object rows.
            n_samples: draws, R of AligNet's equation 2; the same ones for every call.

        Returns:
            (m, 3) float32 in pair order.

        Raises:
            InputError: a triplet names an object that is not there.
        """
        rows = torch.as_tensor(np.asarray(triplets, np.int64))
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(self.loc_):
            raise InputError(f"triplets name objects {rows.min()} to {rows.max()}, but VICE knows {len(self.loc_)}")
        total = torch.zeros(rows.shape)
        for draw in self._draws(n_samples):
            total += choice_log_probabilities(triplet_similarities(draw, rows)).exp()
        return (total / n_samples).numpy()

    def similarity_matrix(self, objects: np.ndarray, n_samples: int = 50) -> np.ndarray:
        """How often people would keep each pair of some objects together, over all third objects among them.

        Args:
            objects: (k,) distinct object rows, at least 3; the work grows with k^3.
            n_samples: draws of the posterior.

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
        """A VICE that is sure of an embedding, such as the published one, which comes without variances.

        Args:
            embedding: (n, k), not negative.

        Raises:
            InputError: it is no such table.
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
            repo_id: where the embedding will be found.
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
    """The last digits of a product of matrices depend on the number of threads, and a fit makes 0.0002 of them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
