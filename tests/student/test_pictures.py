"""How pictures reach the student: from a cache, augmented, without those that are broken."""

import itertools

import numpy as np
import pytest
import torch
from datasets import DatasetDict
from datasets import Image as ImageFeature

from hf_alignet.encoder.vision_model import VisionEncoder
from hf_alignet.errors import InputError
from hf_alignet.images.cache import ImageCache
from hf_alignet.images.reader import ImageReader
from hf_alignet.student import AlignTrainer, AlignTrainingArguments, TripletCollator
from hf_alignet.student.collator import InBatchCollator
from hf_alignet.student.training_data import describe_teacher, open_images, training_data, without_images
from hf_alignet.triplets import TeacherVectors


@pytest.fixture
def teacher():
    """Vectors of the 24 images, in six clusters."""
    return TeacherVectors(np.arange(24), np.random.default_rng(3).normal(size=(24, 6)), np.arange(24) % 6)


@pytest.fixture
def trainer(tiny_directory, images, tmp_path):
    """Makes a trainer of the tiny student on the images, or on a cache of them."""
    number = itertools.count()

    def make(train_dataset, eval_dataset=None, cached=False, **settings):
        encoder = VisionEncoder.from_pretrained(str(tiny_directory("dinov2")))
        source = images
        if cached:
            source = ImageCache(tmp_path / "cache", images, encoder.preprocessor)
            source.prepare(np.arange(24), progress=False)
        settings = {"max_steps": 6, "warmup_steps": 0, "logging_steps": 1, "learning_rate": 1e-3} | settings
        settings = {"per_device_train_batch_size": 8, "disable_tqdm": True, "save_strategy": "no"} | settings
        args = AlignTrainingArguments(str(tmp_path / f"out{next(number)}"), **settings)
        return AlignTrainer(encoder, args, train_dataset=train_dataset, eval_dataset=eval_dataset, images=source)

    return make


def trained(trainer, **options) -> tuple[list[float], dict[str, torch.Tensor]]:
    trainer.train(**options)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return losses, trainer.model.state_dict()


def assert_equal(one, other):
    assert one[0] == other[0]
    assert all(torch.equal(one[1][name], other[1][name]) for name in one[1])


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("augment", [False, True])
def test_cache_and_workers_change_nothing(workers, augment, trainer, triplets, monkeypatch):
    plain = trainer(triplets, triplets, augment=augment)
    expected, measured = trained(plain), plain.evaluate()
    cached = trainer(triplets, triplets, cached=True, augment=augment, dataloader_num_workers=workers)
    monkeypatch.setattr(ImageReader, "read", lambda *_: pytest.fail("decoded what is cached"))
    assert_equal(trained(cached), expected)
    assert cached.evaluate()["eval_loss"] == measured["eval_loss"]
    assert cached.alignment()["augment"] == augment


def test_cache_changes_nothing_in_batches(trainer, teacher):
    settings = {"augment": True, "triplets_per_batch": 9}
    assert_equal(trained(trainer(teacher, cached=True, **settings)), trained(trainer(teacher, **settings)))


@pytest.mark.parametrize("in_batch", [False, True])
def test_augmented_run_that_is_resumed_equals_one_that_was_not(in_batch, trainer, triplets, teacher, tmp_path):
    dataset = teacher if in_batch else triplets
    whole = trained(trainer(dataset, augment=True))
    first = trainer(dataset, augment=True, save_strategy="steps", save_steps=3)
    first.train()
    second = trainer(dataset, augment=True)
    assert_equal(trained(second, resume_from_checkpoint=f"{first.output_dir}/checkpoint-3"), whole)
    assert whole[0] != trained(trainer(dataset))[0]


def test_epochs_see_other_crops(images, triplets, teacher, trainer):
    preprocessor = trainer(triplets).model.preprocessor
    rows = triplets.to_list()[:8]
    collator = TripletCollator(images, preprocessor, "similarities", augment=True, seed=1)
    shuffled = [rows[i] for i in (3, 1, 2, 0, 4, 5, 6, 7)]
    first, again, later = (collator(batch)["images"]["pixel_values"] for batch in (rows, rows, shuffled))
    assert torch.equal(first, again) and not torch.equal(first, later)
    items = [teacher[i] for i in (4, 2, 9, 7)]
    plain, augmented = (
        InBatchCollator(images, preprocessor, "similarities", augment=on, limit=2)(items) for on in (False, True)
    )
    assert torch.equal(plain["triplets"], augmented["triplets"])
    assert not torch.equal(plain["images"]["pixel_values"], augmented["images"]["pixel_values"])


def test_augmentation_needs_pixels(images, triplets, teacher, tiny_directory, tmp_path):
    args = AlignTrainingArguments(str(tmp_path), augment=True)
    for dataset in (triplets, teacher):
        with pytest.raises(InputError, match="`augment` needs uint8 pictures, but Siglip2ImageProcessor"):
            AlignTrainer(str(tiny_directory("siglip2")), args, train_dataset=dataset, images=images)


# ---- broken images


