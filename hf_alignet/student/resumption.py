"""What a checkpoint says of its run, in `run.json`, so that nobody goes on with another run without a word."""

import contextlib
import hashlib
import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from safetensors import SafetensorError
from transformers import TrainerState
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME, TRAINER_STATE_NAME

from hf_alignet.encoder.model import Encoder
from hf_alignet.errors import InputError
from hf_alignet.images.picture_record import PictureRecord
from hf_alignet.images.reader import Reader
from hf_alignet.student.training_arguments import AlignTrainingArguments
from hf_alignet.student.training_data import training_rows
from hf_alignet.text_files import parse_json
from hf_alignet.triplets.batches import TeacherVectors
from hf_alignet.triplets.triplet_dataset import column

RUN_FILE = "run.json"
NEEDED = {TRAINER_STATE_NAME: TRAINER_STATE_NAME, OPTIMIZER_NAME: OPTIMIZER_NAME, SCHEDULER_NAME: SCHEDULER_NAME}
NEEDED |= {"weights": "*.safetensors", "states of random generators": "rng_state*.pth"}
DAMAGES = (OSError, ValueError, RuntimeError, KeyError, TypeError, EOFError, pickle.UnpicklingError, SafetensorError)
# Settings that the weights depend on
SETTINGS = (
    *("loss_type", "similarity", "student_temperature", "teacher_temperature", "anchor_type", "anchor_weight"),
    *("preserve_weight", "last_blocks"),
    *("projection_dim", "images_per_cluster", "triplets_per_batch", "augment", "seed", "data_seed", "optim"),
    *("optim_args", "learning_rate", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "weight_decay"),
    *("adam_beta1", "adam_beta2", "adam_epsilon", "max_grad_norm", "train_sampling_strategy", "dataloader_drop_last"),
)
# Those that may change, and are said: to train longer, to export other weights, or to go on with another machine
MAY_CHANGE = ("num_train_epochs", "max_steps", "interpolation", "bf16", "fp16", "processes")
# Settings of an adapter that its weights do not show
OF_ADAPTER = ("lora_alpha", "lora_dropout", "use_rslora", "use_dora", "alpha_pattern")
HASHES = {
    "model": "the model has other weights at the start",
    "triplets": "the training triplets are others, or their labels by the teacher",
    "pictures": "the pictures are others",
}
SAMPLED_PICTURES = 64  # which stand for all: to read all could take hours


def describe_run(
    args: AlignTrainingArguments, encoder: Encoder, train: Dataset | TeacherVectors, images: Reader
) -> dict[str, Any]:
    """What the weights after training depend on, as JSON can hold it. All processes call it, before training."""
    given, facts = args.to_dict(), encoder.describe()
    rows = training_rows(train)
    sampled = rows[np.unique(np.linspace(0, len(rows) - 1, SAMPLED_PICTURES).astype(int))]
    found = {name: given.get(name) for name in (*SETTINGS, *MAY_CHANGE)}
    found |= {
        "processes": args.world_size,
        "batch_size": args.train_batch_size * args.gradient_accumulation_steps * args.world_size,
        "pooling": facts["pooling"],
        "model": facts["weights"],
        "adapter": {
            name: {setting: getattr(config, setting, None) for setting in OF_ADAPTER}
            for name, config in (encoder.model.peft_config.items() if encoder.is_adapter else ())
        },
        "triplets": _hash_arrays(train),
        "pictures": (
            PictureRecord.of(images.images.select(sampled), progress=False).fingerprint
            if isinstance(images.images, Dataset)
            else images.fingerprint
        ),
    }
    return json.loads(json.dumps(found, default=str))


def check_checkpoint(checkpoint: str | Path, run: dict[str, Any]) -> list[str]:
    """Refuses a checkpoint that is damaged, or that is not of the run that `describe_run` describes.

    Returns:
        What differs and may.

    Raises:
        InputError: a file is missing or cannot be read, or something else differs (names it).
    """
    folder = Path(checkpoint)
    if missing := [name for name, pattern in NEEDED.items() if not any(folder.glob(pattern))]:
        raise InputError(
            f"{folder} is no whole checkpoint, it has no {' and no '.join(missing)}: go on from another one, or start "
            "a new run from its weights"
        )
    with reading(folder):
        state = TrainerState.load_from_json(str(folder / TRAINER_STATE_NAME))
        if not isinstance(state.global_step, int):
            raise TypeError(f"its global_step is {state.global_step!r}")
        if not (folder / RUN_FILE).is_file():  # of version 0.2
            return [f"{folder} does not say what its run depended on"]
        found = parse_json((folder / RUN_FILE).read_text(encoding="utf-8"))
        differing = [name for name in found if name in run and found[name] != run[name]]
    told = {name: HASHES.get(name) or f"`{name}` is {run[name]!r}, and was {found[name]!r}" for name in differing}
    if refused := [words for name, words in told.items() if name not in MAY_CHANGE]:
        raise InputError(
            f"{folder} is of another run: {'; '.join(refused)}. Go on with the same, or start a new run in another "
            "`output_dir`"
        )
    return list(told.values())


@contextlib.contextmanager
def reading(checkpoint: str | Path | None) -> Iterator[None]:
    """Turns the errors that damaged files of a checkpoint cause into an InputError."""
    try:
        yield
    except InputError:
        raise
    except DAMAGES as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{checkpoint} is damaged: go on from another checkpoint: {reason}") from error


def _hash_arrays(train: Dataset | TeacherVectors) -> str:
    if isinstance(train, TeacherVectors):
        arrays = [train.rows, train.vectors, train.clusters]
    else:
        arrays = [column(train, name) for name in sorted(train.column_names)]
    digest = hashlib.blake2b(digest_size=16)
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
