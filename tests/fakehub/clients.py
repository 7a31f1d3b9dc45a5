"""Stages of real clients for tests of the double itself: `python -m fakehub.clients push|pull|manage`.

huggingface_hub reads HF_ENDPOINT when it is imported, so each stage is a process of its own, with fresh caches and the
environment of `FakeHub.env`. It prints what it saw as one line of JSON, on which the tests assert.
"""

from __future__ import annotations

import json
import sys
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .api import USER

MODEL, ADAPTER = f"{USER}/tiny-vit", f"{USER}/tiny-vit-lora"
TRIPLETS, FOLDER, FLAKY, REFUSING = (f"{USER}/{name}" for name in ("triplets", "folder", "flaky", "refusing"))
WEIGHTS, FLAKY_WEIGHTS = bytes(range(256)) * 400, bytes(range(255)) * 400


def tiny_vit() -> Any:
    import torch
    from transformers import ViTConfig, ViTModel

    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=32,
        patch_size=8,
    )
    return ViTModel(config)


def embedding(model: Any) -> list[float]:
    import torch

    pixels = torch.linspace(-1, 1, 3 * 32 * 32).reshape(1, 3, 32, 32)
    with torch.inference_mode():
        return model.eval()(pixels).last_hidden_state[0, 0].tolist()


def push() -> dict[str, Any]:
    import huggingface_hub as hf
    import numpy as np
    import yaml
    from datasets import Dataset, DatasetDict, Features, Image, List, Value
    from peft import LoraConfig, get_peft_model
    from transformers import ViTImageProcessorPil, ViTModel

    model = tiny_vit()
    model.push_to_hub(MODEL)
    ViTImageProcessorPil(size={"height": 32, "width": 32}, image_mean=[0.1, 0.2, 0.3]).push_to_hub(MODEL)
    result = hf.EvalResult("odd-one-out", "things", "THINGS", "accuracy", 0.61, dataset_split="test")
    data = hf.ModelCardData(
        model_name="tiny-vit", base_model="google/vit-base", datasets=[TRIPLETS], license="apache-2.0",
        library_name="transformers", tags=["hf_alignet"], eval_results=[result],
    )  # fmt: skip
    hf.ModelCard.from_template(data).push_to_hub(MODEL)
    entries = hf.eval_result_entries_to_yaml([hf.EvalResultEntry(TRIPLETS, "odd_one_out", 0.61)])
    hf.upload_file(
        path_or_fileobj=yaml.dump(entries).encode(), path_in_repo=".eval_results/things.yaml", repo_id=MODEL
    )

    adapter = get_peft_model(
        ViTModel.from_pretrained(MODEL), LoraConfig(target_modules="all-linear", init_lora_weights=False)
    )
    adapter.push_to_hub(ADAPTER)

    pixels = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
    features = Features({"image": Image(), "id": Value("int32")})
    images = Dataset.from_dict({"image": list(pixels), "id": range(20)}, features)
    images.push_to_hub(TRIPLETS, "images", split="train", num_shards=2)
    triplets = Dataset.from_dict(
        {"triplet": [[i, i + 1, i + 2] for i in range(18)], "odd": [i % 3 for i in range(18)]},
        Features({"triplet": List(Value("int32"), length=3), "odd": Value("int8")}),
    )
    DatasetDict(train=triplets.select(range(12)), validation=triplets.select(range(12, 18))).push_to_hub(
        TRIPLETS, "triplets"
    )
    return {"model": embedding(model), "adapter": embedding(adapter), "pixel_sum": int(pixels[19].sum())}


