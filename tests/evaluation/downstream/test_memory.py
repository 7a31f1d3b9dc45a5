"""Memory stays flat for many images: the embeddings are copied once or twice, and what is (n, m) is in blocks."""

import tracemalloc

import numpy as np
import pytest
import torch

from hf_alignet.evaluation.downstream.anomaly import anomaly
from hf_alignet.evaluation.downstream.classifiers import (
    CELLS,
    Standard,
    fit_neighbours,
    fit_prototypes,
    fit_ridge,
    unit,
)
from hf_alignet.evaluation.downstream.labelled import Labelled
from hf_alignet.evaluation.downstream.retrieval import retrieval

NUM, DIM, CLASSES = 200_000, 64, ["a", "b", "c"]


@pytest.fixture(scope="module")
def many():
    rng = np.random.default_rng(0)
    labels = np.arange(NUM) % 3
    return Labelled(rng.standard_normal((NUM, DIM), np.float32) + labels[:, None].astype(np.float32), labels, CLASSES)


def few(many):
    return Labelled(many.embeddings[:60], many.labels[:60], CLASSES)


@pytest.mark.parametrize(
    ("work", "copies"),
    [
        (lambda many: fit_ridge(many.embeddings, many.labels, 3), 0.5),
        (lambda many: fit_ridge(many.embeddings[:300], many.labels[:300], 3).predict(many.embeddings), 0.2),
        (lambda many: fit_prototypes(many.embeddings, many.labels, 3).predict(many.embeddings), 0.2),
        (lambda many: fit_neighbours(many.embeddings[:300], many.labels[:300], 3).predict(many.embeddings), 1.6),
        (lambda many: fit_neighbours(many.embeddings, many.labels, 3).predict(many.embeddings[:60]), 1.2),
        (lambda many: anomaly(many, few(many)), 1.6),
        (lambda many: anomaly(many, few(many), "leave_one_out"), 2.2),
        (lambda many: retrieval(many, 20), 1.2),
    ],
)
def test_copies_of_the_embeddings(work, copies, many, monkeypatch):
    """What NumPy allocates, as a multiple of the embeddings, and the cells of each block of similarities."""
    cells, topk, argsort = [0], torch.Tensor.topk, torch.Tensor.argsort
    monkeypatch.setattr(torch.Tensor, "topk", lambda x, *a, **k: cells.append(x.numel()) or topk(x, *a, **k))
    monkeypatch.setattr(torch.Tensor, "argsort", lambda x, *a, **k: cells.append(4 * x.numel()) or argsort(x, *a, **k))
    tracemalloc.start()
    try:
        work(many)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < copies * many.embeddings.nbytes
    assert max(cells) <= CELLS


def test_blocks_change_nothing(many):
    x = many.embeddings[:20_000]  # more than two blocks
    standard = Standard.of(x)
    assert np.allclose(standard.mean, x.mean(0, dtype=float)) and np.allclose(
        standard.std - 1e-5, x.std(0, dtype=float)
    )
    assert np.allclose(unit(x), x / np.linalg.norm(x, axis=1, keepdims=True), atol=1e-7)
    assert unit(np.zeros((0, 3), np.float32)).shape == (0, 3)
    whole = np.c_[standard(x), np.full(len(x), 100.0)]
    signs = np.where(many.labels[: len(x), None] == np.arange(3), 1.0, -1.0)
    fitted = fit_ridge(x, many.labels[: len(x)], 3)
    direct = whole[:50] @ np.linalg.solve(whole.T @ whole + 2.0**10 * np.eye(65), whole.T @ signs)
    assert np.allclose(x[:50] @ fitted.weight + fitted.bias, direct, atol=1e-9)
