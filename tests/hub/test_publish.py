"""Publishing: from a folder to the Hub in one process, and back in another that lacks our package, bit for bit."""

import json
import os
import pickle
import re
import shlex
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import transformers
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value, load_dataset
from datasets import Image as ImageFeature
from fakehub import USER, FakeHub
from fakehub.checks import card_errors
from huggingface_hub import DatasetCard, ModelCard
from huggingface_hub.utils import filter_repo_objects
from peft import LoraConfig
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny import VIT

from hf_alignet.cli.publish import main
from hf_alignet.encoder import AffineTransform, VisionEncoder
from hf_alignet.errors import InputError, RunError
from hf_alignet.hub.cards.model_card import write_model_card
from hf_alignet.hub.cards.triplets_card import write_triplets_card
from hf_alignet.hub.publish import publish
from hf_alignet.hub.publish.contents import anonymous
from hf_alignet.hub.publish.publication import Publication
from hf_alignet.hub.publish.upload import replaced_files
from hf_alignet.hub.transport.inspection import check_shareable
from hf_alignet.images.opening import load_images
from hf_alignet.judgments import aggregate, image_names, load_judgments, make_judgments
from hf_alignet.judgments.judgment_dataset import align_columns
from hf_alignet.judgments.similarity_matrices import mean_over_participants
from hf_alignet.storage import OURS, write_checksums, write_dataset
from hf_alignet.teacher import Vice
from hf_alignet.triplets.shards import write_shard
from hf_alignet.triplets.triplet_dataset import load_triplets, triplet_table

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
WORKERS = ["A1B2C3D4E5F6G7", "5f3a9c0e1b2d4f6a7c8e9b0d"]
N = 6


# ---- what is published


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("publish")


@pytest.fixture(scope="module")
def made(folder, tiny_directory) -> dict[str, Path]:
    """One of everything, in folders of its own."""
    rng = np.random.default_rng(0)
    paths = {name: folder / "made" / name for name in ("images", "choices", "triplets", "teacher", "vice", "aligned")}
    paths |= {"matrix": folder / "made" / "rdm.npz", "levels": folder / "made" / "levels"}
    for path in paths.values():
        (path.parent if path.suffix else path).mkdir(parents=True, exist_ok=True)
    pictures = [Image.fromarray(rng.integers(0, 256, (9, 8, 3), dtype=np.uint8)) for _ in range(N)]
    columns = {"image": pictures, "label": [i % 2 for i in range(N)], "filename": [f"{i}.png" for i in range(N)]}
    features = Features({"image": ImageFeature(), "label": ClassLabel(names=["a", "b"]), "filename": Value("string")})
    Dataset.from_dict(columns, features).save_to_disk(paths["images"])
    for split, number in (("train", 40), ("test", 15)):
        lines = ["image_1,image_2,image_3,odd_one_out,participant,rt,is_catch"]
        for _ in range(number):
            triplet = rng.permutation(N)[:3]
            cells = [*(f"{i}.png" for i in triplet), f"{rng.choice(triplet)}.png", WORKERS[rng.integers(2)]]
            lines.append(",".join([*cells, f"{rng.uniform(1, 3):.3f}", str(rng.random() < 0.1).lower()]))
        (paths["choices"] / f"{split}.csv").write_text("\n".join(lines))
    (paths["triplets"] / "triplets").mkdir()
    rows = np.stack([rng.permutation(N)[:3] for _ in range(30)])
    write_shard(
        triplet_table(rows, rng.normal(size=(30, 3))), paths["triplets"] / "triplets/train-00000-of-00001.parquet"
    )
    info = {"images": "user/photos", "num_images": N, "teacher": "user/teacher", "sampling": "random"}
    (paths["triplets"] / "triplets.json").write_text(json.dumps(info | {"num_triplets": {"train": 30}}))
    write_triplets_card(paths["triplets"], info, {"train": 30})
    AffineTransform(rng.normal(size=(4, 4)), rng.normal(size=4), info={"base_model": "user/vit"}).save_pretrained(
        paths["teacher"]
    )
    vice = Vice()
    vice.loc_, vice.scale_ = rng.random((N, 3), dtype=np.float32), np.ones((N, 3), np.float32)
    vice.history_, vice.converged_ = [], True
    vice.save_pretrained(paths["vice"])
    judged = rng.random((2, N, N)).astype(np.float32)
    judged += judged.transpose(0, 2, 1)
    judged[:, range(N), range(N)] = 0
    judged[0, 1, 2] = judged[0, 2, 1] = np.nan
    np.savez(paths["matrix"], matrix=judged, names=[f"{i}.png" for i in range(N)])
    np.save(folder / "features.npy", rng.normal(size=(N, 4)).astype(np.float32))
    write_levels(paths["levels"])
    write_model(paths["aligned"], tiny_directory("vit"))
    return paths


def write_levels(folder: Path) -> None:
    """Raw results of two sessions, each with a miss, as their publishers have them."""
    names = [f"n0000000{i}_1.JPEG" for i in (1, 1, 2, 3)]
    names = [name.replace("_1", f"_{i}") for i, name in enumerate(names)]
    for person in range(2):
        events = []
        for shown, kind in (((0, 1, 2), "exp_trial"), ((0, 2, 3), "exp_trial"), ((1, 2, 3), "exp_trial")):
            events.append(
                {
                    "subject_id": "participant_1",
                    **{f"image{i + 1}Path": f"stimuli/{names[row]}" for i, row in enumerate(shown)},
                    "selected_image": f"stimuli/{names[shown[2]]}" if shown != (1, 2, 3) else "No image selected",
                    "rt": 2000 + person,
                    "exp_trial_type": kind,
                }
            )
        (folder / f"jane_doe_{person}.json").write_text(json.dumps(events))


