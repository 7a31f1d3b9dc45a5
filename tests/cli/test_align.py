"""The command that aligns: in this process, and in processes of its own where the Hub or others take part."""

import ast
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from datasets import Dataset, DatasetDict, load_from_disk
from datasets import Image as ImageFeature
from fakehub import TOKEN, FakeHub
from huggingface_hub import ModelCard
from peft import LoraConfig

from hf_alignet.cli.align import COMMAND, align_command, main
from hf_alignet.encoder import VisionEncoder
from hf_alignet.storage import OURS, output_folder

ROOT = Path(__file__).parents[2]
RECIPE = str(ROOT / "recipes" / "align.py")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def here(*flags) -> None:
    """The command in this process; errors stay exceptions."""
    COMMAND.call(align_command, list(map(str, flags)))


def align(*flags, config="cpu.yaml", environment=ENVIRONMENT):
    """The recipe in processes of its own."""
    launch = ["-m", "accelerate.commands.launch", "--config_file", str(ROOT / "recipes" / "accelerate" / config)]
    command = [sys.executable, *launch, RECIPE, *map(str, flags)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, timeout=280)


@pytest.fixture
def data(images, triplets, tmp_path):
    """Folder with `images` and `triplets`, of which `far` is held out."""
    images.save_to_disk(tmp_path / "data" / "images")
    splits = DatasetDict(train=triplets.select(range(32)), far=triplets.select(range(32, 40)))
    splits.save_to_disk(tmp_path / "data" / "triplets")
    return tmp_path / "data"


@pytest.fixture
def flags(data, tiny_directory, tmp_path):
    """A complete command line of four steps."""
    return [
        *("--model_name_or_path", tiny_directory("dinov2"), "--images", data, "--triplets", data),
        *("--output_dir", tmp_path / "out", "--max_steps", 4, "--per_device_train_batch_size", 8),
        *("--learning_rate", "1e-3", "--save_strategy", "no", "--logging_steps", 1),
    ]


def break_image(data: Path, images: Dataset) -> None:
    """Row 5 on disk is no picture any more."""
    rows = images.cast_column("image", ImageFeature(decode=False)).to_list()
    rows[5]["image"] = {"bytes": b"not a picture", "path": "holiday.jpg"}
    shutil.rmtree(data / "images")
    Dataset.from_list(rows, features=images.features).save_to_disk(data / "images")


def train_losses(run) -> list[float]:
    lines = [line for line in run.stdout.replace("\r", "\n").splitlines() if "loss_triplet" in line]
    return [float(ast.literal_eval(line.strip())["loss"]) for line in lines]


@pytest.mark.slow
@pytest.mark.multi_process
def test_two_processes_equal_one(flags, tmp_path):
    out = flags.index("--output_dir") + 1
    runs = {}
    for processes, config, batch in ((1, "cpu.yaml", 8), (2, "cpu_2_processes.yaml", 4)):
        flags[out] = tmp_path / f"out{processes}"
        run = align(*flags, "--per_device_train_batch_size", batch, config=config)
        assert run.returncode == 0, run.stderr[-3000:]
        runs[processes] = (train_losses(run), json.loads((flags[out] / "results.json").read_text()))
    np.testing.assert_allclose(runs[1][0], runs[2][0], rtol=2e-4)  # as printed: four digits
    assert len(runs[1][0]) == 4
    (one, two) = (runs[n][1] for n in (1, 2))
    assert one["base"] == two["base"] and one["aligned"] == two["aligned"]
    assert one["settings"]["global_batch_size"] == two["settings"]["global_batch_size"] == 8
    assert set(one) == {"base", "aligned", "settings"}
    (name, metric), *others = one["aligned"].items()
    assert name == "data/far/odd_one_out_accuracy" and not others
    assert set(metric) >= {"value", "n", "chance", "ci95", "unit", "change"} and metric["n"] == 8
    files = {path.name for path in (tmp_path / "out1").iterdir()} - OURS
    assert files == {
        *("config.json", "model.safetensors", "preprocessor_config.json", "alignment.json"),
        *("modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"),
        *("README.md", "results.json", "before_after.png"),
    }


