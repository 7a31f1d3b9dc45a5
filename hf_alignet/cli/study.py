"""How does alignment with people go together with usefulness, over many models?

Models of the Hub and of this machine, with the judgments of six sets of pictures, and few shots of two datasets:

    accelerate launch -m hf_alignet.cli.study --config study.yaml

where study.yaml has, among other settings,

    model_name_or_path: [facebook/dinov2-base, outputs/dinov2-base-aligned]
    covariates:
      facebook/dinov2-base: {family: dinov2, imagenet_top1: 0.845}
      dinov2-base-aligned: {family: dinov2, imagenet_top1: 0.841}
    benchmarks: [alignment:animals.csv, alignment:fruits.csv, n_shot:user/cifar100, n_shot:user/merced]
    images: [user/animals, user/fruits]
    accuracy: imagenet_top1

The analysis alone, of a table that was measured before:

    hf-alignet study --results outputs/study/study.csv --output_dir outputs/again

It writes study.csv, a row a model and metric (model, covariates, kind, metric, value, n, chance, low, high);
alignments averaged over the human datasets (alignments.csv); correlations of alignment and of its square with
usefulness, also partial ones (correlations.csv); quadratic fits against linear ones (u_shapes.csv); means of the five
models of highest, middle and lowest alignment (groups.csv); with --factors an analysis of variance (anova.csv);
figures as PNG and SVG; and a short table, study.md. A run that was stopped goes on with the next model.
"""

import logging
from functools import partial
from typing import Any

from hf_alignet.cli.arguments.signature import flags_of
from hf_alignet.cli.command import Command
from hf_alignet.workflows.study_run import study

COMMAND = Command("study", [flags_of(study, renamed={"models": "model_name_or_path"})], __doc__, launches=True)


def study_command(arguments: Any, _line: str) -> None:
    """Studies the models that the flags name."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    study(**arguments.values())


main = partial(COMMAND.run, study_command)

if __name__ == "__main__":
    main()
