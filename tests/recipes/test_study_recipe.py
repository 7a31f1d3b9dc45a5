"""The recipe `study`: its list of runs, and the study of their checkpoints."""

import numpy as np
import pytest
from datasets import DatasetDict
from recipe_scripts import RECIPES, load_script

from hf_alignet.demo import demo_images
from hf_alignet.encoder import VisionEncoder
from hf_alignet.errors import InputError
from hf_alignet.text_files import load_yaml
from hf_alignet.triplets import triplets_from_arrays

FOLDER = RECIPES / "study"


@pytest.fixture(scope="module")
def runner():
    return load_script(FOLDER / "train.py")


def test_the_study_is_of_checkpoints_that_are_made(runner):
    folder, runs = runner.read_runs(FOLDER / "emoji.yaml")
    made = {f"{folder}/{name}" for run, of_run in runs.items() for name in runner.checkpoints(run, of_run)}
    study = load_yaml(FOLDER / "study.yaml", "the study")
    assert set(study["model_name_or_path"]) <= made and len(study["model_name_or_path"]) >= 24
    assert set(study["covariates"]) == {path.rpartition("/")[2] for path in study["model_name_or_path"]}


@pytest.mark.slow
def test_a_list_of_runs_makes_what_is_missing(runner, tmp_path):
    images = demo_images().select(range(60))
    images.save_to_disk(tmp_path / "images")
    rng = np.random.default_rng(0)
    triplets = np.stack([rng.permutation(60)[:3] for _ in range(40)])
    DatasetDict(train=triplets_from_arrays(triplets, rng.normal(size=(40, 3)).astype(np.float32))).save_to_disk(
        tmp_path / "triplets"
    )
    file = tmp_path / "runs.yaml"
    common = f"output_dir: {tmp_path / 'models'}\nimages: {tmp_path / 'images'}\ntriplets: {tmp_path / 'triplets'}\n"
    common += "settings: {max_steps: 2, per_device_train_batch_size: 8, learning_rate: 1.0e-3, disable_tqdm: true}\n"
    file.write_text(common + "runs:\n  base: {train: false}\n  some: {num_triplets: 9, shares: [0.5, 1]}\n")
    folder, runs = runner.read_runs(file)
    for name, run in runs.items():
        runner.train(name, run, folder)
    found = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    assert found == {"base", "some", "some-0.5"}
    base, half, whole = (
        dict(VisionEncoder.from_pretrained(str(folder / name)).model.named_parameters())
        for name in ("base", "some-0.5", "some")
    )
    for name, weight in base.items():
        assert half[name].detach().numpy() == pytest.approx((weight + whole[name]).detach().numpy() / 2, abs=1e-6)
    assert any((whole[name] != weight).any() for name, weight in base.items())
    file.write_text(common + "runs:\n  wrong: {nonsense: 1}\n")
    with pytest.raises(InputError, match="the run 'wrong' cannot be read: .*nonsense"):
        runner.read_runs(file)