def write_model(folder: Path, tiny: Path) -> None:
    """An aligned model, with what a run leaves beside it, and numbers that were measured later in its card."""
    for file in tiny.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    metric = {"value": 0.5, "n": 100, "chance": 1 / 3, "ci95": [0.4, 0.6]}
    results = {name: {"things/test/odd_one_out_accuracy": metric} for name in ("base", "aligned")}
    alignment = {"pooling": "cls", "similarity": "dot", "exported_temperature": 12.5, "num_prefix_tokens": 1}
    (folder / "alignment.json").write_text(json.dumps(alignment))
    (folder / "results.json").write_text(json.dumps(results))
    write_model_card(folder, "aligned", license="mit")
    card = ModelCard.load(folder / "README.md")
    card.data.eval_results[0].metric_name = "later/test/odd_one_out_accuracy"
    card.save(folder / "README.md")
    (folder / "checkpoint-5").mkdir()
    (folder / "runs").mkdir()
    for name in ("training_args.bin", "checkpoint-5/optimizer.pt", "runs/events.out.tfevents.1.this-machine"):
        (folder / name).write_bytes(pickle.dumps([1]))


# ---- the processes


@pytest.fixture(scope="module")
def hub(folder):
    with FakeHub(forbidden=[str(folder), str(Path.home()) + "/", *WORKERS, "jane_doe"]) as hub:
        yield hub


