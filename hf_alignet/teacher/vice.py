"""VICE: a sparse, non-negative embedding of objects with its uncertainty, from odd-one-out choices.

Variational Interpretable Concept Embeddings (Muttenthaler et al., NeurIPS 2022, arXiv 2205.00756). Each entry of the
embedding has a Gaussian posterior. The probability that people keep a pair of a triplet together is a softmax of the
dot products. Uncertainty distillation (AligNet, equation 2) learns the mean of these probabilities over the posterior.
"""

import json
import logging
import time
from dataclasses import fields
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from datasets import Dataset
from huggingface_hub import ModelCard, ModelCardData
from safetensors import safe_open
from safetensors.numpy import save_file
from tqdm.auto import tqdm

from hf_alignet.errors import InputError
from hf_alignet.hub.rendering import TAGS, card_links, render_card
from hf_alignet.hub.transport.shared_model import SharedModel
from hf_alignet.ranges import Count, checked, row_numbers
from hf_alignet.similarity import choice_log_probabilities
from hf_alignet.similarity.products import measured_similarities
from hf_alignet.storage import whole_file, write_json
from hf_alignet.teacher.choice_likelihood import pair_counts
from hf_alignet.teacher.settings import ViceSettings
from hf_alignet.teacher.vice_run import ViceRun
from hf_alignet.triplets.kmeans import one_thread

CONFIG_FILE, WEIGHTS_FILE, CHECKPOINT_FILE = "config.json", "model.safetensors", "vice.safetensors"
SECONDS_BETWEEN_CHECKPOINTS = 30
SURE = 1e-6  # standard deviation of a posterior without uncertainty

logger = logging.getLogger(__name__)


