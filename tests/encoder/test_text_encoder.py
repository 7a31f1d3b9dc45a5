"""Text models: embeddings as transformers gives them by hand, one text at a time, whatever the padding and batch."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from datasets import Dataset
from peft import LoraConfig
from tiny import LONGEST, TEXT_FAMILIES, make_tokenizer, save_tiny_text
from transformers import AutoModel, AutoTokenizer

from hf_alignet import TextEncoder, VisionEncoder
from hf_alignet.encoder import open_encoder
from hf_alignet.encoder.embedding import load_embeddings
from hf_alignet.errors import InputError
from hf_alignet.images import ImageCache, TextReader, load_images
from hf_alignet.judgments import image_names

TEXTS = ["cat", "a small red car", "the old dog sits on the mat", "wolf", "two dogs", "a large bus on the train"]


@pytest.fixture
def text_directory(tmp_path):
    def directory(family: str = "bert", **settings) -> str:
        save_tiny_text(family, tmp_path / family, **settings)
        return str(tmp_path / family)

    return directory


def by_hand(directory: str, pooling: str, texts: list[str]) -> np.ndarray:
    """One text at a time, so without padding."""
    model, tokenizer = AutoModel.from_pretrained(directory).eval(), AutoTokenizer.from_pretrained(directory)
    found = []
    for text in texts:
        with torch.no_grad():
            hidden = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        found.append({"mean": hidden.mean(0), "cls": hidden[0], "last": hidden[-1]}[pooling])
    return torch.stack(found).numpy()


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", TEXT_FAMILIES)
def test_embeddings_are_those_of_transformers_in_any_batch(family, side, text_directory):
    directory = text_directory(family, padding_side=side)
    assert open_encoder(directory).pooling == TEXT_FAMILIES[family][2]
    for pooling in ("mean", "cls", "last"):
        if (family, pooling) == ("gpt2", "cls"):
            with pytest.raises(InputError, match="first token of GPT2Model does not see the others"):
                TextEncoder.from_pretrained(directory, pooling)
            continue
        encoder, expected = TextEncoder.from_pretrained(directory, pooling), by_hand(directory, pooling, TEXTS)
        for batch_size in (1, 4, 6):
            embeddings = encoder.embed(TEXTS, batch_size=batch_size, progress=False)
            np.testing.assert_allclose(embeddings, expected, atol=1e-5)
    assert len(np.unique(expected.round(3), axis=0)) == len(TEXTS)


def test_saved_encoder_opens_without_us_and_gives_the_same_embeddings(text_directory, tmp_path):
    encoder = TextEncoder.from_pretrained(text_directory(padding_side="left"))
    encoder.save_pretrained(tmp_path / "saved")
    expected = encoder.embed(TEXTS, progress=False)
    model, tokenizer = AutoModel.from_pretrained(tmp_path / "saved"), AutoTokenizer.from_pretrained(tmp_path / "saved")
    inputs = tokenizer([*TEXTS, "cat " * 30], padding=True, truncation=True, return_tensors="pt")
    assert inputs["input_ids"].shape[1] == LONGEST  # the longest text is saved, and so is the side of padding
    with torch.no_grad():
        hidden, mask = model.eval()(**inputs).last_hidden_state, inputs["attention_mask"].unsqueeze(-1)
    np.testing.assert_allclose(((hidden * mask).sum(1) / mask.sum(1))[: len(TEXTS)].numpy(), expected, atol=1e-5)
    assert np.array_equal(open_encoder(str(tmp_path / "saved")).embed(TEXTS, progress=False), expected)


def test_adapter_trains_what_the_embedding_uses_and_opens_again(text_directory, tmp_path):
    encoder = TextEncoder.from_pretrained(text_directory())
    encoder.add_lora(LoraConfig(r=2, init_lora_weights=False))
    assert encoder.freeze_unused() == []  # none in the pooler, which the mean does not use
    assert not any("pooler" in name for name, p in encoder.model.named_parameters() if p.requires_grad)
    expected = encoder.embed(TEXTS, progress=False)
    encoder.save_pretrained(tmp_path / "adapter")
    reopened = open_encoder(str(tmp_path / "adapter"))
    assert isinstance(reopened, TextEncoder) and reopened.is_adapter
    np.testing.assert_allclose(reopened.embed(TEXTS, progress=False), expected, atol=1e-6)


def test_slices_of_a_batch_give_the_same_embeddings_and_gradients(text_directory):
    encoder = TextEncoder.from_pretrained(text_directory())
    inputs = encoder.preprocessor(TEXTS)
    whole, parts = encoder(**inputs), encoder(**inputs, images_per_forward=4)
    torch.testing.assert_close(whole, parts)
    weight = encoder.backbone.get_input_embeddings().weight
    (one,), (other,) = (torch.autograd.grad(found.square().sum(), weight) for found in (whole, parts))
    torch.testing.assert_close(one, other)


def test_pooling_that_sentence_transformers_recorded_is_known(text_directory):
    directory = text_directory()
    records = {"cls": {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}}
    records |= {"last": {"pooling_mode": "lasttoken"}, "mean": {"pooling_mode": ["mean"]}}
    file = Path(directory) / "1_Pooling" / "config.json"
    file.parent.mkdir()
    for pooling, record in records.items():
        file.write_text(json.dumps(record))
        assert open_encoder(directory).pooling == pooling
    file.write_text(json.dumps({"pooling_mode": "max"}))
    with pytest.raises(InputError, match="trained with the pooling max, none of mean, cls, last"):
        open_encoder(directory)
    assert open_encoder(directory, "mean").pooling == "mean"


def test_long_texts_are_cut_and_the_log_says_so_once(text_directory, caplog):
    encoder = TextEncoder.from_pretrained(text_directory("roberta"))
    longest = LONGEST - 1  # RoBERTa's first place is that after padding's
    assert encoder.preprocessor.max_tokens == longest
    fits, is_cut = "cat " * (longest - 2), "cat " * (longest - 1)
    with caplog.at_level(logging.WARNING, "hf_alignet"):
        first = encoder.embed([fits], progress=False)
        assert not caplog.records
        second = encoder.embed([is_cut, is_cut], batch_size=1, progress=False)
    assert [record.getMessage() for record in caplog.records] == [
        f"texts are cut: one has {longest + 1} tokens, and the model reads {longest}; it begins {is_cut[:40]!r}"
    ]
    np.testing.assert_allclose(second, [first[0]] * 2, atol=1e-6)


def test_texts_are_found_by_their_column_and_named_by_themselves(text_directory, tmp_path):
    Dataset.from_dict({"text": TEXTS}).save_to_disk(tmp_path / "texts")
    texts = load_images(str(tmp_path / "texts"))
    assert texts["text"][:] == TEXTS and image_names(texts) == TEXTS
    other = Dataset.from_dict({"definition": TEXTS, "text": ["x"] * len(TEXTS)})
    other.to_parquet(tmp_path / "other.parquet")
    assert load_images(str(tmp_path / "other.parquet"), image_column="definition")["text"][:] == TEXTS
    encoder = TextEncoder.from_pretrained(text_directory())
    embeddings = encoder.embed(texts, save_to=tmp_path / "embeddings", progress=False)
    turned = load_embeddings(str(tmp_path / "embeddings" / "embeddings.npy"), "features", texts.select([2, 0]), False)
    assert np.array_equal(turned, embeddings[[2, 0]])  # each text is found again


def test_what_cannot_be_is_one_error(text_directory, tiny_directory, images, tmp_path):
    directory = text_directory()
    encoder, vision = open_encoder(directory), VisionEncoder.from_pretrained(str(tiny_directory("dinov2")))
    for texts, problem in (
        (Dataset.from_dict({"word": TEXTS}), "needs texts in a column 'text' of strings; there are the columns word"),
        (Dataset.from_dict({"text": [1, 2, 3]}), "needs texts in a column 'text'"),
        (Dataset.from_dict({"text": ["cat", " ", "dog"]}), "text row 1 is empty"),
        (Dataset.from_dict({"text": ["cat", "dog", None]}), "text row 2 is empty"),
        ("cat", "or a list of strings"),
        ([1, 2], "or a list of strings"),
        (images, "needs texts in a column 'text' of strings; there are the columns image"),
    ):
        with pytest.raises(InputError, match=problem):
            encoder.embed(texts, progress=False)
    words = Dataset.from_dict({"text": TEXTS})
    with pytest.raises(InputError, match="the `images` are texts, and the model is of pictures"):
        vision.embed(words, progress=False)
    with pytest.raises(InputError, match="need a column 'image'"):
        ImageCache(tmp_path, words, vision.preprocessor)
    with pytest.raises(InputError, match="for an encoder with another text processor"):
        vision.embed(TextReader(words, encoder.preprocessor), progress=False)
    with pytest.raises(InputError, match="is not a text model: Dinov2Model takes pixel_values"):
        TextEncoder.from_pretrained(str(tiny_directory("dinov2")))
    with pytest.raises(InputError, match="is not a vision model: BertModel takes input_ids"):
        VisionEncoder.from_pretrained(directory)
    with pytest.raises(InputError, match="must be one of auto, mean, cls, last, got 'pooler'"):
        TextEncoder.from_pretrained(directory, pooling="pooler")
    config = transformers.T5Config(d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, vocab_size=30)
    t5 = transformers.T5Model(config)
    with pytest.raises(InputError, match="T5Model has an encoder and a decoder"):
        open_encoder(t5, processor=make_tokenizer())


@pytest.mark.parametrize(
    ("family", "pooling"), [("bert", "mean"), ("roberta", "cls"), ("bert", "last"), ("gpt2", "last")]
)
def test_sentence_transformers_gives_our_embeddings(family, pooling, text_directory, tmp_path):
    SentenceTransformer = pytest.importorskip("sentence_transformers").SentenceTransformer
    encoder = TextEncoder.from_pretrained(text_directory(family), pooling)
    expected = encoder.embed(TEXTS, progress=False)
    encoder.save_pretrained(tmp_path / "out")
    found = SentenceTransformer(str(tmp_path / "out"), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert TextEncoder.from_pretrained(str(tmp_path / "out")).pooling == pooling  # that of the record