def run_stage(hub: FakeHub, folder: Path, stage: str):
    environment = {**os.environ, **hub.env(folder / f"{stage}-cache"), "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    command = [sys.executable, "-W", "ignore", str(HERE / "publish_stages.py"), stage]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, f"stage {stage}:\n{done.stderr[-4000:]}\n{hub.requests[-5:]}"
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def pushed(hub, folder, made) -> list:
    """Each kind; then the choices again, in which a commit fails, and once more."""
    choices = ["dataset", str(made["choices"]), f"{USER}/choices", "--images", str(made["images"])]
    choices += ["--i_have_the_right_to_share_images", "--license", "cc0-1.0", "--source", "Our own raters, 2025."]
    again = [*choices, "--revision", "draft"]
    metric = ROOT / "hub_cards" / "metrics" / "odd_one_out_accuracy"
    commands = [
        choices,
        ["dataset", str(made["triplets"]), f"{USER}/triplets", "--private"],
        ["dataset", str(made["matrix"]), f"{USER}/matrix"],
        ["dataset", str(made["levels"]), f"{USER}/levels"],
        ["transform", str(made["teacher"]), f"{USER}/teacher", "--license", "mit"],
        ["transform", str(made["vice"]), f"{USER}/vice"],
        ["metric", str(metric), f"{USER}/odd_one_out_accuracy"],
        ["model", str(made["aligned"]), f"{USER}/aligned"],
        again,
        again,
        ["dataset", str(made["matrix"]), f"{USER}/choices"],
        ["space", str(ROOT / "hub_cards" / "space"), f"{USER}/what-is-similar", "--license", "mit"],
    ]
    hub.fail_next("POST", f"/api/datasets/{USER}/choices/commit/draft", 403)
    (folder / "commands.json").write_text(json.dumps(commands))
    return run_stage(hub, folder, "push")


@pytest.fixture(scope="module")
def pulled(hub, folder, pushed) -> dict:
    return run_stage(hub, folder, "pull")


def test_every_command_ends_well_but_the_one_that_the_hub_refuses(pushed, made, hub):
    assert [status for status, _, _ in pushed] == [0] * 8 + [1, 0, 2, 0], pushed
    said = pushed[8][2][pushed[8][2].index("\nerror: ") + 1 :].strip()
    assert "\n" not in said and "it needs the permission to write" in said and "(403 " in said
    assert f"Share it by `hf upload {USER}/choices outputs/published/datasets--tester--choices --repo-type" in said
    uploads = [request for request in hub.requests if request.method == "PUT" and "/_lfs/" in request.path]
    assert len(uploads) == len({request.path for request in uploads})  # nothing twice
    assert f"is shared as {USER}/choices\n" in pushed[9][1]


def test_a_space_is_its_three_files(pushed, hub):
    name = f"{USER}/what-is-similar"
    assert {"README.md", "app.py", "requirements.txt"} >= {*hub.ls("space", name)} - {".gitattributes"}
    assert hub.read("space", name, "app.py") == (ROOT / "hub_cards" / "space" / "app.py").read_bytes()
    card = hub.read("space", name, "README.md").decode()
    assert "sdk: gradio\n" in card and "license: mit\n" in card


def test_the_files_of_a_space_are_inspected(tmp_path, dry_run):
    space = tmp_path / "space"
    shutil.copytree(ROOT / "hub_cards" / "space", space)
    (space / "mine.csv").write_text("what nobody should see")
    folder = dry_run("space", str(space), "me/x")
    assert {file.name for file in folder.iterdir()} - OURS == {"README.md", "app.py", "requirements.txt"}
    (space / "app.py").write_text(f"TOKEN = 'hf_{'a' * 34}'\n")
    with pytest.raises(InputError, match="app.py holds an access token"):
        dry_run("space", str(space), "me/x")
    (space / "app.py").write_text("print()\n")
    (space / "README.md").write_text("---\nsdk: docker\n---\n")
    with pytest.raises(InputError, match="must say `sdk: gradio`"):
        dry_run("space", str(space), "me/x")


def test_data_of_another_dataset_are_neither_deleted_nor_orphaned(pushed, made, hub, tmp_path):
    assert f"{USER}/choices holds other data, aggregated, images, judgments, stimulus_names, which" in pushed[10][2]
    assert "Configuration `judgments`" in hub.read("dataset", f"{USER}/choices", "README.md").decode()
    (tmp_path / "triplets").mkdir()
    there = ["triplets/train-00000-of-00002.parquet", "old/0.parquet", "train.parquet", "model.safetensors"]
    gone = {}
    for kind in ("dataset", "transform", "model"):
        patterns = replaced_files(tmp_path, Publication(kind, "x", "me/x"))
        gone[kind] = list(filter_repo_objects(there, allow_patterns=patterns or ["nothing"]))
    assert gone == {"dataset": there[:1], "transform": [], "model": there[3:]}


def test_rows_are_equal_bit_for_bit_without_the_package(pulled, made, folder):
    images = load_images(str(made["images"]))
    judgments = load_judgments(str(made["choices"]), image_names(images))
    expected = {f"choices.judgments.{split}": data.data.table for split, data in judgments.items()}
    expected |= {f"choices.aggregated.{split}": aggregate(data).data.table for split, data in judgments.items()}
    expected["triplets.triplets.train"] = load_triplets(str(made["triplets"]))["train"].data.table
    for name, table in expected.items():
        with pa.ipc.open_file(folder / f"{name}.arrow") as file:
            found = file.read_all()
        if "participant" in table.column_names:
            codes = {worker: str(i) for i, worker in enumerate(dict.fromkeys(judgments["train"]["participant"]))}
            column = table.schema.get_field_index("participant")
            numbers = pa.array([codes[worker] for worker in table["participant"].to_pylist()])
            table = table.set_column(column, "participant", numbers)
        assert found.column_names == table.column_names
        assert all(found[c].combine_chunks().equals(table[c].combine_chunks()) for c in table.column_names), name
    with pa.ipc.open_file(folder / "choices.images.train.arrow") as file:
        found = file.read_all().to_pylist()
    assert found == images.to_list()
    assert all(pulled["streamed"].values()) and set(pulled["streamed"]) == set(pulled["opened"])
    assert set(pulled["opened"]) == {
        *expected, "choices.images.train", "matrix.matrix.train", "matrix.participants.train",
        "levels.judgments.test", "levels.aggregated.test", "levels.stimulus_names.train",
        "choices.stimulus_names.train",
    }  # fmt: skip
    assert "ClassLabel(names=['a', 'b'])" in pulled["opened"]["choices.images.train"]


def test_the_package_opens_what_was_published(pulled, made):
    judged = np.load(made["matrix"])["matrix"]
    assert pulled["names"] == [f"{i}.png" for i in range(N)] and pulled["judged"] == {"train": 40, "test": 15}
    kind, names, matrix = pulled["matrix"]
    assert kind == "dissimilarity" and names == pulled["names"]
    np.testing.assert_array_equal(np.array(matrix, np.float32), mean_over_participants(judged))
    assert pulled["triplets"] == {"train": 30}
    assert pulled["transform"] == pulled["weights"]["weight"]
    assert pulled["transform"] == AffineTransform.from_pretrained(made["teacher"]).weight.tolist()
    assert pulled["vice"] == Vice.from_pretrained(made["vice"]).loc_.tolist()
    assert pulled["metric"]["odd_one_out_accuracy"] == 0.5


def test_commands_take_it_by_its_name(pulled, folder):
    assert pulled["evaluated"][0] == 0 and pulled["fitted"][0] == 0, (pulled["evaluated"], pulled["fitted"])
    (results,) = (
        m for name, m in json.loads((folder / "evaluation" / "results.json").read_text()).items() if name == "features"
    )
    assert {"mine/test/odd_one_out_accuracy", "matrix/rsa_spearman"} <= set(results)
    assert AffineTransform.from_pretrained(folder / "teacher").info["judgments"] == f"{USER}/choices"


def test_checksums_are_those_of_the_download(pulled):
    snapshot = Path(pulled["snapshot"])
    done = subprocess.run(["sha256sum", "--check", "SHA256SUMS"], cwd=snapshot, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.count(": OK") == 6
    assert Path(pulled["branch"]).read_text() != (snapshot / "README.md").read_text()  # its command names the branch


def test_cards_state_facts_under_the_new_name(pushed, hub):
    for kind, name in (("dataset", "choices"), ("dataset", "triplets"), ("dataset", "matrix"), ("dataset", "levels"),
                       ("model", "teacher"), ("model", "vice"), ("model", "aligned")):  # fmt: skip
        text = hub.read(kind, f"{USER}/{name}", "README.md").decode()
        assert card_errors(text) == [] and f"# {USER}/{name}\n" in text and f'"{USER}/{name}"' in text
        assert "path/to/this" not in text and "\n\n\n" not in text and "None" not in text, text
    text = hub.read("dataset", f"{USER}/choices", "README.md").decode()
    assert "| split | choices | triplets | participants | checks of attention |" in text
    assert "instead of the name or id" in text and "Our own raters, 2025." in text
    (*_, made) = re.findall(r"```bash\n(.*?)```", text, re.S)
    words = ["hf-alignet", "publish", "dataset", "choices", f"{USER}/choices", "--license", "cc0-1.0", "--images"]
    assert shlex.split(made.replace("\\\n", " ")) == [*words, "images"]
    assert f"hf-alignet evaluate --benchmarks choices:{USER}/choices" in text
    assert f"hf-alignet fit-teacher --judgments {USER}/choices" in text
    assert DatasetCard(text).data.license == "cc0-1.0"
    text = hub.read("dataset", f"{USER}/levels", "README.md").decode()
    assert f"hf-alignet evaluate --benchmarks levels:{USER}/levels" in text and "fit-teacher" not in text
    assert "| missed | 2 |" in text and "Not stated." in text and "ImageNet" in text and "muttenthaler2025" in text
    assert ModelCard(hub.read("model", f"{USER}/teacher", "README.md").decode()).data.license == "mit"
    space = hub.read("space", f"{USER}/odd_one_out_accuracy", "app.py").decode()
    assert f'evaluate.load("{USER}/odd_one_out_accuracy")' in space


def test_a_model_is_shared_without_what_its_run_left(pushed, pulled, hub):
    assert pulled["model"] == "ViTModel"
    files = hub.ls("model", f"{USER}/aligned")
    assert {"README.md", "alignment.json", "config.json", "model.safetensors", "results.json"} <= set(files)
    assert not any(re.search(r"\.bin|checkpoint|runs", file) for file in files)
    data = ModelCard(hub.read("model", f"{USER}/aligned", "README.md").decode()).data
    assert data.license == "mit" and data.model_name == f"{USER}/aligned"
    assert [result.metric_name.split("/")[0] for result in data.eval_results] == ["things", "later"]


# ---- in this process, which has no network

RIGHT = {"i_have_the_right_to_share_images": True}


@pytest.fixture
def dry_run(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return partial(publish, dry_run=True, progress=False)


def test_dry_run_shows_everything_and_its_snippet_runs(dry_run, made, capsys):
    images = str(made["images"])
    words = ["dataset", str(made["choices"]), "me/choices", "--images", images, *map("--{}".format, RIGHT)]
    main([*words, "--dry_run", "--disable_tqdm", "--source", "Seen at https://example.com/a/b/c."])
    made_here = Path("outputs/published/datasets--me--choices")
    shown = capsys.readouterr().out
    assert (made_here / "README.md").read_text() in shown
    for file in made_here.rglob("*.parquet"):
        assert re.search(rf"{file.stat().st_size:,}  {file.relative_to(made_here)}\n", shown)
    assert "hf-alignet publish dataset choices me/choices \\\n    --images images\n```" in shown  # how to do the same
    (snippet,) = re.findall(r"```python\n(.*?)```", shown, re.S)
    scope: dict = {}
    exec(snippet.replace("me/choices", str(made_here)), scope)
    assert scope["images"][0]["image"].size == (8, 9) and len(scope["judgments"]["test"]) == 15
    before = {file: file.read_bytes() for file in made_here.rglob("*") if file.is_file()}
    command = "hf-alignet publish dataset choices me/choices --images images"
    terms = {"source": "Seen at https://example.com/a/b/c.", "command": command}
    assert dry_run("dataset", made["choices"], "me/choices", images=images, **RIGHT, **terms) == made_here
    assert before == {file: file.read_bytes() for file in made_here.rglob("*") if file.is_file()}
    again = dry_run("dataset", made_here, "me/again", **RIGHT)  # numbers of participants stay
    assert "```bash" not in (again / "README.md").read_text().split("How it was made")[1]  # no command is known
    again = load_dataset(str(again), "judgments")
    assert again["train"]["participant"][:] == scope["judgments"]["train"]["participant"][:]


def test_judgments_with_pictures_are_read_against_pictures_in_another_order(dry_run, made):
    directory = dry_run("dataset", made["choices"], "me/choices", images=str(made["images"]), **RIGHT)
    names = image_names(load_images(str(made["images"])))
    shuffled = [names[row] for row in (3, 1, 5, 0, 2, 4)]
    found = load_judgments(str(directory), shuffled)["train"]["triplet"][:]
    expected = load_judgments(str(made["choices"]), names)["train"]["triplet"][:]
    assert [[shuffled[i] for i in row] for row in found] == [[names[i] for i in row] for row in expected]
    card = (directory / "README.md").read_text(encoding="utf-8")
    assert "that have another order" in card and "Configuration `images`, 6 pictures" in card


def test_a_table_under_other_names_is_published_as_judgments(dry_run, tmp_path):
    (tmp_path / "mine.json").write_text(
        '[{"links": "a", "mitte": "b", "rechts": "c", "wahl": "b", "vp": "Eva", "rt": 1500}]'
    )
    (tmp_path / "names.txt").write_text("c.png\nb.png\na.png\n")
    columns = {"image_1": "links", "image_2": "mitte", "image_3": "rechts", "odd_one_out": "wahl", "participant": "vp"}
    settings = {"object_names": str(tmp_path / "names.txt"), "columns": columns, "rt_unit": "ms"}
    directory = dry_run("dataset", tmp_path / "mine.json", "me/choices", **settings)
    row = load_dataset(str(directory), "judgments", split="train")[0]
    assert row == {"triplet": [2, 1, 0], "odd": 1, "participant": "0", "rt": 1.5}
    with pytest.raises(InputError, match="`columns` does not belong to a transform"):
        dry_run("transform", tmp_path, "me/transform", columns=columns)


def test_judgments_without_pictures_say_which_row_is_which(dry_run, made, tmp_path):
    (tmp_path / "names.txt").write_text("\n".join(f"{i}.png" for i in range(N)))
    directory = dry_run("dataset", made["choices"], "me/choices", object_names="names.txt")
    assert load_dataset(str(directory), "stimulus_names", split="train")["name"][:] == [f"{i}.png" for i in range(N)]
    assert not (directory / "images").exists() and "No pictures are here" in (directory / "README.md").read_text()
    again = dry_run("dataset", directory, "me/again")
    assert (again / "SHA256SUMS").read_bytes() == (directory / "SHA256SUMS").read_bytes()


def test_the_table_of_things_is_known_by_its_columns(dry_run, tmp_path):
    lines = ["image1\timage2\timage3\tchoice\tRT\tnoise_ceiling\tsubject_id"]
    rows = [(1, 2, 3, 3, 900, 0, "A2XYZ"), (4, 2, 3, 1, 1500, 0, "A1ABC"), (1, 2, 3, 2, 800, 1, "A2XYZ")]
    lines += ["\t".join(map(str, row)) for row in rows]
    (tmp_path / "triplets_large_final_correctednc_correctedorder.csv").write_text("\n".join(lines))
    directory = dry_run("dataset", "triplets_large_final_correctednc_correctedorder.csv", "me/things")
    found = load_dataset(str(directory), "judgments")
    assert found["train"][:] | {"rt": None} == {
        "triplet": [[0, 1, 2], [3, 1, 2]], "odd": [2, 0], "participant": ["0", "1"], "rt": None,
    }  # fmt: skip
    assert found["test1"]["participant"][:] == ["0"]
    text = (directory / "README.md").read_text()
    assert "hf-alignet evaluate --benchmarks things:me/things --images path/to/the/images" in text
    assert "things-initiative.org" in text and "hebart2023things" in text and "aggregated" not in text
    assert "| train | 2 | 2 | 2 |\n| test1 | 1 | 1 | 1 |" in text


def test_every_split_of_pictures_is_published(dry_run, images, tmp_path):
    first, second = images.select(range(3)), images.select(range(3, 5))
    DatasetDict(train=first, test=second).save_to_disk(tmp_path / "pictures")
    directory = dry_run("dataset", "pictures", "me/pictures", **RIGHT)
    found = load_dataset(str(directory))
    assert {split: len(data) for split, data in found.items()} == {"train": 3, "test": 2}
    assert "Configuration `images`, 5 pictures" in (directory / "README.md").read_text(encoding="utf-8")


def test_a_published_copy_is_published_whole_or_not_at_all(dry_run, made, tmp_path):
    copies = {
        "choices": dry_run("dataset", made["choices"], "me/choices", images=str(made["images"]), **RIGHT),
        "matrix": dry_run("dataset", made["matrix"], "me/matrix"),
    }
    again, other = {}, {"choices": {}, "matrix": {"matrix_kind": "similarity"}}
    for name, copy in copies.items():
        sums = (copy / "SHA256SUMS").read_text()
        with pytest.raises(InputError, match="would be lost"):
            dry_run("dataset", copy, f"me/{name}", **RIGHT)
        assert (copy / "SHA256SUMS").read_text() == sums
        again[name] = dry_run("dataset", copy, f"me/{name}-again", **RIGHT)
        assert (again[name] / "SHA256SUMS").read_text() == sums
        with pytest.raises(InputError, match="`matrix_kind` does not belong to a copy|add `i_have_the_right_to_share"):
            dry_run("dataset", copy, "me/other", **other[name])
    card = (again["matrix"] / "README.md").read_text(encoding="utf-8")
    assert "by 2 participants in all" in card
    check = subprocess.run(["sha256sum", "--check", "SHA256SUMS"], cwd=again["choices"], capture_output=True)
    assert check.returncode == 0


def test_counts_of_choices_are_published_as_they_are(dry_run, tmp_path):
    counts = aggregate(make_judgments(np.array([[0, 1, 2], [2, 1, 0]]), np.array([0, 0])))
    choices = make_judgments(np.array([[0, 1, 2]]), np.array([1]), participant=["7"])
    DatasetDict(train=counts).save_to_disk(tmp_path / "counts")
    directory = dry_run("dataset", "counts", "me/counts")
    assert [file.name for file in directory.iterdir() if file.is_dir()] == ["aggregated"]
    assert load_judgments(str(directory))["train"].to_list() == [{"triplet": [0, 1, 2], "counts": [1, 0, 1]}]
    DatasetDict(train=counts, test=choices).save_to_disk(tmp_path / "mixed")
    with pytest.raises(InputError, match="some splits hold choices, others counts of them: train, test"):
        dry_run("dataset", "mixed", "me/mixed")


def test_numbers_that_a_platform_gave_are_replaced_too():
    triplets, odd = np.array([[0, 1, 2], [1, 2, 3], [0, 1, 3]]), np.array([0, 1, 2])
    for given, expected in ((["84121", "7", "84121"], ["0", "1", "0"]), (["1", "0", "1"], ["1", "0", "1"])):
        found, was_named = anonymous(DatasetDict(train=make_judgments(triplets, odd, participant=given)))
        assert found["train"]["participant"][:] == expected and was_named == (given != expected)


def test_splits_get_the_same_columns_and_unknown_people_stay_unknown():
    triplets, odd = np.array([[0, 1, 2], [1, 2, 3]]), np.array([0, 1])
    splits = DatasetDict(
        train=make_judgments(triplets, odd, participant=["b@mail", None]),
        test=make_judgments(triplets, odd, rt=odd + 1),
    )
    found, was_named = anonymous(align_columns(splits))
    assert was_named and found["train"].features == found["test"].features
    assert found["train"]["participant"][:] == ["0", None] and found["test"]["participant"][:] == [None, None]
    assert found["train"]["rt"][:] == [None, None] and found["test"]["rt"][:] == [1, 2]


@pytest.mark.parametrize(
    ("words", "settings", "message"),
    [
        ("dataset {choices} me/x", {"images": "{images}"}, "THINGS and ImageNet"),
        ("dataset {images} me/x", {}, "add `i_have_the_right_to_share_images=True`"),
        ("dataset {choices} me/x", {"images": "{images}", "object_names": "names.txt"}, "not both"),
        ("dataset nowhere me/x", {}, "nowhere does not exist"),
        ("dataset {teacher} me/x", {}, "a similarity matrix: "),
        ("dataset {triplets} me/x", {"images": "{images}", **RIGHT}, "`images` does not belong to triplets"),
        (
            "dataset {choices} me/x",
            {"object_order": "size"},
            "`object_order` must be one of uid, file_name, got 'size'",
        ),
        ("transform {aligned} me/x", {}, "holds neither"),
        ("metric {aligned} me/x", {}, "is no metric"),
        ("space {aligned} me/x", {}, "is no Space like that in hub_cards/space: no app.py, requirements.txt"),
        (
            f"space {ROOT / 'hub_cards/space'} me/x",
            {"images": "{images}", **RIGHT},
            "`images` does not belong to a space",
        ),
        (f"metric {ROOT / 'hub_cards/metrics/rsa_spearman'} me/x", {}, "must be called me/rsa_spearman"),
        ("model {teacher}/config.json me/x", {}, "is published from a directory"),
        ("model {choices} me/x", {}, "is no directory with a model"),
        ("model {teacher} me/x", {}, 'is published with `kind="transform"`'),
        ("model {aligned} aligned", {}, "`repo_id` must be user/name, got 'aligned'"),
        ("model {aligned} me/x/y", {}, "me/x/y"),
        ("model {aligned} me/x", {"license": "My licence"}, "`license` must be an identifier"),
        ("model {aligned} me/x", {"source": "us"}, "`source` does not belong to a model"),
        ("model {aligned} me/x", {"merge_lora": True}, "`merge_lora` is for an adapter, and "),
        ("dataset {choices} me/x", {"merge_lora": True}, "`merge_lora` does not belong to a dataset"),
        ("models {aligned} me/x", {}, "`kind` must be one of dataset, transform, metric, model, space, got 'models'"),
    ],
)
def test_what_cannot_be_published_is_refused(words, settings, message, dry_run, made):
    settings = {k: v.format(**made) if isinstance(v, str) else v for k, v in settings.items()}
    with pytest.raises(InputError, match=re.escape(message)):
        dry_run(*(word.format(**made) for word in words.split()), **settings)
    assert not list(Path("outputs/published").glob("*"))


@pytest.fixture
def adapter(tiny_directory, tmp_path) -> Path:
    """An adapter of a model on this disk."""
    encoder = VisionEncoder.from_pretrained(str(tiny_directory("vit")))
    encoder.add_lora(LoraConfig(r=2, init_lora_weights=False))
    encoder.save_pretrained(tmp_path / "adapter")
    (tmp_path / "adapter" / "README.md").unlink()
    return tmp_path / "adapter"


@pytest.mark.parametrize("is_aligned", [False, True])
def test_an_adapter_is_published_merged(is_aligned, adapter, dry_run, images):
    if is_aligned:
        alignment = {"pooling": "cls", "similarity": "dot", "num_prefix_tokens": 1, "exported_temperature": 9.0}
        (adapter / "alignment.json").write_text(json.dumps(alignment))
    before = sorted(file.name for file in adapter.iterdir())
    with pytest.raises(InputError, match="is not on the Hub, so nobody could load it; add `merge_lora=True`"):
        dry_run("model", adapter, "me/x")  # as the real run would say
    assert not list(Path("outputs/published").glob("*"))
    folder = dry_run("model", adapter, "me/x", merge_lora=True)
    files = {"README.md", "config.json", "model.safetensors", "preprocessor_config.json"}
    if is_aligned:  # of another it is not known which pooling was meant
        files |= {"alignment.json", "modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"}
        files |= {"1_Pooling"}
    assert {file.name for file in folder.iterdir()} - OURS == files
    assert sorted(file.name for file in adapter.iterdir()) == before
    expected = VisionEncoder.from_pretrained(str(adapter)).embed(images, progress=False)
    found = VisionEncoder.from_pretrained(str(folder)).embed(images, progress=False)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    card = ModelCard.load(folder / "README.md")
    assert card.data.library_name == "transformers" and card_errors(str(card)) == []


def test_the_card_of_a_merged_adapter_says_what_opens_it(adapter, dry_run):
    (adapter / "README.md").write_text("---\nlibrary_name: peft\ntags: [lora]\n---\n\n# mine\n\nTrained at home.\n")
    card = ModelCard.load(dry_run("model", adapter, "me/x", merge_lora=True) / "README.md")
    assert (card.data.library_name, card.data.tags) == ("transformers", ["lora"])
    assert "# me/x" in card.text and "Trained at home." in card.text


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ("base_model: ./vit", "`base_model` must be on the Hub, user/name, got './vit'"),
        ("datasets: [user/a, a/b/c]", "`datasets` must be on the Hub, user/name"),
        ("license: My licence", "`license` must be an identifier, such as cc-by-4.0 or mit, got 'My licence'"),
        ("tags: [3]", r"`tags` must be text, or a list of texts, got \[3\]"),
        ("tags: [a", "README.md"),
    ],
)
def test_a_card_that_the_hub_would_refuse_is_refused_before(metadata, message, dry_run, made, tmp_path):
    shutil.copytree(made["aligned"], tmp_path / "model")
    (tmp_path / "model" / "alignment.json").unlink()
    (tmp_path / "model" / "README.md").write_text(f"---\n{metadata}\n---\n\n# mine\n")
    with pytest.raises(InputError, match=message):
        dry_run("model", tmp_path / "model", "me/x")
    assert not list(Path("outputs/published").glob("*"))


def test_the_command_names_its_flags(dry_run, made, capsys):
    for words, message in (
        (["dataset", made["images"], "me/x"], "add --i_have_the_right_to_share_images if you may share them"),
        (["model", made["teacher"], "me/x"], "A transform or VICE is published with --kind transform"),
        (
            ["model", made["aligned"], "me/x", "--source", "us"],
            "--source does not belong to a model, got 'us': leave it out",
        ),
        (["model", made["aligned"], "me/x", "main"], "one word too many: 'main'"),
    ):
        with pytest.raises(SystemExit, match="2"):
            main([*map(str, words), "--dry_run"])
        assert message in capsys.readouterr().err


def test_a_configuration_sets_the_words_of_the_command_too(dry_run, made, capsys):
    Path("matrix.yaml").write_text(f"kind: dataset\npath: {made['matrix']}\nrepo_id: me/matrix\ndry_run: true\n")
    main(["--config", "matrix.yaml", "--disable_tqdm", "--matrix_kind", "dissimilarity", "--private"])
    shown = capsys.readouterr().out
    assert "hf-alignet publish dataset rdm.npz me/matrix \\\n    --matrix_kind dissimilarity\n```" in shown
    assert "hf-alignet evaluate --benchmarks rsa:me/matrix" in shown and "fit-teacher" not in shown


def test_a_model_that_we_did_not_make_gets_a_card_that_opens_it(dry_run, tiny_directory, tmp_path):
    plain = tmp_path / "plain"
    shutil.copytree(tiny_directory("vit"), plain)
    (plain / "README.md").unlink(missing_ok=True)
    card = dry_run("model", plain, "me/vit", license="mit") / "README.md"
    data, text = ModelCard.load(card).data, card.read_text(encoding="utf-8")
    assert data.license == "mit" and data.library_name == "transformers" and card_errors(text) == []
    (snippet,) = re.findall(r"```python\n(.*?)```", text, re.S)
    scope: dict = {}
    exec(snippet.replace("me/vit", str(card.parent)), scope)
    assert type(scope["model"]).__name__ == "ViTModel"
    (plain / "README.md").write_text(
        '---\n# terms\nlicense: mit\n---\n# My ViT — größer\n\n"My ViT — größer"', "utf-8"
    )
    dry_run("model", plain, "me/vit")
    assert card.read_text(encoding="utf-8").endswith('# me/vit\n\n"me/vit"')


def test_another_licence_comes_without_the_name_of_the_old_one(dry_run, made, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(made["aligned"], model)
    alignment = json.loads((model / "alignment.json").read_text())
    own = {"license": "other", "license_name": "own-terms", "license_link": "https://example.com/terms"}
    (model / "alignment.json").write_text(json.dumps(alignment | {"base_model": "me/b", "base_model_license": own}))
    write_model_card(model, "model")
    for license, expected in ((None, own), ("mit", {"license": "mit"})):
        card = dry_run("model", model, "me/model", license=license) / "README.md"
        data = ModelCard.load(card).data.to_dict()
        assert {name: data[name] for name in own if name in data} == expected


def test_triplets_keep_the_licence_of_their_card_and_leave_out_empty_splits(dry_run, made, tmp_path):
    source = tmp_path / "triplets"
    shutil.copytree(made["triplets"], source)
    info = json.loads((source / "triplets.json").read_text())
    (source / "triplets.json").write_text(json.dumps(info | {"num_triplets": {"train": 30, "validation": 0}}))
    card = DatasetCard.load(source / "README.md")
    card.data["license"] = "cc-by-4.0"
    card.save(source / "README.md")
    for license, expected in ((None, "cc-by-4.0"), ("cc0-1.0", "cc0-1.0")):
        directory = dry_run("dataset", source, "me/triplets", license=license)
        assert DatasetCard.load(directory / "README.md").data.license == expected
    assert {split: len(data) for split, data in load_dataset(str(directory), "triplets").items()} == {"train": 30}
    for text, message in (
        ("[1, 2]", "cannot read .*triplets.json"),
        ('{"num_triplets": 3}', "cannot read .*triplets.json"),
        ('{"num_triplets": {"train": 0}}', "has no triplets: make"),
        ('{"num_triplets": {"train": 30, "test": 2}}', "has no triplets of the split test"),
    ):
        (source / "triplets.json").write_text(text)
        with pytest.raises(InputError, match=message):
            dry_run("dataset", source, "me/triplets")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_triplets": {"train": 29}}, "speaks of 29 train triplets, and the files hold 30"),
        ({"num_triplets": {"train": 30, "test": 3}}, "has no triplets of the split test"),
        ({"num_triplets": {"train": -30}}, "speaks of -30 train triplets"),
        ({"num_images": 3}, "says 3 for num_images, and a triplet has image"),
        ({"num_images": "many"}, "says 'many' for num_images"),
        ("shard", "has 1 of the 2 files of the split train"),
        ("damaged", "cannot read the train files"),
        ("link", "is a link to"),
    ],
    ids=str,
)
def test_triplets_that_are_not_as_they_say_are_refused(dry_run, made, tmp_path, change, message):
    source = tmp_path / "triplets"
    shutil.copytree(made["triplets"], source)
    file = source / "triplets/train-00000-of-00001.parquet"
    if isinstance(change, dict):
        info = json.loads((source / "triplets.json").read_text())
        (source / "triplets.json").write_text(json.dumps(info | change))
    elif change == "shard":
        file.rename(source / "triplets/train-00000-of-00002.parquet")
    elif change == "damaged":
        file.write_bytes(file.read_bytes()[:-9])
    else:
        file.rename(tmp_path / "elsewhere")
        file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=message):
        dry_run("dataset", source, "me/triplets")


