import inspect
import itertools
import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset, Features
from datasets import Image as ImageFeature
from peft import LoraConfig
from PIL import Image
from transformers import AutoModel, Trainer, TrainingArguments, pipeline

from hf_alignet.encoder.transform import AffineTransform
from hf_alignet.encoder.vision_model import VisionEncoder
from hf_alignet.errors import InputError, RunError
from hf_alignet.similarity import choice_log_probabilities, odd_one_out, triplet_similarities
from hf_alignet.storage import OURS
from hf_alignet.student import AlignTrainer, AlignTrainingArguments, TripletCollator, triplet_kl
from hf_alignet.student.losses import triplet_hard, triplet_jsd
from hf_alignet.student.temperature import calibration_sample
from hf_alignet.triplets import TeacherVectors, triplets_from_arrays

# Its name from transformers 5.23 on, and before
CHECKPOINTING = next(
    name for name in ("activation_checkpointing", "gradient_checkpointing") if hasattr(TrainingArguments, name)
)


def arguments(tmp_path, **settings) -> AlignTrainingArguments:
    defaults: dict[str, Any] = {
        "max_steps": 4,
        "per_device_train_batch_size": 8,
        "learning_rate": 1e-3,
        "interpolation": 1.0,
        "last_blocks": "all",
        "warmup_steps": 0,
        "lr_scheduler_type": "constant",
        "logging_steps": 1,
        "save_strategy": "no",
        "disable_tqdm": True,
    }
    return AlignTrainingArguments(output_dir=str(tmp_path / "out"), **(defaults | settings))


@pytest.fixture
def encoder(tiny_directory):
    return VisionEncoder.from_pretrained(str(tiny_directory("dinov2")))


def weights(encoder):
    return {name: parameter.detach().cpu().clone() for name, parameter in encoder.model.named_parameters()}


def losses(trainer):
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def test_full_training_changes_every_used_weight(encoder, images, triplets, tmp_path):
    before = weights(encoder)
    trainer = AlignTrainer(encoder, arguments(tmp_path), train_dataset=triplets, images=images)
    trainer.train()
    changed = {name for name, tensor in weights(encoder).items() if not torch.equal(tensor, before[name])}
    assert changed == set(before) - {"embeddings.mask_token"}


def test_adapter_training_changes_the_adapter_alone(encoder, images, triplets, tmp_path):
    encoder.add_lora(LoraConfig(r=2, target_modules="all-linear"))
    before = weights(encoder)
    AlignTrainer(encoder, arguments(tmp_path), train_dataset=triplets, images=images).train()
    for name, tensor in weights(encoder).items():
        assert torch.equal(tensor, before[name]) == ("lora_" not in name), name


@pytest.mark.parametrize("loss_type", ["kl", "jsd", "hard"])
def test_first_loss_equals_a_loop(loss_type, encoder, images, triplets, tmp_path):
    args = arguments(tmp_path, loss_type=loss_type, student_temperature="3.0", max_steps=1)
    embeddings = encoder.embed(images, progress=False)
    trainer = AlignTrainer(encoder, args, train_dataset=triplets.select(range(8)), images=images)
    trainer.train()
    expected = []
    for row in triplets.select(range(8)):
        a, b, c = embeddings[row["triplet"]].astype(float)
        q = np.exp(np.array([a @ b, a @ c, b @ c]) / 3.0)
        p = np.exp(row["similarities"])
        q, p = q / q.sum(), p / p.sum()
        m = (p + q) / 2
        kl = {"kl": (p * np.log(p / q)).sum(), "hard": -np.log(q[2 - row["odd"]])}
        kl["jsd"] = 0.5 * ((p * np.log(p / m)).sum() + (q * np.log(q / m)).sum())
        expected.append(kl[loss_type])
    assert losses(trainer)[0] == pytest.approx(np.mean(expected), rel=1e-4)


