"""Runs that share their model and checkpoints, and others that go on from there: the client of test_push.py.

    python tests/student/pusher.py DIRECTORY

Prints one JSON line of what each stage saw.
"""

import functools
import io
import json
import logging
import resource
import sys
import threading
import time
import types
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import align
import numpy as np
import torch
from datasets import Dataset, DatasetDict
from huggingface_hub import HfApi
from huggingface_hub.utils import _http
from peft import LoraConfig
from PIL import Image
from tiny import save_tiny
from transformers import TrainerCallback
from transformers.trainer_utils import EvalLoopOutput

import hf_alignet.student.checkpoint_sharing as checkpoint_sharing
from hf_alignet.encoder.vision_model import VisionEncoder
from hf_alignet.errors import InputError, RunError
from hf_alignet.storage import OURS, output_folder
from hf_alignet.student import AlignTrainer, AlignTrainingArguments
from hf_alignet.student.checkpoints import find_checkpoint

_http.time = types.SimpleNamespace(sleep=lambda seconds: None)  # type: ignore[assignment]  # no pauses before a request is repeated
ROOT = Path(sys.argv[1])
BASE, DATA = ROOT / "base", ROOT / "data"
AGREEMENT = [0.3, 0.9, 0.5, 0.4]  # of the evaluation after each step


@functools.cache
def data() -> tuple[Dataset, Dataset]:
    """Pictures and triplets, which also lie in DATA."""
    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)) for _ in range(24)]
    images = Dataset.from_dict({"image": pictures})
    similarities = rng.normal(size=(40, 3)).astype(np.float32)
    rows = np.stack([rng.permutation(24)[:3] for _ in range(40)]).astype(np.int32)
    columns = {"triplet": rows, "similarities": similarities, "odd": 2 - similarities.argmax(1).astype(np.int8)}
    triplets = Dataset.from_dict(columns)
    images.save_to_disk(DATA / "images")
    splits = DatasetDict(train=triplets.select(range(32)), far=triplets.select(range(32, 40)))
    splits.save_to_disk(DATA / "triplets")
    return images, triplets


def trainer_of(directory: str, repository: str, lora: bool = False, **settings: Any) -> AlignTrainer:
    torch.manual_seed(0)
    encoder = VisionEncoder.from_pretrained(str(BASE))
    if lora:
        encoder.add_lora(LoraConfig(r=2, target_modules="all-linear"))
    defaults: dict[str, Any] = {
        "push_to_hub": True,
        "hub_model_id": repository,
        "hub_strategy": "checkpoint",
        "hub_always_push": True,
        "max_steps": 4,
        "save_steps": 1,
        "per_device_train_batch_size": 8,
        "learning_rate": 1e-3,
        "disable_tqdm": True,
    }
    args = AlignTrainingArguments(output_dir=str(ROOT / directory), **(defaults | settings))
    images, triplets = data()
    trainer = AlignTrainer(
        encoder, args, train_dataset=triplets, eval_dataset=triplets.select(range(20)), images=images
    )
    evaluation_loop = trainer.evaluation_loop

    def measured(*args: Any, **kwargs: Any) -> EvalLoopOutput:
        output = evaluation_loop(*args, **kwargs)
        metrics = {**(output.metrics or {}), "eval_agreement": AGREEMENT[trainer.state.global_step - 1]}
        return output._replace(metrics=metrics)

    trainer.evaluation_loop = measured  # type: ignore[method-assign]
    return trainer


def commit_of(repository: str, title: str) -> str:
    return next(c.commit_id for c in HfApi().list_repo_commits(repository) if c.title == title)


def goes_on(directory: str, repository: str, whole: AlignTrainer, **settings: Any) -> bool:
    """Whether a run from a shared checkpoint, in a directory of its own, ends at the weights of the whole run."""
    again = trainer_of(directory, repository, push_to_hub=False, hub_strategy="end", **settings)
    again.train(find_checkpoint(str(again.output_dir), repository))
    ours, theirs = again.model.state_dict(), whole.model.state_dict()
    return again.state.global_step == 4 and all(torch.equal(ours[name], theirs[name]) for name in theirs)


