import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments

from hf_alignet.encoder import VisionEncoder
from hf_alignet.errors import InputError
from hf_alignet.student import triplet_kl
from hf_alignet.student.sentence_loss import TripletKLLoss, fitting_temperature, triplet_columns


def test_the_loss_is_that_of_a_loop():
    rng = np.random.default_rng(0)
    embeddings = [torch.tensor(rng.normal(size=(5, 4))) for _ in range(3)]
    labels = torch.tensor(rng.normal(size=(5, 3)))
    found = TripletKLLoss(torch.nn.Identity(), 2.0).compute_loss_from_embeddings(embeddings, labels)
    expected = []
    for x, y, z, label in zip(*embeddings, labels, strict=True):
        q = torch.softmax(torch.stack([x @ y, x @ z, y @ z]) / 2.0, 0)
        p = torch.softmax(label, 0)
        expected.append(sum(float(p[i]) * float(torch.log(p[i] / q[i])) for i in range(3)))
    assert found.item() == pytest.approx(np.mean(expected), rel=1e-6)
    assert not torch.isclose(found, triplet_kl(torch.zeros(5, 3), labels).mean())


def test_what_cannot_be_a_triplet_is_refused():
    loss = TripletKLLoss(torch.nn.Identity())
    with pytest.raises(InputError, match="three columns of pictures"):
        loss.compute_loss_from_embeddings([torch.ones(2, 3)] * 2, torch.ones(2, 3))
    with pytest.raises(InputError, match="three columns of pictures"):
        loss.compute_loss_from_embeddings([torch.ones(2, 3)] * 3, torch.ones(2))
    with pytest.raises(InputError, match="`student_temperature` must be a positive number, got 0"):
        TripletKLLoss(torch.nn.Identity(), 0)


def test_their_trainer_learns_with_our_loss_and_ours_opens_the_result(tiny_directory, images, triplets, tmp_path):
    VisionEncoder.from_pretrained(str(tiny_directory("vit_classifier"))).save_pretrained(tmp_path / "base")
    model = SentenceTransformer(str(tmp_path / "base"), device="cpu")
    data = triplet_columns(images, triplets)
    assert data.column_names == ["image_0", "image_1", "image_2", "label"]
    first = np.asarray(triplets[0]["triplet"])
    assert [np.array_equal(data[0][f"image_{i}"], images[int(first[i])]["image"]) for i in range(3)] == [True] * 3
    loss = TripletKLLoss(model, fitting_temperature(model, data))
    args = SentenceTransformerTrainingArguments(
        output_dir=str(tmp_path / "run"),
        per_device_train_batch_size=20,
        max_steps=12,
        learning_rate=3e-3,
        logging_steps=1,
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
    )
    trainer = SentenceTransformerTrainer(model=model, args=args, train_dataset=data, loss=loss)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])
    model.save_pretrained(str(tmp_path / "trained"))
    encoder = VisionEncoder.from_pretrained(str(tmp_path / "trained"), pooling="cls")
    pictures = images[:3]["image"]
    np.testing.assert_allclose(encoder.embed(pictures, progress=False), model.encode(pictures), rtol=1e-4, atol=1e-4)
