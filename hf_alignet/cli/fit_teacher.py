"""Fit a teacher: an affine transform of a model's features that predicts which of three images people find odd.

Your own raters' choices about your own pictures, by uncertainty distillation through VICE:

    hf-alignet fit-teacher --judgments choices.csv --images user/stimuli
        --model_name_or_path google/siglip-so400m-patch14-384 --output_dir outputs/siglip-teacher

The choices of THINGS, and features that were made elsewhere:

    hf-alignet fit-teacher --judgments triplets_large_final_correctednc_correctedorder.csv
        --features clip_things.npy --model_name_or_path openai/clip-vit-base-patch32

Writes the transform (AffineTransform.from_pretrained(output_dir)), the VICE that was fitted in vice/, results.json,
the table of the regularizations that were tried, a calibration plot and a card. A run that was stopped goes on where
it was.
"""

import json
import logging
from collections.abc import Sequence
from typing import Any

from hf_alignet.cli.arguments.teacher import StimulusArguments, TeacherArguments
from hf_alignet.cli.command import Command
from hf_alignet.errors import InputError
from hf_alignet.workflows import write_teacher

COMMAND = Command("fit-teacher", [StimulusArguments, TeacherArguments], __doc__)


def fit_command(stimuli: StimulusArguments, arguments: TeacherArguments, line: str) -> None:
    """Fits and measures the teacher that the flags describe."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    settings = vars(stimuli) | arguments.values()
    judgments, is_shared = settings.pop("judgments"), settings.pop("push_to_hub")
    if judgments is None:
        raise InputError("give `judgments`: the human choices to fit to")
    if is_shared and settings["hub_model_id"] is None:
        raise InputError("`push_to_hub` needs `hub_model_id=user/name`")
    if not is_shared:
        settings["hub_model_id"] = None
    settings["vice_settings"] = _as_mapping(settings["vice_settings"])
    write_teacher(judgments, command=line, **settings)


def _as_mapping(text: str) -> dict[str, Any] | None:
    """The settings of VICE from JSON; None for `{}`."""
    try:
        settings = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"`vice_settings` is no JSON: {error}: {text!r}") from error
    if not isinstance(settings, dict):
        raise InputError(f"`vice_settings` must be a JSON object, got {text!r}")
    return settings or None


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command."""
    COMMAND.run(fit_command, argv)


if __name__ == "__main__":
    main()
