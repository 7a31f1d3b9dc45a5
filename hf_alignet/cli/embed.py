"""Embed images: a dataset with a column of embeddings, ready for a search index.

    hf-alignet embed outputs/dinov2-small-aligned my-images --output_dir outputs/embeddings

load_dataset("outputs/embeddings") opens it; its add_faiss_index("embedding"), or add_elasticsearch_index, makes an
index. Row i is of row i of the images. A run that was stopped continues where it was. Several processes share the
work: --accelerate_config.
"""

import logging
from functools import partial
from typing import Any

from hf_alignet.cli.arguments.signature import flags_of
from hf_alignet.cli.command import Command
from hf_alignet.workflows.embedding_run import embed

SETTINGS = [flags_of(embed, renamed={"model": "model_name_or_path"})]
COMMAND = Command("embed", SETTINGS, __doc__, words=("model_name_or_path", "images"), launches=True)


def embed_command(arguments: Any, line: str) -> None:
    """Embeds the images that the flags name."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    embed(**arguments.values())


main = partial(COMMAND.run, embed_command)

if __name__ == "__main__":
    main()