def best() -> dict[str, Any]:
    """All weights, of which the best come before the last, while older checkpoints are deleted."""
    settings: dict[str, Any] = {
        "eval_strategy": "steps",
        "eval_steps": 1,
        "load_best_model_at_end": True,
        "save_total_limit": 1,
    }
    trainer = trainer_of("best", "tester/best", **settings)
    trainer.train()
    for name in ("training_args.bin", "optimizer.pt", "nohup.out", "runs/events", "projection.safetensors"):
        (ROOT / "best" / name).parent.mkdir(exist_ok=True)
        (ROOT / "best" / name).write_text(str(ROOT))
    trainer.push_to_hub(tags=["emoji"], license="mit")
    repository = f"tester/best@{commit_of('tester/best', 'checkpoint-3')}"
    return {
        "is_equal": goes_on("best2", repository, trainer, **settings),
        "checkpoints": sorted(path.name for path in (ROOT / "best2").glob("*check*")),
        "left": sorted({path.name for path in (ROOT / "best").glob(".*")} - OURS),
    }


def adapter() -> dict[str, Any]:
    """An adapter on a base that nobody else has, merged in the end, whose first checkpoint the Hub does not take."""
    trainer = trainer_of("adapter", "tester/adapter", lora=True)
    trainer.train()
    refused = ""
    try:
        trainer.push_to_hub()
    except ValueError as error:
        refused = str(error)
    repository = f"tester/adapter@{commit_of('tester/adapter', 'checkpoint-2')}"
    is_equal = goes_on("adapter2", repository, trainer, lora=True)
    trainer.save_model(_internal_call=True)  # here and there are adapters, which must not stay beside what is merged
    HfApi().upload_file(path_or_fileobj=b"{}", path_in_repo="adapter_config.json", repo_id="tester/adapter")
    trainer.model.merge_adapter()
    trainer.push_to_hub(blocking=False).result()
    config = json.loads((ROOT / "adapter/checkpoint-2/adapter_config.json").read_text())
    return {"is_equal": is_equal, "refused": refused, "base_here": config["base_model_name_or_path"]}


def slow() -> dict[str, Any]:
    """Training waits for no upload before its end, nor does what is uploaded go when its checkpoint goes."""
    is_over, replace_folder = threading.Event(), checkpoint_sharing.replace_folder

    class Release(TrainerCallback):
        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 4:
                is_over.set()

    def waiting(*args: Any, **kwargs: Any) -> None:
        assert is_over.wait(60)
        replace_folder(*args, **kwargs)

    checkpoint_sharing.replace_folder = waiting
    uploaded = {}
    for name, has_queue in (("slow", False), ("queue", True)):
        is_over.clear()
        trainer = trainer_of(name, f"tester/{name}", save_total_limit=1, hub_always_push=has_queue)
        trainer.add_callback(Release())
        trainer.train()
        uploaded[name] = [commit.title for commit in HfApi().list_repo_commits(f"tester/{name}")]
    checkpoint_sharing.replace_folder = replace_folder
    return {"uploaded": uploaded, "left": sorted(path.name for path in ROOT.glob("[sq][lu]*/*check*"))}


