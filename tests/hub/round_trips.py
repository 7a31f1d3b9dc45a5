"""Stages of the round trips of models, transforms and VICE, each a process with an empty cache of its own:
`python round_trips.py push|stranger|friend folder`. What they computed goes into the folder, as `stage.npz`.

`stranger` cannot import hf_alignet.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

MODELS = {  # repository: (base model, pooling)
    "full": ("vit", "auto"),
    "cls": ("vit_classifier", "auto"),
    "mean": ("dinov2_with_registers", "mean"),
    "adapter": ("vit", "auto"),
    "merged": ("clip", "auto"),
    "merged-siglip": ("siglip", "auto"),
}
TOWER, BY_HAND = "tester/tower-adapter", "tester/tower-adapter-by-hand"
TRANSFORM, VICE = "tester/transform", "tester/vice"


def colours() -> list:
    """The pictures of the cards' snippets."""
    from PIL import Image

    return [Image.new("RGB", (64, 64), colour) for colour in ("red", "orange", "blue")]


def snippets(repository: str) -> list[str]:
    from huggingface_hub import hf_hub_download

    return re.findall(r"```python\n(.*?)```", Path(hf_hub_download(repository, "README.md")).read_text(), re.S)


def outcome(call, *arguments, **options) -> str:
    try:
        return repr(call(*arguments, **options))
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def embedding(encoder) -> np.ndarray:
    """As the card says, without our preprocessing, whose last digits are others."""
    from hf_alignet.encoder.pooling import pool

    inputs = encoder.processor(colours(), return_tensors="pt")
    with torch.no_grad():
        outputs = encoder.eval().model(**inputs)
    return pool(encoder.pooling, encoder.backbone, outputs, inputs).numpy()


def push(folder: Path) -> dict[str, np.ndarray]:
    from datasets import Dataset
    from huggingface_hub import HfApi
    from peft import LoraConfig
    from tiny import save_tiny

    from hf_alignet.encoder import AffineTransform
    from hf_alignet.encoder.vision_model import VisionEncoder
    from hf_alignet.errors import InputError
    from hf_alignet.judgments import make_judgments
    from hf_alignet.student import AlignTrainer, AlignTrainingArguments
    from hf_alignet.teacher import Vice
    from hf_alignet.triplets import triplets_from_arrays

    api, rng = HfApi(), np.random.default_rng(0)
    for family in ("vit", "vit_classifier", "dinov2_with_registers", "clip", "siglip"):
        save_tiny(family, folder / family)
        (folder / family / "README.md").write_text("---\nlicense: mit\n---\n\n# A base model\n")
        api.create_repo(f"tester/{family}")
        api.upload_folder(repo_id=f"tester/{family}", folder_path=folder / family)

    pixels = rng.integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
    from PIL import Image

    images = Dataset.from_dict({"image": [Image.fromarray(picture) for picture in pixels]})
    rows = np.stack([rng.permutation(12)[:3] for _ in range(16)])
    triplets = triplets_from_arrays(rows, rng.normal(size=(16, 3)))

    def trained(name: str, encoder: VisionEncoder) -> AlignTrainer:
        args = AlignTrainingArguments(
            output_dir=str(folder / name),
            push_to_hub=True,
            hub_model_id=f"tester/{name}",
            learning_rate=1e-2,
            max_steps=2,
            per_device_train_batch_size=8,
            save_strategy="no",
            disable_tqdm=True,
        )
        trainer = AlignTrainer(encoder, args, train_dataset=triplets, images=images)
        trainer.train()
        return trainer

    found, lora = {}, LoraConfig(r=2, lora_alpha=64)
    for name, (family, pooling) in MODELS.items():
        encoder = VisionEncoder.from_pretrained(f"tester/{family}", pooling)
        before = embedding(encoder)
        if name not in ("full", "cls", "mean"):
            encoder.add_lora(lora)
        trainer = trained(name, encoder)
        if name.startswith("merged"):
            encoder.merge_adapter()
        trainer.push_to_hub()
        after = embedding(encoder)
        assert np.abs(after - before).max() > 1e-3, name
        # From the file: the last bits of a sum depend on where in memory a weight lies
        found[name] = embedding(VisionEncoder.from_pretrained(str(folder / name)))
        np.testing.assert_allclose(found[name], after, rtol=1e-5, atol=1e-5)

    encoder = VisionEncoder.from_pretrained("tester/clip")
    encoder.add_lora(lora)
    trainer = trained(TOWER.split("/")[1], encoder)
    try:
        trainer.push_to_hub()
        refused = ""
    except InputError as error:
        refused = str(error)
    encoder.save_pretrained(folder / "by-hand")
    api.create_repo(BY_HAND)
    api.upload_folder(repo_id=BY_HAND, folder_path=folder / "by-hand")
    found["by-hand"] = embedding(encoder)

    info = {"base_model": "tester/vit_classifier", "pooling": "cls", "judgments": "tester/choices"}
    for scale in (1.0, 2.0):
        transform = AffineTransform(scale * rng.normal(size=(32, 32)), rng.normal(size=32), 0.1, 2.0, info)
        transform.push_to_hub(TRANSFORM, private=True)
        found[f"transform {scale}"] = transform.weight.numpy()
        if scale == 1.0:
            api.create_tag(TRANSFORM, tag="v1")
    wide = AffineTransform.identity(7)
    wide.push_to_hub("tester/narrow")
    choices = make_judgments(rows[:8], np.arange(8) % 3)
    vice = Vice(num_dimensions=3, min_objects=-1, max_epochs=2, settle=1).fit(choices, progress=False)
    vice.info = {"judgments": "tester/choices", "command": "hf-alignet fit-teacher --judgments tester/choices"}
    vice.push_to_hub(VICE, private=True)
    found["vice"] = vice.loc_
    images.push_to_hub("tester/data", "images")
    (folder / "triplets.json").write_text(json.dumps({"teacher": "user/teacher", "transform": None}))
    api.upload_file(
        path_or_fileobj=folder / "triplets.json",
        path_in_repo="triplets.json",
        repo_id="tester/data",
        repo_type="dataset",
    )
    return found | {"refused": np.array(refused)}


