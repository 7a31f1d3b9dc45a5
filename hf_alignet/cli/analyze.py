"""What did alignment do? Models before and after, by the categories of images, in one HTML report.

Images with columns of three levels, such as the emoji of the demo:

    hf-alignet analyze --base facebook/dinov2-base --aligned outputs/dinov2-base-aligned --images user/images
        --level_columns name category kind

Classes that are WordNet ids, by the published hierarchy of BREEDS, and a control beside the aligned model:

    hf-alignet analyze --base facebook/dinov2-base --aligned outputs/aligned outputs/control
        --images user/tiny-imagenet --label_column wnid --breeds_hierarchy breeds --triplets outputs/triplets
        --judgments choices.csv

Several models, each before and after; ready embeddings are .npy files:

    hf-alignet analyze --base clip.npy dino.npy --aligned clip-aligned.npy dino-aligned.npy
        --images my-images --levels_table categories.csv

It writes report.html, which holds all figures and needs no network, figures/*.png and *.svg, and the numbers: how
distances change by relation (relations.csv) and by category (categories.csv), places on a page (places.csv), the
variance of components (variance.csv), how alike models are (models.csv), what triplets ask (triplets.csv), and
examples (examples.csv, neighbours.csv). A later run uses the embeddings in output_dir/embeddings again.
"""

import logging
from functools import partial
from typing import Any

from hf_alignet.cli.arguments.signature import flags_of
from hf_alignet.cli.command import Command
from hf_alignet.workflows.analysis_run import analyze

COMMAND = Command("analyze", [flags_of(analyze)], __doc__, launches=True)


def analyze_command(arguments: Any, _line: str) -> None:
    """Analyses the models that the flags name."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    analyze(**arguments.values())


main = partial(COMMAND.run, analyze_command)

if __name__ == "__main__":
    main()
