import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
import transformers
from datasets import Dataset
from peft import LoraConfig
from PIL import Image
from tiny import FAMILIES
from transformers import AutoModel

from hf_alignet.encoder.embedding import load_embeddings
from hf_alignet.encoder.transform import AffineTransform
from hf_alignet.encoder.vision_model import VisionEncoder
from hf_alignet.errors import InputError, RunError
from hf_alignet.images.opening import load_images
from hf_alignet.images.preprocessing import load_processor
from hf_alignet.images.reader import ImageReader
from hf_alignet.similarity import odd_one_out, triplet_similarities
from hf_alignet.storage import ResumableArray


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_gives_one_embedding_an_image(family, tiny_directory, images):
    encoder = VisionEncoder.from_pretrained(str(tiny_directory(family)))
    embeddings = encoder.embed(images, batch_size=7, progress=False)
    assert encoder.pooling == FAMILIES[family][2]
    assert embeddings.shape == (24, encoder.embedding_dim) and embeddings.dtype == np.float32
    assert np.isfinite(embeddings).all()
    # each image has an embedding of its own, that does not depend on its batch
    assert len(np.unique((embeddings / np.abs(embeddings).max()).round(4), axis=0)) == 24
    again = encoder.embed(images, rows=np.array([5, 3]), progress=False)
    np.testing.assert_allclose(again, embeddings[[5, 3]], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_saved_encoder_opens_without_us_and_gives_the_same_embeddings(family, tiny_directory, images, tmp_path):
    encoder = VisionEncoder.from_pretrained(str(tiny_directory(family)))
    embeddings = encoder.embed(images, progress=False)
    encoder.save_pretrained(tmp_path)
    reloaded = VisionEncoder.from_pretrained(str(tmp_path))
    assert reloaded.pooling == encoder.pooling
    np.testing.assert_allclose(reloaded.embed(images, progress=False), embeddings, rtol=1e-4, atol=1e-5)
    plain = AutoModel.from_pretrained(tmp_path).eval()
    saved = plain.state_dict()
    assert all(torch.equal(saved[name], tensor) for name, tensor in encoder.model.state_dict().items())


def test_pooler_without_weights_is_never_used(tiny_directory):
    directory = str(tiny_directory("vit_classifier"))
    encoder = VisionEncoder.from_pretrained(directory)
    assert encoder.pooling == "cls" and encoder.model.pooler is None
    with pytest.raises(InputError, match="no trained pooler"):
        VisionEncoder.from_pretrained(directory, pooling="pooler")


def test_pooler_of_a_model_in_memory_is_not_trusted(tiny_directory):
    model = transformers.AutoModel.from_pretrained(tiny_directory("vit_classifier"))
    processor = load_processor(str(tiny_directory("vit_classifier")))
    with pytest.raises(InputError, match="whether the pooler of this ViTModel was trained"):
        VisionEncoder(model, processor)
    assert VisionEncoder(model, processor, pooling="cls").pooling == "cls"


def test_embedding_leaves_the_mode_as_it_was(tiny_directory, images):
    encoder = VisionEncoder.from_pretrained(str(tiny_directory("resnet")))
    assert not encoder.training and not encoder.model.training
    encoder.embed(images, progress=False)
    assert not encoder.training and not encoder.model.training
    encoder.train()
    with pytest.raises(InputError, match="need a column 'image'"):
        encoder.embed(Dataset.from_dict({"title": ["a"] * 24}), progress=False)
    assert encoder.training and encoder.model.training


def test_mean_pooling_leaves_out_class_and_register_tokens(tiny_directory, images):
    encoder = VisionEncoder.from_pretrained(str(tiny_directory("dinov2_with_registers")), pooling="mean")
    embeddings = encoder.embed(images, progress=False)
    with torch.no_grad():
        inputs = encoder.preprocessor([images[i]["image"] for i in range(24)])
        hidden = encoder.model.eval()(**inputs).last_hidden_state
    np.testing.assert_allclose(embeddings, hidden[:, 5:].mean(1).numpy(), atol=1e-5)


def test_mean_pooling_leaves_out_padding(tiny_directory):
    encoder = VisionEncoder.from_pretrained(str(tiny_directory("siglip2")), pooling="mean")
    rng = np.random.default_rng(0)
    small = transformers.image_utils.PIL.Image.fromarray(rng.integers(0, 256, (16, 40, 3), dtype=np.uint8))
    inputs = encoder.preprocessor([small])
    with torch.no_grad():
        hidden = encoder.model.eval()(**inputs).last_hidden_state
        expected = hidden[inputs["pixel_attention_mask"].bool()].mean(0)
        embedding = encoder(**inputs)[0]
    assert 0 < inputs["pixel_attention_mask"].sum() < 16
    torch.testing.assert_close(embedding, expected)


def test_class_token_is_refused_where_there_is_none(tiny_directory):
    with pytest.raises(InputError, match="no class token"):
        VisionEncoder.from_pretrained(str(tiny_directory("siglip")), pooling="cls")


@pytest.mark.parametrize("family", FAMILIES)
def test_preprocessing_equals_the_image_processor(family, tiny_directory, pictures):
    preprocessor = VisionEncoder.from_pretrained(str(tiny_directory(family))).preprocessor
    ours = preprocessor(pictures)
    theirs = preprocessor.processor(pictures, return_tensors="pt")
    assert set(ours) == set(theirs)
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", ["vit_classifier", "clip", "siglip", "dinov2"])
def test_unused_parameters_are_frozen_and_only_those(family, tiny_directory, images):
    encoder = VisionEncoder.from_pretrained(str(tiny_directory(family)))
    before = {name: p.requires_grad for name, p in encoder.model.named_parameters()}
    frozen = set(encoder.freeze_unused())
    encoder.train()
    encoder(**encoder.preprocessor([images[0]["image"]])).sum().backward()
    with_gradient = {name for name, p in encoder.model.named_parameters() if p.grad is not None}
    assert with_gradient == set(before) - frozen


def test_tower_of_a_dual_model_keeps_its_weights_and_its_adapter(tiny_directory, images, tmp_path):
    dual = transformers.CLIPModel.from_pretrained(tiny_directory("clip"))
    encoder = VisionEncoder.from_pretrained(str(tiny_directory("clip")))
    name = "encoder.layers.0.mlp.fc1.weight"
    assert torch.equal(dual.vision_model.get_parameter(name), encoder.model.get_parameter(name))
    encoder.add_lora(LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False))
    embeddings = encoder.embed(images, progress=False)
    encoder.save_pretrained(tmp_path)
    reloaded = VisionEncoder.from_pretrained(str(tmp_path))
    np.testing.assert_allclose(reloaded.embed(images, progress=False), embeddings, atol=1e-5)


