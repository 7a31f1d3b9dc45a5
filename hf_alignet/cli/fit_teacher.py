"""Fit a teacher: an affine transform of a model's features that predicts which of three images people find odd.

Your own raters' choices about your own pictures, by the method that predicts held-out choices best:

    hf-alignet fit-teacher --judgments choices.csv --images user/stimuli
        --model_name_or_path google/siglip-so400m-patch14-384 --output_dir outputs/siglip-teacher

The choices of THINGS, and features from another program:

    hf-alignet fit-teacher --judgments triplets_large_final_correctednc_correctedorder.csv
        --features clip_things.npy --model_name_or_path openai/clip-vit-base-patch32

How accurate a teacher will be after how many choices, before anyone judges:

    hf-alignet fit-teacher --plan --images user/stimuli --model_name_or_path google/siglip-so400m-patch14-384

It writes the transform (AffineTransform.from_pretrained(output_dir)), the fitted VICE (in vice/, if it is used),
results.json, a table of all tried regularizations, a calibration plot and a card. A run that was stopped continues
where it was.
"""

import logging
from functools import partial
from typing import Any

from hf_alignet.cli.arguments.signature import flags_of
from hf_alignet.cli.command import Command
from hf_alignet.processes import this_process
from hf_alignet.workflows.teacher_run import write_teacher

COMMAND = Command("fit-teacher", [flags_of(write_teacher, ["command"])], __doc__)


def fit_command(arguments: Any, line: str) -> None:
    """Fits and measures the teacher that the flags describe."""
    is_main = this_process().is_main_process
    logging.basicConfig(level=logging.INFO if is_main else logging.ERROR, format="%(message)s")
    write_teacher(**arguments.values(), command=line)


main = partial(COMMAND.run, fit_command)

if __name__ == "__main__":
    main()
