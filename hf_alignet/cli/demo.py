"""The demo: align a small encoder of emoji to simulated raters, and measure it before and after.

    hf-alignet demo

Needs no download and takes minutes on two CPU cores. The settings are those of `hf-alignet align`; the aligned encoder
goes to outputs/demo-aligned. With --report, outputs/demo-aligned-report/report.html then shows what alignment did.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

from accelerate import PartialState

from hf_alignet.cli.align import GO_ON, SETTINGS, align_command
from hf_alignet.cli.arguments.lora_arguments import LoraArguments
from hf_alignet.cli.command import Command
from hf_alignet.demo import ENCODER_DIRECTORY, demo_images, demo_triplets
from hf_alignet.errors import InputError
from hf_alignet.student import AlignTrainingArguments
from hf_alignet.workflows.alignment_run import demo_config
from hf_alignet.workflows.analysis_run import analyze


@dataclass
class ReportArguments:
    """What the demo does besides."""

    report: bool = field(
        default=False, metadata={"help": "Then write what `hf-alignet analyze` says of it, to OUTPUT_DIR-report."}
    )


FLAGS = [*SETTINGS, ReportArguments]
COMMAND = Command("demo", FLAGS, __doc__, lambda given: demo_config(), launches=True, when_interrupted=GO_ON)


def demo_command(
    settings: Any, lora: LoraArguments, args: AlignTrainingArguments, more: ReportArguments, line: str
) -> None:
    """Aligns the encoder of the demo, and analyses it."""
    if more.report and settings.images is not None:
        raise InputError("`report` is about the emoji of the demo: for your images, use `hf-alignet analyze`")
    if more.report and PartialState(cpu=args.use_cpu).num_processes > 1:
        raise InputError("`report` needs the demo to run in one process")
    align_command(settings, lora, args, line)
    if more.report:
        images = demo_images()
        held_out = demo_triplets(images)
        del held_out["train"]
        analyze(
            settings.model_name_or_path or str(ENCODER_DIRECTORY),
            str(args.output_dir),
            images,
            judgments=held_out,
            output_dir=f"{args.output_dir}-report",
            i_have_the_right_to_share_images=True,  # their licences allow it
            seed=args.seed,
            progress=not args.disable_tqdm,
        )


main = partial(COMMAND.run, demo_command)

if __name__ == "__main__":
    main()
