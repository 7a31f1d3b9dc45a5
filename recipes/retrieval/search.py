"""Search among 10,000 photographs before and after alignment: does a search find what people find similar?

Queries are photographs of 30 classes that no alignment saw, the gallery is 10,000 others of Tiny-ImageNet, and human
relevance is the similarity of their concepts in VICE, which was fitted to millions of odd-one-out choices. Prints a
table, and writes the embeddings as `hf-alignet embed` does, so that the command goes on where it was stopped.

    python recipes/retrieval/search.py --models base=MODEL aligned=outputs/downstream/models/in-batch
"""

import argparse
from pathlib import Path

import numpy as np
from datasets import Dataset

from hf_alignet import embed
from hf_alignet.evaluation.statistics.changes import changes
from hf_alignet.evaluation.statistics.clustered import clustered_mean
from hf_alignet.images.opening import load_images
from hf_alignet.metric import Metric, changes_table, results_table
from hf_alignet.triplets import load_triplets

GALLERY, QUERIES_PER_CLASS, SHOWN = 10_000, 20, 50
NEAR_DUPLICATE = 0.98  # cosine in the first model


def choose(images: Dataset, unseen: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the queries and, of the other photographs, of the gallery."""
    labels = np.asarray(images["label"][:])
    queries = np.concatenate([np.flatnonzero(labels == label)[:QUERIES_PER_CLASS] for label in unseen])
    others = np.setdiff1d(np.arange(len(images)), queries)
    return queries, np.sort(np.random.default_rng(seed).permutation(others)[:GALLERY])


def is_copy(queries: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """(m, n) whether a photograph of the gallery (n, d) is a near duplicate of a query (m, d)."""
    return unit(queries) @ unit(gallery).T >= NEAR_DUPLICATE


def unit(values: np.ndarray) -> np.ndarray:
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def human_relevance(vectors: np.ndarray) -> np.ndarray:
    """(c, c) share of the other classes that people find less similar to a class; 1 for the class itself."""
    similarities = vectors @ vectors.T
    np.fill_diagonal(similarities, np.inf)
    return similarities.argsort(1).argsort(1) / (len(vectors) - 1)


def measure(
    queries: np.ndarray,
    gallery: np.ndarray,
    query_labels: np.ndarray,
    gallery_labels: np.ndarray,
    relevance: np.ndarray,
    copies: np.ndarray,
) -> dict[str, Metric]:
    """What a search finds, mean over queries, with intervals over the classes of the queries."""
    scores = np.where(copies, -np.inf, unit(queries) @ unit(gallery).T)
    order = np.argsort(-scores, axis=1)
    found = gallery_labels[order]
    is_same = found == query_labels[:, None]
    human = relevance[query_labels[:, None], found]
    # Of the first results of other classes: what a user sees once the class itself is found
    others = np.stack([row[~same][:SHOWN] for row, same in zip(human, is_same, strict=True)])
    discounts = 1 / np.log2(np.arange(2, SHOWN + 2))
    best = -np.sort(-relevance[query_labels[:, None], gallery_labels[None]], axis=1)[:, :SHOWN]
    gains = (human[:, :SHOWN] * discounts).sum(1) / (best * discounts).sum(1)
    values = {
        "same class among the first 10": is_same[:, :10].mean(1),
        "nDCG of the first 50, human gain": gains,
        "human rank of the first 50 of other classes": others.mean(1),
    }
    return {name: clustered_mean(value, query_labels, "query class", None) for name, value in values.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", required=True, help="name=path or Hub id; the first is compared with")
    parser.add_argument("--data", type=Path, default="data/things-vit-tiny", help="of its prepare.py (%(default)s)")
    parser.add_argument("--output_dir", type=Path, default="outputs/retrieval", help="(%(default)s)")
    given = parser.parse_args()
    images, vectors = load_images(str(given.data)), np.load(given.data / "class_vectors.npy", allow_pickle=False)
    labels = np.asarray(images["label"][:])
    unseen = np.unique(labels[np.unique(load_triplets(str(given.data))["unseen_classes"]["triplet"][:])])
    queries, gallery = choose(images, unseen)
    classes, numbers = np.unique(labels, return_inverse=True)  # those that have a concept in VICE
    relevance = human_relevance(vectors[classes])
    results: dict[str, dict[str, Metric]] = {}
    copies = np.zeros((0, 0), bool)
    for name, model in (text.split("=", 1) for text in given.models):
        rows = np.concatenate([queries, gallery])
        made = embed(model, images.select(rows), given.output_dir / name, bf16=True)
        embeddings = made.with_format("numpy")["embedding"][:]
        parts = embeddings[: len(queries)], embeddings[len(queries) :]
        copies = copies if results else is_copy(*parts)
        results[name] = measure(*parts, numbers[queries], numbers[gallery], relevance, copies)
    first = next(iter(results))
    print(f"{len(queries)} queries, {len(gallery)} pictures, {int(copies.sum())} near duplicates left out\n")
    print(results_table(results))
    others = {name: changes(results[first], found) for name, found in results.items() if name != first}
    print(changes_table(others, first))


if __name__ == "__main__":
    main()
