"""See in a browser what a model finds similar, before and after alignment.

The demo, emoji and their small encoder, needs no download; `hf-alignet demo` makes its aligned model first:

    hf-alignet explore

Your own models and pictures, and what people chose:

    hf-alignet explore --base facebook/dinov2-base --aligned outputs/dinov2-base-aligned --images user/images
        --judgments choices.csv

The page shows which of three pictures each model finds odd, and how surely (pictures of the dataset, or uploaded
ones), the pictures nearest to one, maps of all pictures, and how often models agree with people. It needs Gradio:
pip install "hf-alignet[app]". Nobody but you can see it unless you give --host or --share, and it asks nothing of any
other machine.
"""

import logging
from functools import partial
from typing import Any

from hf_alignet.cli.arguments.signature import flags_of
from hf_alignet.cli.command import Command
from hf_alignet.workflows.exploration_run import explore

COMMAND = Command("explore", [flags_of(explore)], __doc__)


def explore_command(arguments: Any, _line: str) -> None:
    """Serves the page that the flags describe."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    explore(**arguments.values())


main = partial(COMMAND.run, explore_command)

if __name__ == "__main__":
    main()
