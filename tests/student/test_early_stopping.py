import json
from types import SimpleNamespace

import pytest
import torch
from transformers import TrainerCallback

from hf_alignet.encoder.vision_model import VisionEncoder
from hf_alignet.student import AlignTrainer, AlignTrainingArguments


class StopAfter(TrainerCallback):
    """As if interrupted after a step and its checkpoint."""

    def __init__(self, step: int):
        self.step = step

    def on_save(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step == self.step


@pytest.fixture
def make_trainer(tiny_directory, images, triplets, tmp_path):
    """A trainer whose evaluation after step i has the i-th of the given agreements."""

    def make(agreements, held_out=None, **settings):
        torch.manual_seed(0)
        encoder = VisionEncoder.from_pretrained(str(tiny_directory("dinov2")))
        defaults = {
            "max_steps": 9,
            "per_device_train_batch_size": 8,
            "warmup_steps": 0,
            "eval_strategy": "steps",
            "eval_steps": 1,
            "early_stopping_patience": 2,
            "student_temperature": "1.0",
            "disable_tqdm": True,
        }
        args = AlignTrainingArguments(str(tmp_path / "out"), **(defaults | settings))
        held_out = triplets.select(range(9)) if held_out is None else held_out
        trainer = AlignTrainer(encoder, args, train_dataset=triplets, eval_dataset=held_out, images=images)

        def measured(dataloader, *args, metric_key_prefix="eval", **kwargs):
            value = agreements[trainer.state.global_step - 1]
            values = value if isinstance(value, dict) else {"eval": value}
            metrics = {f"{metric_key_prefix}_agreement": values[metric_key_prefix], f"{metric_key_prefix}_loss": 1.0}
            return SimpleNamespace(metrics=metrics, num_samples=9)

        trainer.evaluation_loop = measured
        return trainer

    return make


@pytest.mark.parametrize(
    ("agreements", "warmup", "last"),
    [
        ([0.4, 0.6, 0.5, 0.6, 0.9], 0, 4),  # as good is no better
        ([0.9, 0.1, 0.1, 0.1, 0.1, 0.1], 3, 5),  # of steps 1 to 3 none counts, but the best one stays the best
        ([0.5, 0.6, 0.5, 0.7, 0.6, 0.8, 0.7, 0.75, 0.9], 0, 8),
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9], 0, 9),
    ],
)
def test_run_stops_after_so_many_evaluations_that_are_no_better(agreements, warmup, last, make_trainer):
    trainer = make_trainer(agreements, warmup_steps=warmup)
    trainer.train()
    assert trainer.state.global_step == last
    assert trainer.state.best_metric == max(agreements[:last])


def test_several_held_out_sets_count_once_by_their_mean(make_trainer, triplets):
    held_out = {"near": triplets.select(range(9)), "far": triplets.select(range(9, 18))}
    means = [{"eval_near": near, "eval_far": far} for near, far in [(0.4, 0.8), (0.9, 0.1), (0.1, 0.9), (0.9, 0.9)]]
    trainer = make_trainer(means, held_out)
    trainer.train()
    assert trainer.state.global_step == 3 and trainer.state.best_metric == pytest.approx(0.6)


@pytest.mark.parametrize("interrupted_after", [3, 4])
def test_count_survives_a_resume(interrupted_after, make_trainer):
    agreements = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]

    def trainer(*callbacks):
        made = make_trainer(agreements, early_stopping_patience=4)
        made.args.save_strategy, made.args.save_steps = "steps", 1  # not only at a new best
        for callback in callbacks:
            made.add_callback(callback)
        return made

    first = trainer(StopAfter(interrupted_after))
    first.train()
    assert first.state.global_step == interrupted_after
    checkpoint = first.output_dir / f"checkpoint-{interrupted_after}"
    saved = json.loads((checkpoint / "trainer_state.json").read_text())["stateful_callbacks"]["EarlyStopping"]
    assert saved["attributes"] == {"early_stopping_patience_counter": interrupted_after - 1}
    again = trainer()
    again.train(resume_from_checkpoint=str(checkpoint))
    assert again.state.global_step == 5  # four evaluations after the first
    again.train()  # anew, from nothing
    assert again.state.global_step == 5


def test_patience_may_be_set_when_a_run_is_resumed(make_trainer):
    agreements = [0.9, 0.8, 0.7, 0.95, 0.5, 0.4, 0.3, 0.2, 0.1]
    saving = {"save_strategy": "steps", "save_steps": 1}
    first = make_trainer(agreements, early_stopping_patience=None, **saving)
    first.add_callback(StopAfter(3))
    first.train()
    again = make_trainer(agreements)
    again.train(resume_from_checkpoint=str(first.output_dir / "checkpoint-3"))
    assert again.state.global_step == 6 and (again.output_dir / "checkpoint-4").is_dir()
