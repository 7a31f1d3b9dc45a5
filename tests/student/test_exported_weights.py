"""Evaluations during training measure the weights that would be exported, and change nothing."""

import logging

import numpy as np
import pytest
import torch
from peft import LoraConfig

from hf_alignet.encoder.vision_model import VisionEncoder
from hf_alignet.similarity import odd_one_out, triplet_similarities
from hf_alignet.student import AlignTrainer, AlignTrainingArguments, triplet_kl

SHARE = 0.3


@pytest.fixture
def make_trainer(tiny_directory, images, triplets, tmp_path):
    def make(name="out", family="dinov2", **settings):
        torch.manual_seed(0)
        encoder = VisionEncoder.from_pretrained(str(tiny_directory(family)))
        if family == "dinov2":  # whose training draws random numbers
            encoder.add_lora(LoraConfig(r=2, lora_dropout=0.5, init_lora_weights=False))
        defaults = {
            "max_steps": 6,
            "per_device_train_batch_size": 8,  # 5 batches an epoch
            "learning_rate": 1e-2,
            "warmup_steps": 0,
            "lr_scheduler_type": "constant",
            "logging_steps": 1,
            "interpolation": SHARE,
            "student_temperature": "20",
            "save_strategy": "no",
            "disable_tqdm": True,
        }
        args = AlignTrainingArguments(str(tmp_path / name), **(defaults | settings))
        held_out = triplets.select(range(25))
        return AlignTrainer(encoder, args, train_dataset=triplets, eval_dataset=held_out, images=images)

    return make


EVERY_STEP = {"eval_strategy": "steps", "eval_steps": 1}


def logged(trainer, name):
    return [entry[name] for entry in trainer.state.log_history if name in entry]


@pytest.mark.parametrize("settings", [{}, {"anchor_type": "penalty", "anchor_weight": 0.1}, {"interpolation": 1.0}])
@pytest.mark.cpu  # convolutions on a GPU need not give the same bits again
@pytest.mark.parametrize("family", ["dinov2", "resnet"])  # with an adapter, and with running statistics
def test_training_goes_on_as_if_nothing_had_been_evaluated(family, settings, make_trainer):
    runs = []
    for name, evaluation in (("plain", {}), ("evaluated", EVERY_STEP)):
        runs.append(make_trainer(name, family, **settings, **evaluation))  # which sets the seed
        runs[-1].train()
    plain, evaluated = runs
    assert logged(plain, "loss") == logged(evaluated, "loss") and len(logged(evaluated, "eval_loss")) == 6
    ours, theirs = plain.model.state_dict(), evaluated.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.cpu  # evaluations of one epoch would differ by rounding
@pytest.mark.parametrize("family", ["dinov2", "resnet"])
def test_metrics_are_those_of_weights_interpolated_by_hand(family, make_trainer, images, triplets):
    trainer = make_trainer(family=family, save_strategy="steps", save_steps=1, **EVERY_STEP)
    start = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    trainer.train()
    rows = torch.tensor(triplets["triplet"])[:25]
    teacher, odd = torch.tensor(triplets["similarities"])[:25], torch.tensor(triplets["odd"])[:25]
    expected = {"eval_agreement": [], "eval_loss": []}
    for step in range(1, 7):
        encoder = make_trainer("by hand", family).model
        encoder.load_weights(trainer.output_dir / f"checkpoint-{step}")
        trained = encoder.state_dict()
        between = {
            name: start[name] + SHARE * (tensor - start[name]) if tensor.is_floating_point() else tensor
            for name, tensor in trained.items()
        }
        encoder.load_state_dict(between)
        student = triplet_similarities(torch.from_numpy(encoder.embed(images, progress=False)), rows)
        expected["eval_loss"].append(triplet_kl(student, teacher, 20.0).mean().item())
        expected["eval_agreement"].append((odd_one_out(student) == odd).float().mean().item())
    for name, values in expected.items():
        np.testing.assert_allclose(logged(trainer, name), values, rtol=1e-5)
    assert len(set(logged(trainer, "eval_loss"))) == 6
    assert trainer.evaluate()["eval_loss"] == pytest.approx(
        expected["eval_loss"][-1], rel=1e-5
    )  # not interpolated twice


def test_best_model_is_the_best_after_interpolation(make_trainer):
    best = {
        "load_best_model_at_end": True,
        "metric_for_best_model": "eval_loss",
        "save_strategy": "steps",
        "save_steps": 1,
    }
    # The wrong way round, so that the last step is not the best
    trainer = make_trainer(greater_is_better=True, **best, **EVERY_STEP)
    trainer.train()
    values = logged(trainer, "eval_loss")
    assert trainer.state.best_global_step == 1 + int(np.argmax(values)) < 6
    assert trainer.evaluate()["eval_loss"] == pytest.approx(max(values), rel=1e-6)
    trainer.save_model()
    exported = VisionEncoder.from_pretrained(str(trainer.output_dir)).state_dict()
    ours = trainer.model.cpu().state_dict()
    assert all(torch.equal(exported[name], ours[name]) for name in exported)


def test_evaluated_run_that_is_resumed_equals_one_that_was_not(make_trainer):
    saving = {"save_strategy": "steps", "save_steps": 2, **EVERY_STEP}
    whole, again = make_trainer("whole", **saving), make_trainer("again", **saving)
    whole.train()
    again.train(resume_from_checkpoint=str(whole.output_dir / "checkpoint-4"))
    for name in ("loss", "eval_loss", "eval_agreement"):
        assert logged(again, name) == logged(whole, name)
    ours, theirs = again.model.state_dict(), whole.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_interrupted_evaluation_leaves_the_trained_weights(make_trainer, monkeypatch):
    trainer = make_trainer(max_steps=1, **EVERY_STEP)
    seen = {}

    def interrupted(*args, **kwargs):
        seen.update({n: p.detach().clone() for n, p in trainer.anchor.parameters.items()})
        raise KeyboardInterrupt

    monkeypatch.setattr(VisionEncoder, "embed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    for name, parameter in trainer.anchor.parameters.items():
        start = trainer.anchor.snapshot[name]
        torch.testing.assert_close(seen[name], start + SHARE * (parameter - start))
    assert any(not torch.equal(seen[n], p) for n, p in trainer.anchor.parameters.items())


METRIC = {"value": 0.5, "n": 9, "chance": 1 / 3, "ci95": [0.4, 0.6]}


@pytest.mark.parametrize(("share", "undone"), [(0.3, "70 %"), (1.0, None)])
def test_log_and_card_say_how_much_of_the_training_is_undone(share, undone, make_trainer, caplog):
    trainer = make_trainer(interpolation=share, max_steps=1)
    with caplog.at_level(logging.INFO):
        trainer.train()
    trainer.save_results({"a/b/odd_one_out_accuracy": METRIC}, {"a/b/odd_one_out_accuracy": METRIC})
    trainer.model.merge_adapter()  # others could not open an adapter of a local model
    trainer.create_model_card()
    text = "The exported weights lie 0.3 of the way from the initial weights to the trained ones (`interpolation`)"
    for said in (caplog.text, (trainer.output_dir / "README.md").read_text()):
        assert (f"{text}: {undone} of the training is undone." in said) == (undone is not None)
        assert ("is undone" in said) == (undone is not None)
