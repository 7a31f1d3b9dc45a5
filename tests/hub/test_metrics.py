"""The metrics that `evaluate.load` opens: offline, with examples that run, and equal to the package's functions."""

import doctest
import inspect
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from fakehub.checks import card_errors, card_metadata

from hf_alignet.evaluation import Rsm, are_correct, correlate_rsms, odd_one_out_choices, share_correct, spearman
from hf_alignet.similarity import choice_log_probabilities, entropy, triplet_similarities

evaluate = pytest.importorskip("evaluate")

FOLDERS = sorted(path for path in (Path(__file__).parents[2] / "hub_cards" / "metrics").iterdir() if path.is_dir())
METRICS = [folder.name for folder in FOLDERS]
ROOT = FOLDERS[0].parent


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    """Loads a metric by name; the copies of modules that `evaluate` makes stay in a folder of the tests."""
    folder = tmp_path_factory.mktemp("evaluate")
    initialise, path = evaluate.loading.init_dynamic_modules, list(sys.path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            evaluate.loading, "init_dynamic_modules", lambda *n: initialise(*n, hf_modules_cache=folder / "modules")
        )
        patch.setattr(sys, "path", path)
        yield lambda name: evaluate.load(str(ROOT / name), cache_dir=str(folder / "cache"))
    for name in [name for name in sys.modules if name.startswith("evaluate_modules")]:
        del sys.modules[name]


def test_all_three_are_there():
    assert METRICS == ["odd_one_out_accuracy", "rsa_spearman", "uncertainty_rt_correlation"]


@pytest.mark.parametrize("name", METRICS)
def test_its_examples_run(name, load):
    metric = load(name)
    assert metric.description and metric.citation and "Example:" in metric.inputs_description
    scope = {"evaluate": _Loader(load), "metric": metric, "np": np}
    examples = doctest.DocTestParser().get_doctest(metric.inputs_description, scope, name, None, None)
    assert len(examples.examples) >= 2
    said = []
    found = doctest.DocTestRunner(verbose=False).run(examples, out=said.append)
    assert found.failed == 0, "".join(said)


class _Loader:
    """`evaluate` in an example, whose names of metrics are those of our folders."""

    def __init__(self, load):
        self.load = load


@pytest.mark.parametrize("folder", FOLDERS, ids=METRICS)
def test_its_space_describes_it(folder, load):
    assert {file.name for file in folder.iterdir()} >= {"README.md", "app.py", "requirements.txt", f"{folder.name}.py"}
    text = (folder / "README.md").read_text()
    metadata = card_metadata(text)
    assert card_errors(text) == []
    assert metadata["sdk"] == "gradio" and metadata["app_file"] == "app.py" and "metric" in metadata["tags"]
    assert metadata["title"] and metadata["description"] and metadata["license"] == "apache-2.0"
    assert "hf_alignet" in (folder / "requirements.txt").read_text().split()
    assert f'load("{folder.name}")' in (folder / "app.py").read_text()
    (snippet,) = re.findall(r"```python\n(.*?)```", text, re.S)
    *code, shown = snippet.strip().splitlines()
    scope = {}
    code = [line for line in code if not line.startswith("import")]
    code[-1] = f"found = {code[-1]}"
    exec("\n".join(code), {"evaluate": _Loader(load)}, scope)
    said = yaml.safe_load(shown.removeprefix("# ").replace(", ...", ""))
    assert {key: round(scope["found"][key], 3) for key in said} == said
    metric = load(folder.name)
    inputs = {*metric.features, *inspect.signature(metric._compute).parameters}
    assert set(re.findall(r"^\| `(\w+)` \|", text, re.M)) == inputs | scope["found"].keys()
    assert metric.citation.strip() in text


def test_odd_one_out_accuracy_is_ours(load):
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(12, 4))
    triplets = np.stack([rng.permutation(12)[:3] for _ in range(50)])
    odd = rng.integers(0, 3, 50)
    predictions = similarities(embeddings, triplets)
    found = load("odd_one_out_accuracy").compute(predictions=predictions.tolist(), references=odd.tolist())
    choices = odd_one_out_choices(embeddings, triplets)
    ours = share_correct(are_correct(choices, odd))  # the objects of the triplets are not known
    assert found == {"odd_one_out_accuracy": ours["value"], **{k: ours[k] for k in ("n", "chance", "ci95", "unit")}}
    tied = load("odd_one_out_accuracy").compute(predictions=[[1.0, 1.0, 1.0]] * 3, references=[0, 1, 2])
    assert tied["odd_one_out_accuracy"] == 0


def test_uncertainty_is_ours(load):
    rng = np.random.default_rng(1)
    predictions, times = rng.normal(size=(40, 3)), rng.normal(size=40)
    found = load("uncertainty_rt_correlation").compute(
        predictions=predictions.tolist(), references=times.tolist(), temperature=0.5
    )
    ours = spearman(entropy(choice_log_probabilities(torch.from_numpy(predictions), 0.5)).numpy(), times)
    assert found["uncertainty_rt_correlation"] == ours.metric["value"] and found["n"] == 40
    assert (found["sd"], found["ci95"]) == (ours.sd, ours.metric["ci95"])


def test_rsa_is_ours_and_masks_what_was_not_judged(load):
    rng = np.random.default_rng(2)
    embeddings, judged = rng.normal(size=(8, 5)), rng.normal(size=(8, 8))
    judged = judged + judged.T
    judged[0, 3] = judged[3, 0] = judged[5, 6] = judged[6, 5] = np.nan
    metric = load("rsa_spearman")
    for kind, kernel in (("similarity", "pearson"), ("dissimilarity", "dot")):
        found = metric.compute(predictions=embeddings.tolist(), references=judged.tolist(), kind=kind, kernel=kernel)
        ours = correlate_rsms(
            Rsm.from_embeddings(embeddings.astype(np.float32), kernel),
            Rsm.from_matrix(judged.astype(np.float32), kind),
        )
        assert found == {"rsa_spearman": ours.value, "n": 26, "masked": 2}
    flat = metric.compute(predictions=[[1.0, 1.0]] * 8, references=judged.tolist())
    assert flat["rsa_spearman"] == 0


def similarities(embeddings: np.ndarray, triplets: np.ndarray) -> np.ndarray:
    return triplet_similarities(torch.from_numpy(embeddings), torch.from_numpy(triplets)).numpy()
