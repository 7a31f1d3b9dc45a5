"""Directories of models that are damaged: each is refused in one line, and nothing in them runs."""

import json
import os
import shutil

import pytest
import torch
from peft import LoraConfig
from safetensors.torch import load_file, save_file

from hf_alignet.encoder import VisionEncoder
from hf_alignet.errors import InputError

WEIGHTS, ADAPTER = "model.safetensors", "adapter_model.safetensors"


def text(name, content):
    def damage(directory):
        (directory / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    return damage


def cut(name, size):
    def damage(directory):
        (directory / name).write_bytes((directory / name).read_bytes()[:size])

    return damage


def settings(name, **changed):
    def damage(directory):
        found = json.loads((directory / name).read_text())
        (directory / name).write_text(json.dumps(found | changed))

    return damage


def tensors(name, change):
    def damage(directory):
        changed = change(load_file(directory / name))
        save_file(changed, directory / name, {"format": "pt"})

    return damage


def first(change):
    """Changes the first matrix."""

    def changed(found):
        name = next(name for name, tensor in found.items() if tensor.ndim == 2)
        return found | {name: change(found[name]).contiguous()}

    return changed


def every(change):
    return lambda found: {name: change(tensor) for name, tensor in found.items()}


class Program:
    def __reduce__(self):
        return os.mkdir, (os.environ["TRAP"],)


def program(name, instead_of):
    def damage(directory):
        (directory / instead_of).unlink()
        torch.save(Program(), directory / name)

    return damage


GARBAGE = [("", "empty"), ("[1]", "list"), ("null", "null"), (b"\xff\x00", "binary"), ("[" * 99_999, "deep")]
JSON_FILES = ("config.json", "preprocessor_config.json", "alignment.json")
DAMAGED = {
    **{f"{file}: {kind}": text(file, content) for file in JSON_FILES for content, kind in GARBAGE},
    **{f"weights: {size} bytes": cut(WEIGHTS, size) for size in (0, 7, 100, -1)},
    "weights: HTML": text(WEIGHTS, "<html>" * 99),
    "weights: not finite": tensors(WEIGHTS, first(lambda t: t * torch.nan)),
    "weights: zero": tensors(WEIGHTS, every(torch.zeros_like)),
    "weights: shape": tensors(WEIGHTS, first(lambda t: t[:5])),
    "weights: program": program("pytorch_model.bin", WEIGHTS),
    "config: patch size 0": settings("config.json", patch_size=0),
    "config: hidden size -1": settings("config.json", hidden_size=-1),
    "config: no layers": settings("config.json", num_hidden_layers=0),
    "config: activation": settings("config.json", hidden_act="nosuch"),
    "config: dtype": settings("config.json", dtype="nosuch"),
    "config: family": settings("config.json", model_type="nosuch"),
    "config: quantized": settings("config.json", quantization_config={"load_in_4bit": True}),
    "processor: two means": settings("preprocessor_config.json", image_mean=[0.5, 0.5]),
    "processor: std 0": settings("preprocessor_config.json", image_std=[0, 0, 0]),
    "processor: scale 0": settings("preprocessor_config.json", rescale_factor=0),
    "processor: scale NaN": settings("preprocessor_config.json", rescale_factor=float("nan")),
    "processor: size": settings("preprocessor_config.json", size={"height": 48, "width": 48}),
    "processor: size that fills the memory": settings(
        "preprocessor_config.json", size={"height": 9**7, "width": 9**7}
    ),
}
DAMAGED_ADAPTERS = {
    **{f"config: {kind}": text("adapter_config.json", content) for content, kind in GARBAGE},
    **{f"weights: {size} bytes": cut(ADAPTER, size) for size in (0, 7, 100, -1)},
    "config: kind": settings("adapter_config.json", peft_type="NOSUCH"),
    "config: rank 0": settings("adapter_config.json", r=0),
    "config: other rank": settings("adapter_config.json", r=3),
    "config: layers": settings("adapter_config.json", target_modules=["nosuch"]),
    "config: pattern": settings("adapter_config.json", target_modules="(("),
    "config: no base": settings("adapter_config.json", base_model_name_or_path=None),
    "weights: other names": tensors(ADAPTER, lambda found: {f"a.{name}": t for name, t in found.items()}),
    "weights: half": tensors(ADAPTER, lambda found: dict(list(found.items())[::2])),
    "weights: more": tensors(ADAPTER, lambda found: found | {"base_model.model.a.lora_A.weight": torch.ones(2, 2)}),
    "weights: not finite": tensors(ADAPTER, every(lambda t: t * torch.nan)),
    "weights: program": program("adapter_model.bin", ADAPTER),
}


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """A folder that a program makes when it runs."""
    monkeypatch.setenv("TRAP", str(tmp_path / "trap"))
    return tmp_path / "trap"


def refused(directory, trap):
    with pytest.raises(InputError) as found:
        VisionEncoder.from_pretrained(str(directory), pooling="cls")
    assert str(directory) in str(found.value) and "\n" not in str(found.value)
    assert not trap.exists()


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_model_is_refused(kind, tiny_directory, trap, tmp_path):
    directory = shutil.copytree(tiny_directory("vit"), tmp_path / "model")
    DAMAGED[kind](directory)
    refused(directory, trap)


@pytest.mark.parametrize("kind", DAMAGED_ADAPTERS)
def test_damaged_adapter_is_refused(kind, tiny_directory, trap, tmp_path):
    encoder = VisionEncoder.from_pretrained(str(tiny_directory("vit")), pooling="cls")
    encoder.add_lora(LoraConfig(r=2))
    encoder.save_pretrained(tmp_path / "adapter")
    VisionEncoder.from_pretrained(str(tmp_path / "adapter"), pooling="cls")
    DAMAGED_ADAPTERS[kind](tmp_path / "adapter")
    refused(tmp_path / "adapter", trap)


def test_adapter_of_itself_is_refused(tiny_directory, trap, tmp_path):
    encoder = VisionEncoder.from_pretrained(str(tiny_directory("vit")), pooling="cls")
    encoder.add_lora(LoraConfig(r=2))
    encoder.save_pretrained(tmp_path / "adapter")
    settings("adapter_config.json", base_model_name_or_path=str(tmp_path / "adapter"))(tmp_path / "adapter")
    refused(tmp_path / "adapter", trap)
