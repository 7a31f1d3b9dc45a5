import json
import re
import shlex
from functools import partial

import pytest
import torch
import yaml
from datasets import Dataset
from fakehub.checks import card_errors, eval_results_errors
from huggingface_hub import ModelCard

from hf_alignet.encoder import AffineTransform
from hf_alignet.encoder.vision_model import VisionEncoder
from hf_alignet.errors import InputError
from hf_alignet.hub.cards.measured_card import fetch_card, update_card
from hf_alignet.hub.cards.model_card import write_model_card
from hf_alignet.hub.rendering import terms_of
from hf_alignet.hub.transport.license import stated_license
from hf_alignet.similarity import prepare_embeddings
from hf_alignet.sources import public_name
from hf_alignet.teacher import Vice

METRIC = {"value": 0.5, "n": 100, "chance": 1 / 3, "ci95": [0.4, 0.6]}
RESULTS = {"base": {"things/test/odd_one_out_accuracy": METRIC | {"value": 0.4}}}
RESULTS["aligned"] = {"things/test/odd_one_out_accuracy": METRIC}


def written(directory, alignment, results=RESULTS):
    alignment = {"pooling": "cls", "similarity": "dot", "exported_temperature": 12.5} | alignment
    (directory / "alignment.json").write_text(json.dumps(alignment))
    if results is not None:
        (directory / "results.json").write_text(json.dumps(results))
    write_model_card(directory, "user/aligned")
    text = (directory / "README.md").read_text()
    assert card_errors(text) == []
    assert "More information needed" not in text and "\n\n\n" not in text and "None" not in text
    return text


def test_card_holds_the_facts(tmp_path):
    text = written(tmp_path, {"base_model": "user/base", "triplets": "user/triplets@v2", "images": "user/images"})
    card = ModelCard(text)
    assert card.data.base_model == "user/base"
    assert card.data.datasets == ["user/triplets", "user/images"]
    assert card.data.pipeline_tag == "image-feature-extraction" and card.data.library_name == "transformers"
    (result,) = card.data.eval_results
    assert (result.metric_value, result.metric_args["before"], result.metric_args["n"]) == (0.5, 0.4, 100)
    assert "0.400 [0.400, 0.600] | 0.500 [0.400, 0.600] | +0.100" in text
    assert "temperature 12.5" in text


def test_eval_results_name_the_dataset_on_the_hub(tmp_path):
    written(tmp_path, {"triplets": "user/triplets@v2"})
    text = (tmp_path / ".eval_results" / "odd_one_out.yaml").read_text()
    assert eval_results_errors(".eval_results/odd_one_out.yaml", text) == []
    (entry,) = yaml.safe_load(text)
    assert entry["dataset"] == {"id": "user/triplets", "task_id": "test", "revision": "v2"}
    assert entry["value"] == 0.5 and "n = 100, chance = 0.333, before alignment 0.4000" in entry["notes"]


def test_what_was_not_measured_before_has_no_value_before(tmp_path):
    text = written(tmp_path, {"triplets": "user/triplets"}, {"base": {}, "aligned": RESULTS["aligned"]})
    (result,) = ModelCard(text).data.eval_results
    assert result.metric_value == 0.5 and "before" not in result.metric_args and "Before and after" not in text
    entries = (tmp_path / ".eval_results" / "odd_one_out.yaml").read_text()
    assert eval_results_errors(".eval_results/odd_one_out.yaml", entries) == [] and "before" not in entries


def test_local_data_have_no_hub_ids(tmp_path):
    text = written(tmp_path, {"base_model": "my-vit", "triplets": "my-triplets", "images": "hf_alignet demo"})
    data = ModelCard(text).data
    assert data.base_model is None and data.get("datasets") is None
    assert not (tmp_path / ".eval_results").exists()


def test_card_without_results_leaves_the_section_out(tmp_path):
    assert "Before and after" not in written(tmp_path, {}, results=None)


