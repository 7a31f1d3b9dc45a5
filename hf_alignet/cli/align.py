"""Align a vision encoder with human similarity judgments, and measure it before and after.

The embedded demo needs no download and takes minutes on two CPU cores:

    hf-alignet align

Full fine-tuning on your own images, and triplets of them that a teacher labelled:

    hf-alignet align --model_name_or_path facebook/dinov2-small --images user/images
        --triplets user/triplets --output_dir outputs/dinov2-small-aligned --bf16

The same as a small adapter on the frozen model, shared on the Hub: add

    --use_lora --learning_rate 1e-4 --push_to_hub --hub_model_id user/name

For several processes add --accelerate_config multi_gpu, or run `accelerate config` once.
"""

import logging
from functools import partial
from pathlib import Path
from typing import Any

from hf_alignet.cli.arguments.lora_arguments import LoraArguments
from hf_alignet.cli.arguments.signature import flags_of
from hf_alignet.cli.command import Command
from hf_alignet.sources import public_name
from hf_alignet.student import AlignTrainingArguments
from hf_alignet.workflows.alignment_run import align, demo_config

SETTINGS = [
    flags_of(align, ["args", "lora", "command"], renamed={"model": "model_name_or_path"}),
    LoraArguments,
    AlignTrainingArguments,
]


def _default_config(given: Any) -> Path | None:
    return None if given.images or given.triplets else demo_config()


GO_ON = "the same command with --resume_from_checkpoint last goes on from the last checkpoint"
COMMAND = Command("align", SETTINGS, __doc__, _default_config, launches=True, when_interrupted=GO_ON)


def align_command(settings: Any, lora: LoraArguments, args: AlignTrainingArguments, line: str) -> None:
    """Aligns the model that the flags describe."""
    logging.basicConfig(level=logging.INFO if args.should_log else logging.ERROR, format="%(message)s")
    model = settings.model_name_or_path
    if model is not None and args.output_dir == AlignTrainingArguments.output_dir:
        args.output_dir = f"outputs/{public_name(model).split('/')[-1].partition('@')[0]}-aligned"
    align(**settings.values(), args=args, lora=lora.config(), command=line)


main = partial(COMMAND.run, align_command)

if __name__ == "__main__":
    main()
