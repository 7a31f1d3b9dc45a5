"""What making triplets of as many images as ImageNet's costs: one JSON line a result, each from a process of its own.

- `sampling`: 10 million triplets at the boundaries of 500 uneven clusters. Beside it NumPy's generator, vectorised:
  every triplet as likely, but one may come twice, none can be had without those before it, and each step holds arrays
  of all of them.
- `labels_float32`, `labels_float16`, `labels_bfloat16`: the teacher's similarities of these, from 1,152 numbers an
  image. Beside it `np.take` of the same rows in the same order, into a buffer that stays in the cache: the time that
  memory takes to give rows in random places. `growth` is the cost of a triplet among 10 million beside one among one.
  `share_of_embedding` is the cost beside that of embedding the images before, at 1,000 images a second (one H100).
  A loop with prefetch and half-precision instructions took 0.7 s (float32) and 0.4 s (float16, bfloat16) for a million
  triplets of 100,000 x 768, beside 1.5, 1.2 and 1.3 s now, on one core of an AMD EPYC: 1 % of the 100 s of embedding.
- `shards`: from embeddings (16 numbers, so that they matter little) to 10 million triplets on disk. Beside it the same
  without writing, and the plain bytes of the columns.
- `reading`: these opened, and 512 random rows read, by `load_dataset` and by `load_triplets`; the first call, which
  fills the cache of `datasets`, is apart. Beside it the rows alone, and pyarrow's opening of the file in that cache.
- `clusters`: 500 of 200,000 images. Beside it scikit-learn's k-means of all images, from k-means++ and from random
  images, and its MiniBatchKMeans. `inertia` is the mean squared distance of an image to the nearest centre.
- `clusters_few`: 500 of 50,000 images, beside scikit-learn's k-means of all of them, as was done before.
- `nearest_center`: images a second that are compared with 500 centers, 1,152 numbers each.

Of several calls the fastest counts; the first, for which Numba compiles, does not. Memory is what a call takes beyond
what was held before it: the embeddings, for one.

    OMP_NUM_THREADS=1 python benchmarks/triplets.py
"""

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset, load_dataset
from measuring import Cost, cost, least, run_parts
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.metrics import pairwise_distances_argmin_min

from hf_alignet.hub.cards.triplets_card import write_triplets_card
from hf_alignet.triplets import TripletSampler, fit_clusters, kmeans, label_triplets, load_triplets
from hf_alignet.triplets.shards import TripletSource, write_shards

NUM_IMAGES, NUM_CLUSTERS, NUM_FEATURES = 1_281_167, 500, 1152
NUM_BLOB_ROWS, BLOB_FEATURES = 200_000, 384
FEW, MANY = 1_000_000, 10_000_000
BUFFER = 2**18  # bytes
NUM_READ = 512
IMAGES_PER_SECOND = 1000  # that an H100 embeds


def make_clusters() -> np.ndarray:
    rng = np.random.default_rng(0)
    shares = rng.lognormal(sigma=0.7, size=NUM_CLUSTERS)
    return rng.choice(NUM_CLUSTERS, NUM_IMAGES, p=shares / shares.sum())


def make_sampler() -> TripletSampler:
    return TripletSampler("cluster_boundary", make_clusters())


def make_embeddings(dtype: str, dim: int) -> np.ndarray:
    """Rows that differ, soon made: a random block again and again, turned."""
    drawn = torch.randn(4096, dim, generator=torch.Generator().manual_seed(0)).to(getattr(torch, dtype))
    block = (drawn.view(torch.uint16) if dtype == "bfloat16" else drawn).numpy()
    embeddings = np.empty((NUM_IMAGES, dim), block.dtype)
    for turn, start in enumerate(range(0, NUM_IMAGES, len(block))):
        embeddings[start : start + len(block)] = np.roll(block, turn, axis=1)[: NUM_IMAGES - start]
    return embeddings