@pytest.mark.parametrize(
    ("family", "pooling"), [("vit", "auto"), ("vit", "cls"), ("dinov2_with_registers", "mean"), ("siglip2", "mean")]
)
def test_usage_snippet_runs_and_gives_our_embedding(family, pooling, tiny_directory, tmp_path):
    assert_snippet_gives_our_embedding(family, pooling, "dot", tiny_directory, tmp_path)


@pytest.mark.parametrize(("family", "similarity"), [("resnet", "cosine"), ("vit", "pearson")])
def test_usage_snippet_follows_the_similarity(family, similarity, tiny_directory, tmp_path):
    assert_snippet_gives_our_embedding(family, "mean", similarity, tiny_directory, tmp_path)


def assert_snippet_gives_our_embedding(family, pooling, similarity, tiny_directory, tmp_path):
    encoder = VisionEncoder.from_pretrained(str(tiny_directory(family)), pooling)
    encoder.save_pretrained(tmp_path)
    alignment = {"pooling": encoder.pooling, "num_prefix_tokens": encoder.num_prefix_tokens, "similarity": similarity}
    text = written(tmp_path, alignment)
    (snippet,) = re.findall(r"```python\n(.*?)```", text, re.S)
    scope = {}
    exec(snippet.replace("user/aligned", str(tmp_path)).replace("(64, 64)", "(64, 24)"), scope)
    images = Dataset.from_dict({"image": scope["images"]})
    expected = prepare_embeddings(torch.from_numpy(encoder.embed(images, progress=False)), similarity)
    torch.testing.assert_close(scope["embeddings"], expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(scope["similarities"], expected @ expected.T, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"teacher": "simulated raters"}, "**Teacher:** simulated raters.\n"),
        (
            {"teacher": "user/vit", "teacher_transform": "user/transform"},
            "**Teacher:** `user/vit` under the transform `user/transform`.\n",
        ),
        (
            {"teacher": "user/vit", "teacher_transform": "none"},
            "**Teacher:** `user/vit`. It learned nothing from people",
        ),
        ({"official": "alignet_train.npz"}, "**Teacher:** the one of the triplets that Google DeepMind released.\n"),
    ],
)
def test_teacher_is_named_where_it_is_known(facts, expected, tmp_path):
    assert expected in written(tmp_path, facts)
    assert "Teacher:" not in written(tmp_path, {"teacher": None})


def test_command_and_versions(tmp_path):
    line = "accelerate launch --num_processes 2 -m hf_alignet.cli.align --images user/images --bf16"
    text = written(tmp_path, {"command": line, "versions": {"torch": "2.9", "python": "3.11"}, "a|b": "c|d"})
    (block,) = re.findall(r"```bash\n(.*?)```", text, re.S)
    assert shlex.split(block.replace("\\\n", "")) == line.split()
    assert "Made with torch 2.9, python 3.11." in text and "| c\\|d |" in text
    assert "| versions" not in text and "| command" not in text


def test_tags_are_added_to_ours_and_unknown_keywords_are_refused(tmp_path):
    ours = ModelCard(written(tmp_path, {})).data.tags
    write_model_card(tmp_path, "user/aligned", license="mit", tags=["birds", ours[0]], language="en")
    data = ModelCard.load(tmp_path / "README.md").data
    assert (data.tags, data.license, data.language) == ([*ours, "birds"], "mit", "en")
    write_model_card(tmp_path, "user/aligned", tags="birds")
    assert ModelCard.load(tmp_path / "README.md").data.tags == [*ours, "birds"]
    vice = Vice()
    for call in (partial(write_model_card, tmp_path, "x"), AffineTransform.identity(2).generate_model_card,
                 partial(AffineTransform.identity(2).push_to_hub, "user/x"),
                 vice.generate_model_card, partial(vice.push_to_hub, "user/x")):  # fmt: skip
        with pytest.raises(TypeError, match="licence"):
            call(licence="mit")