@pytest.mark.slow
@pytest.mark.multi_process
def test_in_batch_two_processes_equal_two_accumulated_batches(flags, images, tmp_path):
    np.save(tmp_path / "teacher.npy", np.random.default_rng(0).normal(size=(len(images), 5)))
    flags += ["--teacher_embeddings", tmp_path / "teacher.npy", "--max_steps", 2]  # within one epoch
    flags += ["--per_device_train_batch_size", 4, "--images_per_cluster", 4]
    out = flags.index("--output_dir") + 1
    embeddings = []
    for config, accumulation in (("cpu.yaml", 2), ("cpu_2_processes.yaml", 1)):
        flags[out] = tmp_path / config
        run = align(*flags, "--gradient_accumulation_steps", accumulation, config=config)
        assert run.returncode == 0, run.stderr[-3000:]
        embeddings.append(VisionEncoder.from_pretrained(str(flags[out])).embed(images, progress=False))
    before = VisionEncoder.from_pretrained(str(flags[1])).embed(images, progress=False)
    np.testing.assert_allclose(embeddings[0], embeddings[1], atol=1e-4)
    assert np.abs(embeddings[0] - before).max() > 1e-2


PULL = """
import sys
sys.modules["hf_alignet"] = None  # not importable here
import numpy as np, torch
from datasets import load_from_disk
from huggingface_hub import model_info
from transformers import AutoModel, AutoImageProcessor
model, processor = AutoModel.from_pretrained(sys.argv[1]).eval(), AutoImageProcessor.from_pretrained(sys.argv[1])
print(type(model).__name__, sum("lora_" in name for name, _ in model.named_parameters()))
info = model_info(sys.argv[1])
print([result.metric_value for result in info.card_data.eval_results], info.library_name)
inputs = processor(load_from_disk(sys.argv[2])["image"][:], return_tensors="pt")
with torch.no_grad():
    np.save(sys.argv[3], model(**inputs).pooler_output)
"""


def pull(hub, tmp_path, repository: str, out: Path) -> list[str]:
    """What a stranger without this package sees of a model; its embeddings have to be those of our output."""
    script = [sys.executable, "-c", PULL, repository, str(tmp_path / "data" / "images"), str(tmp_path / "pulled.npy")]
    environment = {**ENVIRONMENT, **hub.env(tmp_path / "other_cache")}
    pulled = subprocess.run(script, capture_output=True, text=True, env=environment)
    assert pulled.returncode == 0, pulled.stderr[-3000:]
    images = load_from_disk(tmp_path / "data" / "images")
    ours = VisionEncoder.from_pretrained(str(out)).embed(images, progress=False)
    np.testing.assert_allclose(np.load(tmp_path / "pulled.npy"), ours, atol=1e-5)
    return pulled.stdout.split("\n")[:2]


@pytest.mark.multi_process
@pytest.mark.parametrize("lora", ["full", "merged"])
def test_push_shares_a_plain_model_and_nothing_private(lora, flags, tmp_path):
    lora_flags = ["--use_lora", "--lora_r", 2, "--merge_lora"] if lora == "merged" else []
    saving = ["--save_strategy", "steps", "--save_steps", 2]
    with FakeHub(forbidden=[str(tmp_path), str(ROOT), str(Path.home()) + "/"]) as hub:
        environment = {**ENVIRONMENT, **hub.env(tmp_path / "cache")}
        pushing = ["--push_to_hub", "--hub_model_id", "tester/aligned"]
        run = align(*flags, *lora_flags, *saving, *pushing, environment=environment)
        assert run.returncode == 0, run.stderr[-3000:]
        assert TOKEN not in run.stdout + run.stderr
        assert set(hub.ls("model", "tester/aligned")) == {
            *("config.json", "model.safetensors", "preprocessor_config.json", "alignment.json"),
            *("modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"),
            *("README.md", "results.json", "before_after.png"),
        }
        results = json.loads(hub.read("model", "tester/aligned", "results.json"))
        card = ModelCard(hub.read("model", "tester/aligned", "README.md").decode())
        (shared,) = card.data.eval_results
        (name, measured) = next(iter(results["aligned"].items()))
        assert shared.metric_name == name and shared.metric_value == measured["value"]
        assert shared.metric_args["n"] == 8 and shared.metric_args["chance"] == pytest.approx(1 / 3)
        assert shared.metric_args["before"] == results["base"][name]["value"]
        seen = pull(hub, tmp_path, "tester/aligned", tmp_path / "out")
        assert seen == ["Dinov2Model 0", f"[{measured['value']}] transformers"]


SHARE = """
import sys
from datasets import load_from_disk
from huggingface_hub import HfApi
HfApi().create_repo("tester/base")
HfApi().upload_folder(repo_id="tester/base", folder_path=sys.argv[1])
HfApi().upload_file(path_or_fileobj=b"---\\nlicense: mit\\n---\\n", path_in_repo="README.md", repo_id="tester/base")
HfApi().create_repo("tester/data", repo_type="dataset")
info = b'{"teacher": "user/teacher", "transform": "user/transform", "sampling": "random"}'
HfApi().upload_file(path_or_fileobj=info, path_in_repo="triplets.json", repo_id="tester/data", repo_type="dataset")
for config in ("images", "triplets"):
    load_from_disk(sys.argv[2] + "/" + config).push_to_hub("tester/data", config)
"""