@pytest.mark.parametrize("damage", ["truncated", "text model", "missing layer", "pipe", "link"])
def test_a_model_that_does_not_open_is_refused(dry_run, tiny_directory, tmp_path, damage):
    model = tmp_path / "model"
    shutil.copytree(tiny_directory("vit"), model)
    weights = model / "model.safetensors"
    if damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif damage == "text model":
        transformers.BertModel(transformers.BertConfig(**VIT, vocab_size=9)).save_pretrained(model)
    elif damage == "missing layer":
        tensors = load_file(weights)
        save_file({name: t for name, t in tensors.items() if ".1." not in name}, weights, {"format": "pt"})
    else:
        weights.rename(tmp_path / "elsewhere")
        os.mkfifo(weights) if damage == "pipe" else weights.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError):
        dry_run("model", model, "me/x")
    assert not list(Path("outputs/published").glob("*"))


@pytest.mark.parametrize("kept", [0.0, 0.5])
def test_an_adapter_that_peft_leaves_out_is_refused(dry_run, adapter, kept):
    weights = adapter / "adapter_model.safetensors"
    tensors = load_file(weights)
    names = {name: name if i < kept * len(tensors) else f"x.{name}" for i, name in enumerate(sorted(tensors))}
    save_file({names[name]: tensor for name, tensor in tensors.items()}, weights, {"format": "pt"})
    with pytest.raises(InputError, match="weights that do not fit its adapter_config.json"):
        dry_run("model", adapter, "me/x", merge_lora=True)


