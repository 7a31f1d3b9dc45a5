"""Cards that a trainer writes: the keywords of `Trainer.create_model_card`, and what the card knows better."""

import inspect

import pytest
from huggingface_hub import ModelCard
from peft import LoraConfig
from transformers import Trainer

from hf_alignet.encoder.vision_model import VisionEncoder
from hf_alignet.errors import InputError
from hf_alignet.hub.rendering import TAGS
from hf_alignet.student import AlignTrainer, AlignTrainingArguments
from hf_alignet.student.encoder_trainer import CARD_METADATA


@pytest.fixture
def make_trainer(tiny_directory, images, triplets, tmp_path):
    def make(family="dinov2", lora=None, **settings):
        encoder = VisionEncoder.from_pretrained(str(tiny_directory(family)))
        if lora is not None:
            encoder.add_lora(lora)
        settings |= {"max_steps": 1, "per_device_train_batch_size": 4, "save_strategy": "no", "disable_tqdm": True}
        args = AlignTrainingArguments(str(tmp_path / "out"), **settings)
        return AlignTrainer(encoder, args, train_dataset=triplets, images=images)

    return make


def written(trainer, **metadata) -> ModelCard:
    trainer.create_model_card(**metadata)
    return ModelCard.load(trainer.output_dir / "README.md")


def test_metadata_of_a_user_is_in_the_card(make_trainer):
    trainer = make_trainer(hub_model_id="user/name")
    trainer.provenance = {"triplets": "user/triplets"}
    trainer.save_model()
    plain = written(trainer)
    assert plain.data.tags == TAGS and plain.data.datasets == ["user/triplets"]
    assert plain.data.get("license") is plain.data.base_model is plain.data.get("language") is None
    assert plain.text.strip().startswith("# user/name\n")
    card = written(
        trainer,
        language="en",
        license="mit",
        tags="emoji",
        model_name="My model",
        finetuned_from="user/base",
        dataset_tags=["user/pictures", "user/triplets"],
    )
    assert (card.data.language, card.data.license, card.data.base_model) == ("en", "mit", "user/base")
    assert card.data.tags == [*TAGS, "emoji"] and card.data.datasets == ["user/triplets", "user/pictures"]
    assert card.text.strip().startswith("# My model\n") and 'model_id = "user/name"' in card.text
    assert written(trainer, tags=["emoji", TAGS[0], "small"]).data.tags == [*TAGS, "emoji", "small"]
    assert written(trainer, tags=None, tasks=None).content == plain.content


def test_keywords_are_those_of_trainer(make_trainer):
    trainer = make_trainer()
    trainer.save_model()
    names = list(inspect.signature(Trainer.create_model_card).parameters)[1:]
    refused = set(names) - set(CARD_METADATA)
    assert refused == {"tasks", "dataset", "dataset_args"} and set(CARD_METADATA) < set(names)
    for name in refused:
        with pytest.raises(InputError, match=f"leave out `{name}`"):
            trainer.create_model_card(**{name: "x"})
    with pytest.raises(TypeError, match="'licence'"):
        trainer.create_model_card(licence="mit")
    assert not (trainer.output_dir / "README.md").exists()


def test_wrong_keywords_are_refused_before_anything_is_written(make_trainer, monkeypatch):
    trainer = make_trainer()
    monkeypatch.setattr(AlignTrainer, "init_hf_repo", lambda *_: pytest.fail("made a repository"))
    with pytest.raises(TypeError, match="'tagz'"):
        trainer.push_to_hub(tagz=["emoji"])
    with pytest.raises(InputError, match="leave out `dataset`"):
        trainer.push_to_hub(dataset="emoji")
    assert list(trainer.output_dir.iterdir()) == []


@pytest.mark.parametrize("family", ["clip", "mae"])
def test_no_card_promises_that_auto_model_opens_an_adapter_that_it_would_not(family, make_trainer):
    trainer = make_trainer(family, LoraConfig(r=2))
    trainer.train()
    trainer.save_model()
    with pytest.raises(InputError, match="to export plain weights, add `merge_lora=True`"):
        trainer.create_model_card()
    card = trainer.output_dir / "README.md"  # PEFT wrote one
    assert "AutoModel" not in card.read_text()
    trainer.model.merge_adapter()
    trainer.create_model_card()
    assert "AutoModel" in card.read_text()