def pull() -> dict[str, Any]:
    import numpy as np
    import torch
    from datasets import get_dataset_config_names, load_dataset
    from huggingface_hub import model_info
    from transformers import AutoImageProcessor, AutoModel

    model = AutoModel.from_pretrained(MODEL)
    expected, found = tiny_vit().state_dict(), model.state_dict()
    adapter = AutoModel.from_pretrained(ADAPTER)
    info = model_info(MODEL)
    entries = model_info(MODEL, expand=["evalResults"]).eval_results
    results = info.card_data.eval_results if info.card_data else None
    assert results is not None and entries is not None
    splits = load_dataset(TRIPLETS, "triplets")
    stream = list(load_dataset(TRIPLETS, "images", split="train", streaming=True))
    return {
        "model": embedding(model),
        "class": type(model).__name__,
        "keys_match": list(expected) == list(found),
        "weights_differ": [name for name in expected if not torch.equal(expected[name], found[name])],
        "image_mean": AutoImageProcessor.from_pretrained(MODEL, backend="pil").image_mean,
        "adapter": embedding(adapter),
        "lora_tensors": sum("lora_" in name for name, _ in adapter.named_parameters()),
        "tags": info.tags,
        "card_results": [(r.dataset_name, r.dataset_split, r.metric_value) for r in results],
        "eval_entry": [entries[0].dataset_id, entries[0].task_id, entries[0].value],
        "configs": sorted(get_dataset_config_names(TRIPLETS)),
        "rows": {name: split.num_rows for name, split in splits.items()},
        "last_triplet": splits["validation"][5],
        "triplet_type": str(splits["train"].features["triplet"]),
        "stream_ids": [row["id"] for row in stream],
        "pixel_sum": int(np.asarray(stream[19]["image"], dtype=np.int64).sum()),
    }


def manage() -> dict[str, Any]:
    from huggingface_hub import HfApi

    api = HfApi()
    return {"folder": manage_folder(api), "refused": manage_refused(api), "flaky": manage_flaky(api)}


def manage_folder(api: Any) -> dict[str, Any]:
    from huggingface_hub import snapshot_download

    folder = Path("folder")
    (folder / "sub").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "sub" / "weights.npz").write_bytes(WEIGHTS)
    api.create_repo(FOLDER, private=True)
    first = api.upload_folder(repo_id=FOLDER, folder_path=folder, commit_message="first")
    again = api.upload_folder(repo_id=FOLDER, folder_path=folder, commit_message="again")
    api.create_tag(FOLDER, tag="v1")
    api.create_branch(FOLDER, branch="next")
    api.upload_file(path_or_fileobj=b"[1]", path_in_repo="config.json", repo_id=FOLDER, revision="next")
    api.delete_file("sub/weights.npz", FOLDER, revision="next")
    downloaded = Path(snapshot_download(FOLDER, revision="v1"))
    return {
        "oids": [first.oid, again.oid],
        "private": api.repo_info(FOLDER).private,
        "anonymous": outcome(lambda: api.repo_info(FOLDER, token=False))[0],
        "tagged": {path: (downloaded / path).read_bytes().hex() for path in ("config.json", "sub/weights.npz")},
        "next": api.list_repo_files(FOLDER, revision="next"),
        "missing": [
            outcome(lambda: api.repo_info(f"{USER}/nowhere"))[0],
            outcome(lambda: api.repo_info(FOLDER, revision="nowhere"))[0],
            outcome(lambda: api.hf_hub_download(FOLDER, "nowhere"))[0],
            outcome(lambda: api.create_repo(FOLDER))[0],
        ],
    }


def manage_refused(api: Any) -> dict[str, Any]:
    """Upload each file of refused.json: {case: [path, content in base64]}."""
    api.create_repo(REFUSING)

    def upload(path: str, content: str) -> None:
        api.upload_file(path_or_fileobj=b64decode(content), path_in_repo=path, repo_id=REFUSING)

    files = json.loads(Path("refused.json").read_text())
    return {case: outcome(upload, *file) for case, file in files.items()}


def manage_flaky(api: Any) -> dict[str, Any]:
    """Requests that the test has told the Hub to fail."""
    api.create_repo(FLAKY)

    def upload() -> None:
        api.upload_file(path_or_fileobj=FLAKY_WEIGHTS, path_in_repo="weights.npz", repo_id=FLAKY)

    def download() -> bool:
        return Path(api.hf_hub_download(FLAKY, "weights.npz")).read_bytes() == FLAKY_WEIGHTS

    steps = {"commit": upload, "commit again": upload, "download": download}
    refs = {case: lambda: api.list_repo_refs(FLAKY) for case in ("forbidden", "unauthorized")}
    return {case: outcome(step) for case, step in {**steps, **refs}.items()}


def outcome(call: Callable[..., Any], *arguments: Any) -> tuple[str, str]:
    """("returned", value) or (class of the error, its message)."""
    try:
        return "returned", str(call(*arguments))
    except Exception as error:
        return type(error).__name__, str(error)


if __name__ == "__main__":
    stages = {"push": push, "pull": pull, "manage": manage}
    sys.stdout.write("\n" + json.dumps(stages[sys.argv[1]]()))
