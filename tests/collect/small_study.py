"""A small study of pictures of one colour each, and a server of it in a process of its own."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from hf_alignet.collect.study_making import init_study

ROOT = Path(__file__).parents[2]
QUICK = {"fixation": 0.05, "earliest": 0.1, "latest": 3.0, "feedback": 0.1, "pauses_after": [3]}
MANY = {"starts_per_minute": 100_000, "answers_per_minute": 100_000}


def write_pictures(folder: Path, classes: int = 4, each: int = 4, edge: int = 40) -> Path:
    """A folder of classes, of pictures of similar colours."""
    rng = np.random.default_rng(0)
    for number in range(classes):
        (folder / f"class{number}").mkdir(parents=True)
        colour = rng.integers(60, 200, 3)
        for i in range(each):
            pixels = np.full((edge, edge, 3), colour + rng.integers(-30, 30, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"class{number}" / f"p{number}{i}.png")
    return folder


def make_study(folder: Path, protocol: dict | None = None, texts: dict | None = None, **settings) -> Path:
    """A study in `folder/study`, with other times in its YAML file."""
    images = folder / "pictures"
    if not images.exists():
        write_pictures(images)
    wanted = {"num_participants": 4, "trials": 6, "repeats": 2, "catch_trials": 2, "practice_trials": 1}
    init_study(str(folder / "study"), str(images), progress=False, **{**wanted, **settings})
    change_yaml(folder / "study", protocol={**QUICK, **MANY, **(protocol or {})}, texts=texts or {})
    return folder / "study"


def change_yaml(study: Path, **parts: dict) -> None:
    """Other settings in study.yaml."""
    content = yaml.safe_load((study / "study.yaml").read_text(encoding="utf-8"))
    for part, settings in parts.items():
        content[part].update(settings)
    (study / "study.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")


class ServedStudy:
    """`collect serve` in a process, which can be killed and started again at the same port."""

    def __init__(self, study: Path):
        self.study = study
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        code = (
            "import sys; from pathlib import Path; from hf_alignet.collect.web_server import run_server; "
            "run_server(Path(sys.argv[1]), '127.0.0.1', int(sys.argv[2]), False)"
        )
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", code, str(self.study), str(self.port)], env=environment
        )
        for _ in range(600):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            if self.process.poll() is not None:
                raise RuntimeError("the server ended")
            time.sleep(0.1)
        raise RuntimeError("the server does not listen")

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@contextlib.contextmanager
def served(study: Path) -> Iterator[ServedStudy]:
    server = ServedStudy(study)
    server.start()
    try:
        yield server
    finally:
        server.kill()