@pytest.mark.parametrize("family", ["vit_classifier", "siglip", "swin", "dinov3"])
def test_adapter_trains_everywhere_and_merges_exactly(family, tiny_directory, images):
    encoder = VisionEncoder.from_pretrained(str(tiny_directory(family)))
    plain = encoder.embed(images, progress=False)
    encoder.add_lora(LoraConfig(r=2, target_modules="all-linear"))
    np.testing.assert_allclose(encoder.embed(images, progress=False), plain, atol=1e-6)
    assert encoder.freeze_unused() == []  # no adapter is dead
    for parameter in encoder.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.1)
    adapted = encoder.embed(images, progress=False)
    assert np.abs(adapted - plain).max() > 1e-3
    encoder.merge_adapter()
    assert not encoder.is_adapter
    np.testing.assert_allclose(encoder.embed(images, progress=False), adapted, atol=1e-4)


def test_adapter_on_layers_that_do_not_exist(tiny_directory):
    encoder = VisionEncoder.from_pretrained(str(tiny_directory("resnet")))
    with pytest.raises(InputError, match="no layer to adapt"):
        encoder.add_lora(LoraConfig(target_modules="all-linear"))


def test_activation_checkpointing_where_there_is_none(tiny_directory):
    with pytest.raises(InputError, match="ResNetModel does not support .* checkpointing"):
        VisionEncoder.from_pretrained(str(tiny_directory("resnet"))).activation_checkpointing_enable()