def test_the_hub_out_of_reach_is_one_line(dry_run, made):
    with pytest.raises(RunError, match="is complete: do the same again to share it$"):
        dry_run("transform", made["teacher"], "me/teacher", dry_run=False)


def test_a_home_at_the_top_is_no_secret_and_folders_of_all_sources_are(
    tmp_path, tmp_path_factory, monkeypatch, dry_run, made
):
    monkeypatch.setenv("HOME", "/")
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "README.md").write_text("https://things-initiative.org //")
    check_shareable(tmp_path / "made")
    secret = tmp_path_factory.mktemp("raters")  # not below the working directory
    (secret / "names.txt").write_text("\n".join(f"{i}.png" for i in range(N)))
    names = str(secret / "names.txt")
    with pytest.raises(InputError, match=f"the local path {secret}"):
        dry_run("dataset", made["choices"], "me/choices", object_names=names, source=f"See {names}")


def test_pictures_in_files_of_their_own_come_with_their_names_alone(pictures, tmp_path):
    files = [tmp_path / f"{i}.png" for i in range(3)]
    for file, picture in zip(files, pictures, strict=False):
        picture.save(file)
    dataset = Dataset.from_dict({"image": list(map(str, files))}, Features({"image": ImageFeature()}))
    write_dataset(dataset, tmp_path / "images", "train", progress=False)
    found = pq.read_table(tmp_path / "images")["image"].to_pylist()
    assert found == [{"bytes": file.read_bytes(), "path": file.name} for file in files]
    check_shareable(tmp_path / "images")