@pytest.mark.multi_process
def test_adapter_from_the_hub_to_the_hub(flags, data, tiny_directory, triplets, tmp_path):
    splits = DatasetDict(train=triplets.select(range(24)), far=triplets.select(range(24, 32)))
    splits["near"] = triplets.select(range(32, 40))
    splits.save_to_disk(tmp_path / "three" / "triplets")
    load_from_disk(data / "images").save_to_disk(tmp_path / "three" / "images")
    settings = {"model_name_or_path": "tester/base", "images": "tester/data", "triplets": "tester/data", "bf16": True}
    settings |= {"use_lora": True, "lora_r": 2, "push_to_hub": True, "hub_model_id": "tester/adapter", "max_steps": 2}
    settings |= {"output_dir": str(tmp_path / "out"), "per_device_train_batch_size": 8}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    with FakeHub(forbidden=[str(tmp_path), str(ROOT), str(Path.home()) + "/"]) as hub:
        environment = {**ENVIRONMENT, **hub.env(tmp_path / "cache")}
        share = [sys.executable, "-c", SHARE, str(tiny_directory("dinov2")), str(tmp_path / "three")]
        shared = subprocess.run(share, capture_output=True, text=True, env=environment)
        assert shared.returncode == 0, shared.stderr[-3000:]
        run = align("--config", tmp_path / "config.yaml", environment=environment)
        assert run.returncode == 0, run.stderr[-3000:]
        assert "adapter_model.safetensors" in hub.ls("model", "tester/adapter")
        results = json.loads(hub.read("model", "tester/adapter", "results.json"))
        names = ["data/far/odd_one_out_accuracy", "data/near/odd_one_out_accuracy"]
        assert list(results["aligned"]) == names
        assert results["settings"]["precision"] == "bf16"
        entries = yaml.safe_load(hub.read("model", "tester/adapter", ".eval_results/odd_one_out.yaml"))
        assert [entry["dataset"]["task_id"] for entry in entries] == ["far", "near"]
        assert {entry["dataset"]["id"] for entry in entries} == {"tester/data"}
        text = hub.read("model", "tester/adapter", "README.md").decode()
        card = ModelCard(text).data
        assert (card.base_model, card.datasets, card.library_name) == ("tester/base", ["tester/data"], "peft")
        assert card.license == "mit" and "states the licence mit" in text
        assert "**Teacher:** `user/teacher` under the transform `user/transform`." in text
        commit = hub.api.repository("dataset", "tester/data").at("main").oid
        settings = results["settings"]
        assert settings["images_commit"] == settings["triplets_commit"] == commit
        assert {entry["dataset"]["revision"] for entry in entries} == {commit}
        assert settings["base_model_commit"] == hub.api.repository("model", "tester/base").at("main").oid
        words = shlex.split(settings["command"])
        assert words[:2] == ["hf-alignet", "align"] and words[words.index("--images") + 1] == "tester/data"
        assert "--use_lora" in words and not {"--output_dir", "--push_to_hub", "--hub_model_id"} & set(words)
        assert (
            "before_after.png" in hub.ls("model", "tester/adapter")
            and "`tester/data`. No picture of that dataset" in text
        )


def test_vectors_of_the_teacher_make_in_batch_triplets(flags, data, images, tmp_path):
    np.save(tmp_path / "teacher.npy", np.random.default_rng(0).normal(size=(len(images), 5)))
    for source, expected in (("auto", "batch"), ("separate", "separate")):
        out = tmp_path / source
        extra = ["--teacher_embeddings", tmp_path / "teacher.npy", "--triplet_source", source, "--output_dir", out]
        here(*flags, *extra, "--images_per_cluster", 8)
        assert json.loads((out / "alignment.json").read_text())["triplet_source"] == expected


def test_broken_images_are_skipped_with_and_without_a_cache(flags, data, images, tmp_path):
    break_image(data, images)
    results = []
    for name, extra in (("plain", []), ("cached", ["--cache_images", tmp_path / "cache", "--augment", "false"])):
        extra += ["--on_bad_image", "skip", "--output_dir", tmp_path / name]
        here(*flags, *extra)
        results.append(json.loads((tmp_path / name / "results.json").read_text()))
    commands = [result["settings"].pop("command") for result in results]
    assert ["--cache_images cache" in command for command in commands] == [False, True]
    assert results[0] == results[1]
    settings = results[0]["settings"]
    left = settings["num_train_triplets"] + results[0]["base"]["data/far/odd_one_out_accuracy"]["n"]
    assert settings["num_skipped_images"] == 1 and settings["num_skipped_triplets"] == 40 - left > 0