def test_a_card_gets_numbers_only_under_names_that_were_given(tmp_path):
    before = written(tmp_path, {})
    (tmp_path / "config.json").write_text("{}")
    metrics = {"mine/test/odd_one_out_accuracy": METRIC, "choices/test/odd_one_out_accuracy": METRIC}
    with pytest.raises(InputError, match="only under a name that you give: name the data of 'choices'"):
        update_card(tmp_path, metrics, {"mine": "user/choices"})
    assert (tmp_path / "README.md").read_text() == before and not (tmp_path / ".eval_results").exists()
    update_card(tmp_path, dict(list(metrics.items())[:1]), {"mine": "user/choices@v1"})
    added = ModelCard.load(tmp_path / "README.md").data.eval_results[-1]
    assert (added.dataset_name, added.dataset_type, added.dataset_revision) == ("mine", "user/choices", "v1")
    (entry,) = yaml.safe_load((tmp_path / ".eval_results" / "odd_one_out.yaml").read_text())
    assert entry["dataset"] == {"id": "user/choices", "task_id": "test", "revision": "v1"}
    assert "By `hf-alignet evaluate`" in (tmp_path / "README.md").read_text()
    card = ModelCard.load(tmp_path / "README.md")
    added.metric_args, added.metric_name = {"top_k": 1}, "a number of other software"
    card.data.eval_results.append(added)
    card.save(tmp_path / "README.md")
    update_card(tmp_path, dict(list(metrics.items())[:1]), {"mine": "user/choices@v1"})
    assert "a number of other software" not in ModelCard.load(tmp_path / "README.md").text


def test_commits_are_the_revisions(tmp_path):
    text = written(tmp_path, {"triplets": "user/triplets@v2", "triplets_commit": "a" * 40})
    assert ModelCard(text).data.eval_results[0].dataset_revision == "a" * 40
    (entry,) = yaml.safe_load((tmp_path / ".eval_results" / "odd_one_out.yaml").read_text())
    assert entry["dataset"]["revision"] == "a" * 40


def test_licence_of_the_base_model(tmp_path):
    other = {"license": "other", "license_name": "siglip-terms", "license_link": "https://example.com/terms"}
    facts = {"base_model": "user/base", "base_model_license": other}
    text = written(tmp_path, facts)
    assert ModelCard(text).data.license == "other" and ModelCard(text).data.license_name == "siglip-terms"
    assert "states the licence [siglip-terms](https://example.com/terms)." in text
    write_model_card(tmp_path, "user/aligned", license="mit")
    data = ModelCard.load(tmp_path / "README.md").data
    assert data.license == "mit" and data.get("license_name") is None
    assert "states the licence mit." in written(tmp_path, facts | {"base_model_license": {"license": "mit"}})
    assert "## Licence" not in written(tmp_path, {"base_model": "user/base", "base_model_license": None})


@pytest.mark.parametrize(
    ("front", "expected"),
    [
        ("license: mit", {"license": "mit"}),
        ("license: other\nlicense_name: x\nlicense_link: LICENSE", {"license": "other", "license_name": "x"}),
        ("tags: [a]", {}),
        ("license: [", {}),
    ],
)
def test_stated_license(front, expected, tmp_path, caplog):
    assert stated_license(str(tmp_path), ask_hub=True) == {}  # no card
    (tmp_path / "README.md").write_text(f"---\n{front}\n---\n")
    assert stated_license(str(tmp_path), ask_hub=True) == expected
    assert ("the licence is left out" in caplog.text) == (front == "license: [")


def test_pictures_and_their_terms(tmp_path):
    text = written(tmp_path, {"images": "ILSVRC/imagenet-1k", "triplets": "user/triplets", "pictures_shown": False})
    assert "trained with `ILSVRC/imagenet-1k`. No picture of that dataset is in this repository." in text
    assert "non-commercial research" in text and "THINGS" not in text
    (tmp_path / "before_after.png").touch()
    assert "No picture of" in written(tmp_path, {"images": "photos", "pictures_shown": False})
    text = written(tmp_path, {"images": "emoji", "pictures_shown": True})
    assert "shows small pictures of `emoji`" in text and "may not be passed on" not in text