def test_bf16_embeddings_are_float32_and_close(tiny_directory, images):
    encoder = VisionEncoder.from_pretrained(str(tiny_directory("dinov2")))
    full, half = (encoder.embed(images, bf16=bf16, progress=False) for bf16 in (False, True))
    assert half.dtype == np.float32
    assert 0 < np.abs(full - half).max() < 0.1


def test_worker_processes_change_nothing(tiny_directory, images):
    encoder = VisionEncoder.from_pretrained(str(tiny_directory("vit")))
    alone, workers = (encoder.embed(images, num_workers=n, batch_size=5, progress=False) for n in (0, 2))
    np.testing.assert_array_equal(alone, workers)


@pytest.mark.parametrize("workers", [0, 2])
def test_pictures_and_paths_have_the_embeddings_of_their_dataset(workers, tiny_directory, images, pictures, tmp_path):
    encoder = VisionEncoder.from_pretrained(str(tiny_directory("dinov2")))
    expected = encoder.embed(images, batch_size=5, progress=False)
    files = [tmp_path / f"{i}.png" for i in range(24)]
    for file, picture in zip(files, pictures, strict=True):
        picture.save(file)
    opened, mixed = [Image.open(file) for file in files], [*map(str, files[:9]), *pictures[9:]]
    for given in (pictures, images["image"], files, opened, mixed):
        found = encoder.embed(given, batch_size=5, num_workers=workers, progress=False)
        np.testing.assert_array_equal(found, expected)
    rows = np.array([7, 2])
    np.testing.assert_allclose(encoder.embed(pictures, rows=rows, progress=False), expected[rows], atol=1e-5)


def test_what_is_no_picture_is_named(tiny_directory, pictures, tmp_path):
    encoder = VisionEncoder.from_pretrained(str(tiny_directory("dinov2")))
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(InputError, match=r"image row 1 \(.*notes.txt\) cannot be decoded"):
        encoder.embed([pictures[0], tmp_path / "notes.txt"], progress=False)
    with pytest.raises(InputError, match="image row 0: there is no file 'gone.png'"):
        encoder.embed(["gone.png"], progress=False)


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"batch_size": 0}, r"`batch_size` must be an integer \(at least 1\), got 0"),
        ({"num_workers": -1}, r"`num_workers` must be an integer \(at least 0\), got -1"),
    ],
)
def test_numbers_that_are_too_small_are_refused(wrong, message, tiny_directory, pictures):
    encoder = VisionEncoder.from_pretrained(str(tiny_directory("vit")))
    with pytest.raises(InputError, match=message):
        encoder.embed(pictures, progress=False, **wrong)


def test_embeddings_on_disk_are_of_these_pictures(tiny_directory, pictures, tmp_path, monkeypatch):
    encoder = VisionEncoder.from_pretrained(str(tiny_directory("dinov2")))
    first = np.array(encoder.embed(pictures, save_to=tmp_path, progress=False))
    for other, difference in (
        (pictures[::-1], "they are in another order"),
        ([pictures[1], *pictures], "image row 2 is new"),  # the later of two copies
        (pictures[1:], "image row 0 is not among them"),
    ):
        with pytest.raises(InputError, match=f"holds embeddings of other images: {difference}"):
            encoder.embed(other, save_to=tmp_path, progress=False)
    monkeypatch.setattr(VisionEncoder, "forward", lambda *_, **__: pytest.fail("embeds again"))
    again = encoder.embed([picture.copy() for picture in pictures], save_to=tmp_path, progress=False)
    np.testing.assert_array_equal(again, first)


