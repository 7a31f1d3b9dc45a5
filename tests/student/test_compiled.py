"""Training with `torch_compile`: the same losses, one graph without a break, and compiled at most twice."""

import pytest
import torch
from peft import LoraConfig
from torch._dynamo.utils import counters

from hf_alignet.encoder.vision_model import VisionEncoder
from hf_alignet.student import AlignTrainer, AlignTrainingArguments


@pytest.fixture
def train(images, triplets, tiny_directory, tmp_path):
    """Losses of two epochs, whose batches have different numbers of images, and the last ones are small."""

    def run(**settings) -> list[float]:
        encoder = VisionEncoder.from_pretrained(str(tiny_directory("dinov2")))
        torch.manual_seed(0)
        encoder.add_lora(LoraConfig(r=2))
        args = AlignTrainingArguments(
            output_dir=str(tmp_path),
            num_train_epochs=2,
            per_device_train_batch_size=6,
            learning_rate=1e-3,
            logging_steps=1,
            anchor_type="penalty",
            interpolation="1.0",
            student_temperature="10",
            eval_strategy="epoch",
            save_strategy="no",
            disable_tqdm=True,
            **settings,
        )
        trainer = AlignTrainer(encoder, args, train_dataset=triplets, eval_dataset=triplets, images=images)
        trainer.train()
        return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]

    return run


def test_a_compiled_run_is_the_same_and_compiles_twice(train):
    torch._dynamo.reset()
    counters.clear()
    compiled = train(torch_compile=True, torch_compile_backend="eager")
    assert not counters["graph_break"]
    assert counters["stats"]["unique_graphs"] == 2  # for one number of images, and then for any
    assert compiled == pytest.approx(train(), rel=1e-5) and len(set(compiled)) > 10