def test_shards_have_a_limit_and_are_the_same_each_time(tmp_path, images):
    for run in ("first", "second"):
        write_dataset(images, tmp_path / run / "images", "train", progress=False)
        rows = Dataset.from_dict({"row": np.arange(250_000)})
        write_dataset(rows, tmp_path / run / "rows", "train", progress=False, shard_bytes=900_000)
        write_checksums(tmp_path / run)
    files = sorted(file.name for file in (tmp_path / "first" / "rows").iterdir())
    assert files == [f"train-{i:05d}-of-00003.parquet" for i in range(3)]
    opened = load_dataset(str(tmp_path / "first" / "rows"), split="train")
    np.testing.assert_array_equal(opened.with_format("numpy")["row"][:], np.arange(250_000))
    assert (tmp_path / "first/SHA256SUMS").read_bytes() == (tmp_path / "second/SHA256SUMS").read_bytes()
    with pytest.raises(InputError, match="has no rows"):
        write_dataset(rows.select([]), tmp_path / "empty", "train")


@pytest.mark.real_data
def test_choices_about_things(dry_run, data_directory):
    source = data_directory / "things" / "things_human_triplets.npz"
    directory = dry_run("dataset", source, "me/things")
    found = load_dataset(str(directory), "judgments")
    expected = load_judgments(str(source))
    for split, data in expected.items():
        for name in ("triplet", "odd"):
            assert found[split].data[name].combine_chunks().equals(data.data[name].combine_chunks())
    assert load_judgments(str(directory), num_images=1854)["test"].num_rows == 25_000
    counts = load_dataset(str(directory), "aggregated", split="test").with_format("numpy")["counts"][:]
    assert counts.sum() == 25_000 and (counts.sum(1) > 1).any()
    assert "| train | 249251 | 249052 |" in (directory / "README.md").read_text()
