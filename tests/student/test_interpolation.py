"""`interpolation=auto`: the furthest share of the way at which the student knows what the base knew."""

import json

import numpy as np
import pytest
import torch

from hf_alignet import AlignTrainer, AlignTrainingArguments
from hf_alignet.encoder import VisionEncoder
from hf_alignet.errors import InputError
from hf_alignet.student.interpolation import SHARES, Knowledge, sample_rows


def classes(num_classes=12, size=20, spread=0.6, seed=0):
    """(n, 16) embeddings of classes that can be told apart, but not always."""
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(num_classes, 16)).repeat(size, axis=0)
    return torch.from_numpy(centers + spread * rng.normal(size=centers.shape)).float()


class Student:
    """Loses what the base knew from a share of the way on, and learns a little before."""

    def __init__(self, base, turning_point):
        self.base, self.turning_point, self.looks = base, turning_point, []
        self.noise = torch.from_numpy(np.random.default_rng(1).normal(size=base.shape)).float()
        self.centers = base.view(12, 20, 16).mean(1).repeat_interleave(20, 0)

    def embed(self, share):
        self.looks.append(share)
        learned = torch.lerp(self.base, self.centers, 0.2 * min(share, max(self.turning_point, 0)))
        return learned + 8 * max(0.0, share - self.turning_point) * self.noise


@pytest.mark.parametrize("last", SHARES)
def test_goes_as_far_as_nothing_is_lost_in_a_few_looks(last):
    student = Student(classes(), last + 0.02)
    knowledge = Knowledge(student.base, 0)
    assert 0.4 < knowledge.of_base.mean() < 0.99
    assert knowledge.furthest(student.embed) == last
    assert len(student.looks) <= 3


def test_a_student_that_only_forgets_goes_the_least_way():
    student = Student(classes(), -0.1)
    assert Knowledge(student.base, 0).furthest(student.embed) == SHARES[0]


def test_accuracy_is_that_of_a_loop_over_images():
    embeddings = classes(5, 12, 1.5)
    knowledge = Knowledge(embeddings, 3)
    x = ((embeddings - embeddings.mean(0)) / embeddings.std(0)).double().numpy()
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    hits = [[] for _ in range(60)]
    for clusters, draws in knowledge.tasks:
        for shots in draws:
            assert clusters[shots].tolist() == list(range(len(shots)))
            for i in set(range(60)) - set(shots.tolist()):
                hits[i].append(clusters[shots[np.argmax(x[shots] @ x[i])]] == clusters[i])
    expected = [np.mean(of_image) for of_image in hits]
    np.testing.assert_allclose(knowledge.accuracies(embeddings), expected, atol=1e-12)
    assert 0.2 < np.mean(expected) < 1


def test_scales_and_shifts_of_dimensions_change_nothing_and_a_tie_is_wrong():
    base = classes()
    knowledge = Knowledge(base, 0)
    stretched = base * torch.linspace(0.1, 30, 16) + torch.arange(16)
    assert (knowledge.accuracies(stretched) - knowledge.of_base).abs().mean() < 1e-3
    assert knowledge.accuracies(torch.ones_like(base)).sum() == 0
    assert knowledge.accuracies(torch.full_like(base, torch.nan)).sum() == 0


def test_a_loss_shows_where_its_interval_is_below_0(monkeypatch):
    base = classes()
    knowledge = Knowledge(base, 0)
    change = torch.linspace(-1, 1, len(base)).double()
    half = 1.96 * change.std() / len(base) ** 0.5

    def embed(share):  # in place of embeddings, what accuracies would be
        return knowledge.of_base + change - (1.01 if share > 0.6 else 0.99) * half

    monkeypatch.setattr(knowledge, "accuracies", lambda accuracies: accuracies)
    assert knowledge.furthest(embed) == 0.6


def test_looks_at_held_out_images_if_there_are_enough():
    trained, held_out = np.arange(400), np.arange(400, 1000)
    rows = sample_rows(trained, held_out, 0)
    assert len(rows) == 500 and rows.min() >= 400 and (np.diff(rows) > 0).all()
    assert rows.tolist() == sample_rows(trained, held_out, 0).tolist() != sample_rows(trained, held_out, 1).tolist()
    few = sample_rows(trained, held_out[:200], 0)
    assert len(few) == 500 and few.min() < 400 < few.max() < 600
    with pytest.raises(
        InputError, match="`interpolation=auto` needs 8 images or more, got 7: set a number, such as 0.5"
    ):
        sample_rows(np.arange(5), np.arange(5, 7), 0)


@pytest.fixture
def train(tiny_directory, tmp_path, images, triplets):
    def run(name, **settings):
        encoder = VisionEncoder.from_pretrained(str(tiny_directory("dinov2")))
        start = {n: p.detach().clone() for n, p in encoder.model.named_parameters()}
        defaults = {"max_steps": 2, "warmup_steps": 0, "save_strategy": "no", "disable_tqdm": True, "seed": 0}
        args = AlignTrainingArguments(str(tmp_path / name), **defaults | settings)
        trainer = AlignTrainer(encoder, args, train_dataset=triplets, images=images)
        trainer.train()
        trainer.save_model()
        return trainer, start

    return run


def test_the_trainer_exports_what_was_chosen_and_says_so(train, tmp_path, monkeypatch):
    looks = []

    def accuracies(self, embeddings):  # 0.4 of the way is the furthest
        looks.append(embeddings)
        return torch.full([len(embeddings)], [0.5, 0.4, 0.4, 0.5][len(looks) - 1]).double()

    monkeypatch.setattr(Knowledge, "accuracies", accuracies)
    trainer, start = train("chosen")
    assert trainer.interpolation == 0.4 and trainer.args.interpolation == "auto"
    assert json.loads((tmp_path / "chosen" / "alignment.json").read_text())["interpolation"] == 0.4
    fixed, _ = train("fixed", interpolation=0.4)
    ours, theirs = (t.model.model.state_dict() for t in (trainer, fixed))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert any(not torch.equal(ours[name], start[name]) for name in start)
    assert not torch.equal(looks[0], looks[1])  # the base, and then all of the way


def test_weights_that_do_not_move_go_all_the_way(train):
    trainer, start = train("still", learning_rate=0.0)
    assert trainer.interpolation == 1.0
    assert all(torch.equal(p.cpu(), start[n]) for n, p in trainer.model.model.named_parameters())


def test_held_out_rows_are_those_of_triplets_that_training_does_not_name(tiny_directory, tmp_path, images, triplets):
    named = np.unique(np.array(triplets["triplet"][:]))
    train = triplets.filter(lambda row: max(row["triplet"]) < 20)
    args = AlignTrainingArguments(str(tmp_path), disable_tqdm=True)
    trainer = AlignTrainer(str(tiny_directory("dinov2")), args, train_dataset=train, images=images)
    assert trainer.rows_by_use()[1].tolist() == []
    trainer.held_out = [triplets.remove_columns("similarities")]  # judgments of people name images, too
    trained, held_out = trainer.rows_by_use()
    assert trained.max() < 20 and sorted([*trained, *held_out]) == named.tolist()