def stranger(folder: Path) -> dict[str, np.ndarray]:
    sys.modules["hf_alignet"] = None  # type: ignore[assignment]  # importing it fails from here on
    from sentence_transformers import SentenceTransformer

    found = {}
    for name in MODELS:
        if name != "mean":
            found[f"{name} sentence"] = SentenceTransformer(f"tester/{name}", device="cpu").encode(colours())
        (snippet,) = snippets(f"tester/{name}")
        scope: dict = {}
        exec(snippet, scope)
        found[name] = scope["embeddings"].numpy()
        found[f"{name} similarities"] = scope["similarities"].numpy()
    return found


def friend(folder: Path) -> dict[str, np.ndarray]:
    from datasets import Dataset, load_dataset

    from hf_alignet.encoder import AffineTransform
    from hf_alignet.encoder.vision_model import VisionEncoder
    from hf_alignet.hub.transport.license import stated_license
    from hf_alignet.hub.transport.provenance import dataset_commit, model_commit
    from hf_alignet.teacher import Vice
    from hf_alignet.triplets import read_info

    found = {"by-hand": embedding(VisionEncoder.from_pretrained(BY_HAND))}
    told = {"license not asked": repr(stated_license("tester/vit", ask_hub=False))}
    told["license"] = repr(stated_license("tester/vit", ask_hub=True))
    told["license of nothing"] = repr(stated_license("tester/nowhere", ask_hub=True))

    for kind, repository in ((AffineTransform, TRANSFORM), (Vice, VICE)):  # before they are in the cache
        told[f"{kind.__name__} private"] = outcome(kind.from_pretrained, repository, token=False)
    for name, source in {"transform 1.0": f"{TRANSFORM}@v1", "transform 2.0": TRANSFORM}.items():
        found[name] = AffineTransform.from_pretrained(source).weight.numpy()
    found["vice"] = Vice.from_pretrained(VICE).loc_
    for kind, repository in ((AffineTransform, TRANSFORM), (Vice, VICE)):
        for place in ("tester/nowhere", f"{repository}@v7", "tester/vit"):
            told[f"{kind.__name__} {place}"] = outcome(kind.from_pretrained, place)

    with_model, with_features = snippets(TRANSFORM)
    for name, snippet in {"teacher": with_model, "features": with_features, "vice snippet": snippets(VICE)[0]}.items():
        scope: dict = {}
        exec(snippet, scope)
        found[name] = scope["probabilities"] if name == "vice snippet" else scope["aligned"]
    images = Dataset.from_dict({"image": colours()})
    encoder = VisionEncoder.from_pretrained("tester/vit_classifier", "cls")
    found["teacher expected"] = AffineTransform.from_pretrained(TRANSFORM)(encoder.embed(images, progress=False))
    told["narrow"] = outcome(VisionEncoder.from_pretrained, "tester/vit", transform="tester/narrow")
    told["no transform"] = outcome(VisionEncoder.from_pretrained, "tester/vit", transform="tester/nowhere")

    told["info"] = repr(read_info("tester/data"))
    told["no info"] = repr(read_info("tester/nowhere"))
    told["model commit"] = str(model_commit("tester/vit"))
    told["adapter commit"] = str(model_commit(BY_HAND))
    told["dataset commit"] = str(dataset_commit(load_dataset("tester/data", "images", split="train")))
    return found | {"told": np.array(json.dumps(told))}


if __name__ == "__main__":
    stages = {"push": push, "stranger": stranger, "friend": friend}
    place = Path(sys.argv[2])
    arrays: dict[str, Any] = stages[sys.argv[1]](place)
    np.savez(place / f"{sys.argv[1]}.npz", **arrays)