@pytest.fixture
def broken(images):
    """Makes a copy of the images in which some rows are no pictures."""

    def make(*rows):
        content = images.cast_column("image", ImageFeature(decode=False)).to_list()
        for row in rows:
            content[row]["image"] = {"bytes": b"not a picture", "path": f"{row}.jpg"}
        return type(images).from_list(content, features=images.features)

    return make


@pytest.fixture
def preprocessor(tiny_directory):
    return VisionEncoder.from_pretrained(str(tiny_directory("dinov2"))).preprocessor


@pytest.mark.parametrize("cached", [False, True])
def test_triplets_of_broken_images_are_left_out(cached, broken, triplets, preprocessor, tmp_path, caplog):
    settings = {"on_bad_image": "skip", "cache_images": str(tmp_path) if cached else None, "progress": False}
    splits = DatasetDict(train=triplets.select(range(30)), far=triplets.select(range(30, 40)))
    reader, bad = open_images(broken(5, 8), splits, preprocessor, **settings)
    assert isinstance(reader, ImageCache) == cached and list(bad) == [5, 8]
    kept = without_images(splits, bad)
    for split in splits:
        expected = [row for row in splits[split] if not {5, 8} & set(row["triplet"])]
        assert kept[split].to_list() == expected and len(expected) < len(splits[split])
        reader.read(sorted({row for triplet in kept[split]["triplet"] for row in triplet}))
    total = sum(kept.num_rows.values())
    assert f"left out 2 images that cannot be read, and {40 - total} of 40 triplets, which name them; " in caplog.text
    assert "image row 5 (5.jpg) cannot be decoded" in caplog.text


def test_broken_images_are_left_out_of_batches(broken, images, triplets, preprocessor, tmp_path):
    vectors = np.random.default_rng(0).normal(size=(24, 4))
    vectors[[5, 8]] = np.nan  # the teacher could not see them either
    np.save(tmp_path / "teacher.npy", vectors)
    _, bad = open_images(broken(5, 8), DatasetDict(train=triplets), preprocessor, None, "skip", progress=False)
    train = training_data(images, triplets, bad, str(tmp_path / "teacher.npy"))
    assert sorted(train.rows) == sorted(set(range(24)) - {5, 8})
    same = training_data(images, triplets, bad, vectors)
    for name in ("rows", "vectors", "clusters"):
        np.testing.assert_array_equal(getattr(same, name), getattr(train, name))


def test_arguments_say_what_a_batch_is_of(images, triplets, tmp_path):
    np.save(tmp_path / "teacher.npy", np.eye(24))
    vectors = str(tmp_path / "teacher.npy")
    assert isinstance(training_data(images, triplets, {}, vectors, triplet_source="batch"), TeacherVectors)
    assert training_data(images, triplets, {}, vectors, triplet_source="separate") is triplets
    assert training_data(images, triplets, {}) is triplets
    with pytest.raises(InputError, match="`triplet_source=batch` needs `teacher_embeddings` or `class_vectors`"):
        training_data(images, triplets, {}, triplet_source="batch")
    with pytest.raises(InputError, match="give `teacher_embeddings` or `class_vectors`, not both"):
        training_data(images, triplets, {}, vectors, "table.npy")
    with pytest.raises(InputError, match="`teacher_embeddings` has 5 rows for 24 images"):
        training_data(images, triplets, {}, np.eye(5))


def test_teacher_is_described_without_paths(tmp_path):
    (tmp_path / "triplets.json").write_text('{"teacher": "user/teacher", "sampling": "random"}')
    said = {"teacher": "user/teacher", "sampling": "random", "official": None, "teacher_transform": "none"}
    assert describe_teacher(str(tmp_path)) == describe_teacher(str(tmp_path), "v.npy", None, "separate") == said
    assert describe_teacher(str(tmp_path), str(tmp_path / "v.npy")) == {"teacher": "v.npy"}
    assert describe_teacher(str(tmp_path), None, "user/table.npy") == {"teacher": "user/table.npy"}
    assert describe_teacher(str(tmp_path), np.eye(3)) == {"teacher": None}
    assert "simulated raters" in describe_teacher(None)["teacher"]


def test_nothing_is_left(broken, triplets, preprocessor):
    splits = DatasetDict(train=triplets, far=triplets.select([3]))
    bad_row = triplets[3]["triplet"][1]
    _, bad = open_images(broken(bad_row), splits, preprocessor, on_bad_image="skip", progress=False)
    with pytest.raises(InputError, match="every one of the 'far' triplets names an image that cannot be read: image"):
        without_images(splits, bad)


def test_images_are_not_visited_unless_asked(broken, triplets, preprocessor, tmp_path):
    splits = DatasetDict(train=triplets)
    assert open_images(broken(5), splits, preprocessor)[1] == {}
    with pytest.raises(InputError, match="image row 5"):
        open_images(broken(5), splits, preprocessor, str(tmp_path), progress=False)


def test_triplets_are_checked_before_images_are_visited(images, triplets, preprocessor):
    splits = DatasetDict(train=triplets.select_columns("triplet"), far=triplets)
    with pytest.raises(InputError, match="of the 'train' triplets points outside the 20 images"):
        open_images(images.select(range(20)), splits, preprocessor, on_bad_image="skip")