def interrupted() -> dict[str, Any]:
    """An error ends training while its first checkpoint is on the way; the second has a state that nobody can read."""

    class Trouble(TrainerCallback):
        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 3:
                raise KeyboardInterrupt

    def copied(checkpoint: Path, best: Path, copy: Path) -> None:
        copy_to_share(checkpoint, best, copy)
        if checkpoint.name == "checkpoint-2":
            json.loads("{")

    def late(*args: Any, **kwargs: Any) -> None:
        time.sleep(0.5)
        replace_folder(*args, **kwargs)

    replace_folder, copy_to_share = checkpoint_sharing.replace_folder, checkpoint_sharing._copy_to_share
    checkpoint_sharing.replace_folder, checkpoint_sharing._copy_to_share = late, copied
    trainer = trainer_of("interrupted", "tester/interrupted")
    trainer.add_callback(Trouble())
    try:
        trainer.train()
    except KeyboardInterrupt:
        uploaded = [commit.title for commit in HfApi().list_repo_commits("tester/interrupted")]
    checkpoint_sharing.replace_folder, checkpoint_sharing._copy_to_share = replace_folder, copy_to_share
    return {"uploaded": uploaded, "left": sorted({path.name for path in (ROOT / "interrupted").iterdir()} - OURS)}


def full() -> dict[str, Any]:
    """Nothing can be written for a checkpoint's copy; in the end the disk is full, and the Hub fails twice."""
    with output_folder(ROOT / "full", "align") as folder:
        (folder / ".shared").touch()
    trainer = trainer_of("full", "tester/full", hub_revision="next")
    trainer.train()
    told, before = [], resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (1000, before[0], before[0]):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        try:
            trainer.push_to_hub()
        except RunError as error:
            told.append(str(error))
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    trainer.push_to_hub()
    trainer.push_to_hub(revision="v2")
    with output_folder(ROOT / "named", "align") as folder:
        (folder / "README.md").mkdir()
    trainer = trainer_of("named", "", push_to_hub=False, hub_strategy="end", hub_model_id=None)
    try:
        trainer.push_to_hub()
    except RunError as error:
        told.append(str(error))
    try:
        trainer_of("hidden", "tester/full", hub_private_repo=True)
    except InputError as error:
        told.append(str(error))
    return {"told": told}


def recipe() -> dict[str, Any]:
    """The recipe, whose last push fails, and again from its checkpoint: exit statuses and what they say."""

    def said(directory: str, *extra: str) -> list[Any]:
        sys.argv = ["align.py", *command, "--output_dir", str(ROOT / directory), *extra]
        with redirect_stderr(io.StringIO()) as stderr:
            try:
                align.main()
            except SystemExit as exit:
                return [exit.code, stderr.getvalue().strip().splitlines()[-1]]
        return [0, ""]

    data()
    command = ["--model_name_or_path", str(BASE), "--images", str(DATA), "--triplets", str(DATA), "--max_steps", "4"]
    command += ["--per_device_train_batch_size", "8", "--learning_rate", "1e-3", "--save_steps", "2"]
    command += ["--disable_tqdm", "true"]
    sharing = ["--push_to_hub", "--hub_strategy", "checkpoint", "--hub_always_push", "--hub_model_id", "recipe"]
    seen = {"whole": said("recipe", *sharing), "files": sorted(path.name for path in (ROOT / "recipe").iterdir())}
    name = f"tester/recipe@{commit_of('tester/recipe', 'checkpoint-2')}"
    seen["resumed"] = said("recipe2", "--resume_from_checkpoint", name)
    seen["again"] = said("recipe2", "--resume_from_checkpoint", name)
    seen["missing"] = said("recipe3", "--resume_from_checkpoint", "tester/nothing")
    seen["empty"] = said(
        "recipe3", "--resume_from_checkpoint", f"tester/recipe@{commit_of('tester/recipe', 'initial commit')}"
    )
    seen["weights"] = [(ROOT / run / "model.safetensors").read_bytes().hex() for run in ("recipe", "recipe2")]
    return seen


def main() -> None:
    logging.basicConfig(stream=sys.stdout, level=logging.WARNING, format="%(message)s")
    save_tiny("dinov2", BASE)
    stages = (recipe, best, adapter, slow, interrupted, full)
    sys.stdout.write(json.dumps({stage.__name__: stage() for stage in stages}) + "\n")


if __name__ == "__main__":
    main()
