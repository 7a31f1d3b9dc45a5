"""What trackers get to see."""

import json
import os
import sqlite3

import pytest

from hf_alignet.encoder.vision_model import VisionEncoder
from hf_alignet.student import AlignTrainer, AlignTrainingArguments

EXPECTED = {"loss", "loss_triplet", "loss_anchor", "agreement", "student_entropy", "teacher_entropy"}


def train(tracker, tiny_directory, images, triplets, tmp_path):
    args = AlignTrainingArguments(
        output_dir=str(tmp_path / "out"),
        max_steps=2,
        per_device_train_batch_size=8,
        logging_steps=1,
        save_strategy="no",
        eval_strategy="steps",
        eval_steps=1,
        disable_tqdm=True,
        report_to=tracker,
        run_name="a run",
        project="a_project",
    )
    encoder = VisionEncoder.from_pretrained(str(tiny_directory("dinov2")))
    trainer = AlignTrainer(
        encoder, args, train_dataset=triplets, eval_dataset=triplets.select(range(9)), images=images
    )
    trainer.train()
    trainer.end()
    return {k: v for entry in trainer.state.log_history for k, v in entry.items() if entry["step"] == 2}


def test_tensorboard(tiny_directory, images, triplets, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    logged = train("tensorboard", tiny_directory, images, triplets, tmp_path)
    (run,) = (tmp_path / "out" / "runs").iterdir()
    events = accumulator.EventAccumulator(str(run))
    events.Reload()
    tags = set(events.Tags()["scalars"])
    assert {f"train/{name}" for name in EXPECTED} | {"eval/agreement", "eval/loss"} <= tags
    assert events.Scalars("train/agreement")[-1].value == pytest.approx(logged["agreement"])


def test_trackio_keeps_to_this_machine(tiny_directory, images, triplets, tmp_path):
    directory = str(tmp_path)
    os.environ["TRACKIO_DIR"] = directory  # read once, when trackio is imported
    pytest.importorskip("trackio")
    logged = train("trackio", tiny_directory, images, triplets, tmp_path)
    with sqlite3.connect(os.path.join(directory, "a_project.db")) as database:
        rows = [json.loads(row) for (row,) in database.execute("select metrics from metrics")]
    seen = {name: value for row in rows for name, value in row.items()}
    assert {f"train/{name}" for name in EXPECTED} | {"eval/agreement"} <= set(seen)
    assert seen["train/agreement"] == pytest.approx(logged["agreement"])