class Vice(ViceSettings, SharedModel):
    """Embedding of objects from odd-one-out choices, with its posterior.

    The loss of a step is the cross-entropy of choices under one draw from the posterior, plus (log q - log p) of the
    draw divided by the number of choices. By default, a step uses all choices and a large learning rate. Some hundreds
    of such steps replace some hundreds of thousands of steps with small batches. When the number of dimensions is
    stable, the fit drops the dimensions in which too few objects are significantly positive. The others then settle
    while the learning rate falls to zero.

    The original schedule is `Vice(batch_size=128, learning_rate=1e-3, initial_scale=None, burn_in=500, window=500,
    settle=0)`.

    Args:
        num_dimensions: number of dimensions d at the start, more than will be kept.
        spike: standard deviation of the prior of entries that are almost zero.
        slab: standard deviation of the prior of the other entries.
        spike_share: prior probability that an entry is almost zero.
        min_objects: a dimension is kept if more objects than this are positive in it (false discovery rate 5 %).
        batch_size: number of choices in a step. None uses all of them.
        learning_rate: of Adam.
        initial_scale: standard deviation of each entry at the start. None means exp(-1 / SD of the initial means).
        max_epochs: greatest number of passes through the choices, without those of settling.
        burn_in: least number of epochs before the fit may converge.
        window: number of epochs during which the number of dimensions must not change.
        settle: number of epochs after the fit drops dimensions.
        random_state: seed of the random draws. The fit uses one thread, so the number of threads changes nothing.

    Attributes:
        loc_: (n, k) float32 means of the posterior. The dimension with the largest sum over objects is first.
        scale_: (n, k) float32 standard deviations.
        history_: number of dimensions to keep, after each epoch before settling.
        converged_: whether that number became stable.
        info: facts about the origin, as JSON can hold them, such as `judgments` and `stimuli`. They are saved and
            shown on the card, so they must not contain local paths.

    Example:
        >>> from hf_alignet.judgments import make_judgments
        >>> judgments = make_judgments(np.array([[0, 1, 2], [0, 1, 3]] * 200), np.array([2, 2] * 200))
        >>> vice = Vice(num_dimensions=2, min_objects=0, max_epochs=100).fit(judgments, progress=False)
        >>> bool(vice.choice_probabilities(np.array([[1, 0, 3]]))[0, 0] > 0.6)
        True
    """

    kind = "VICE"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.info: dict[str, Any] = {}

    @checked
    def fit(
        self,
        judgments: Dataset,
        num_objects: Count | None = None,
        checkpoint: str | Path | None = None,
        progress: bool = True,
    ) -> Self:
        """Infers the posterior.

        Args:
            judgments: human choices (see `hf_alignet.judgments`).
            num_objects: n. Default: the largest object row of the triplets, plus 1.
            checkpoint: a directory for the state, which is saved twice a minute. A fit with the same judgments and
                settings continues from it, with the same result.
            progress: show a bar with the cross-entropy and the number of dimensions.

        Raises:
            InputError: a setting is out of range, there are no choices, a triplet names an unknown object, or the
                checkpoint belongs to another fit.
            RunError: the fit diverged, or no dimension is significant.
        """
        settings = ViceSettings(**self.settings())
        triplets, counts = pair_counts(judgments)
        named = int(triplets.max()) + 1
        num_objects = named if num_objects is None else num_objects
        if named > num_objects:
            raise InputError(f"the judgments name object {named - 1}, but `num_objects` is {num_objects}")
        run = ViceRun(settings, triplets, counts, num_objects)
        file = Path(checkpoint).expanduser() / CHECKPOINT_FILE if checkpoint is not None else None
        if file is not None and file.exists():
            run.load(file)
        with one_thread():
            self._complete(run, file, progress)
        if not self.converged_:
            logger.warning("VICE did not converge in %d epochs: %d dimensions", self.max_epochs, self.history_[-1])
        return self

    def _complete(self, run: ViceRun, file: Path | None, progress: bool) -> None:
        bar = tqdm(total=run.most_epochs, initial=run.epochs, desc="VICE", unit="epoch", disable=not progress)
        saved = time.monotonic()
        while not run.is_done():
            cross_entropy = run.next_epoch()
            bar.total = run.most_epochs
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

    @property
    def embedding_(self) -> np.ndarray:
        """(n, k) float32 means of the posterior, with negative entries set to zero."""
        return self.loc_.clip(0)

    @checked
    def choice_probabilities(self, triplets: np.ndarray, n_samples: Count = 50) -> np.ndarray:
        """Probability that people keep each pair of a triplet together, as a mean over draws from the posterior.

        Args:
            triplets: (m, 3) object rows.
            n_samples: number of draws, R in AligNet's equation 2. Each call uses the same draws.

        Returns:
            (m, 3) float32 in pair order.

        Raises:
            InputError: a triplet names an unknown object.
        """
        rows = row_numbers(triplets, len(self.loc_), "the triplets", "objects of VICE")
        loc, scale = torch.from_numpy(self.loc_), torch.from_numpy(self.scale_)
        generator = torch.Generator().manual_seed(self.settings()["random_state"])
        total = torch.zeros(rows.shape)
        for _ in range(n_samples):
            draw = torch.addcmul(loc, scale, torch.randn(loc.shape, generator=generator)).relu_()
            similarities = measured_similarities(draw.numpy(), rows)
            total += choice_log_probabilities(torch.from_numpy(similarities)).exp_()
        return (total / n_samples).numpy()

    @checked
    def similarity_matrix(self, objects: np.ndarray, n_samples: Count = 50) -> np.ndarray:
        """Probability that people keep each pair of some objects together, as a mean over all third objects.

        Args:
            objects: (k,) distinct object rows, at least 3. The work grows with k^3.
            n_samples: number of draws from the posterior.

        Returns:
            (k, k) float32, symmetric, with ones on the diagonal.
        """
        k = len(objects)
        if k < 3:
            raise ValueError(f"a similarity matrix of choices needs at least 3 `objects`, got {k}")
        first, second = np.triu_indices(k, 1)
        third = np.stack([np.delete(np.arange(k), [i, j]) for i, j in zip(first, second, strict=True)])
        triplets = np.stack([np.broadcast_to(side[:, None], third.shape) for side in (first, second)] + [third], -1)
        kept = self.choice_probabilities(np.asarray(objects)[triplets.reshape(-1, 3)], n_samples)[:, 0]
        matrix = np.eye(k, dtype=np.float32)
        matrix[first, second] = matrix[second, first] = kept.reshape(-1, k - 2).mean(1)
        return matrix

    @classmethod
    def from_embedding(cls, embedding: np.ndarray) -> Self:
        """A VICE without uncertainty, from an embedding (n, k) such as the published one, which has no variances.

        Raises an InputError if the embedding has another shape, or a number that is negative or not finite.
        """
        if embedding.ndim != 2 or not np.isfinite(embedding).all() or embedding.min(initial=0) < 0:
            raise InputError(f"an embedding must be a table of finite numbers, 0 or more, got shape {embedding.shape}")
        vice = cls()
        vice.loc_ = embedding.astype(np.float32)
        vice.scale_ = np.full_like(vice.loc_, SURE)
        vice.history_, vice.converged_ = [], True
        return vice

    def generate_model_card(self, repo_id: str | None = None) -> ModelCard:
        """The card from `hub_cards/vice.md.jinja`, for the Hub repository `repo_id`."""
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
        settings = {field.name: options.pop(field.name) for field in fields(cls) if field.name in options}
        file = cls.file(model_id, WEIGHTS_FILE, **options)
        vice = cls(**settings)
        with safe_open(file, framework="np") as opened:
            names = sorted(opened.keys())
            if names != ["loc", "scale"]:
                raise InputError(f"it has the tensors {', '.join(names[:4])} …, and needs loc and scale")
            metadata = opened.metadata() or {}
            vice.loc_, vice.scale_ = opened.get_tensor("loc"), opened.get_tensor("scale")
        vice.history_, vice.converged_ = json.loads(metadata["history"]), json.loads(metadata["converged"])
        vice.info = json.loads(metadata.get("info", "{}"))
        return vice