def make_source() -> TripletSource:
    source = TripletSource(make_sampler(), make_embeddings("float32", 16))
    label_triplets(source.embeddings, source.sampler.draw(0, 1))
    return source


def make_blobs() -> np.ndarray:
    """Rows around 2,000 points, uneven in number, in directions that differ in variance."""
    rng = np.random.default_rng(0)
    shares = rng.lognormal(size=2000)
    points = rng.standard_normal((len(shares), BLOB_FEATURES), np.float32)
    rows = rng.standard_normal((NUM_BLOB_ROWS, BLOB_FEATURES), np.float32)
    rows += points[rng.choice(len(shares), NUM_BLOB_ROWS, p=shares / shares.sum())]
    return rows / np.sqrt(1 + np.arange(BLOB_FEATURES, dtype=np.float32))


def numpy_draw(clusters: np.ndarray) -> np.ndarray:
    rng, sizes, order = np.random.default_rng(0), np.bincount(clusters), np.argsort(clusters, kind="stable")
    weights = sizes * (sizes - 1.0) * (len(clusters) - sizes)
    cluster = rng.choice(len(sizes), MANY, p=weights / weights.sum())
    start, size = (np.cumsum(sizes) - sizes)[cluster], sizes[cluster]
    a = rng.integers(size)
    b = (a + rng.integers(1, size)) % size
    c = rng.integers(len(clusters) - size)
    places = np.stack([start + a, start + b, np.where(c >= start, c + size, c)], axis=1)
    return rng.permuted(order[places].astype(np.int32), axis=1)


def sampling() -> dict:
    clusters = make_clusters()
    constructor = least(lambda: TripletSampler("cluster_boundary", clusters), 3)
    sampler = make_sampler()
    sampler.draw(0, 1)
    ours, theirs = least(lambda: sampler.draw(0, MANY), 3), least(lambda: numpy_draw(clusters), 3)
    return {
        **costs(ours),
        "constructor_cpu_s": constructor.cpu_s,
        "numpy_cpu_s": theirs.cpu_s,
        "numpy_peak_mb": theirs.peak_mb,
        "ratio": ours.cpu_s / theirs.cpu_s,
    }


def labels(dtype: str) -> dict:
    embeddings, triplets = make_embeddings(dtype, NUM_FEATURES), make_sampler().draw(0, MANY)
    rows, per_buffer = triplets.ravel(), BUFFER // embeddings[0].nbytes
    buffer = np.empty((per_buffer, NUM_FEATURES), embeddings.dtype)

    def gather() -> None:
        for start in range(0, len(rows), per_buffer):
            part = rows[start : start + per_buffer]
            np.take(embeddings, part, axis=0, out=buffer[: len(part)], mode="clip")

    label_triplets(embeddings, triplets[:1])
    few = least(lambda: label_triplets(embeddings, triplets[:FEW]), 3)
    many = least(lambda: label_triplets(embeddings, triplets), 2)
    limit = least(gather, 2)
    return {
        **costs(many),
        "gather_cpu_s": limit.cpu_s,
        "ratio": many.cpu_s / limit.cpu_s,
        "gb_per_cpu_s": len(rows) * embeddings[0].nbytes / many.cpu_s / 1e9,
        "cpu_s_a_million": many.cpu_s / MANY * 1e6,
        "share_of_embedding": many.cpu_s / (NUM_IMAGES / IMAGES_PER_SECOND),
        "growth": many.cpu_s / MANY / (few.cpu_s / FEW),
    }


def shards() -> dict:
    source = make_source()
    uses = np.zeros(NUM_IMAGES, np.int64)

    def draw_and_label() -> None:
        for _ in source.read(0, MANY, uses):
            pass

    with tempfile.TemporaryDirectory() as folder:
        directories = iter([Path(folder) / "first", Path(folder) / "second"])
        writing = least(lambda: write_shards(next(directories), "train", source, MANY, progress=False), 2)
        size = sum(file.stat().st_size for file in (Path(folder) / "first").iterdir())
    plain = MANY * (3 * 4 + 3 * 4 + 1)
    unwritten = least(draw_and_label, 2)
    return {**costs(writing), "unwritten_cpu_s": unwritten.cpu_s, "mb": size / 1e6, "plain_mb": plain / 1e6}


