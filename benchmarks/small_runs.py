"""What `kills.py` and `faults.py` share: a small study, the long commands on it, and how a run of one ends.

A command runs in a fork of this process, which has imported everything, as a new process would need most of its time
for that. Linux only.
"""

import contextlib
import importlib
import os
import re
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import transformers
from datasets import Dataset, Features
from datasets import Image as ImageFeature
from PIL import Image
from safetensors import safe_open

from hf_alignet.encoder import VisionEncoder
from hf_alignet.errors import InputError, RunError
from hf_alignet.images import load_images
from hf_alignet.storage import OURS, write_dataset

SIZE, NUM_IMAGES, NUM_CHOICES, NUM_COLOURS = 32, 120, 6000, 4
MODEL: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
STATUS_OF_TRACEBACK = 70
# Not the same in two runs: times, pickles of the optimizer, and the state of Trainer, which has times
VARIES = re.compile(r"checkpoint-.*|runs/.*|.*trainer_state\.json|SHA256SUMS")
COMMANDS = ("align", "fit-teacher", "make-triplets", "evaluate", "embed", "publish")
LOCKED = "is in use by"


def make_study(folder: Path) -> None:
    """A random model, pictures, two splits of choices, and triplets."""
    rng = np.random.default_rng(0)
    for seed in (0, 1):
        transformers.set_seed(seed)
        model = transformers.Dinov2Model(transformers.Dinov2Config(**MODEL, image_size=SIZE, patch_size=8))
        model.save_pretrained(folder / f"model{seed}")
        transformers.ViTImageProcessorPil(size={"height": SIZE, "width": SIZE}).save_pretrained(
            folder / f"model{seed}"
        )
    colours = rng.integers(0, 200, (NUM_COLOURS, 1, 1, 3))[np.arange(NUM_IMAGES) % NUM_COLOURS]
    pixels = (colours + rng.integers(0, 56, (NUM_IMAGES, SIZE, SIZE, 3))).astype(np.uint8)
    pictures = [Image.fromarray(picture) for picture in pixels]
    images = Dataset.from_dict({"image": pictures}, features=Features({"image": ImageFeature()}))
    write_dataset(images, folder / "images", "train", progress=False)
    for split in ("train", "test"):
        rows = np.stack([rng.permutation(NUM_IMAGES)[:3] for _ in range(NUM_CHOICES)]).astype(np.int32)
        kept = (rows[:, [0, 0, 1]] % NUM_COLOURS == rows[:, [1, 2, 2]] % NUM_COLOURS) + rng.random((NUM_CHOICES, 3))
        choices = Dataset.from_dict({"triplet": rows, "odd": 2 - kept.argmax(1).astype(np.int8)})
        write_dataset(choices, folder / "judgments", split, progress=False)
    hf_alignet("make-triplets", _triplets(folder), "--output_dir", folder / "triplets")


@contextlib.contextmanager
def prepared() -> Iterator[tuple[Path, Path]]:
    """Yields a folder for runs, and the study in it; ends the process if the study cannot be made."""
    import_all()
    with tempfile.TemporaryDirectory() as directory:
        study = Path(directory, "study")
        study.mkdir()
        if start(lambda: make_study(study), study / "log").end() != "ok":
            sys.exit(f"the study cannot be made:\n{(study / 'log').read_text()[-3000:]}")
        yield Path(directory), study


def command(name: str, study: Path, output: Path, seed: int = 0) -> Callable[[], None]:
    """A command whose results are in a folder; the same again goes on with it after a crash."""
    model, images, choices = study / "model0", study / "images", study / "judgments"
    if name == "align":
        steps = ["--max_steps", 10, "--save_steps", 2, "--save_strategy", "steps", "--disable_tqdm", "True"]
        data = ["--model_name_or_path", model, "--images", images, "--triplets", study / "triplets"]
        resume = ["--resume_from_checkpoint", "last"]
        return lambda: hf_alignet(name, *data, *steps, *resume, "--seed", seed, "--output_dir", output)
    if name == "fit-teacher":
        vice = ["--vice_settings", '{"num_dimensions": 5, "max_epochs": 400, "settle": 50}']
        data = ["--judgments", choices, "--images", images, "--model_name_or_path", model, *vice]
        return lambda: hf_alignet(name, *data, "--seed", seed, "--output_dir", output)
    if name == "make-triplets":
        return lambda: hf_alignet(name, _triplets(study), "--seed", seed, "--output_dir", output)
    if name == "evaluate":
        models = [study / f"model{seed}", study / f"model{1 - seed}"]
        data = ["--benchmarks", f"study=choices:{choices}", "--images", images, "--seed", seed]
        return lambda: hf_alignet(name, "--model_name_or_path", *models, *data, "--output_dir", output)
    if name == "embed":
        encoder = study / f"model{seed}"
        return lambda: _embed(encoder, images, output)
    kind, what = ("dataset", study / "images") if seed == 0 else ("dataset", study / "judgments")
    share = ["--i_have_the_right_to_share_images"] if seed == 0 else []
    return lambda: hf_alignet("publish", kind, what, "u/x", *share, "--dry_run", "--output_dir", output)