def test_embeddings_follow_their_pictures(tiny_directory, pictures, tmp_path, monkeypatch):
    encoder = VisionEncoder.from_pretrained(str(tiny_directory("dinov2")))
    (tmp_path / "pics").mkdir()
    for row, picture in enumerate(pictures):
        picture.save(tmp_path / "pics" / f"b{row:02d}.png")
    first = np.array(encoder.embed(load_images(str(tmp_path / "pics")), save_to=tmp_path / "made", progress=False))
    file = str(tmp_path / "made" / "embeddings.npy")
    (tmp_path / "pics").rename(tmp_path / "moved")
    images = load_images(str(tmp_path / "moved"))
    with monkeypatch.context() as patch:
        patch.setattr(VisionEncoder, "forward", lambda *_, **__: pytest.fail("embeds again"))
        np.testing.assert_array_equal(encoder.embed(images, save_to=tmp_path / "made", progress=False), first)
    np.testing.assert_array_equal(load_embeddings(file, "features", images, progress=False), first)
    np.testing.assert_array_equal(load_embeddings(file, "features", None), first)
    (tmp_path / "moved" / "b07.png").rename(tmp_path / "moved" / "a.png")
    images = load_images(str(tmp_path / "moved"))
    found = load_embeddings(file, "features", images, progress=False)
    np.testing.assert_array_equal(found, first[[7, *range(7), *range(8, 24)]])
    Image.new("RGB", (8, 8)).save(tmp_path / "moved" / "a_new.png")
    images = load_images(str(tmp_path / "moved"))
    with pytest.raises(InputError, match=r"features of other images than `images`: image row 1 \(a_new.png\)"):
        load_embeddings(file, "features", images, progress=False)


def test_embeddings_of_a_stopped_run_are_refused(tiny_directory, pictures, tmp_path):
    encoder = VisionEncoder.from_pretrained(str(tiny_directory("dinov2")))
    encoder.embed(pictures, save_to=tmp_path, progress=False)
    np.save(tmp_path / "done.npy", np.zeros(1, np.uint8))
    with pytest.raises(InputError, match="embeddings.npy is not complete: its run was stopped"):
        load_embeddings(str(tmp_path / "embeddings.npy"), "features", None)


def test_full_disk_while_embedding(tiny_directory, images, tmp_path, monkeypatch):
    encoder = VisionEncoder.from_pretrained(str(tiny_directory("dinov2")))

    def full(*_):
        raise OSError(28, "No space left on device")

    create = ResumableArray.create

    def created(*arguments):
        create(*arguments)
        monkeypatch.setattr(os, "fsync", full)

    monkeypatch.setattr(ResumableArray, "create", created)
    with pytest.raises(RunError, match="cannot write to .*first.*: .*No space left"):
        encoder.embed(images, save_to=tmp_path / "first", progress=False)
    with pytest.raises(RunError, match="cannot write to .*second.*: .*No space left"):
        encoder.embed(images, save_to=tmp_path / "second", progress=False)
    assert not np.load(tmp_path / "first" / "done.npy").any() and not (tmp_path / "second").exists()


KILLED = """
import os, sys
import hf_alignet.encoder.embedding as embedding
from datasets import load_from_disk
from hf_alignet.encoder import VisionEncoder
from hf_alignet.storage import ResumableArray
embedding.CHUNK = 4
finish, finished = ResumableArray.finish, []
def finish_then_die(self, chunks):
    finish(self, chunks)
    finished.extend(chunks)
    if len(finished) == int(sys.argv[4]):
        os.kill(os.getpid(), 9)
ResumableArray.finish = finish_then_die
encoder = VisionEncoder.from_pretrained(sys.argv[1])
encoder.embed(load_from_disk(sys.argv[2]), save_to=sys.argv[3], batch_size=3, progress=False)
print("chunks", len(finished))
"""


@pytest.mark.multi_process
def test_killed_embedding_continues_where_it_stopped(tiny_directory, images, tmp_path):
    model, data, out = str(tiny_directory("vit")), str(tmp_path / "images"), str(tmp_path / "embeddings")
    images.save_to_disk(data)
    arguments = [sys.executable, "-c", KILLED, model, data, out]
    killed = subprocess.run([*arguments, "4"], capture_output=True, text=True)
    assert killed.returncode == -9, killed.stderr
    resumed = subprocess.run([*arguments, "99"], capture_output=True, text=True)
    assert "chunks 2" in resumed.stdout, resumed.stderr  # 24 rows are 6 chunks, 4 were done
    expected = VisionEncoder.from_pretrained(model).embed(Dataset.load_from_disk(data), batch_size=3, progress=False)
    np.testing.assert_allclose(np.load(os.path.join(out, "embeddings.npy")), expected, atol=1e-6)