@pytest.mark.parametrize(
    ("name", "is_known"),
    [
        ("tiny-imagenet", True),
        ("things", True),
        ("user/things-judgments", True),
        ("user/my-things", False),
        ("a/b", False),
    ],
)
def test_terms_are_known_by_the_name(name, is_known):
    assert len(terms_of(name, None)) == is_known


def test_public_name(tmp_path):
    (tmp_path / "photos").mkdir()
    assert public_name(str(tmp_path / "photos")) == "photos"
    assert public_name("user/photos@main") == "user/photos@main"
    assert public_name("/home/somebody/gone") == public_name("~/gone") == public_name("a/b/gone") == "gone"
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    assert public_name(str(tmp_path / "link")) == "link"  # not who it is of


def test_a_card_that_the_hub_does_not_give_has_its_cause(tmp_path):
    with pytest.raises(
        InputError, match="'user/model' is no directory with a model, nor one on the Hub: HF_HUB_OFFLINE"
    ):
        fetch_card("user/model", tmp_path / "card")


# ---- usefulness


def test_labelled_images_are_tasks_that_the_hub_knows(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    expected = {  # type of the task, dataset, its name, split and revision, type of the metric
        "c_probe/all/probe_accuracy": ("image-classification", "user/c", "c", "test", "v1", "accuracy"),
        "c_few_shot/5_shot/few_shot_accuracy": ("image-classification", "user/c", "c", "test", "v1", "accuracy"),
        "p_shift/unshifted/shift_accuracy": ("image-classification", "user/p", "p", "photo", None, "accuracy"),
        "p_shift/p#ink/shift_accuracy": ("image-classification", "user/p", "p", "ink", None, "accuracy"),
        "x/entity13_target/breeds_accuracy": ("image-classification", "own", "own", "test", None, "accuracy"),
        "d/mean/corruption_accuracy": ("image-classification", "own", "own", "test", None, "accuracy"),
        "d/mean/kept_accuracy": ("image-classification", "own", "own", "test", None, "kept_accuracy"),
        "a/one_vs_rest/anomaly_auroc": ("anomaly-detection", "own", "own", "test", None, "roc_auc"),
        "r/test/recall_at_1": ("image-retrieval", "own", "own", "test", None, "recall_at_1"),
        "rdm48/rsa_spearman": ("image-feature-extraction", "rdm48", "rdm48", None, None, "spearmanr"),
    }
    sources = {"c_probe": "user/c@v1#test", "c_few_shot": "user/c@v1#test", "rdm48": "rdm48.csv"}
    sources |= {"p_shift": "user/p#photo", "p_shift/unshifted": "user/p#photo", "p_shift/p#ink": "user/p#ink"}
    sources |= dict.fromkeys("xdar", "own#test")
    for _ in range(2):  # the second time it has them
        update_card(tmp_path, {name: METRIC for name in expected}, sources)
        text = (tmp_path / "README.md").read_text()
        assert card_errors(text) == []
        found = {
            r.metric_name: (
                *(r.task_type, r.dataset_type, r.dataset_name, r.dataset_split, r.dataset_revision),
                r.metric_type,
            )
            for r in ModelCard(text).data.eval_results
        }
        assert found == expected
    index = yaml.safe_load(text.split("---\n")[1])["model-index"][0]["results"]
    (of_c,) = [result for result in index if result["dataset"]["type"] == "user/c"]
    assert len(of_c["metrics"]) == 2 and of_c["task"] == {
        "type": "image-classification",
        "name": "image classification",
    }
    assert not (tmp_path / ".eval_results").exists()  # of odd-one-out accuracy alone
