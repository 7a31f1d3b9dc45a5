"""Tests see no network, build their own tiny models, and find the development data by HF_ALIGNET_DATA."""

import os
import shutil
import socket
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"  # before any library of the Hub is imported
os.environ["HF_DATASETS_CACHE"] = tempfile.mkdtemp(prefix="hf_alignet_tests_")  # nothing is found from before
os.environ.setdefault("OMP_NUM_THREADS", "1")  # two threads a test on two busy cores are slower than one

from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from datasets import Dataset, Features
from datasets import Image as ImageFeature
from PIL import Image
from tiny import save_tiny

from hf_alignet.images import workers

collect_ignore = ["hub/round_trips.py", "student/pusher.py"]  # scripts, which tests start with arguments
ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("HF_ALIGNET_DATA", ROOT.parent / "shared" / "data"))


def pytest_unconfigure():
    shutil.rmtree(os.environ["HF_DATASETS_CACHE"], ignore_errors=True)


def pytest_collection_modifyitems(items):
    for item in items:
        if "real_data" in item.keywords and not DATA.is_dir():
            item.add_marker(pytest.mark.skip(reason=f"no development data at {DATA}; set HF_ALIGNET_DATA"))
    # Those that may take longest begin, so that two processes end together
    items.sort(key=lambda item: -max((mark.args[0] for mark in item.iter_markers("timeout")), default=0) // 300)


@pytest.fixture(scope="session")
def data_directory() -> Path:
    return DATA


@pytest.fixture(scope="session")
def tiny_directory(tmp_path_factory):
    """Directory of a tiny checkpoint of a family, made once a session."""
    root = tmp_path_factory.mktemp("tiny")

    def directory(family: str) -> Path:
        path = root / family
        if not path.exists():
            with torch.random.fork_rng():  # the first to ask draws the same numbers as the others
                save_tiny(family, path)
        return path

    return directory


@pytest.fixture
def pictures() -> list[Image.Image]:
    """24 pictures of 40 x 32 pixels."""
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (32, 40, 3), dtype=np.uint8)) for _ in range(24)]


@pytest.fixture
def images(pictures) -> Dataset:
    return Dataset.from_dict({"image": pictures}, features=Features({"image": ImageFeature()}))


@pytest.fixture
def triplets() -> Dataset:
    """40 triplets of the 24 images with smooth similarities."""
    rng = np.random.default_rng(1)
    rows = np.stack([rng.permutation(24)[:3] for _ in range(40)]).astype(np.int32)
    similarities = rng.normal(size=(40, 3)).astype(np.float32)
    return Dataset.from_dict(
        {"triplet": rows, "similarities": similarities, "odd": 2 - similarities.argmax(1).astype(np.int8)}
    )


@pytest.fixture(autouse=True)
def _on_the_cpu(request, monkeypatch):
    """A test marked `cpu` finds no GPU."""
    if "cpu" not in request.keywords:
        yield
        return
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(autouse=True)
def _no_other_cores(monkeypatch):
    """Else each test on a machine with a GPU would start a worker process for each core."""
    monkeypatch.setattr(workers, "cores_at_hand", lambda: 1)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    connect = socket.socket.connect

    def connect_here(self, address):
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"a test wants to connect to {address[0]}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect_here)
