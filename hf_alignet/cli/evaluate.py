"""How human and how useful is a model? Choices and similarities that people judged, and labelled images.

One model on the choices of your own raters about your own pictures:

    hf-alignet evaluate --model_name_or_path facebook/dinov2-base --benchmarks choices:choices.csv
        --images user/stimuli

Several models on several benchmarks, with stimuli for each benchmark:

    hf-alignet evaluate --model_name_or_path facebook/dinov2-base outputs/dinov2-base-aligned
        --benchmarks things:user/things-judgments levels:levels/raw rsa:rdm48.mat
        --images user/things-images user/levels-images user/things48

Features from another program, with a transform:

    hf-alignet evaluate --features clip_things.npy --transform outputs/clip-teacher --benchmarks things:triplets

How useful they are, on labelled images:

    hf-alignet evaluate --model_name_or_path facebook/dinov2-base outputs/dinov2-base-aligned
        --benchmarks few_shot:user/cifar100 probe:user/cifar100 "shift:user/pacs#photo->user/pacs#sketch"
            corruption:user/cifar100

It writes results.json {model: {metric: {value, n, chance, ci95, unit}}} with the noise ceiling as the model
`people`, the same table in results.md, one figure for each benchmark, and for several models agreement.csv,
changes.csv and model_similarity.csv. Labelled images also give shots.png, and for several models
downstream_before_after.png and gains.png. A later run uses the embeddings in output_dir/embeddings again.
"""

import logging
from functools import partial
from typing import Any

from hf_alignet.cli.arguments.signature import flags_of
from hf_alignet.cli.command import Command
from hf_alignet.workflows.evaluation_run import evaluate

SETTINGS = [
    flags_of(evaluate, renamed={"models": "model_name_or_path"}, defaults={"output_dir": "outputs/evaluation"})
]
COMMAND = Command("evaluate", SETTINGS, __doc__, launches=True)


def evaluate_command(arguments: Any, _line: str) -> None:
    """Evaluates the models that the flags name."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    evaluate(**arguments.values())


main = partial(COMMAND.run, evaluate_command)

if __name__ == "__main__":
    main()