def test_directory_with_other_embeddings_is_refused(tiny_directory, images, tmp_path):
    encoder = VisionEncoder.from_pretrained(str(tiny_directory("vit")))
    encoder.embed(images, save_to=tmp_path, progress=False)
    with pytest.raises(InputError, match="embeddings of something else .*bf16 differ"):
        encoder.embed(images, save_to=tmp_path, bf16=True, progress=False)
    encoder.processor.image_mean = [0.0, 0.0, 0.0]
    with pytest.raises(InputError, match="embeddings of something else .*settings differ"):
        encoder.embed(images, save_to=tmp_path, progress=False)


@pytest.mark.parametrize("pooling", ["auto", "cls"])
def test_model_that_is_not_there(pooling):
    with pytest.raises(InputError, match="no/such-model"):
        VisionEncoder.from_pretrained("no/such-model", pooling)


def test_path_with_an_at_sign_is_a_path(tiny_directory, tmp_path):
    shutil.copytree(tiny_directory("vit"), tmp_path / "vit@home")
    assert VisionEncoder.from_pretrained(str(tmp_path / "vit@home")).embedding_dim == 32


def test_adapter_remembers_the_revision_of_its_base(tiny_directory, tmp_path):
    encoder = VisionEncoder.from_pretrained(str(tiny_directory("dinov2")))
    encoder.revision = "v2"
    encoder.add_lora(LoraConfig(r=2, target_modules="all-linear"))
    encoder.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["revision"] == "v2"


def test_text_model_is_refused(tmp_path):
    config = transformers.BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=1, intermediate_size=16)
    transformers.BertModel(config).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="not a vision model: BertModel takes input_ids"):
        VisionEncoder.from_pretrained(str(tmp_path))


def test_checkpoint_that_lacks_weights_is_refused(tiny_directory, tmp_path):
    model = AutoModel.from_pretrained(tiny_directory("dinov2"))
    state = {name: tensor for name, tensor in model.state_dict().items() if "layer.1.mlp" not in name}
    model.save_pretrained(tmp_path, state_dict=state)
    VisionEncoder.from_pretrained(str(tiny_directory("dinov2"))).processor.save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"lacks \d+ of the weights .*mlp"):
        VisionEncoder.from_pretrained(str(tmp_path))


def test_model_without_image_processor_is_refused(tiny_directory, tmp_path):
    AutoModel.from_pretrained(tiny_directory("vit")).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="preprocessor_config.json"):
        VisionEncoder.from_pretrained(str(tmp_path))


def test_remote_code_is_refused_unless_asked(tiny_directory, tmp_path):
    VisionEncoder.from_pretrained(str(tiny_directory("vit"))).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "code.Config", "AutoModel": "code.Model"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "code.py").write_text("raise SystemExit('remote code ran')")
    with pytest.raises(InputError, match="add `trust_remote_code=True`"):
        VisionEncoder.from_pretrained(str(tmp_path))


def test_dinov3_processor_is_read_without_torchvision(tiny_directory, tmp_path):
    VisionEncoder.from_pretrained(str(tiny_directory("dinov3"))).save_pretrained(tmp_path)
    file = tmp_path / "preprocessor_config.json"
    published = json.loads(file.read_text()) | {"image_processor_type": "DINOv3ViTImageProcessorFast"}
    file.write_text(json.dumps(published))
    encoder = VisionEncoder.from_pretrained(str(tmp_path))
    assert list(encoder.processor.image_mean) == [0.5, 0.4, 0.3]


# ---- with a transform


def some_transform(dim: int, **info) -> AffineTransform:
    rng = np.random.default_rng(1)
    return AffineTransform(rng.normal(size=(dim, dim)), rng.normal(size=dim), mean=0.3, std=2.0, info=info)