@pytest.fixture
def refusal(capsys):
    """Runs the command here, expects an exit status, and returns what it says."""

    def refused(*flags, status=2) -> str:
        with pytest.raises(SystemExit) as exit:
            main(list(map(str, flags)))
        assert exit.value.code == status
        return capsys.readouterr().err

    return refused


def test_adapter_on_a_local_model_is_not_pushed(flags, refusal, tmp_path):
    assert "--merge_lora" in refusal(*flags, "--use_lora", "--push_to_hub")
    adapter = VisionEncoder.from_pretrained(flags[1])
    adapter.add_lora(LoraConfig(r=2, target_modules="all-linear"))
    adapter.save_pretrained(tmp_path / "adapter")
    flags[1] = tmp_path / "adapter"
    assert "--merge_lora" in refusal(*flags, "--push_to_hub")


def test_nothing_is_pushed_offline(flags, refusal):
    assert "cannot share under 'out': HF_HUB_OFFLINE is set" in refusal(*flags, "--push_to_hub")


def test_adapter_on_a_part_of_a_model_is_not_exported(flags, refusal, tiny_directory):
    flags[1] = tiny_directory("clip")
    assert "more than the vision tower" in refusal(*flags, "--use_lora")


def test_adapter_on_layers_that_are_not_there(flags, refusal, tiny_directory):
    lora = [*flags, "--use_lora", "--lora_target_modules"]
    assert "has no layer 'query'" in refusal(*lora, "query", "fc1")
    lora[1] = tiny_directory("resnet")
    assert "'all-linear' finds no layer to adapt" in refusal(*lora, "all-linear")


def test_vectors_that_cannot_be_used(flags, refusal, tmp_path):
    np.save(tmp_path / "teacher.npy", np.ones((5, 2)))
    assert "has 5 rows for 24 images" in refusal(*flags, "--teacher_embeddings", tmp_path / "teacher.npy")
    assert "needs --teacher_embeddings or --class_vectors" in refusal(*flags, "--triplet_source", "batch")
    assert "not both" in refusal(*flags, "--teacher_embeddings", "a.npy", "--class_vectors", "b.npy")
    assert "belong to --images" in refusal("--class_vectors", "b.npy")


def test_a_bad_row_has_the_number_that_it_has_in_the_file(flags, refusal, triplets, tmp_path):
    rows = [*triplets["triplet"][:20], [0, 1, 99], *triplets["triplet"][21:]]
    triplets.remove_columns("triplet").add_column("triplet", rows).to_parquet(tmp_path / "one_split.parquet")
    flags[5] = tmp_path / "one_split.parquet"
    assert "row 20 of the 'train' triplets points outside the 24 images: [0, 1, 99]" in refusal(*flags)


def test_optimizer_that_cannot_be_made(flags, refusal):
    message = refusal(*flags, "--optim_args", "nowhere")
    assert "error: --optim adamw" in message and "cannot be made with the --optim_args 'nowhere'" in message


@pytest.mark.parametrize("setting", [("--report_to", "nowhere"), ("--torch_compile_backend", "nowhere")])
def test_settings_that_trainer_refuses(setting, flags, refusal):
    message = refusal(*flags, *setting).strip().splitlines()[-1]
    assert message.startswith("error: Trainer cannot work with these settings: ") and "nowhere" in message.lower()


def test_own_data_need_a_model(flags, refusal):
    assert "give --model_name_or_path with your images" in refusal(*flags[2:])


def test_undecodable_image_is_named_by_a_worker(flags, data, images, refusal):
    break_image(data, images)
    message = refusal(*flags, "--dataloader_num_workers", 1).strip().splitlines()[-1]
    assert message.startswith("error: image row 5 (holiday.jpg) cannot be decoded")


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--not_a_flag", "1"], "unknown flags: --not_a_flag"),
        (["--learning_rat", "1e-3"], "unknown flags: --learning_rat"),
        (["--loss_type", "euclid"], "invalid choice: 'euclid'"),
        (
            ["--student_temperature", "warm"],
            "--student_temperature must be a finite number (above 0), or auto, got 'warm'",
        ),
    ],
)
def test_wrong_flags(extra, message, flags, refusal):
    assert message in refusal(*flags, *extra)


def test_wrong_configuration_key(flags, refusal, tmp_path):
    (tmp_path / "config.yaml").write_text("learning_rate: 1e-3\nlerning_rate: 1e-4\n")
    message = refusal(*flags, "--config", tmp_path / "config.yaml")
    assert "unknown keys" in message and "lerning_rate" in message