def reading() -> dict:
    rng = np.random.default_rng(0)

    def read(dataset: Dataset) -> None:
        dataset[rng.integers(MANY, size=NUM_READ)]

    def open_and_read(way: Callable[[], Dataset]) -> None:
        read(way())

    def open_arrow(file: str) -> None:
        with pa.memory_map(file) as mapped:
            pa.ipc.open_stream(mapped).read_all()

    with tempfile.TemporaryDirectory() as folder:
        datasets.config.HF_DATASETS_CACHE = Path(folder) / "cache"
        datasets.disable_progress_bars()
        directory = Path(folder) / "made"
        write_shards(directory / "triplets", "train", make_source(), MANY, progress=False)
        write_triplets_card(directory, {"images": "images", "num_images": NUM_IMAGES}, {"train": MANY})
        ways: dict[str, Callable[[], Dataset]] = {
            "load_dataset": lambda: load_dataset(str(directory), "triplets")["train"],
            "load_triplets": lambda: load_triplets(str(directory))["train"],
        }
        first = {f"{name}_first_cpu_s": cost(way).cpu_s for name, way in ways.items()}
        opened = {name: least(partial(open_and_read, way), 10) for name, way in ways.items()}
        dataset = ways["load_triplets"]()
        opened["once_open"] = least(lambda: read(dataset), 10)
        opened["arrow"] = least(lambda: open_arrow(dataset.cache_files[0]["filename"]), 10)
    return {**first, **{f"{name}_cpu_ms": 1e3 * call.cpu_s for name, call in opened.items()}}


def clusters_few() -> dict:
    return clusters(50_000, ("ours", "all_images"))


def clusters(number: int = NUM_BLOB_ROWS, names: Sequence[str] | None = None) -> dict:
    embeddings = make_blobs()[:number]
    settings = {"n_init": 1, "random_state": 0}
    fits = {
        "ours": lambda: fit_clusters(embeddings, NUM_CLUSTERS, progress=False).centers,
        "all_images": lambda: KMeans(NUM_CLUSTERS, **settings).fit(embeddings).cluster_centers_,
        "random_start": lambda: KMeans(NUM_CLUSTERS, init="random", **settings).fit(embeddings).cluster_centers_,
        "minibatch": lambda: MiniBatchKMeans(NUM_CLUSTERS, **settings).fit(embeddings).cluster_centers_,
    }
    found = {}
    for name in names or fits:
        call = cost(fits[name])
        inertia = float((pairwise_distances_argmin_min(embeddings, call.value)[1] ** 2).mean())
        found[name] = {**costs(call), "inertia": inertia}
    return {**found.pop("ours"), **found}


def nearest_center() -> dict[str, float]:
    rows = torch.from_numpy(np.random.default_rng(0).standard_normal((8 * kmeans.BLOCK, NUM_FEATURES), np.float32))

    def compare() -> None:
        for block in rows.split(kmeans.BLOCK):
            kmeans.nearest(block, rows[:NUM_CLUSTERS])

    call = least(compare, 3)
    return {**costs(call), "images_per_cpu_s": len(rows) / call.cpu_s}


def costs(call: Cost) -> dict[str, float]:
    return {"cpu_s": call.cpu_s, "wall_s": call.wall_s, "peak_mb": call.peak_mb}


PARTS: dict[str, Callable[[], dict]] = {
    "sampling": sampling,
    "labels_float32": lambda: labels("float32"),
    "labels_float16": lambda: labels("float16"),
    "labels_bfloat16": lambda: labels("bfloat16"),
    "shards": shards,
    "reading": reading,
    "clusters": clusters,
    "clusters_few": clusters_few,
    "nearest_center": nearest_center,
}


if __name__ == "__main__":
    run_parts(__doc__, PARTS)