def test_transform_acts_on_every_embedding(tiny_directory, images, tmp_path):
    name, transform = str(tiny_directory("vit")), some_transform(32)
    transform.save_pretrained(tmp_path / "transform")
    plain, teacher = (VisionEncoder.from_pretrained(name, transform=t) for t in (None, str(tmp_path / "transform")))
    expected = transform(plain.embed(images, progress=False))
    found = teacher.embed(images, progress=False)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert found.dtype == np.float32 and teacher.embedding_dim == 32
    inputs = teacher.preprocessor.stack(images["image"][:4])
    with torch.autocast("cpu", torch.bfloat16):
        assert teacher(**inputs, images_per_forward=2).dtype == torch.float32


def test_embeddings_on_disk_are_of_one_transform(tiny_directory, images, tmp_path):
    encoder = VisionEncoder.from_pretrained(str(tiny_directory("vit")), transform=some_transform(32))
    encoder.embed(images, save_to=tmp_path, progress=False)
    encoder.add_transform(AffineTransform.identity(32))
    with pytest.raises(InputError, match="embeddings of something else"):
        encoder.embed(images, save_to=tmp_path, progress=False)


def test_transform_knows_the_pooling_and_the_model_it_was_fitted_to(tiny_directory, caplog):
    name = str(tiny_directory("vit"))
    fitted = some_transform(32, pooling="mean", base_model="vit")
    assert VisionEncoder.from_pretrained(name, transform=fitted).pooling == "mean"
    assert VisionEncoder.from_pretrained(name, "cls", transform=fitted).pooling == "cls"
    assert VisionEncoder.from_pretrained(name, transform=some_transform(32, pooling=None)).pooling == "pooler"
    assert "was fitted to" not in caplog.text
    VisionEncoder.from_pretrained(name, transform=some_transform(32, base_model="user/dinov2"))
    assert "the transform was fitted to features of 'user/dinov2', not of" in caplog.text


def test_transform_of_another_width(tiny_directory):
    with pytest.raises(InputError, match="the transform is of 7 features, but the embedding has 32"):
        VisionEncoder.from_pretrained(str(tiny_directory("vit")), transform=AffineTransform.identity(7))


def test_encoder_with_a_transform_is_not_saved_without_it(tiny_directory, tmp_path):
    encoder = VisionEncoder.from_pretrained(str(tiny_directory("vit")), transform=AffineTransform.identity(32))
    with pytest.raises(InputError, match="save encoder.transform in a directory of its own"):
        encoder.save_pretrained(tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("family", FAMILIES)
def test_copy_in_bf16_is_close_and_leaves_the_encoder(family, tiny_directory, images):
    least = 0.7 if family == "mobilenet_v2" else 0.99  # its random weights nearly cancel out
    encoder = VisionEncoder.from_pretrained(str(tiny_directory(family))).eval()
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    inputs = encoder.preprocessor.stack(images["image"][:8])
    with torch.inference_mode():
        full, half = encoder(**inputs), encoder.in_bf16()(**inputs)
    assert half.dtype == torch.float32 and torch.cosine_similarity(full, half).min() > least
    assert not torch.equal(full, half)
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())


@pytest.mark.real_data
def test_choices_in_bf16_are_those_in_float32(data_directory):
    encoder = VisionEncoder.from_pretrained(str(data_directory / "models" / "vit-tiny-patch16-224")).eval()
    reader = ImageReader(load_images(str(data_directory / "tiny_imagenet")), encoder.preprocessor)
    inputs = reader.read(np.random.default_rng(0).permutation(len(reader))[:32].tolist())
    with torch.inference_mode():
        full, half = (model(**inputs) for model in (encoder, encoder.in_bf16()))
    assert torch.cosine_similarity(full, half).min() >= 0.9995
    triplets = torch.from_numpy(np.random.default_rng(1).permuted(np.tile(np.arange(32), (9000, 1)), axis=1)[:, :3])
    for kind in ("dot", "cosine"):
        ours, theirs = (odd_one_out(triplet_similarities(e, triplets, kind)) for e in (half, full))
        assert (ours == theirs).float().mean() >= 0.985
