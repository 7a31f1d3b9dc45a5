"""Make an AligNet of any images: triplets of them, labelled by a teacher that knows what people find similar.

    hf-alignet make-triplets --images my-images --teacher facebook/dinov2-base --transform outputs/teacher
        --num_triplets 1000000 --output_dir outputs/triplets

The images are embedded, transformed and clustered by k-means. Each triplet has two images of one cluster and one of
another; --sampling has other rules. Several processes share the embedding: --accelerate_config.

The triplets that were released with the paper, matched to images by file name:

    hf-alignet make-triplets --official alignet_train.npz alignet_valid.npz --images ILSVRC/imagenet-1k

It writes parquet shards of the splits train and validation, the clusters, triplets.json and a card.
load_dataset(output_dir, "triplets") opens them, and `hf-alignet align --triplets output_dir` trains on them. A run
that was stopped continues where it was.
"""

import logging
from functools import partial
from typing import Any

from hf_alignet.cli.arguments.signature import flags_of
from hf_alignet.cli.command import Command
from hf_alignet.triplets.making import TripletDesign
from hf_alignet.workflows.triplet_run import make_triplets

SETTINGS = [flags_of(make_triplets, ["command"]), flags_of(TripletDesign)]
COMMAND = Command("make-triplets", SETTINGS, __doc__, launches=True)


def make_command(arguments: Any, design: Any, line: str) -> None:
    """Makes the triplets that the flags describe."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    make_triplets(**arguments.values(), **design.values(), command=line)


main = partial(COMMAND.run, make_command)

if __name__ == "__main__":
    main()