def planted(num_images: int, seed: int) -> tuple[Dataset, np.ndarray]:
    """Pictures in one of four faint tints and any brightness, and one-hot teacher embeddings of the tint."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(4, size=num_images)
    tints = np.array([[1, -1, -1], [-1, 1, -1], [-1, -1, 1], [1, 1, -2]])
    colours = rng.integers(60, 190, (num_images, 1)) + 25 * tints[kind] + rng.integers(-5, 6, (num_images, 3))
    pixels = np.tile(colours[:, None, None].astype(np.uint8), (1, 32, 32, 1))
    dataset = Dataset.from_dict(
        {"image": [Image.fromarray(p) for p in pixels]}, features=Features({"image": ImageFeature()})
    )
    return dataset, 2.0 * np.eye(4, dtype=np.float32)[kind]


def labelled(rows: np.ndarray, teacher: np.ndarray) -> Dataset:
    similarities = triplet_similarities(torch.from_numpy(teacher), torch.from_numpy(rows))
    odd = odd_one_out(similarities)
    keep = (odd >= 0).numpy()
    return Dataset.from_dict(
        {"triplet": rows[keep], "similarities": similarities.numpy()[keep], "odd": odd.numpy()[keep]}
    )


def test_alignment_generalises_to_pictures_never_seen(tiny_directory, tmp_path):
    images, teacher = planted(160, seed=0)
    rng = np.random.default_rng(1)
    draw = lambda low, high, n: np.stack([low + rng.permutation(high - low)[:3] for _ in range(n)])  # noqa: E731
    train, held_out = labelled(draw(0, 120, 1500), teacher), labelled(draw(120, 160, 500), teacher)
    args = arguments(tmp_path, max_steps=40, per_device_train_batch_size=32, learning_rate=3e-3)
    trainer = AlignTrainer(
        str(tiny_directory("vit_classifier")), args, train_dataset=train, eval_dataset=held_out, images=images
    )
    before = trainer.evaluate()
    trainer.train()
    after = trainer.evaluate()
    assert before["eval_agreement"] < 0.75 < 0.95 < after["eval_agreement"]
    assert after["eval_loss"] < 0.5 * before["eval_loss"]
    assert np.mean(losses(trainer)[-5:]) < 0.5 * np.mean(losses(trainer)[:5])


def test_evaluation_is_exact_and_of_the_exported_embedding(encoder, images, triplets, tmp_path):
    args = arguments(tmp_path, projection_dim=5)
    trainer = AlignTrainer(encoder, args, train_dataset=triplets, eval_dataset=triplets, images=images)
    metrics = trainer.evaluate()
    embeddings = torch.from_numpy(encoder.embed(images, progress=False))
    student = triplet_similarities(embeddings, torch.tensor(triplets["triplet"]))
    teacher = torch.tensor(triplets["similarities"])
    agreement = (odd_one_out(student) == torch.tensor(triplets["odd"])).float().mean()
    assert metrics["eval_agreement"] == pytest.approx(agreement.item())
    loss = triplet_kl(student, teacher, trainer.exported_temperature).mean()
    assert metrics["eval_loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert trainer.exported_temperature != trainer.student_temperature
    assert metrics["eval_student_entropy"] == pytest.approx(metrics["eval_teacher_entropy"], rel=0.05)


def test_several_held_out_sets_are_measured_apart(encoder, images, triplets, tmp_path):
    held_out = {"near": triplets.select(range(10)), "far": triplets.select(range(10, 40))}
    metrics = AlignTrainer(
        encoder, arguments(tmp_path), train_dataset=triplets, eval_dataset=held_out, images=images
    ).evaluate()
    assert {"eval_near_agreement", "eval_far_agreement", "eval_near_loss", "eval_far_loss"} <= set(metrics)


def test_auto_temperature_matches_entropies_and_is_saved(encoder, images, triplets, tmp_path):
    trainer = AlignTrainer(encoder, arguments(tmp_path), train_dataset=triplets, images=images)
    trainer.calibrate()
    embeddings = torch.from_numpy(encoder.embed(images, progress=False))
    student = triplet_similarities(embeddings, torch.tensor(triplets["triplet"]))
    entropy = torch.special.entr(choice_log_probabilities(student, trainer.student_temperature).exp()).sum(-1).mean()
    target = torch.special.entr(torch.softmax(torch.tensor(triplets["similarities"]), -1)).sum(-1).mean()
    assert entropy.item() == pytest.approx(target.item(), abs=1e-4)
    trainer.save_model()
    saved = json.loads((trainer.output_dir / "alignment.json").read_text())
    assert saved["student_temperature"] == trainer.student_temperature
    trainer.train()
    assert {"student_temperature": trainer.student_temperature}.items() <= trainer.state.log_history[0].items()
    assert sum("student_temperature" in entry for entry in trainer.state.log_history) == 1


def test_logs_hold_the_parts_of_the_loss_and_the_rates(encoder, images, triplets, tmp_path):
    args = arguments(tmp_path, anchor_type="penalty", anchor_weight=0.5, learning_rate=1e-2)
    trainer = AlignTrainer(encoder, args, train_dataset=triplets, images=images)
    trainer.train()
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    for entry in logs:
        assert entry["loss"] == pytest.approx(entry["loss_triplet"] + entry["loss_anchor"], rel=1e-3)
        assert 0 <= entry["agreement"] <= 1 and 0 < entry["student_entropy"] < math.log(3)
        assert entry["images_per_second"] > 0 and entry["triplets_per_second"] > 0
    assert logs[0]["loss_anchor"] == 0 < logs[-1]["loss_anchor"]


def test_accumulated_steps_equal_one_large_step(tiny_directory, images, triplets, tmp_path):
    runs = []
    for batch, steps in ((8, 1), (2, 4), (1, 8)):
        encoder = VisionEncoder.from_pretrained(str(tiny_directory("dinov2")))
        args = arguments(
            tmp_path,
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=steps,
            anchor_type="penalty",
            optim="sgd",
            student_temperature="1.0",
        )
        trainer = AlignTrainer(encoder, args, train_dataset=triplets, images=images)
        trainer.train()
        runs.append((losses(trainer), weights(encoder)))
    for losses_, weights_ in runs[1:]:
        np.testing.assert_allclose(runs[0][0], losses_, rtol=1e-5)
        for name, tensor in runs[0][1].items():
            torch.testing.assert_close(tensor, weights_[name], atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("anchor_type", ["decoupled", "penalty"])
def test_two_steps_and_two_more_equal_four(lora, anchor_type, tiny_directory, images, triplets, tmp_path):
    def trainer(name, **settings):
        torch.manual_seed(0)
        encoder = VisionEncoder.from_pretrained(str(tiny_directory("dinov2")))
        if lora:
            encoder.add_lora(LoraConfig(r=2, target_modules="all-linear"))
        settings |= {"anchor_type": anchor_type, "anchor_weight": 20.0, "projection_dim": 6}
        return AlignTrainer(encoder, arguments(tmp_path / name, **settings), train_dataset=triplets, images=images)

    whole = trainer("whole")
    whole.train()
    first = trainer("halves", save_strategy="steps", save_steps=2)
    first.train()
    second = trainer("halves")
    assert second.student_temperature is None
    second.train(resume_from_checkpoint=str(first.output_dir / "checkpoint-2"))
    assert second.state.global_step == 4
    assert second.student_temperature == whole.student_temperature
    assert losses(second)[-2:] == losses(whole)[-2:]
    for (name, ours), theirs in zip(second.model.named_parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(ours, theirs), name


@pytest.mark.parametrize("anchor_type", ["decoupled", "penalty"])
def test_strong_anchor_holds_the_weights(anchor_type, encoder, images, triplets, tmp_path):
    before = weights(encoder)
    distances = {}
    for weight in (0.0, 50.0):
        encoder.model.load_state_dict(before, strict=False)
        args = arguments(tmp_path, anchor_type=anchor_type, anchor_weight=weight, max_steps=20)
        AlignTrainer(encoder, args, train_dataset=triplets, images=images).train()
        distances[weight] = sum((t - before[n]).square().sum().item() for n, t in weights(encoder).items())
    assert distances[50.0] < 0.5 * distances[0.0]


def test_anchor_is_the_adapter_as_it_was_given(encoder, images, triplets, tmp_path):
    encoder.add_lora(LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False))
    before = weights(encoder)
    # lr * weight = 1 pulls all the way back before every step, so that only the last step is left
    args = arguments(tmp_path, anchor_weight=1000.0, learning_rate=1e-3, optim="sgd", max_steps=3)
    AlignTrainer(encoder, args, train_dataset=triplets, images=images).train()
    moved = {n: (t - before[n]).abs().max().item() for n, t in weights(encoder).items() if "lora_" in n}
    assert max(moved.values()) < 1e-2 and max(moved.values()) > 0


def test_output_is_a_plain_model_without_pickles(encoder, images, triplets, tmp_path):
    args = arguments(tmp_path, save_strategy="steps", save_steps=2)
    trainer = AlignTrainer(encoder, args, train_dataset=triplets, images=images)
    trainer.train()
    trainer.save_model()
    out = trainer.output_dir
    files = {path.name for path in out.iterdir() if path.is_file()} - OURS
    weights = {"config.json", "model.safetensors", "preprocessor_config.json", "alignment.json"}
    assert files == weights | {"modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"}
    assert not (out / "checkpoint-4" / "training_args.bin").exists()
    embeddings = encoder.embed(images, progress=False)
    extract = pipeline("image-feature-extraction", model=str(out))
    for row in (0, 7):
        hidden = torch.tensor(extract(images[row]["image"]))
        np.testing.assert_allclose(hidden[0, 0], embeddings[row], atol=1e-4)
    assert type(AutoModel.from_pretrained(out)).__name__ == "Dinov2Model"
    np.testing.assert_allclose(
        VisionEncoder.from_pretrained(str(out)).embed(images, progress=False), embeddings, atol=1e-5
    )


def test_pooling_is_remembered(tiny_directory, images, triplets, tmp_path):
    encoder = VisionEncoder.from_pretrained(str(tiny_directory("dinov2")), pooling="mean")
    trainer = AlignTrainer(encoder, arguments(tmp_path), train_dataset=triplets, images=images)
    trainer.save_model()
    assert VisionEncoder.from_pretrained(str(trainer.output_dir)).pooling == "mean"


def test_best_model_is_loaded_at_the_end(encoder, images, triplets, tmp_path):
    args = arguments(
        tmp_path,
        eval_strategy="steps",
        eval_steps=1,
        save_strategy="steps",
        save_steps=1,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        greater_is_better=True,  # the wrong way round, so that the last step is not the best
    )
    trainer = AlignTrainer(
        encoder, args, train_dataset=triplets, eval_dataset=triplets.select(range(20)), images=images
    )
    trainer.train()
    history = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    assert trainer.evaluate()["eval_loss"] == pytest.approx(max(history), rel=1e-5)
    assert max(history) > history[-1]


@pytest.mark.parametrize("settings", [{"bf16": True}, {CHECKPOINTING: True}, {"similarity": "cosine"}])
def test_other_settings_train(settings, encoder, images, triplets, tmp_path):
    trainer = AlignTrainer(encoder, arguments(tmp_path, **settings), train_dataset=triplets, images=images)
    trainer.train()
    assert len(losses(trainer)) == 4 and np.isfinite(losses(trainer)).all()
    assert all(parameter.dtype == torch.float32 for parameter in encoder.parameters())


def test_human_choices_alone_train_the_hard_loss(encoder, images, triplets, tmp_path):
    choices = triplets.remove_columns("similarities")
    trainer = AlignTrainer(
        encoder, arguments(tmp_path, loss_type="hard"), train_dataset=choices, eval_dataset=choices, images=images
    )
    trainer.train()
    assert "eval_agreement" in trainer.evaluate()


def test_worker_processes_change_nothing(tiny_directory, images, triplets, tmp_path):
    runs = []
    for workers in (0, 2):
        encoder = VisionEncoder.from_pretrained(str(tiny_directory("vit")))
        args = arguments(tmp_path, dataloader_num_workers=workers, max_steps=2)
        trainer = AlignTrainer(encoder, args, train_dataset=triplets, images=images)
        trainer.train()
        runs.append(losses(trainer))
    assert runs[0] == runs[1]


def test_the_reader_knows_how_many_workers_it_needs(encoder, images, triplets, tmp_path, monkeypatch):
    args = arguments(tmp_path)
    args.dataloader_num_workers = None  # as where there is a GPU
    trainer = AlignTrainer(encoder, args, train_dataset=triplets, images=images)
    monkeypatch.setattr(trainer.reader, "default_workers", lambda num_batches=None: 3)
    assert trainer.get_train_dataloader().num_workers == 3
    assert args.dataloader_num_workers is args.embed_options()["num_workers"] is None  # another trainer may use them


# ---- what cannot work says why


def with_value(triplets, column, row, value):
    values = triplets[column][:]
    values[row] = value
    return triplets.remove_columns(column).add_column(column, values)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("triplet", [0, 1, 24], r"row 5 of the 'train' triplets points outside the 24 images: \[0, 1, 24\]"),
        ("triplet", [-1, 1, 2], r"row 5 .* points outside"),
        ("triplet", [3, 1, 3], r"row 5 .* names an image twice"),
        ("similarities", [0.0, math.nan, 1.0], r"row 5 .* similarity that is not finite"),
        ("similarities", [0.0, math.inf, 1.0], r"row 5 .* similarity that is not finite"),
    ],
)
def test_bad_triplets(column, value, message, encoder, images, triplets, tmp_path):
    with pytest.raises(InputError, match=message):
        AlignTrainer(encoder, arguments(tmp_path), train_dataset=with_value(triplets, column, 5, value), images=images)


def test_missing_columns_are_named_with_those_there(encoder, images, triplets, tmp_path):
    with pytest.raises(InputError, match="lack the column 'similarities'; there are triplet, odd"):
        AlignTrainer(
            encoder, arguments(tmp_path), train_dataset=triplets.remove_columns("similarities"), images=images
        )
    with pytest.raises(InputError, match="need a column 'image'; there are title"):
        AlignTrainer(
            encoder, arguments(tmp_path), train_dataset=triplets, images=Dataset.from_dict({"title": ["a"] * 24})
        )
    with pytest.raises(InputError, match="must hold datasets.Image"):
        AlignTrainer(
            encoder, arguments(tmp_path), train_dataset=triplets, images=Dataset.from_dict({"image": [1] * 24})
        )


def test_nothing_to_train(encoder, images, triplets, tmp_path):
    encoder.model.requires_grad_(False)
    with pytest.raises(InputError, match="no trainable parameter"):
        AlignTrainer(encoder, arguments(tmp_path), train_dataset=triplets, images=images)


def test_loss_that_is_not_finite_stops_the_run(encoder, images, triplets, tmp_path):
    with torch.no_grad():
        encoder.model.layernorm.weight.fill_(math.nan)
    args = arguments(tmp_path, student_temperature="1.0")
    with pytest.raises(RunError, match="the loss is not finite at step 1: try a lower `learning_rate`$"):
        AlignTrainer(encoder, args, train_dataset=triplets, images=images).train()


# ---- in-batch triplets


@pytest.fixture
def teacher():
    """Vectors of 20 of the 24 images, in five clusters."""
    vectors = np.random.default_rng(3).normal(size=(20, 6)).astype(np.float32)
    return TeacherVectors(np.arange(2, 22), vectors, np.arange(20) % 5)


def in_batch(tmp_path, **settings):
    settings = {"per_device_train_batch_size": 6, "images_per_cluster": 2, "num_train_epochs": 9} | settings
    return arguments(tmp_path, **settings)


@pytest.mark.parametrize(("given", "number"), [("auto", 2), (3, 3)])
def test_images_of_a_cluster(given, number, encoder, images, teacher, tmp_path):
    args = in_batch(tmp_path, images_per_cluster=given)
    trainer = AlignTrainer(encoder, args, train_dataset=teacher, images=images)
    batch = teacher.clusters[list(trainer._get_train_sampler())[:6]]
    assert (np.unique(batch, return_counts=True)[1] == number).all()
    assert trainer.alignment()["images_per_cluster"] == number


@pytest.mark.parametrize("loss_type", ["kl", "jsd", "hard"])
def test_in_batch_loss_is_that_of_all_its_triplets(loss_type, encoder, images, teacher, tmp_path):
    args = in_batch(tmp_path, loss_type=loss_type, student_temperature="20", max_steps=1)
    trainer = AlignTrainer(encoder, args, train_dataset=teacher, images=images)
    batch = np.array(list(trainer._get_train_sampler())[:6])
    embeddings = encoder.embed(images, progress=False)[teacher.rows[batch]]
    triplets = list(itertools.combinations(range(6), 3))
    rows = teacher.rows[batch][np.array(triplets)]
    labelled = triplets_from_arrays(
        rows, triplet_similarities(torch.from_numpy(teacher.vectors[batch]), torch.tensor(triplets))
    )
    student = triplet_similarities(torch.from_numpy(embeddings), torch.tensor(triplets))
    loss = {"kl": triplet_kl, "jsd": triplet_jsd, "hard": triplet_hard}[loss_type]
    target = torch.tensor(labelled["odd" if loss_type == "hard" else "similarities"][:])
    trainer.train()
    assert losses(trainer)[0] == pytest.approx(loss(student, target, 20.0).mean().item(), rel=1e-4)


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("anchor_type", ["decoupled", "penalty"])
def test_in_batch_two_steps_and_two_more_equal_four(lora, anchor_type, tiny_directory, images, teacher, tmp_path):
    final = []
    for name, first in (("whole", 4), ("halves", 2)):
        encoder = VisionEncoder.from_pretrained(str(tiny_directory("dinov2")))
        if lora:
            torch.manual_seed(0)
            encoder.add_lora(LoraConfig(r=2, target_modules="all-linear"))
        settings = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2, "triplets_per_batch": 9}
        args = in_batch(tmp_path / name, anchor_type=anchor_type, **settings)
        trainer = AlignTrainer(encoder, args, train_dataset=teacher, images=images)
        trainer.train()
        if first == 2:  # as if it had been killed after the checkpoint of step 2
            trainer.train(resume_from_checkpoint=str(trainer.output_dir / "checkpoint-2"))
        final.append(weights(encoder))
    assert all(torch.equal(final[0][name], final[1][name]) for name in final[0])


def test_in_batch_temperature_matches_entropies(encoder, images, teacher, tmp_path):
    trainer = AlignTrainer(
        encoder, in_batch(tmp_path, max_steps=2, logging_steps=1), train_dataset=teacher, images=images
    )
    trainer.calibrate()
    sample = calibration_sample(teacher, "similarities", trainer._get_train_sampler(), 6, trainer.args.seed)
    assert set(np.unique(np.array(sample["triplet"][:]))) <= set(teacher.rows)
    embeddings = torch.from_numpy(encoder.embed(images, progress=False))
    student = triplet_similarities(embeddings, torch.tensor(sample["triplet"][:]))
    ours = torch.special.entr(choice_log_probabilities(student, trainer.student_temperature).exp()).sum(-1).mean()
    theirs = torch.special.entr(torch.softmax(torch.tensor(sample["similarities"][:]), -1)).sum(-1).mean()
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-4)
    assert trainer.alignment()["triplet_source"] == "batch"


def test_in_batch_ties_are_no_choices(encoder, images, tmp_path):
    of_classes = TeacherVectors(np.arange(12), np.eye(2)[np.arange(12) % 2], np.arange(12) % 2)
    args = in_batch(tmp_path, loss_type="hard", per_device_train_batch_size=4, max_steps=2)
    trainer = AlignTrainer(encoder, args, train_dataset=of_classes, images=images)
    trainer.train()
    batch = trainer.data_collator([of_classes[i] for i in (0, 2, 4, 1)])  # three of one class
    embeddings = torch.randn(4, 5)
    decided = triplet_similarities(embeddings, torch.tensor([[0, 1, 3], [0, 2, 3], [1, 2, 3]]))
    expected = triplet_hard(decided, torch.tensor([2, 2, 2]), 3.0).mean().item()
    measured = trainer.criterion.measure_batch(embeddings, batch["similarities"], 3.0)
    assert measured["loss"].item() == pytest.approx(expected, rel=1e-6)
    with pytest.raises(InputError, match="undecided about every triplet"):
        trainer.data_collator([of_classes[i] for i in (0, 2, 4)])


def test_an_encoder_with_a_transform_is_no_student(encoder, images, triplets, tmp_path):
    encoder.add_transform(AffineTransform.identity(32))
    with pytest.raises(InputError, match="the encoder has a transform"):
        AlignTrainer(encoder, arguments(tmp_path), train_dataset=triplets, images=images)


def test_arguments_come_in_the_order_of_trainer(encoder, images, triplets, tmp_path, monkeypatch):
    ours, names = (
        inspect.signature(AlignTrainer.__init__).parameters,
        list(inspect.signature(Trainer.__init__).parameters),
    )
    assert list(ours)[:7] == names[:7] and names[2:7] == [
        *("args", "data_collator", "train_dataset", "eval_dataset", "processing_class")
    ]
    assert ours["images"].kind is inspect.Parameter.KEYWORD_ONLY
    monkeypatch.chdir(tmp_path)
    trainer = AlignTrainer(encoder, train_dataset=triplets, images=images)
    assert str(trainer.output_dir) == "outputs/aligned" and trainer.args.interpolation == "auto"
    with pytest.raises(TypeError, match="compute_metrics"):  # which nothing would call
        AlignTrainer(encoder, train_dataset=triplets, images=images, compute_metrics=print)


def test_a_collator_of_the_users_own_makes_the_batches(encoder, images, triplets, tmp_path):
    sizes = []

    class Counting(TripletCollator):
        def __call__(self, rows):
            sizes.append(len(rows))
            return super().__call__(rows)

    collator = Counting(images, encoder.preprocessor, "similarities")
    AlignTrainer(encoder, arguments(tmp_path), collator, triplets, images=images).train()
    assert len(sizes) >= 4 and set(sizes) == {8}  # one may be read ahead