def test_images_without_triplets(flags, refusal, tmp_path):
    assert "give both --images and --triplets" in refusal(*flags[:4], "--output_dir", tmp_path / "out")


def test_directory_of_another_run_is_refused(flags, refusal, tmp_path):
    with output_folder(tmp_path / "out", "align") as directory:
        (directory / "model.safetensors").touch()
    message = refusal(*flags)
    assert "is not empty" in message and "--resume_from_checkpoint last" in message


def test_checkpoint_of_another_run_is_refused(flags, refusal, tmp_path):
    for place in (tmp_path / "out", tmp_path / "other" / "checkpoint-2"):
        with output_folder(place, "align") as directory:
            (directory / "trainer_state.json").touch()
    message = refusal(*flags, "--resume_from_checkpoint", tmp_path / "other" / "checkpoint-2")
    assert "is not its own" in message


def test_checkpoint_that_is_not_there(flags, refusal, tmp_path):
    with output_folder(tmp_path / "out", "align") as directory:
        (directory / "model.safetensors").touch()
    assert "holds no checkpoint" in refusal(*flags, "--resume_from_checkpoint", "last")
    assert "is not a checkpoint" in refusal(*flags, "--resume_from_checkpoint", tmp_path)


def test_run_that_diverges_ends_with_one_line_and_status_1(flags, refusal):
    assert (
        refusal(*flags, "--learning_rate", "1e30", status=1)
        .splitlines()[-1]
        .startswith("error: the loss is not finite at step ")
    )


def test_adapter_of_an_adapter_is_refused(flags, refusal, tiny_directory, tmp_path):
    encoder = VisionEncoder.from_pretrained(str(tiny_directory("dinov2")))
    encoder.add_lora(LoraConfig(r=2, target_modules="all-linear"))
    encoder.save_pretrained(tmp_path / "adapter")
    assert "is an adapter already" in refusal(*flags, "--use_lora", "--model_name_or_path", tmp_path / "adapter")


def test_help_is_complete(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    text = capsys.readouterr().out
    expected = ["config", "images", "triplets", "model_name_or_path", "use_lora", "output_dir", "push_to_hub", "bf16"]
    assert all(f"--{flag} " in text for flag in expected)
    assert "    hf-alignet align\n" in text


@pytest.mark.slow
def test_script_and_command_are_the_same(tmp_path):
    """From a clone and installed: one line, no traceback, the same status."""
    mistake = ["--images", "x", "--output_dir", str(tmp_path / "out")]
    for start in ([RECIPE], ["-m", "hf_alignet.cli.main", "align"]):
        run = subprocess.run(
            [sys.executable, *start, *mistake], capture_output=True, text=True, env=ENVIRONMENT, cwd=ROOT
        )
        assert run.returncode == 2
        assert run.stderr.strip().startswith("error: give both --images and --triplets")
        assert "Traceback" not in run.stderr


def test_output_of_a_model_of_ones_own_is_called_by_the_model(flags, tiny_directory, tmp_path, monkeypatch):
    """The default directory of the demo is not that of every model, and the Hub id follows the directory."""
    monkeypatch.chdir(tmp_path)
    at = flags.index("--output_dir")
    here(*flags[:at], *flags[at + 2 :], "--max_steps", 1)
    assert [path.name for path in (tmp_path / "outputs").iterdir()] == ["dinov2-aligned"]


OTHERS = {ROOT / "recipes" / file for file in ("things-clip/config.yaml", "configs/make_triplets.yaml")}
OTHERS |= {ROOT / "recipes" / file for file in ("study/emoji.yaml", "study/study.yaml", "frontier/settings.yaml")}
OTHERS |= {ROOT / "recipes" / "second-encoder" / "settings.yaml"}
CONFIGURATIONS = sorted(set((ROOT / "recipes").rglob("*.yaml")) - OTHERS)  # the others are of recipes tested elsewhere


@pytest.mark.parametrize("file", CONFIGURATIONS, ids=lambda file: file.name)
def test_every_configuration_is_valid(file):
    settings = yaml.safe_load(file.read_text())
    if file.parent.name == "accelerate":
        from accelerate.commands.config.config_args import load_config_from_file

        assert load_config_from_file(str(file)).num_processes == settings["num_processes"]
        return
    parsed = COMMAND.parse(["--config", str(file)])
    values = {name: value for part in parsed for name, value in vars(part).items()}
    for key, value in settings.items():
        assert values[key] == value or float(values[key]) == float(value), key