def _triplets(study: Path) -> list[object]:
    data = ["--images", study / "images", "--teacher", study / "model0", "--sampling", "cluster_boundary"]
    return [*data, "--num_triplets", 3000, "--num_validation_triplets", 500, "--num_clusters", 8, "--save_images"]


def _embed(encoder: Path, images: Path, output: Path) -> None:
    try:
        VisionEncoder.from_pretrained(str(encoder)).embed(load_images(str(images)), save_to=output, progress=False)
    except (InputError, RunError) as error:  # as a command tells it
        sys.exit(f"error: {error}")


def hf_alignet(name: str, *words: object) -> None:
    """A command in this process."""
    flat = [str(part) for word in words for part in (word if isinstance(word, list) else [word])]
    importlib.import_module(f"hf_alignet.cli.{name.replace('-', '_')}").main(flat)


def import_all() -> None:
    for name in ("align", "fit_teacher", "make_triplets", "evaluate", "publish"):
        importlib.import_module(f"hf_alignet.cli.{name}")


@dataclass
class Run:
    """A run of a command in a process of its own."""

    process: int
    log: Path

    def is_over(self) -> bool:
        return os.waitid(os.P_PID, self.process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def kill(self) -> None:
        os.kill(self.process, signal.SIGKILL)

    def end(self) -> str:
        """How it ended, in a word: ok, clear, traceback, unclear, or the name of a signal."""
        status = os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])
        text = self.log.read_text(encoding="utf-8", errors="replace")
        if status < 0:
            return signal.Signals(-status).name
        if status == STATUS_OF_TRACEBACK or "Traceback (most recent call last)" in text:
            return "traceback"
        last = text.strip().splitlines()[-1] if text.strip() else ""
        return "ok" if status == 0 else "clear" if last.startswith("error") else "unclear"


def start(work: Callable[[], None], log: Path) -> Run:
    process = os.fork()
    if process:
        return Run(process, log)
    status = STATUS_OF_TRACEBACK
    try:
        with open(log, "w", encoding="utf-8") as opened:
            os.dup2(opened.fileno(), 1)
            os.dup2(opened.fileno(), 2)
        work()
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def differences(ours: Path, theirs: Path) -> list[str]:
    """The files that differ between the results of two runs; of a tree without such a file it is named, too."""
    files = {
        path.relative_to(folder).as_posix()
        for folder in (ours, theirs)
        for path in folder.rglob("*")
        if path.is_file() and path.name not in OURS
    }
    compared = [name for name in sorted(files) if not VARIES.fullmatch(name)]
    return [name for name in compared if _content(ours / name) != _content(theirs / name)]


def _content(file: Path) -> object:
    """Bytes; of tensors a dictionary, as safetensors writes its metadata in any order. None without such a file."""
    if not file.is_file() or file.suffix != ".safetensors":
        return file.read_bytes() if file.is_file() else None
    with safe_open(file, framework="np") as opened:
        return opened.metadata(), {name: opened.get_tensor(name).tobytes() for name in opened.keys()}


def is_unfinished(folder: Path) -> bool:
    """Whether a run has left something that it had not finished."""
    return any(path.name.endswith("unfinished") for path in folder.rglob("*"))


@contextlib.contextmanager
def small_disk(place: Path, kilobytes: int) -> Iterator[Callable[[str], bool]]:
    """Mounts a file system of a size in memory; yields what remounts it with other options, such as size=1m or ro."""
    place.mkdir()
    options = f"size={kilobytes}k"
    if os.spawnlp(os.P_WAIT, "mount", "mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)) != 0:
        raise PermissionError("no small disk can be mounted here; run it as root")
    try:
        yield lambda o: os.spawnlp(os.P_WAIT, "mount", "mount", "-o", f"remount,{o}", str(place)) == 0
    finally:
        os.spawnlp(os.P_WAIT, "umount", "umount", str(place))
        shutil.rmtree(place, ignore_errors=True)
