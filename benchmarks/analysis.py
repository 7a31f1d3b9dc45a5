"""What an analysis costs from ready embeddings: one JSON line a result, each from a process of its own.

- `images_85000`: the whole of `hf-alignet analyze` for two models, 85,000 images x 768, 719 classes, 119 basic and 7
  superordinate categories: the number of images of the paper. The limits are 5 minutes on two cores, and 4 GB for
  the whole process. TriMap is left out if the package is missing; `trimap` says so.
- `components`: 32 principal components of 85,000 x 768; beside them scikit-learn's PCA.

    OMP_NUM_THREADS=2 python benchmarks/analysis.py
"""

import logging
import tempfile
from pathlib import Path

import numpy as np
from datasets import Dataset
from measuring import cost, run_parts
from sklearn.decomposition import PCA

from hf_alignet.analysis.projections import has_trimap, principal_components
from hf_alignet.workflows.analysis_run import analyze

NUMBER, WIDTH, CLASSES = 85_000, 768, 719
MOST_SECONDS, MOST_MB = 300, 4000


def embeddings(weight: float) -> np.ndarray:
    """(n, d) around places of classes, and, with this weight, of superordinate categories."""
    rng = np.random.default_rng(0)
    labels = np.arange(NUMBER) % CLASSES
    x = rng.standard_normal((NUMBER, WIDTH), np.float32)
    x += rng.standard_normal((CLASSES, WIDTH), np.float32)[labels]
    return x + weight * rng.standard_normal((7, WIDTH), np.float32)[labels % 7]


def images_85000() -> dict[str, float | bool]:
    labels = np.arange(NUMBER) % CLASSES
    with tempfile.TemporaryDirectory() as folder:
        files = {name: str(Path(folder, f"{name}.npy")) for name in ("base", "aligned")}
        for name, weight in (("base", 0.0), ("aligned", 0.5)):
            np.save(files[name], embeddings(weight))
        columns = {
            "concept": [f"class {label}" for label in labels],
            "subgroup": [f"basic {label % 119}" for label in labels],
            "group": [f"realm {label % 7}" for label in labels],
        }
        images = Dataset.from_dict(columns)
        call = cost(
            lambda: analyze(files["base"], files["aligned"], images, output_dir=Path(folder, "out"), progress=False)
        )
        peak = _peak_mb()
    return {
        "cpu_s": call.cpu_s,
        "wall_s": call.wall_s,
        "whole_peak_mb": peak,
        "trimap": has_trimap(),
        "is_within": call.wall_s < MOST_SECONDS and peak < MOST_MB,
    }


def components() -> dict[str, float]:
    x = embeddings(0.5)
    ours, theirs = cost(lambda: principal_components(x, 32)), cost(lambda: PCA(32, random_state=0).fit(x).transform(x))
    shares = PCA(32, random_state=0, svd_solver="covariance_eigh").fit(x).explained_variance_ratio_
    return {
        "cpu_s": ours.cpu_s,
        "peak_mb": ours.peak_mb,
        "scikit_learn_cpu_s": theirs.cpu_s,
        "scikit_learn_peak_mb": theirs.peak_mb,
        "largest_difference_of_shares": float(np.abs(ours.value.shares - shares).max()),
    }


def _peak_mb() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")) / 1e6


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    run_parts(__doc__, {"images_85000": images_85000, "components": components})
