import dataclasses
import json
import re

import numpy as np
import pytest
from transformers import TrainingArguments

from hf_alignet.encoder.vision_model import VisionEncoder
from hf_alignet.errors import InputError
from hf_alignet.student import AlignTrainer, AlignTrainingArguments
from hf_alignet.student.training_arguments import WITHOUT_EFFECT


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"student_temperature": "warm"},
            "`student_temperature` must be a finite number (above 0), or auto, got 'warm'",
        ),
        ({"student_temperature": "-1"}, "`student_temperature` must be a finite number (above 0), or auto, got -1.0"),
        ({"teacher_temperature": 0.0}, "`teacher_temperature` must be a finite number (above 0), got 0.0"),
        ({"anchor_weight": -1.0}, "`anchor_weight` must be a finite number (at least 0), got -1.0"),
        ({"interpolation": 0.0}, "`interpolation` must be a finite number (above 0 and at most 1), or auto, got 0.0"),
        ({"projection_dim": 0}, "`projection_dim` must be an integer (at least 1), got 0"),
        (
            {"early_stopping_patience": 0, "eval_strategy": "epoch"},
            "`early_stopping_patience` must be an integer (at least 1), got 0",
        ),
        ({"label_smoothing_factor": 0.1}, "`label_smoothing_factor` must be 0, as triplets have soft labels"),
        ({"bf16_full_eval": True}, "`bf16_full_eval` and `fp16_full_eval` would round the weights"),
        ({"augment": True, "train_sampling_strategy": "sequential", "num_train_epochs": 2}, "the same in every epoch"),
        (
            {"remove_unused_columns": True},
            "`remove_unused_columns` must be false, as the collator needs all columns, got True",
        ),
    ],
)
def test_bad_settings(settings, message, tmp_path):
    with pytest.raises(InputError, match=re.escape(message)):
        AlignTrainingArguments(str(tmp_path), **settings)


GIVEN = {"liger_kernel_config": {"rope": True}, "neftune_noise_alpha": 5.0, "eval_accumulation_steps": 2}
GIVEN |= {"include_num_input_tokens_seen": "all", "length_column_name": "size", "label_names": ["odd"]}
GIVEN |= {"include_for_metrics": ["loss"]}


@pytest.mark.parametrize("name", WITHOUT_EFFECT)
def test_settings_that_do_nothing_are_refused(name, tmp_path):
    value = GIVEN.get(name, not getattr(TrainingArguments(str(tmp_path)), name))
    with pytest.raises(
        InputError, match=f"`{name}` does nothing here, got {re.escape(repr(value))}: .*; leave it out"
    ):
        AlignTrainingArguments(str(tmp_path), **{name: value})


def test_settings_that_trainer_changes_itself_can_be_given_again(tmp_path):
    args = AlignTrainingArguments(str(tmp_path), eval_strategy="epoch")
    assert args.do_eval and dataclasses.replace(args, seed=7).seed == 7
    assert AlignTrainingArguments(str(tmp_path), include_num_input_tokens_seen=False).seed == 42


@pytest.mark.parametrize("strategy", ["group_by_length", "batch_rebalance"])
def test_triplets_have_no_lengths(strategy, tmp_path):
    with pytest.raises(InputError, match=f"must be random or sequential, got '{strategy}'"):
        AlignTrainingArguments(str(tmp_path), train_sampling_strategy=strategy)


NUMBERS = {
    "learning_rate": np.float32(0.001),
    "anchor_weight": np.float64(0.5),
    "interpolation": np.float64(0.25),
    "student_temperature": np.float32(20),
    "teacher_temperature": np.float64(2),
    "projection_dim": np.int64(6),
    "images_per_cluster": np.int64(2),
    "triplets_per_batch": np.int32(9),
    "images_per_forward": np.int16(5),
    "per_device_train_batch_size": np.int64(8),
    "warmup_steps": np.float64(0),
    "max_steps": np.int64(2),
    "save_steps": np.int64(1),
    "seed": np.int64(3),
    "augment": np.bool_(True),
    "hub_strategy": np.str_("end"),
}


def test_numbers_of_numpy_become_numbers_of_python(tiny_directory, images, triplets, tmp_path):
    args = AlignTrainingArguments(str(tmp_path), save_strategy="steps", disable_tqdm=True, **NUMBERS)
    for name, number in NUMBERS.items():
        value = getattr(args, name)
        assert value == number.item() and not isinstance(value, np.generic), name
    encoder = VisionEncoder.from_pretrained(str(tiny_directory("dinov2")))
    trainer = AlignTrainer(encoder, args, train_dataset=triplets, images=images)
    trainer.train()
    trainer.save_results({}, {})
    for file in (tmp_path / "alignment.json", tmp_path / "checkpoint-2" / "alignment.json"):
        saved = json.loads(file.read_text())
        for name in ("anchor_weight", "interpolation", "projection_dim", "augment", "seed", "learning_rate"):
            assert saved[name] == NUMBERS[name].item(), name
        assert saved["student_temperature"] == saved["exported_temperature"] == 20.0
    json.dumps(args.to_dict())


def test_names_on_the_hub_follow_the_directory_unless_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert AlignTrainingArguments().output_dir == "outputs/aligned"
    assert AlignTrainingArguments("outputs/mine").hub_name == "mine"
    assert AlignTrainingArguments(".").hub_name == tmp_path.name
    assert AlignTrainingArguments("outputs/mine", hub_model_id="user/model").hub_name == "user/model"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"lr_scheduler_kwargs": "x"}, "`lr_scheduler_kwargs` must be a JSON object, such as {}, got 'x'"),
        ({"lr_scheduler_kwargs": '{"nosuch": 1}'}, "do not fit `lr_scheduler_type`: .*nosuch"),
        ({"lr_scheduler_type": "warmup_stable_decay"}, "do not fit `lr_scheduler_type`: .*num_decay_steps"),
        ({"accelerator_config": "nowhere.json"}, "nowhere.json"),
        ({"torch_compile_mode": "nowhere"}, "`torch_compile_mode` must be one of default, reduce-overhead"),
        ({"dataloader_persistent_workers": True}, "must be false without `dataloader_num_workers`"),
        ({"dataloader_prefetch_factor": 2}, "must be left out without `dataloader_num_workers`"),
        (
            {"torch_compile": True, "images_per_forward": 2},
            "`images_per_forward=2` would make `torch_compile`",
        ),
        ({"eval_on_start": True}, "`eval_on_start` must be false without `eval_strategy`"),
    ],
)
def test_mappings_are_checked_before_training(setting, message, tmp_path):
    with pytest.raises(InputError, match=message):
        AlignTrainingArguments(output_dir=str(tmp_path), **setting)
    AlignTrainingArguments(output_dir=str(tmp_path), lr_scheduler_kwargs='{"num_cycles": 0.4}')
